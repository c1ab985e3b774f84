# SPDX-License-Identifier: Apache-2.0
"""Lexica say what a word means, and each word means one thing."""

import collections

import pytest

from omnigen.dice import Dice
from omnigen.wording import lexicon
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
    assert drawn["usual"] == pytest.approx(2400, abs=100)
    assert drawn["known"] == pytest.approx(600, abs=80)
    assert drawn["rare"] == pytest.approx(200, abs=50)
