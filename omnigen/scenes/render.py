# SPDX-License-Identifier: Apache-2.0
"""Draws scenes at any resolution, anti-aliased, with skia (the extra `scenes`).

Each thread keeps its own surface and fonts, so threads and processes can render side by side.
"""

import functools
import math
import threading
from typing import Any

import numpy as np

from omnigen.dice import Dice
from omnigen.scenes import fonts, palette, scenery
from omnigen.scenes.pen import Pen, skia
from omnigen.scenes.scene import Background, Fill, Object, Scene, Shape, Text

_local = threading.local()


@functools.cache
def _typeface(family: str) -> Any:
    manager = getattr(skia.FontMgr, "New_Custom_Empty", skia.FontMgr)()
    typeface = manager.makeFromFile(str(fonts.FAMILIES[family].path))
    if typeface is None:
        raise ValueError(f"font file {fonts.FAMILIES[family].path} of {family!r} cannot be read")
    return typeface


def _star() -> list[tuple[float, float]]:
    inner = math.cos(math.radians(72)) / math.cos(math.radians(36)) * 1.12
    spokes = [(1.0 if i % 2 == 0 else inner, math.radians(36 * i - 90)) for i in range(10)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for radius, angle in spokes]


def _cross() -> list[tuple[float, float]]:
    arm = 0.3
    reach = math.sqrt(1 - arm * arm)
    corner = [(arm, -reach), (arm, -arm), (reach, -arm)]
    turns = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    return [(x * c - y * s, x * s + y * c) for c, s in turns for x, y in corner]


_DIAGONAL = math.sqrt(0.5)
_POLYGONS: dict[Shape, list[tuple[float, float]]] = {
    Shape.SQUARE: [
        (-_DIAGONAL, -_DIAGONAL),
        (_DIAGONAL, -_DIAGONAL),
        (_DIAGONAL, _DIAGONAL),
        (-_DIAGONAL, _DIAGONAL),
    ],
    Shape.TRIANGLE: [(math.sin(a), -math.cos(a)) for a in (0, math.tau / 3, 2 * math.tau / 3)],
    Shape.DIAMOND: [(0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)],
    Shape.STAR: _star(),
    Shape.CROSS: _cross(),
}
_RING = 0.58
"""Radius of a ring's hole in that of the ring."""


@functools.cache
def _outline(shape: Shape) -> Any:
    builder = skia.PathBuilder()
    if shape == Shape.CIRCLE:
        builder.addCircle(0, 0, 1)
    elif shape == Shape.RING:
        builder.addCircle(0, 0, 1)
        builder.addCircle(0, 0, _RING)
        builder.setFillType(skia.PathFillType.kEvenOdd)
    elif shape == Shape.HEART:
        builder.moveTo(0, 0.94)
        builder.cubicTo(-0.2, 0.68, -0.97, 0.27, -0.93, -0.27)
        builder.cubicTo(-0.89, -0.84, -0.2, -0.88, 0, -0.4)
        builder.cubicTo(0.2, -0.88, 0.89, -0.84, 0.93, -0.27)
        builder.cubicTo(0.97, 0.27, 0.2, 0.68, 0, 0.94)
        builder.close()
    else:
        builder.addPolygon([skia.Point(*corner) for corner in _POLYGONS[shape]], True)
    return builder.detach()


def draw_background(pen: Pen, background: Background) -> None:
    """Paints the background over the whole canvas."""
    base = palette.BACKGROUNDS[background.color]
    if background.fill == Fill.PLAIN:
        pen.clear(base)
        return
    second = palette.BACKGROUNDS[background.second]
    dice = Dice(background.seed)
    if background.fill == Fill.GRADIENT:
        angle = dice.between(0.0, math.tau)
        reach = (abs(math.cos(angle)) + abs(math.sin(angle))) / 2
        x, y = math.cos(angle) * reach, math.sin(angle) * reach
        pen.gradient((0.5 - x, 0.5 - y), (0.5 + x, 0.5 + y), [base, second])
        return
    pen.clear(base)
    ink = palette.mix(base, second, palette.TEXTURE_BLEND)
    step = dice.between(0.07, 0.12)
    count = math.ceil(1.5 / step)
    steps = [-0.25 + i * step for i in range(count)]
    pattern = dice.weigh({"stripes": 1.0, "slanted": 1.0, "dots": 1.0, "checks": 1.0, "waves": 1.0})
    if pattern == "stripes":
        across = dice.chance(0.5)
        for s in steps:
            pen.rectangle(s, 0, step / 2, 1, ink) if across else pen.rectangle(
                0, s, 1, step / 2, ink
            )
    elif pattern == "slanted":
        sign = 1 if dice.chance(0.5) else -1
        for s in [-1.25 + i * step for i in range(2 * count)]:
            pen.stroke([(0.5 + sign * (s - 0.5), 0), (0.5 + sign * (s + 0.5), 1)], step * 0.35, ink)
    elif pattern == "dots":
        pen.dots([(x, y) for x in steps for y in steps], step * 0.45, ink)
    elif pattern == "checks":
        for i, x in enumerate(steps):
            for j, y in enumerate(steps):
                if (i + j) % 2:
                    pen.rectangle(x, y, step, step, ink)
    else:
        for y in steps:
            wave = [
                (x / 24, y + 0.25 * step * math.sin(x / 24 * math.tau / (2.5 * step)))
                for x in range(25)
            ]
            pen.stroke(wave, step * 0.35, ink)


def _draw_object(pen: Pen, thing: Object) -> None:
    pen.path(
        _outline(thing.shape), palette.COLORS[thing.color], x=thing.x, y=thing.y, scale=thing.radius
    )


def _font(family: str) -> Any:
    cache = _local.__dict__.setdefault("fonts", {})
    if family not in cache:
        font = skia.Font(_typeface(family), 1.0)
        font.setEdging(skia.Font.Edging.kAntiAlias)
        font.setHinting(skia.FontHinting.kNone)
        font.setSubpixel(True)
        font.setBaselineSnap(False)
        font.setLinearMetrics(True)
        cache[family] = font
    return cache[family]


def draw_text(pen: Pen, text: Text) -> None:
    """Draws a line of words."""
    font = _font(text.font)
    font.setSize(text.height * fonts.em(text.font) * pen.size)
    start = (
        text.x - text.width / 2 - fonts.measure(text.string, family=text.font).left * text.height
    )
    pen.text(text.string, font, palette.COLORS[text.color], x=start, y=text.y + text.height / 2)


def _pen(size: int) -> Pen:
    pens = _local.__dict__.setdefault("pens", {})
    if size not in pens:
        pens[size] = Pen(size)
    return pens[size]


def render(scene: Scene, size: int) -> np.ndarray:
    """Draws the picture of a scene.

    Args:
        scene: What to draw.
        size: Side of the picture in pixels.

    Returns:
        uint8 `[size, size, 3]`, the caller's own.

    Raises:
        ValueError: If `size` is not positive.
    """
    if size < 1:
        raise ValueError(f"size is {size}; it must be 1 or more pixels")
    pen = _pen(size)
    if scene.background is not None:
        draw_background(pen, scene.background)
    if scene.landscape is not None:
        scenery.draw(pen, scene.landscape)
    for thing in sorted(scene.objects, key=lambda thing: -thing.radius):  # inner ones on top
        _draw_object(pen, thing)
    for text in scene.texts:
        draw_text(pen, text)
    return pen.picture()
