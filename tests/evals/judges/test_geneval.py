# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from omnigen.evals.judges import geneval
from omnigen.evals.judges.shapes import Seen


def seen(shape: str, color: str = "red", x: float = 0.5, y: float = 0.5, half: float = 0.1) -> Seen:
    box = (x - half, y - half, x + half, y + half)
    return Seen(shape, color, x=x, y=y, radius=half, box=box, residual=0.0)


@pytest.mark.parametrize(
    ("dx", "dy", "expected"),
    [  # sizes 0.2 and 0.2: 0.04 is taken off each axis; the rest over the full length
        (0.30, 0.00, {"right of"}),
        (-0.30, 0.00, {"left of"}),
        (0.00, -0.30, {"above"}),
        (0.00, 0.30, {"below"}),
        (0.30, 0.30, {"right of", "below"}),  # 0.26 / 0.424 = 0.61 on both
        (0.10, 0.10, set()),  # 0.06 / 0.141 = 0.42 on both
        (0.14, 0.14, {"right of", "below"}),  # 0.10 / 0.198 = 0.505
        (0.13, 0.13, set()),  # 0.09 / 0.184 = 0.490
        (0.04, 0.03, set()),  # overlapping: nothing is left
        (0.20, -0.13, {"right of"}),  # 0.16 / 0.239 = 0.67 and 0.09 / 0.239 = 0.38
    ],
)
def test_relations_by_hand(dx: float, dy: float, expected: set[str]) -> None:
    one, other = seen("star", x=0.5 + dx, y=0.5 + dy), seen("ring")
    assert geneval.relations(one, other) == expected


TWO_RED = {"include": [{"class": "star", "count": 2, "color": "red"}]}
THREE = {
    "include": [{"class": "star", "count": 3}],
    "exclude": [{"class": "star", "count": 4}],
}
LEFT = {
    "include": [
        {"class": "ring", "count": 1},
        {"class": "star", "count": 1, "position": ["left of", 0]},
    ]
}
RING, STAR, BLUE = seen("ring"), seen("star", x=0.1), seen("star", "blue", x=0.9)


@pytest.mark.parametrize(
    ("metadata", "objects", "correct", "strict", "reason"),
    [
        (TWO_RED, [STAR, STAR], True, True, ""),
        (TWO_RED, [BLUE, STAR, STAR], True, False, "3 objects, expected 2"),
        (TWO_RED, [STAR, BLUE], False, False, "star: blue, red, expected red"),
        (TWO_RED, [STAR], False, False, "1 of star, expected 2"),
        (TWO_RED, [], False, False, "0 of star, expected 2"),
        (THREE, [STAR, STAR, BLUE], True, True, ""),
        (THREE, [STAR] * 4, False, False, "4 of star, expected < 4"),
        (THREE, [STAR] * 3 + [RING], True, False, "4 objects, expected 3"),
        (LEFT, [RING, STAR], True, True, ""),
        (LEFT, [RING, BLUE], False, False, "star: not left of ring"),
        (LEFT, [STAR], False, False, "0 of ring, expected 1"),
        (LEFT, [RING, seen("unknown", x=0.1)], False, False, "0 of star, expected 1"),
    ],
)
def test_verdicts_by_hand(
    metadata: dict[str, Any], objects: list[Seen], correct: bool, strict: bool, reason: str
) -> None:
    verdict = geneval.judge(metadata, objects)
    assert (verdict.correct, verdict.strict) == (correct, strict)
    assert (verdict.reasons[0] if verdict.reasons else "") == reason
