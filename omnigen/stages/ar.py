# SPDX-License-Identifier: Apache-2.0
"""The autoregressive stage: transformer and flow head learn rows of captions and latents.

Shape legend: B rows, L row length, I pictures a row, N latents a row, K draws, D width,
Z latent dim.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from omnigen import flow
from omnigen.batch import Rows
from omnigen.data.corpus.latents import Encoding
from omnigen.data.corpus.split import Split
from omnigen.data.stream import noise, pipeline
from omnigen.generation.encode_corpus import encoding_of
from omnigen.generation.generate import generate
from omnigen.generation.prompt import prompt_rows
from omnigen.models import flops
from omnigen.models.encoder import add_noise
from omnigen.models.heads import Head
from omnigen.models.omni import to_pixels, to_uint8
from omnigen.nn.module import Params
from omnigen.nn.stack import Remat
from omnigen.parallel import DataShard, shard
from omnigen.sequence import Modality, Sequence, gather_slots, slot_places
from omnigen.stages.base import Objective, Stage
from omnigen.training.feed import Rates


@dataclasses.dataclass(frozen=True)
class ARObjective(Objective):
    """How sequences are learnt.

    Attributes:
        draws: Number of times and noises for each image token.
        text_weight: Weight of the cross-entropy of text, in nats a token, against the velocity MSE.
        context_noise: Largest σ, uniform from 0, of noise on the latents that are read, so that the
            model meets its own errors in training.
        time_mean: Mean of logit(t) of the head's training times.
        time_std: Standard deviation of logit(t).
    """

    draws: int = 4
    text_weight: float = 0.1
    context_noise: float = 0.1
    time_mean: float = 0.0
    time_std: float = 1.0

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws is {self.draws}; it must be at least 1")
        if self.text_weight < 0 or self.context_noise < 0:
            raise ValueError(
                f"text_weight {self.text_weight} and context_noise {self.context_noise} must be "
                "at least 0"
            )
        _ = self.density  # checks what it is made of

    @property
    def density(self) -> flow.TimeDensity:
        """The density of the head's training times."""
        return flow.TimeDensity(mean=self.time_mean, std=self.time_std)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prepared:
    """What the loss reads.

    Attributes:
        sequence: Elements of the rows.
        latents: Latents, float32 `[B, N, Z]`.
        place: Place of each latent in its row, int32 `[B, N]`; 0 if the row lacks it.
        is_used: Whether the row has the latent, bool `[B, N]`.
        text_count: Sum of the weights of the global batch's text, float32.
        image_count: Sum of the weights of its image tokens, float32.
    """

    sequence: Sequence
    latents: jax.Array
    place: jax.Array
    is_used: jax.Array
    text_count: jax.Array
    image_count: jax.Array


class ARStage(Stage):
    """Next-element prediction: velocity MSE for image tokens, cross-entropy for text."""

    name = "ar"
    trained = ("ar", "head")
    needed = ("encoder", "decoder")
    objective_type = ARObjective
    objective: ARObjective
    flow_name = "flow_mse"  # of the flow loss among the metrics
    flow_keys = 2  # random keys that it takes

    def dataset(self, batch_size: int, shard: DataShard, split: Split = Split.TRAIN) -> Any:
        """Returns a stream of `Rows`, with latents if the data have them."""
        data, omni = self.data_of(split), self.omni
        return pipeline.sequence_dataset(
            data,
            omni.text,
            omni.config.grid,
            batch_size,
            shard,
            self._encoding,
            block=omni.config.block,
        )

    def noise(self, batch_size: int) -> Rows:
        """Returns rows of captions of scenes, and noise for their pictures or latents."""
        config, encoding = self.omni.config, None
        if self.data.latents:
            encoding = encoding_of(self.omni, {})
        return noise.rows(
            self.data, self.omni.text, config.grid, batch_size, encoding, block=config.block
        )

    @functools.cached_property
    def _encoding(self) -> Encoding | None:
        """The encoding of the latents to read, if they are to be read."""
        if not self.data.latents:
            return None
        return encoding_of(self.omni, self.frozen["encoder"])

    def prepare(self, params: Params, frozen: Params, batch: Rows, keys_B: jax.Array) -> Prepared:
        """Encodes the pictures, unless they were before, and counts what is learnt."""
        sequence = batch.sequence
        if batch.image is None:
            z = jnp.asarray(batch.latents).astype(jnp.float32)
        else:
            rows, pictures, *image = batch.image.shape
            pixels = to_pixels(jnp.asarray(batch.image)).reshape(rows * pictures, *image)
            z = self.omni.encoder.bind(frozen["encoder"])(shard(pixels, "batch", None, None, None))
            z = z.reshape(rows, -1, z.shape[-1])
        place, is_used = slot_places(sequence.slot, z.shape[1])
        is_text = sequence.modality == Modality.TEXT
        is_image = sequence.modality == Modality.IMAGE
        return Prepared(
            sequence,
            z,
            place,
            is_used,
            # Counted here, over the global batch, not in `loss`, which may see a slice of it.
            text_count=jnp.sum(sequence.weight * is_text),
            image_count=jnp.sum(sequence.weight * is_image),
        )

    def loss(
        self, params: Params, frozen: Params, batch: Prepared, keys_B: jax.Array
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Returns the weighted sum of the flow loss and the text loss, and its parts.

        The flow loss is a velocity MSE a dim, the text loss is in nats a token.
        """
        sequence, latents_BNZ = batch.sequence, batch.latents
        keys = jax.vmap(lambda key: jax.random.split(key, 2 + self.flow_keys), out_axes=1)(keys_B)
        uniform = flow.TimeDensity(kind=flow.Density.UNIFORM)
        # The transformer reads perturbed latents, the head learns clean ones: tokens that the model
        # reads while it draws are its own, and never quite right.
        sigma_BN = self.objective.context_noise * uniform.sample(keys[0], latents_BNZ.shape[:2])
        context_BNZ = add_noise(latents_BNZ, sigma_BN, keys[1])
        ar = self.omni.ar.bind(params["ar"])
        context_BLZ = gather_slots(context_BNZ, sequence.slot)
        hidden_BLD = ar.hidden(sequence, context_BLZ, segments=self.data.examples_per_row)
        flow_sum = self._flow_loss(params, frozen, batch, context_BLZ, hidden_BLD, keys[2:])
        text_sum = self._text_loss(ar.logits(hidden_BLD[:, :-1]), sequence)
        flow_loss = flow_sum / jnp.maximum(batch.image_count, 1.0)
        text_loss = text_sum / jnp.maximum(batch.text_count, 1.0)
        loss = flow_loss + self.objective.text_weight * text_loss
        return loss, {"loss": loss, self.flow_name: flow_loss, "text_nats": text_loss}

    def _flow_loss(
        self,
        params: Params,
        frozen: Params,
        batch: Prepared,
        context_BLZ: jax.Array,
        hidden_BLD: jax.Array,
        keys: jax.Array,
    ) -> jax.Array:
        """Returns the weighted sum over image tokens, each predicted `block` positions before it.

        Args:
            params: Trained weights.
            frozen: Frozen weights.
            batch: Batch from `prepare`.
            context_BLZ: Latents at their places, perturbed, as the transformer read them.
            hidden_BLD: Hidden states of the transformer.
            keys: Keys, `flow_keys` for each row, `[flow_keys, B]`.
        """
        head: Head = self.omni.head.bind(params["head"])
        objective = self.objective
        latents_BNZ = batch.latents
        hidden_BND = self._before(hidden_BLD, batch.place)
        shape = (*latents_BNZ.shape[:2], objective.draws)
        t_KBN = jnp.moveaxis(objective.density.sample(keys[0], shape), -1, 0)
        noise_KBNZ = flow.normal(keys[1], (*shape, latents_BNZ.shape[-1]))
        losses_BN = head.loss(latents_BNZ, hidden_BND, t_KBN, jnp.moveaxis(noise_KBNZ, 2, 0))
        return self._weighted(losses_BN, batch)

    def _weighted(self, losses_BN: jax.Array, batch: Prepared) -> jax.Array:
        """Returns the weighted sum over the latents that are in the rows."""
        weight_BN = jnp.take_along_axis(jnp.asarray(batch.sequence.weight), batch.place, axis=1)
        return jnp.sum(losses_BN * weight_BN * batch.is_used)

    def _before(self, hidden_BLD: jax.Array, place_BN: jax.Array) -> jax.Array:
        """Returns hidden states that predict each of a row's latents, `[B, N, D]`."""
        before_BN = jnp.maximum(place_BN - self.omni.config.block, 0)
        return jnp.take_along_axis(hidden_BLD, before_BN[..., None], axis=1)

    def _text_loss(self, logits_BLV: jax.Array, sequence: Sequence) -> jax.Array:
        """Returns the weighted sum over the text tokens."""
        token, weight = jnp.asarray(sequence.token)[:, 1:], jnp.asarray(sequence.weight)[:, 1:]
        is_text = jnp.asarray(sequence.modality)[:, 1:] == Modality.TEXT
        losses_BL = optax.softmax_cross_entropy_with_integer_labels(logits_BLV, token)
        return jnp.sum(losses_BL * weight * is_text)

    def rates(self, batch: Rows) -> Rates:
        """Returns what a local batch holds and costs; padding is in what is executed alone."""
        config, segment = self.omni.config, np.asarray(batch.sequence.segment)
        rows = np.arange(len(segment))[:, None] * (segment.max() + 1)
        lengths = np.bincount((segment + rows)[segment > 0])
        is_image = batch.sequence.modality == Modality.IMAGE
        drawn = np.bincount((segment + rows)[is_image], minlength=len(lengths))
        image_tokens, elements = float(is_image.sum()), float(lengths.sum())
        size = batch.image.shape[2:4] if batch.image is not None else (config.image_size,) * 2
        images = image_tokens * config.encoder.token_size**2 / np.prod(size)
        trained = flops.ar(
            config.ar,
            lengths,
            text_tokens=elements - image_tokens,
            image_tokens=image_tokens,
        ) + flops.flow_head(config.head, image_tokens, draws=self.objective.draws)
        encode = flops.encoder(config.encoder, *size) if batch.image is not None else 0.0
        return Rates(
            images=images,
            tokens=elements,
            flops=3.0 * trained + images * encode,
            positions=float(segment.size),
            executed_flops=self._executed(lengths, segment.shape, size, encode),
            readings=float(((lengths > 0) & (drawn == 0)).sum()),
        )

    def _executed(
        self, lengths: np.ndarray, shape: tuple[int, ...], size: tuple[int, ...], encode: float
    ) -> float:
        """FLOPs of all positions and of all places for pictures, whether they hold one or not."""
        config, positions = self.omni.config, float(math.prod(shape))
        padding = np.ones(int(positions - lengths.sum()))  # a position sees itself at most
        transformer = flops.ar(
            config.ar,
            np.append(lengths, padding),
            text_tokens=positions,
            image_tokens=positions,
        )
        pictures = float(shape[0] * self.data.images_per_row)
        tokens = pictures * math.prod(size) / config.encoder.token_size**2
        head = flops.flow_head(config.head, tokens, draws=self.objective.draws)
        again = 4.0 if config.ar.remat == Remat.FULL else 3.0
        return again * transformer + 3.0 * head + pictures * encode

    def samples(self, params: Params, frozen: Params, seed: int) -> np.ndarray:
        """Draws pictures of held-out captions, four of each kind and corpus."""
        captions = [example.caption for example in pipeline.previews(self.data)]
        keys = jax.random.split(jax.random.key(seed), len(captions))
        prompts = prompt_rows(self.omni, captions)
        return to_uint8(generate(self.omni, {**frozen, **params}, prompts, keys))
