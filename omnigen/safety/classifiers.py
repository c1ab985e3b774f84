# SPDX-License-Identifier: Apache-2.0
"""What scores texts and pictures by category. The words of the policy are one classifier of texts.

Others are added to the tables: a function, or "module:function" that is imported when it is first
needed. All of a table are asked, and the highest score of each category counts. A classifier that
fails refuses, in that its error is raised: nothing passes unjudged.
"""

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from omnigen.safety.matching import current
from omnigen.safety.policy import CATEGORIES

if TYPE_CHECKING:
    import numpy as np


class TextClassifier(Protocol):
    """Scores a text."""

    def __call__(self, text: str, drawn: Sequence[str]) -> Mapping[str, float]:
        """Returns scores in 0 ... 1 by category; categories left out are not there.

        Args:
            text: Prompt, or the words on a picture.
            drawn: Words in it that are drawn.
        """
        ...


class PictureClassifier(Protocol):
    """Scores a picture."""

    def __call__(self, pixels: "np.ndarray") -> Mapping[str, float]:
        """Returns scores in 0 ... 1 by category; categories left out are not there.

        Args:
            pixels: Picture, uint8 `[H, W, 3]`.
        """
        ...


TEXTS: dict[str, TextClassifier | str] = {"words": f"{__name__}:words"}
PICTURES: dict[str, PictureClassifier | str] = {}


def words(text: str, drawn: Sequence[str]) -> Mapping[str, float]:
    """Returns the scores of a text by the policy in force."""
    return current().scores(text, drawn)


def texts() -> list[Any]:
    """Returns the classifiers of texts."""
    return list(map(_resolve, TEXTS.values()))


def pictures() -> list[Any]:
    """Returns the classifiers of pictures."""
    return list(map(_resolve, PICTURES.values()))


def judge_by_all(classifiers: Iterable[Callable[..., Any]], *subject: Any) -> dict[str, float]:
    """Returns the highest score of each category that classifiers give.

    Args:
        classifiers: Classifiers of one kind.
        *subject: What they judge.

    Raises:
        ValueError: If one names an unknown category, or its score is not in 0 ... 1.
    """
    scores: dict[str, float] = {}
    for classify in classifiers:
        for category, score in classify(*subject).items():
            if category not in CATEGORIES or not 0 <= score <= 1:
                allowed = f"0 ... 1 for one of {', '.join(CATEGORIES)}"
                raise ValueError(f"a classifier gave {score} for {category!r}; allowed: {allowed}")
            scores[category] = max(scores.get(category, 0.0), float(score))
    return scores


def _resolve(classifier: Any) -> Any:
    return _imported(classifier) if isinstance(classifier, str) else classifier


@functools.cache
def _imported(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)
