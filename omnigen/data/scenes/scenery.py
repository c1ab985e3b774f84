# SPDX-License-Identifier: Apache-2.0
"""Draws landscapes: every element of `scene.Element` in the light of its sky."""

import dataclasses
import math
from collections.abc import Callable

from omnigen.data.scenes import landscape as geography
from omnigen.data.scenes import palette
from omnigen.data.scenes.dice import Dice
from omnigen.data.scenes.palette import RGB
from omnigen.data.scenes.pen import Pen, Point
from omnigen.data.scenes.scene import Element, Landscape, Prop, Sky


@dataclasses.dataclass(frozen=True)
class Light:
    """The colours that things have under a sky.

    Attributes:
        sky: from the top down to the horizon.
        far: distant mountains.
        near: the mountains in front of them.
        cap: their snow.
        grass: meadow, near; the far end of it is hazier.
        water: from the horizon to the bottom.
        shine: glints on water.
        leaf: trees.
        shadow: share of darkening of what has its own colour.
    """

    sky: tuple[RGB, ...]
    far: RGB
    near: RGB
    cap: RGB
    grass: RGB
    water: tuple[RGB, RGB]
    shine: RGB
    leaf: RGB
    shadow: float


LIGHTS: dict[Sky, Light] = {
    Sky.CLEAR: Light(
        sky=((52, 138, 230), (126, 192, 248), (206, 234, 252)),
        far=(138, 164, 202), near=(92, 116, 160), cap=(250, 252, 255), grass=(108, 184, 84),
        water=(((86, 172, 232)), (38, 118, 206)), shine=(206, 236, 255), leaf=(44, 132, 64), shadow=0.0,
    ),
    Sky.SUNSET: Light(
        sky=((86, 52, 122), (222, 92, 100), (255, 186, 98)),
        far=(166, 92, 128), near=(104, 58, 104), cap=(255, 214, 190), grass=(112, 112, 66),
        water=((250, 160, 104), (142, 72, 124)), shine=(255, 222, 160), leaf=(58, 82, 56), shadow=0.16,
    ),
    Sky.NIGHT: Light(
        sky=((8, 12, 44), (22, 32, 84), (58, 72, 132)),
        far=(56, 66, 116), near=(34, 42, 84), cap=(176, 188, 222), grass=(30, 68, 62),
        water=((50, 74, 140), (18, 32, 84)), shine=(170, 186, 232), leaf=(16, 52, 48), shadow=0.42,
    ),
    Sky.OVERCAST: Light(
        sky=((136, 148, 162), (176, 186, 196), (214, 219, 223)),
        far=(150, 162, 174), near=(108, 122, 138), cap=(240, 243, 246), grass=(112, 146, 98),
        water=((146, 166, 182), (92, 116, 138)), shine=(214, 224, 232), leaf=(60, 104, 74), shadow=0.12,
    ),
}  # fmt: skip

_SAND = (238, 214, 160)
_NIGHT_BLUE = (10, 14, 46)
_IN_SKY = (Element.STARS, Element.SUN, Element.MOON)


@dataclasses.dataclass(frozen=True)
class _Brush:
    """What drawing one prop needs."""

    pen: Pen
    light: Light
    scene: Landscape
    prop: Prop
    dice: Dice

    @property
    def left(self) -> float:
        return self.prop.x - self.prop.width / 2

    @property
    def top(self) -> float:
        return self.prop.y - self.prop.height / 2

    @property
    def bottom(self) -> float:
        return self.prop.y + self.prop.height / 2

    @property
    def snowy(self) -> bool:
        return self.scene.has(Element.SNOW)

    def lit(self, rgb: RGB) -> RGB:
        """A thing's own colour under this sky."""
        return palette.mix(rgb, _NIGHT_BLUE, self.light.shadow)


def draw(pen: Pen, scene: Landscape) -> None:
    """Paints a landscape over the whole canvas."""
    light = LIGHTS[scene.sky]
    pen.gradient((0.0, 0.0), (0.0, scene.horizon), light.sky)
    grounded = False
    for prop in scene.props:
        if prop.element not in _IN_SKY and not grounded:
            _ground(pen, light, scene)
            grounded = True
        _PAINTERS[prop.element](_Brush(pen, light, scene, prop, Dice(prop.seed)))
    if not grounded:
        _ground(pen, light, scene)


def _ground(pen: Pen, light: Light, scene: Landscape) -> None:
    near = light.grass
    if scene.has(Element.SNOW):
        near = palette.mix((244, 248, 255), light.sky[1], 0.12 + light.shadow)
    elif scene.has(Element.SEA):
        near = palette.mix(_SAND, _NIGHT_BLUE, light.shadow)
    far = palette.mix(near, light.sky[-1], 0.28)
    pen.gradient((0, scene.horizon), (0, 1), [far, near], box=(0, scene.horizon, 1, 1))


def _sun(b: _Brush) -> None:
    radius = b.prop.width / 2
    inks = {Sky.SUNSET: (255, 226, 128)}
    ink = inks.get(b.scene.sky, (255, 216, 56))
    for growth, alpha in ((1.9, 36), (1.4, 60)):
        b.pen.circle(b.prop.x, b.prop.y, radius * growth, ink, alpha=alpha)
    b.pen.circle(b.prop.x, b.prop.y, radius, ink)


def _moon(b: _Brush) -> None:
    radius = b.prop.width / 2
    b.pen.circle(b.prop.x, b.prop.y, radius * 1.35, (220, 228, 255), alpha=34)
    b.pen.circle(b.prop.x, b.prop.y, radius, (246, 242, 214))
    for dx, dy, size in ((-0.3, -0.25, 0.22), (0.35, 0.15, 0.16), (-0.1, 0.45, 0.14)):
        b.pen.circle(b.prop.x + dx * radius, b.prop.y + dy * radius, size * radius, (224, 218, 188))


def _stars(b: _Brush) -> None:
    places = [(b.dice.between(0.02, 0.98), b.dice.between(0.02, b.bottom)) for _ in range(34)]
    b.pen.dots(places[:12], 0.018, (255, 255, 244))
    b.pen.dots(places[12:], 0.011, (226, 232, 255))


def _puff(b: _Brush, lumps: list[tuple[float, float, float]], *, dy: float, ink: RGB) -> None:
    width, height = b.prop.width, b.prop.height
    floor = b.bottom
    core = min(height * 0.34, width * 0.3)
    b.pen.rectangle(b.left, floor - 2 * core + dy, width, 2 * core, ink, round=core)
    for x, y, radius in lumps:
        b.pen.circle(x, y + dy, radius, ink)


def _cloud(b: _Brush) -> None:
    ink = palette.holder_color(Element.CLOUD, sky=b.scene.sky, seed=b.prop.seed)
    shade = palette.mix(ink, b.light.sky[0], 0.24)
    width, height = b.prop.width, b.prop.height
    count = max(3, round(width / height * 2.2))
    lumps = []
    for i in range(count):
        across = (i + 0.5) / count
        radius = height * (0.26 + 0.1 * math.sin(math.pi * across)) * b.dice.between(0.9, 1.12)
        x = b.left + min(max(across * width, radius), width - radius)
        lumps.append(
            (
                x,
                max(b.top + radius, b.top + height * (0.5 - 0.2 * math.sin(math.pi * across))),
                radius,
            )
        )
    _puff(b, lumps, dy=height * 0.035, ink=shade)
    _puff(b, lumps, dy=0.0, ink=ink)
    if width > 0.4:
        b.pen.rectangle(b.left + 0.06, b.top + 0.06, width - 0.12, height - 0.1, ink, round=0.05)


def _ridge(b: _Brush, peaks: int, *, low: float, high: float) -> list[Point]:
    """A jagged line from left to right: valleys at `low`, peaks up to `high` (smaller y)."""
    points = [(-0.05, low - (low - high) * b.dice.between(0.1, 0.5))]
    tallest = b.dice.integer(0, peaks - 1)
    for i in range(peaks):
        x = (i + b.dice.between(0.35, 0.65)) / peaks
        rise = 1.0 if i == tallest else b.dice.between(0.55, 0.9)
        points.append((x, low - (low - high) * rise))
        if i < peaks - 1:
            points.append(
                (
                    (i + 1 + b.dice.between(-0.12, 0.12)) / peaks,
                    low - (low - high) * b.dice.between(0.1, 0.4),
                )
            )
    points.append((1.05, low - (low - high) * b.dice.between(0.1, 0.5)))
    return points


def _range(b: _Brush, ridge: list[Point], *, ink: RGB, base: float, cap: float) -> None:
    b.pen.polygon([(-0.05, base), *ridge, (1.05, base)], ink)
    dark = (
        palette.mix(ink, b.light.near, 0.5)
        if ink != b.light.near
        else palette.mix(ink, (20, 24, 60), 0.22)
    )
    for i in range(1, len(ridge) - 1):
        (x0, y0), (x, y), (x1, y1) = ridge[i - 1 : i + 2]
        if not (y < y0 and y < y1):
            continue
        b.pen.polygon(
            [
                (x, y),
                (x1, y1),
                (x1, base),
                (x + (x1 - x) * 0.1, base),
                (x - 0.02, y + (base - y) * 0.5),
            ],
            dark,
        )
        depth = min(cap, (base - y) * 0.42)
        left = min(depth / max(y0 - y, 1e-3), 1.0)
        right = min(depth / max(y1 - y, 1e-3), 1.0)
        a, c = (
            (x + (x0 - x) * left, y + (y0 - y) * left),
            (x + (x1 - x) * right, y + (y1 - y) * right),
        )
        span = c[0] - a[0]
        teeth = [
            (a[0] + span * t, max(a[1], c[1]) - depth * lift)
            for t, lift in ((0.75, 0.3), (0.55, -0.05), (0.35, 0.34), (0.2, 0.02))
        ]
        b.pen.polygon([(x, y), c, *teeth, a], b.light.cap)


def _mountains(b: _Brush) -> None:
    high = b.top
    height = b.bottom - high
    back = _ridge(b, b.dice.integer(3, 4), low=b.bottom - height * 0.3, high=high)
    _range(b, back, ink=b.light.far, base=b.bottom, cap=height * 0.3)
    front = _ridge(b, b.dice.integer(2, 3), low=b.bottom - height * 0.05, high=high + height * 0.28)
    _range(b, front, ink=b.light.near, base=b.bottom, cap=height * 0.22)


def _hills(b: _Brush) -> None:
    near = (
        b.light.grass
        if not b.snowy
        else palette.mix((240, 245, 255), b.light.sky[1], 0.2 + b.light.shadow)
    )
    for layer, haze in ((0, 0.34), (1, 0.12)):
        ink = palette.mix(near, b.light.sky[-1], haze)
        if not b.snowy:
            ink = palette.mix(ink, b.light.leaf, 0.3)
        waves = b.dice.between(1.2, 2.2)
        phase = b.dice.between(0.0, math.tau)
        height = (b.bottom - b.top) * (1.0 - 0.35 * layer)
        line = []
        for i in range(21):
            x = -0.02 + i * 0.052
            line.append(
                (x, b.bottom - height * (0.62 + 0.38 * math.sin(x * waves * math.tau + phase)))
            )
        b.pen.polygon([(-0.02, b.bottom + 0.03), *line, (1.02, b.bottom + 0.03)], ink)


def _river(b: _Brush) -> None:
    horizon = b.top
    depths = [i / 22 for i in range(23)]
    middles = [(geography.river_middle(b.prop, d), horizon + (1.005 - horizon) * d) for d in depths]
    halves = [geography.river_half(b.prop, d) for d in depths]
    for extra, ink in (
        (0.35, palette.mix(b.light.grass, _SAND, 0.5 if not b.snowy else 0.15)),
        (0.0, b.light.water[1]),
    ):
        left = [(x - h * (1 + extra * 0.5), y) for (x, y), h in zip(middles, halves, strict=True)]
        right = [(x + h * (1 + extra * 0.5), y) for (x, y), h in zip(middles, halves, strict=True)]
        if extra:
            b.pen.polygon([*left, *reversed(right)], palette.mix(ink, _NIGHT_BLUE, b.light.shadow))
        else:
            b.pen.polygon_gradient([*left, *reversed(right)], (0, horizon), (0, 1), b.light.water)
    for d in (0.34, 0.55, 0.74, 0.9):
        x, y = geography.river_middle(b.prop, d), horizon + (1 - horizon) * d
        half = geography.river_half(b.prop, d)
        shift = b.dice.between(-0.35, 0.25) * half
        b.pen.rectangle(
            x + shift - half * 0.3,
            y,
            half * 0.6,
            0.007 + 0.004 * d,
            b.light.shine,
            round=0.004,
            alpha=200,
        )


def _glints(b: _Brush, *, count: int, left: float, right: float, top: float, bottom: float) -> None:
    for _ in range(count):
        y = b.dice.between(top, bottom)
        length = b.dice.between(0.04, 0.11)
        x = b.dice.between(left, right - length)
        b.pen.rectangle(x, y, length, 0.008, b.light.shine, round=0.004, alpha=170)


def _lake(b: _Brush) -> None:
    width, height = b.prop.width, b.prop.height
    shore = b.lit(_SAND) if not b.snowy else palette.mix(b.light.cap, b.light.water[1], 0.2)
    b.pen.ellipse(b.prop.x, b.prop.y, width, height, shore)
    b.pen.ellipse(b.prop.x, b.prop.y + height * 0.01, width * 0.95, height * 0.88, b.light.water[1])
    b.pen.ellipse(
        b.prop.x,
        b.prop.y - height * 0.05,
        width * 0.8,
        height * 0.6,
        palette.mix(*b.light.water, 0.5),
    )
    _glints(
        b, count=5, left=b.prop.x - width * 0.32, right=b.prop.x + width * 0.32,
        top=b.prop.y - height * 0.25, bottom=b.prop.y + height * 0.25,
    )  # fmt: skip


def _sea(b: _Brush) -> None:
    b.pen.gradient((0, b.top), (0, b.bottom), b.light.water, box=(0, b.top, 1, b.bottom))
    _glints(b, count=12, left=0.02, right=0.98, top=b.top + 0.03, bottom=b.bottom - 0.03)
    if b.bottom < 0.99:
        wave = [
            (x / 20, b.bottom - 0.008 + 0.01 * math.sin(x * 0.9 + b.prop.seed)) for x in range(21)
        ]
        b.pen.polygon([*wave, (1.0, 1.01), (0.0, 1.01)], b.lit(_SAND))
        b.pen.stroke(wave, 0.014, b.light.shine)


def _tree(b: _Brush, x: float, base: float, height: float, *, pine: bool) -> None:
    trunk, leaf = b.lit((112, 74, 44)), b.light.leaf
    bright = palette.mix(leaf, b.light.grass, 0.35)
    b.pen.rectangle(x - height * 0.05, base - height * 0.34, height * 0.1, height * 0.34, trunk)
    if pine:
        for low, high, half in ((0.16, 0.62, 0.27), (0.38, 0.82, 0.22), (0.6, 1.0, 0.16)):
            b.pen.polygon(
                [
                    (x - height * half, base - height * low),
                    (x, base - height * high),
                    (x + height * half, base - height * low),
                ],
                leaf,
            )
            b.pen.polygon(
                [
                    (x, base - height * high),
                    (x + height * half, base - height * low),
                    (x, base - height * low),
                ],
                palette.mix(leaf, _NIGHT_BLUE, 0.14),
            )
        if b.snowy:
            b.pen.polygon(
                [
                    (x - height * 0.09, base - height * 0.8),
                    (x, base - height),
                    (x + height * 0.09, base - height * 0.8),
                ],
                b.light.cap,
            )
        return
    for dx, dy, radius, ink in (
        (-0.15, 0.5, 0.19, leaf),
        (0.15, 0.5, 0.19, leaf),
        (0.0, 0.7, 0.24, leaf),
        (-0.07, 0.74, 0.13, bright),
    ):
        b.pen.circle(x + dx * height, base - dy * height, radius * height, ink)
    if b.snowy:
        b.pen.ellipse(x, base - height * 0.86, height * 0.3, height * 0.14, b.light.cap)


def _trees(b: _Brush) -> None:
    pine = b.dice.chance(0.5) or b.snowy
    count = max(2, round(b.prop.width / b.prop.height * 1.5))
    step = b.prop.width / count
    trees = []
    for i in range(count):
        height = b.prop.height * (1.0 if i == count // 2 else b.dice.between(0.68, 0.95))
        x = b.left + step * (i + 0.5) + step * b.dice.between(-0.15, 0.15)
        trees.append((b.bottom - b.dice.between(0.0, 0.02), x, height))
    for base, x, height in sorted(trees):
        _tree(b, x, base, height, pine=pine)


def _house(b: _Brush) -> None:
    width, height = b.prop.width, b.prop.height
    wall = b.lit(b.dice.pick([(250, 238, 214), (244, 222, 190), (226, 236, 244), (250, 214, 204)]))
    roof = b.lit(b.dice.pick([(196, 62, 52), (150, 74, 48), (72, 92, 140)]))
    window = (255, 226, 120) if b.scene.sky in (Sky.NIGHT, Sky.SUNSET) else b.lit((140, 200, 236))
    eaves = b.top + height * 0.45
    b.pen.rectangle(
        b.left + width * 0.72,
        b.top + height * 0.06,
        width * 0.1,
        height * 0.3,
        b.lit((130, 84, 70)),
    )
    b.pen.rectangle(b.left + width * 0.08, eaves - 0.002, width * 0.84, b.bottom - eaves, wall)
    b.pen.polygon([(b.left, eaves), (b.prop.x, b.top), (b.left + width, eaves)], roof)
    if b.snowy:
        b.pen.polygon(
            [(b.left + width * 0.12, b.top + height * 0.34), (b.prop.x, b.top), (b.left + width * 0.88, b.top + height * 0.34),
             (b.prop.x, b.top + height * 0.12)], b.light.cap)  # fmt: skip
    b.pen.rectangle(
        b.prop.x - width * 0.09,
        b.bottom - height * 0.34,
        width * 0.18,
        height * 0.34,
        b.lit((122, 78, 48)),
    )
    for x in (b.left + width * 0.17, b.left + width * 0.67):
        b.pen.rectangle(x, eaves + height * 0.12, width * 0.16, height * 0.17, window)


def _boat(b: _Brush) -> None:
    width, height = b.prop.width, b.prop.height
    hull = b.lit(b.dice.pick([(176, 52, 46), (122, 72, 44), (40, 74, 140), (236, 240, 244)]))
    sail = b.lit(b.dice.pick([(255, 255, 255), (255, 240, 214), (250, 206, 80)]))
    deck = b.bottom - height * 0.24
    mast = b.prop.x - width * 0.02
    b.pen.ellipse(b.prop.x, b.bottom + 0.004, width * 0.9, 0.02, b.light.shine, alpha=130)
    b.pen.rectangle(mast - 0.006, b.top, 0.012, deck - b.top, b.lit((110, 74, 48)))
    b.pen.polygon(
        [
            (mast + 0.012, b.top + height * 0.03),
            (b.left + width * 0.95, deck - height * 0.06),
            (mast + 0.012, deck - height * 0.06),
        ],
        sail,
    )
    b.pen.polygon(
        [
            (mast - 0.014, b.top + height * 0.16),
            (b.left + width * 0.12, deck - height * 0.06),
            (mast - 0.014, deck - height * 0.06),
        ],
        palette.mix(sail, b.light.sky[0], 0.14),
    )
    b.pen.polygon(
        [
            (b.left, deck),
            (b.left + width, deck),
            (b.left + width * 0.82, b.bottom),
            (b.left + width * 0.18, b.bottom),
        ],
        hull,
    )


def _birds(b: _Brush) -> None:
    ink = palette.mix((44, 50, 66), b.light.sky[0], 0.1)
    for i in range(b.dice.integer(3, 5)):
        x = b.left + b.prop.width * ((i + 0.5) / 5 + b.dice.between(-0.04, 0.04))
        y = b.top + b.prop.height * b.dice.between(0.2, 0.85)
        span = b.dice.between(0.026, 0.036)
        b.pen.stroke(
            [
                (x - span, y - span * 0.5),
                (x - span * 0.45, y - span * 0.55),
                (x, y),
                (x + span * 0.45, y - span * 0.55),
                (x + span, y - span * 0.5),
            ],
            0.011,
            ink,
        )


def _snow(b: _Brush) -> None:
    places = [(b.dice.between(0.01, 0.99), b.dice.between(0.01, 0.97)) for _ in range(46)]
    b.pen.dots(places[:20], 0.02, (255, 255, 255))
    b.pen.dots(places[20:], 0.013, (255, 255, 255), alpha=220)


def _sign(b: _Brush) -> None:
    paper = palette.holder_color(Element.SIGN, sky=b.scene.sky, seed=b.prop.seed)
    wood, dark = b.lit((134, 90, 54)), b.lit((98, 64, 38))
    width, height = b.prop.width, b.prop.height
    foot = min(b.bottom + 0.12, 0.985)
    for x in (b.left + width * 0.16, b.left + width * 0.84):
        b.pen.rectangle(x - 0.016, b.top + 0.01, 0.032, foot - b.top, dark)
    b.pen.rectangle(b.left, b.top, width, height, wood, round=0.02)
    b.pen.rectangle(
        b.left + 0.012, b.top + 0.012, width - 0.024, height - 0.024, paper, round=0.012
    )


def _banner(b: _Brush) -> None:
    paper = palette.holder_color(Element.BANNER, sky=b.scene.sky, seed=b.prop.seed)
    dark = palette.mix(paper, (30, 20, 30), 0.3)
    tail, drop = geography.PADDING[Element.BANNER][0] - 0.03, 0.03
    right = b.left + b.prop.width
    for edge, way in ((b.left, 1), (right, -1)):
        b.pen.polygon(
            [(edge, b.top + drop), (edge + way * (tail + 0.02), b.top + drop), (edge + way * (tail + 0.02), b.bottom + drop),
             (edge, b.bottom + drop), (edge + way * 0.03, b.prop.y + drop)], dark)  # fmt: skip
    b.pen.rectangle(
        b.left + tail - 0.012, b.top, b.prop.width - 2 * tail + 0.024, b.prop.height, paper
    )


_PAINTERS: dict[Element, Callable[[_Brush], None]] = {
    Element.SUN: _sun,
    Element.MOON: _moon,
    Element.STARS: _stars,
    Element.CLOUD: _cloud,
    Element.MOUNTAINS: _mountains,
    Element.HILLS: _hills,
    Element.RIVER: _river,
    Element.LAKE: _lake,
    Element.SEA: _sea,
    Element.TREES: _trees,
    Element.HOUSE: _house,
    Element.BOAT: _boat,
    Element.BIRDS: _birds,
    Element.SNOW: _snow,
    Element.SIGN: _sign,
    Element.BANNER: _banner,
}
