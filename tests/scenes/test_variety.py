# SPDX-License-Identifier: Apache-2.0
"""Scenes of more variety: relations, vivid backgrounds, signs and accents; the others stay."""

import collections
import functools
import itertools
import math

import numpy as np
import pytest

from omnigen.data.stream.source import MOST_SKETCH_BYTES
from omnigen.dice import Dice
from omnigen.scenes import fonts, marks, palette, placement, splits, words
from omnigen.scenes.arrange import GAP, HOLDING, RADII
from omnigen.scenes.caption import caption
from omnigen.scenes.compose import Variety, compose
from omnigen.scenes.relations import is_between, is_column, is_inside, is_next_to, is_row
from omnigen.scenes.render import render
from omnigen.scenes.scene import Color, Fill, Kind, Object, Scene, Shape, Size
from omnigen.scenes.sketch import sketch

COUNT = 600
ALL = {
    "related": Variety(related=1.0),
    "vivid": Variety(vivid=1.0),
    "marked": Variety(marked=1.0),
    "every": Variety(1.0, 1.0, 1.0),
}


@functools.cache
def scenes(
    name: str, kind: Kind = Kind.SHAPES, count: int = COUNT, held_out: bool = False
) -> list[Scene]:
    return [compose(i, kind, held_out=held_out, variety=ALL[name]) for i in range(count)]


@pytest.mark.parametrize("kind", Kind)
def test_scenes_that_are_not_chosen_stay_and_the_share_is_what_was_asked(kind):
    variety = Variety(related=0.17, vivid=0.4, marked=0.25)
    changed = collections.Counter()
    for seed in range(COUNT):
        before = compose(seed, kind, held_out=False)
        assert compose(seed, kind, held_out=False, variety=Variety()) == before
        changed[compose(seed, kind, held_out=False, variety=variety) != before] += 1
    wanted = {
        Kind.SHAPES: 1 - 0.83 * 0.6,
        Kind.WORDS: 1 - 0.6 * 0.75,
        Kind.MIXED: 1 - 0.6 * 0.75,
        Kind.LANDSCAPES: 0.25 * 0.5,  # half have words
    }[kind]
    assert changed[True] / COUNT == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", Kind)
def test_splits_hold_whatever_is_drawn(kind, name, held_out):
    for scene in scenes(name, kind, 80, held_out):
        assert splits.is_held_out(scene) == held_out


def holding(scene: Scene) -> list[tuple[Object, Object]]:
    pairs = itertools.permutations(scene.objects, 2)
    return [(one, other) for one, other in pairs if is_inside(one, other)]


def told(scene: Scene) -> set[str]:
    """The relations of a scene, by brute force over all of its objects."""
    things, found = scene.objects, set()
    if holding(scene):
        found.add("inside")
    if any(is_between(*three) for three in itertools.permutations(things, 3)):
        found.add("between")
    if any(is_next_to(*two) for two in itertools.combinations(things, 2)):
        found.add("next to")
    for count in range(3, len(things) + 1):
        for some in itertools.combinations(things, count):
            others = [thing for thing in things if thing not in some]
            found |= {"row"} if is_row(some, others) else set()
            found |= {"column"} if is_column(some, others) else set()
    return found


def test_every_relation_is_composed_often():
    counts = collections.Counter(name for scene in scenes("related") for name in told(scene))
    assert all(told(scene) for scene in scenes("related"))
    assert 0.35 < counts["inside"] / COUNT < 0.5
    assert min(counts[name] / COUNT for name in ("between", "next to", "row")) > 0.12
    assert counts["column"] / COUNT > 0.05


def test_objects_of_relations_are_inside_or_apart_and_on_the_canvas():
    for scene in scenes("related") + scenes("every"):
        inside = holding(scene)
        for one, other in itertools.combinations(scene.objects, 2):
            if (one, other) in inside or (other, one) in inside:
                continue
            away = math.hypot(one.x - other.x, one.y - other.y)
            assert away > one.radius + other.radius + GAP - 3e-4
        for thing in scene.objects:
            margin = min(thing.x, thing.y, 1 - thing.x, 1 - thing.y) - thing.radius
            assert margin > placement.MARGIN - 3e-4
            most = HOLDING[1] if any(thing == held for _, held in inside) else RADII[thing.size][1]
            assert RADII[thing.size][0] <= thing.radius <= most


def test_what_is_inside_is_smaller_and_of_another_color_than_what_holds_it():
    shapes = set()
    for scene in scenes("related") + scenes("every"):
        for one, other in holding(scene):
            assert other.size == Size.LARGE and one.size != Size.LARGE
            assert other.radius > 1.6 * one.radius
            colors = (palette.COLORS[one.color], palette.COLORS[other.color])
            assert palette.distance(*colors) >= palette.OBJECT_DISTANCE
            shapes.add((one.shape, other.shape))
    assert {outer for _, outer in shapes} == {inner for inner, _ in shapes} == set(Shape)


def test_small_and_large_differ_twofold():
    assert RADII[Size.LARGE][0] >= 2 * RADII[Size.SMALL][1]
    assert HOLDING[0] >= RADII[Size.LARGE][0]


def test_inner_objects_are_drawn_whole_over_what_holds_them():
    nested = [scene for scene in scenes("every", count=160) if holding(scene)]
    for scene in nested[:40]:
        picture = render(scene, 128).astype(int)
        for thing in scene.objects:
            if thing.shape == Shape.RING or (thing in [other for _, other in holding(scene)]):
                continue
            own = palette.COLORS[thing.color]
            y, x = np.indices((128, 128)) + 0.5
            core = np.hypot(x / 128 - thing.x, y / 128 - thing.y) < 0.25 * thing.radius
            assert np.abs(picture[core] - own).max() <= 2, thing


@pytest.mark.parametrize("kind", [Kind.SHAPES, Kind.WORDS, Kind.MIXED])
def test_vivid_backgrounds_are_mostly_plain_and_keep_the_rules_of_contrast(kind):
    fills, colors = collections.Counter(), collections.Counter()
    for scene in scenes("vivid", kind):
        ground = scene.background
        assert ground is not None and ground.color in palette.VIVID
        fills[ground.fill] += 1
        colors[ground.color] += 1
        allowed = palette.object_colors(ground)
        assert {thing.color for thing in scene.objects} <= set(allowed)
        assert {text.color for text in scene.texts} <= set(palette.ink_colors(ground))
        assert Color(ground.color) not in allowed
    assert 0.6 < fills[Fill.PLAIN] / COUNT < 0.85 and min(fills.values()) > 20
    assert set(colors) == set(palette.VIVID) and min(colors.values()) > COUNT / 16


@pytest.mark.parametrize("kind", [Kind.WORDS, Kind.MIXED, Kind.LANDSCAPES])
def test_marked_words_are_of_latin_1_and_fit(kind):
    special = lines = 0
    for scene in scenes("marked", kind):
        for text in scene.texts:
            assert set(text.string) <= set(fonts.CHARACTERS) - {'"'}
            assert 1 <= len(text.words) <= 3 and fonts.has(text.string, family=text.font)
            assert text.height >= placement.LEAST_CAP
            box = placement.text_box(text)
            assert 0 <= box.left <= box.right <= 1 and 0 <= box.top <= box.bottom <= 1
            lines += 1
            special += bool(set(text.string) & set(marks.MARKS))
    assert 0.45 < special / lines < 0.75, special / lines


def test_every_sign_of_latin_1_is_written():
    found = {c for seed in range(4000) for c in signs(seed)}
    assert found == set(marks.MARKS)
    assert set(marks.MARKS) >= set("%#+@$()=/*_éüñçß£[]{}<>|~^`;\\¿¡½°ÆÿØ")
    assert not set(marks.MARKS) & set(words.CHARACTERS + '" \u00a0\u00ad')


def signs(seed: int) -> set[str]:
    return set(" ".join(marks.phrase(Dice("signs", seed)))) & set(marks.MARKS)


def test_marked_phrases_are_short_and_of_their_split():
    kinds = collections.Counter()
    for seed in range(4000):
        phrase = marks.phrase(Dice("marked", seed), held_out=False)
        assert 1 <= len(phrase) <= 3 and all(phrase)
        assert all(words.allowed(word, held_out=False) for word in phrase)
        text = " ".join(phrase)
        assert text.encode("latin-1").decode("latin-1") == text
        kinds["%"] += "%" in text
        kinds["$"] += "$" in text
        kinds["letter"] += any(c.isalpha() and not c.isascii() for c in text)
    assert kinds["%"] > 120 and kinds["$"] > 120 and kinds["letter"] > 700


@pytest.mark.parametrize("kind", Kind)
def test_sketches_and_captions_fit_in_bytes(kind):
    for seed, scene in enumerate(scenes("every", kind)):
        assert len(sketch(scene).encode()) <= MOST_SKETCH_BYTES
        text = caption(scene, seed, 128)
        assert len(text.encode()) <= 128
        assert all(f'"{line.string}' in text or line.string in text for line in scene.texts)
