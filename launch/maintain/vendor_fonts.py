# SPDX-License-Identifier: Apache-2.0
"""Rebuilds the vendored fonts and their metrics.

The fonts are subsets of printable Latin-1 without hints and layout tables, so a line's width is the
sum of its advances and composing a scene needs no font library. No family has a Reserved Font Name.
Unpack the npm package `@fontsource/NAME` of every family in `SOURCES` into SOURCE/NAME, then, with
fonttools and brotli installed:

    python launch/maintain/vendor_fonts.py SOURCE
"""

import json
import pathlib
import sys
from typing import Any

SOURCES = {
    "Open Sans": ("open-sans", 600),
    "Poppins": ("poppins", 500),
    "Nunito": ("nunito", 700),
    "Oswald": ("oswald", 500),
    "Fredoka": ("fredoka", 500),
    "Comic Neue": ("comic-neue", 700),
    "Balsamiq Sans": ("balsamiq-sans", 700),
    "Noto Serif": ("noto-serif", 600),
    "EB Garamond": ("eb-garamond", 700),
    "Crimson Pro": ("crimson-pro", 700),
    "Bitter": ("bitter", 600),
    "Roboto Slab": ("roboto-slab", 500),
    "Zilla Slab": ("zilla-slab", 700),
    "JetBrains Mono": ("jetbrains-mono", 700),
    "Courier Prime": ("courier-prime", 700),
    "Patrick Hand": ("patrick-hand", 400),
    "Kalam": ("kalam", 700),
    "Pacifico": ("pacifico", 400),
    "Anton": ("anton", 400),
    "Chewy": ("chewy", 400),
}
CHARACTERS = "".join(chr(code) for code in (*range(32, 127), *range(161, 256)) if code != 173)
"""Printable Latin-1: neither the space that does not break nor the soft hyphen."""


def subset(source: pathlib.Path, target: pathlib.Path) -> None:
    """Writes the printable Latin-1 TrueType subset of a WOFF2 file."""
    from fontTools import subset as subsetter  # pyright: ignore[reportMissingImports]

    options = subsetter.Options(
        hinting=False,
        layout_features=[],
        name_IDs=[0, 1, 2, 6, 13, 14],
        notdef_outline=True,
        glyph_names=False,
    )
    options.drop_tables += ["GPOS", "GSUB", "GDEF", "STAT", "DSIG", "gasp", "meta", "MVAR"]
    font = subsetter.load_font(str(source), options)
    job = subsetter.Subsetter(options)
    job.populate(text=CHARACTERS)
    job.subset(font)
    font.flavor = None
    font.save(str(target))


def metrics(path: pathlib.Path) -> dict[str, Any]:
    """Returns units per em, cap height, and [advance, left, bottom, right, top] of characters.

    Characters that the font lacks have None.
    """
    from fontTools.pens.boundsPen import BoundsPen  # pyright: ignore[reportMissingImports]
    from fontTools.ttLib import TTFont  # pyright: ignore[reportMissingImports]

    font: Any = TTFont(str(path))
    glyphs, names = font.getGlyphSet(), font.getBestCmap()

    def bounds(character: str) -> list[int]:
        pen = BoundsPen(glyphs)
        glyphs[names[ord(character)]].draw(pen)
        return [round(value) for value in pen.bounds or (0, 0, 0, 0)]

    boxes = [
        [glyphs[names[ord(c)]].width, *bounds(c)] if ord(c) in names else None for c in CHARACTERS
    ]
    return {"em": font["head"].unitsPerEm, "cap": bounds("H")[3], "boxes": boxes}


def main(source: pathlib.Path) -> None:
    """Builds the fonts of `omnigen.scenes` from the unpacked packages under `source`."""
    fonts = pathlib.Path(__file__).parents[2] / "omnigen" / "scenes" / "fonts"
    table = {}
    for family, (name, weight) in SOURCES.items():
        target = fonts / f"{name}.ttf"
        subset(source / name / "files" / f"{name}-latin-{weight}-normal.woff2", target)
        (fonts / f"{name}.LICENSE.txt").write_text((source / name / "LICENSE").read_text())
        table[family] = metrics(target)
    (fonts / "metrics.json").write_text(json.dumps(table, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
