# SPDX-License-Identifier: Apache-2.0
"""Reads sketches: what they say, as data.

`read` is the inverse of `sketch.sketch`, and of what corpora write for drawings and composites
(`~style`, `<name>` with its centre and longer side). Places and lengths come back to 1/32 of the
canvas. A model may write anything; what is no part of the notation is kept as it stands.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from omnigen.scenes import sketch
from omnigen.scenes.compose import RADII
from omnigen.scenes.scene import Background, Element, Fill, Object, Prop, Size, Sky, Text

THUMBNAIL = "#"  # begins a sketch that is the picture in small (`data.corpus.thumbnail`)
HOLDERS = (Element.CLOUD, Element.SIGN, Element.BANNER)

_Name = TypeVar("_Name")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing: its name, and the centre and longer side in fractions of the canvas."""

    title: str
    x: float
    y: float
    side: float


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a sketch says.

    Attributes:
        style: Style of its drawings; empty if it names none.
        background: Background, without its seed; None if it has none.
        sky: Sky of a landscape, if it is one.
        horizon: Height of the horizon of a landscape.
        objects: Coloured shapes.
        props: Elements of a landscape, without their seeds.
        figures: Drawings, and the boards of signs beside them.
        texts: Lines of words.
        rest: Pieces that are no part of the notation.
        is_thumbnail: Whether it is a thumbnail, which names nothing.
    """

    style: str = ""
    background: Background | None = None
    sky: Sky | None = None
    horizon: float = 0.0
    objects: tuple[Object, ...] = ()
    props: tuple[Prop, ...] = ()
    figures: tuple[Figure, ...] = ()
    texts: tuple[Text, ...] = ()
    rest: tuple[str, ...] = ()
    is_thumbnail: bool = False


def _any(letters: Iterable[str]) -> str:
    """Returns a pattern of letters, of which some may be several."""
    return f"(?:{'|'.join(sorted(map(re.escape, letters), key=len, reverse=True))})"


def _inverse(letters: Mapping[_Name, str]) -> dict[str, _Name]:
    return {letter: name for name, letter in letters.items()}


_COLORS, _SHAPES = _inverse(sketch.COLORS), _inverse(sketch.SHAPES)
_SKIES, _ELEMENTS = _inverse(sketch.SKIES), _inverse(sketch.ELEMENTS)
_GROUNDS, _FONTS = _inverse(sketch.GROUNDS), _inverse(sketch.FONTS)
_FILLS = {fill.value[0]: fill for fill in Fill}

_DIGIT, _COLOR, _SHADE = f"[{sketch.DIGITS}]", _any(_COLORS), _any(_GROUNDS)
_GROUND = (
    rf"p\((?P<named>[^()]*)\)|p(?P<plain>{_SHADE})"
    rf"|(?P<fill>[gt])(?P<color>{_SHADE})(?P<second>{_SHADE})"
)
_LANDSCAPE = f"(?P<sky>{_any(_SKIES)})(?P<horizon>{_DIGIT})"
_OBJECT = f"{_DIGIT}{_COLOR}{_any(_SHAPES)}{_DIGIT}{{3}}"
# A style may hold any letters: it ends where a background is followed by what begins a part.
_HEAD = re.compile(
    rf'~(?P<style>[^<"]*?)(?:{_GROUND})?(?=[<"]|{_OBJECT}|$)'.replace("?P<", "?P<of_")
    + f"|{_GROUND}|{_LANDSCAPE}"
)
_BROKEN = re.compile(r'"[^"]*"|<[^<>]*>|.', re.DOTALL)


def read(written: str) -> Reading:
    """Reads a sketch, however badly it is written."""
    if written.startswith(THUMBNAIL):
        return Reading(is_thumbnail=True)
    head = _HEAD.match(written)
    found = _begun(head) if head else Reading()
    parts: dict[str, list[Any]] = {name: [] for name in (*_PARTS, "rest")}
    place, after_rest = head.end() if head else 0, -1
    while place < len(written):
        for name, (pattern, make) in _PARTS.items():
            if match := pattern.match(written, place):
                parts[name].append(make(match))
                break
        else:
            match = _BROKEN.match(written, place)
            assert match is not None  # it takes any letter
            so_far = parts["rest"].pop() if place == after_rest else ""
            parts["rest"].append(so_far + match[0])
            after_rest = match.end()
        place = match.end()
    parts["texts"] = [_held(text, parts["props"]) for text in parts["texts"]]
    return dataclasses.replace(found, **{name: tuple(some) for name, some in parts.items()})


def _begun(head: re.Match[str]) -> Reading:
    """Returns what the beginning of a sketch says: style, and background or sky."""
    found = {name.removeprefix("of_"): it for name, it in head.groupdict().items() if it}
    style = found.get("style", "")
    if "sky" in found:
        (horizon,) = _lengths(found["horizon"])
        return Reading(style, sky=_SKIES[found["sky"]], horizon=horizon)
    if "fill" in found:
        color, second = _GROUNDS[found["color"]], _GROUNDS[found["second"]]
        return Reading(style, Background(_FILLS[found["fill"]], color, second))
    if "plain" in found or "named" in found:
        color = found.get("named") or _GROUNDS[found["plain"]]
        return Reading(style, Background(Fill.PLAIN, color))
    return Reading(style)


def _lengths(digits: str) -> list[float]:
    return [sketch.DIGITS.index(digit) / 32 for digit in digits]


def _object(match: re.Match[str]) -> Object:
    x, y, across = _lengths(match["place"])
    size = next((size for size, limit in _limits() if across / 2 < limit), Size.LARGE)
    return Object(_SHAPES[match["shape"]], _COLORS[match["color"]], size, x, y, across / 2)


def _limits() -> list[tuple[Size, float]]:
    """Returns sizes but the largest, with radii that are half-way to those of the next."""
    pairs = zip(list(RADII.items())[:-1], list(RADII.values())[1:], strict=True)
    return [(size, (most + least) / 2) for (size, (_, most)), (least, _) in pairs]


def _prop(match: re.Match[str]) -> Prop:
    x, y, width, height = _lengths(match["place"])
    return Prop(_ELEMENTS[match["element"]], x, y, width, height)


def _figure(match: re.Match[str]) -> Figure:
    x, y, side = _lengths(match["place"])
    return Figure(match["title"], x, y, side)


def _text(match: re.Match[str]) -> Text:
    x, y, width, twice_height = _lengths(match["place"])
    words, color = tuple(match["words"].split(" ")), _COLORS[match["color"]]
    return Text(words, color, _FONTS[match["font"]], x, y, twice_height / 2, width)


def _held(text: Text, props: Sequence[Prop]) -> Text:
    """Returns a line with the cloud, sign or banner in which its middle is."""
    for prop in reversed(props):
        is_inside = abs(text.x - prop.x) < prop.width / 2 and abs(text.y - prop.y) < prop.height / 2
        if prop.element in HOLDERS and is_inside:
            return dataclasses.replace(text, holder=prop.element)
    return text


def _part(pattern: str, digits: int) -> re.Pattern[str]:
    return re.compile(f"{pattern}(?P<place>{_DIGIT}{{{digits}}})")


_PARTS: dict[str, tuple[re.Pattern[str], Callable[[re.Match[str]], object]]] = {
    "objects": (_part(f"{_DIGIT}(?P<color>{_COLOR})(?P<shape>{_any(_SHAPES)})", 3), _object),
    "props": (_part(f"(?P<element>{_any(_ELEMENTS)})", 4), _prop),
    "figures": (_part("<(?P<title>[^<>]+)>", 3), _figure),
    "texts": (_part(f'"(?P<words>.+?)"(?P<color>{_COLOR})(?P<font>{_any(_FONTS)})', 4), _text),
}
