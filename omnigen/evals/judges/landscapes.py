# SPDX-License-Identifier: Apache-2.0
"""What a painted landscape holds: its sky, and which of twelve elements stand in and under it.

Landscapes of the scenes domain are flat paintings in few tones, which the sky decides: at night
even snow is blue. So the sky is told first, by the top of the picture; then each pixel takes the
name of the nearest tone that was measured on rendered pictures under that sky; then each element is
looked for where it can be, as an area of its tones that is large and thick enough. Thickness is the
radius of the largest disc inside, in fractions of the canvas's side.
"""

import dataclasses

import numpy as np
from PIL import Image
from scipy import ndimage

from omnigen.evals.judges import colors

VERSION = "1"
SIDE = 128
"""Pictures are judged at this size."""
ELEMENTS = "sun moon stars cloud mountains river lake sea trees house boat snow".split()
SKIES = {
    "clear": (49, 135, 230),
    "overcast": (135, 147, 162),
    "night": (8, 12, 45),
    "sunset": (88, 52, 122),
}
"""The tone of each sky at the top."""

_FAR = 13.0  # CIELAB distance from the nearest tone beyond which a pixel has no name
_DARK = 50.0  # lightness of roofs, at most
_MOUNTAINS = {"clear": 0.022, "overcast": 0.024, "night": 0.04, "sunset": 0.06}  # least areas
_TONES: dict[str, dict[str, list[tuple[int, int, int]]]] = {
    "clear": {
        "sky": [(49, 135, 230), (78, 156, 237), (107, 179, 244), (139, 199, 249), (174, 218, 250)]
        + [(203, 233, 252)],
        "ground": [(129, 196, 121), (117, 190, 101), (105, 184, 81)],
        "sun": [(252, 216, 56)],
        "cloud": [(253, 253, 253)],
        "mountains": [(76, 96, 140), (92, 116, 160), (116, 140, 180), (140, 172, 204)],
        "hills": [(100, 172, 100), (124, 188, 132)],
        "water": [(36, 112, 206), (47, 128, 212), (68, 148, 220), (80, 164, 228), (92, 180, 236)],
        "sand": [(238, 214, 160)],
        "trees": [(44, 132, 60), (36, 108, 60), (68, 148, 68), (36, 120, 60)],
        "made": [(252, 236, 212), (252, 212, 204), (244, 220, 188), (228, 236, 244), (196, 60, 52)]
        + [(76, 92, 140), (124, 76, 52), (140, 84, 52), (252, 244, 212), (252, 204, 84)]
        + [(196, 52, 44), (228, 228, 220), (236, 116, 44)],
        "birds": [(44, 54, 78)],
        "snow": [(212, 232, 252), (222, 238, 254), (236, 244, 254)],
    },
    "overcast": {
        "sky": [(135, 147, 162), (150, 162, 176), (166, 178, 189), (182, 192, 202), (198, 206, 213)]
        + [(211, 218, 223)],
        "ground": [(137, 167, 128), (125, 159, 114), (113, 151, 99)],
        "sun": [(252, 216, 56)],
        "cloud": [(242, 244, 246)],
        "mountains": [(84, 100, 124), (108, 124, 140), (132, 140, 156), (156, 164, 180)],
        "hills": [(108, 148, 108), (132, 164, 140)],
        "water": [(92, 116, 140), (100, 124, 148), (116, 140, 164), (132, 156, 172)],
        "sand": [(215, 194, 149)],
        "trees": [(60, 108, 76), (52, 92, 68), (76, 124, 84), (52, 100, 68)],
        "made": [(220, 204, 180), (228, 196, 188), (228, 220, 196), (206, 214, 222), (180, 60, 52)]
        + [(68, 84, 132), (108, 76, 52), (212, 108, 44), (228, 188, 76), (124, 76, 52)]
        + [(172, 52, 44), (222, 222, 230)],
        "birds": [(52, 60, 76)],
        "snow": [(224, 230, 234), (232, 236, 240), (238, 242, 245)],
    },
    "night": {
        "sky": [(8, 12, 45), (14, 21, 63), (21, 30, 81), (32, 43, 100), (49, 62, 121)]
        + [(63, 77, 139)],
        "ground": [(42, 83, 90), (38, 84, 82), (34, 84, 75)],
        "moon": [(244, 242, 212)],
        "cloud": [(206, 212, 230)],
        "mountains": [(36, 44, 92), (44, 52, 100), (52, 68, 116), (68, 84, 140)],
        "hills": [(36, 76, 76), (44, 76, 92)],
        "water": [(20, 36, 92), (28, 44, 100), (36, 52, 116), (44, 68, 130), (60, 84, 152)],
        "sand": [(156, 140, 116)],
        "trees": [(12, 60, 52), (12, 52, 52), (20, 68, 60)],
        "made": [(164, 140, 148), (164, 148, 140), (148, 156, 172), (164, 156, 140), (52, 68, 108)]
        + [(100, 52, 44), (84, 52, 44), (124, 44, 48), (156, 164, 172), (92, 60, 44)]
        + [(164, 140, 68), (124, 36, 44), (164, 156, 156)],
        "birds": [],
        "snow": [(132, 140, 178), (148, 156, 188), (156, 164, 196)],
    },
    "sunset": {
        "sky": [(88, 52, 122), (141, 68, 113), (195, 84, 104), (229, 112, 100), (242, 151, 101)]
        + [(253, 184, 102)],
        "ground": [(152, 133, 75), (137, 125, 70), (121, 117, 66)],
        "sun": [(254, 236, 140)],
        "cloud": [(254, 236, 226)],
        "mountains": [(84, 52, 92), (108, 60, 108), (132, 76, 116), (164, 92, 132)],
        "hills": [(124, 116, 68), (156, 132, 76)],
        "water": [
            (140, 76, 124),
            (156, 84, 124),
            (180, 108, 116),
            (196, 116, 116),
            (216, 136, 116),
        ],
        "sand": [(206, 186, 146)],
        "trees": [(60, 84, 52), (52, 68, 52), (84, 92, 60)],
        "made": [(196, 204, 220), (220, 188, 180), (220, 204, 188), (212, 196, 172), (172, 52, 52)]
        + [(60, 84, 124), (112, 68, 52), (116, 68, 52), (220, 212, 188), (164, 44, 44)]
        + [(220, 180, 76), (204, 100, 44)],
        "birds": [(46, 46, 68)],
        "snow": [(236, 202, 196), (244, 216, 208), (244, 228, 220)],
    },
}
_NAMES = ("sky", "ground", "sun", "moon", "cloud", "mountains", "hills", "water", "sand", "trees")
_NAMES += ("made", "birds", "snow")


@dataclasses.dataclass(frozen=True)
class View:
    """A landscape: its sky, the elements in and under it, and where they are.

    Attributes:
        sky: Name of the sky, one of `SKIES`.
        boxes: Box of each element that is there: left, top, right, bottom in fractions of the
            canvas.
    """

    sky: str
    boxes: dict[str, tuple[float, float, float, float]]


def look(image: np.ndarray) -> View:
    """Finds what a uint8 picture `[height, width, 3]` of a landscape holds."""
    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = colors.lab(np.asarray(small))
    top = np.median(pixels[:2].reshape(-1, 3), axis=0)
    prototypes = colors.lab(np.array(list(SKIES.values())))
    sky = list(SKIES)[int(np.linalg.norm(prototypes - top, axis=1).argmin())]
    areas = _named(pixels, sky)
    found = {name: _find(name, areas, sky) for name in ELEMENTS}
    return View(sky, {name: _box(area) for name, area in found.items() if area.any()})


def _named(pixels: np.ndarray, sky: str) -> dict[str, np.ndarray]:
    """Returns the pixels of each name, `[SIDE, SIDE]`, by the nearest tone under this sky."""
    tones = [(name, tone) for name, some in _TONES[sky].items() for tone in some]
    values = colors.lab(np.array([tone for _, tone in tones]))
    distance = np.linalg.norm(pixels[:, :, None] - values, axis=-1)
    nearest = distance.argmin(-1)
    nearest[distance.min(-1) > _FAR] = len(tones)
    names = np.array([name for name, _ in tones] + [""])[nearest]
    return {name: names == name for name in _NAMES} | {"dark": pixels[..., 0] < _DARK}


def _find(name: str, areas: dict[str, np.ndarray], sky: str) -> np.ndarray:
    """Returns the pixels of an element; none if it is not there."""
    row = (np.arange(SIDE)[:, None] + 0.5) / SIDE
    nothing = areas["sky"] & False
    match name:
        case "sun" | "moon":
            return _parts(areas[name] & (row < 0.7), area=0.006, thickness=0.035)
        case "cloud":
            return _clouds(areas, row)
        case "mountains":
            area = areas["mountains"] & (row > 0.2) & (row < 0.65)
            return area if area.mean() > _MOUNTAINS[sky] else nothing
        case "river" | "lake" | "sea":
            return _water(areas, row).get(name, nothing)
        case "trees":
            return _parts(areas["trees"] & (row > 0.4), area=0.001, thickness=0.014)
        case "house":
            return _building(areas, row)
        case "boat":
            return _boat(areas, row)
        case "snow":
            area = areas["snow"] & (row > 0.7)
            return area if area.mean() > 0.14 else nothing
    assert name == "stars"
    is_snowy = areas["snow"][row[:, 0] > 0.7].mean() > 0.4  # flakes look like stars
    if sky != "night" or is_snowy:
        return nothing
    return _specks(_bright(areas) & (row < 0.5), size=(1, 12), count=6)


def _thickness(area: np.ndarray) -> float:
    """Returns the radius of the largest disc inside."""
    return float(np.asarray(ndimage.distance_transform_edt(np.pad(area, 1))).max()) / SIDE


def _components(area: np.ndarray, least: int = 3) -> list[np.ndarray]:
    """Returns connected parts of so many pixels or more, eight neighbours to a pixel."""
    labels = np.zeros(area.shape, np.int32)
    ndimage.label(area, np.ones((3, 3)), output=labels)
    sizes = np.bincount(labels.ravel())
    return [labels == i for i in range(1, len(sizes)) if sizes[i] >= least]


def _parts(pixels: np.ndarray, *, area: float, thickness: float) -> np.ndarray:
    """Returns the connected parts that are large and thick enough."""
    kept = pixels & False
    for part in _components(pixels):
        if part.mean() >= area and _thickness(part) >= thickness:
            kept |= part
    return kept


def _around(part: np.ndarray, reach: int = 2) -> np.ndarray:
    """Returns the pixels next to a part."""
    return ndimage.binary_dilation(part, iterations=reach) & ~part


def _clouds(areas: dict[str, np.ndarray], row: np.ndarray) -> np.ndarray:
    """Returns light, thick parts of the sky; the snow of mountains lies on mountains."""
    kept = areas["cloud"] & False
    for part in _components((areas["cloud"] | areas["snow"]) & (row < 0.62)):
        near = _around(part)
        is_cap = (near & areas["mountains"]).sum() > 0.25 * near.sum()
        if part.mean() >= 0.006 and _thickness(part) >= (0.045 if is_cap else 0.03):
            kept |= part
    return kept


def _wet(areas: dict[str, np.ndarray], row: np.ndarray) -> np.ndarray:
    """Returns the pixels of water.

    Below the horizon, tones that water shares with the sky and the mountains are its own.
    """
    low = areas["sky"] | areas["mountains"]
    return (areas["water"] & (row > 0.55)) | (low & (row > 0.72))


def _water(areas: dict[str, np.ndarray], row: np.ndarray) -> dict[str, np.ndarray]:
    """Returns sea (from side to side), lake (round, amid land) or river (running down)."""
    wet = ndimage.binary_closing(_wet(areas, row), np.ones((3, 3)))
    band = wet[(row[:, 0] > 0.71) & (row[:, 0] < 0.8)]
    if band.mean() > 0.5 and min(band[:, :6].mean(), band[:, -6:].mean()) > 0.3:
        return {"sea": wet}
    parts = [part for part in _components(wet) if part.mean() > 0.008]
    rivers = [part for part in parts if part[-2:].sum() >= 6]
    found = {"river": np.logical_or.reduce(rivers)} if rivers else {}
    for part in parts:
        height, width = (np.ptp(np.flatnonzero(part.any(axis))) + 1 for axis in (1, 0))
        filled = part.sum() / (height * width)
        is_round = filled > (0.65 if found else 0.42) and width > 1.8 * height
        if part.mean() > 0.02 and is_round and width > 0.3 * SIDE and not part[-2:].any():
            found["lake"] = part
    return found


def _in_water(part: np.ndarray, areas: dict[str, np.ndarray], wet: np.ndarray) -> bool:
    """Returns whether there is more water than land around the lower half of a part."""
    rows = np.flatnonzero(part.any(1))
    near = _around(part, reach=4)
    near[: rows.mean().astype(int)] = False
    land = areas["ground"] | areas["snow"] | areas["hills"]
    return bool((near & wet).sum() > (near & land & ~wet).sum())


def _building(areas: dict[str, np.ndarray], row: np.ndarray) -> np.ndarray:
    """Returns a large thing of light walls and dark roof on land."""
    kept, wet = areas["made"] & False, _wet(areas, row)
    for part in _components(areas["made"] & (row > 0.4) & (row < 0.97)):
        large = part.mean() > 0.01 and _thickness(part) >= 0.025
        if large and areas["dark"][part].mean() > 0.08 and not _in_water(part, areas, wet):
            kept |= part
    return kept


def _boat(areas: dict[str, np.ndarray], row: np.ndarray) -> np.ndarray:
    """Returns a thick thing of wood or cloth in water."""
    kept, wet = areas["made"] & False, _wet(areas, row)
    made = areas["made"] | (areas["cloud"] & (row > 0.55))
    for part in _components(made & (row > 0.4) & (row < 0.97)):
        thick = part.mean() > 0.003 and _thickness(part) >= 0.014
        if thick and _in_water(part, areas, wet):
            kept |= part
    return kept


def _bright(areas: dict[str, np.ndarray]) -> np.ndarray:
    """Returns specks of light in the night sky."""
    return areas["cloud"] | areas.get("moon", areas["cloud"]) | areas["snow"]


def _specks(area: np.ndarray, *, size: tuple[int, int], count: int) -> np.ndarray:
    """Returns small parts, if there are enough of them."""
    parts = [part for part in _components(area, size[0]) if part.sum() <= size[1]]
    return np.logical_or.reduce(parts) if len(parts) >= count else area & False


def _box(area: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(area.any(1)), np.flatnonzero(area.any(0))
    sides = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    left, top, right, bottom = (round(float(side) / SIDE, 4) for side in sides)
    return left, top, right, bottom
