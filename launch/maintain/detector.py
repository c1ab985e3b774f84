# SPDX-License-Identifier: Apache-2.0
"""What stands on a canvas of coloured shapes, by a small network in two stages.

A second opinion on the judge `shapes`, with which it shares nothing but the names of shapes and
colours:

1. Convolutions over the picture at 128 pixels give each cell of 4 x 4 pixels the chance that an
   object's centre lies in it, and how far from the cell's centre that object's four sides are.
2. The square about each box is cut out at 24 pixels; other convolutions say where in it the object
   is, and once the square is right, what shape and colour it has.

`train_judge.py` trains both on renders that are softened, compressed and shifted in
colour. Crops that hold no whole object, or a distorted one, are its examples of "unknown".

Shapes: N pictures or crops, H rows, W columns, C channels, K classes.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from omnigen.evals.judges.colors import PROTOTYPES
from omnigen.evals.judges.outlines import SHAPES
from omnigen.evals.judges.shapes import Seen

WEIGHTS = pathlib.Path(__file__).with_name("detector.npz")
UNKNOWN = "unknown"
SHAPE_NAMES = (*SHAPES, UNKNOWN)
COLOR_NAMES = (*PROTOTYPES, UNKNOWN)

SIDE = 128  # pixels of a picture
CELL = 4  # pixels between centres that the first stage considers
CROP = 24  # pixels of what the second stage sees
AROUND = 1.4  # side of the crop in that of the box
REFINEMENTS = 2  # of a box by the second stage
LEAST_CHANCE = 0.2  # of an object, by both stages
_DILATIONS = (1, 2, 4, 8)
_BOX_SCALE = 16.0  # pixels that the network calls 1

Params = dict[str, dict[str, jax.Array]]


def layers() -> dict[str, tuple[int, int, int, int]]:
    """Returns every kernel's shape, HWIO; stage one finds, stage two names."""
    return {
        "find_0": (5, 5, 3, 16),
        "find_1": (3, 3, 16, 32),
        **{f"context_{dilation}": (3, 3, 32, 32) for dilation in _DILATIONS},
        "found": (1, 1, 32, 5),
        "name_0": (3, 3, 3, 24),
        "name_1": (3, 3, 24, 48),
        "name_2": (3, 3, 48, 64),
        "name_3": (3, 3, 64, 96),
        "named": (CROP // 8, CROP // 8, 96, len(SHAPE_NAMES) + len(COLOR_NAMES) + 4),
    }


def _convolve(
    params: Params,
    name: str,
    x: jax.Array,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: str = "SAME",
) -> jax.Array:
    layer = params[name]
    y = jax.lax.conv_general_dilated(
        x,
        layer["kernel"],
        (stride, stride),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y + layer["bias"].reshape(1, 1, 1, -1)


def find(params: Params, pixels_NHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Runs stage one over pixels in [-1, 1], 128 a side.

    Returns:
        the logit of an object's centre in each cell `[N, 32, 32]`, and pixels from the cell's
        centre to the object's left, top, right and bottom `[N, 32, 32, 4]`.
    """
    x = jax.nn.relu(_convolve(params, "find_0", pixels_NHWC, stride=2))
    x = jax.nn.relu(_convolve(params, "find_1", x, stride=2))
    for dilation in _DILATIONS:
        x = x + jax.nn.relu(_convolve(params, f"context_{dilation}", x, dilation=dilation))
    found = _convolve(params, "found", x)
    return found[..., 0], found[..., 1:] * _BOX_SCALE


def name(params: Params, crops_NHWC: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Runs stage two over crops in [-1, 1].

    Returns:
        logits of `SHAPE_NAMES` and of `COLOR_NAMES`, `[N, K]`, and the object's left, top, right
        and bottom `[N, 4]`: from the crop's centre, in halves of its side.
    """
    x = jax.nn.relu(_convolve(params, "name_0", crops_NHWC))
    for layer in ("name_1", "name_2", "name_3"):
        x = jax.nn.relu(_convolve(params, layer, x, stride=2))
    named = _convolve(params, "named", x, padding="VALID")[:, 0, 0]
    shape, color, box = jnp.split(named, (len(SHAPE_NAMES), named.shape[1] - 4), axis=1)
    return shape, color, box + jnp.array([[-1.0, -1.0, 1.0, 1.0]]) / AROUND


def crop(pixels_HWC: jax.Array, boxes_N4: jax.Array) -> jax.Array:
    """Cuts out rectangles, bilinear and antialiased; what lies outside repeats the border.

    Args:
        pixels_HWC: Picture to cut from.
        boxes_N4: Left, top, right and bottom in pixels.
    """

    def weights(low: jax.Array, high: jax.Array, length: int) -> jax.Array:
        step = (high - low) / CROP
        places = low + (jnp.arange(CROP) + 0.5) * step - 0.5
        places = jnp.clip(places, 0, length - 1)
        gaps = jnp.abs(places[:, None] - jnp.arange(length)[None, :])
        share = jnp.maximum(0, 1 - gaps / jnp.maximum(step, 1))
        return share / share.sum(1, keepdims=True)

    def one(box: jax.Array) -> jax.Array:
        rows = weights(box[1], box[3], pixels_HWC.shape[0])
        columns = weights(box[0], box[2], pixels_HWC.shape[1])
        return jnp.einsum("ph,hwc,qw->pqc", rows, pixels_HWC, columns)

    return jax.vmap(one)(boxes_N4)


def square(boxes_N4: jax.Array) -> jax.Array:
    """Returns the squares about the boxes' centres that are cut out."""
    centers = (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2
    half = jnp.max(boxes_N4[:, 2:] - boxes_N4[:, :2], axis=1, keepdims=True) * AROUND / 2
    return jnp.concatenate([centers - half, centers + half], axis=1)


@functools.partial(jax.jit, static_argnames="most")
def _everything(params: Params, pixels_HWC: jax.Array, *, most: int = 32) -> dict[str, jax.Array]:
    """Returns the `most` likeliest objects: their probabilities, boxes and logits."""
    logits, sides = find(params, pixels_HWC[None])
    logits, sides = logits[0], sides[0]
    around = jax.lax.reduce_window(logits, -jnp.inf, jax.lax.max, (3, 3), (1, 1), "SAME")
    peaks = jnp.where(logits == around, logits, -jnp.inf)
    values, places = jax.lax.top_k(peaks.ravel(), most)
    y, x = jnp.divmod(places, logits.shape[1])
    centers = jnp.stack([x, y, x, y], axis=1) * CELL + CELL / 2
    signs = jnp.array([[-1.0, -1.0, 1.0, 1.0]])
    boxes = centers + signs * jnp.maximum(sides.reshape(-1, 4)[places], 1.0)
    for _ in range(REFINEMENTS):
        squares = square(boxes)
        _, _, sides = name(params, crop(pixels_HWC, squares))
        centers = (squares[:, :2] + squares[:, 2:]) / 2
        half = (squares[:, 2:] - squares[:, :2]) / 2
        boxes = jnp.tile(centers, 2) + sides * jnp.tile(half, 2)
        boxes = boxes.at[:, 2:].max(boxes[:, :2] + CELL)
    shape, color, _ = name(params, crop(pixels_HWC, square(boxes)))
    known = 1 - jax.nn.softmax(shape)[:, -1]
    chance = jax.nn.sigmoid(values)
    return {"chance": chance, "known": known, "box": boxes, "shape": shape, "color": color}


class Detector:
    """The network with its weights."""

    def __init__(self, path: str | pathlib.Path = WEIGHTS):
        """Reads the weights beside this file, or others of `train_judge.py`."""
        self._params: Params = {}
        cpu = jax.local_devices(backend="cpu")[0]  # sees the same wherever pictures are drawn
        with np.load(path, allow_pickle=False) as file:
            for layer in layers():
                parts = {part: file[f"{layer}/{part}"] for part in ("kernel", "bias")}
                self._params[layer] = {
                    k: jax.device_put(np.asarray(v, np.float32), cpu) for k, v in parts.items()
                }

    def look(self, image: np.ndarray) -> tuple[Seen, ...]:
        """Finds every object of a uint8 picture `[height, width, 3]`, the largest first.

        `residual` is the chance that it is no object or has another shape.
        """
        small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels = np.asarray(small, np.float32) / 127.5 - 1
        found = jax.device_get(_everything(self._params, pixels))
        seen: list[Seen] = []
        for i in np.flatnonzero(found["chance"] * np.maximum(found["known"], 0.3) >= LEAST_CHANCE):
            left, top, right, bottom = (float(v) for v in found["box"][i] / SIDE)
            x, y = (left + right) / 2, (top + bottom) / 2
            if any(np.hypot(x - s.x, y - s.y) < s.radius / 2 for s in seen):
                continue
            seen.append(
                Seen(
                    shape=SHAPE_NAMES[int(found["shape"][i].argmax())],
                    color=COLOR_NAMES[int(found["color"][i].argmax())],
                    x=x,
                    y=y,
                    radius=max(right - left, bottom - top) / 2,
                    box=(left, top, right, bottom),
                    residual=1 - float(found["chance"][i]) * _sure(found["shape"][i]),
                )
            )
        return tuple(sorted(seen, key=lambda s: -s.radius))


def _sure(logits: np.ndarray) -> float:
    """Returns the probability of the likeliest."""
    return float(1 / np.exp(logits - logits.max()).sum())
