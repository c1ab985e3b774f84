# SPDX-License-Identifier: Apache-2.0
"""Thumbnails: a picture's colours in 64 letters, the sketch of pictures without a caption.

A model that learns to write a picture's thumbnail before it draws the picture (`ImageSpan.sketch`)
decides in letters, whose loss is cross-entropy, what is to be seen and where.
"""

import numpy as np

SIDE = 8
LEVELS = 4  # of red, green and blue each
MARK = "#"  # begins a thumbnail; no scene's sketch begins so
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
LENGTH = len(MARK) + SIDE * SIDE


def thumbnail(pixels: np.ndarray) -> str:
    """Writes the thumbnail of a picture, ASCII: `MARK` and a letter for each of 8 x 8 cells.

    A letter is a digit of base 64 (RFC 4648) for the cell's mean colour: 16 r + 4 g + b, of four
    levels each, `A` black and `/` white.

    Args:
        pixels: Picture, uint8 `[H, W, 3]`, of at least 8 pixels a side.
    """
    sums = pixels.astype(np.int64)
    counts = np.ones((1, 1, 1), np.int64)
    for axis in (0, 1):
        edges = np.arange(SIDE + 1) * pixels.shape[axis] // SIDE
        sums = np.add.reduceat(sums, edges[:-1], axis=axis)
        counts = counts * np.expand_dims(np.diff(edges), tuple({0, 1, 2} - {axis}))
    levels = sums * LEVELS // (256 * counts)
    numbers = levels @ LEVELS ** np.arange(2, -1, -1)
    return MARK + "".join(LETTERS[number] for number in numbers.ravel())
