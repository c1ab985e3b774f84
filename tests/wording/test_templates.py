# SPDX-License-Identifier: Apache-2.0
"""Templates say what their slots and terms add up to, and fit the meanings that hold it."""

import collections
import dataclasses

import pytest

from omnigen.wording import fitting, lexicon, meaning, templates
from omnigen.wording.meaning import Meaning, Relation, Thing, Words
from omnigen.wording.templates import Slot, parse


def fits(text: str, terms: str, told: Meaning, *, whole: bool = True, style: str | None = None):
    """What the letters of one template stand for, or None if it does not fit."""
    found = fitting.fit(parse("t", "v", text, terms), told, whole=whole, style=style)
    return found and found.things | found.words


CIRCLE, STARS, BLUE = Thing("circle", 1, "red"), Thing("star", 2), Thing("star", 1, "blue")


def test_pieces_are_literals_and_slots() -> None:
    found = parse("t", "v", r"{a.n} {As}\n{a:is|are} {{up}}, {w}", "")
    assert found.pieces == (
        *(Slot("a", "n"), " ", Slot("a", "bares"), "\n", Slot("a", "", ("is", "are"))),
        *(" {up}, ", Slot("w")),
    )


@pytest.mark.parametrize(
    ("text", "terms", "relation", "expected"),
    [
        ("{a} above {b}", "above(a,b)", Relation("above", 0, (1,)), {"a": 0, "b": 1}),
        ("{a} above {b}", "above(a,b)", Relation("below", 0, (1,)), {"a": 1, "b": 0}),
        ("{a} above {b}", "above(a,b)", Relation("left", 0, (1,)), None),
        ("{a} by {b}", "next_to(a,b)", Relation("next_to", 1, (0,)), {"a": 0, "b": 1}),
        ("{a} in {b}", "inside(a,b)", Relation("around", 0, (1,)), {"a": 1, "b": 0}),
        ("{a} and {b}", "", Relation("left", 0, (1,)), None),
    ],
)
def test_relations_decide_which_is_which(text, terms, relation, expected) -> None:
    assert fits(text, terms, Meaning("shapes", (CIRCLE, BLUE), (relation,))) == expected


def test_a_part_may_leave_out_but_adds_nothing() -> None:
    told = Meaning("shapes", (CIRCLE, BLUE), (Relation("left", 0, (1,)),), background="blue")
    assert fits("{a} and {b}", "", told) is None
    assert fits("{a} and {b}", "", told, whole=False) == {"a": 0, "b": 1}
    assert fits("{a} and {b}", "above(a,b)", told, whole=False) is None
    assert fits("just {a}", "only", told, whole=False) is None
    assert fits("{a} on {bg}", "", told, whole=False) == {"a": 0}


@pytest.mark.parametrize(
    ("text", "terms", "thing", "fits_it"),
    [
        ("{a.n} {As}", "", Thing("star", 3, "red"), True),
        ("{a.n} {As}", "", Thing("star", 1), False),
        ("{a.n} {As}", "", Thing("star", None), False),
        ("several {As}", "", Thing("star", None, "red"), True),
        ("several {As}", "", Thing("star", 3), False),
        ("{a.nouns}", "", Thing("star", None, "red"), False),
        ("the {A}", "", Thing("star", 2), False),
        ("{a}, a big one", "a.size=large a.count=1", Thing("star", size="large"), True),
        ("{a}, a big one", "a.size=large a.count=1", Thing("star", 2, size="large"), False),
        ("{a}, a big one", "a.size=large", Thing("star", size="small"), False),
        ("{a}", "", Thing("star", place="top"), False),
        ("{a} in {a.place}", "", Thing("star", place="top"), True),
        ("{a} on top", "a.place=top", Thing("star", place="bottom"), False),
        ("{x}", "", Thing("star"), False),
        ("{x}", "", Thing("panda"), True),
        ("{a}", "", Thing("panda"), False),
    ],
)
def test_a_thing_is_told_by_its_slots_and_terms(text, terms, thing, fits_it) -> None:
    domain = "mixed" if thing.noun == "panda" else "shapes"
    assert (fits(text, terms, Meaning(domain, (thing,))) is not None) == fits_it


@pytest.mark.parametrize(
    ("text", "terms", "held", "fits_it"),
    [
        ("{a}, no {nos}", "", {"absent": ("circle",)}, True),
        ("{a}, no {nos}", "", {"absent": ("text",)}, False),
        ("{a}, nothing {no.color}", "", {"absent": ("red",)}, True),
        ("{a}, no words", "-text", {"absent": ("text",)}, True),
        ("{a}", "", {"absent": ("text",)}, False),
        ("{a} on {bg}", "", {"background": "gradient of white and mint"}, True),
        ("{a} on {bgc}", "", {"background": "gradient of white and mint"}, False),
        ("{a} on {bgc}", "", {"background": "sky blue"}, True),
        ("{a} on white", "bg=white", {"background": "white"}, True),
        ("just {a}", "only", {"only": True}, True),
        ("just {a}", "only", {}, False),
        ("{a}", "", {"only": True}, True),
    ],
)
def test_what_is_told_of_the_whole(text, terms, held, fits_it) -> None:
    assert (fits(text, terms, Meaning("shapes", (STARS,), **held)) is not None) == fits_it


def test_words_and_landscapes() -> None:
    boat = Meaning(
        "landscapes",
        (Thing("lake"), Thing("boat"), Thing("trees", None)),
        (Relation("on", 1, (0,)),),
        (Words("STOP", "red", "sign"),),
        sky="night",
    )
    text = "a boat on a lake at night, trees, a sign: {w}, in {w.ink}"
    terms = "boat lake trees sign on(boat,lake) w.holder=sign sky=night"
    expected = {"boat": 1, "lake": 0, "trees": 2, "w": 0}
    assert fits(text, terms, boat) == expected
    assert fits(text.replace("{w}", "{W}"), terms, boat) == expected
    assert fits(text, terms + " style=photo", boat) is None
    assert fits("a boat", "boat", boat, whole=False) == {"boat": 1}
    assert fits("two boats", "boat.count=2", boat, whole=False) is None
    assert fits("{trees.n} trees", "", boat, whole=False) is None
    quiet = Meaning("words", words=(Words("Stop"),))
    assert fits("{W}", "", quiet) is None
    assert fits("{w}", "", quiet) == {"w": 0}
    panda = Meaning("things", (Thing("panda"),))
    assert fits("{x}, {style}", "", panda, style="flat icon") == {"x": 0}
    assert fits("{x}, {style}", "", panda) is None


@pytest.mark.parametrize(
    ("text", "terms", "message"),
    [
        ("{k}", "", "'k'; allowed: a, "),
        ("{a.shade}", "", "'a.shade'; allowed after the dot: count, color"),
        ("{a}", "above(a,b)", "a relation names 'b'; allowed: a"),
        ("{a}", "above(a", "term 'above.a'; allowed: above"),
        ("{w}", "w.color=red", "'w.color=red'; allowed after the dot: ink"),
    ],
)
def test_bad_templates_are_refused(text: str, terms: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse("t", "v", text, terms)


def test_the_line_is_named(tmp_path) -> None:
    (tmp_path / "t.tsv").write_text("v\t{a}\t\nv\t{a}\n")
    with pytest.raises(ValueError, match="t.tsv, line 2: 2 cells; allowed: 3"):
        list(templates.read(tmp_path / "t.tsv"))


def test_every_template_parses_and_is_there_once() -> None:
    texts = [one.text for one in templates.every()]
    assert len(texts) == len(set(texts))


EVERY = templates.every()


def test_there_are_thousands_over_all_domains_in_many_voices() -> None:
    by_domain = collections.Counter(one.domain for one in EVERY)
    assert {*by_domain} == {*meaning.DOMAINS} and min(by_domain.values()) > 400
    assert len(EVERY) > 4000 and len({one.voice for one in EVERY}) > 100


def test_slots_and_terms_agree() -> None:
    """A letter that a term names has a slot, or a noun that a relation names is there."""
    for one in EVERY:
        shown = {piece.name for piece in one.pieces if isinstance(piece, Slot)}
        letters = {name for name in (*one.things, *one.words) if len(name) == 1}
        assert letters <= {"w" if name == "W" else name for name in shown}, one.text
        for _, *names in one.relations:
            assert len(names) == len({*names}), one.text


def test_no_count_is_told_twice() -> None:
    """Where a phrase tells the number, the rest of the text may but ask for a single one."""
    for one in EVERY:
        for holds in one.things.values():
            if "count" in holds.takes:
                assert holds.apart.get("count", "1") == "1", one.text


def test_quantities_are_plausible() -> None:
    for one in EVERY:
        for holds in one.things.values():
            count = holds.apart.get("count")
            assert count in (None, "several") or 1 <= int(count) <= 20, one.text
            assert holds.apart.get("place", "top") in (None, *meaning.PLACES), one.text
            assert holds.apart.get("size", "small") in (None, *meaning.SIZES), one.text
        for holds in one.words.values():
            assert holds.apart.get("holder", "sign") in meaning.HOLDERS, one.text
            assert holds.apart.get("ink", "red") in (None, *meaning.COLORS), one.text
        assert one.sky in (None, "any", *meaning.SKIES), one.text
        assert {name for name, *_ in one.relations} <= meaning.RELATIONS.keys(), one.text


def told_by(one: templates.Template) -> Meaning:
    """A meaning that the template alone defines: what it says, of any thing that will do."""
    nouns = (shape for shape in lexicon.SHAPES[2:] if shape not in one.absent)
    names, color = iter(("panda", "cup", "key")), "red"
    elements = (
        noun
        for noun in ("sun", "river", "snow", "cloud", "moon", "lake")
        if noun not in (*one.absent, *one.things)
    )
    things = []
    for name, holds in one.things.items():
        free = nouns if name in "abcd" else elements if name in "pqrs" else names
        noun = holds.noun or next(free)
        count = holds.apart.get("count", None if noun in fitting.PLURAL_NOUNS else 1)
        if "count" in holds.apart and count is None:
            count = 3
        if ("row", name) in one.relations and "count" not in holds.apart:
            count = 3
        if any(relation[0] == "between" and relation[2:] == (name,) for relation in one.relations):
            count = 2
        things.append(
            Thing(
                noun,
                None if count in (None, "several") else int(count),
                color if "color" in holds.apart else None,
                (holds.apart["size"] or "small") if "size" in holds.apart else None,
                (holds.apart["place"] or "top") if "place" in holds.apart else None,
            )
        )
    words = tuple(
        Words(
            "AB" if name == "w" else "C",
            (holds.apart["ink"] or color) if "ink" in holds.apart else None,
            holds.apart.get("holder"),
            None,
            (holds.apart["place"] or "top") if "place" in holds.apart else None,
        )
        for name, holds in one.words.items()
    )
    order = [*one.things, *one.words]
    ground = {"any": "blue", "plain": "blue"}.get(one.background or "", one.background)
    absent = [{"any": "circle", "any color": "green"}.get(noun, noun) for noun in one.absent]
    is_things = any(name in "xyz" for name in one.things) and not any(
        len(name) > 1 or name in "abcd" for name in one.things
    )
    return Meaning(
        "things" if is_things else "mixed",
        tuple(things),
        tuple(
            Relation(name, order.index(first), tuple(map(order.index, others)))
            for name, first, *others in one.relations
        ),
        words,
        ground,
        "sunset" if one.sky == "any" else one.sky,
        tuple(absent),
        one.only,
    )


def test_every_template_says_what_it_says_and_not_another_thing() -> None:
    """The meaning made of it is one that it fits; with a fact taken away or added it does not."""
    for one in EVERY:
        told = told_by(one)
        style = "flat" if one.style == "any" else one.style
        found = fitting.fit(one, told, style=style)
        assert found is not None, (one.text, told)
        spare = dataclasses.replace(told, things=(*told.things, Thing("shape", 2)))
        assert fitting.fit(one, spare, style=style) is None, one.text
        if one.relations:
            assert fitting.fit(one, dataclasses.replace(told, relations=()), style=style) is None
        if one.only:
            assert fitting.fit(one, dataclasses.replace(told, only=False), style=style) is None
        if one.sky not in (None, "any"):
            other = dataclasses.replace(told, sky="clear" if one.sky != "clear" else "night")
            assert fitting.fit(one, other, style=style) is None
        asked = [
            piece
            for piece in one.pieces
            if isinstance(piece, Slot) and not piece.forms and piece.name != "an"
        ]
        written = found.fill(told, lambda slot: "\0")
        assert written.count("\0") == len(asked), written


def test_templates_are_found() -> None:
    """By size and whole, or as parts of what is told."""
    told = Meaning("shapes", (CIRCLE, BLUE), (Relation("above", 0, (1,)),))
    found = fitting.fitting(told)
    assert len(found) > 100
    assert {one.template.domain for one in found} == {"shapes"}
    assert all(fitting.fit(one.template, told) == one for one in found)
    part = dataclasses.replace(told, background="blue")
    assert {one.template.text for one in fitting.fitting(part, whole=False)} > {
        one.template.text for one in found
    }
    view = Meaning("landscapes", (Thing("lake"), Thing("mountains", None)), sky="sunset")
    found = fits("{p}, {q}; {sky.when}", "", view)
    assert found == {"p": 0, "q": 1}
    assert fits("{p}, {q}, {sky}", "lake", dataclasses.replace(view, sky=None)) is None
    assert fits("{p} by a lake, {sky}", "lake", view) == {"p": 1, "lake": 0}
    assert "sunset, mountains, lake" in {one.template.text for one in fitting.fitting(view)}
