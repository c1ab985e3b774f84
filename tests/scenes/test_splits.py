# SPDX-License-Identifier: Apache-2.0
"""Train and test share no held-out atom: checked by taking scenes apart."""

import dataclasses
import itertools
from collections.abc import Iterator

import pytest

from omnigen.scenes import splits
from omnigen.scenes.compose import compose
from omnigen.scenes.scene import (
    Color,
    Element,
    Kind,
    Landscape,
    Object,
    Prop,
    Scene,
    Shape,
    Size,
    Sky,
)
from omnigen.scenes.words import common


def parts(scene: Scene) -> Iterator[Scene]:
    """Every two objects, every single word and the bare landscape as scenes of their own."""
    for pair in itertools.combinations(scene.objects, min(2, len(scene.objects))):
        yield Scene(scene.kind, scene.background, pair)
    for text in scene.texts:
        for word in text.words:
            yield Scene(scene.kind, texts=(dataclasses.replace(text, words=(word,)),))
    if scene.landscape is not None:
        yield Scene(scene.kind, landscape=scene.landscape)


@pytest.mark.parametrize("kind", Kind)
def test_train_has_no_held_out_part_and_test_has_one(kind):
    for seed in range(300):
        train = compose(seed, kind, held_out=False)
        assert not splits.is_held_out(train)
        assert not any(splits.is_held_out(part) for part in parts(train))
    for seed in range(60):
        test = compose(seed, kind, held_out=True)
        assert splits.is_held_out(test)
        assert any(splits.is_held_out(part) for part in parts(test))


def test_what_is_tested_was_never_trained_on():
    train = [compose(seed, Kind.SHAPES, held_out=False) for seed in range(2500)]
    seen = {(o.color, o.shape) for scene in train for o in scene.objects}
    held = set(itertools.product(Color, Shape)) - seen
    assert len(held) == 4
    test = [compose(seed, Kind.SHAPES, held_out=True) for seed in range(300)]
    assert held <= {(o.color, o.shape) for scene in test for o in scene.objects}


def thing(shape: Shape, color: Color, x: float, y: float) -> Object:
    return Object(shape, color, Size.SMALL, x, y, 0.06)


def held(*objects: Object) -> bool:
    return splits.is_held_out(Scene(Kind.SHAPES, objects=objects))


def test_order_of_objects_does_not_matter_but_their_places_do():
    kinds = [k for k in itertools.product(Shape, Color) if not held(thing(*k, 0.5, 0.5))]
    assert len(kinds) == 76
    pairs, turned = 0, 0
    for a, b in itertools.combinations(kinds[:40], 2):
        one, two = thing(*a, 0.2, 0.2), thing(*b, 0.8, 0.7)
        assert held(one, two) == held(two, one)
        swapped = held(thing(*a, 0.8, 0.7), thing(*b, 0.2, 0.2))
        pairs += held(one, two)
        turned += held(one, two) != swapped
    # A pair is out by itself (5 %) or by being left or above (2 % each).
    assert 0.05 < pairs / 780 < 0.13
    assert 0.03 < turned / 780 < 0.11


def test_the_same_kind_twice_is_never_held_out():
    for kind in itertools.product(Shape, Color):
        alone = held(thing(*kind, 0.5, 0.5))
        assert held(thing(*kind, 0.2, 0.3), thing(*kind, 0.7, 0.6)) == alone


def test_a_twentieth_of_words_is_held_out_whatever_their_case():
    long = [word for word in common() if len(word) > 3]
    share = sum(map(splits.word_held_out, long)) / len(long)
    assert 0.035 < share < 0.065
    for word in long[:300]:
        assert splits.word_held_out(word) == splits.word_held_out(f"{word.upper()}!")
    assert not any(
        splits.word_held_out(word) for word in ("a", "is", "TO", "for", "THE", "72", "A.")
    )


def test_a_tenth_of_landscapes_is_held_out_but_not_the_one_users_ask_for():
    def land(sky: Sky, *elements: Element) -> bool:
        props = tuple(Prop(e, 0.5, 0.5, 0.1, 0.1) for e in elements)
        return splits.landscape_held_out(Landscape(sky, props, 0.6))

    assert not land(Sky.CLEAR, Element.CLOUD, Element.MOUNTAINS, Element.RIVER)
    triples = list(itertools.product(Sky, itertools.combinations(Element, 3)))
    share = sum(land(sky, *three) for sky, three in triples) / len(triples)
    assert 0.08 < share < 0.12
    for sky, (a, b, c) in triples[:100]:
        assert land(sky, a, b, c) == land(sky, c, a, b, a)
