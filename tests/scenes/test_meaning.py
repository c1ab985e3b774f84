# SPDX-License-Identifier: Apache-2.0
"""Meanings of scenes hold: each fact is looked up in the scene, by rules of its own."""

import collections
import functools
import itertools

import pytest

from omnigen.dice import Dice
from omnigen.scenes.compose import compose
from omnigen.scenes.meaning import meaning
from omnigen.scenes.scene import Background, Fill, Kind, Object, Scene

COUNT = 500


@functools.cache
def composed(seed: int, kind: Kind) -> Scene:
    return compose(seed, kind, held_out=False)


def told(kind: Kind, *, count: int = COUNT, colored: bool = True):
    for seed in range(count):
        scene = composed(seed, kind)
        yield scene, meaning(scene, Dice("test", seed), colored=colored)


def in_place(thing, place: str) -> bool:
    words = place.split()
    checks = {
        "top": thing.y < 0.4,
        "bottom": thing.y > 0.6,
        "left": thing.x < 0.4,
        "right": thing.x > 0.6,
        "center": abs(thing.x - 0.5) < 0.11 and abs(thing.y - 0.5) < 0.11,
    }
    return all(checks[word] for word in words)


def members(scene: Scene, thing) -> list[Object]:
    """The objects that a thing speaks of, all of its noun, colour and size."""
    return [
        one
        for one in scene.objects
        if thing.noun in ("shape", one.shape)
        and thing.color in (None, one.color)
        and thing.size in (None, one.size)
        and (thing.place is None or in_place(one, thing.place))
    ]


@pytest.mark.parametrize("kind", [Kind.SHAPES, Kind.MIXED])
@pytest.mark.parametrize("colored", [True, False])
def test_things_are_there_and_none_is_left_out(kind, colored) -> None:
    seen = collections.Counter()
    for scene, one in told(kind, colored=colored):
        others = sum(thing.noun == "shape" and thing.color is None for thing in one.things)
        nouns = {thing.noun for thing in one.things}
        for thing in one.things:
            found = members(scene, thing)
            if thing.noun == "shape" and len(nouns) > 1:  # "other shapes"
                seen["other"] += 1
            elif thing.count is None:
                assert 3 <= len(found) <= 6
            elif thing.place:
                assert len(found) >= thing.count
            else:
                assert len(found) == thing.count, (thing, scene)
            seen[thing.size] += 1
            seen[thing.place] += 1
            seen[thing.color is None] += 1
        if all(thing.count for thing in one.things):
            assert sum(thing.count for thing in one.things) == len(scene.objects)
        assert others <= 1
    assert seen["small"] > 20 and seen["large"] > 10 and seen["top left"] > 10
    assert seen["other"] > 4 and seen[True] > 50
    assert colored or not seen[False]


def centres(scene: Scene, one, index: int) -> list[tuple[float, float]]:
    if index < len(one.things):
        return [(o.x, o.y) for o in members(scene, one.things[index])]
    text = one.words[index - len(one.things)].text
    return [(t.x, t.y) for t in scene.texts if t.string == text]


@pytest.mark.parametrize("kind", [Kind.SHAPES, Kind.WORDS, Kind.MIXED])
def test_relations_hold_for_every_pair(kind) -> None:
    seen = collections.Counter()
    for scene, one in told(kind, count=2 * COUNT):
        for relation in one.relations:
            seen[relation.name] += 1
            these = centres(scene, one, relation.one)
            those = [c for other in relation.others for c in centres(scene, one, other)]
            assert these and (those or relation.name in ("row", "column"))
            for (x, y), (a, b) in itertools.product(these, those):
                if relation.name in ("left", "right"):
                    assert (x < a) == (relation.name == "left") and abs(x - a) > abs(y - b)
                elif relation.name in ("above", "below"):
                    assert (y < b) == (relation.name == "above") and abs(x - a) < abs(y - b)
                elif relation.name == "next_to":
                    assert abs(y - b) < abs(x - a) < 0.55
            if relation.name == "between":
                (a, b), (c, d) = those if len(those) == 2 else (those[0], those[-1])
                (x, y), *_ = these
                assert min(a, c) - 0.1 < x < max(a, c) + 0.1
                assert min(b, d) - 0.1 < y < max(b, d) + 0.1
    assert seen["above"] > 20 and seen["below"] > 20
    if kind != Kind.WORDS:
        assert seen["left"] > 20 and seen["right"] > 20 and seen["between"] > 5
        assert seen["next_to"] > 5


def test_each_relation_of_a_row_and_of_what_is_inside_is_told() -> None:
    def scene(*places: tuple[str, float, float, float]) -> Scene:
        objects = tuple(
            Object(shape, color, "small", x, y, r)
            for (shape, x, y, r), color in zip(places, ("red", "blue", "green"), strict=False)
        )
        return Scene(Kind.SHAPES, Background(Fill.PLAIN, "white"), objects)

    def found(one: Scene) -> set[tuple]:
        meanings = (meaning(one, Dice("rare", i)) for i in range(300))
        return {(r.name, r.one, r.others) for m in meanings for r in m.relations}

    row = scene(("star", 0.8, 0.5, 0.06), ("ring", 0.2, 0.5, 0.06), ("heart", 0.5, 0.5, 0.06))
    assert {("row", 1, (2, 0)), ("between", 2, (1, 0))} <= found(row)
    column = scene(("star", 0.5, 0.2, 0.06), ("ring", 0.5, 0.5, 0.06), ("heart", 0.5, 0.8, 0.06))
    assert ("column", 0, (1, 2)) in found(column) and not any("row" in f for f in found(column))
    nested = scene(("star", 0.5, 0.5, 0.06), ("circle", 0.5, 0.5, 0.19))
    assert {("inside", 0, (1,)), ("around", 1, (0,))} <= found(nested)


@pytest.mark.parametrize("kind", Kind)
def test_what_is_absent_is_not_there(kind) -> None:
    seen = collections.Counter()
    for scene, one in told(kind):
        there = {str(o.shape) for o in scene.objects}
        if scene.landscape:
            there |= {str(prop.element) for prop in scene.landscape.props}
        if scene.texts:
            there.add("text")
        assert not there & {*one.absent}
        assert len({*one.absent}) == len(one.absent)
        seen[bool(one.absent)] += 1
        seen["only"] += one.only
    assert 0.15 < seen[True] / COUNT < 0.45 and seen["only"] > 20


@pytest.mark.parametrize("kind", Kind)
def test_words_backgrounds_and_skies_are_those_of_the_scene(kind) -> None:
    grounds = skies = 0
    for scene, one in told(kind, count=300):
        lines = " ".join(text.string for text in scene.texts)
        assert " ".join(words.text for words in one.words) == lines
        for words in one.words:
            held = [t for t in scene.texts if t.string in words.text]
            assert held and words.ink in {None, *(t.color for t in held)}
            assert words.holder in {None, *(t.holder for t in held)}
        if one.background:
            grounds += 1
            ground = scene.background
            shades = {"gradient": f"gradient of {ground.color} and {ground.second}"}
            shades["texture"] = f"textured {ground.color}"
            assert one.background == shades.get(ground.fill, ground.color)
        if one.sky:
            skies += 1
            assert one.sky == scene.landscape.sky
    assert skies > 150 if kind == Kind.LANDSCAPES else grounds > 100


def test_landscapes_tell_elements_with_their_counts() -> None:
    whole = placed = afloat = 0
    clouds = collections.Counter()
    for scene, one in told(Kind.LANDSCAPES):
        there = collections.Counter(str(prop.element) for prop in scene.landscape.props)
        for thing in one.things:
            plural = thing.noun in ("stars", "mountains", "hills", "trees", "birds")
            assert thing.count in (None, there[thing.noun])
            assert not plural or thing.count is None
            assert plural or there[thing.noun] > 1 or thing.count == 1
            clouds[thing.count] += thing.noun == "cloud"
            if thing.place:
                placed += 1
                prop = next(p for p in scene.landscape.props if p.element == thing.noun)
                assert in_place(prop, thing.place)
        for relation in one.relations:
            nouns = [one.things[i].noun for i in (relation.one, *relation.others)]
            if relation.name == "on":
                afloat += 1
                assert nouns[0] == "boat" and nouns[1] in ("river", "lake", "sea")
        named = {thing.noun for thing in one.things} | {words.holder for words in one.words}
        whole += {*there} <= named
    assert whole > 0.6 * COUNT and placed > 40 and afloat > 30
    assert 0.3 < clouds[None] / (clouds[None] + clouds[2] + clouds[3]) < 0.7


def test_meanings_depend_on_the_dice_alone() -> None:
    scene = compose(3, Kind.MIXED, held_out=False)
    assert len({meaning(scene, Dice(i)) for i in range(60)}) > 30
    assert all(meaning(scene, Dice(i)) == meaning(scene, Dice(i)) for i in range(20))
