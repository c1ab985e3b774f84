# SPDX-License-Identifier: Apache-2.0
"""The tokenizer: encoder and decoder trained together, or the decoder alone on frozen latents.

Shape legend: B images, H W pixels, C channels, N tokens, Z latent dim.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omnigen import flow
from omnigen.batch import Pictures
from omnigen.data.corpus.split import Split
from omnigen.data.stream import noise, pipeline
from omnigen.models import flops
from omnigen.models.encoder import add_noise
from omnigen.models.omni import to_pixels, to_uint8
from omnigen.nn.module import Params
from omnigen.nn.stack import Remat
from omnigen.parallel import DataShard, shard
from omnigen.stages.base import Objective, Stage
from omnigen.training.feed import Rates


@dataclasses.dataclass(frozen=True)
class TokenizerObjective(Objective):
    """How reconstruction is learnt.

    Attributes:
        time_mean: Mean of logit(t) of the training times; a positive one leans to the noise.
        time_std: Standard deviation of logit(t).
        time_uniform: Share of times drawn uniformly instead.
        truncate: Probability that a picture's tokens end somewhere, the rest being unknown.
        regress: Probability that a picture is learnt from no noise at all, at t = 1: the mean of
            all that its tokens may stand for, which a decoder of `noise_scale` 0 draws.
        detail: Share of a pixel's weight that follows the contrast around it; the rest is the same
            for all. Letters are few of the pixels, but where the contrast is.
    """

    time_mean: float = 0.8
    time_std: float = 0.8
    time_uniform: float = 0.1
    truncate: float = 0.1
    regress: float = 0.0
    detail: float = 0.0

    def __post_init__(self) -> None:
        for name in ("truncate", "regress", "detail"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in [0, 1]")
        _ = self.density  # checks what it is made of

    @property
    def density(self) -> flow.TimeDensity:
        """The density of the training times."""
        return flow.TimeDensity(
            mean=self.time_mean, std=self.time_std, uniform_fraction=self.time_uniform
        )


def contrast(image_BHWC: jax.Array) -> jax.Array:
    """Returns the contrast around each pixel, of mean 1 in every picture, float32 `[B, H, W, 1]`.

    It is the root of the variance among 7 x 7 neighbours (fewer at the borders), summed over
    channels, plus 0.02^2, so that a picture of one colour has 1 everywhere.
    """

    def around(x_BHWC: jax.Array) -> jax.Array:
        window, ones = (1, 7, 7, 1), (1, 1, 1, 1)
        return jax.lax.reduce_window(x_BHWC, 0.0, jax.lax.add, window, ones, "SAME")

    sides = [np.convolve(np.ones(side), np.ones(7), "same") for side in image_BHWC.shape[1:3]]
    count = np.multiply.outer(*sides)[None, :, :, None].astype(np.float32)
    mean, square = around(image_BHWC) / count, around(jnp.square(image_BHWC)) / count
    variance = jnp.maximum(square - jnp.square(mean), 0.0).sum(axis=-1, keepdims=True)
    deviation = jnp.sqrt(variance + 0.02**2)
    return deviation / deviation.mean(axis=(1, 2, 3), keepdims=True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prepared:
    """What the loss reads.

    Attributes:
        image: Pixels in [-1, 1], float32 `[B, H, W, C]`.
        count: Number of pictures of the global batch, float32.
    """

    image: jax.Array
    count: jax.Array


class TokenizerStage(Stage):
    """Learns latents and the decoder that draws them: velocity MSE per pixel value."""

    name = "tokenizer"
    trained = ("encoder", "decoder")
    objective_type = TokenizerObjective
    objective: TokenizerObjective

    def dataset(self, batch_size: int, shard: DataShard, split: Split = Split.TRAIN) -> Any:
        """Returns a stream of `Pictures`."""
        return pipeline.images_dataset(self.data_of(split), batch_size, shard)

    def noise(self, batch_size: int) -> Pictures:
        """Returns a batch of noise."""
        return noise.images(self.data, batch_size)

    def prepare(
        self, params: Params, frozen: Params, batch: Pictures, keys_B: jax.Array
    ) -> Prepared:
        """Returns pixels in [-1, 1], and the number of pictures."""
        image = shard(to_pixels(jnp.asarray(batch.image)), "batch", None, None, None)
        return Prepared(image, jnp.float32(image.shape[0]))

    def _latents(self, params: Params, frozen: Params, image_BHWC: jax.Array) -> jax.Array:
        return self.omni.encoder.bind(params["encoder"])(image_BHWC)

    def loss(
        self, params: Params, frozen: Params, batch: Prepared, keys_B: jax.Array
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Returns the velocity MSE; its parts include the MSE of the predicted clean picture."""
        objective, image_BHWC = self.objective, batch.image
        size = image_BHWC.shape[0]
        keys = jax.vmap(lambda key: jax.random.split(key, 6), out_axes=1)(keys_B)
        z_BNZ = self._latents(params, frozen, image_BHWC)
        sigma_B = flow.TimeDensity(kind=flow.Density.UNIFORM).sample(keys[0], (size,))
        z_BNZ = add_noise(z_BNZ, sigma_B * self.omni.config.encoder.noise_max, keys[1])
        known_BN = self._known(keys[2], z_BNZ.shape[1])
        is_mean_B = jax.vmap(lambda key: jax.random.bernoulli(key, objective.regress))(keys[5])
        t_B = jnp.where(is_mean_B, 1.0, objective.density.sample(keys[3], (size,)))
        noise_BHWC = flow.normal(keys[4], image_BHWC.shape)
        # At t = 1 without noise the decoder sees the tokens alone. Then the loss is least for the
        # mean of all pictures that they may stand for.
        noise_BHWC = jnp.where(is_mean_B[:, None, None, None], 0.0, noise_BHWC)
        noisy_BHWC = flow.interpolate(image_BHWC, noise_BHWC, t_B)
        decoder = self.omni.decoder.bind(params["decoder"])
        unroll = self.omni.config.decoder.unroll
        clean_BHWC = decoder(noisy_BHWC, t_B, z_BNZ, known_BN, unroll=unroll)
        errors = flow.velocity_loss(clean_BHWC, image_BHWC, noise_BHWC, t_B, flow.Prediction.DATA)
        if objective.detail:
            weight_BHW1 = 1.0 + objective.detail * (contrast(image_BHWC) - 1.0)
            errors = weight_BHW1 * errors
        # A sum over a global count, as slices of the batch are added up.
        loss = errors.mean(axis=(1, 2, 3)).sum() / batch.count
        squares = jnp.square(clean_BHWC - image_BHWC).mean(axis=(1, 2, 3)).sum() / batch.count
        return loss, {"velocity_mse": loss, "pixel_mse": squares}

    def _known(self, keys_B: jax.Array, count: int) -> jax.Array:
        """Returns which tokens are known, bool `[B, N]`: all, or a prefix of uniform length."""

        def draw(key: jax.Array) -> jax.Array:
            is_short, length = jax.random.split(key)
            length = jax.random.randint(length, (), 0, count)
            cut = jax.random.bernoulli(is_short, self.objective.truncate)
            return jnp.arange(count) < jnp.where(cut, length, count)

        return jax.vmap(draw)(keys_B)

    def rates(self, batch: Pictures) -> Rates:
        """Returns images, tokens and FLOPs of a local batch."""
        config, (count, *size, _) = self.omni.config, batch.image.shape
        images, side = float(count), config.encoder.token_size
        encode = flops.encoder(config.encoder, *size)
        decode = flops.decoder(config.decoder, *size)
        times = {"encoder": 3.0 if "encoder" in self.trained else 1.0, "decoder": 3.0}
        total = times["encoder"] * encode + times["decoder"] * decode
        tokens = images * (size[0] // side) * (size[1] // side)
        parts = {"encoder": encode, "decoder": decode}
        again = sum(
            cost
            for part, cost in parts.items()
            if part in self.trained and getattr(config, part).remat == Remat.FULL
        )
        return Rates(
            images=images,
            tokens=tokens,
            flops=images * total,
            positions=tokens,
            executed_flops=images * (total + again),
        )

    def samples(self, params: Params, frozen: Params, seed: int) -> np.ndarray:
        """Returns held-out pictures, each beside its reconstruction."""
        images = np.stack([example.image for example in pipeline.previews(self.data)])
        keys = jax.random.split(jax.random.key(seed), len(images))
        decoded = self.omni.reconstruct({**frozen, **params}, to_pixels(jnp.asarray(images)), keys)
        return np.stack([images, to_uint8(decoded)], axis=1).reshape(-1, *images.shape[1:])


class DecoderStage(TokenizerStage):
    """Finetunes the decoder on a frozen encoder's latents."""

    name = "decoder"
    trained = ("decoder",)
    needed = ("encoder",)

    def _latents(self, params: Params, frozen: Params, image_BHWC: jax.Array) -> jax.Array:
        return jax.lax.stop_gradient(self.omni.encoder.bind(frozen["encoder"])(image_BHWC))
