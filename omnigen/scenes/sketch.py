# SPDX-License-Identifier: Apache-2.0
"""Sketches: what is where in a scene, in a few bytes a thing.

A model that learns to write a scene's sketch before it draws the scene (`ImageSpan.sketch`) decides
what there will be, and where, in one place: counts, colours and relations become spelling.

| part | written as | example |
|---|---|---|
| background | fill, colours | `pw` plain white, `gwu` a gradient of white and blue |
| landscape | sky, horizon | `Nk` night over a horizon at 20/32 |
| object | how many of its like are left, with itself; colour, shape, x, y, diameter | `2rS4a6` |
| element of a landscape | name, x, y, width, height | `Mg8u4` |
| line of words | the words in quotes; colour, font, x, y, width, twice the height | `"Hi"kaf8c5` |

All is ASCII but the words, which may hold any of Latin-1 except straight double quotes.

Places and lengths are digits of base 32, in 1/32 of the canvas's side; x and y are the centre's,
and a line is as high as its capitals. Objects that are alike stand together, in the order in which
captions name them. Alike are those of one colour and shape, or of one shape where a caption tells
no colours.
"""

from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.palette import BACKGROUNDS
from omnigen.scenes.scene import Background, Color, Element, Object, Prop, Scene, Shape, Sky, Text

DIGITS = "0123456789abcdefghijklmnopqrstuv"
COLORS = dict(zip(Color, "roygbpknxw", strict=True))
SHAPES = dict(zip(Shape, "CSTADXHR", strict=True))
SKIES = dict(zip(Sky, "DENO", strict=True))
ELEMENTS = dict(zip(Element, "JLUCMGRKWTHBFSPA", strict=True))
# None is a fill's letter, so that the style of a drawing may end in any letter before a background.
GROUNDS = dict(zip(BACKGROUNDS, "wxebsmroyvulkn", strict=True))
FONTS = dict(zip(FAMILIES, "abcdefghijklmnopqrst", strict=True))


def sketch(scene: Scene, *, colored: bool = True) -> str:
    """Writes a scene's sketch; `colored` says which objects are alike, as above."""
    parts = []
    if scene.background is not None:
        parts.append(ground(scene.background))
    if scene.landscape is not None:
        parts.append(SKIES[scene.landscape.sky] + _digit(scene.landscape.horizon))
        parts += map(_prop, scene.landscape.props)
    parts += _objects(scene.objects, colored=colored)
    parts += map(line, scene.texts)
    return "".join(parts)


def _objects(objects: tuple[Object, ...], *, colored: bool) -> list[str]:
    alike: dict[tuple[Color | None, Shape], list[Object]] = {}
    for thing in objects:
        alike.setdefault((thing.color if colored else None, thing.shape), []).append(thing)
    return [
        DIGITS[min(len(group) - i, len(DIGITS) - 1)]
        + COLORS[thing.color]
        + SHAPES[thing.shape]
        + digits(thing.x, thing.y, 2 * thing.radius)
        for group in alike.values()
        for i, thing in enumerate(group)
    ]


def _prop(prop: Prop) -> str:
    return ELEMENTS[prop.element] + digits(prop.x, prop.y, prop.width, prop.height)


def ground(background: Background) -> str:
    """Writes a background."""
    shades = [GROUNDS.get(color, "") for color in (background.color, background.second)]
    return background.fill[0] + "".join(shades)


def line(text: Text) -> str:
    """Writes a line of words."""
    place = digits(text.x, text.y, text.width, 2 * text.height)
    return f'"{text.string}"{COLORS[text.color]}{FONTS[text.font]}{place}'


def digits(*lengths: float) -> str:
    """Writes places and lengths, given in fractions of the canvas's side."""
    return "".join(map(_digit, lengths))


def _digit(length: float) -> str:
    return DIGITS[min(max(round(32 * length), 0), len(DIGITS) - 1)]
