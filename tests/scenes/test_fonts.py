# SPDX-License-Identifier: Apache-2.0
"""The vendored fonts are complete, free, small and as wide as the table says."""

import re

import numpy as np
import pytest
import skia

from omnigen.scenes import fonts
from omnigen.scenes.fonts import FAMILIES

PRINTABLE = "".join(map(chr, range(32, 127)))
MORE = "".join(chr(code) for code in range(161, 256) if code != 173)
MISSING = {("Patrick Hand", "µ")}


def test_there_are_many_kinds_of_fonts_and_a_few_are_held_out():
    assert len(FAMILIES) >= 14
    assert {"sans", "serif", "slab", "mono", "rounded", "handwriting", "script", "display"} <= {
        family.style for family in FAMILIES.values()
    }
    assert 2 <= sum(family.held_out for family in FAMILIES.values()) <= 3


def test_fonts_are_small():
    assert sum(family.path.stat().st_size for family in FAMILIES.values()) < 700_000


@pytest.mark.parametrize("family", FAMILIES)
def test_licences_are_free_and_reserve_no_name(family):
    path = FAMILIES[family].path
    licence = path.with_name(f"{path.stem}.LICENSE.txt").read_text()
    assert re.search(r"SIL Open Font License, Version 1\.1|Apache License\s+Version 2\.0", licence)
    assert not re.search(r"with Reserved Font Names?\b", licence)


def outlined(font: skia.Font, string: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a line's outlines, of skia's own widths."""
    glyphs = font.textToGlyphs(string)
    assert 0 not in glyphs
    boxes, pen = [], 0.0
    for glyph, width in zip(glyphs, font.getWidths(glyphs), strict=True):
        box = font.getPath(glyph).computeTightBounds()
        if box.width():
            boxes.append((pen + box.left(), box.top(), pen + box.right(), box.bottom()))
        pen += width
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


@pytest.mark.parametrize("family", FAMILIES)
def test_measures_are_those_of_the_renderer(family):
    manager = skia.FontMgr.New_Custom_Empty()
    typeface = manager.makeFromFile(str(FAMILIES[family].path))
    font = skia.Font(typeface, 1000 * fonts.em(family))
    font.setHinting(skia.FontHinting.kNone)
    font.setLinearMetrics(True)
    left, top, right, bottom = outlined(font, "H")
    assert bottom - top == pytest.approx(1000, abs=40)
    for string in (
        "Hello World!",
        "AGC is Awesome!",
        "fjord?",
        "x",
        PRINTABLE.strip(),
        "crème brûlée: £5 ½",
    ):
        left, top, right, bottom = outlined(font, string)
        ink = fonts.measure(string, family=family)
        assert ink.width * 1000 == pytest.approx(right - left, abs=2 * len(string))
        assert ink.left * 1000 == pytest.approx(left, abs=3)
        assert ink.top * 1000 == pytest.approx(top, abs=3)
        assert ink.bottom * 1000 == pytest.approx(max(bottom, 0), abs=3)


def test_other_characters_are_refused():
    with pytest.raises(ValueError, match="'€' in '5€' is not in the font 'Open Sans'"):
        fonts.measure("5€", family="Open Sans")
    for blank in "\u00a0\u00ad\n":
        assert not fonts.has(f"a{blank}b", family="Open Sans")
    with pytest.raises(ValueError, match="'µ' in 'µm' is not in the font 'Patrick Hand'"):
        fonts.measure("µm", family="Patrick Hand")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_character_of_latin_1_has_a_glyph_of_its_own(family):
    """Each is drawn, not as the missing glyph nor as any other character."""
    typeface = skia.FontMgr.New_Custom_Empty().makeFromFile(str(FAMILIES[family].path))
    font = skia.Font(typeface, 64)
    missing = drawn(font, chr(0x4E00))
    seen = {missing: "missing"}
    for character in (PRINTABLE + MORE).replace(" ", ""):
        if (family, character) in MISSING:
            assert not fonts.has(character, family=family)
            continue
        assert fonts.has(character, family=family)
        pixels = drawn(font, character)
        assert pixels.count(0) < len(pixels), f"{character} is empty"
        assert seen.setdefault(pixels, character) == character or alike(seen[pixels], character)
        seen[pixels] = character
    assert len(seen) > 180


def alike(one: str, another: str) -> bool:
    """Whether some fonts draw two characters with the same strokes."""
    return {one, another} in ({"I", "l"}, {"'", "´"}, {"|", "¦"}, {"-", "¯"}, {"´", "`"})


def drawn(font: skia.Font, character: str) -> bytes:
    """The pixels of a character."""
    surface = skia.Surfaces.Raster(skia.ImageInfo.MakeA8(120, 120))
    surface.getCanvas().drawString(character, 30, 80, font, skia.Paint())
    pixels = np.zeros((120, 120), np.uint8)
    assert surface.makeImageSnapshot().readPixels(skia.ImageInfo.MakeA8(120, 120), pixels, 120)
    return pixels.tobytes()
