# SPDX-License-Identifier: Apache-2.0
"""Oracles: cells that are cut out and averaged one by one in fractions; colours by hand."""

from fractions import Fraction

import numpy as np
import pytest

from omnigen.data.corpus.thumbnail import LENGTH, LETTERS, thumbnail


def by_hand(pixels):
    """Row by row, cell by cell."""
    height, width, _ = pixels.shape
    letters = "#"
    for row in range(8):
        for col in range(8):
            cell = pixels[
                row * height // 8 : (row + 1) * height // 8,
                col * width // 8 : (col + 1) * width // 8,
            ]
            number = 0
            for channel in range(3):
                values = [int(v) for v in cell[..., channel].ravel()]
                number = 4 * number + int(Fraction(sum(values), len(values)) / 64)
            letters += LETTERS[number]
    return letters


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (128, 128), (20, 37), (256, 64)])
def test_letters_are_mean_colors(size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    smooth = np.broadcast_to(np.linspace(0, 255, size[1]).astype(np.uint8)[:, None], (*size, 3))
    for pixels in (noise, smooth, noise // 2 + smooth // 2):
        written = thumbnail(pixels)
        assert written == by_hand(pixels)
        assert len(written) == LENGTH == 65 and written.isascii()


@pytest.mark.parametrize(
    ("color", "letter"),
    [
        ((0, 0, 0), "A"),
        ((255, 255, 255), "/"),
        ((255, 0, 0), "w"),
        ((0, 255, 0), "M"),
        ((0, 0, 255), "D"),
        ((63, 64, 127), "F"),
        ((64, 128, 191), "a"),
    ],
)
def test_colors(color, letter):
    assert thumbnail(np.full((24, 16, 3), color, np.uint8)) == "#" + letter * 64


def test_cells_are_in_raster_order():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:2, 2:4] = 255  # the second cell of the first row
    pixels[14:, :2] = (255, 0, 0)  # the first of the last
    written = thumbnail(pixels)[1:]
    assert [(i, c) for i, c in enumerate(written) if c != "A"] == [(1, "/"), (56, "w")]
