# SPDX-License-Identifier: Apache-2.0
"""The whole model: encoder, transformer, flow head and decoder, and the calls that compose them.

`generate` is three calls long: the prompt is read, the tokens are drawn, the picture is decoded;
two jitted programs, with nothing returning to the host between tokens.

Shape legend: B pictures, R rows of the batch (B, or 2B with guidance), T prompt length, N image
tokens, Z latent dim.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omnigen import flow
from omnigen.data.text import load as load_text
from omnigen.models.ar import AR, ARConfig
from omnigen.models.decoder import Decoder, DecoderConfig
from omnigen.models.flow_head import FlowHead, FlowHeadConfig
from omnigen.models.tokenizer import Encoder, TokenizerConfig
from omnigen.nn.module import Net, Params
from omnigen.sequence import (
    Modality,
    Sequence,
    Specials,
    TextSpan,
    layout,
    padding,
    places,
)

PROMPT_BUCKET = 256
GUIDANCE, TEMPERATURE = 3.0, 0.8  # as pictures are drawn unless asked otherwise


@dataclasses.dataclass(frozen=True)
class OmniConfig:
    """The four parts' sizes.

    Attributes:
        image_size: pixels a side of the pictures that it draws.
        text: "bytes", or the path of a `tokenizer.json`.
        tokenizer: encoder.
        decoder: decoder.
        ar: transformer.
        head: flow head.
    """

    image_size: int = 128
    text: str = "bytes"
    tokenizer: TokenizerConfig = TokenizerConfig()
    decoder: DecoderConfig = DecoderConfig()
    ar: ARConfig = ARConfig()
    head: FlowHeadConfig = FlowHeadConfig()

    def __post_init__(self) -> None:
        size = self.tokenizer.token_size
        if self.image_size < 1 or self.image_size % size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of the token size {size}"
            )
        if self.decoder.token_size != size:
            raise ValueError(
                f"decoder token_size is {self.decoder.token_size}; the tokenizer's is {size}"
            )
        dims = {
            part: getattr(self, part).latent_dim for part in ("tokenizer", "decoder", "ar", "head")
        }
        if len(set(dims.values())) > 1:
            raise ValueError(f"latent_dim must be the same in all parts, got {dims}")
        if self.head.cond_dim != self.ar.embed_dim:
            raise ValueError(
                f"head cond_dim is {self.head.cond_dim}; the ar embed_dim is {self.ar.embed_dim}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        side = self.image_size // self.tokenizer.token_size
        return side, side

    @property
    def specials(self) -> Specials:
        """Ids of the special tokens."""
        return Specials(self.ar.vocab_size - Specials(0).vocab_size)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dials:
    """Settings of `Omni.draw` that are traced.

    Attributes:
        guidance: classifier-free guidance scale, a scalar.
        temperature: scale of the noise that each token starts from, a scalar.
        order: int32 `[N]`, the raster index of each token in the order of drawing.
    """

    guidance: jax.Array
    temperature: jax.Array
    order: jax.Array


class Omni:
    """The four parts as nets; parameters are a dict with the keys of `nets`."""

    def __init__(self, config: OmniConfig):
        self.config = config
        self.text = load_text(config.text)
        needed = Specials(self.text.vocab_size).vocab_size
        if config.ar.vocab_size != needed:
            raise ValueError(
                f"ar vocab_size is {config.ar.vocab_size}; text tokenizer {config.text!r} needs "
                f"{needed}"
            )
        self.encoder: Net[Encoder] = Net(lambda rngs: Encoder(config.tokenizer, rngs=rngs))
        self.decoder: Net[Decoder] = Net(lambda rngs: Decoder(config.decoder, rngs=rngs))
        self.ar: Net[AR] = Net(lambda rngs: AR(config.ar, rngs=rngs))
        self.head: Net[FlowHead] = Net(lambda rngs: FlowHead(config.head, rngs=rngs))

    @property
    def nets(self) -> dict[str, Net[Any]]:
        """The parts by the names of their parameters."""
        return {"encoder": self.encoder, "decoder": self.decoder, "ar": self.ar, "head": self.head}

    def prompts(self, texts: Iterable[str]) -> Sequence:
        """Lays prompts out up to where their images begin: numpy rows `[B, T]`.

        All end together, padded on the left; T is a multiple of `PROMPT_BUCKET`, so that few
        lengths compile.
        """
        specials, (rows, cols) = self.config.specials, self.config.grid
        size = [specials.boi, *self.text.encode(f"{rows}*{cols}"), specials.img]
        samples = []
        for text in texts:
            spans = [TextSpan(self.text.encode(text)), TextSpan(size)]
            sample = layout(spans, specials, self.text.encode).map(
                lambda field: field[:-1]
            )  # EOS follows the image
            sample.target[-1] = places(rows, cols)[0]
            samples.append(sample)
        longest = max(len(sample.token) for sample in samples)
        length = -(-longest // PROMPT_BUCKET) * PROMPT_BUCKET
        padded = [
            jax.tree.map(
                lambda *parts: np.concatenate(parts),
                padding(length - len(s.token), specials.pad),
                s,
            )
            for s in samples
        ]
        return jax.tree.map(lambda *rows: np.stack(rows), *padded)

    def generate(
        self,
        params: Mapping[str, Params],
        prompts: Sequence,
        keys: jax.Array,
        *,
        guidance: float = GUIDANCE,
        schedule: flow.GuidanceSchedule = flow.GuidanceSchedule.CONSTANT,
        temperature: float = TEMPERATURE,
        order: np.ndarray | None = None,
        head_steps: int | None = None,
        decoder_steps: int | None = None,
    ) -> jax.Array:
        """Pictures of prompts, float32 `[B, H, W, 3]` in [-1, 1].

        Args:
            params: of `decoder`, `ar` and `head`.
            prompts: rows `[B, T]` from `prompts`.
            keys: one for each picture, which alone decides its noise.
            guidance: classifier-free guidance scale; 1 turns it off.
            schedule: how the scale grows from token to token.
            temperature: scale of the noise that each token starts from. Below 1 pictures are more
                typical and vary less.
            order: the raster index of each token in the order of drawing; raster order if None.
            head_steps: Euler steps of the flow head; the config's if None.
            decoder_steps: Euler steps of the decoder; the config's if None.
        """
        keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        unprompted = self._unprompted(prompts.token.shape[1]) if guidance != 1.0 else None
        weights = {part: params[part] for part in ("ar", "head")}
        rows, cols = self.config.grid
        if order is None:
            order = np.arange(rows * cols)
        elif sorted(order) != list(range(rows * cols)):
            raise ValueError(f"order must be a permutation of 0..{rows * cols - 1}, got {order}")
        z = self.draw(
            weights,
            prompts,
            unprompted,
            keys[0],
            Dials(jnp.float32(guidance), jnp.float32(temperature), jnp.asarray(order)),
            schedule=schedule,
            head_steps=head_steps,
        )
        return self.decode(params["decoder"], z, keys[1], num_steps=decoder_steps)

    def _unprompted(self, length: int) -> Sequence:
        """The empty prompt's row, `[1, length]`."""
        row = self.prompts([""])
        return row.map(
            lambda field: np.concatenate(
                [np.repeat(field[:, :1], length - field.shape[1], 1), field], 1
            )
        )

    @functools.partial(jax.jit, static_argnums=0, static_argnames=("schedule", "head_steps"))
    def draw(
        self,
        params: Mapping[str, Params],
        prompts: Sequence,
        unprompted: Sequence | None,
        keys: jax.Array,
        dials: "Dials",
        *,
        schedule: flow.GuidanceSchedule = flow.GuidanceSchedule.CONSTANT,
        head_steps: int | None = None,
    ) -> jax.Array:
        """Draws the image tokens one after another.

        Args:
            params: of `ar` and `head`.
            prompts: rows `[B, T]`.
            unprompted: the empty prompt's row `[1, T]`, or None to draw without guidance.
            keys: one for each picture.
            dials: what may change from call to call without compiling.
            schedule: how guidance grows from token to token.
            head_steps: Euler steps of the flow head; the config's if None.

        Returns:
            `[B, N, Z]` on the sphere, in raster order.
        """
        ar, head = self.ar.bind(params["ar"]), self.head.bind(params["head"])
        batch, length = prompts.token.shape
        place_N2 = jnp.asarray(places(*self.config.grid))[dials.order]
        count = place_N2.shape[0]
        prompts = _branches(prompts, unprompted, place_N2[0])
        rows, branches = prompts.token.shape[0], prompts.token.shape[0] // batch
        noise_BNZ = flow.normal(keys, (batch, count, self.config.head.latent_dim))
        noise_BNZ = noise_BNZ * dials.temperature
        nothing = jnp.zeros((rows, length, self.config.ar.latent_dim))
        hidden, cache = ar.prefill(prompts, nothing, cache_length=length + count - 1)
        sample, step = head.sampler(), ar.stepper()

        def token(hidden_RD: jax.Array, i: jax.Array) -> jax.Array:
            branched = hidden_RD.reshape(branches, batch, -1)
            return sample(
                branched,
                noise_BNZ[:, i],
                guidance=schedule.at(dials.guidance, i / max(count - 1, 1)),
                num_steps=head_steps,
            )

        def body(i: jax.Array, carry: tuple) -> tuple:
            cache, z_BNZ, z_BZ = carry
            vector = jnp.tile(z_BZ, (branches, 1))[:, None]
            hidden, cache = step(cache, self._element(prompts, place_N2, i - 1), vector)
            z_BZ = token(hidden[:, -1], i)
            return cache, z_BNZ.at[:, i].set(z_BZ), z_BZ

        first = token(hidden[:, -1], jnp.int32(0))
        z_BNZ = jnp.zeros(noise_BNZ.shape, jnp.float32).at[:, 0].set(first)
        z_BNZ = jax.lax.fori_loop(1, count, body, (cache, z_BNZ, first))[1]
        return z_BNZ[:, jnp.argsort(dials.order)]

    def _element(self, prompts: Sequence, place_N2: jax.Array, i: jax.Array) -> Sequence:
        """The i-th image element after the prompts, as rows of length 1."""
        rows = prompts.token.shape[0]
        start = prompts.position[:, -1:, :1] + 1.0  # all elements of an image share it
        place = jnp.broadcast_to(place_N2[i], (rows, 1, 2))

        def constant(value: jax.Array | int) -> jax.Array:
            return jnp.broadcast_to(jnp.asarray(value, jnp.int32), (rows, 1))

        return Sequence(
            token=constant(self.config.specials.pad),
            slot=constant(i),
            modality=constant(Modality.IMAGE),
            position=jnp.concatenate([start, place], axis=-1),
            target=jnp.broadcast_to(place_N2[i + 1], (rows, 1, 2)),
            group=prompts.group[:, -1:] + 1 + i,
            segment=constant(1),
            weight=jnp.zeros((rows, 1)),
        )

    @functools.partial(jax.jit, static_argnums=0, static_argnames="num_steps")
    def decode(
        self, params: Params, z_BNZ: jax.Array, keys: jax.Array, *, num_steps: int | None = None
    ) -> jax.Array:
        """Pixels of tokens, `[B, H, W, 3]` in [-1, 1]; the keys decide the decoder's noise."""
        size = self.config.image_size
        noise = flow.normal(keys, (z_BNZ.shape[0], size, size, 3))
        return self.decoder.bind(params).decode(z_BNZ, noise, num_steps=num_steps)

    @functools.partial(jax.jit, static_argnums=0)
    def encode(self, params: Params, images: jax.Array) -> jax.Array:
        """Tokens of pictures in [-1, 1]: `[B, N, Z]` on the sphere."""
        return self.encoder.bind(params)(images)

    def reconstruct(
        self,
        params: Mapping[str, Params],
        images: jax.Array,
        keys: jax.Array,
        *,
        num_steps: int | None = None,
    ) -> jax.Array:
        """What is left of pictures after the tokens: encodes and decodes."""
        return self.decode(
            params["decoder"], self.encode(params["encoder"], images), keys, num_steps=num_steps
        )


def _branches(prompts: Sequence, unprompted: Sequence | None, first: jax.Array) -> Sequence:
    """The rows to read, `[R, T]`: prompts, then an empty one for each; `first` is predicted."""
    rows = prompts.map(jnp.asarray)
    if unprompted is not None:
        rows = jax.tree.map(
            lambda field, free: jnp.concatenate([field, jnp.broadcast_to(free, field.shape)]),
            rows,
            unprompted.map(jnp.asarray),
        )
    return dataclasses.replace(rows, target=jnp.asarray(rows.target).at[:, -1].set(first))


def to_pixels(images: jax.Array) -> jax.Array:
    """uint8 to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> np.ndarray:
    """[-1, 1] to uint8, rounded."""
    return np.asarray(jnp.round((jnp.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8))
