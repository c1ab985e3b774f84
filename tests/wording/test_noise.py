# SPDX-License-Identifier: Apache-2.0
"""Typing noise changes how a caption looks, never what is to be written or how many."""

import collections
import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnigen.dice import Dice
from omnigen.wording import noise

MARK = chr(0xE000)
TEXT = f"three red stars above 12 blue circles, with the word {MARK} on white. No text."


def test_slips_are_single_edits_of_long_words() -> None:
    words = ["circle", "triangle", "above", "background", "star"]
    kinds = collections.Counter()
    for seed in range(600):
        word = words[seed % len(words)]
        typed = noise.slip(word, Dice(seed))
        matcher = difflib.SequenceMatcher(None, word, typed)
        same = sum(block.size for block in matcher.get_matching_blocks())
        assert same >= len(word) - 2 and abs(len(typed) - len(word)) <= 1 and typed[0] == word[0]
        kinds[len(typed) - len(word), " " in typed] += 1
    assert kinds[1, False] > 50 and kinds[-1, False] > 100 and kinds[1, True] > 5


def test_rates_are_realistic() -> None:
    changed = sum(noise.typed(TEXT, Dice("t", i)) != TEXT for i in range(3000)) / 3000
    assert changed == pytest.approx(noise.TYPING, abs=0.03)
    upper = sum(noise.cased(TEXT, Dice("c", i)).isupper() for i in range(3000)) / 3000
    assert upper == pytest.approx(noise.CASES["upper"], abs=0.02)


@given(st.integers(0, 10**9))
def test_marks_and_numbers_stay(seed: int) -> None:
    dice = Dice(seed)
    text = noise.with_emoji(noise.typed(noise.undotted(noise.cased(TEXT, dice), dice), dice), dice)
    assert text.count(MARK) == 1 and "12" in text


@given(st.integers(0, 10**6), st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_marks_around_words_are_not_in_them(seed: int, texts: list[str]) -> None:
    marks = noise.quotation_marks(Dice(seed), texts)
    assert marks in noise.QUOTES
    for mark in marks:
        assert not mark.strip() or not any(mark.strip() in text for text in texts)


def test_title_case_keeps_apostrophes() -> None:
    titles = {noise.cased("don't draw a star", Dice(i)) for i in range(200)}
    assert "Don't Draw A Star" in titles and "DON'T DRAW A STAR" in titles
