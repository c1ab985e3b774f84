# SPDX-License-Identifier: Apache-2.0
"""Names of outlines, by synthesis: each shape is drawn, moved and scaled until it fits best.

A shape is a region of the plane inside the unit circle, x to the right and y down. From its signed
distance, sampled once, it is drawn at any centre, radius and softness of edge. The one that leaves
the smallest residual names the outline, if that residual is small.
"""

import dataclasses
import functools

import numpy as np
from scipy import ndimage

UNKNOWN = "unknown"
MAX_RESIDUAL = 0.05
"""Squared error over area up to which an outline has the shape's name."""

_EXTENT, _CELLS = 1.7, 512
_CANDIDATES = 3  # shapes that are fitted, of those that fit best unmoved
_CLEAR = 0.012  # residual at which no other candidate is tried
_STEPS = 6  # of Gauss-Newton
_MAX_RADIUS = 24.0  # larger outlines are fitted at lower resolution
_SOFTEST = 8.0  # pixels from outside to inside


@dataclasses.dataclass(frozen=True)
class Fit:
    """The best shape, its centre and radius in pixels, and its residual over its area."""

    shape: str
    x: float
    y: float
    radius: float
    residual: float


@dataclasses.dataclass(frozen=True)
class _Template:
    """A shape's signed distance (positive outside) on a grid, its area and centroid."""

    distance: np.ndarray
    area: float
    x: float
    y: float


def _polygon(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether points lie inside the closed polygon, by the even-odd rule."""
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _regular(radii: tuple[float, ...], points: int) -> np.ndarray:
    """Corners at equal angles from the top on, at radii that repeat."""
    angles = np.arange(points) * 2 * np.pi / points
    radius = np.resize(radii, points)
    return np.stack([radius * np.sin(angles), -radius * np.cos(angles)], 1)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two round lobes, under which the sides bend in to the tip."""
    side, middle, lobe, tip = 0.453, -0.253, 0.48, 0.94
    fall = np.clip((y - middle) / (tip - middle), 0, 1) ** 1.8
    below = (y > middle) & (y < tip) & (np.abs(x) < (side + lobe) * (1 - fall))
    return below | ((np.abs(x) - side) ** 2 + (y - middle) ** 2 < lobe**2)


def _inside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The definitions."""
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
    axis = (np.arange(_CELLS) + 0.5) * 2 * _EXTENT / _CELLS - _EXTENT
    y, x = np.meshgrid(axis, axis, indexing="ij")
    inside, cell = _inside(shape, x, y), 2 * _EXTENT / _CELLS
    outer, inner = (ndimage.distance_transform_edt(region) for region in (~inside, inside))
    distance = np.where(inside, 0.5 - np.asarray(inner), np.asarray(outer) - 0.5) * cell
    return _Template(
        distance=distance.astype(np.float32),
        area=float(inside.sum() * cell**2),
        x=float(x[inside].mean()),
        y=float(y[inside].mean()),
    )


def draw(
    shape: str, size: tuple[int, int], *, x: float, y: float, radius: float, edge: float = 1.0
) -> np.ndarray:
    """Coverage of a shape on a canvas, float32 `[height, width]` in [0, 1].

    Args:
        shape: one of `SHAPES`.
        size: height and width.
        x: centre in pixels; the first pixel's centre is 0.5.
        y: likewise.
        radius: of the circle about the shape.
        edge: pixels over which its border fades.
    """
    scale, middle = _CELLS / (2 * _EXTENT), _CELLS / 2 - 0.5
    rows = (np.arange(size[0]) + 0.5 - y) / radius * scale + middle
    columns = (np.arange(size[1]) + 0.5 - x) / radius * scale + middle
    places = np.broadcast_arrays(rows[:, None], columns[None, :])
    distance = ndimage.map_coordinates(
        _template(shape).distance, places, order=1, mode="nearest", prefilter=False
    )
    return np.clip(0.5 - distance * (radius / edge), 0, 1)


def _refine(shape: str, coverage: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares over centre, radius and edge; returns them and the squared error."""

    def drawn(p: np.ndarray) -> np.ndarray:
        return draw(shape, coverage.shape, x=p[0], y=p[1], radius=p[2], edge=p[3])

    def error(p: np.ndarray) -> float:
        return float(np.square(coverage - drawn(p)).sum())

    best, least = start, error(start)
    for _ in range(_STEPS):
        base = drawn(best)
        steps = np.array([0.1, 0.1, 0.1, 0.2])
        slopes = [((drawn(best + d) - base) / d.sum()).ravel() for d in np.diag(steps)]
        matrix = np.stack(slopes, 1).astype(np.float64)
        normal = matrix.T @ matrix + 1e-3 * np.eye(4)
        move = np.linalg.solve(normal, matrix.T @ (coverage - base).ravel())
        new = best + np.clip(move, -2, 2)
        new[2:] = np.maximum(new[2], 2), np.clip(new[3], 1, _SOFTEST)
        now = error(new)
        if now > least * 0.999:
            return (new, now) if now < least else (best, least)
        best, least = new, now
    return best, least


def fit(coverage: np.ndarray) -> Fit:
    """Names the one outline of a picture of coverage, `[height, width]` in [0, 1]."""
    shrink = 1
    while np.sqrt(coverage.sum() / np.pi) / shrink > _MAX_RADIUS:
        shrink *= 2
    if shrink > 1:
        padded = np.pad(coverage, [(0, -side % shrink) for side in coverage.shape])
        height, width = (side // shrink for side in padded.shape)
        coverage = padded.reshape(height, shrink, width, shrink).mean((1, 3))
    mass = float(coverage.sum())
    rows, columns = (np.arange(side) + 0.5 for side in coverage.shape)
    x, y = float(coverage.sum(0) @ columns) / mass, float(coverage.sum(1) @ rows) / mass
    guesses = []
    for shape in SHAPES:
        template = _template(shape)
        radius = np.sqrt(mass / template.area)
        guess = np.array([x - radius * template.x, y - radius * template.y, radius, 1.5])
        drawn = draw(shape, coverage.shape, x=guess[0], y=guess[1], radius=radius, edge=1.5)
        guesses.append((float(np.square(coverage - drawn).sum()), shape, guess))
    guesses.sort(key=lambda g: g[0])
    fits = []
    for _, shape, guess in guesses[:_CANDIDATES]:
        fits.append((shape, *_refine(shape, coverage, guess)))
        if fits[-1][2] <= _CLEAR * mass:
            break
    shape, best, error = min(fits, key=lambda f: f[2])
    residual = error / mass
    return Fit(
        shape=shape if residual <= MAX_RESIDUAL else UNKNOWN,
        x=float(best[0]) * shrink,
        y=float(best[1]) * shrink,
        radius=float(best[2]) * shrink,
        residual=residual,
    )
