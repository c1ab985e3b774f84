# SPDX-License-Identifier: Apache-2.0
"""Boxes and circles on the canvas, and lines of words fitted into them.

Lengths are fractions of the canvas side.
"""

import dataclasses
from collections.abc import Sequence

from omnigen.dice import Dice
from omnigen.scenes import fonts
from omnigen.scenes.scene import Color, Prop, Text

MARGIN = 0.03
"""Nothing but scenery comes closer to the canvas's edge."""
GAP = 0.03
"""Between lines that stand one below the other."""
LEAST_CAP = 0.072
"""Capital letters are at least this high: 9 pixels of 128."""
CAPS = ((0.074, 0.1), (0.1, 0.14), (0.14, 0.24))
"""Ranges of cap heights, the usual first."""


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """The width times the height."""
        return (self.right - self.left) * (self.bottom - self.top)

    def grown(self, by: float) -> "Box":
        """Returns the box with every side moved out."""
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def overlap(self, other: "Box") -> float:
        """Returns the area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        if width <= 0:
            return 0.0
        return width * max(min(self.bottom, other.bottom) - max(self.top, other.top), 0.0)

    def distance(self, x: float, y: float) -> float:
        """Returns the distance from a point to the nearest point of the box, zero inside."""
        across = max(self.left - x, 0.0, x - self.right)
        down = max(self.top - y, 0.0, y - self.bottom)
        return (across * across + down * down) ** 0.5


@dataclasses.dataclass(frozen=True)
class Circle:
    """A disk about (`x`, `y`)."""

    x: float
    y: float
    radius: float


def prop_box(prop: Prop) -> Box:
    """Returns the box of a landscape's element."""
    half_width, half_height = prop.width / 2, prop.height / 2
    return Box(prop.x - half_width, prop.y - half_height, prop.x + half_width, prop.y + half_height)


def text_box(text: Text) -> Box:
    """Returns the box that the strokes of a line fill."""
    ink = fonts.measure(text.string, family=text.font)
    baseline = text.y + text.height / 2
    return Box(
        text.x - text.width / 2,
        baseline + ink.top * text.height,
        text.x + text.width / 2,
        baseline + ink.bottom * text.height,
    )


def moved(text: Text, *, x: float, y: float) -> Text:
    """Returns the line with another centre."""
    return dataclasses.replace(text, x=round(x, 4), y=round(y, 4))


def line(
    words: tuple[str, ...], *, color: Color, font: str, cap: float, room: float
) -> Text | None:
    """Returns a line about the origin, with smaller letters if it is wider than `room`.

    None if the letters would be less than `LEAST_CAP` high, or the font lacks one.
    """
    if not fonts.has(" ".join(words), family=font):
        return None
    measured = fonts.measure(" ".join(words), family=font).width
    cap = min(cap, room / measured)
    if cap < LEAST_CAP:
        return None
    cap = int(cap * 1e4) / 1e4
    return Text(words, color, font, 0.0, 0.0, cap, round(measured * cap, 4))


def stack(dice: Dice, lines: Sequence[Text]) -> tuple[Text, ...]:
    """Puts lines one below the other, anywhere across and down, as many as there is room for."""
    boxes = [text_box(text) for text in lines]
    heights = [box.bottom - box.top for box in boxes]
    count = len(lines)
    while sum(heights[:count]) + GAP * (count - 1) > 1 - 2 * MARGIN:
        count -= 1
    slack = 1 - 2 * MARGIN - sum(heights[:count]) - GAP * (count - 1)
    cuts = sorted(dice.unit() * slack for _ in range(count))
    placed, used = [], MARGIN
    for text, box, height, cut in zip(lines, boxes, heights, cuts, strict=False):
        room = max(1 - 2 * MARGIN - text.width, 0.0)
        x = 0.5 if dice.chance(0.3) else MARGIN + text.width / 2 + room * dice.unit()
        placed.append(moved(text, x=x, y=used + cut - box.top))
        used += height + GAP
    return tuple(placed)


def scatter(
    dice: Dice,
    radii: Sequence[float],
    *,
    gap: float,
    avoid: Sequence[Box] = (),
    beside: Sequence[Circle] = (),
) -> list[Circle] | None:
    """Places circles at random so that none meets another, one that is there, the edge or a box.

    None if there seems to be no room.
    """
    order = sorted(range(len(radii)), key=lambda i: -radii[i])
    placed: dict[int, Circle] = {}
    for index in order:
        radius = radii[index]
        low = MARGIN + radius
        for _ in range(80):
            x, y = dice.between(low, 1 - low), dice.between(low, 1 - low)
            if all(
                (x - c.x) ** 2 + (y - c.y) ** 2 >= (radius + c.radius + gap) ** 2
                for c in (*beside, *placed.values())
            ) and all(box.distance(x, y) >= radius + gap for box in avoid):
                placed[index] = Circle(x, y, radius)
                break
        else:
            return None
    return [placed[index] for index in range(len(radii))]
