# SPDX-License-Identifier: Apache-2.0
"""GenEval's rules over what a judge saw (Ghosh et al., arXiv:2310.11513).

A prompt's metadata says what its picture must hold (`include`) and must not (`exclude`):

    {"tag": "position", "prompt": "a star left of a ring", "include": [
        {"class": "ring", "count": 1},
        {"class": "star", "count": 1, "position": ["left of", 0]}]}

A requirement takes `count` objects of its class, those of its colour first; `position` holds its
objects against those of an earlier requirement, by its place in the list. `exclude` fails a picture
with `count` objects of a class or more. Other objects are free, except under the strict reading.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from omnigen.evals.judges.shapes import Seen

RELATIONS = ("left of", "right of", "above", "below")
SHRINK = 0.1
"""Share of two objects' summed sizes by which their offset is shortened, on each axis."""
LEAST = 0.5
"""Part of the offset's length that has to lie along a relation's direction."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a picture is right, whether it also holds nothing else, and what is wrong."""

    correct: bool
    strict: bool
    reasons: tuple[str, ...] = ()


class Boxed(Protocol):
    """Whatever has a place: left, top, right and bottom, in fractions of the canvas."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The sides of its box."""
        ...


def relations(one: Boxed, other: Boxed) -> frozenset[str]:
    """Returns the relations in which `one` stands to `other`; a diagonal can satisfy two."""
    (left, top, right, bottom), (left2, top2, right2, bottom2) = one.box, other.box
    offset = np.array([left + right - left2 - right2, top + bottom - top2 - bottom2]) / 2
    sizes = np.array([right - left + right2 - left2, bottom - top + bottom2 - top2])
    shrunk = np.sign(offset) * np.maximum(np.abs(offset) - SHRINK * sizes, 0)
    if not shrunk.any():
        return frozenset()
    x, y = shrunk / np.linalg.norm(offset)
    held = (x < -LEAST, x > LEAST, y < -LEAST, y > LEAST)
    return frozenset(name for name, holds in zip(RELATIONS, held, strict=True) if holds)


def judge(metadata: Mapping[str, Any], seen: Sequence[Seen]) -> Verdict:
    """Compares what was seen with a prompt's metadata."""
    reasons: list[str] = []
    taken: list[list[Seen] | None] = []
    for wanted in metadata["include"]:
        shape, count, color = wanted["class"], wanted["count"], wanted.get("color")
        found = [s for s in seen if s.shape == shape]
        found = sorted(found, key=lambda s: s.color != color)[:count]
        wrong = _unmet(wanted, found, taken)
        taken.append(None if wrong else found)
        reasons.extend(wrong)
    for unwanted in metadata.get("exclude", ()):
        count = sum(s.shape == unwanted["class"] for s in seen)
        if count >= unwanted["count"]:
            reasons.append(f"{count} of {unwanted['class']}, expected < {unwanted['count']}")
    total = sum(wanted["count"] for wanted in metadata["include"])
    if len(seen) > total:
        extra = f"{len(seen)} objects, expected {total}"
        return Verdict(correct=not reasons, strict=False, reasons=(*reasons, extra))
    return Verdict(correct=not reasons, strict=not reasons, reasons=tuple(reasons))


def _unmet(
    wanted: Mapping[str, Any], found: Sequence[Seen], taken: Sequence[Sequence[Seen] | None]
) -> list[str]:
    """Returns what is wrong with the objects that one requirement took."""
    shape, count, color = wanted["class"], wanted["count"], wanted.get("color")
    if len(found) < count:
        return [f"{len(found)} of {shape}, expected {count}"]
    if color is not None and any(s.color != color for s in found):
        colors = ", ".join(sorted(s.color for s in found))
        return [f"{shape}: {colors}, expected {color}"]
    if "position" in wanted:
        relation, place = wanted["position"]
        others = taken[place]
        if others is None:
            return [f"{shape}: nothing to be {relation}"]
        if any(relation not in relations(a, b) for a in found for b in others):
            return [f"{shape}: not {relation} {others[0].shape}"]
    return []
