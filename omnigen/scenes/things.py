# SPDX-License-Identifier: Apache-2.0
"""Draws what stands in a landscape: trees, houses, boats, signs and banners."""

from omnigen.scenes import palette
from omnigen.scenes.landscape import PADDING
from omnigen.scenes.light import NIGHT_BLUE, Brush
from omnigen.scenes.palette import RGB
from omnigen.scenes.scene import Element, Sky

_WALLS = ((250, 238, 214), (244, 222, 190), (226, 236, 244), (250, 214, 204))
_ROOFS = ((196, 62, 52), (150, 74, 48), (72, 92, 140))
_HULLS = ((192, 52, 46), (136, 80, 48), (232, 116, 44), (240, 243, 247))
_SAILS = ((255, 255, 255), (255, 240, 214), (250, 206, 80))


def _pine(b: Brush, x: float, base: float, height: float) -> None:
    leaf = b.light.leaf
    shade = palette.mix(leaf, NIGHT_BLUE, 0.16)
    for low, high, half in ((0.16, 0.62, 0.27), (0.38, 0.82, 0.22), (0.6, 1.0, 0.16)):
        foot, peak, reach = base - height * low, base - height * high, height * half
        b.pen.polygon([(x - reach, foot), (x, peak), (x + reach, foot)], leaf)
        b.pen.polygon([(x, peak), (x + reach, foot), (x, foot)], shade)
        if b.snowy:
            edge = peak + (foot - peak) * 0.45
            b.pen.polygon(
                [(x - reach * 0.45, edge), (x, peak), (x + reach * 0.45, edge)], b.light.cap
            )


def _round_tree(b: Brush, x: float, base: float, height: float) -> None:
    leaf = b.light.leaf
    bright = palette.mix(leaf, b.light.grass, 0.4)
    for dx, dy, radius in ((-0.15, 0.5, 0.19), (0.15, 0.5, 0.19), (0.0, 0.7, 0.24)):
        b.pen.circle(x + dx * height, base - dy * height, radius * height, leaf)
    b.pen.circle(x - 0.07 * height, base - 0.74 * height, 0.13 * height, bright)
    if b.snowy:
        b.pen.ellipse(x, base - height * 0.86, height * 0.3, height * 0.14, b.light.cap)


def trees(b: Brush) -> None:
    """Draws a row of pines or of round trees."""
    tree = _pine if b.dice.chance(0.5) or b.snowy else _round_tree
    count = max(1, round(b.prop.width / b.prop.height * 1.6))
    step = b.prop.width / count
    row = []
    for i in range(count):
        height = b.prop.height * (1.0 if i == count // 2 else b.dice.between(0.68, 0.95))
        x = b.left + step * (i + 0.5 + b.dice.between(-0.15, 0.15))
        row.append((b.bottom - b.dice.between(0.0, 0.02), x, height))
    trunk = b.lit((112, 74, 44))
    for base, x, height in sorted(row):
        b.pen.rectangle(x - height * 0.05, base - height * 0.34, height * 0.1, height * 0.34, trunk)
        tree(b, x, base, height)


def house(b: Brush) -> None:
    """Draws a cottage; its windows are lit at dusk."""
    width, height, middle = b.prop.width, b.prop.height, b.prop.x
    wall, roof = b.lit(b.dice.pick(_WALLS)), b.lit(b.dice.pick(_ROOFS))
    glass = (255, 226, 120) if b.scene.sky in (Sky.NIGHT, Sky.SUNSET) else (120, 186, 230)
    eaves = b.top + height * 0.45
    chimney, top = b.left + width * 0.72, b.top + height * 0.06
    b.pen.rectangle(chimney, top, width * 0.1, height * 0.3, b.lit((130, 84, 70)))
    b.pen.rectangle(b.left + width * 0.08, eaves - 0.002, width * 0.84, b.bottom - eaves, wall)
    b.pen.polygon([(b.left, eaves), (middle, b.top), (b.right, eaves)], roof)
    if b.snowy:
        edge, inset = b.top + height * 0.34, width * 0.12
        corners = [(b.left + inset, edge), (middle, b.top), (b.right - inset, edge)]
        b.pen.polygon([*corners, (middle, b.top + height * 0.12)], b.light.cap)
    door = height * 0.34
    b.pen.rectangle(
        middle - width * 0.09, b.bottom - door, width * 0.18, door, b.lit((122, 78, 48))
    )
    for x in (b.left + width * 0.17, b.left + width * 0.67):
        b.pen.rectangle(x, eaves + height * 0.12, width * 0.16, height * 0.17, glass)


def boat(b: Brush) -> None:
    """Draws a sailing boat."""
    width, height, middle = b.prop.width, b.prop.height, b.prop.x
    hull, sail = b.lit(b.dice.pick(_HULLS)), b.lit(b.dice.pick(_SAILS))
    deck, mast = b.bottom - height * 0.24, middle - width * 0.02
    boom = deck - height * 0.06
    b.pen.ellipse(middle, b.bottom + 0.004, width * 0.9, 0.02, b.light.shine, alpha=130)
    b.pen.rectangle(mast - 0.006, b.top, 0.012, deck - b.top, b.lit((110, 74, 48)))
    main = [(mast + 0.012, b.top + height * 0.03), (b.right - width * 0.05, boom)]
    b.pen.polygon([*main, (mast + 0.012, boom)], sail)
    jib = [(mast - 0.014, b.top + height * 0.16), (b.left + width * 0.12, boom)]
    b.pen.polygon([*jib, (mast - 0.014, boom)], palette.mix(sail, b.light.sky[0], 0.14))
    keel = [(b.right - width * 0.18, b.bottom), (b.left + width * 0.18, b.bottom)]
    b.pen.polygon([(b.left, deck), (b.right, deck), *keel], hull)


def sign(b: Brush) -> None:
    """Draws a framed board on two posts; the prop's box is the board."""
    paper = palette.holder_color(Element.SIGN, sky=b.scene.sky, seed=b.prop.seed)
    wood, dark = b.lit((134, 90, 54)), b.lit((98, 64, 38))
    width, height = b.prop.width, b.prop.height
    foot = min(b.bottom + 0.12, 0.985)
    for x in (b.left + width * 0.16, b.left + width * 0.84):
        b.pen.rectangle(x - 0.016, b.top + 0.01, 0.032, foot - b.top, dark)
    b.pen.rectangle(b.left, b.top, width, height, wood, round=0.02)
    rim = 0.012
    board = (b.left + rim, b.top + rim, width - 2 * rim, height - 2 * rim)
    b.pen.rectangle(*board, paper, round=rim)


def banner(b: Brush) -> None:
    """Draws a ribbon with two swallow tails; the prop's box takes them in."""
    paper = palette.holder_color(Element.BANNER, sky=b.scene.sky, seed=b.prop.seed)
    dark: RGB = palette.mix(paper, (30, 20, 30), 0.3)
    tail, drop, notch = PADDING[Element.BANNER][0] - 0.03, 0.024, 0.03
    top, bottom = b.top + drop, b.bottom + drop
    for edge, way in ((b.left, 1), (b.right, -1)):
        inner = edge + way * (tail + 0.02)
        fork = (edge + way * notch, b.prop.y + drop)
        b.pen.polygon([(edge, top), (inner, top), (inner, bottom), (edge, bottom), fork], dark)
    left = b.left + tail - 0.012
    b.pen.rectangle(left, b.top, b.prop.width - 2 * tail + 0.024, b.prop.height, paper)
