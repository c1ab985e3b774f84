# SPDX-License-Identifier: Apache-2.0
"""Sentences written by hand are filled with what a meaning holds, and with that alone."""

import collections
import re

from omnigen.dice import Dice
from omnigen.wording import filling, phrase, templates
from omnigen.wording.clauses import mark
from omnigen.wording.meaning import Meaning, Relation, Thing, Words

PAIR = (Thing("star", 1, "red"), Thing("ring", 2, "blue"))
MEANINGS = (
    Meaning("shapes", PAIR, (Relation("above", 0, (1,)),)),
    Meaning("shapes", PAIR[:1], background="green"),
    Meaning("shapes", (Thing("heart", 3, "pink", "large"),)),
    Meaning("words", words=(Words("OPEN", "red"),)),
    Meaning("words", words=(Words("Hi you!"),), background="beige"),
    Meaning("landscapes", (Thing("lake"), Thing("mountains", None)), sky="night"),
    Meaning("things", (Thing("panda", 2),)),
)


def fillings(meaning: Meaning, count: int = 300) -> list[str]:
    found = (filling.fill(meaning, Dice("f", i)) for i in range(count))
    return [text for text in found if text is not None]


def test_slots_are_filled_and_marks_stand_for_words() -> None:
    for meaning in MEANINGS:
        found = fillings(meaning)
        assert len({*found}) > 20, meaning
        for text in found:
            assert not re.search(r"{[a-zA-Z]|\ue0ff|(?<![:?] )\bNone\b", text), text
            assert text.count(mark(0)) >= len(meaning.words)


def test_a_sentence_tells_counts_and_colours() -> None:
    seen = collections.Counter()
    for text in fillings(MEANINGS[2]):
        text = text.lower()
        seen["three"] += bool(re.search(r"\b(three|3x?|x3|trio|triplet|threesome|triad)\b", text))
        seen["pink"] += bool(re.search(r"pink|fuchsia|magenta|rose|flamingo|salmon|blush", text))
        seen["all"] += 1
    assert seen["three"] > 0.95 * seen["all"] and seen["pink"] > 0.95 * seen["all"], seen


def test_places_keep_their_article_only_where_one_belongs() -> None:
    meaning = Meaning("words", words=(Words("OPEN", place="top left"),))
    for text in fillings(meaning, 600):
        assert "the the" not in text
        found = re.search(r"(\S+) the (?:top|upper|left|northwest)\b", text)
        assert not found or found[1].lower().strip("(") in "in at on to into near".split(), text


def test_what_no_sentence_says_is_left_to_the_grammar() -> None:
    things = tuple(Thing("star", 1, color) for color in ("red", "blue", "pink", "green"))
    many = Meaning("shapes", (*things, Thing("ring"), Thing("heart")))
    assert filling.fill(many, Dice(1)) is None
    assert phrase.phrase(many, Dice(1), 240)


def test_by_hand_is_a_share_of_all() -> None:
    by_hand = sum(filling.fill(MEANINGS[0], Dice("x", i)) is not None for i in range(50))
    assert by_hand == 50 and 0.1 < phrase.BY_HAND < 0.5
    assert len(templates.every()) > 2000
