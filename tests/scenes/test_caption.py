# SPDX-License-Identifier: Apache-2.0
"""Captions are read back by a small reader of English that shares nothing with the grammar."""

import collections
import copy
import dataclasses
import itertools
import re

import pytest

from omnigen.data.corpus.split import Split
from omnigen.dice import Dice
from omnigen.scenes import caption as captions
from omnigen.scenes.caption import in_grammar
from omnigen.scenes.caption_canvas import Canvas
from omnigen.scenes.caption_landscape import Outdoors
from omnigen.scenes.compose import compose
from omnigen.scenes.grammar import asked
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

COUNT = 500
NUMBERS = {"a": 1, "an": 1, "the": 1} | {
    word: value
    for value, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty".split(),
        start=2,
    )
}
SIZES = "small|medium|large"
COLORS = "red|orange|yellow|green|blue|purple|pink|brown|black|white"
SHAPES = "circle|square|triangle|star|diamond|cross|heart|ring"
PLACES = (
    "(?:in|at|on) the (?:top|bottom|upper|lower|left|right|center|middle)"
    "(?: (?:left|right|middle|side))?"
)
STYLES = "(?:serif|slab serif|monospace|typewriter|handwritten|script)"
COUNTED = re.compile(
    rf"\b(\d+|{'|'.join(NUMBERS)}) (?:({SIZES}) )?(?:({COLORS}) )?({SHAPES}|shape)(e?s)?\b"
    rf"(?: ({PLACES}))?"
)
RELATED = re.compile(
    rf"\bthe (?:({COLORS}) ({SHAPES})|text) (?:is )?(?:to the )?(left of|right of|above|below) "
    rf"the (?:({COLORS}) ({SHAPES})|text)\b"
)
COLORED = rf"({COLORS}) ({SHAPES})(?:e?s)?"
SIDES = "(?:are |is )?(?:to the )?(left of|right of|above|below)"
SIDED = re.compile(rf"\b{COLORED} {SIDES} (?:the|{'|'.join(NUMBERS)}|\d+) {COLORED}\b")


def scenes(kind, *, count=COUNT, split=Split.TRAIN):
    return [compose(seed, kind, held_out=split == Split.TEST) for seed in range(count)]


def unquoted(text):
    return re.sub(r'"[^"]*"', "@", text).lower()


def quoted_phrases(scene):
    held = [t for t in scene.texts if t.holder is not None]
    loose = [t.string for t in scene.texts if t.holder is None]
    return loose + ([" ".join(t.string for t in held)] if held else [])


def in_place(thing, place):
    words = place.split()
    checks = {
        "top": thing.y < 0.4,
        "upper": thing.y < 0.4,
        "bottom": thing.y > 0.6,
        "lower": thing.y > 0.6,
        "left": thing.x < 0.4,
        "right": thing.x > 0.6,
        "center": abs(thing.x - 0.5) < 0.11 and abs(thing.y - 0.5) < 0.11,
    }
    return all(checks.get(word, True) for word in words)


def find(scene, *, size=None, color=None, shape=None):
    wanted = {"size": size, "color": color, "shape": None if shape == "shape" else shape}
    return [
        thing
        for thing in scene.objects
        if all(value is None or getattr(thing, name) == value for name, value in wanted.items())
    ]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("split", Split)
def test_every_word_is_quoted_and_the_limit_is_kept(kind, split):
    for seed, scene in enumerate(scenes(kind, split=split)):
        text = in_grammar(scene, seed, 240)
        assert 0 < len(text.encode()) <= 240
        assert "\n" not in text and "  " not in text and "{" not in unquoted(text)
        for phrase in quoted_phrases(scene):
            assert f'"{phrase}"' in text


@pytest.mark.parametrize("kind", Kind)
def test_the_terse_captions_fit_small_limits(kind):
    for seed, scene in enumerate(scenes(kind)):
        needed = sum(len(phrase) + 8 for phrase in quoted_phrases(scene))
        limit = 40 + needed
        assert len(in_grammar(scene, seed, limit).encode()) <= limit


def test_a_limit_that_the_words_alone_exceed():
    scene = words_scene(Text(("word",), Color.RED, "Poppins", 0.5, 0.5, 0.1, 0.4))
    with pytest.raises(AssertionError, match="at most 5 bytes"):
        in_grammar(scene, 0, 5)


@pytest.mark.parametrize("kind", [Kind.SHAPES, Kind.MIXED])
def test_counts_colors_shapes_sizes_and_places_are_true(kind):
    complete = placed = 0
    for seed, scene in enumerate(scenes(kind)):
        text = unquoted(in_grammar(scene, seed, 240))
        told = 0
        for number, size, color, shape, plural, place in COUNTED.findall(text):
            if number == "the" and plural:
                continue
            found = find(scene, size=size or None, color=color or None, shape=shape)
            count = NUMBERS[number] if number in NUMBERS else int(number)
            assert len(found) == count, (text, scene)
            if place:
                placed += 1
                assert all(in_place(thing, place) for thing in found), (text, scene)
            told += count if color and shape != "shape" and number != "the" else 0
        complete += told >= len(scene.objects)
    assert complete >= 0.75 * COUNT, complete
    assert placed >= 0.2 * COUNT


def test_relations_are_true():
    seen = 0
    for seed, scene in enumerate(scenes(Kind.MIXED, count=3 * COUNT)):
        for color, shape, relation, other_color, other_shape in RELATED.findall(
            unquoted(in_grammar(scene, seed, 240))
        ):
            things = []
            for hue, form in ((color, shape), (other_color, other_shape)):
                found = find(scene, color=hue, shape=form) if form else list(scene.texts)
                assert len(found) == 1
                things += found
            dx, dy = things[0].x - things[1].x, things[0].y - things[1].y
            along, across = (dx, dy) if relation.endswith("of") else (dy, dx)
            assert abs(along) > abs(across)
            assert (along < 0) == (relation in ("left of", "above"))
            seen += 1
    assert seen > 20


def test_relations_of_several_are_true_and_come():
    """All of one kind are on that side of all of the other; a model has to see it to draw it."""
    seen = collections.Counter()
    for seed, scene in enumerate(scenes(Kind.SHAPES, count=4000)):
        text = unquoted(in_grammar(scene, seed, 240))
        for color, shape, relation, other_color, other_shape in SIDED.findall(text):
            ones = find(scene, color=color, shape=shape)
            others = find(scene, color=other_color, shape=other_shape)
            assert ones and others
            for one, other in itertools.product(ones, others):
                dx, dy = one.x - other.x, one.y - other.y
                along, across = (dx, dy) if relation.endswith("of") else (dy, dx)
                assert abs(along) >= 2 * abs(across), (text, scene)
                assert (along < 0) == (relation in ("left of", "above")), (text, scene)
            seen[relation] += len(ones) + len(others) > 2
    assert len(seen) == 4 and min(seen.values()) > 15, seen


def test_backgrounds_are_true():
    shade = "(sky blue|white|black|grey|beige|mint)"
    blend = re.compile(f"gradient of {shade} and {shade}|{shade} and {shade} gradient")
    plain = re.compile(f"plain {shade} background|the background is {shade}[.]?$")
    seen = dict.fromkeys(Fill, 0)
    for seed, scene in enumerate(scenes(Kind.SHAPES) + scenes(Kind.WORDS)):
        text = unquoted(in_grammar(scene, seed, 240)).replace("gray", "grey")
        ground = scene.background
        if told := blend.search(text):
            assert {ground.color, ground.second} == set(filter(None, told.groups()))
            assert ground.fill == Fill.GRADIENT
        elif told := plain.search(text):
            assert ground.color in told.groups()
            assert ground.fill == Fill.PLAIN
        elif "textur" in text:
            assert ground.fill == Fill.TEXTURE
        else:
            continue
        seen[ground.fill] += 1
    assert min(seen.values()) > 20


def test_landscapes_name_only_what_is_there():
    skies = {
        "blue sky": Sky.CLEAR,
        "clear sky": Sky.CLEAR,
        "clear day": Sky.CLEAR,
        "sunset": Sky.SUNSET,
        "evening": Sky.SUNSET,
        "night": Sky.NIGHT,
        "dark sky": Sky.NIGHT,
        "overcast": Sky.OVERCAST,
        "gray": Sky.OVERCAST,
    }
    complete = 0
    for seed, scene in enumerate(scenes(Kind.LANDSCAPES)):
        text = unquoted(in_grammar(scene, seed, 240))
        landscape = scene.landscape
        named = set()
        for element in Element:
            if re.search(rf"\b{element.value.rstrip('s')}s?\b", text):
                assert landscape.has(element), (text, element)
                named.add(element)
        for words, sky in skies.items():
            assert words not in text or landscape.sky == sky, (text, landscape.sky)
        clouds = sum(prop.element == Element.CLOUD for prop in landscape.props)
        if told := re.search(r"\b(two|three) clouds", text):
            assert NUMBERS[told[1]] == clouds
        for ink in re.findall(rf"({COLORS}) (?:words?|letters) @?", text):
            assert ink in {line.color for line in scene.texts}
        complete += named == {prop.element for prop in landscape.props}
    assert complete >= 0.75 * COUNT, complete


def test_inks_are_true():
    seen = 0
    for seed, scene in enumerate(scenes(Kind.WORDS)):
        text = in_grammar(scene, seed, 240)
        inks = {f'"{line.string}"': line.color for line in scene.texts}
        for quote, ink in inks.items():
            after = re.search(rf"{re.escape(quote)} (?:written )?in ({COLORS})\b", text)
            before = re.search(
                rf"\b({COLORS}) (?:{STYLES} )?(?:text|letters|words?)"
                rf"(?: saying| that say)? {re.escape(quote)}",
                text,
                re.IGNORECASE,
            )
            for told in (after, before):
                if told:
                    seen += 1
                    assert told[1].lower() == ink, text
    assert seen > 0.2 * COUNT


def test_captions_depend_on_scene_and_seed_alone():
    scene = compose(3, Kind.MIXED, held_out=False)
    first = [in_grammar(scene, seed, 240) for seed in range(50)]
    assert first == [in_grammar(copy.deepcopy(scene), seed, 240) for seed in range(50)]
    assert len(set(first)) > 40


@pytest.mark.parametrize("kind", Kind)
def test_every_template_can_be_filled(kind):
    assert len(captions.FULL[kind]) >= 12
    unfilled = {*captions.FULL[kind], *captions.LOOSELY[kind]}
    describe = Outdoors if kind == Kind.LANDSCAPES else Canvas
    for seed, scene in enumerate(scenes(kind)):
        unfilled -= {t for t in unfilled if describe(scene, Dice(seed)).write(t)}
    if kind == Kind.MIXED:  # these are for scenes without words
        unfilled -= {t for t in unfilled if "{total}" in t or "{nothing}" in t}
    assert not unfilled


def words_scene(*texts):
    return Scene(Kind.WORDS, Background(Fill.PLAIN, "white"), texts=texts)


def cloud_scene():
    line = Text(("AGC", "is"), Color.BLACK, "Poppins", 0.5, 0.15, 0.08, 0.3, Element.CLOUD)
    other = dataclasses.replace(line, words=("Awesome!",), y=0.25)
    props = (
        Prop(Element.MOUNTAINS, 0.5, 0.5, 1.0, 0.2),
        Prop(Element.RIVER, 0.5, 0.8, 0.5, 0.4),
        Prop(Element.CLOUD, 0.5, 0.2, 0.5, 0.3),
    )
    return Scene(
        Kind.LANDSCAPES, texts=(line, other), landscape=Landscape(Sky.CLEAR, props, horizon=0.6)
    )


def test_lines_in_a_cloud_are_one_quotation_as_in_the_prompt_that_people_try():
    prompt = (
        "generate a pic with a cloud floating on the blue sky and there are mountains and river "
        'down below. There are words "AGC is Awesome!" in the cloud.'
    )
    spoken = [in_grammar(cloud_scene(), seed, 240) for seed in range(4000)]
    assert all('"AGC is Awesome!"' in text for text in spoken)
    opening, closing = prompt.split(". ")
    for part in (
        "a pic with a cloud",
        "cloud floating on the blue sky",
        "there are mountains and river down below",
        closing,
        'The cloud says "AGC is Awesome!"',
        ', with the text "AGC is Awesome!" written in the cloud',
    ):
        assert any(part in text for text in spoken), part
    assert opening.startswith("generate a pic with ")
    assert "generate a pic with " in {asked(Dice("opening", seed)) for seed in range(8000)}


def test_an_empty_scene_is_its_background():
    empty = Scene(Kind.SHAPES, Background(Fill.PLAIN, "mint"))
    assert all("mint background" in in_grammar(empty, seed, 240).lower() for seed in range(20))


def test_single_objects_and_groups():
    circle = Object(Shape.CIRCLE, Color.RED, Size.SMALL, 0.2, 0.2, 0.07)
    twin = dataclasses.replace(circle, y=0.5)
    scene = Scene(Kind.SHAPES, Background(Fill.PLAIN, "white"), (circle, twin))
    spoken = {in_grammar(scene, seed, 240).lower().strip(".") for seed in range(300)}
    assert "two red circles" in spoken and "2 red circles" in spoken
    assert any("two small red circles on the left" in text for text in spoken)
    assert not any("in the top left" in text for text in spoken)


def test_uncolored_captions_name_objects_by_their_shapes():
    unsized = related = 0
    for seed, scene in enumerate(scenes(Kind.SHAPES)):
        text = in_grammar(scene, seed, 240, uncolored=1.0)
        related += bool(
            re.search(rf"({SHAPES}) (is )?(to the )?(left|right) of \w+ ({SHAPES})", text)
        )
        if not re.search(rf"\b({SIZES})\b", text):
            assert not re.search(rf"\b({COLORS}) ({SHAPES})", text), text
            unsized += 1
    assert unsized > COUNT / 2 and related > 10


def test_the_share_of_uncolored_captions():
    found = scenes(Kind.SHAPES)
    usual = [in_grammar(scene, seed, 240) for seed, scene in enumerate(found)]
    some = [in_grammar(scene, seed, 240, uncolored=0.3) for seed, scene in enumerate(found)]
    every = [in_grammar(scene, seed, 240, uncolored=1.0) for seed, scene in enumerate(found)]
    apart = [i for i in range(COUNT) if usual[i] != every[i]]
    taken = [i for i in apart if some[i] == every[i]]
    assert all(some[i] in (usual[i], every[i]) for i in range(COUNT))
    assert 0.24 < len(taken) / len(apart) < 0.36
