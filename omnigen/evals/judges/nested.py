# SPDX-License-Identifier: Apache-2.0
"""Objects drawn on objects: what lies on a larger one is taken off it, and seen on its own.

A connected part of the foreground has one of its commonest colours. Pieces of another colour that
this one surrounds lie on it. The part is painted whole again for its own outline to be fitted, and
its pieces are shown on a canvas of the part's colour. Nothing is said here of shapes.

Shapes: H rows and W columns of a part's window.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from omnigen.evals.judges import colors

_NEAR = 14.0  # CIELAB distance up to which a pixel has a colour
_CLEAR = 22.0  # the same, that a piece has at least from the part and from the background
_LEAST_PART = 2.5e-2  # of the canvas
_LEAST_PIECE = 1.2e-3  # the same
_MOST_PIECE = 0.65  # of its part, holes filled
_LEAST_OWN = 0.25  # of a part, that has its colour
_LEAST_LEFT = 0.8  # of the area of its pieces, that has the part's colour
_CRACK = 2  # half the width of what separates no parts, pixels
_INSET = 2.0  # pixels that a piece is from the outside, but for a few
_DEEP = 4.5  # pixels from the outside, from where on the background does not shine through
_THICK = 2.2  # pixels from the middle of a piece to its border
_SURROUNDED = 0.5  # of the pixels around a piece, that have the part's colour
_BROAD = 3.0  # the same of what is left of the part
_SOFT = 4  # pixels around a piece that it may colour
_MIXES = 9  # of the background and the part
_CELL = 8.0  # CIELAB side of the cells in which colours are counted


@dataclasses.dataclass(frozen=True)
class Peeled:
    """A picture without what lies on its objects, and that on canvases of its own.

    Attributes:
        surface: The picture with every part in one colour, float32 `[height, width, 3]`.
        layers: For each part that has something on it, that on a canvas of the part's colour.
        grounds: These colours, sRGB.
    """

    surface: np.ndarray
    layers: list[np.ndarray]
    grounds: list[np.ndarray]


def peel(pixels: np.ndarray, labels: np.ndarray, tones: np.ndarray) -> Peeled:
    """Takes what lies on objects off them.

    Args:
        pixels: The picture, sRGB float32 `[height, width, 3]`.
        labels: Its connected parts that are no background, numbered from 1, `[height, width]`.
        tones: Colours of the background, `[tones, 3]`.
    """
    peeled = Peeled(pixels, [], [])
    for index, window in enumerate(ndimage.find_objects(labels), 1):
        part = labels[window] == index
        if part.sum() < _LEAST_PART * labels.size:
            continue
        here, depth = pixels[window], _depth(part)
        for color in _colors(here[depth >= _INSET], least=_LEAST_OWN * part.sum()):
            view = _View.of(here, depth, color, tones)
            pieces = _pieces(view, least=_LEAST_PIECE * labels.size)
            if pieces.any():
                break
        else:
            continue
        near = np.asarray(ndimage.distance_transform_edt(~pieces)) <= _SOFT
        near &= (depth >= _INSET) & (view.is_bare | view.is_own)
        if peeled.surface is pixels:
            peeled = dataclasses.replace(peeled, surface=pixels.copy())
        peeled.surface[window][near] = color
        layer = np.broadcast_to(color, pixels.shape).astype(np.float32)
        layer[window][near] = here[near]
        peeled.layers.append(layer)
        peeled.grounds.append(color)
    return peeled


def _depth(part: np.ndarray) -> np.ndarray:
    """Returns how far pixels of a part are from its outside, in pixels, `[H, W]`.

    Where two colours meet, their mixture may be the background's, so cracks belong to the part.
    """
    wide = np.pad(part, 2 * _CRACK)
    near = np.asarray(ndimage.distance_transform_edt(~wide)) <= _CRACK
    closed = np.asarray(ndimage.distance_transform_edt(near)) > _CRACK
    depth = np.asarray(ndimage.distance_transform_edt(closed | wide))
    return depth[2 * _CRACK : -2 * _CRACK, 2 * _CRACK : -2 * _CRACK]


def _colors(pixels: np.ndarray, *, least: float) -> list[np.ndarray]:
    """Returns the colours `[3]` that at least so many pixels have, the commonest first."""
    found: list[np.ndarray] = []
    labs = colors.lab(pixels)
    left = np.ones(len(pixels), bool)
    while left.sum() >= least:
        cells, counts = np.unique((labs[left] // _CELL).astype(int), axis=0, return_counts=True)
        middle = (cells[counts.argmax()] + 0.5) * _CELL
        near = np.linalg.norm(labs - middle, axis=-1) <= _NEAR
        if near.sum() < least:
            break
        found.append(np.median(pixels[near], axis=0))
        left &= ~near & (np.linalg.norm(labs - colors.lab(found[-1]), axis=-1) > _CLEAR)
    return found


def _distance(labs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the CIELAB distance of pixels from the nearest of some colours, `[H, W]`."""
    return np.sqrt(np.minimum.reduce([np.square(labs - other).sum(-1) for other in others]))


@dataclasses.dataclass(frozen=True)
class _View:
    """A part as it looks if it has a certain colour; all `[H, W]`.

    Attributes:
        depth: Distance from the outside, in pixels.
        apart: CIELAB distance from the part's colour or the background's, whichever is nearer.
        is_own: Which pixels have the part's colour.
        is_bare: Which pixels no mixture of the part with the background explains, as one may be
            near the outside.
    """

    depth: np.ndarray
    apart: np.ndarray
    is_own: np.ndarray
    is_bare: np.ndarray

    @classmethod
    def of(
        cls, here: np.ndarray, depth: np.ndarray, color: np.ndarray, tones: np.ndarray
    ) -> "_View":
        labs, behind = colors.lab(here), tones[::4]
        shares = np.linspace(0, 1, _MIXES)[:, None, None]
        mixes = colors.lab((behind * (1 - shares) + color * shares).reshape(-1, 3))
        own = _distance(labs, colors.lab(color)[None])
        is_bare = (_distance(labs, mixes) > _NEAR) | (depth >= _DEEP)
        apart = np.minimum(own, _distance(labs, colors.lab(behind)))
        return cls(depth, apart, own <= _NEAR, is_bare)


def _pieces(view: _View, *, least: float) -> np.ndarray:
    """Returns the pixels of what lies on a part: large, thick, distinct and surrounded by it."""
    labels = np.zeros(view.depth.shape, np.int32)
    ndimage.label(view.is_bare & ~view.is_own, output=labels)
    kept = np.zeros(labels.shape, bool)
    for index, window in enumerate(ndimage.find_objects(labels), 1):
        piece = labels[window] == index
        whole = np.asarray(ndimage.binary_fill_holes(piece))
        if (
            piece.sum() >= least
            and np.median(view.apart[window][piece]) >= _CLEAR
            and whole.sum() <= _MOST_PIECE * (view.depth > 0).sum()
            and _thickness(whole) >= _THICK
            and (view.depth[window][piece] < _INSET).mean() < 0.02
            and _surrounded(labels == index, view.is_own) >= _SURROUNDED
        ):
            kept[window] |= piece
    is_area = view.is_own.sum() >= _LEAST_LEFT * kept.sum()
    is_broad = _thickness(view.is_own) >= _BROAD  # no soft edge
    return kept if is_area and is_broad else np.zeros_like(kept)


def _surrounded(piece: np.ndarray, is_own: np.ndarray) -> float:
    """Returns the share of the pixels around a piece that have the part's colour."""
    away = np.asarray(ndimage.distance_transform_edt(~np.pad(piece, 2)))
    ring = (away > 0) & (away <= 2)
    return float(np.pad(is_own, 2)[ring].mean())


def _thickness(mask: np.ndarray) -> float:
    """Returns the distance from the middle of pixels to what is none of them, in pixels."""
    return float(np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1))).max())
