# SPDX-License-Identifier: Apache-2.0
"""What may be asked for and what may leave: one policy for prompts and for pictures.

The rules are data files (`policy`), read when the first text is judged. Classifiers of texts and of
pictures can be added (`classifiers`). docs/safety.md says what the policy is and what it cannot do.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from omnigen.safety.classifiers import judge_by_all, pictures, texts
from omnigen.safety.drawn import drawn_words
from omnigen.safety.matching import current

if TYPE_CHECKING:
    import numpy as np

LEVELS = {"auto": 0.5, "low": 0.9}
"""Score from which a category is refused, by `moderation` of OpenAI's API.

Rules marked "mild" score less than 0.9: `low` lets pass what they alone find.
"""
STAGES = ("input", "output")

Reader = Callable[["np.ndarray"], Sequence[str]]
"""Reads the words on a picture, uint8 `[H, W, 3]`."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """What was decided about a text or a picture.

    Attributes:
        allowed: Whether it passes.
        categories: Names of the categories for which it is refused, sorted.
        scores: Score of each category that was found at all, 0 ... 1.
        stage: "input" for what was given, "output" for what was made.
        policy: Version of the policy.
    """

    allowed: bool
    categories: tuple[str, ...]
    scores: Mapping[str, float]
    stage: str
    policy: str

    def __str__(self) -> str:
        """Returns one line without anything of what was judged."""
        if self.allowed:
            return f"allowed by policy {self.policy}"
        return f"refused by policy {self.policy} ({', '.join(self.categories)})"


def judge_prompt(
    text: str, *, level: str = "auto", drawn: Sequence[str] = (), stage: str = "input"
) -> Decision:
    """Judges a text.

    Give all texts of a conversation as one, or parts of it could say together what none says.

    Args:
        text: A prompt in any language, or what a model wrote.
        level: One of `LEVELS`.
        drawn: Words that will be drawn, which are judged more strictly; those that the text quotes
            if there are none.
        stage: One of `STAGES`.

    Raises:
        ValueError: If level or stage is unknown, or a file of the policy is broken.
    """
    drawn = tuple(drawn) or tuple(drawn_words(text))
    scores = judge_by_all(texts(), text, drawn)
    return _decide(scores, level, stage)


def judge_picture(
    pixels: "np.ndarray", *, level: str = "auto", read: Reader | None = None, stage: str = "output"
) -> Decision:
    """Judges a picture by what is written on it and by the classifiers of pictures.

    Args:
        pixels: Picture, uint8 `[H, W, 3]`.
        level: One of `LEVELS`.
        read: Reads the words on it. Without one, and without classifiers, every picture passes.
        stage: One of `STAGES`.

    Raises:
        ValueError: If level or stage is unknown, or a file of the policy is broken.
    """
    scores = judge_by_all(pictures(), pixels)
    lines = tuple(read(pixels)) if read is not None else ()
    if lines:
        whole = " ".join(lines)
        written = judge_by_all(texts(), whole, (whole, *lines))
        scores = {name: max(scores.get(name, 0), written.get(name, 0)) for name in scores | written}
    return _decide(scores, level, stage)


def _decide(scores: Mapping[str, float], level: str, stage: str) -> Decision:
    if level not in LEVELS:
        raise ValueError(f"moderation is {level!r}; allowed: {', '.join(LEVELS)}")
    if stage not in STAGES:
        raise ValueError(f"stage is {stage!r}; allowed: {', '.join(STAGES)}")
    found = {name: score for name, score in sorted(scores.items()) if score > 0}
    refused = tuple(name for name, score in found.items() if score >= LEVELS[level])
    version = current().policy.version
    return Decision(not refused, refused, MappingProxyType(found), stage, version)
