# SPDX-License-Identifier: Apache-2.0
"""What a sketch says is where: a reader of the notation that docs/data.md describes.

It imports nothing of what writes sketches. A model may write anything, so whatever does not follow
the notation ends the reading, and is kept as the rest.
"""

import dataclasses
import re
from collections.abc import Iterator

from omnigen.evals.judges.requirements import Line, Thing, View

VERSION = "1"
GROUNDS = {
    "w": "white",
    "x": "black",
    "e": "grey",
    "b": "beige",
    "s": "sky blue",
    "m": "mint",
    "r": "red",
    "o": "orange",
    "y": "yellow",
    "v": "green",
    "u": "blue",
    "l": "purple",
    "k": "pink",
    "n": "brown",
}
SKIES = {"D": "clear", "E": "sunset", "N": "night", "O": "overcast"}
COLORS = {"r": "red", "o": "orange", "y": "yellow", "g": "green", "b": "blue", "p": "purple"} | {
    "k": "pink",
    "n": "brown",
    "x": "black",
    "w": "white",
}
SHAPES = {"C": "circle", "S": "square", "T": "triangle", "A": "star", "D": "diamond"} | {
    "X": "cross",
    "H": "heart",
    "R": "ring",
}
ELEMENTS = {"J": "sun", "L": "moon", "U": "stars", "C": "cloud", "M": "mountains", "G": "hills"} | {
    "R": "river",
    "K": "lake",
    "W": "sea",
    "T": "trees",
    "H": "house",
    "B": "boat",
    "F": "birds",
    "S": "snow",
    "P": "sign",
    "A": "banner",
}
FULL = 32.0  # of the digits' units on a side of the canvas

_DIGIT = "[0-9a-v]"
_SHADE = f"[{''.join(GROUNDS)}]"
_FILLED = rf"(?:[pgt]\([^()]*\)|p{_SHADE}|[gt]{_SHADE}{{2}})"
_STYLE = re.compile(rf'~(?P<style>.*?)(?={_FILLED}(?:[<"0-9]|$))')
_SKY = re.compile(rf"(?P<sky>[{''.join(SKIES)}])(?P<horizon>{_DIGIT})")
_PARTS = re.compile(
    rf"(?P<left>{_DIGIT})(?P<color>[{''.join(COLORS)}])(?P<shape>[{''.join(SHAPES)}])"
    rf"(?P<object>{_DIGIT}{{3}})"
    rf"|(?P<element>[{''.join(ELEMENTS)}])(?P<box>{_DIGIT}{{4}})"
    rf'|"(?P<words>[^"]*)"(?P<ink>[{"".join(COLORS)}])(?P<font>[a-z])(?P<line>{_DIGIT}{{4}})'
    rf"|<(?P<name>[^<>]*)>(?P<drawing>{_DIGIT}{{3}})"
)


@dataclasses.dataclass(frozen=True)
class Sketch:
    """A sketch as it is read.

    Attributes:
        view: What it says is there.
        style: Style of its drawings, or "".
        left: How many of its like each object says are left, with itself.
        rest: What follows from where it no longer follows the notation.
    """

    view: View
    style: str
    left: tuple[int, ...]
    rest: str


def read(text: str) -> Sketch:
    """Reads a sketch as far as it follows the notation."""
    start, style, background, sky = 0, "", "", ""
    if found := _STYLE.match(text):
        start, style = found.end(), found["style"]
    if found := re.compile(_FILLED).match(text, start):
        start, background = found.end(), _ground(found[0])
    elif found := _SKY.match(text, start):
        start, sky = found.end(), SKIES[found["sky"]]
    things: list[Thing] = []
    lines: list[Line] = []
    left: list[int] = []
    for found in _run(text, start):
        start = found.end()
        if found["words"] is not None:
            lines.append(Line(found["words"], COLORS[found["ink"]]))
        else:
            things.append(_thing(found))
            if found["shape"]:
                left.append(int(found["left"], 32))
    return Sketch(
        View(tuple(things), tuple(lines), background, sky), style, tuple(left), text[start:]
    )


def _run(text: str, start: int) -> Iterator[re.Match[str]]:
    """Yields the parts that follow each other without a gap."""
    while found := _PARTS.match(text, start):
        yield found
        start = found.end()


def _ground(written: str) -> str:
    """Returns the name of a background."""
    fill, shades = written[0], written[1:]
    if shades.startswith("("):
        return shades[1:-1]
    names = [GROUNDS[letter] for letter in shades]
    told = {"p": names[0], "g": f"gradient of {' and '.join(names)}", "t": f"textured {names[0]}"}
    return told[fill]


def _thing(found: re.Match[str]) -> Thing:
    if found["element"]:
        x, y, width, height = _lengths(found["box"])
        return Thing(ELEMENTS[found["element"]], "", _box(x, y, width, height), max(width, height))
    x, y, side = _lengths(found["object"] or found["drawing"])
    if found["shape"]:
        return Thing(SHAPES[found["shape"]], COLORS[found["color"]], _box(x, y, side, side), side)
    # A drawing may go by the name of an object.
    color, _, name = found["name"].rpartition(" ")
    is_object = name in SHAPES.values() and color in ("", *COLORS.values())
    name, color = (name, color) if is_object else (found["name"], "")
    return Thing(name, color, _box(x, y, side, side), side)


def _lengths(digits: str) -> list[float]:
    return [int(digit, 32) / FULL for digit in digits]


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
