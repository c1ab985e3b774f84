# SPDX-License-Identifier: Apache-2.0
"""Draws landscapes: the sky and what is in it, mountains, hills, water and snow."""

import math
from collections.abc import Callable

from omnigen.dice import Dice
from omnigen.scenes import landscape as geography
from omnigen.scenes import palette, things
from omnigen.scenes.light import LIGHTS, NIGHT_BLUE, SAND, Brush, Light
from omnigen.scenes.palette import RGB
from omnigen.scenes.pen import Pen, Point
from omnigen.scenes.scene import Element, Landscape, Sky

_IN_SKY = (Element.STARS, Element.SUN, Element.MOON)


def draw(pen: Pen, scene: Landscape) -> None:
    """Paints a landscape over the whole canvas."""
    light = LIGHTS[scene.sky]
    pen.clear_down(light.sky, scene.horizon)
    grounded = False
    for prop in scene.props:
        if prop.element not in _IN_SKY and not grounded:
            _ground(pen, light, scene)
            grounded = True
        _PAINTERS[prop.element](Brush(pen, light, scene, prop, Dice(prop.seed)))
    if not grounded:
        _ground(pen, light, scene)


def _snowfield(light: Light) -> RGB:
    day = palette.mix((250, 252, 255), light.sky[0], 0.06)
    return palette.mix(day, light.sky[-1], 1.3 * light.shadow)


def _ground(pen: Pen, light: Light, scene: Landscape) -> None:
    near, haze = light.grass, light.sky[-1]
    if scene.has(Element.SNOW):
        near, haze = _snowfield(light), light.sky[1]
    elif scene.has(Element.SEA):
        near = palette.mix(SAND, NIGHT_BLUE, light.shadow)
    far = palette.mix(near, haze, 0.25)
    pen.gradient((0, scene.horizon), (0, 1), [far, near], box=(0, scene.horizon, 1, 1))


def _sun(b: Brush) -> None:
    radius = b.prop.width / 2
    ink = (255, 232, 136) if b.scene.sky == Sky.SUNSET else (255, 216, 56)
    for growth, alpha in ((1.9, 36), (1.4, 60), (1.0, 255)):
        b.pen.circle(b.prop.x, b.prop.y, radius * growth, ink, alpha=alpha)


def _moon(b: Brush) -> None:
    radius = b.prop.width / 2
    b.pen.circle(b.prop.x, b.prop.y, radius * 1.35, (220, 228, 255), alpha=34)
    b.pen.circle(b.prop.x, b.prop.y, radius, (246, 242, 214))
    for dx, dy, size in ((-0.3, -0.25, 0.22), (0.35, 0.15, 0.16), (-0.1, 0.45, 0.14)):
        x, y = b.prop.x + dx * radius, b.prop.y + dy * radius
        b.pen.circle(x, y, size * radius, (224, 218, 188))


def _stars(b: Brush) -> None:
    places = [(b.dice.between(0.02, 0.98), b.dice.between(0.02, b.bottom)) for _ in range(34)]
    b.pen.dots(places[:12], 0.018, (255, 255, 244))
    b.pen.dots(places[12:], 0.011, (226, 232, 255))


def _lumps(b: Brush) -> list[tuple[float, float, float]]:
    """Returns the centres and radii of the disks along a cloud's upper side."""
    width, height = b.prop.width, b.prop.height
    if width < 3 * height and width < 0.4:
        shapes = ((0.3, 0.3), (0.54, 0.46), (0.77, 0.31))
        lumps = [(b.left + at * width, height * r * b.dice.between(0.94, 1.0)) for at, r in shapes]
        return [(x, b.bottom - height * 0.26 - r * 0.6, r) for x, r in lumps]
    count = max(3, round(width / height * 2.2))
    lumps = []
    for i in range(count):
        across = (i + 0.5) / count
        arch = math.sin(math.pi * across)
        radius = height * (0.26 + 0.1 * arch) * b.dice.between(0.9, 1.12)
        x = b.left + min(max(across * width, radius), width - radius)
        lumps.append((x, max(b.top + radius, b.top + height * (0.5 - 0.2 * arch)), radius))
    return lumps


def _cloud(b: Brush) -> None:
    ink = palette.holder_color(Element.CLOUD, sky=b.scene.sky, seed=b.prop.seed)
    shade = palette.mix(ink, b.light.sky[0], 0.24)
    width, height = b.prop.width, b.prop.height
    lumps = _lumps(b)
    core = min(height * (0.27 if width < 0.4 else 0.34), width * 0.3)
    for dy, tint in ((height * 0.035, shade), (0.0, ink)):
        b.pen.rectangle(b.left, b.bottom - 2 * core + dy, width, 2 * core, tint, round=core)
        for x, y, radius in lumps:
            b.pen.circle(x, y + dy, radius, tint)
    side, above, below = (pad - 0.015 for pad in geography.PADDING[Element.CLOUD])
    room = (width - 2 * side, height - above - below)
    if min(room) > 0:
        b.pen.rectangle(b.left + side, b.top + above, *room, ink, round=min(0.05, *room))


def _ridge(b: Brush, peaks: int, *, low: float, high: float) -> list[Point]:
    """Returns a jagged line from left to right: valleys about `low`, the tallest peak at `high`."""
    rise = low - high
    tallest = b.dice.integer(0, peaks - 1)
    points = [(-0.05, low - rise * b.dice.between(0.1, 0.5))]
    for i in range(peaks):
        share = 1.0 if i == tallest else b.dice.between(0.55, 0.9)
        points.append(((i + b.dice.between(0.35, 0.65)) / peaks, low - rise * share))
        if i < peaks - 1:
            valley = (i + 1 + b.dice.between(-0.12, 0.12)) / peaks
            points.append((valley, low - rise * b.dice.between(0.1, 0.4)))
    points.append((1.05, low - rise * b.dice.between(0.1, 0.5)))
    return points


def _range(b: Brush, ridge: list[Point], *, ink: RGB, shade: RGB, cap: float) -> None:
    """Draws mountains below a ridge, their right sides in the shade and their tops in snow."""
    base = b.bottom
    b.pen.polygon([(-0.05, base), *ridge, (1.05, base)], ink)
    for (x0, y0), (x, y), (x1, y1) in zip(ridge, ridge[1:], ridge[2:], strict=False):
        if y >= y0 or y >= y1:
            continue
        fold = [(x + (x1 - x) * 0.1, base), (x - 0.02, y + (base - y) * 0.5)]
        b.pen.polygon([(x, y), (x1, y1), (x1, base), *fold], shade)
        depth = min(cap, (base - y) * 0.42)
        left, right = min(depth / (y0 - y), 1.0), min(depth / (y1 - y), 1.0)
        start = (x + (x0 - x) * left, y + (y0 - y) * left)
        end = (x + (x1 - x) * right, y + (y1 - y) * right)
        low, span = max(start[1], end[1]), end[0] - start[0]
        teeth = ((0.75, 0.3), (0.55, -0.05), (0.35, 0.34), (0.2, 0.02))
        edge = [(start[0] + span * at, low - depth * lift) for at, lift in teeth]
        b.pen.polygon([(x, y), end, *edge, start], b.light.cap)


def _mountains(b: Brush) -> None:
    height, light = b.prop.height, b.light
    back = _ridge(b, b.dice.integer(2, 4), low=b.bottom - height * 0.3, high=b.top)
    shade = palette.mix(light.far, light.near, 0.5)
    _range(b, back, ink=light.far, shade=shade, cap=height * 0.3)
    high = b.top + height * b.dice.between(0.2, 0.34)
    front = _ridge(b, b.dice.integer(2, 3), low=b.bottom - height * 0.05, high=high)
    shade = palette.mix(light.near, (20, 24, 60), 0.22)
    _range(b, front, ink=light.near, shade=shade, cap=height * 0.22)


def _hills(b: Brush) -> None:
    near = palette.mix(b.light.grass, b.light.leaf, 0.3)
    if b.snowy:
        near = palette.mix(_snowfield(b.light), b.light.sky[0], 0.18)
    for haze, share in ((0.34, 1.0), (0.12, 0.65)):
        waves, phase = b.dice.between(1.2, 2.2), b.dice.between(0.0, math.tau)
        height = b.prop.height * share
        line = []
        for i in range(21):
            x = -0.02 + i * 0.052
            rise = 0.62 + 0.38 * math.sin(x * waves * math.tau + phase)
            line.append((x, b.bottom - height * rise))
        ink = palette.mix(near, b.light.sky[-1], haze)
        b.pen.polygon([(-0.02, b.bottom + 0.03), *line, (1.02, b.bottom + 0.03)], ink)


def _river(b: Brush) -> None:
    fall = 1.005 - b.top
    steps = [(i / 22, b.top + fall * i / 22) for i in range(23)]
    middles = [geography.river_middle(b.prop, depth) for depth, _ in steps]
    halves = [geography.river_half(b.prop, depth) for depth, _ in steps]

    def bank(way: float) -> list[Point]:
        places = zip(middles, halves, steps, strict=True)
        return [(middle + way * half, y) for middle, half, (_, y) in places]

    sand = palette.mix(SAND, NIGHT_BLUE, b.light.shadow)
    ground = _snowfield(b.light) if b.snowy else b.light.grass
    shore = palette.mix(ground, palette.mix(sand, b.light.water[1], 0.4 * b.snowy), 0.55)
    b.pen.polygon([*bank(-1.18), *reversed(bank(1.18))], shore)
    b.pen.polygon_gradient([*bank(-1.0), *reversed(bank(1.0))], (0, b.top), (0, 1), b.light.water)
    for depth in (0.34, 0.55, 0.74, 0.9):
        half = geography.river_half(b.prop, depth)
        x = geography.river_middle(b.prop, depth) + b.dice.between(-0.65, -0.05) * half
        y, width, height = b.top + fall * depth, half * 0.6, 0.007 + 0.004 * depth
        b.pen.rectangle(x, y, width, height, b.light.shine, round=0.004, alpha=200)


def _glints(b: Brush, count: int, *, inset: float) -> None:
    """Draws short bright lines on the water, off the sides of the prop's box."""
    for _ in range(count):
        y = b.dice.between(b.top + b.prop.height * inset, b.bottom - b.prop.height * inset)
        length = b.dice.between(0.04, 0.11)
        side = b.prop.width * inset * 0.6
        x = b.dice.between(b.left + side, b.right - side - length)
        b.pen.rectangle(x, y, length, 0.008, b.light.shine, round=0.004, alpha=170)


def _lake(b: Brush) -> None:
    x, y, width, height = b.prop.x, b.prop.y, b.prop.width, b.prop.height
    shore = b.lit(SAND)
    if b.snowy:
        shore = palette.mix(b.light.cap, b.light.water[1], 0.3)
    b.pen.ellipse(x, y, width, height, shore)
    b.pen.ellipse(x, y + height * 0.01, width * 0.95, height * 0.88, b.light.water[1])
    shallow = palette.mix(*b.light.water, 0.5)
    b.pen.ellipse(x, y - height * 0.05, width * 0.8, height * 0.6, shallow)
    _glints(b, 5, inset=0.28)


def _sea(b: Brush) -> None:
    b.pen.gradient((0, b.top), (0, b.bottom), b.light.water, box=(0, b.top, 1, b.bottom))
    _glints(b, 12, inset=0.08)
    if b.bottom < 0.99:
        wave = [
            (x / 20, b.bottom - 0.008 + 0.01 * math.sin(x * 0.9 + b.prop.seed)) for x in range(21)
        ]
        b.pen.polygon([*wave, (1.0, 1.01), (0.0, 1.01)], b.lit(SAND))
        b.pen.stroke(wave, 0.014, b.light.shine)


def _birds(b: Brush) -> None:
    ink = palette.mix((40, 46, 62), b.light.sky[0], 0.1)
    for i in range(b.dice.integer(3, 5)):
        x = b.left + b.prop.width * ((i + 0.5) / 5 + b.dice.between(-0.04, 0.04))
        y = b.top + b.prop.height * b.dice.between(0.2, 0.85)
        span = b.dice.between(0.028, 0.04)
        lift = y - span * 0.55
        wings = [(x - span, y - span * 0.45), (x - span * 0.45, lift), (x, y)]
        other = [(x + span * 0.45, lift), (x + span, y - span * 0.45)]
        b.pen.stroke([*wings, *other], 0.011, ink)


def _snow(b: Brush) -> None:
    places = [(b.dice.between(0.01, 0.99), b.dice.between(0.01, 0.97)) for _ in range(52)]
    b.pen.dots(places[:24], 0.02, (255, 255, 255))
    b.pen.dots(places[24:], 0.013, (255, 255, 255), alpha=220)


_PAINTERS: dict[Element, Callable[[Brush], None]] = {
    Element.SUN: _sun,
    Element.MOON: _moon,
    Element.STARS: _stars,
    Element.CLOUD: _cloud,
    Element.MOUNTAINS: _mountains,
    Element.HILLS: _hills,
    Element.RIVER: _river,
    Element.LAKE: _lake,
    Element.SEA: _sea,
    Element.BIRDS: _birds,
    Element.SNOW: _snow,
    Element.TREES: things.trees,
    Element.HOUSE: things.house,
    Element.BOAT: things.boat,
    Element.SIGN: things.sign,
    Element.BANNER: things.banner,
}
