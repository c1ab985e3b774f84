# SPDX-License-Identifier: Apache-2.0
"""Whether two judges see the same: Cohen's kappa (1960), 1 for always and 0 for as by chance.

    kappa = (p_o - p_e) / (1 - p_e)

p_o: share of things that both name alike; p_e: that share, had each named at random as often as it
does.
"""

import collections
from collections.abc import Sequence

from omnigen.evals.judges.shapes import Seen

NOTHING = "nothing"
"""The name of what only the other judge sees."""


def kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Cohen's kappa of pairs of names; 1 if both give everything one and the same name."""
    assert pairs
    total = len(pairs)
    observed = sum(a == b for a, b in pairs) / total
    ours, theirs = (collections.Counter(names) for names in zip(*pairs, strict=True))
    expected = sum(count * theirs[name] for name, count in ours.items()) / total**2
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def names(ours: Sequence[Seen], theirs: Sequence[Seen]) -> list[tuple[str, str]]:
    """What two judges call each thing in a picture: shape and colour, or `NOTHING`.

    A thing of ours is the nearest of theirs that is left, if its centre lies within the radius.
    """
    pairs, left = [], list(theirs)
    for one in ours:
        near = min(left, key=lambda other: _apart(one, other), default=None)
        if near is None or _apart(one, near) > max(one.radius, near.radius):
            pairs.append((_name(one), NOTHING))
            continue
        left.remove(near)
        pairs.append((_name(one), _name(near)))
    return pairs + [(NOTHING, _name(other)) for other in left]


def _apart(one: Seen, other: Seen) -> float:
    return ((one.x - other.x) ** 2 + (one.y - other.y) ** 2) ** 0.5


def _name(seen: Seen) -> str:
    return f"{seen.color} {seen.shape}"
