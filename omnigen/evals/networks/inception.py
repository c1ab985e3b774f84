# SPDX-License-Identifier: Apache-2.0
"""The Inception-v3 that FID is defined by (Szegedy et al. 2015; Heusel et al. 2017), in JAX.

It is the network of the TensorFlow file `inception-2015-12-05`, not torchvision's: its average
pools leave the padding out of the count, its last block pools by the maximum, and it has 1008
classes. Weights are the user's own file with the names that pytorch-fid and torch-fidelity use;
batch norm (eps 1e-3) is folded into the convolutions when they are read.

Shapes: N images, H rows, W columns, C channels.
"""

import dataclasses
import enum
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from omnigen.evals.networks import weights

SIZE = 299  # pixels a side
POOL_DIM = 2048
SPATIAL_CHANNELS = 7  # of the 192, so that 17 x 17 x 7 = 2023 is about POOL_DIM
NUM_CLASSES = 1008
BATCH_NORM_EPS = 1e-3
WHERE = (
    "pt_inception-2015-12-05-6726825d.pth of pytorch-fid's release fid_weights "
    "(github.com/mseitzer/pytorch-fid/releases), or the same tensors as safetensors"
)

Params = dict[str, dict[str, jax.Array]]
Size = tuple[int, int]  # rows, columns
Convolution = Callable[..., jax.Array]  # of x, name, channels out, kernel; stride=, padding=


class Resize(enum.StrEnum):
    """How pictures come to 299 pixels a side and to about [-1, 1]; scores differ between them.

    CLEAN: PIL's antialiased bicubic on float channels, clipped to [0, 255], then (x - 128) / 128;
        what clean-fid does, and the one to use.
    BILINEAR: half-pixel centres, no antialiasing, then x / 127.5 - 1; what pytorch-fid does.
    TENSORFLOW: bilinear from the upper left corner, no antialiasing, then (x - 128) / 128; what
        the original graph does, and so guided-diffusion's evaluator and torch-fidelity.
    """

    CLEAN = "clean"
    BILINEAR = "bilinear"
    TENSORFLOW = "tensorflow"


@dataclasses.dataclass(frozen=True)
class Features:
    """The network's outputs for N pictures, float32.

    Attributes:
        pool: Average pool before the classifier, `[N, 2048]`: for FID, precision, recall, KID.
        spatial: Seven channels of the first convolution of `mixed_6`, `[N, 2023]`: for sFID.
        logits: Logits without the classifier's bias, `[N, 1008]`, as the Inception Score has always
            been.
    """

    pool: np.ndarray
    spatial: np.ndarray
    logits: np.ndarray


class Inception:
    """The network with the weights of a file."""

    def __init__(self, path: str | pathlib.Path | None, *, resize: Resize = Resize.CLEAN):
        """Reads the weights.

        Raises:
            ValueError: If no file is named, it cannot be read, or it lacks a tensor.
        """
        if not path:
            raise ValueError(f"FID needs --inception_weights: {WHERE}")
        self._resize = resize
        self._params = fold(weights.read(path), source=str(path))

    def features(self, images_NHWC: np.ndarray, *, batch_size: int = 32) -> Features:
        """Returns the features of uint8 pictures, in batches of one size, the last padded."""
        assert images_NHWC.dtype == np.uint8 and len(images_NHWC)
        size = min(batch_size, len(images_NHWC))
        parts = []
        for start in range(0, len(images_NHWC), size):
            part = images_NHWC[start : start + size]
            pixels = prepare(part, resize=self._resize)
            full = np.concatenate([pixels, np.repeat(pixels[-1:], size - len(part), axis=0)])
            found = jax.device_get(_forward(self._params, full))
            parts.append({name: value[: len(part)] for name, value in found.items()})
        return Features(**{name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def prepare(images_NHWC: np.ndarray, *, resize: Resize) -> np.ndarray:
    """Converts uint8 pictures to the network's input, float32 [N, 299, 299, 3]."""
    if resize is Resize.CLEAN:
        pixels = np.stack([_bicubic(image) for image in images_NHWC])
        return (pixels - 128) / 128
    corners = resize is Resize.TENSORFLOW
    _, height, width, _ = images_NHWC.shape
    rows, columns = _bilinear(height, corners=corners), _bilinear(width, corners=corners)
    pixels = np.einsum(
        "ph,nhwc,qw->npqc", rows, images_NHWC.astype(np.float32), columns, optimize=True
    )
    return (pixels - 128) / 128 if corners else pixels / np.float32(127.5) - 1


def _bicubic(image_HWC: np.ndarray) -> np.ndarray:
    channels = [Image.fromarray(image_HWC[..., c].astype(np.float32)) for c in range(3)]
    resized = [each.resize((SIZE, SIZE), Image.Resampling.BICUBIC) for each in channels]
    return np.clip(np.stack([np.asarray(each) for each in resized], axis=-1), 0, 255)


def _bilinear(length: int, *, corners: bool) -> np.ndarray:
    """Returns the matrix that interpolates `length` pixels at `SIZE` places; both centre rules."""
    steps = np.arange(SIZE, dtype=np.float64)
    scale = length / SIZE
    places = steps * scale if corners else (steps + 0.5) * scale - 0.5
    places = np.clip(places, 0, length - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(length))).astype(np.float32)


def fold(tensors: weights.Weights, *, source: str) -> Params:
    """Returns kernels (HWIO) and biases, batch norm folded in, of torch's tensors (OIHW).

    Raises:
        ValueError: If a tensor is missing or has another shape; the message names the source.
    """
    params: Params = {}
    for name, shape in _layers().items():
        kernel = _tensor(tensors, f"{name}.conv.weight", shape, source)
        out = shape[:1]
        gain, bias, mean, variance = (
            _tensor(tensors, f"{name}.bn.{part}", out, source)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / np.sqrt(variance + BATCH_NORM_EPS)
        kernel = kernel * gain[:, None, None, None]
        params[name] = {
            "kernel": jnp.asarray(kernel.transpose(2, 3, 1, 0), jnp.float32),
            "bias": jnp.asarray(bias - mean * gain, jnp.float32),
        }
    classes = _tensor(tensors, "fc.weight", (NUM_CLASSES, POOL_DIM), source)
    params["fc"] = {"kernel": jnp.asarray(classes.T, jnp.float32)}
    return params


def _tensor(tensors: weights.Weights, name: str, shape: tuple[int, ...], source: str) -> np.ndarray:
    if name not in tensors:
        raise ValueError(f"weights {source} lack {name}; needed: {WHERE}")
    found = tensors[name].shape
    if found != shape:
        raise ValueError(f"weights {source}: {name} is {found}, not {shape}; needed: {WHERE}")
    return tensors[name].astype(np.float64)


def _layers() -> dict[str, tuple[int, int, int, int]]:
    """Returns every convolution and its OIHW shape, by tracing the network without weights."""
    found: dict[str, tuple[int, int, int, int]] = {}

    def record(x: jax.Array, name: str, out: int, kernel: Size, **window: object) -> jax.Array:
        found[name] = (out, x.shape[-1], *kernel)
        zeros = jnp.zeros((*kernel, x.shape[-1], out))
        return _convolve(x, zeros, jnp.zeros(out), **window)  # type: ignore[arg-type]

    jax.eval_shape(functools.partial(_network, record), jnp.zeros((1, SIZE, SIZE, 3)))
    return found


@jax.jit
def _forward(params: Params, pixels_NHWC: jax.Array) -> dict[str, jax.Array]:
    def apply(x: jax.Array, name: str, _: int, __: Size, **window: object) -> jax.Array:
        return _convolve(x, **params[name], **window)  # type: ignore[arg-type]

    pool, spatial = _network(apply, pixels_NHWC)
    return {"pool": pool, "spatial": spatial, "logits": pool @ params["fc"]["kernel"]}


def _convolve(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, *, stride: int = 1, padding: Size = (0, 0)
) -> jax.Array:
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(p, p) for p in padding],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return jax.nn.relu(y + bias.reshape(1, 1, 1, -1))


def _max_pool(x: jax.Array, *, stride: int = 2, padding: int = 0) -> jax.Array:
    pads = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, pads)


def _mean_pool(x: jax.Array) -> jax.Array:
    """Averages 3 x 3 pixels at stride 1; at the border, those that exist."""
    window, strides = (1, 3, 3, 1), (1, 1, 1, 1)
    pool = functools.partial(
        jax.lax.reduce_window,
        init_value=0.0,
        computation=jax.lax.add,
        window_dimensions=window,
        window_strides=strides,
        padding="SAME",
    )
    return pool(x) / pool(jnp.ones((1, *x.shape[1:3], 1)))


def _network(conv: Convolution, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the pooled and the spatial features of prepared pixels [N, 299, 299, 3]."""
    x = conv(x, "Conv2d_1a_3x3", 32, (3, 3), stride=2)
    x = conv(x, "Conv2d_2a_3x3", 32, (3, 3))
    x = _max_pool(conv(x, "Conv2d_2b_3x3", 64, (3, 3), padding=(1, 1)))
    x = conv(x, "Conv2d_3b_1x1", 80, (1, 1))
    x = _max_pool(conv(x, "Conv2d_4a_3x3", 192, (3, 3)))
    for name, out in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        x = _block_35(conv, x, name, out)
    x = _shrink_35(conv, x, "Mixed_6a")
    spatial = x
    for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        x, first = _block_17(conv, x, name, inner)
        if name == "Mixed_6d":  # TensorFlow counts all blocks from 0: this is its mixed_6
            spatial = first[..., :SPATIAL_CHANNELS]
    x = _shrink_17(conv, x, "Mixed_7a")
    x = _block_8(conv, x, "Mixed_7b", pool=_mean_pool)
    x = _block_8(conv, x, "Mixed_7c", pool=functools.partial(_max_pool, stride=1, padding=1))
    return x.mean((1, 2)), spatial.reshape(len(x), -1)


def _joined(*parts: jax.Array) -> jax.Array:
    return jnp.concatenate(parts, axis=-1)


def _block_35(conv: Convolution, x: jax.Array, name: str, out: int) -> jax.Array:
    """Mixes at 35 x 35: 1x1, 5x5, two 3x3, mean pool."""
    one = conv(x, f"{name}.branch1x1", 64, (1, 1))
    five = conv(x, f"{name}.branch5x5_1", 48, (1, 1))
    five = conv(five, f"{name}.branch5x5_2", 64, (5, 5), padding=(2, 2))
    three = conv(x, f"{name}.branch3x3dbl_1", 64, (1, 1))
    three = conv(three, f"{name}.branch3x3dbl_2", 96, (3, 3), padding=(1, 1))
    three = conv(three, f"{name}.branch3x3dbl_3", 96, (3, 3), padding=(1, 1))
    return _joined(one, five, three, conv(_mean_pool(x), f"{name}.branch_pool", out, (1, 1)))


def _shrink_35(conv: Convolution, x: jax.Array, name: str) -> jax.Array:
    """Goes from 35 x 35 to 17 x 17."""
    three = conv(x, f"{name}.branch3x3", 384, (3, 3), stride=2)
    double = conv(x, f"{name}.branch3x3dbl_1", 64, (1, 1))
    double = conv(double, f"{name}.branch3x3dbl_2", 96, (3, 3), padding=(1, 1))
    double = conv(double, f"{name}.branch3x3dbl_3", 96, (3, 3), stride=2)
    return _joined(three, double, _max_pool(x))


def _block_17(
    conv: Convolution, x: jax.Array, name: str, inner: int
) -> tuple[jax.Array, jax.Array]:
    """Mixes at 17 x 17 with rows and columns of seven; also returns the 1x1 branch alone."""
    row, column = (1, 7), (7, 1)
    pad = {row: (0, 3), column: (3, 0)}
    one = conv(x, f"{name}.branch1x1", 192, (1, 1))
    branches = [one]
    for branch, kernels in (
        ("branch7x7", (row, column)),
        ("branch7x7dbl", (column, row, column, row)),
    ):
        y = conv(x, f"{name}.{branch}_1", inner, (1, 1))
        for i, kernel in enumerate(kernels, 2):
            out = 192 if i == len(kernels) + 1 else inner
            y = conv(y, f"{name}.{branch}_{i}", out, kernel, padding=pad[kernel])
        branches.append(y)
    branches.append(conv(_mean_pool(x), f"{name}.branch_pool", 192, (1, 1)))
    return _joined(*branches), one


def _shrink_17(conv: Convolution, x: jax.Array, name: str) -> jax.Array:
    """Goes from 17 x 17 to 8 x 8."""
    three = conv(x, f"{name}.branch3x3_1", 192, (1, 1))
    three = conv(three, f"{name}.branch3x3_2", 320, (3, 3), stride=2)
    seven = conv(x, f"{name}.branch7x7x3_1", 192, (1, 1))
    seven = conv(seven, f"{name}.branch7x7x3_2", 192, (1, 7), padding=(0, 3))
    seven = conv(seven, f"{name}.branch7x7x3_3", 192, (7, 1), padding=(3, 0))
    seven = conv(seven, f"{name}.branch7x7x3_4", 192, (3, 3), stride=2)
    return _joined(three, seven, _max_pool(x))


def _block_8(
    conv: Convolution, x: jax.Array, name: str, *, pool: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Mixes at 8 x 8; its 3x3 branches end in a row and a column side by side."""

    def split(y: jax.Array, row: str, column: str) -> jax.Array:
        return _joined(
            conv(y, f"{name}.{row}", 384, (1, 3), padding=(0, 1)),
            conv(y, f"{name}.{column}", 384, (3, 1), padding=(1, 0)),
        )

    one = conv(x, f"{name}.branch1x1", 320, (1, 1))
    three = conv(x, f"{name}.branch3x3_1", 384, (1, 1))
    double = conv(x, f"{name}.branch3x3dbl_1", 448, (1, 1))
    double = conv(double, f"{name}.branch3x3dbl_2", 384, (3, 3), padding=(1, 1))
    return _joined(
        one,
        split(three, "branch3x3_2a", "branch3x3_2b"),
        split(double, "branch3x3dbl_3a", "branch3x3dbl_3b"),
        conv(pool(x), f"{name}.branch_pool", 192, (1, 1)),
    )
