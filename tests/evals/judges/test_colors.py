# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from omnigen.evals.judges import colors


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),  # published conversions of the sRGB primaries
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab(rgb: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(colors.lab(np.array(rgb)), expected, atol=0.05)


@pytest.mark.parametrize(
    ("rgb", "expected"),  # the named colours of CSS
    [
        ((255, 0, 0), "red"),
        ((255, 165, 0), "orange"),
        ((255, 215, 0), "yellow"),
        ((34, 139, 34), "green"),
        ((65, 105, 225), "blue"),
        ((138, 43, 226), "purple"),
        ((255, 105, 180), "pink"),
        ((139, 69, 19), "brown"),
        ((255, 255, 0), "yellow"),
        ((0, 128, 0), "green"),
        ((0, 255, 0), "green"),
        ((0, 0, 255), "blue"),
        ((128, 0, 128), "purple"),
        ((255, 192, 203), "pink"),
        ((0, 0, 0), "black"),
        ((255, 250, 250), "white"),
        ((128, 128, 128), "unknown"),
        ((0, 255, 255), "unknown"),
    ],
)
def test_names(rgb: tuple[int, int, int], expected: str) -> None:
    assert colors.name(np.array(rgb)) == expected
