# SPDX-License-Identifier: Apache-2.0
import pytest

from omnigen.data.corpora.subjects import Subject
from omnigen.dice import Dice
from omnigen.wording.meaning import Meaning, Thing
from omnigen.wording.nouns import Names
from omnigen.wording.plurals import is_plural, plural


@pytest.mark.parametrize(
    "one, several",
    [
        ("panda", "pandas"), ("red fox", "red foxes"), ("woman", "women"), ("human", "humans"),
        ("ox", "oxen"), ("box", "boxes"), ("butterfly", "butterflies"), ("monkey", "monkeys"),
        ("four leaf", "four leaves"), ("tropical fish", "tropical fish"), ("bus", "buses"),
        ("wolf", "wolves"), ("church", "churches"), ("tomato", "tomatoes"), ("piano", "pianos"),
        ("mouse", "mice"), ("giraffe", "giraffes"), ("bed", "beds"), ("rhinoceros", "rhinoceroses"),
    ],
)  # fmt: skip
def test_plurals(one, several):
    assert plural(one) == several
    assert not is_plural(one) and is_plural(several) == several.endswith("s")
    assert Subject(one).is_countable
    assert not Subject(f"{one} in the rain").is_countable


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("flag of Fiji", "flags of Fiji"),
        ("face with monocle", "faces with monocle"),
        ("person getting massage", "people getting massage"),
        ("woman mechanic", "woman mechanics"),
        ("boxing glove", "boxing gloves"),
    ],
)
def test_the_head_of_a_phrase_changes(one, several):
    assert plural(one) == several


@pytest.mark.parametrize("noun", ["beans", "french fries", "scissors", "glasses", "socks"])
def test_names_in_the_plural_take_no_article(noun):
    assert is_plural(noun) and not Subject(noun).is_countable
    names = Names(Meaning("things", (Thing(noun),)), Dice(1))
    assert names.noun(0).form == "plural" and names.is_plural(0)


def test_drawings_have_other_names_now_and_then():
    said = [
        Names(Meaning("things", (Thing("automobile"),)), Dice(n)).noun(0).text for n in range(400)
    ]
    assert {"automobile", "car"} <= {*said} <= {"automobile", "car", "auto", "motorcar"}
    assert 200 < said.count("automobile") < 350
