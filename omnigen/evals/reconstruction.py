# SPDX-License-Identifier: Apache-2.0
"""What survives the tokens: held-out scenes, encoded, decoded, and compared pixel by pixel.

PSNR = 10 log10(255^2 / MSE)  dB, the MSE of uint8 values in float64
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from omnigen.data import pipeline
from omnigen.data.scenes.scene import Kind
from omnigen.models.omni import Omni, to_pixels, to_uint8
from omnigen.nn.module import Params

MAX_PSNR = 60.0  # what a picture counts that is right to the last bit


def mean_squared_errors(ours_NHWC: np.ndarray, theirs_NHWC: np.ndarray) -> np.ndarray:
    """Returns the MSE of each pair of uint8 pictures, float64 `[N]`."""
    assert ours_NHWC.dtype == theirs_NHWC.dtype == np.uint8
    differences = ours_NHWC.astype(np.float64) - theirs_NHWC.astype(np.float64)
    return np.mean(np.square(differences), axis=(1, 2, 3))


def psnr(mean_squared_error: np.ndarray | float) -> np.ndarray:
    """Returns the peak signal-to-noise ratio of uint8 pictures in dB, at most `MAX_PSNR`."""
    floor = 255.0**2 / 10.0 ** (MAX_PSNR / 10.0)
    return 10.0 * np.log10(255.0**2 / np.maximum(mean_squared_error, floor))


class Reconstruction:
    """PSNR of the first held-out scenes of each kind; the decoder's noise is always the same."""

    name = "reconstruction"

    def __init__(self, omni: Omni, *, count: int = 64, num_steps: int = 4, batch_size: int = 32):
        """Judges by `count` pictures of each kind, decoded in `num_steps` Euler steps."""
        self._omni, self._count = omni, count
        self._num_steps, self._batch_size = num_steps, batch_size

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields `KIND/psnr_dB`, the mean over pictures, then over all kinds `psnr_dB`.

        `pooled_psnr_dB` is the PSNR of the mean MSE, in which the worst pictures weigh most.
        """
        weights = {**frozen, **params}
        data = pipeline.DataConfig(image_size=self._omni.config.image_size)
        errors = []
        for kind in Kind:
            examples = pipeline.eval_examples(data, kind, count=self._count, start=0)
            images = np.stack([example.image for example in examples])
            errors.append(mean_squared_errors(self.reconstruct(weights, images), images))
            yield f"{kind}/psnr_dB", float(psnr(errors[-1]).mean())
        everything = np.concatenate(errors)
        yield "psnr_dB", float(psnr(everything).mean())
        yield "pooled_psnr_dB", float(psnr(everything.mean()))

    def reconstruct(self, weights: Params, images: np.ndarray) -> np.ndarray:
        """Encodes and decodes uint8 pictures in batches of one size, the last padded."""
        size, parts = self._batch_size, []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            keys = jax.random.split(jax.random.fold_in(jax.random.key(0), start), size)
            pixels = to_pixels(jnp.asarray(full))
            decoded = self._omni.reconstruct(weights, pixels, keys, num_steps=self._num_steps)
            parts.append(to_uint8(decoded)[: len(part)])
        return np.concatenate(parts)
