# SPDX-License-Identifier: Apache-2.0
"""Objects that lie as people ask for: inside, between, next to each other, in a row or a column.

Each arrangement returns groups of objects in the order in which one speaks of them, and makes sure
that its relation holds beyond dispute (`relations`). Others may stand apart from it.
"""

import math
from collections.abc import Sequence

from omnigen.dice import Dice
from omnigen.scenes import palette, relations
from omnigen.scenes.placement import MARGIN, Circle, scatter
from omnigen.scenes.scene import Background, Color, Object, Shape, Size

RADII: dict[Size, tuple[float, float]] = {
    Size.SMALL: (0.055, 0.075),
    Size.MEDIUM: (0.09, 0.115),
    Size.LARGE: (0.15, 0.19),
}
"""Ranges of the circumscribed radius, apart so that the name of a size is never in doubt."""
GAP = 0.015
"""Objects are at least this far from each other."""
HOLDING = (0.19, 0.31)
"""Range of the radius of a large object with others inside."""
INSET = 0.02
"""What is inside is at least this far from the outline."""

_SHAPES = tuple(Shape)
_Kind = tuple[Color, Shape]


def size_of(radius: float) -> Size:
    """Returns the size that a radius is called by."""
    return next((size for size, (_, most) in RADII.items() if radius <= most), Size.LARGE)


def arranged(dice: Dice, background: Background) -> tuple[Object, ...] | None:
    """Returns the objects of a random arrangement, or None if it does not fit."""
    colors = palette.object_colors(background)
    maker = dice.weigh({_nested: 0.42, _between: 0.2, _beside: 0.16, _lined: 0.22})
    return maker(dice, colors)


def _object(kind: _Kind, circle: Circle) -> Object:
    color, shape = kind
    x, y = round(circle.x, 4), round(circle.y, 4)
    return Object(shape, color, size_of(circle.radius), x, y, circle.radius)


def _radius(dice: Dice, *sizes: Size) -> float:
    return dice.between(*RADII[dice.pick(sizes)])


def _kinds(dice: Dice, colors: Sequence[Color], count: int) -> list[_Kind]:
    """Returns so many coloured shapes, no two of which are the same."""
    kinds: list[_Kind] = []
    while len(kinds) < count:
        kind = dice.pick(colors), dice.pick(_SHAPES)
        if kind not in kinds:
            kinds.append(kind)
    return kinds


def _with_others(
    dice: Dice,
    objects: list[Object],
    colors: Sequence[Color],
    *,
    count: int,
    gap: float = 0.03,
) -> tuple[Object, ...] | None:
    """Adds objects of other kinds, at least `gap` from those that are there."""
    taken = [Circle(o.x, o.y, o.radius + gap) for o in objects]
    radii = [_radius(dice, Size.SMALL, Size.SMALL, Size.MEDIUM) for _ in range(count)]
    circles = scatter(dice, radii, gap=GAP, beside=taken)
    if circles is None:
        return None
    known = {(o.color, o.shape) for o in objects}
    kinds = [kind for kind in _kinds(dice, colors, len(known) + count) if kind not in known][:count]
    return (*objects, *map(_object, kinds, circles))


def _nested(dice: Dice, colors: Sequence[Color]) -> tuple[Object, ...] | None:
    """Returns one object or a few alike in a large one, or two such, and at times others."""
    count = dice.weigh({1: 0.85, 2: 0.15})
    low, high = HOLDING
    places = scatter(
        dice, [dice.between(low, high if count == 1 else low + 0.03) for _ in range(count)], gap=GAP
    )
    if places is None:
        return None
    objects: list[Object] = []
    for outer, place in zip(_kinds(dice, colors, count), places, strict=True):
        held = _object(outer, place)
        inside = [
            c
            for c in colors
            if palette.distance(palette.COLORS[c], palette.COLORS[outer[0]])
            >= palette.OBJECT_DISTANCE
        ]
        circles = _within(dice, held)
        inner = dice.pick(inside), dice.pick(_SHAPES)
        if circles is None or any((o.color, o.shape) == inner for o in objects):
            return None
        pair = [[_object(inner, circle) for circle in circles], [held]]
        if dice.chance(0.35):
            pair.reverse()
        objects += [*pair[0], *pair[1]]
    others = dice.weigh({0: 0.6, 1: 0.28, 2: 0.12}) if count == 1 else 0
    return _with_others(dice, objects, colors, count=others)


def _within(dice: Dice, outer: Object) -> list[Circle] | None:
    """Returns circles in the room of an object: mostly one, mostly in its middle."""
    room = relations.ROOMS[outer.shape] * outer.radius - INSET
    count = dice.weigh({1: 0.78, 2: 0.13, 3: 0.09})
    sizes = [s for s in (Size.SMALL, Size.MEDIUM) if RADII[s][0] <= room]
    if not sizes:
        return None
    if count == 1:
        low, high = RADII[dice.pick(sizes)]
        radius = dice.between(low, min(high, room))
        slack = 0.0 if dice.chance(0.5) else room - radius
        return [_somewhere(dice, outer, radius, slack)]
    radius = dice.between(*RADII[Size.SMALL])
    placed: list[Circle] = []
    for _ in range(60):
        if radius > room:
            break
        one = _somewhere(dice, outer, radius, room - radius)
        if all(math.hypot(one.x - c.x, one.y - c.y) >= 2 * radius + GAP for c in placed):
            placed.append(one)
        if len(placed) == count:
            return placed
    return None


def _somewhere(dice: Dice, outer: Object, radius: float, slack: float) -> Circle:
    """Returns a circle whose centre is at most `slack` from the object's."""
    angle, away = dice.between(0, math.tau), slack * math.sqrt(dice.unit())
    return Circle(outer.x + away * math.cos(angle), outer.y + away * math.sin(angle), radius)


def _between(dice: Dice, colors: Sequence[Color]) -> tuple[Object, ...] | None:
    """Returns one object between two others that are at times alike, and at times a fourth."""
    ends = [_radius(dice, Size.SMALL, Size.MEDIUM, Size.LARGE) for _ in range(2)]
    middle = _radius(dice, Size.SMALL, Size.MEDIUM)
    angle = dice.weigh({0.0: 0.5, math.pi / 2: 0.3, math.pi / 4: 0.1, -math.pi / 4: 0.1})
    gaps = [dice.between(0.03, 0.16) for _ in range(2)]
    along = [0.0, ends[0] + gaps[0] + middle]
    along.append(along[1] + middle + gaps[1] + ends[1])
    off = [0.0, dice.between(-0.025, 0.025), 0.0]
    line = [
        Circle(
            a * math.cos(angle) - o * math.sin(angle), a * math.sin(angle) + o * math.cos(angle), r
        )
        for a, o, r in zip(along, off, (ends[0], middle, ends[1]), strict=True)
    ]
    places = _put(dice, line)
    if places is None:
        return None
    inner, one, other = _kinds(dice, colors, 3)
    other = one if dice.chance(0.35) else other
    objects = [_object(k, places[i]) for k, i in ((inner, 1), (one, 0), (other, 2))]
    if not relations.is_between(*objects):
        return None
    return _with_others(dice, objects, colors, count=dice.weigh({0: 0.7, 1: 0.3}), gap=0.06)


def _beside(dice: Dice, colors: Sequence[Color]) -> tuple[Object, ...] | None:
    """Returns two objects side by side, at times alike, and others far from them."""
    radii = [_radius(dice, *Size) for _ in range(2)]
    across = sum(radii) + dice.between(0.02, 0.09)
    down = 0.0 if dice.chance(0.5) else dice.between(-0.2, 0.2) * across
    places = _put(dice, [Circle(0, 0, radii[0]), Circle(across, down, radii[1])])
    if places is None:
        return None
    one, other = _kinds(dice, colors, 2)
    other = one if dice.chance(0.15) else other
    objects = [_object(kind, circle) for kind, circle in zip((one, other), places, strict=True)]
    if not relations.is_next_to(*objects):
        return None
    others = dice.weigh({0: 0.5, 1: 0.32, 2: 0.18})
    return _with_others(dice, objects, colors, count=others, gap=0.16)


def _lined(dice: Dice, colors: Sequence[Color]) -> tuple[Object, ...] | None:
    """Returns a row, or a column, of objects alike, all different or alternating."""
    count = dice.weigh({3: 0.42, 4: 0.28, 5: 0.18, 6: 0.12})
    radius = _radius(dice, *((Size.SMALL, Size.MEDIUM) if count < 5 else (Size.SMALL,)))
    widest = (1 - 2 * MARGIN - 2 * radius) / (count - 1) - 2 * radius
    if widest < GAP:
        return None
    step = 2 * radius + dice.between(GAP, min(widest, 0.14))
    is_row = dice.chance(0.62)
    line = [Circle(i * step, dice.between(-0.012, 0.012), radius) for i in range(count)]
    places = _put(dice, line if is_row else [Circle(c.y, c.x, c.radius) for c in line])
    if places is None:
        return None
    several = dice.weigh({1: 0.5, 2: 0.12, count: 0.38 if count < 6 else 0.0})
    kinds = _kinds(dice, colors, several)
    objects = [_object(kinds[i % several], place) for i, place in enumerate(places)]
    if not (relations.is_row if is_row else relations.is_column)(objects):
        return None
    return _with_others(dice, objects, colors, count=dice.weigh({0: 0.75, 1: 0.25}), gap=0.06)


def _put(dice: Dice, circles: Sequence[Circle]) -> list[Circle] | None:
    """Moves circles together to any place of the canvas; None if they do not fit."""
    moves = []
    for axis in ("x", "y"):
        low = min(getattr(c, axis) - c.radius for c in circles)
        high = max(getattr(c, axis) + c.radius for c in circles)
        room = 1 - 2 * MARGIN - (high - low)
        if room < 0:
            return None
        moves.append(MARGIN - low + room * dice.unit())
    return [Circle(c.x + moves[0], c.y + moves[1], c.radius) for c in circles]
