# SPDX-License-Identifier: Apache-2.0
"""A meaning refuses what no caption could tell."""

import pytest

from omnigen.scenes.scene import Color, Element, Sky
from omnigen.wording import meaning
from omnigen.wording.meaning import Meaning, Relation, Thing, Words

PAIR = (Thing("circle", color="red"), Thing("star", 2, "blue", "large", "top left"))


def test_names_are_those_of_scenes() -> None:
    """Meanings know no scenes, so their words are written twice."""
    assert meaning.COLORS == tuple(Color)
    assert meaning.SKIES == tuple(Sky)
    assert {*meaning.HOLDERS} & {*Element} == {"cloud", "sign", "banner"}


def test_things_and_words_are_told_apart_by_index() -> None:
    told = Meaning(
        "mixed",
        PAIR,
        (Relation("left", 0, (1,)), Relation("above", 2, (0,)), Relation("between", 0, (1,))),
        (Words("Hi!", "black", place="top"),),
        "gradient of white and mint",
        absent=("square", "text"),
        only=True,
    )
    assert [thing.is_plural for thing in told.things] == [False, True]
    assert told.relations[1].one == len(told.things)
    assert Thing("stars", None).is_plural


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Thing(""), "noun is ''"),
        (lambda: Thing("star "), "noun is 'star '"),
        (lambda: Thing("star", 0), "count is 0; allowed: 1 or more"),
        (lambda: Thing("star", color="grey"), "color is 'grey'; allowed: red, orange"),
        (lambda: Thing("star", size="medium"), "size is 'medium'; allowed: small, large"),
        (lambda: Thing("star", place="middle"), "place is 'middle'; allowed: top left"),
        (lambda: Relation("near", 0, (1,)), "relation is 'near'; allowed: left"),
        (lambda: Relation("left", 0, ()), "left has 0 others"),
        (lambda: Relation("left", 0, (0,)), "left of 0 to .0,.; allowed: each once"),
        (lambda: Words(" "), "text is ' '"),
        (lambda: Words("a", holder="house"), "holder is 'house'; allowed: cloud"),
        (lambda: Meaning("photos"), "domain is 'photos'; allowed: shapes"),
        (lambda: Meaning("shapes", sky="dusk"), "sky is 'dusk'; allowed: clear"),
        (lambda: Meaning("shapes", PAIR, (Relation("left", 0, (2,)),)), "left names 2; allowed"),
        (lambda: Meaning("shapes", PAIR, (Relation("left", -1, (1,)),)), "left names -1"),
        (lambda: Meaning("shapes", PAIR, (Relation("between", 1, (0,)),)), "between is of one"),
        (lambda: Meaning("shapes", PAIR, (Relation("row", 0, ()),)), "row is of one thing"),
        (lambda: Meaning("shapes", PAIR, absent=("star",)), "absent has .'star'."),
    ],
)
def test_what_no_caption_could_tell_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
