# SPDX-License-Identifier: Apache-2.0
"""What composed scenes hold: exact, roomy, legible, the same everywhere."""

import collections
import hashlib
import itertools
import math

import pytest

from omnigen.data.corpus.split import Split
from omnigen.scenes import palette, placement, words
from omnigen.scenes.compose import RADII, compose
from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.scene import Color, Element, Fill, Kind, Scene, Shape, Size, Sky

CASES = list(itertools.product(Kind, Split))
# Every dataset and every published number depends on these bytes: change them knowingly.
DIGEST = "c4ae832c8b5230103ba5cfa7ac745bac789b9aeff7134ba0d7f6d9da50a85c3b"


def scenes(kind: Kind, split: Split = Split.TRAIN, count: int = 400) -> list[Scene]:
    return [compose(seed, kind, held_out=split == Split.TEST) for seed in range(count)]


def test_the_scenes_of_seeds_never_change():
    digest = hashlib.sha256()
    for kind, split in CASES:
        for scene in scenes(kind, split, 20):
            digest.update(scene.to_json().encode())
    assert digest.hexdigest() == DIGEST


def test_several_of_one_kind_lie_on_one_side_of_another():
    sided = 0
    for scene in scenes(Kind.SHAPES, count=2000):
        kinds = collections.defaultdict(list)
        for thing in scene.objects:
            kinds[thing.color, thing.shape].append(thing)
        if len(kinds) == 2 and len(scene.objects) > 2:
            one, another = kinds.values()
            sided += any(
                max(getattr(a, axis) for a in first) < min(getattr(b, axis) for b in second)
                for axis in "xy"
                for first, second in ((one, another), (another, one))
            )
    assert 0.1 < sided / 2000 < 0.2, sided


@pytest.mark.parametrize(("kind", "split"), CASES)
def test_scenes_are_of_the_kind_asked_for(kind, split):
    assert {scene.kind for scene in scenes(kind, split, 60)} == {kind}


def test_seeds_kinds_and_splits_differ():
    texts = [s.to_json() for kind, split in CASES for s in scenes(kind, split, 100)]
    # A few scenes are empty canvases, of which there are not many.
    assert len(set(texts)) > 0.99 * len(texts)


@pytest.mark.parametrize("kind", [Kind.SHAPES, Kind.MIXED])
def test_objects_keep_apart_from_each_other_the_edge_and_the_words(kind):
    for scene in scenes(kind):
        for a, b in itertools.combinations(scene.objects, 2):
            assert math.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius + 0.01
        for o in scene.objects:
            assert o.radius <= min(o.x, o.y, 1 - o.x, 1 - o.y)
            for text in scene.texts:
                box = placement.text_box(text)
                across = max(box.left - o.x, 0, o.x - box.right)
                down = max(box.top - o.y, 0, o.y - box.bottom)
                assert math.hypot(across, down) > o.radius


def test_sizes_mean_what_they_say():
    seen = set()
    for scene in scenes(Kind.SHAPES):
        for o in scene.objects:
            low, high = RADII[o.size]
            assert low <= o.radius <= high
            seen.add(o.size)
    assert seen == set(Size)
    assert RADII[Size.SMALL][0] * 128 >= 7
    assert RADII[Size.SMALL][1] < RADII[Size.MEDIUM][0]
    assert RADII[Size.MEDIUM][1] < RADII[Size.LARGE][0]


def test_small_counts_are_usual_and_large_ones_occur():
    counts = collections.Counter(len(scene.objects) for scene in scenes(Kind.SHAPES, count=2000))
    total = sum(counts.values())
    assert 0.7 < sum(counts[n] for n in range(1, 6)) / total < 0.8
    assert 0.16 < sum(counts[n] for n in range(6, 13)) / total < 0.25
    assert 0.03 < sum(counts[n] for n in range(13, 21)) / total < 0.07
    assert 0 < counts[0] / total < 0.03
    assert set(counts) == set(range(21))


def test_every_color_shape_and_background_occurs():
    shapes = scenes(Kind.SHAPES, count=600)
    objects = [o for scene in shapes for o in scene.objects]
    assert {o.color for o in objects} == set(Color)
    assert {o.shape for o in objects} == set(Shape)
    grounds = [scene.background for scene in shapes]
    assert {ground.fill for ground in grounds} == set(Fill)
    assert {ground.color for ground in grounds} == set(palette.CALM)


@pytest.mark.parametrize("kind", [Kind.WORDS, Kind.MIXED, Kind.LANDSCAPES])
def test_words_are_few_legible_apart_and_inside(kind):
    for scene in scenes(kind):
        assert len(scene.texts) <= 3
        boxes = [placement.text_box(text) for text in scene.texts]
        for text, box in zip(scene.texts, boxes, strict=True):
            assert 1 <= len(text.words) <= 3
            assert set(text.string) <= set(words.CHARACTERS + " ")
            assert text.height * 128 >= 9
            assert 0 <= box.left <= box.right <= 1
            assert 0 <= box.top <= box.bottom <= 1
        for a, b in itertools.combinations(boxes, 2):
            assert a.overlap(b) == 0


def test_fonts_of_the_test_split_are_not_in_train():
    used = {t.font for kind in Kind for s in scenes(kind) for t in s.texts}
    assert used == {name for name, family in FAMILIES.items() if not family.held_out}
    tested = {t.font for s in scenes(Kind.WORDS, Split.TEST) for t in s.texts}
    assert tested == set(FAMILIES)


def test_landscapes_have_everything():
    landscapes = scenes(Kind.LANDSCAPES, count=1000)
    used = collections.Counter(
        element for s in landscapes for element in {p.element for p in s.landscape.props}
    )
    assert set(used) == set(Element)
    assert min(used.values()) > 40
    assert {s.landscape.sky for s in landscapes} == set(Sky)
    worded = [s for s in landscapes if s.texts]
    assert 0.35 < len(worded) / len(landscapes) < 0.6
    wanted = {Element.CLOUD, Element.MOUNTAINS, Element.RIVER}
    style = [
        s
        for s in worded
        if s.landscape.sky == Sky.CLEAR
        and s.texts[0].holder == Element.CLOUD
        and wanted <= {p.element for p in s.landscape.props}
    ]
    assert 0.14 < len(style) / len(landscapes) < 0.28


def test_words_stand_in_their_holder():
    for scene in scenes(Kind.LANDSCAPES):
        assert len({text.holder for text in scene.texts}) <= 1
        for text in scene.texts:
            held = [p for p in scene.landscape.props if p.element == text.holder]
            paper, box = placement.prop_box(held[-1]), placement.text_box(text)
            assert paper.left < box.left < box.right < paper.right
            assert paper.top < box.top < box.bottom < paper.bottom
        for above, below in itertools.pairwise(scene.texts):
            assert above.y < below.y
            assert (above.font, above.color) == (below.font, below.color)


def test_skies_hold_only_what_belongs_there():
    for scene in scenes(Kind.LANDSCAPES):
        land = scene.landscape
        assert not (land.has(Element.SUN) and land.has(Element.MOON))
        if land.has(Element.MOON) or land.has(Element.STARS):
            assert land.sky == Sky.NIGHT
        if land.has(Element.SUN):
            assert land.sky in (Sky.CLEAR, Sky.SUNSET)
        if land.has(Element.BOAT):
            assert any(land.has(e) for e in (Element.SEA, Element.LAKE, Element.RIVER))
