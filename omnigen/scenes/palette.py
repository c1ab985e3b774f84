# SPDX-License-Identifier: Apache-2.0
"""The colours of scenes and which of them can be told apart.

Colours are sRGB triples of 0..255. Shapes are kept apart from their background by distance in
CIELAB (the CIE 1976 colour difference), letters from their paper by WCAG's contrast ratio, which is
what makes strokes readable.
"""

import functools

from omnigen.scenes.scene import Background, Color, Element, Fill, Sky

RGB = tuple[int, int, int]

COLORS: dict[Color, RGB] = {
    Color.RED: (222, 36, 36),
    Color.ORANGE: (247, 128, 20),
    Color.YELLOW: (252, 212, 32),
    Color.GREEN: (34, 156, 66),
    Color.BLUE: (36, 86, 222),
    Color.PURPLE: (134, 56, 184),
    Color.PINK: (248, 124, 186),
    Color.BROWN: (138, 82, 42),
    Color.BLACK: (18, 18, 20),
    Color.WHITE: (255, 255, 255),
}

CALM: dict[str, RGB] = {
    "white": (255, 255, 255),
    "black": (14, 14, 18),
    "grey": (150, 150, 154),
    "beige": (240, 224, 192),
    "sky blue": (154, 212, 246),
    "mint": (182, 236, 206),
}
VIVID: dict[str, RGB] = {c.value: rgb for c, rgb in COLORS.items() if c.value not in CALM}
BACKGROUNDS: dict[str, RGB] = {**CALM, **VIVID}

OBJECT_DISTANCE = 32.0
BLEND_DISTANCE = 40.0
"""Of the two colours of a gradient with a vivid one: anybody sees that there are two."""
INK_CONTRAST = 2.6
TEXTURE_BLEND = 0.3

_HOLDERS: dict[Element, tuple[RGB, ...]] = {
    Element.SIGN: ((222, 184, 135), (250, 246, 236), (28, 104, 72)),
    Element.BANNER: ((252, 240, 208), (190, 30, 45), (34, 60, 120)),
}
_CLOUDS: dict[Sky, RGB] = {
    Sky.CLEAR: (255, 255, 255),
    Sky.SUNSET: (255, 236, 224),
    Sky.NIGHT: (206, 212, 230),
    Sky.OVERCAST: (240, 243, 246),
}


@functools.lru_cache(maxsize=4096)
def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Returns the colour that lies `share` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _linear(rgb: RGB) -> list[float]:
    scaled = [value / 255 for value in rgb]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in scaled]


@functools.lru_cache(maxsize=4096)
def lab(rgb: RGB) -> tuple[float, float, float]:
    """Returns the CIELAB coordinates, under D65, of an sRGB colour.

    CIE 15:2004, with the matrix of IEC 61966-2-1.
    """
    r, g, b = _linear(rgb)
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (
        v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def distance(first: RGB, second: RGB) -> float:
    """Returns the CIE 1976 colour difference: about 2.3 is just noticeable, 100 black to white."""
    return sum((a - b) ** 2 for a, b in zip(lab(first), lab(second), strict=True)) ** 0.5


def contrast(first: RGB, second: RGB) -> float:
    """Returns the WCAG contrast ratio, 1 (same lightness) to 21 (black on white)."""
    light, dark = sorted(
        (0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (_linear(first), _linear(second))),
        reverse=True,
    )
    return (light + 0.05) / (dark + 0.05)


def shades(background: Background) -> list[RGB]:
    """Returns colours that occur in a background, including its extremes."""
    base = BACKGROUNDS[background.color]
    if background.fill == Fill.PLAIN:
        return [base]
    second = BACKGROUNDS[background.second]
    if background.fill == Fill.TEXTURE:
        return [base, mix(base, second, TEXTURE_BLEND)]
    return [base, mix(base, second, 0.25), mix(base, second, 0.5), mix(base, second, 0.75), second]


@functools.cache
def _choices(fill: Fill, color: str, second: str) -> tuple[tuple[Color, ...], tuple[Color, ...]]:
    ground = shades(Background(fill, color, second))
    objects = tuple(
        c for c, rgb in COLORS.items() if min(distance(rgb, s) for s in ground) >= OBJECT_DISTANCE
    )
    inks = tuple(
        c for c, rgb in COLORS.items() if min(contrast(rgb, s) for s in ground) >= INK_CONTRAST
    )
    return objects, inks


def object_colors(background: Background) -> tuple[Color, ...]:
    """Returns colours of objects that stand out everywhere on the background."""
    return _choices(background.fill, background.color, background.second)[0]


def ink_colors(background: Background) -> tuple[Color, ...]:
    """Returns colours of letters that can be read everywhere on the background."""
    return _choices(background.fill, background.color, background.second)[1]


@functools.cache
def partners(fill: Fill, color: str) -> tuple[str, ...]:
    """Returns second colours that leave at least five colours of objects and two of letters.

    Calm colours go with calm ones. Vivid ones go with all that differ from them enough, and one
    colour of letters is enough. The texture of a vivid colour is a lighter or a darker tone of it.
    """
    seconds, least = CALM, 2
    if color in VIVID:
        rgb, least = VIVID[color], 1
        among = ("white", "black") if fill == Fill.TEXTURE else BACKGROUNDS
        seconds = [one for one in among if distance(rgb, BACKGROUNDS[one]) >= BLEND_DISTANCE]
    found = []
    for second in seconds:
        objects, inks = _choices(fill, color, second)
        if second != color and len(objects) >= 5 and len(inks) >= least:
            found.append(second)
    return tuple(found)


def holder_color(holder: Element, *, sky: Sky, seed: int) -> RGB:
    """Returns the colour of the cloud, sign or banner that words stand in, by the prop's seed."""
    if holder == Element.CLOUD:
        return _CLOUDS[sky]
    return _HOLDERS[holder][seed % len(_HOLDERS[holder])]


@functools.cache
def holder_inks(rgb: RGB) -> tuple[Color, ...]:
    """Returns colours of letters that can be read on a paper of this colour."""
    return tuple(c for c, ink in COLORS.items() if contrast(ink, rgb) >= INK_CONTRAST + 0.5)
