# SPDX-License-Identifier: Apache-2.0
"""Classifiers of one's own."""

import numpy as np
import pytest

from omnigen import safety
from omnigen.safety import classifiers


def brightness(pixels: np.ndarray) -> dict[str, float]:
    return {"violence": float(pixels.mean() / 255)}


def test_a_classifier_of_texts_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    def classify(text, drawn):
        heard.append((text, tuple(drawn)))
        return {"illicit": 0.7}

    monkeypatch.setitem(classifiers.TEXTS, "own", classify)
    decision = safety.judge_prompt('a mug with "tea"')
    assert heard == [('a mug with "tea"', ("tea",))]
    assert not decision.allowed and decision.categories == ("illicit",)
    assert dict(decision.scores) == {"illicit": 0.7}
    assert safety.judge_prompt("a mug", level="low").allowed


def test_a_classifier_of_pictures_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    white = np.full((4, 4, 3), 255, np.uint8)
    assert safety.judge_picture(white).allowed
    monkeypatch.setitem(classifiers.PICTURES, "own", f"{__name__}:brightness")
    assert safety.judge_picture(white).categories == ("violence",)
    assert safety.judge_picture(white // 3).allowed


def test_the_highest_score_counts() -> None:
    several = [lambda _: {"hate": 0.2, "sexual": 0.9}, lambda _: {"hate": 0.4}]
    assert classifiers.judge_by_all(several, "x") == {"hate": 0.4, "sexual": 0.9}


@pytest.mark.parametrize("scores", [{"hat": 0.5}, {"hate": 1.5}, {"hate": float("nan")}])
def test_bad_scores_are_refused(scores: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"a classifier gave .*; allowed: 0 \.\.\. 1 for one of"):
        classifiers.judge_by_all([lambda _: scores], "x")


def test_a_classifier_that_fails_lets_nothing_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text, drawn):
        raise RuntimeError("no memory")

    monkeypatch.setitem(classifiers.TEXTS, "own", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        safety.judge_prompt("a mug")
