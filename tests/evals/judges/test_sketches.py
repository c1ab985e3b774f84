# SPDX-License-Identifier: Apache-2.0
"""The reader of sketches against scenes: it shares no table with what writes them."""

import pytest

from omnigen.evals.judges import sketches
from omnigen.scenes import palette
from omnigen.scenes import sketch as writer
from omnigen.scenes.compose import compose
from omnigen.scenes.scene import (
    Background,
    Color,
    Fill,
    Kind,
    Object,
    Scene,
    Shape,
    Size,
)


def told_background(scene: Scene) -> str:
    ground = scene.background
    if ground is None:
        return ""
    if ground.fill == Fill.GRADIENT:
        return f"gradient of {ground.color} and {ground.second}"
    return f"textured {ground.color}" if ground.fill == Fill.TEXTURE else ground.color


def test_the_letters_are_those_of_the_writer() -> None:
    assert {letter: str(color) for color, letter in writer.COLORS.items()} == sketches.COLORS
    assert {letter: str(shape) for shape, letter in writer.SHAPES.items()} == sketches.SHAPES
    assert {letter: str(sky) for sky, letter in writer.SKIES.items()} == sketches.SKIES
    assert {letter: str(e) for e, letter in writer.ELEMENTS.items()} == sketches.ELEMENTS
    assert {letter: name for name, letter in writer.GROUNDS.items()} == sketches.GROUNDS
    assert sketches.GROUNDS.keys() >= {writer.GROUNDS[name] for name in palette.BACKGROUNDS}
    assert len(writer.DIGITS) == sketches.FULL


@pytest.mark.parametrize("kind", list(Kind))
def test_a_scene_is_read_back(kind: Kind) -> None:
    for seed in range(150):
        scene = compose(seed, kind, held_out=seed % 2 == 1)
        read = sketches.read(writer.sketch(scene))
        assert (read.rest, read.style) == ("", "")
        assert read.view.background == told_background(scene)
        props = scene.landscape.props if scene.landscape else ()
        assert read.view.sky == (str(scene.landscape.sky) if scene.landscape else "")
        wanted = [(str(p.element), "", p.x, p.y, p.width, p.height) for p in props]
        wanted += [
            (str(o.shape), str(o.color), o.x, o.y, *[2 * o.radius] * 2) for o in scene.objects
        ]
        found = []
        for thing in read.view.things:
            left, top, right, bottom = thing.box
            found.append((thing.name, thing.color, *thing.center, right - left, bottom - top))
        assert sorted(f[:2] for f in found) == sorted(w[:2] for w in wanted)
        for one in wanted:  # objects that are alike stand together, so the order may differ
            near = [f for f in found if f[:2] == one[:2]]
            pairs = [zip(f[2:], one[2:], strict=True) for f in near]
            error = min(max(abs(a - min(b, 31 / 32)) for a, b in pair) for pair in pairs)
            assert error <= 1 / 64 + 1e-9
        lines = [(line.text, line.color) for line in read.view.lines]
        assert lines == [(text.string, str(text.color)) for text in scene.texts]


def test_drawings_and_styles_are_read() -> None:
    read = sketches.read('~Fluent flatgwm<red apple>8ge<white sign>gat"50% off!"kag5t3')
    assert (read.style, read.rest) == ("Fluent flat", "")
    assert read.view.background == "gradient of white and mint"
    assert [thing.name for thing in read.view.things] == ["red apple", "white sign"]
    assert read.view.things[0].center == (0.25, 0.5)
    assert read.view.things[0].side == 14 / 32
    assert read.view.lines == (sketches.Line("50% off!", "pink"),)
    alone = sketches.read("~Twemojip(mint green)<panda>ggr")
    assert (alone.style, alone.view.background) == ("Twemoji", "mint green")
    assert [thing.name for thing in alone.view.things] == ["panda"]


def test_many_alike_and_drawings_of_objects_are_read() -> None:
    for count in (2, 10, 11, 14, 20, 24):
        objects = [Object(Shape.RING, Color.RED, Size.SMALL, 0.5, 0.5, 0.06)] * count
        for ground in (Background(Fill.PLAIN, "white"), Background(Fill.TEXTURE, "mint", "white")):
            read = sketches.read(writer.sketch(Scene(Kind.SHAPES, ground, tuple(objects))))
            assert (len(read.view.things), read.rest) == (count, "")
            assert read.left == tuple(range(count, 0, -1))
    read = sketches.read("~Twemojipx<white heart>9dc<ring>ndc<heart balloon>ggg")
    found = [(thing.name, thing.color) for thing in read.view.things]
    assert found == [("heart", "white"), ("ring", ""), ("heart balloon", "")]


@pytest.mark.parametrize(
    ("text", "count", "rest"),
    [
        ("", 0, ""),
        ("pw1rS4a", 0, "1rS4a"),
        ("pw1rS4a61bC", 1, "1bC"),
        ("pw1rS4a6?1bC4a6", 1, "?1bC4a6"),
        ('pw"no end', 0, '"no end'),
        ("NkMg8u4<a", 1, "<a"),
        ("#" + "A" * 64, 0, "#" + "A" * 64),
        ("�", 0, "�"),
    ],
)
def test_what_breaks_the_notation_ends_the_reading(text: str, count: int, rest: str) -> None:
    read = sketches.read(text)
    assert (len(read.view.things), read.rest) == (count, rest)
