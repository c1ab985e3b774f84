# SPDX-License-Identifier: Apache-2.0
"""What is written: the mixture, its characters, and what must never be."""

import collections

from omnigen.data.corpus.split import Split
from omnigen.dice import Dice
from omnigen.scenes import splits, words
from omnigen.scenes.compose import compose
from omnigen.scenes.scene import Kind


def drawn(count: int) -> list[str]:
    dice = Dice("test words")
    return [words.word(dice) for _ in range(count)]


def test_words_are_short_and_of_the_alphabet():
    found = drawn(4000)
    assert set("".join(found)) <= set(words.CHARACTERS)
    lengths = collections.Counter(len(word) for word in found)
    assert max(lengths) <= 13  # twelve letters and a full stop
    assert 0.75 < sum(lengths[n] for n in range(2, 9)) / len(found) < 0.95


def test_every_character_is_written():
    dice = Dice("test characters")
    letters = "".join("".join(words.phrase(dice)) for _ in range(6000))
    assert set(letters) == set(words.CHARACTERS)


def test_half_the_words_are_common_and_half_must_be_spelt():
    known = set(words.common())
    share = sum(splits.normal(word) in known for word in drawn(4000)) / 4000
    assert 0.44 < share < 0.62
    assert 3000 < len(known) < 5000


def test_all_cases_occur():
    plain = [word for word in drawn(2000) if word.isalpha() and len(word) > 2]
    for style in (str.islower, str.istitle, str.isupper):
        assert sum(style(word) for word in plain) > 0.12 * len(plain)


def test_reserved_words_are_never_written():
    assert not words.allowed("AGC", held_out=True)
    assert not words.allowed("Awesome!", held_out=True)
    assert not words.allowed("aWeSoMe,", held_out=False)
    for split in Split:
        for kind in (Kind.WORDS, Kind.LANDSCAPES):
            for seed in range(300):
                for text in compose(seed, kind, held_out=split == Split.TEST).texts:
                    bare = {"".join(filter(str.isalnum, w)).lower() for w in text.words}
                    assert not bare & {"agc", "awesome"}


def test_rude_strings_are_refused_but_not_words_that_hold_them():
    assert not words.allowed("wASSz", held_out=True)
    assert words.allowed("Class", held_out=True)


def test_phrases_are_read_together():
    dice = Dice("test phrases")
    phrases = [" ".join(words.phrase(dice)) for _ in range(3000)]
    praise = [p for p in phrases if p.endswith("!") and p.casefold().split()[1:2] == ["is"]]
    assert 0.02 < len(praise) / len(phrases) < 0.15
    assert any(p.startswith("Open ") and p.endswith(" hours") for p in phrases)
