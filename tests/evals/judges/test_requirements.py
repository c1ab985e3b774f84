# SPDX-License-Identifier: Apache-2.0
"""True sketches meet what their scenes hold, and every change that breaks a requirement is seen."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from omnigen.dice import Dice
from omnigen.evals.judges import requirements, sketches
from omnigen.evals.judges.requirements import Line, Thing, View
from omnigen.scenes import grammar, palette, relations
from omnigen.scenes.arrange import arranged
from omnigen.scenes.compose import compose
from omnigen.scenes.scene import (
    Background,
    Color,
    Element,
    Fill,
    Kind,
    Object,
    Scene,
    Shape,
    Size,
    Sky,
)
from omnigen.scenes.sketch import sketch

OPPOSITE = {"left of": "right of", "above": "below", "right of": "left of", "below": "above"}


def judged(metadata: dict[str, Any], text: str) -> requirements.Verdict:
    return requirements.judge(metadata, sketches.read(text).view)


def asked(scene: Scene) -> dict[str, Any]:
    """All that a scene holds, as requirements."""
    if scene.landscape is not None:
        there = {str(prop.element) for prop in scene.landscape.props}
        return {
            "include": [{"class": name, "count": 1, "least": True} for name in sorted(there)],
            "exclude": [{"class": str(e)} for e in Element if str(e) not in there],
            "text": _text(scene),
            "sky": str(scene.landscape.sky),
        }
    kinds = collections.Counter((str(o.shape), str(o.color)) for o in scene.objects)
    include = [{"class": s, "color": c, "count": n} for (s, c), n in kinds.items()]
    ground = scene.background
    plain = ground is not None and ground.fill == Fill.PLAIN
    return {
        "include": include,
        "relations": list(_relations(scene, list(kinds))),
        "exclude": [{"class": "anything else"}],
        "text": _text(scene),
        **({"background": ground.color} if ground is not None and plain else {}),
    }


def _text(scene: Scene) -> list[dict[str, str]]:
    return [{"string": text.string, "color": str(text.color)} for text in scene.texts]


def _relations(scene: Scene, kinds: list[tuple[str, str]]) -> Iterator[list[Any]]:
    boxes = [
        [
            grammar.Box(o.x, o.y, o.radius, o.radius)
            for o in scene.objects
            if (str(o.shape), str(o.color)) == kind
        ]
        for kind in kinds
    ]
    for a, b in itertools.permutations(range(len(kinds)), 2):
        if side := grammar.side(boxes[a], boxes[b]):
            yield [f"{side} of" if side in ("left", "right") else side, a, b]


def changes(scene: Scene, metadata: dict[str, Any]) -> Iterator[tuple[str, Scene]]:
    """Scenes that each break a requirement."""
    objects = scene.objects
    replace = dataclasses.replace
    for i, one in enumerate(objects):
        rest = objects[:i] + objects[i + 1 :]
        color = next(c for c in Color if all((c, one.shape) != (o.color, o.shape) for o in objects))
        shape = next(s for s in Shape if all((one.color, s) != (o.color, o.shape) for o in objects))
        yield "dropped", replace(scene, objects=rest)
        yield "doubled", replace(scene, objects=(*objects, replace(one, x=0.5, y=0.5)))
        yield "recoloured", replace(scene, objects=(*rest, replace(one, color=color)))
        yield "reshaped", replace(scene, objects=(*rest, replace(one, shape=shape)))
    if metadata.get("relations"):
        mirrored = [replace(o, x=1 - o.x, y=1 - o.y) for o in objects]
        yield "mirrored", replace(scene, objects=tuple(mirrored))
    for i, text in enumerate(scene.texts):
        rest = scene.texts[:i] + scene.texts[i + 1 :]
        other = (text.words[0] + "x", *text.words[1:])
        ink = next(color for color in Color if color != text.color)
        yield "no line", replace(scene, texts=rest)
        yield "a line twice", replace(scene, texts=(*scene.texts, text))
        yield "a letter more", replace(scene, texts=(*rest, replace(text, words=other)))
        yield "another ink", replace(scene, texts=(*rest, replace(text, color=ink)))
        if text.string.swapcase() != text.string:
            swapped = tuple(word.swapcase() for word in text.words)
            yield "another case", replace(scene, texts=(*rest, replace(text, words=swapped)))
    if "background" in metadata:
        ground = "black" if metadata["background"] == "white" else "white"
        yield "ground", replace(scene, background=Background(Fill.PLAIN, ground))
        blend = Background(Fill.GRADIENT, metadata["background"], ground)
        yield "gradient", replace(scene, background=blend)
    if scene.landscape is not None:
        props = scene.landscape.props
        sky = next(sky for sky in Sky if sky != scene.landscape.sky)
        yield "sky", replace(scene, landscape=replace(scene.landscape, sky=sky))
        there = {prop.element for prop in props}
        for element in Element:
            kept = tuple(prop for prop in props if prop.element != element)
            more = (*props, replace(props[0], element=element))
            yield (
                str(element),
                replace(
                    scene,
                    landscape=replace(scene.landscape, props=kept if element in there else more),
                ),
            )


@pytest.mark.parametrize("kind", list(Kind))
def test_true_sketches_meet_all_and_changed_ones_do_not(kind: Kind) -> None:
    seen: collections.Counter[str] = collections.Counter()
    for seed in range(60):
        scene = compose(seed, kind, held_out=seed % 2 == 0)
        metadata = asked(scene)
        if kind != Kind.LANDSCAPES and len(scene.objects) > 8:
            continue
        found = judged(metadata, sketch(scene))
        assert found.correct and found.strict, (seed, found.reasons)
        for what, changed in changes(scene, metadata):
            assert not judged(metadata, sketch(changed)).correct, (seed, what)
            seen[what] += 1
    wanted = {
        Kind.SHAPES: {"dropped", "doubled", "recoloured", "reshaped", "mirrored", "ground"},
        Kind.WORDS: {"no line", "a line twice", "a letter more", "another ink", "another case"},
        Kind.LANDSCAPES: {"sky", *map(str, Element)},
        Kind.MIXED: {"dropped", "recoloured", "a letter more"},
    }[kind]
    assert all(seen[what] >= 10 for what in wanted), seen


def test_sizes_are_those_of_scenes() -> None:
    seen = collections.Counter()
    for seed in range(200):
        scene = compose(seed, Kind.SHAPES, held_out=False)
        if len(scene.objects) != 1:
            continue
        (one,) = scene.objects
        for size in ("small", "large"):
            wanted = {"class": str(one.shape), "count": 1, "size": size}
            met = judged({"include": [wanted]}, sketch(scene)).correct
            assert met == (size == one.size), (size, one)
            seen[one.size, met] += 1
    assert (
        seen[Size.SMALL, True] > 3 and seen[Size.LARGE, True] > 3 and seen[Size.MEDIUM, False] > 3
    )


def shape(name: str, x: float, y: float, side: float = 0.2, color: str = "red") -> Thing:
    half = side / 2
    return Thing(name, color, (x - half, y - half, x + half, y + half), side)


A, B, C = (shape(name, x, 0.5) for name, x in (("star", 0.2), ("ring", 0.5), ("heart", 0.8)))
BY_NAME = {"star": 0, "ring": 1, "heart": 2}
HOLDER = shape("ring", 0.5, 0.5, 0.6)


@pytest.mark.parametrize(
    ("relation", "right", "wrong"),
    [
        (["between", 1, 0, 2], (A, B, C), (A, shape("ring", 0.5, 0.9), C)),
        (["between", 1, 0, 2], (A, B, C), (A, shape("ring", 0.95, 0.5, 0.1), C)),
        (["next to", 0, 1], (A, B, C), (shape("star", 0.1, 0.1), shape("ring", 0.9, 0.9), C)),
        (["next to", 0, 1], (A, B, C), (shape("star", 0.5, 0.5, 0.1), HOLDER, C)),
        (["inside", 0, 1], (shape("star", 0.5, 0.5), HOLDER, C), (A, B, C)),
        (
            ["inside", 0, 1],
            (shape("star", 0.5, 0.5), HOLDER, C),
            (shape("star", 0.8, 0.5), HOLDER, C),
        ),
        (["around", 1, 0], (shape("star", 0.5, 0.5), HOLDER, C), (A, B, C)),
        (["in a row", 0, 1, 2], (A, B, C), (A, shape("ring", 0.5, 0.7), C)),
        (["in a row", 0, 1, 2], (A, B, C), (A, shape("ring", 0.22, 0.5), C)),
        (["left of", 0, 1], (A, B, C), (B, A, C)),
    ],
)
def test_relations(relation: list[Any], right: tuple[Thing, ...], wrong: tuple[Thing, ...]) -> None:
    include = [{"class": name, "count": 1} for name in BY_NAME]
    metadata = {"include": include, "relations": [relation]}
    if relation[0] == "left of":  # the same places, with the names exchanged
        wrong = tuple(
            dataclasses.replace(thing, name=name)
            for thing, name in zip(wrong, BY_NAME, strict=True)
        )
    assert requirements.judge(metadata, View(right)).correct
    found = requirements.judge(metadata, View(wrong))
    assert [atom["met"] for atom in found.atoms] == [True, True, True, False]


def test_a_column_is_a_row_that_stands() -> None:
    column = tuple(dataclasses.replace(t, box=(*t.box[1::-1], *t.box[:1:-1])) for t in (A, B, C))
    include = [{"class": name, "count": 1} for name in BY_NAME]
    for name, met in (("in a column", True), ("in a row", False)):
        metadata = {"include": include, "relations": [[name, 0, 1, 2]]}
        assert requirements.judge(metadata, View(column)).correct == met


def test_true_arrangements_are_seen_and_their_opposites_are_not() -> None:
    """Objects that lie, by the rules of scenes, inside, between and next to others, or in line."""
    seen: collections.Counter[str] = collections.Counter()
    for seed in range(120):
        ground = Background(Fill.PLAIN, Dice("ground", seed).pick(list(palette.BACKGROUNDS)))
        objects = arranged(Dice("arranged", seed), ground)
        if objects is None or len({(o.color, o.shape) for o in objects}) < len(objects):
            continue
        text = sketch(Scene(Kind.SHAPES, ground, objects))
        include = [{"class": str(o.shape), "color": str(o.color), "count": 1} for o in objects]
        for name, *places in _arrangements(objects):
            asked = {"include": include, "background": ground.color}
            assert judged({**asked, "relations": [[name, *places]]}, text).correct, (seed, name)
            seen[name] += 1
            other = {"inside": "next to", "next to": "inside", "in a row": "in a column"}
            if name in other:
                wrong = judged({**asked, "relations": [[other[name], *places]]}, text)
                assert not wrong.correct, (seed, name)
    assert min(seen[name] for name in ("inside", "next to", "between")) > 20, seen
    assert min(seen[name] for name in ("in a row", "in a column")) > 3, seen


def _arrangements(objects: tuple[Object, ...]) -> Iterator[list[Any]]:
    places = range(len(objects))
    for a, b in itertools.permutations(places, 2):
        if relations.is_inside(objects[a], objects[b]):
            yield ["inside", a, b]
        if relations.is_next_to(objects[a], objects[b]):
            yield ["next to", a, b]
    for a, b, c in itertools.permutations(places, 3):
        if b < c and relations.is_between(objects[a], objects[b], objects[c]):
            yield ["between", a, b, c]
    if relations.is_row(objects):
        yield ["in a row", *places]
    if relations.is_column(objects):
        yield ["in a column", *places]


def test_places_counts_and_absence() -> None:
    view = View((shape("star", 0.1, 0.2), shape("star", 0.2, 0.1)), (Line("Hi"),))

    def met(include: dict[str, Any], *exclude: str) -> bool:
        metadata = {"include": [include], "exclude": [{"class": name} for name in exclude]}
        return requirements.judge(metadata, view).correct

    assert met({"class": "star", "count": 2, "place": "top left"})
    assert not met({"class": "star", "count": 2, "place": "top right"})
    assert not met({"class": "star", "count": 1}) and not met({"class": "star", "count": 3})
    assert met({"class": "star", "count": 1, "least": True})
    assert met({"class": "shape", "count": 2, "color": "red"})
    assert not met({"class": "star", "count": 2}, "text")
    assert not met({"class": "star", "count": 2}, "anything else")
    assert met({"class": "star", "count": 2}, "ring")


def test_what_a_judge_cannot_see_is_left_out() -> None:
    metadata = {
        "include": [{"class": "hills", "count": 1}, {"class": "sun", "count": 1}],
        "exclude": [{"class": "birds"}],
        "sky": "night",
        "background": "blue",
        "text": [{"string": "Hi"}],
    }
    blind = frozenset({"hills", "birds", "sky", "background", "text"})
    found = requirements.judge(metadata, View(blind=blind))
    assert [atom["what"] for atom in found.atoms] == ["1 sun"]


def test_lines_of_one_quotation_may_be_broken_and_quotations_come_in_any_order() -> None:
    metadata = {"text": [{"string": "Happy New Year"}, {"string": "50%"}]}

    def met(*lines: str) -> bool:
        return requirements.judge(metadata, View(lines=tuple(map(Line, lines)))).correct

    assert met("Happy New", "Year", "50%") and met("50%", "Happy New Year")
    assert not met("Happy", "50%", "New Year") and not met("Happy New Year", "50")
    assert not met("Happy New Year", "50%", "off")


def test_objects_of_a_true_scene_are_between_and_inside_as_scenes_say() -> None:
    inner = Object(Shape.STAR, Color.RED, Size.SMALL, 0.4, 0.6, 0.06)
    outer = Object(Shape.CIRCLE, Color.BLUE, Size.LARGE, 0.4, 0.6, 0.18)
    scene = Scene(Kind.SHAPES, Background(Fill.PLAIN, "white"), (outer, inner))
    include = [{"class": "star", "count": 1}, {"class": "circle", "count": 1}]
    for name, met in (("inside", True), ("around", False), ("next to", False)):
        metadata = {"include": include, "relations": [[name, 0, 1]]}
        assert judged(metadata, sketch(scene)).correct == met, name
