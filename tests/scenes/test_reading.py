# SPDX-License-Identifier: Apache-2.0
import collections
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnigen.data.corpora import arrangement, composites, description, drawings
from omnigen.data.corpora.subjects import Subject
from omnigen.data.corpus.split import Split
from omnigen.dice import Dice
from omnigen.scenes.compose import compose
from omnigen.scenes.reading import Figure, Reading, read
from omnigen.scenes.scene import Background, Element, Fill, Kind, Prop, Sky
from omnigen.scenes.sketch import sketch

COUNT = 250  # of each kind and split: 2 000 scenes
STEP = 1 / 32 + 1e-9


def near(one, other, *names):
    return all(abs(getattr(one, name) - getattr(other, name)) <= STEP for name in names)


@pytest.mark.parametrize("colored", [True, False])
@pytest.mark.parametrize("kind", Kind)
def test_scenes_are_read_from_their_sketches(kind, colored):
    things = 0
    for seed in range(2 * COUNT):
        scene = compose(seed, kind, held_out=bool(seed % 2))
        found = read(sketch(scene, colored=colored))
        assert not (found.rest or found.figures or found.style or found.is_thumbnail)
        ground = scene.background and dataclasses.replace(scene.background, seed=0)
        assert found.background == ground
        left = list(scene.objects)
        assert len(found.objects) == len(left)
        for one in found.objects:
            same = [
                o
                for o in left
                if (o.shape, o.color, o.size) == (one.shape, one.color, one.size)
                and near(o, one, "x", "y", "radius")
            ]
            assert same, (one, scene)
            left.remove(same[0])
        landscape = scene.landscape
        assert found.sky == (landscape and landscape.sky)
        props = landscape.props if landscape else ()
        assert len(found.props) == len(props)
        for one, prop in zip(found.props, props, strict=True):
            assert one.element == prop.element
            assert near(one, prop, "x", "y", "width", "height")
        assert not landscape or abs(found.horizon - landscape.horizon) <= STEP
        assert len(found.texts) == len(scene.texts)
        for one, text in zip(found.texts, scene.texts, strict=True):
            assert (one.words, one.color, one.font) == (text.words, text.color, text.font)
            assert one.holder == text.holder
            assert near(one, text, "x", "y", "width", "height")
        things += len(scene.objects) + len(props) + len(scene.texts)
    assert things > 2 * COUNT


STYLES = ("Noto", "Fluent flat", "game icon", "EmojiOne line")


@pytest.mark.parametrize("style", STYLES)
def test_composites_are_read_from_their_sketches(style):
    names = ("red apple", "panda", "t-shirt", "Baby", "four leaf clover", "1st place medal", "owl")
    pools = {split: [(f"{split}-{n}", Subject(n)) for n in names] for split in Split}
    layouts = collections.Counter()
    for seed in range(200):
        dice = Dice("composite", seed)
        made = arrangement.arrange(dice, pools, is_mono=seed % 2 == 1)
        ground = composites.choose_ground(dice, [[(250, 40, 40)] * 4], made)
        text = arrangement.letter(dice, made, ground)
        found = read(description.write(made, ground, text, style=style))
        assert (found.style, found.rest, found.objects) == (style, (), ())
        assert found.background == dataclasses.replace(ground, seed=0)
        titles = [f.title for f in made.figures] + [f"{made.board} sign"] * bool(made.board)
        assert [f.title for f in found.figures] == titles
        for one, figure in zip(found.figures, made.figures, strict=False):
            assert near(one, figure, "x", "y", "side")
        assert [t.words for t in found.texts] == ([text.words] if text else [])
        layouts[made.layout] += 1
    assert len(layouts) == 4


def test_drawings_are_read_from_their_sketches():
    for ground in drawings.GROUNDS:
        figure = drawings.figure("red apple", 0.5, 0.5, drawings.INNER)
        assert read(f"~Notop({ground}){figure}") == Reading(
            style="Noto",
            background=Background(Fill.PLAIN, ground),
            figures=(Figure("red apple", 0.5, 0.5, 28 / 32),),
        )


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("", Reading()),
        ("#" + "A" * 64, Reading(is_thumbnail=True)),
        ("pq", Reading(rest=("pq",))),
        ("~game icon", Reading(style="game icon")),
        ("~Noto<owl>", Reading(style="Noto", rest=("<owl>",))),
        ("px1bCgv", Reading(background=Background(Fill.PLAIN, "black"), rest=("1bCgv",))),
        (
            'Nk?!Mg8u4"Hi"ka',
            Reading(
                sky=Sky.NIGHT,
                horizon=20 / 32,
                props=(Prop(Element.MOUNTAINS, 0.5, 0.25, 30 / 32, 4 / 32),),
                rest=("?!", '"Hi"ka'),
            ),
        ),
    ],
)
def test_what_is_written_badly_is_read_as_far_as_it_goes(written, wanted):
    assert read(written) == wanted


def test_quotation_marks_may_stand_in_words():
    (text,) = read('pw"a "b" c"kaf8c5').texts
    assert text.words == ("a", '"b"', "c")


LETTERS = st.sampled_from(list('0123456789abgjkpvwxrCSTADXHRJLUMGKWBFPNO"<>~#()é \n'))


@settings(max_examples=300)
@given(st.text(LETTERS, max_size=60))
def test_anything_is_read_and_nothing_is_lost(written):
    found = read(written)
    assert all(piece in written for piece in found.rest)
    kept = sum(map(len, found.rest)) + len(found.style)
    parts = 6 * len(found.objects) + 5 * len(found.props)
    parts += sum(len(f.title) + 5 for f in found.figures)
    parts += sum(len(t.string) + 8 for t in found.texts)
    head = (found.style != "" or written.startswith("~")) + 2 * (found.sky is not None)
    if found.background is not None:
        color = found.background.color
        head += 3 if found.background.second else 2 if f"p({color})" not in written else 0
        head += len(color) + 3 if f"p({color})" in written and not found.background.second else 0
    assert found.is_thumbnail or kept + parts + head == len(written)
