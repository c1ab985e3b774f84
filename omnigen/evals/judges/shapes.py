# SPDX-License-Identifier: Apache-2.0
"""What stands on a canvas of coloured shapes, by analysis through synthesis.

1. Background: most of the border has one tone, or one that changes smoothly with the place; what
   departs from it is an object that the border cuts, unless it comes again and again: a texture.
   These colours lie on one line of colour space, from one tone to another. Where the border misses
   a texture's second tone, dozens of parts of its colour, however small or faint, give it away.
2. Foreground: pixels far from that line in CIELAB; each connected part is one object.
3. Colour: the median of the object's pixels farthest from the background, named by `colors`.
4. Outline: how far each pixel is on the way from the background to that colour is its coverage;
   `outlines` finds the shape that explains it.

What lies on an object is taken off it first and seen on its own (`nested`). An object that no shape
or colour explains is "unknown", and wrong wherever it is asked for.
"""

import dataclasses

import numpy as np
from scipy import ndimage, spatial

from omnigen.evals.judges import colors, nested, outlines

VERSION = "5"

_NEAR = 14.0  # CIELAB distance up to which a pixel is background
_FAINT = 22.0  # the same, up to which all of a part may be stain or shadow
_GHOST = 40.0  # the same of a part smaller than `_SMALL_AREA`, such as codecs leave beside objects
_TONES = 17  # points of the background's line
_TRIALS = 100  # of a plane through three pixels
_AGREE = 12.0  # sRGB distance up to which pixels of the border agree
_STRETCHES = 8  # of the border in a second tone, that make it a texture
_LEAST_AREA = 1.2e-3  # of the canvas; smaller specks are no objects
_SMALL_AREA = 2e-3
_VALLEY = 0.65  # of the lower summit's height, up to which the pass between two objects reaches
_LEVELS = 7  # at which valleys are looked for
_MOST_OBJECTS = 24  # more of one colour are the dots of a texture
_LEAST_DOT = 2e-4  # of the canvas
_MOST_SEEN = 40  # the largest; more are noise, and no prompt asks for so many
_MARGIN = 4  # pixels around an object that its fit sees
_SOFT = 1.8  # blur in pixels from which on an outline is looked at by brightness as well
_SHARPER = 0.7  # of that blur, that the outline by brightness must have at most
_CHROMA = 0.15  # weight of a pixel's two colour differences, beside that of its brightness
_BRIGHT = np.array(  # sRGB to luma and weighted colour differences; ITU-R BT.601
    [[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32
).T * np.array([1, _CHROMA, _CHROMA], np.float32)


@dataclasses.dataclass(frozen=True)
class Seen:
    """One object; lengths are fractions of the canvas's width or height.

    Attributes:
        shape: Name of the shape, one of `outlines.SHAPES` or "unknown".
        color: Name of the colour, one of `colors.PROTOTYPES` or "unknown".
        x: Centre of the fitted shape, across.
        y: Centre of the fitted shape, down.
        radius: Radius of the circle about the fitted shape, a fraction of the width.
        box: Left, top, right and bottom of its pixels.
        residual: Residual of the fit, over the area.
    """

    shape: str
    color: str
    x: float
    y: float
    radius: float
    box: tuple[float, float, float, float]
    residual: float


def _background(image: np.ndarray) -> np.ndarray:
    """Returns the background's tones from one end to the other, sRGB `[_TONES, 3]`."""
    height, width, _ = image.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    border = _border(np.dstack([image, np.ones_like(x), x, y, x * x, x * y, y * y]))
    ring, terms = border[:, :3], border[:, 3:]
    kept = ring[_agreeing(ring, terms)]
    kept = np.concatenate([kept, _recurring(ring, kept)])
    center = kept.mean(0)
    values, vectors = np.linalg.eigh(np.cov((kept - center).T))
    axis = vectors[:, -1] * (values[-1] > 4)
    low, high = np.percentile((kept - center) @ axis, [1, 99])
    return center + np.linspace(low, high, _TONES)[:, None] * axis


def _labelled(mask: np.ndarray) -> np.ndarray:
    """Returns connected parts, numbered from 1."""
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    return labels


def _distance_to(mask: np.ndarray) -> np.ndarray:
    """Returns the distance of each pixel to the nearest one of the mask, in pixels."""
    return np.asarray(ndimage.distance_transform_edt(~mask))


def _border(image: np.ndarray) -> np.ndarray:
    """Returns the outer two rows and columns, one way around, `[pixels, channels]`."""
    turns = [np.rot90(image, turn)[:2, :-2].swapaxes(0, 1) for turn in range(4)]
    return np.concatenate([turn.reshape(-1, image.shape[2]) for turn in turns])


def _agreeing(ring: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Returns which pixels agree with the smooth function of the place on which most agree.

    Random sample consensus on planes, then least squares with squares of the place.
    """
    three = np.random.default_rng(0).integers(0, len(ring), (_TRIALS, 3))
    planes = np.linalg.pinv(terms[three, :3]) @ ring[three]
    some = slice(None, None, 4)
    errors = np.linalg.norm(ring[some] - terms[some, :3] @ planes, axis=2)
    plane = planes[(errors < _AGREE).sum(1).argmax()]
    best = np.linalg.norm(ring - terms[:, :3] @ plane, axis=1) < _AGREE
    for _ in range(4):
        known = terms[best]
        surface = np.linalg.pinv(known.T @ known) @ (known.T @ ring[best])
        more = np.linalg.norm(ring - terms @ surface, axis=1) < _AGREE
        if more.sum() <= best.sum():
            break
        best = more
    return best


def _recurring(ring: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Returns the pixels of a second tone, if the border returns to it as to no object."""
    away = spatial.KDTree(kept[::8]).query(ring)[0] >= _AGREE
    labels = _labelled(away)
    count = int(labels.max())
    colors = [np.median(ring[labels == i], axis=0) for i in range(1, count + 1)]
    if count < _STRETCHES:
        return ring[:0]
    near = np.linalg.norm(ring - np.median(colors, axis=0), axis=1) < 2 * _AGREE
    return ring[away & near]


def _dotted(image: np.ndarray, tones: np.ndarray) -> np.ndarray:
    """Returns the tones, extended to the colour of parts more numerous than objects are."""
    distance = _distance(image, tones)
    labels = _labelled(distance > _NEAR)
    parts = _large(image, distance, labels, area=_LEAST_DOT, faint=0, ghost=0)
    if len(parts) <= _MOST_OBJECTS:
        return tones
    found = np.stack([color for _, color, _ in parts])
    alike = spatial.KDTree(found).query_ball_point(found, _AGREE)
    dots = max(alike, key=len)
    if len(dots) <= _MOST_OBJECTS:
        return tones
    dot = np.median(found[dots], axis=0)
    far = tones[np.linalg.norm(tones - dot, axis=1).argmax()]
    return np.linspace(far, dot, _TONES)


def _distance(image: np.ndarray, tones: np.ndarray) -> np.ndarray:
    """Returns the CIELAB distance of each pixel from the nearest tone, `[height, width]`."""
    pixels = colors.lab(image)
    ends = colors.lab(tones)
    if np.linalg.norm(ends[0] - ends[-1]) < 1:
        ends = ends[:1]
    squared = [np.square(pixels - tone).sum(-1) for tone in ends]
    return np.sqrt(np.minimum.reduce(squared))


def _coverage(pixels: np.ndarray, tones: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Returns how far pixels are from the background's line to a colour, 0 to 1."""
    start, stretch = tones[0], tones[-1] - tones[0]
    length = float(stretch @ stretch)

    def away(points: np.ndarray) -> np.ndarray:
        along = np.clip((points - start) @ stretch / length, 0, 1) if length > 1 else 0.0
        return points - start - np.asarray(along)[..., None] * stretch

    path = away(color)
    return away(pixels) @ path / max(float(path @ path), 1.0)


_Part = tuple[int, np.ndarray, tuple[slice, slice]]  # label, colour and window


def _parts(image: np.ndarray, tones: np.ndarray) -> tuple[np.ndarray, list[_Part]]:
    """Returns the labels of the parts, `[height, width]`, and which are large."""
    distance = _distance(image, tones)
    labels = _separate(distance, least=_LEAST_AREA * distance.size)
    parts = _large(image, distance, labels)
    whole = _labelled(distance > _NEAR)
    for index, window in enumerate(ndimage.find_objects(whole), 1):
        mine = whole[window] == index
        pieces = [part for part in parts if (labels[window][mine] == part[0]).any()]
        colors = [color for _, color, _ in pieces]
        if len(pieces) < 2 or np.ptp(colors, axis=0).max() > 2 * _AGREE:
            continue
        joined = np.where(whole == index, pieces[0][0], labels)
        (one,) = _large(image, distance, np.where(whole == index, 1, 0))
        if _seen(image, joined, tones, pieces[0][0], *one[1:]).shape != outlines.UNKNOWN:
            labels = joined  # one object after all, such as a thin ring that is dim in places
            kept = {part[0] for part in parts} - {part[0] for part in pieces}
            parts = [part for part in parts if part[0] in kept] + [(pieces[0][0], *one[1:])]
    return labels, parts


def _large(
    image: np.ndarray,
    distance: np.ndarray,
    labels: np.ndarray,
    *,
    area: float = _LEAST_AREA,
    faint: float = _FAINT,
    ghost: float = _GHOST,
) -> list[_Part]:
    """Returns the parts that are large and distinct enough, by default to be objects."""
    parts = []
    for index, window in enumerate(ndimage.find_objects(labels), 1):
        part = labels[window] == index
        far = np.where(part, distance[window], 0)
        least = faint if part.sum() >= _SMALL_AREA * distance.size else ghost
        if part.sum() >= area * distance.size and far.max() >= least:
            core = image[window][part & (far >= np.percentile(far[part], 60))]
            parts.append((index, np.median(core, axis=0), window))
    return parts


def _separate(distance: np.ndarray, *, least: float) -> np.ndarray:
    """Returns labels of connected parts; those joined by soft edges alone are cut at the valley."""
    labels = _labelled(distance > _NEAR)
    count = int(labels.max())
    waiting = [i for i, size in enumerate(np.bincount(labels.ravel())) if i and size >= 2 * least]
    while waiting:
        index = waiting.pop()
        (window,) = ndimage.find_objects((labels == index).astype(np.int32))
        part = labels[window] == index
        owner = _owners(np.where(part, distance[window], 0), least=least)
        for other in np.unique(owner)[1:]:
            count += 1
            labels[window][part & (owner == other)] = count
            waiting.append(count)
        if owner.any():
            waiting.append(index)
    return labels


def _owners(height: np.ndarray, *, least: float) -> np.ndarray:
    """Returns which of several summits is nearest, 0 for the first; all 0 if there is but one."""
    for level in np.linspace(_NEAR, _VALLEY * height.max(), _LEVELS)[1:]:
        pieces = _labelled(height > level)
        sizes, tops = np.bincount(pieces.ravel()), max(level / _VALLEY, _FAINT)
        tall = [
            i
            for i in range(1, len(sizes))
            if sizes[i] >= least and height[pieces == i].max() >= tops
        ]
        if len(tall) > 1:
            return np.stack([_distance_to(pieces == i) for i in tall]).argmin(0)
    return np.zeros(height.shape, np.int64)


def look(image: np.ndarray) -> tuple[Seen, ...]:
    """Finds every object of a uint8 picture `[height, width, 3]`, the largest first."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape) < 3:
        raise ValueError(f"not a uint8 picture [height, width, 3]: {image.dtype} {image.shape}")
    pixels = image.astype(np.float32)
    tones = _dotted(pixels, _background(pixels))
    foreground = _labelled(_distance(pixels, tones) > _NEAR)
    peeled = nested.peel(pixels, foreground, tones)
    seen = _all_seen(peeled.surface, tones)
    for layer, color in zip(peeled.layers, peeled.grounds, strict=True):
        seen += _all_seen(layer, np.tile(color, (_TONES, 1)))
    return tuple(sorted(seen, key=lambda s: -s.radius)[:_MOST_SEEN])


def _all_seen(pixels: np.ndarray, tones: np.ndarray) -> list[Seen]:
    """Returns every object on a background, none of which lies on another."""
    labels, parts = _parts(pixels, tones)
    parts.sort(key=lambda part: -np.count_nonzero(labels[part[2]] == part[0]))
    return [_seen(pixels, labels, tones, *part) for part in parts[:_MOST_SEEN]]


def _seen(
    pixels: np.ndarray,
    labels: np.ndarray,
    tones: np.ndarray,
    index: int,
    color: np.ndarray,
    window: tuple[slice, slice],
) -> Seen:
    """Returns the object that one part is."""
    height, width, _ = pixels.shape
    top, left = (max(side.start - _MARGIN, 0) for side in window)
    around = slice(top, window[0].stop + _MARGIN), slice(left, window[1].stop + _MARGIN)
    mine, others = labels[around] == index, (labels[around] != 0) & (labels[around] != index)
    near = _distance_to(mine)
    known = near <= _MARGIN
    if others.any():
        known &= near < _distance_to(others)
    coverage = _coverage(pixels[around], tones, color)
    weight = known.astype(np.float32)
    best = outlines.fit(coverage, weight)
    if best.blur >= _SOFT:  # codecs keep hues at a lower resolution than brightness
        bright = _coverage(*(values @ _BRIGHT for values in (pixels[around], tones, color)))
        sharper = outlines.fit(bright, weight, leniency=outlines.OF_BRIGHTNESS)
        if sharper.shape != outlines.UNKNOWN and sharper.blur <= _SHARPER * best.blur:
            best = dataclasses.replace(sharper, strength=best.strength)
    ground = tones[np.linalg.norm(tones - color, axis=1).argmin()]
    color = np.clip(ground + max(best.strength, 1.0) * (color - ground), 0, 255)
    solid = np.argwhere(mine & (coverage >= 0.5 * best.strength))
    if not len(solid):
        solid = np.argwhere(mine)
    (y0, x0), (y1, x1) = solid.min(0), solid.max(0) + 1
    return Seen(
        shape=best.shape,
        color=colors.name(color),
        x=(left + best.x) / width,
        y=(top + best.y) / height,
        radius=best.radius / width,
        box=(
            float((left + x0) / width),
            float((top + y0) / height),
            float((left + x1) / width),
            float((top + y1) / height),
        ),
        residual=best.residual,
    )
