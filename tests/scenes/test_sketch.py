# SPDX-License-Identifier: Apache-2.0
"""Sketches are read back by a small reader that knows the table and the letters alone."""

import dataclasses
import itertools
import re

import pytest

from omnigen.data.corpus.split import Split
from omnigen.data.stream.source import MOST_SKETCH_BYTES
from omnigen.dice import Dice
from omnigen.scenes.caption import in_grammar
from omnigen.scenes.caption_canvas import Canvas
from omnigen.scenes.compose import Variety, compose
from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.palette import BACKGROUNDS
from omnigen.scenes.scene import (
    Background,
    Color,
    Element,
    Fill,
    Kind,
    Landscape,
    Object,
    Prop,
    Scene,
    Shape,
    Size,
    Sky,
    Text,
)
from omnigen.scenes.sketch import sketch

COUNT = 400
VARIETY = Variety(related=0.5, vivid=0.5, marked=0.5)
FILLS = {"p": "plain", "g": "gradient", "t": "texture"}
GROUNDS = {
    "w": "white",
    "x": "black",
    "e": "grey",
    "b": "beige",
    "s": "sky blue",
    "m": "mint",
    "r": "red",
    "o": "orange",
    "y": "yellow",
    "v": "green",
    "u": "blue",
    "l": "purple",
    "k": "pink",
    "n": "brown",
}
COLORS = {
    "r": "red",
    "o": "orange",
    "y": "yellow",
    "g": "green",
    "b": "blue",
    "p": "purple",
    "k": "pink",
    "n": "brown",
    "x": "black",
    "w": "white",
}
SHAPES = {
    "C": "circle",
    "S": "square",
    "T": "triangle",
    "A": "star",
    "D": "diamond",
    "X": "cross",
    "H": "heart",
    "R": "ring",
}
SKIES = {"D": "clear", "E": "sunset", "N": "night", "O": "overcast"}
ELEMENTS = {
    "J": "sun",
    "L": "moon",
    "U": "stars",
    "C": "cloud",
    "M": "mountains",
    "G": "hills",
    "R": "river",
    "K": "lake",
    "W": "sea",
    "T": "trees",
    "H": "house",
    "B": "boat",
    "F": "birds",
    "S": "snow",
    "P": "sign",
    "A": "banner",
}
D = "[0-9a-v]"
BACKGROUND = re.compile(r"(p)(\w)|([gt])(\w)(\w)")
LANDSCAPE = re.compile(rf"([DENO])({D})")
OBJECT = re.compile(rf"({D})([a-z])([A-Z])({D})({D})({D})")
PROP = re.compile(rf"([A-Z])({D})({D})({D})({D})")
LINE = re.compile(rf'"([^"]*)"([a-z])([a-z])({D})({D})({D})({D})')


@dataclasses.dataclass
class Read:
    """What a sketch says, lengths in 1/32."""

    ground: tuple[str, ...] = ()
    sky: str = ""
    horizon: int = -1
    objects: list[tuple[int, str, str, list[int]]] = dataclasses.field(default_factory=list)
    props: list[tuple[str, list[int]]] = dataclasses.field(default_factory=list)
    lines: list[tuple[str, str, str, list[int]]] = dataclasses.field(default_factory=list)


def lengths(digits):
    return [int(digit, 32) for digit in digits]


def read(text):
    found = Read()
    if match := LANDSCAPE.match(text):
        found.sky, found.horizon = SKIES[match[1]], int(match[2], 32)
    elif match := BACKGROUND.match(text):
        fill, *shades = filter(None, match.groups())
        found.ground = (FILLS[fill], *(GROUNDS[shade] for shade in shades))
    assert match, text
    rest = text[match.end() :]
    while rest:
        if match := LINE.match(rest):
            words, color, font, *digits = match.groups()
            family = list(FAMILIES)[ord(font) - ord("a")]
            found.lines.append((words, COLORS[color], family, lengths(digits)))
        elif found.sky and (match := PROP.match(rest)):
            assert not found.lines, text
            found.props.append((ELEMENTS[match[1]], lengths(match.groups()[1:])))
        else:
            match = OBJECT.match(rest)
            assert match and not found.lines, text
            left, color, shape, *digits = match.groups()
            found.objects.append((int(left, 32), COLORS[color], SHAPES[shape], lengths(digits)))
        rest = rest[match.end() :]
    return found


def agrees(digits, wanted):
    """Whether digits are within 1/64 of lengths, except where the largest digit is smaller."""
    assert len(digits) == len(wanted)
    return all(
        abs(digit / 32 - length) <= 1 / 64 or (digit == 31 and 63 / 64 < length <= 1)
        for digit, length in zip(digits, wanted, strict=True)
    )


def runs(names):
    """How many neighbours share a name, run by run."""
    found = []
    for name in names:
        if found and found[-1][0] == name:
            found[-1][1] += 1
        else:
            found.append([name, 1])
    return found


@pytest.fixture(scope="module")
def scenes():
    return {
        kind: [
            *(
                compose(seed, kind, held_out=split == Split.TEST)
                for split in Split
                for seed in range(COUNT)
            ),
            *(compose(seed, kind, held_out=False, variety=VARIETY) for seed in range(COUNT)),
        ]
        for kind in Kind
    }


@pytest.mark.parametrize("colored", [True, False])
@pytest.mark.parametrize("kind", Kind)
def test_every_object_is_told_and_counted_down(scenes, kind, colored):
    told = several = 0
    for scene in scenes[kind]:
        objects = read(sketch(scene, colored=colored)).objects
        assert len(objects) == len(scene.objects)
        left = list(scene.objects)
        for _, color, shape, digits in objects:
            same = [
                thing
                for thing in left
                if (thing.color, thing.shape) == (color, shape)
                and agrees(digits, (thing.x, thing.y, 2 * thing.radius))
            ]
            assert same, (color, shape, digits, scene)
            left.remove(same[0])
        names = [(color if colored else None, shape) for _, color, shape, _ in objects]
        alike = runs(names)
        assert len(alike) == len(set(names))
        countdown = [number for _, count in alike for number in range(count, 0, -1)]
        assert [number for number, *_ in objects] == countdown
        told += len(objects)
        several += any(count > 2 for _, count in alike)
    if kind in (Kind.SHAPES, Kind.MIXED):
        assert told > COUNT and several > 10, (told, several)
    else:
        assert told == 0


@pytest.mark.parametrize("kind", Kind)
def test_every_line_of_words_is_told(scenes, kind):
    told = 0
    for scene in scenes[kind]:
        lines = read(sketch(scene)).lines
        assert [line[:3] for line in lines] == [(t.string, t.color, t.font) for t in scene.texts]
        for (*_, digits), text in zip(lines, scene.texts, strict=True):
            assert agrees(digits, (text.x, text.y, text.width, 2 * text.height))
        told += len(lines)
    assert told == 0 if kind == Kind.SHAPES else told > COUNT / 10


@pytest.mark.parametrize("kind", Kind)
def test_backgrounds_and_landscapes_are_told(scenes, kind):
    seen = set()
    for scene in scenes[kind]:
        found = read(sketch(scene))
        if scene.landscape is None:
            ground = scene.background
            seen.add(ground.fill)
            second = () if ground.fill == Fill.PLAIN else (ground.second,)
            assert found.ground == (ground.fill, ground.color, *second)
            assert (found.sky, found.props) == ("", [])
            continue
        seen.add(scene.landscape.sky)
        assert found.sky == scene.landscape.sky and not found.ground
        assert agrees([found.horizon], [scene.landscape.horizon])
        assert [name for name, _ in found.props] == [p.element for p in scene.landscape.props]
        for (_, digits), prop in zip(found.props, scene.landscape.props, strict=True):
            assert agrees(digits, (prop.x, prop.y, prop.width, prop.height)), (digits, prop)
    assert seen == set(Sky if kind == Kind.LANDSCAPES else Fill)


def thing(shape, color, x=0.5, y=0.5, radius=0.1):
    return Object(shape, color, Size.MEDIUM, x, y, radius)


SQUARE, CIRCLE, RING = Shape.SQUARE, Shape.CIRCLE, Shape.RING
RED, BLUE, PINK = Color.RED, Color.BLUE, Color.PINK
OBJECTS = (
    thing(SQUARE, RED, 4 / 32, 10 / 32, 3 / 32),
    thing(CIRCLE, BLUE, 0.5, 1.0, 0.19),
    thing(SQUARE, PINK, 0.0, 0.75, 0.06),
    thing(SQUARE, RED, 25 / 32, 10.4 / 32, 3.3 / 32),
)
HI = Text(("Hi", "you!"), PINK, "Noto Serif", 0.25, 15 / 32, 2.4 / 32, 12 / 32)


@pytest.mark.parametrize(
    ("scene", "colored", "wanted"),
    [
        (Scene(Kind.SHAPES, Background(Fill.PLAIN, "sky blue")), True, "ps"),
        (Scene(Kind.SHAPES, Background(Fill.PLAIN, "blue")), True, "pu"),
        (Scene(Kind.SHAPES, Background(Fill.GRADIENT, "purple", "green", 2)), True, "glv"),
        (Scene(Kind.SHAPES, Background(Fill.TEXTURE, "red", "black", 2)), True, "trx"),
        (
            Scene(Kind.SHAPES, Background(Fill.GRADIENT, "white", "mint", 7), OBJECTS),
            True,
            "gwm2rS4a61rSpa71bCgvc1kS0o4",
        ),
        (
            Scene(Kind.SHAPES, Background(Fill.TEXTURE, "grey", "beige"), OBJECTS),
            False,
            "teb3rS4a62kS0o41rSpa71bCgvc",
        ),
        (
            Scene(Kind.MIXED, Background(Fill.PLAIN, "black"), OBJECTS[1:2], (HI,)),
            True,
            'px1bCgvc"Hi you!"kh8fc5',
        ),
        (
            Scene(
                Kind.LANDSCAPES,
                texts=(dataclasses.replace(HI, holder=Element.CLOUD),),
                landscape=Landscape(
                    Sky.NIGHT,
                    (
                        Prop(Element.MOUNTAINS, 0.5, 0.25, 30 / 32, 0.125),
                        Prop(Element.SEA, 0.5, 0.875, 1.0, 0.25),
                        Prop(Element.CLOUD, 0.25, 15 / 32, 0.5, 6 / 32),
                    ),
                    horizon=20 / 32,
                ),
            ),
            True,
            'NkMg8u4Wgsv8C8fg6"Hi you!"kh8fc5',
        ),
    ],
)
def test_sketches_written_out(scene, colored, wanted):
    assert sketch(scene, colored=colored) == wanted


@pytest.mark.parametrize("colored", [True, False])
@pytest.mark.parametrize("kind", Kind)
def test_sketches_are_ascii_and_short(kind, colored):
    longest = 0
    for seed in range(2000):
        written = sketch(compose(seed, kind, held_out=bool(seed % 2)), colored=colored)
        assert written.isascii() and written.isprintable()
        longest = max(longest, len(written))
    assert 40 < longest <= MOST_SKETCH_BYTES < 128


def test_every_background_has_letters_of_its_own():
    assert not set(GROUNDS) & set(FILLS), "or ~Fluent flatpw could be a texture"
    written = {}
    for name, fill in itertools.product(BACKGROUNDS, Fill):
        seconds = [""] if fill == Fill.PLAIN else [other for other in BACKGROUNDS if other != name]
        for second in seconds:
            text = sketch(Scene(Kind.SHAPES, Background(fill, name, second), OBJECTS[1:2]))
            assert read(text).ground == (fill, name, *filter(None, [second]))
            assert len(read(text).objects) == 1
            written[text] = name
    assert len(written) == 14 * (1 + 2 * 13)


def test_a_crowd_counts_down_from_twenty():
    crowd = tuple(thing(RING, BLUE, i / 20, 0.5, 0.06) for i in range(20))
    written = sketch(Scene(Kind.SHAPES, Background(Fill.PLAIN, "white"), crowd))
    assert written.startswith("pwkbR0g4jbR2g4ibR3g4")
    assert [left for left, *_ in read(written).objects] == list(range(20, 0, -1))
    assert len(written) == 122 <= MOST_SKETCH_BYTES


@pytest.mark.parametrize("colored", [True, False])
def test_captions_name_groups_in_the_order_of_sketches(scenes, colored):
    objects = (*OBJECTS, thing(RING, PINK), thing(CIRCLE, RED), thing(RING, PINK, 0.2))
    background = Background(Fill.PLAIN, "white")
    hand_made = Scene(Kind.MIXED, background, objects, (HI,))
    noun = re.compile(rf"({'|'.join(COLORS.values())})? ?\b({'|'.join(SHAPES.values())})(?:e?s)?\b")
    for scene in [hand_made, *scenes[Kind.SHAPES][:COUNT:8], *scenes[Kind.MIXED][:COUNT:8]]:
        groups = runs(
            (color if colored else "", shape)
            for _, color, shape, _ in read(sketch(scene, colored=colored)).objects
        )
        order = [name for name, _ in groups]
        for seed in range(8):
            slots = Canvas(scene, Dice("caption", seed), colored=colored)
            text = slots.write("{draw}{listed}") or ""
            assert noun.findall(re.sub(r'"[^"]*"', "@", text)) == order, text


def test_whole_captions_name_groups_in_the_order_of_sketches():
    scene = Scene(Kind.SHAPES, Background(Fill.PLAIN, "white"), OBJECTS)
    found = 0
    for seed in range(200):
        text = in_grammar(scene, seed, 240).lower()
        nouns = re.findall(r"(red squares|blue circle|pink square)", text)
        if not re.search(r"small|medium|large|the (red|blue|pink)|shapes", text) and nouns:
            order = ["red squares", "blue circle", "pink square"]
            assert nouns == [noun for noun in order if noun in nouns], text
            found += len(nouns) == 3
    assert found > 20
