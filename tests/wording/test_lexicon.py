# SPDX-License-Identifier: Apache-2.0
"""Lexica say what a word means, and each word means one thing."""

import collections
import math

import pytest

from omnigen.dice import Dice
from omnigen.scenes import grammar, palette
from omnigen.scenes.scene import Element, Fill, Shape, Sky
from omnigen.wording import lexicon, meaning
from omnigen.wording.lexicon import Entry, Use

HEAD = "meaning\ttext\tuse\tform\tplural\ttags\n"


def test_a_table_is_read(tmp_path) -> None:
    (tmp_path / "t.tsv").write_text(f"{HEAD}ring\tdonut\tknown\tnoun\tdonuts\tshape_context,odd\n")
    expected = Entry(
        "ring", "donut", Use.KNOWN, "noun", "donuts", frozenset({"shape_context", "odd"})
    )
    assert lexicon.read(tmp_path / "t.tsv") == (expected,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line must be meaning text"),
        (f"{HEAD}ring\tdonut\tknown", "t.tsv, line 2: .*6 cells"),
        (f"{HEAD}ring\tdonut\tseldom\tnoun\t\t", "usual, known, rare for use"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, text: str, message: str) -> None:
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        lexicon.read(tmp_path / "t.tsv")


def test_words_are_drawn_as_people_use_them() -> None:
    found = [Entry("red", text, Use(text)) for text in ("usual", "known", "rare")]
    drawn = collections.Counter(lexicon.draw(found, Dice("t", i)).text for i in range(3200))
    assert drawn["usual"] == pytest.approx(1829, abs=100)
    assert drawn["known"] == pytest.approx(914, abs=80)
    assert drawn["rare"] == pytest.approx(457, abs=60)


TABLES = sorted(path.stem for path in lexicon.FOLDER.glob("*.tsv"))
ALLOWED = {
    "colors": {*meaning.COLORS},
    "modifiers": {*meaning.COLORS},
    "grounds": {*palette.BACKGROUNDS} - {*meaning.COLORS},
    "fills": {*Fill},
    "shapes": {*Shape, "shape"},
    "elements": {*Element},
    "numbers": {str(i) for i in range(1, 21)} | {"any", "many", "several"},
    "sizes": {*meaning.SIZES},
    "places": {*meaning.PLACES},
    "relations": {*meaning.RELATIONS},
    "skies": {*Sky},
    "holders": {*meaning.HOLDERS, "letters"},
    "writing": {"say", "write", "written"},
    "requests": {"verb", "medium", "please", "context", "adjective"},
    "absent": {"no", "only", *Element, "text", "anything else"},
}


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_all_meanings_have_words_and_no_others(name: str) -> None:
    told = {entry.meaning for entry in lexicon.table(name)}
    assert told <= ALLOWED[name]
    assert told >= ALLOWED[name] - {*Element} or name == "elements" and told == ALLOWED[name]


@pytest.mark.parametrize("name", TABLES)
def test_every_text_means_one_thing(name: str) -> None:
    """Adjectives of colours stand before several, and "spell" is said of writers and of words."""
    found = collections.defaultdict(set)
    for entry in lexicon.table(name):
        assert entry.text == entry.text.strip() and "  " not in entry.text
        for text in filter(None, (entry.text, entry.plural)):
            found[text, entry.form].add(entry.meaning)
    several = {key: told for key, told in found.items() if len(told) > 1 and key[1] != "kind"}
    assert not several or name in ("modifiers", "writing")


@pytest.mark.parametrize("name", TABLES)
def test_no_entry_is_there_twice(name: str) -> None:
    keys = [(entry.meaning, entry.text, entry.form) for entry in lexicon.table(name)]
    assert len(keys) == len({*keys})


# Too dark to be nearest to their family, whatever lightness counts; seen, and called so by all.
DARK = {"navy", "plum", "ultramarine"}


@pytest.mark.parametrize("name", ["colors", "grounds"])
def test_colors_are_of_the_family_that_is_nearest_in_cielab(name: str) -> None:
    """Names that do not name their family themselves; lightness counts half, as hue names do."""
    families = palette.COLORS if name == "colors" else palette.BACKGROUNDS
    seen = 0
    for entry in lexicon.table(name):
        values = [tag for tag in entry.tags if tag.startswith("#")]
        if not values or entry.meaning.split()[-1] in entry.text or entry.text in DARK:
            continue
        if name == "grounds" and {"light", "pale", "pastel", "soft"} & {*entry.text.split()}:
            continue
        lab = palette.lab(tuple(bytes.fromhex(values[0][1:])))
        distance = {
            str(family): math.dist(
                (lab[0] / 2, *lab[1:]), (palette.lab(rgb)[0] / 2, *palette.lab(rgb)[1:])
            )
            for family, rgb in families.items()
        }
        nearest = sorted(distance, key=lambda family: distance[family])
        assert entry.meaning == nearest[0] or (name == "grounds" and entry.meaning in nearest[:2])
        seen += 1
    assert seen >= (20 if name == "colors" else 5)


@pytest.mark.parametrize(
    ("count", "form", "expected"),
    [
        (1, "word", {"one", "a single", "just one"}),
        (3, "times", {"3x", "3 x", "3×"}),
        (4, "after", {"x4", "(4)", "[4]", "(four)", ", four of them"}),
        (2, "of", {"a pair of", "a couple of", "a set of two", "a couple"}),
        (6, "word", {"six", "half a dozen"}),
        (12, "word", {"twelve", "a dozen"}),
        (20, "word", {"twenty", "a score of"}),
        (23, "digit", {"23"}),
        (None, "vague", {"several", "many", "a few", "some"}),
    ],
)
def test_numbers(count, form, expected) -> None:
    found = lexicon.numbers(count)
    assert expected <= {entry.text for entry in found if entry.form == form}
    assert not any("{" in entry.text for entry in found)
    assert {entry.meaning for entry in found} == {"several" if count is None else str(count)}


def test_one_is_no_group_and_large_counts_have_no_words() -> None:
    assert not [entry for entry in lexicon.numbers(1) if entry.form == "of"]
    assert {entry.form for entry in lexicon.numbers(23)} <= {"digit", "times", "after", "of"}
    assert lexicon.entries("numbers", "17", "word")[0].text == grammar.NUMBERS[17]


def test_vague_numbers_say_of_what_counts_they_are_true() -> None:
    for entry in lexicon.entries("numbers", "several"):
        (limits,) = entry.tags
        low, high = map(int, limits.split("-"))
        assert 2 <= low <= high <= 20


IRREGULAR = {
    "annuli",
    "circles with a hole",
    "circles with a hole in it",
    "circles with a hole in them",
    "stars with five points",
    "shapes with three sides",
    "shapes with three corners",
    "strips of cloth",
}


@pytest.mark.parametrize("name", ["shapes", "elements", "holders"])
def test_plurals(name: str) -> None:
    for entry in lexicon.table(name):
        if entry.plural and entry.plural not in IRREGULAR:
            regular = entry.text[:-1] + "ies" if entry.text.endswith("y") else entry.text + "s"
            hissing = entry.text + "es" if entry.text.endswith(("s", "x", "ch", "sh")) else regular
            assert entry.plural == hissing
    assert all(entry.plural for entry in lexicon.table("shapes") if entry.form == "noun")


def test_a_name_is_read_without_context() -> None:
    """What is also the name of another thing is left out."""
    shapes = lexicon.meanings("shapes")
    assert shapes["disc"] == shapes["disks"] == "circle"
    assert shapes["lozenge"] == "diamond" and shapes["plus signs"] == "cross"
    assert not {"box", "ball", "donut", "pyramids", "block", "hoop"} & shapes.keys()
    colors = lexicon.meanings("colors")
    assert (colors["crimson"], colors["golden"], colors["navy"]) == ("red", "yellow", "blue")
    ambiguous = "maroon burgundy teal turquoise magenta cyan amber salmon coral peach indigo tan"
    assert not {*ambiguous.split(), "light red", "charcoal", "ivory"} & colors.keys()


def test_things_are_called_by_what_people_say() -> None:
    """No name is that of two things, or of a shape, and what a thing is one of is no name of it."""
    things = lexicon.table("things")
    assert len(things) > 150 and {entry.form for entry in things} == {"synonym", "kind"}
    called = collections.Counter(e.text for e in things if e.form == "synonym")
    assert called.most_common(1)[0][1] == 1
    assert not called.keys() & {entry.meaning for entry in things}
    assert {"plane", "ladybug", "rhino", "fire truck"} <= called.keys()
    assert not called.keys() & {e.text for e in lexicon.table("shapes")} - {"donut"}
    kinds = {entry.meaning: entry.text for entry in things if entry.form == "kind"}
    assert (kinds["owl"], kinds["guitar"]) == ("bird", "musical instrument")
