# SPDX-License-Identifier: Apache-2.0
"""The vendored font families and the measures of their letters.

Lengths are in cap heights (the height of a flat capital letter is 1), x to the right and y down
from the start of the baseline. No kerning is applied, here or when drawing, so the measures are
exact.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

CHARACTERS = "".join(chr(code) for code in (*range(32, 127), *range(161, 256)) if code != 173)
"""What the fonts have: printable Latin-1, but two blanks that ASCII lacks."""

_FOLDER = pathlib.Path(__file__).parent / "fonts"


@dataclasses.dataclass(frozen=True)
class Family:
    """A vendored font.

    Attributes:
        file: Name of the TrueType file in `fonts/`, beside the text of its licence.
        style: The look of the letters, in a word.
        held_out: Whether only test scenes use it.
    """

    file: str
    style: str
    held_out: bool = False

    @property
    def path(self) -> pathlib.Path:
        """The TrueType file."""
        return _FOLDER / self.file


FAMILIES: dict[str, Family] = {
    "Open Sans": Family("open-sans.ttf", "sans"),
    "Poppins": Family("poppins.ttf", "sans"),
    "Nunito": Family("nunito.ttf", "rounded"),
    "Oswald": Family("oswald.ttf", "condensed"),
    "Fredoka": Family("fredoka.ttf", "rounded"),
    "Comic Neue": Family("comic-neue.ttf", "comic"),
    "Balsamiq Sans": Family("balsamiq-sans.ttf", "comic", held_out=True),
    "Noto Serif": Family("noto-serif.ttf", "serif"),
    "EB Garamond": Family("eb-garamond.ttf", "serif"),
    "Crimson Pro": Family("crimson-pro.ttf", "serif", held_out=True),
    "Bitter": Family("bitter.ttf", "slab"),
    "Roboto Slab": Family("roboto-slab.ttf", "slab"),
    "Zilla Slab": Family("zilla-slab.ttf", "slab", held_out=True),
    "JetBrains Mono": Family("jetbrains-mono.ttf", "mono"),
    "Courier Prime": Family("courier-prime.ttf", "typewriter"),
    "Patrick Hand": Family("patrick-hand.ttf", "handwriting"),
    "Kalam": Family("kalam.ttf", "handwriting"),
    "Pacifico": Family("pacifico.ttf", "script"),
    "Anton": Family("anton.ttf", "display"),
    "Chewy": Family("chewy.ttf", "display"),
}


@dataclasses.dataclass(frozen=True)
class Ink:
    """The box that a line's strokes fill, in cap heights from the start of its baseline.

    `top` is negative: it is above the baseline.
    """

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """The distance from the leftmost to the rightmost stroke."""
        return self.right - self.left


@functools.cache
def _metrics() -> dict[str, dict[str, Any]]:
    table = json.loads((_FOLDER / "metrics.json").read_text())
    for entry in table.values():
        cap = entry["cap"]
        entry["boxes"] = {
            character: tuple(v / cap for v in box)
            for character, box in zip(CHARACTERS, entry["boxes"], strict=True)
            if box is not None
        }
    return table


def em(family: str) -> float:
    """Returns the font size at which a capital letter is 1 high."""
    entry = _metrics()[family]
    return entry["em"] / entry["cap"]


def has(string: str, *, family: str) -> bool:
    """Returns whether a font has every character of a line."""
    return _metrics()[family]["boxes"].keys() >= set(string)


@functools.lru_cache(maxsize=1024)
def measure(string: str, *, family: str) -> Ink:
    """Measures a line of printable Latin-1.

    Raises:
        ValueError: If the font lacks a character.
    """
    boxes = _metrics()[family]["boxes"]
    pen, left, top, right, bottom = 0.0, 1e9, 0.0, 0.0, 0.0
    for character in string:
        if character not in boxes:
            raise ValueError(
                f"{character!r} in {string!r} is not in the font {family!r}; allowed: "
                "printable Latin-1"
            )
        advance, low_x, low_y, high_x, high_y = boxes[character]
        if high_x > low_x:
            left = min(left, pen + low_x)
            right = max(right, pen + high_x)
            top = min(top, -high_y)
            bottom = max(bottom, -low_y)
        pen += advance
    return Ink(min(left, right), top, right, bottom)
