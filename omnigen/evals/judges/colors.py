# SPDX-License-Identifier: Apache-2.0
"""Names of colours: the nearest of GenEval's ten in CIELAB, or none."""

import functools

import numpy as np

UNKNOWN = "unknown"
MAX_DISTANCE = 36.0
"""CIELAB distance beyond which a colour has none of the ten names; mid grey is one such."""

PROTOTYPES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": ((220, 30, 40), (255, 0, 0)),
    "orange": ((250, 135, 10), (255, 165, 0)),
    "yellow": ((250, 220, 40), (255, 255, 0)),
    "green": ((30, 150, 60), (0, 128, 0), (0, 255, 0)),
    "blue": ((30, 80, 220), (0, 0, 255)),
    "purple": ((130, 50, 180), (128, 0, 128)),
    "pink": ((250, 130, 185), (255, 192, 203)),
    "brown": ((135, 80, 40),),
    "black": ((15, 15, 15),),
    "white": ((255, 255, 255),),
}
"""sRGB of what each word calls to mind: everyday hues, then the pure ones of computers."""

_NAMES = tuple(name for name, hues in PROTOTYPES.items() for _ in hues)
_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32
)
_WHITE = _TO_XYZ.sum(1)  # D65


def lab(rgb: np.ndarray) -> np.ndarray:
    """Returns the CIELAB (D65) of sRGB values in 0..255, `[..., 3]`, by CIE 15:2004."""
    unit = np.asarray(rgb, np.float32) / 255
    curved = ((np.maximum(unit, 0) + 0.055) / 1.055) ** 2.4
    linear = np.where(unit <= 0.04045, unit / 12.92, curved)
    ratio = linear @ (_TO_XYZ / _WHITE[:, None]).T
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


@functools.cache
def _prototypes() -> np.ndarray:
    return lab(np.array([hue for hues in PROTOTYPES.values() for hue in hues]))


def name(rgb: np.ndarray) -> str:
    """Returns the name of one sRGB colour `[3]`, or `UNKNOWN`."""
    distances = np.linalg.norm(_prototypes() - lab(rgb), axis=1)
    nearest = int(distances.argmin())
    return _NAMES[nearest] if distances[nearest] <= MAX_DISTANCE else UNKNOWN
