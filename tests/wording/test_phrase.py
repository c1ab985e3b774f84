# SPDX-License-Identifier: Apache-2.0
"""Free wordings say what their meaning tells: quotations verbatim, and nothing that is denied."""

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnigen.dice import Dice
from omnigen.wording import layouts, lexicon, noise, phrase, rules
from omnigen.wording.meaning import COLORS, DOMAINS, PLACES, SIZES, Meaning, Relation, Thing, Words

LATIN = "".join(chr(c) for c in range(33, 256) if chr(c).isprintable() and chr(c) != '"')
NOUNS = ("circle", "square", "triangle", "star", "diamond", "cross", "heart", "ring")
ANIMALS = ("panda", "owl", "fox")
ELEMENTS = ("sun", "cloud", "mountains", "river", "trees", "house", "boat", "birds", "snow")
COUNTED = ("cloud", "house", "boat")
SEVERAL = ("mountains", "trees", "birds")

some = st.sampled_from
maybe_color = st.none() | some(COLORS)


@st.composite
def meanings(draw, domain: str) -> Meaning:
    nouns = {"landscapes": ELEMENTS, "things": ANIMALS}.get(domain, NOUNS)
    chosen = draw(st.lists(some(nouns), max_size=4, unique=True))
    things = []
    for noun in () if domain == "words" else chosen:
        if domain == "landscapes":
            count = None if noun in SEVERAL else draw(st.integers(1, 3)) if noun in COUNTED else 1
            things.append(Thing(noun, count))
        else:
            things.append(
                Thing(
                    noun,
                    draw(st.none() | st.integers(1, 20)),
                    draw(maybe_color),
                    draw(st.none() | some(SIZES)),
                    draw(st.none() | some(PLACES)),
                )
            )
    text = st.text(some(LATIN), min_size=1, max_size=8)
    words = draw(st.lists(text, max_size=2, unique=True)) if domain != "shapes" else []
    told = tuple(Words(one, draw(maybe_color), None, None, None) for one in words)
    relations = ()
    if len(things) > 1 and domain != "landscapes":
        name = draw(some(("left", "right", "above", "below", "next_to", "inside", "around")))
        relations = (Relation(name, *draw(some([(0, (1,)), (1, (0,))]))),)
    absent = draw(st.lists(some([n for n in nouns if n not in chosen] or ["text"]), max_size=2))
    ground = draw(st.none() | some((*COLORS, "gradient of white and mint", "textured beige")))
    sky = draw(st.none() | some(("clear", "night"))) if domain == "landscapes" else None
    return Meaning(
        domain,
        tuple(things),
        relations,
        told,
        None if domain == "landscapes" else ground,
        sky,
        tuple(dict.fromkeys(absent)),
        draw(st.booleans()),
    )


@pytest.mark.parametrize("domain", DOMAINS)
def test_quotations_stand_verbatim_within_the_limit(domain: str) -> None:
    @settings(max_examples=80, deadline=None)
    @given(meanings(domain), st.integers(0, 10**9), some((60, 120, 240)))
    def check(meaning: Meaning, seed: int, limit: int) -> None:
        text = phrase.phrase(meaning, Dice(seed), limit)
        assert text == phrase.phrase(meaning, Dice(seed), limit)
        if text is None:
            return
        assert len(text.encode()) <= limit
        for words in meaning.words:
            assert words.text in text
        bare = text
        for words in sorted(meaning.words, key=lambda one: -len(one.text)):
            bare = bare.replace(words.text, "")
        assert not re.search(r"{[a-zA-Z]|~~|[\ue000-\uf8ff]|(?<![:?] )\bNone\b", bare), text
        assert meaning.words or "  " not in text

    check()


def written(meaning: Meaning, seed: int) -> str:
    """A wording before it is typed: without noise and in lower case."""
    return phrase.tidy(layouts.write(meaning, Dice("w", seed), terse=False)).lower()


def vocabulary(*tables: str) -> dict[str, str]:
    found = {}
    for table in tables:
        for entry in lexicon.table(table):
            for text in filter(None, (entry.text, entry.plural)):
                found.setdefault(text.lower(), entry.meaning)
    return found


def test_only_told_colours_are_named() -> None:
    """By the lexicon: each told colour has one of its words, and no other colour's stands alone."""
    usual = {color: color for color in COLORS}
    texts = {c: {e.text for e in lexicon.entries("colors", c, "name")} for c in COLORS}
    for seed in range(1500):
        dice = Dice("c", seed)
        nouns = [dice.pick(NOUNS)]
        nouns.append(dice.pick([n for n in NOUNS if n != nouns[0]]))
        things = tuple(Thing(n, dice.integer(1, 4), dice.pick(COLORS)) for n in nouns)
        text = written(Meaning("shapes", things), seed)
        told = {thing.color for thing in things}
        for color in told:
            assert any(word in text for word in texts[color]), (color, text)
        for color in usual.keys() - told:
            found = re.search(rf"\b{color}\b(?! (?:blue|red|green|yellow|pink|brown))", text)
            shared = any(
                re.search(rf"\b{color}\b", w) and w in text for c in told for w in texts[c]
            )
            assert not found or shared, (color, text)


NUMBERS = {2: "two|2|pair|couple|twin|duo|brace|twosome", 3: "three|3|trio|triplet|threesome|triad"}
NUMBERS |= {6: "six|6|half.a.dozen|half.dozen|sextet", 12: "twelve|12|dozen", 17: "seventeen|17"}


@pytest.mark.parametrize("count", NUMBERS)
def test_counts_are_told(count: int) -> None:
    for seed in range(300):
        text = written(Meaning("shapes", (Thing("star", count, "red"),)), seed)
        assert re.search(rf"\b({NUMBERS[count]})(x|\b)|x{count}\b", text), text
        others = [words for other, words in NUMBERS.items() if other not in (count, 6, 12)]
        assert not re.search(rf"\b({'|'.join(others)})\b(?! of them)", text.replace("five-", "")), (
            text
        )


DENIALS = (
    r"\bno\b|\bnot?\b|without|n't|leav(e|ing) (out|off)|skip|omit|avoid|exclu|free of|minus|sans|"
    r"w/o|zero|\b0\b|neither|none|less|-free|forget|missing|absent|nothing|treeless|bare|unclouded"
)


@pytest.mark.parametrize(("domain", "nouns"), [("shapes", NOUNS), ("landscapes", ELEMENTS)])
def test_what_is_absent_is_named_in_denials_alone(domain: str, nouns: tuple[str, ...]) -> None:
    names = vocabulary("shapes" if domain == "shapes" else "elements")
    for seed in range(800):
        dice = Dice("n", seed)
        there, absent = dice.pick(nouns), dice.pick(nouns)
        if there == absent:
            continue
        several = domain == "landscapes" and there in SEVERAL
        thing = Thing(there, None if several else 1)
        meaning = Meaning(
            domain, (thing,), absent=(absent,), sky="night" if domain != "shapes" else None
        )
        text = written(meaning, seed)
        denial = re.search(DENIALS, text)
        assert denial, text
        for name, noun in names.items():
            if noun == absent and names.get(name) != there:
                for found in re.finditer(rf"\b{re.escape(name)}\b", text):
                    around = text[max(found.start() - 45, 0) : found.end() + 30]
                    assert re.search(DENIALS, around), text


@pytest.mark.parametrize("rule", ["left", "right", "above", "below"])
def test_relations_of_pairs_keep_their_sense(rule: str) -> None:
    """A reader of prepositions alone finds who is where, whichever comes first."""
    senses = {
        "left": r"left|west|before",
        "right": r"right|east|after",
        "above": r"above|over|top|atop|upon|higher|north|perched|resting|stacked|balanced|"
        r"standing on|sitting on|rests? on|stands? on|\bup\b|first",
        "below": r"below|under|beneath|lower|foot|south|bottom|down",
    }
    opposite = {"left": "right", "right": "left", "above": "below", "below": "above"}
    meaning = Meaning(
        "shapes", (Thing("star", 1, "red"), Thing("ring", 1, "blue")), (Relation(rule, 0, (1,)),)
    )
    stars = {e.text.lower() for e in lexicon.entries("shapes", "star", "noun")}
    rings = {e.text.lower() for e in lexicon.entries("shapes", "ring", "noun")}
    checked = 0
    for seed in range(400):
        text = written(meaning, seed)
        intensified = "above|over|under|below|beneath|on|to the|at|in"
        text = re.sub(rf"^right(?=,| (?!of))|\bright(?= (?:{intensified})\b)", "", text)
        sense, back = senses[rule], senses[opposite[rule]]
        assert re.search(sense, text) or re.search(back, text), text
        star = "|".join(sorted(map(re.escape, stars), key=len, reverse=True))
        ring = "|".join(sorted(map(re.escape, rings), key=len, reverse=True))
        between = r"([\w -]*?) (?:of )?(?:a|the|one) (?:[\w-]+ )*?"
        plain = re.search(rf"(?:{star}) (?:is |sits |that is )?{between}(?:{ring})\b", text)
        if (
            plain
            and len(plain[1].split()) <= 5
            and not re.search(r"\bwith\b|\band\b|\bhas\b", plain[1])
        ):
            forward = bool(re.search(sense, plain[1]))
            backward = bool(re.search(back, plain[1]))
            if forward != backward:
                checked += 1
                assert forward, text
    assert checked > 30


def test_no_marks_are_put_only_where_it_is_plain() -> None:
    plain = 0
    for seed in range(3000):
        texts = (("OPEN",), ("hello you",), ("SALE", "Hi"))[seed % 3]
        meaning = Meaning("words", words=tuple(map(Words, texts)))
        text = phrase.phrase(meaning, Dice(seed), 240)
        for one in texts:
            at = text.index(one)
            before, after = text[at - 2 : at], text[at + len(one) : at + len(one) + 1]
            if (
                before[:1].isalnum()
                and before.endswith(" ")
                and after in ("", " ", ",", ".", "?", "!", "\n")
            ):
                plain += 1
                capitals = not set(one) - set(string.ascii_uppercase) and text != text.upper()
                assert capitals or (text.endswith(f": {one}") and len(texts) == 1), text
    assert plain > 60


def test_wordings_differ() -> None:
    """Of one meaning there are hundreds of wordings, in every case and of every layout."""
    things = (Thing("circle", 1, "red"), Thing("star", 2, "blue"))
    meaning = Meaning("shapes", things, (Relation("above", 0, (1,)),), background="white")
    found = [phrase.phrase(meaning, Dice(i), 240) for i in range(1000)]
    assert len({*found}) > 900 and None not in found
    assert sum(text.isupper() for text in found) > 30 and sum("\n" in text for text in found) > 10
    assert sum("?" in text for text in found) > 20 and sum(": " in text for text in found) > 30
    assert noise.CASES.keys() == {"as is", "lower", "sentence", "title", "upper"}


def test_adjectives_that_change_nothing_are_no_colours_sizes_or_hours() -> None:
    """A model must learn to pass them over, so none may say what a meaning can hold."""
    told = {*COLORS, *SIZES, "big", "tiny", "little", "dark", "bright", "light", "night", "sunny"}
    told |= set(vocabulary("colors", "sizes")) - {"clean", "solid"}
    for kind in ("shape", "thing", "landscape"):
        for seed in range(400):
            words = (rules.write(f"fluff.{kind}", Dice(seed), {}) or "").split()
            assert words and not told & {*words}, words
