# SPDX-License-Identifier: Apache-2.0
"""The words that a prompt asks to draw."""

import pytest

from omnigen.safety.drawn import drawn_words


@pytest.mark.parametrize(
    "prompt",
    [
        'a sign with "open now"',
        "a sign with “open now”",
        "a sign with „open now“",
        "a sign with 'open now' on it",
        "a sign with ‘open now’ on it",
        "a sign with «open now»",
        "a sign with »open now«",
        "a sign with 「open now」",
        "a sign with *open now*",
        "a sign with ''open now''",
        "a sign that says open now",
        "a sign saying: open now",
        "a sign reading open now",
        "ein Schild, darauf steht open now",
        "un panneau qui dit open now",
        "一块牌子写着open now",
    ],
)
def test_finds_them(prompt: str) -> None:
    assert any(words.startswith("open now") for words in drawn_words(prompt))


@pytest.mark.parametrize("prompt", ["", "a dog's bone and a cat's toy", "5' 3\" tall", "two suns"])
def test_finds_none(prompt: str) -> None:
    assert drawn_words(prompt) == []


def test_finds_several() -> None:
    assert {"one", "two"} <= set(drawn_words("a mug with \"one\" and a card with 'two' on it"))
