# SPDX-License-Identifier: Apache-2.0
"""What a sketch holds, in plain English: for people who want to know what a model understood."""

from collections.abc import Iterable

from omnigen.scenes import grammar
from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.reading import Reading
from omnigen.scenes.scene import Background, Element, Fill, Prop, Size, Text

_WIDE = frozenset(
    {Element.STARS, Element.MOUNTAINS, Element.HILLS, Element.RIVER}
    | {Element.LAKE, Element.SEA, Element.SNOW}
)
"""What spans much of the canvas, so that its centre says little."""
_THE = frozenset({Element.SUN, Element.MOON, Element.SEA})
_PREPOSITIONS = {Element.CLOUD: "in", Element.SIGN: "on", Element.BANNER: "on"}
_THIRDS = (0.38, 0.62)  # in the middle of the bands that captions have no name for
_PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)


def explain(reading: Reading) -> str:
    """Returns what a sketch holds as one line; words are quoted, and so is what is no notation."""
    if reading.is_thumbnail:
        return "a thumbnail, which names nothing"
    things = [
        *((f"{o.color} {o.shape}", _sized(o.size, place(o.x, o.y))) for o in reading.objects),
        *((p.element.value, _where(p)) for p in reading.props),
        *((f.title, place(f.x, f.y)) for f in reading.figures),
    ]
    parts = [*_grouped(things), *map(_line, reading.texts)]
    behind = []
    if reading.background is not None:
        behind.append(f"on {_ground(reading.background)}")
    if reading.sky is not None:
        behind.append(f"under {grammar.article(reading.sky.value)} sky")
    if reading.style:
        behind.append(f"in {reading.style} style")
    parts = [*(parts or ["nothing"]), *filter(None, [", ".join(behind)])]
    if reading.rest:
        parts.append(f"not understood: {' … '.join(reading.rest)}")
    return "; ".join(parts)


def place(x: float, y: float) -> str:
    """Returns the name of the ninth of the canvas in which a point lies."""
    row, column = (sum(at > limit for limit in _THIRDS) for at in (y, x))
    return _PLACES[row][column]


def _sized(size: Size, where: str) -> str:
    return where if size == Size.MEDIUM else f"{where}, {size}"


def _where(prop: Prop) -> str:
    return "" if prop.element in _WIDE else place(prop.x, prop.y)


def _grouped(things: Iterable[tuple[str, str]]) -> list[str]:
    """Returns things of one name together, each group with its number and where each thing is."""
    places: dict[str, list[str]] = {}
    for name, where in things:
        places.setdefault(name, []).append(where)
    return [_group(name, found) for name, found in places.items()]


def _group(name: str, places: list[str]) -> str:
    is_plural = name.endswith("s") and not name.endswith(("ss", "us", "is"))
    if len(places) == 1:
        is_name = is_plural or name == Element.SNOW or not name[0].islower()
        said = name if is_name else f"the {name}" if name in _THE else grammar.article(name)
        return ", ".join(filter(None, [said, *places]))
    said = name if is_plural else grammar.plural(name)
    told = f" ({'; '.join(places)})" if any(places) else ""
    return f"{grammar.number(len(places), digits=False)} {said}{told}"


def _line(text: Text) -> str:
    style = grammar.FONT_STYLES.get(FAMILIES[text.font].style)
    ink = f"{text.color} {style} letters" if style else text.color.value
    where = place(text.x, text.y)
    if text.holder is not None:
        where = f"{_PREPOSITIONS[text.holder]} the {text.holder}"
    return f'the {"words" if len(text.words) > 1 else "word"} "{text.string}" in {ink}, {where}'


def _ground(background: Background) -> str:
    if background.fill == Fill.GRADIENT:
        return f"a gradient of {background.color} and {background.second}"
    if background.fill == Fill.TEXTURE:
        return f"{background.color} textured with {background.second}"
    return f"plain {background.color}"
