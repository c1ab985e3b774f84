# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found: scores with intervals over prompts, and the record of every picture.

A score is a ratio of sums over prompts, or a formula of such ratios. Its interval is the
bootstrap's (Efron, 1979): prompts are drawn with replacement, all pictures of a prompt together,
and the score is taken again. Ratios of one key are resampled alike, so that formulas of them are;
ratios of different keys, such as the tasks of a benchmark, independently.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from omnigen import files

if TYPE_CHECKING:
    from omnigen.nn.module import Params
    from omnigen.training.stage import Evaluator

RESAMPLES = 10_000
CONFIDENCE = 0.95
FILE = "results.json"
UNEXPECTED, FOREIGN = "unexpected", "of other weights than the pictures"
UNCOUNTED = (UNEXPECTED, FOREIGN)
"""Problems that do not make a picture wrong: it was not asked for, or a ceiling is not ours."""

_BLOCK = 500  # resamples drawn at a time


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A score, its value in each resample, and the number of its prompts.

    Attributes:
        value: The score.
        resampled: Its value in each resample, float64 `[RESAMPLES]`.
        prompts: Number of prompts that it is of.
    """

    value: float
    resampled: np.ndarray
    prompts: int

    def to_json(self) -> dict[str, float]:
        """Returns value, ends of the interval, and number of prompts."""
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(self.resampled, [tail, 1 - tail])
        return {
            "value": self.value,
            "low": float(low),
            "high": float(high),
            "prompts": self.prompts,
        }


def ratio(
    key: str,
    prompts: Iterable[int],
    numerators: Iterable[float],
    denominators: Iterable[float] | None = None,
) -> Estimate:
    """Estimates sum(numerators) / sum(denominators) over pictures, or a mean without denominators.

    Args:
        key: Name of the set of prompts, which seeds the resampling.
        prompts: Number of the prompt of each picture.
        numerators: Numerator of each picture.
        denominators: Denominator of each picture; a score without any is 0.
    """
    numbers = np.asarray(list(prompts))
    above = np.asarray(list(numerators), np.float64)
    below = np.ones_like(above) if denominators is None else np.asarray(list(denominators), float)
    # Pictures of one prompt are not independent, so sums over prompts are what is resampled.
    _, groups = np.unique(numbers, return_inverse=True)
    sums = np.stack([np.bincount(groups, above), np.bincount(groups, below)])
    count = sums.shape[1]
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
    dice = np.random.default_rng(seed)
    blocks = []
    for _ in range(0, RESAMPLES, _BLOCK):
        drawn = sums[:, dice.integers(0, count, (_BLOCK, count))].sum(-1)
        blocks.append(_divided(*drawn))
    return Estimate(float(_divided(*sums.sum(-1))), np.concatenate(blocks), count)


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.maximum(below, 1e-12), 0.0)


def combine(formula: Callable[..., Any], *estimates: Estimate) -> Estimate:
    """Estimates a formula of others, applied to values and to arrays of resampled values."""
    return Estimate(
        float(formula(*(estimate.value for estimate in estimates))),
        np.asarray(formula(*(estimate.resampled for estimate in estimates))),
        max(estimate.prompts for estimate in estimates),
    )


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Returns the mean of several scores of different prompts, each of equal weight."""
    estimate = combine(lambda *values: sum(values) / len(values), *estimates)
    return dataclasses.replace(estimate, prompts=sum(e.prompts for e in estimates))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of one system in one benchmark.

    Attributes:
        scores: Scores by name; plain numbers have no interval.
        about: Description of judge, prompts, seeds and settings.
        pictures: Records of the pictures, in order.
        problems: Files that could not be judged or should not be there, by what is wrong.
        ceiling: Same scores of true pictures that went through the system's encoder.
        ceiling_pictures: Records of those pictures.
    """

    scores: Mapping[str, Estimate | float]
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pictures: Sequence[Mapping[str, Any]] = ()
    problems: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    ceiling: Mapping[str, Estimate | float] = dataclasses.field(default_factory=dict)
    ceiling_pictures: Sequence[Mapping[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, in a fixed order."""
        return {
            **self.about,
            "scores": _scores(self.scores),
            "ceiling": _scores(self.ceiling),
            "problems": {kind: list(files) for kind, files in self.problems.items()},
            "pictures": list(self.pictures),
            "ceiling_pictures": list(self.ceiling_pictures),
        }


def value(score: Estimate | float) -> float:
    """Returns the score alone."""
    return score.value if isinstance(score, Estimate) else float(score)


def _scores(scores: Mapping[str, Estimate | float]) -> dict[str, dict[str, float]]:
    return {
        name: score.to_json() if isinstance(score, Estimate) else {"value": float(score)}
        for name, score in scores.items()
    }


def judged(evaluator: "Evaluator", weights: "Params") -> Outcome:
    """Runs an evaluator, and returns all that it found.

    One that only yields numbers has found no more than these.
    """
    judge = getattr(evaluator, "judge", None)
    return judge({}, weights) if judge else Outcome(dict(evaluator.run({}, weights)))


def is_digest(value: Any) -> bool:
    """Returns whether a value is a SHA-256 as `hashlib` writes it."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def text_digest(value: Any) -> str:
    """Returns the SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write(text: str, path: pathlib.Path) -> None:
    """Writes a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, text)
