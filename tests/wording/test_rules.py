# SPDX-License-Identifier: Apache-2.0
"""Rules are read, chosen by weight, and passed over where there is nothing to say."""

import collections
import re

import pytest

from omnigen.dice import Dice
from omnigen.wording import rules

TEXT = r"""
# A comment.
greeting:
  3* hello (there|you|)
  {Name}, \(hi\)\n{name}!
  {missing} never
chain:
  {greeting}{missing}
"""


@pytest.fixture
def known(monkeypatch) -> None:
    found = rules.read(TEXT, "text")
    monkeypatch.setattr(rules, "rules", lambda: found)


def test_ways_come_as_often_as_they_weigh(known) -> None:
    slots = {"name": lambda: "ann", "missing": None}
    seen = collections.Counter(rules.write("greeting", Dice(i), slots) for i in range(4000))
    assert seen.keys() == {"hello there", "hello you", "hello ", "Ann, (hi)\nann!"}
    # A way that cannot be written falls to its neighbour or is drawn anew.
    assert all(seen[f"hello {who}"] / 4000 == pytest.approx(0.25, abs=0.05) for who in ("you", ""))


def test_what_no_way_can_say_is_none(known) -> None:
    assert rules.write("chain", Dice(1), {"name": "x", "missing": None}) is None
    assert rules.write("chain", Dice(1), {"name": "x", "missing": ""}) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  lost", "line 1"),
        ("a:\n  (b", r"line 2: '\(b'"),
        ("a:\n  b)", "line 2"),
        ("a:\n  {b c}", "line 2"),
        ("a:\n  b\na:\n  c", "line 3: 'a:'"),
        ("A:\n  b", "line 1"),
    ],
)
def test_faults_are_told_with_their_lines(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules.read(text, "text")


def symbols(choice: rules.Choice) -> set[str]:
    found = set()
    for part in (part for way in choice.ways for part in way):
        if isinstance(part, rules.Symbol):
            found.add(part.name)
        elif isinstance(part, rules.Choice):
            found |= symbols(part)
    return found


def test_every_symbol_of_the_data_is_known() -> None:
    """A slot is known if some module of the package names it in quotes."""
    code = "".join(p.read_text("utf-8") for p in rules.FOLDER.parents[1].glob("*.py"))
    found = rules.rules()
    used = set().union(*(symbols(choice) for choice in found.values()))
    quoted = re.findall(r"""f?["']([a-z_][\w.]*(?:\{\w+\}[\w.]*)*)["']""", code)
    known = {re.sub(r"\{\w+\}", "*", name) for name in quoted}
    patterns = [re.escape(name).replace(r"\*", r"\w*\.?\w*") for name in known]
    known_by = re.compile("|".join(patterns))
    assert not {name for name in used - found.keys() if not known_by.fullmatch(name)}
