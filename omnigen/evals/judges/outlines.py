# SPDX-License-Identifier: Apache-2.0
"""Names of outlines, by synthesis: each shape is drawn, moved and scaled until it fits best.

A shape is a region of the plane inside the unit circle, x to the right and y down. Sampled once at
a row of blurs, it is drawn at any centre, radius, blur and strength. The one that leaves the
smallest residual names the outline, if that residual is small.
"""

import dataclasses
import functools

import numpy as np
from scipy import ndimage

UNKNOWN = "unknown"
MAX_RESIDUAL = 0.05
"""Squared error over area up to which an outline has the shape's name."""

_EXTENT, _CELLS = 2.4, 256
_BLURS = np.geomspace(0.0125, 0.8, 14)  # standard deviations, in radii
_CANDIDATES = 4  # shapes that are fitted, of those that fit best unmoved
_CLEAR = 0.003  # residual at which no other candidate is tried
_STARTS = ((1.0, 0.5), (0.9, 1.5))  # radius for its area, and blur
_STEPS = 8  # of Gauss-Newton
_MAX_RADIUS = 24.0  # larger outlines are fitted at lower resolution
_PIXEL = 0.3  # standard deviation of a pixel's own extent
_SOFTEST = 3.0  # standard deviation of the softest edges, pixels
_STRENGTHS = 0.8, 1.8  # of a thin, blurred outline no pixel shows the full colour


@dataclasses.dataclass(frozen=True)
class Leniency:
    """A rule that accepts larger residuals where no other shape fits nearly as well.

    A residual up to `most` is enough if every other shape's is `apart` times as large.

    Attributes:
        most: Largest residual, squared error over area.
        apart: Smallest ratio of the residuals.
    """

    most: float
    apart: float


USUAL = Leniency(most=0.08, apart=2.5)
OF_BRIGHTNESS = Leniency(most=0.25, apart=1.3)
"""For coverage by brightness alone, which has more noise and sharper edges."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """The best shape, its centre, radius and blur in pixels, and its residual over its area.

    `strength` is the coverage inside the shape before the blur.
    """

    shape: str
    x: float
    y: float
    radius: float
    blur: float
    strength: float
    residual: float


@dataclasses.dataclass(frozen=True)
class _Template:
    """A shape at every blur `[blurs, cells, cells]`, its area and centroid."""

    blurred: np.ndarray
    area: float
    x: float
    y: float


def _polygon(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns whether points lie inside the closed polygon, by the even-odd rule."""
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _regular(radii: tuple[float, ...], points: int) -> np.ndarray:
    """Returns corners at equal angles from the top on, at radii that repeat."""
    angles = np.arange(points) * 2 * np.pi / points
    radius = np.resize(radii, points)
    return np.stack([radius * np.sin(angles), -radius * np.cos(angles)], 1)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns whether points lie in a heart: two round lobes, and sides that bend in below."""
    side, middle, lobe, tip = 0.453, -0.253, 0.48, 0.94
    fall = np.clip((y - middle) / (tip - middle), 0, 1) ** 1.8
    below = (y > middle) & (y < tip) & (np.abs(x) < (side + lobe) * (1 - fall))
    return below | ((np.abs(x) - side) ** 2 + (y - middle) ** 2 < lobe**2)


def _inside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns whether points lie in a shape."""
    squared, arm = x**2 + y**2, 0.3
    match shape:
        case "circle":
            return squared < 1
        case "ring":
            return (squared < 1) & (squared > 0.58**2)
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) < np.sqrt(0.5)
        case "diamond":
            return np.abs(x) / 0.72 + np.abs(y) < 1
        case "triangle":
            return _polygon(x, y, _regular((1.0,), 3))
        case "star":
            return _polygon(x, y, _regular((1.0, 0.43), 10))
        case "cross":
            small, large = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
            return (small < arm) & (large < np.sqrt(1 - arm**2))
        case "heart":
            return _heart(x, y)
    raise AssertionError(shape)


SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "heart", "ring")


@functools.cache
def _template(shape: str) -> _Template:
    fine = 4
    axis = (np.arange(_CELLS * fine) + 0.5) * 2 * _EXTENT / (_CELLS * fine) - _EXTENT
    y, x = np.meshgrid(axis, axis, indexing="ij")
    inside, cell = _inside(shape, x, y), 2 * _EXTENT / _CELLS
    coverage = inside.reshape(_CELLS, fine, _CELLS, fine).mean((1, 3)).astype(np.float32)
    blurred = [ndimage.gaussian_filter(coverage, blur / cell) for blur in _BLURS]
    return _Template(
        blurred=np.stack(blurred),
        area=float(coverage.sum() * cell**2),
        x=float(x[inside].mean()),
        y=float(y[inside].mean()),
    )


def draw(
    shape: str, size: tuple[int, int], *, x: float, y: float, radius: float, blur: float = 0.0
) -> np.ndarray:
    """Computes the coverage of a shape on a canvas, float32 `[height, width]` in [0, 1].

    Args:
        shape: One of `SHAPES`.
        size: Height and width in pixels.
        x: Centre across in pixels; the first pixel's centre is 0.5.
        y: Centre down in pixels.
        radius: Radius of the circle about the shape.
        blur: Standard deviation of the blur in pixels, beside that of a pixel.
    """
    scale, middle = _CELLS / (2 * _EXTENT), _CELLS / 2 - 0.5
    rows = (np.arange(size[0]) + 0.5 - y) / radius * scale + middle
    columns = (np.arange(size[1]) + 0.5 - x) / radius * scale + middle
    softness = max(np.hypot(blur, _PIXEL) / radius, _BLURS[0])
    level = np.log(softness / _BLURS[0]) / np.log(_BLURS[1] / _BLURS[0])
    low = min(int(level), len(_BLURS) - 2)
    share = min(level - low, 1.0)
    blurred = _template(shape).blurred[low : low + 2]
    places = np.broadcast_arrays(share, rows[:, None], columns[None, :])
    return ndimage.map_coordinates(blurred, places, order=1, mode="nearest", prefilter=False)


@dataclasses.dataclass(frozen=True)
class _Guess:
    """A shape's centre, radius and blur `[4]`, its strength, and what it leaves unexplained."""

    shape: str
    places: np.ndarray
    strength: float
    error: float


def _guess(shape: str, places: np.ndarray, coverage: np.ndarray, weight: np.ndarray) -> _Guess:
    """Returns the guess with the strength that fits best."""
    x, y, radius, blur = places
    drawn = draw(shape, coverage.shape, x=x, y=y, radius=radius, blur=blur) * weight
    mass = float(np.square(drawn).sum())
    strength = float((drawn * coverage).sum()) / max(mass, 1e-6)
    strength = float(np.clip(strength, *_STRENGTHS))
    error = np.square(weight * coverage - strength * drawn).sum()
    return _Guess(shape, places, strength, float(error))


def _refine(best: _Guess, coverage: np.ndarray, weight: np.ndarray) -> _Guess:
    """Fits centre, radius and blur by least squares."""

    def drawn(p: np.ndarray) -> np.ndarray:
        return draw(best.shape, coverage.shape, x=p[0], y=p[1], radius=p[2], blur=p[3])

    steps = np.array([0.1, 0.1, 0.1, 0.1])
    for _ in range(_STEPS):
        base = drawn(best.places)
        slopes = [(drawn(best.places + d) - base) / d.sum() for d in np.diag(steps)]
        matrix = np.stack([(s * weight).ravel() for s in (*slopes, base / best.strength)], 1)
        matrix = matrix.astype(np.float64) * best.strength
        left = (weight * (coverage - best.strength * base)).ravel()
        normal = matrix.T @ matrix + 1e-3 * np.eye(5)
        move = np.clip(np.linalg.solve(normal, matrix.T @ left), -2, 2)[:4]
        places = best.places + move
        places[2:] = np.maximum(places[2], 2), np.clip(places[3], 0, _SOFTEST)
        new = _guess(best.shape, places, coverage, weight)
        if new.error > best.error * 0.999:
            return min(new, best, key=lambda g: g.error)
        best = new
    return best


def _shrunk(values: np.ndarray, shrink: int) -> np.ndarray:
    """Returns the means of blocks."""
    padded = np.pad(values, [(0, -side % shrink) for side in values.shape], mode="edge")
    height, width = (side // shrink for side in padded.shape)
    return padded.reshape(height, shrink, width, shrink).mean((1, 3))


def fit(
    coverage: np.ndarray, weight: np.ndarray | None = None, *, leniency: Leniency = USUAL
) -> Fit:
    """Finds the shape whose outline fits a picture of coverage best.

    Args:
        coverage: Coverage `[height, width]`, 0 outside and about 1 inside.
        weight: Weights `[height, width]` in [0, 1], 0 where nothing is known; None for 1
            everywhere.
        leniency: When a residual beyond `MAX_RESIDUAL` is accepted.
    """
    weight = np.ones_like(coverage) if weight is None else weight
    shrink, area = 1, float((np.maximum(coverage, 0) * weight).sum())
    while np.sqrt(area / np.pi) / shrink > _MAX_RADIUS:
        shrink *= 2
    if shrink > 1:
        coverage, weight = _shrunk(coverage, shrink), _shrunk(weight, shrink)
    known = np.maximum(coverage, 0) * weight
    mass = max(float(known.sum()), 1e-6)
    rows, columns = (np.arange(side) + 0.5 for side in coverage.shape)
    x, y = float(known.sum(0) @ columns) / mass, float(known.sum(1) @ rows) / mass
    guesses = []
    for shape in SHAPES:
        template = _template(shape)
        radius = np.sqrt(mass / template.area)
        tried = []
        for part, blur in _STARTS:
            r = part * radius
            places = np.array([x - r * template.x, y - r * template.y, r, blur])
            tried.append(_guess(shape, places, coverage, weight))
        guesses.append(min(tried, key=lambda g: g.error))
    guesses.sort(key=lambda g: g.error)
    fits: list[_Guess] = []
    for guess in guesses[:_CANDIDATES]:
        fits.append(_refine(guess, coverage, weight))
        if fits[-1].error <= _CLEAR * mass:
            break
    best, *others = sorted(fits, key=lambda g: g.error)
    residual = best.error / mass
    is_clear = all(other.error >= leniency.apart * best.error for other in others)
    return Fit(
        shape=best.shape if residual <= (leniency.most if is_clear else MAX_RESIDUAL) else UNKNOWN,
        x=float(best.places[0]) * shrink,
        y=float(best.places[1]) * shrink,
        radius=float(best.places[2]) * shrink,
        blur=float(best.places[3]) * shrink,
        strength=best.strength,
        residual=residual,
    )
