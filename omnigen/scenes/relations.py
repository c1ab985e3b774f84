# SPDX-License-Identifier: Apache-2.0
"""How objects lie to each other, where nobody would dispute it: inside, between, beside, in a row.

Each rule has margins, so False means "not clearly so". Two things left of or above each other are
`grammar.side`'s. Lengths are fractions of the canvas side.
"""

from collections.abc import Sequence
from itertools import permutations
from math import hypot

from omnigen.scenes.scene import Object, Shape

ROOMS: dict[Shape, float] = {
    Shape.CIRCLE: 1.0,
    Shape.SQUARE: 0.707,
    Shape.TRIANGLE: 0.5,
    Shape.STAR: 0.427,
    Shape.DIAMOND: 0.584,
    Shape.CROSS: 0.424,
    Shape.HEART: 0.45,
    Shape.RING: 0.58,
}
"""Radius of the largest disc about the centre in each shape, in the shape's own; a ring's hole."""

MIDDLE = (0.3, 0.7)
"""Where between two centres a thing's centre lies that is between them, from one to the other."""
OFF_LINE = 0.12
"""How far beside their line it may lie, in their distance."""
APART = 0.01
"""Between things in a row there is at least this much space."""
BESIDE = 0.12
"""Things next to each other have at most this much space between them."""
SLANT = 0.3
"""Their offset down in that across."""
WAVER = 0.05
"""Centres of a row lie in a strip as wide as this."""
EVEN = 1.6
"""The widest step of a row in its narrowest."""


def is_inside(one: Object, other: Object) -> bool:
    """Returns whether a whole object lies within another one's outline, or in a ring's hole."""
    room = ROOMS[other.shape] * other.radius
    return one is not other and _distance(one, other) + one.radius <= room


def is_nested(objects: Sequence[Object]) -> bool:
    """Returns whether some object is inside another."""
    return any(is_inside(one, other) for one, other in permutations(objects, 2))


def is_between(one: Object, first: Object, last: Object) -> bool:
    """Returns whether an object lies in the gap between two others, near the middle."""
    x, y = last.x - first.x, last.y - first.y
    length = hypot(x, y)
    if length == 0:
        return False
    dx, dy = one.x - first.x, one.y - first.y
    along, off = (dx * x + dy * y) / length, abs(dx * y - dy * x) / length
    return (
        MIDDLE[0] * length <= along <= MIDDLE[1] * length
        and off <= OFF_LINE * length
        and along >= first.radius + one.radius
        and length - along >= last.radius + one.radius
    )


def is_next_to(one: Object, other: Object) -> bool:
    """Returns whether two objects stand side by side, near each other and apart."""
    gap = _distance(one, other) - one.radius - other.radius
    return 0 < gap <= BESIDE and abs(one.y - other.y) <= SLANT * abs(one.x - other.x)


def is_row(objects: Sequence[Object], others: Sequence[Object] = ()) -> bool:
    """Returns whether three objects or more stand in a row, evenly, with none of `others` in it."""
    return _is_line([(o.x, o.y, o.radius) for o in objects], [(o.x, o.y, o.radius) for o in others])


def is_column(objects: Sequence[Object], others: Sequence[Object] = ()) -> bool:
    """Returns whether three objects or more stand one below the other, as in `is_row`."""
    return _is_line([(o.y, o.x, o.radius) for o in objects], [(o.y, o.x, o.radius) for o in others])


_Along = tuple[float, float, float]  # place along the line, place across it, radius


def _is_line(objects: Sequence[_Along], others: Sequence[_Along]) -> bool:
    if len(objects) < 3:
        return False
    line = sorted(objects)
    across = [place for _, place, _ in line]
    pairs = list(zip(line, line[1:], strict=False))
    steps = [b[0] - a[0] for a, b in pairs]
    if max(across) - min(across) > WAVER or any(
        b[0] - a[0] < a[2] + b[2] + APART for a, b in pairs
    ):
        return False
    thick, (start, *_), (end, *_) = max(r for *_, r in line), line[0], line[-1]
    middle = (max(across) + min(across)) / 2
    return max(steps) <= EVEN * min(steps) and not any(
        start - r < place < end + r and abs(off - middle) < thick + r for place, off, r in others
    )


def _distance(one: Object, other: Object) -> float:
    return hypot(one.x - other.x, one.y - other.y)
