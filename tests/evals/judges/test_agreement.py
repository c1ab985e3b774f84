# SPDX-License-Identifier: Apache-2.0
import pytest

from omnigen.evals.judges import agreement
from omnigen.evals.judges.shapes import Seen


def seen(shape: str, color: str, x: float, y: float = 0.5, radius: float = 0.1) -> Seen:
    box = (x - radius, y - radius, x + radius, y + radius)
    return Seen(shape, color, x, y, radius, box, residual=0.0)


def test_kappa_by_hand() -> None:
    """Of 50 grants two readers pass 20 and fail 15 together: (0.7 - 0.5) / (1 - 0.5)."""
    votes = [("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15)]
    pairs = [(a, b) for a, b, count in votes for _ in range(count)]
    assert agreement.kappa(pairs) == pytest.approx(0.4)


def test_kappa_at_its_ends() -> None:
    assert agreement.kappa([("a", "a"), ("b", "b")]) == 1
    assert agreement.kappa([("a", "b"), ("b", "a")]) == -1
    assert agreement.kappa([("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]) == 0
    assert agreement.kappa([("a", "a"), ("a", "a")]) == 1


def test_things_are_matched_by_place() -> None:
    ours = [seen("star", "red", 0.2), seen("ring", "blue", 0.6), seen("cross", "pink", 0.9)]
    theirs = [seen("ring", "blue", 0.65), seen("heart", "red", 0.22), seen("star", "red", 0.4)]
    assert agreement.names(ours, theirs) == [
        ("red star", "red heart"),
        ("blue ring", "blue ring"),
        ("pink cross", agreement.NOTHING),
        (agreement.NOTHING, "red star"),
    ]
    assert agreement.names([], []) == []


def test_a_thing_is_matched_once() -> None:
    one = seen("star", "red", 0.5)
    assert agreement.names([one, one], [one]) == [
        ("red star", "red star"),
        ("red star", agreement.NOTHING),
    ]
