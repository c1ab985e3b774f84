# SPDX-License-Identifier: Apache-2.0
"""The whole model: encoder, transformer, flow head and decoder, and the calls that compose them.

`generate` reads the prompt, lets the model write its sketch of the picture if it has learnt to,
draws the tokens and decodes the picture: two jitted programs, with nothing returning to the host
between tokens.

Shape legend: B pictures, R rows that are drawn (B, or 2B with guidance), T prompt length, N image
tokens in G groups of K, S steps of the flow head, P elements of a sketch, Z latent dim.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omnigen import flow, parallel
from omnigen.data.latents import Encoding, digest_weights
from omnigen.data.text import load as load_text
from omnigen.models.ar import AR, ARConfig, Cache, Stepper
from omnigen.models.decoder import Decoder, DecoderConfig
from omnigen.models.flow_head import FlowHead, FlowHeadConfig, Sampler
from omnigen.models.tokenizer import Encoder, TokenizerConfig
from omnigen.models.writing import write
from omnigen.nn.module import Net, Params
from omnigen.sequence import (
    Array,
    Modality,
    Sequence,
    Specials,
    TextSpan,
    layout,
    padding,
    places,
)

PROMPT_BUCKET = 128
GUIDANCE, TEMPERATURE = 3.0, 0.65  # as pictures are drawn unless asked otherwise
SKETCH_TEMPERATURE = 0.35
MOST_TOKENS = 2**16  # of a picture: 4096 pixels a side in tokens of 16
MOST_SKETCH = 2**14
MOST_DRAWS = 2**23  # steps of the flow head for all groups of a picture


@dataclasses.dataclass(frozen=True)
class OmniConfig:
    """The four parts' sizes.

    Attributes:
        image_size: pixels a side of the pictures that it draws.
        text: "bytes", or the path of a `tokenizer.json`.
        sketch_length: most elements that it writes before it draws, the one that begins the picture
            included; 0 draws at once.
        block: image tokens that are drawn together, each knowing only the groups before its own: 1
            is autoregression, all of them diffusion.
        tokenizer: encoder.
        decoder: decoder.
        ar: transformer.
        head: flow head.
    """

    image_size: int = 128
    text: str = "bytes"
    sketch_length: int = 0
    block: int = 1
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
        if not 0 <= self.sketch_length <= MOST_SKETCH:
            raise ValueError(
                f"sketch_length is {self.sketch_length}; it must be in 0 ... {MOST_SKETCH}"
            )
        tokens = math.prod(self.grid)
        if tokens > MOST_TOKENS:
            raise ValueError(
                f"image_size {self.image_size} makes {tokens} tokens a picture; at most "
                f"{MOST_TOKENS} are allowed"
            )
        if self.block < 1 or tokens % self.block:
            raise ValueError(
                f"block is {self.block}; it must divide the {tokens} tokens of a picture"
            )
        if self.groups * self.head.num_steps > MOST_DRAWS:
            raise ValueError(
                f"{self.groups} groups of tokens in {self.head.num_steps} head num_steps each; at "
                f"most {MOST_DRAWS} steps a picture are allowed"
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
    def groups(self) -> int:
        """In how many groups the tokens of a picture are drawn."""
        return math.prod(self.grid) // self.block

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
        sketch_temperature: of the distribution of the sketch's elements, a scalar; 0 takes the
            likeliest.
        order: int32 `[N]`, the raster index of each token in the order of drawing.
        steps: of the flow head, `[G, S]`: for each group of tokens in the order of drawing.
    """

    guidance: jax.Array | np.float32
    temperature: jax.Array | np.float32
    sketch_temperature: jax.Array | np.float32
    order: Array
    steps: flow.Steps


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
        """Lays prompts out up to where their images begin, or sketches: numpy rows `[B, T]`.

        All end together, padded on the left, with room there for the empty prompt. All but the
        last element is read ahead, and T - 1 is a multiple of `PROMPT_BUCKET`: few lengths compile.
        """
        samples = [self._prompt(text) for text in texts]
        if self.config.sketch_length:
            samples = [sample.map(lambda field: field[:-1]) for sample in samples]
        longest = max(len(sample.token) for sample in samples) - 1 + len(self._empty.token) - 1
        length = -(-longest // PROMPT_BUCKET) * PROMPT_BUCKET + 1
        padded = [
            jax.tree.map(
                lambda *parts: np.concatenate(parts),
                padding(length - len(s.token), self.config.specials.pad),
                s,
            )
            for s in samples
        ]
        return jax.tree.map(lambda *rows: np.stack(rows), *padded)

    @functools.cached_property
    def _empty(self) -> Sequence:
        """The prompt without words."""
        return self._prompt("")

    def _prompt(self, text: str) -> Sequence:
        """One prompt, unbatched, up to where its image begins."""
        specials, (rows, cols) = self.config.specials, self.config.grid
        size = [specials.boi, *self.text.encode(f"{rows}*{cols}"), specials.img]
        spans = [TextSpan(self.text.encode(text)), TextSpan(size)]
        sample = layout(spans, specials, self.text.encode)
        sample = sample.map(lambda field: field[:-1])  # EOS follows the image
        sample.target[-1] = places(rows, cols)[0]
        return sample

    def generate(
        self,
        params: Mapping[str, Params],
        prompts: Sequence,
        keys: jax.Array,
        *,
        guidance: float = GUIDANCE,
        schedule: flow.GuidanceSchedule = flow.GuidanceSchedule.CONSTANT,
        temperature: float = TEMPERATURE,
        sketch_temperature: float = SKETCH_TEMPERATURE,
        order: np.ndarray | None = None,
        head_steps: int | None = None,
        last_head_steps: int | None = None,
        head_shift: float = 1.0,
        decoder_steps: int | None = None,
    ) -> jax.Array:
        """Pictures of prompts, float32 `[B, H, W, 3]` in [-1, 1].

        Args:
            params: of `decoder`, `ar` and `head`.
            prompts: rows `[B, T]` from `prompts`.
            keys: one for each picture, which alone decides its noise.
            guidance: classifier-free guidance scale; 1 turns it off.
            schedule: how the scale grows from group to group.
            temperature: scale of the noise that each token starts from. Below 1 pictures are more
                typical and vary less.
            sketch_temperature: likewise of what is sketched.
            order: the raster index of each token in the order of drawing; raster order if None.
            head_steps: Euler steps of the flow head; the config's if None.
            last_head_steps: of the last group, if not all are to take as many; see `flow.annealed`.
            head_shift: time shift of the head's steps, s of (6) in `flow`.
            decoder_steps: Euler steps of the decoder; the config's if None.
        """
        draw_keys, decode_keys = _split(keys)
        weights = {part: params[part] for part in ("ar", "head")}
        dials = self.dials(
            guidance=guidance,
            temperature=temperature,
            sketch_temperature=sketch_temperature,
            order=order,
            head_steps=head_steps,
            last_head_steps=last_head_steps,
            head_shift=head_shift,
        )
        guided = self._has_branches(guidance)
        z, _ = self.draw(weights, prompts, draw_keys, dials, guided=guided, schedule=schedule)
        return self.decode(params["decoder"], z, decode_keys, num_steps=decoder_steps)

    def compile(
        self,
        prompts: Sequence,
        *,
        guidance: float = GUIDANCE,
        head_steps: int | None = None,
        last_head_steps: int | None = None,
        decoder_steps: int | None = None,
    ) -> None:
        """Compiles what `generate` runs for such prompts and settings; needs no weights.

        The one program is traced while the other is compiled; a later call finds both.
        """
        batch, (rows, cols) = prompts.token.shape[0], self.config.grid

        def shapes(part: str) -> Params:
            dtype = getattr(self.config, part).dtype
            as_used = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype)  # noqa: E731
            return jax.tree.map(as_used, self.nets[part].shapes())

        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch))
        weights = {part: shapes(part) for part in ("ar", "head")}
        dials = self.dials(head_steps=head_steps, last_head_steps=last_head_steps)
        z = jax.ShapeDtypeStruct((batch, rows * cols, self.config.head.latent_dim), jnp.float32)
        guided, schedule = self._has_branches(guidance), flow.GuidanceSchedule.CONSTANT
        with futures.ThreadPoolExecutor(1) as pool:
            drawing = Omni.draw.lower(
                self, weights, prompts, keys, dials, guided=guided, schedule=schedule
            )
            drawn = pool.submit(drawing.compile)
            decoding = Omni.decode.lower(self, shapes("decoder"), z, keys, num_steps=decoder_steps)
            drawn.result()
            decoding.compile()

    def _has_branches(self, guidance: float) -> bool:
        """Whether pictures are also drawn without their prompts; not by a head of averages."""
        return guidance != 1.0 and not self.config.head.average

    def dials(
        self,
        *,
        guidance: float = GUIDANCE,
        temperature: float = TEMPERATURE,
        sketch_temperature: float = SKETCH_TEMPERATURE,
        order: np.ndarray | None = None,
        head_steps: int | None = None,
        last_head_steps: int | None = None,
        head_shift: float = 1.0,
    ) -> Dials:
        """What `draw` takes; see `generate`."""
        count = math.prod(self.config.grid)
        if order is None:
            order = np.arange(count)
        elif sorted(order) != list(range(count)):
            raise ValueError(f"order must be a permutation of 0..{count - 1}, got {order}")
        first = head_steps or self.config.head.num_steps
        return Dials(
            np.float32(guidance),
            np.float32(temperature),
            np.float32(sketch_temperature),
            np.asarray(order, np.int32),
            flow.annealed(
                self.config.groups, first=first, last=last_head_steps or first, shift=head_shift
            ),
        )

    @functools.partial(jax.jit, static_argnums=0, static_argnames=("guided", "schedule"))
    def draw(
        self,
        params: Mapping[str, Params],
        prompts: Sequence,
        keys: jax.Array,
        dials: "Dials",
        *,
        guided: bool = True,
        schedule: flow.GuidanceSchedule = flow.GuidanceSchedule.CONSTANT,
    ) -> tuple[jax.Array, jax.Array]:
        """Writes sketches and draws the image tokens, one group after another.

        With guidance the empty prompt is read in the same row as the prompt, as a segment of its
        own where padding was; from then on each picture has two rows, one for each segment.

        Args:
            params: of `ar` and `head`.
            prompts: rows `[B, T]` from `prompts`.
            keys: one for each picture.
            dials: what may change from call to call without compiling.
            guided: whether pictures are also drawn without their prompts, for guidance.
            schedule: how guidance grows from group to group.

        Returns:
            Tokens `[B, N, Z]` on the sphere, in raster order; ids of the sketches, int32 `[B, P]`,
            padded.
        """
        ar, head = self.ar.bind(params["ar"]), self.head.bind(params["head"])
        batch, length = prompts.token.shape
        count = dials.order.shape[0]
        noise_BNZ = flow.normal(keys, (batch, count, self.config.head.latent_dim))
        noise_BNZ = noise_BNZ * dials.temperature
        last = prompts.map(lambda field: jnp.asarray(field[:, -1:]))
        row = prompts.map(lambda field: jnp.asarray(field[:, :-1]))
        if guided:
            row, end = _with_empty(row, self._empty)
        nothing = jnp.zeros((batch, length - 1, self.config.ar.latent_dim))
        room = length - 1 + self.config.sketch_length + count
        _, cache = ar.prefill(row, nothing, cache_length=room)
        step = ar.stepper()
        ids_BP = jnp.zeros((batch, 0), jnp.int32)
        if self.config.sketch_length:
            sketch = write(
                step,
                cache,
                last,
                keys,
                specials=self.config.specials,
                end=self.config.specials.img,
                size=self.config.sketch_length,
                temperature=dials.sketch_temperature,
            )
            cache, last, ids_BP = sketch.cache, sketch.last, sketch.ids
        if guided:
            last = jax.tree.map(lambda *fields: jnp.concatenate(fields), last, end)
        z_BNZ = self._tokens(step, head.sampler(), cache, last, noise_BNZ, dials, schedule=schedule)
        return z_BNZ[:, jnp.argsort(dials.order)], ids_BP

    def _tokens(
        self,
        step: Stepper,
        sample: Sampler,
        cache: Cache,
        last: Sequence,
        noise_BNZ: jax.Array,
        dials: Dials,
        *,
        schedule: flow.GuidanceSchedule,
    ) -> jax.Array:
        """Tokens in the order of drawing, `[B, N, Z]`, after the element `last` `[R, 1]`."""
        batch, _, width = noise_BNZ.shape
        groups, block = self.config.groups, self.config.block
        branches, drawn = last.token.shape[0] // batch, batch * block
        place_GK2 = jnp.asarray(places(*self.config.grid))[dials.order].reshape(groups, block, 2)
        noise_BGKZ = noise_BNZ.reshape(batch, groups, block, width)
        last = last.map(lambda field: jnp.repeat(field, block, axis=1))

        def body(g: jax.Array, carry: tuple) -> tuple:
            cache, z_BGKZ, z_BKZ = carry
            vector_RKZ = jnp.tile(z_BKZ, (branches, 1, 1))
            hidden_RKD, cache = step(cache, self._group(last, place_GK2, g), vector_RKZ)
            z = sample(
                hidden_RKD.reshape(branches, drawn, -1),
                noise_BGKZ[:, g].reshape(drawn, width),
                guidance=schedule.at(dials.guidance, g / max(groups - 1, 1)),
                steps=dials.steps[g],
            )
            z_BKZ = z.reshape(batch, block, width)
            return cache, z_BGKZ.at[:, g].set(z_BKZ), z_BKZ

        z_BGKZ = jnp.zeros(noise_BGKZ.shape, jnp.float32)
        carry = (cache.repeat(branches), z_BGKZ, z_BGKZ[:, 0])
        return jax.lax.fori_loop(0, groups, body, carry)[1].reshape(noise_BNZ.shape)

    def _group(self, last: Sequence, place_GK2: jax.Array, g: jax.Array) -> Sequence:
        """What stands before the image's g-th group, `[R, K]`: the prompt's `last`, or a group."""
        place = jnp.broadcast_to(place_GK2[g - 1], last.target.shape)
        start = last.position[..., :1] + 1.0  # all elements of an image share it
        image = dataclasses.replace(
            last,
            token=jnp.full_like(last.token, self.config.specials.pad),
            modality=jnp.full_like(last.modality, Modality.IMAGE),
            position=jnp.concatenate([start, place], axis=-1),
            group=last.group + g,
        )
        group = jax.tree.map(lambda a, b: jnp.where(g == 0, a, b), last, image)
        target = jnp.broadcast_to(place_GK2[g], last.target.shape)
        return dataclasses.replace(group, target=target)

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

    def encoding(self, params: Params) -> Encoding:
        """What decides the latents that `encode` makes with the encoder's weights `params`."""
        c, (rows, cols) = self.config.tokenizer, self.config.grid
        weights = digest_weights(params) + "-local" * c.local
        return Encoding(weights, self.config.image_size, rows * cols, c.latent_dim)

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


_split = jax.jit(lambda keys: tuple(jax.vmap(jax.random.split, out_axes=1)(keys)))


def _with_empty(row: Sequence, empty: Sequence) -> tuple[Sequence, Sequence]:
    """Puts the empty prompt at the left end of each row, where padding was, as segment 2.

    Returns:
        The rows, and the empty prompt's last element `[B, 1]`, which is not among them.
    """
    empty = dataclasses.replace(empty, segment=np.full_like(empty.segment, 2))
    parts = empty.map(lambda field: jnp.asarray(field)[None])
    size, batch = len(empty.token) - 1, len(row.token)
    rows = jax.tree.map(lambda field, part: field.at[:, :size].set(part[:, :size]), row, parts)
    return rows, parts.map(lambda part: jnp.repeat(part[:, size:], batch, axis=0))


def to_pixels(images: jax.Array) -> jax.Array:
    """uint8 to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> np.ndarray:
    """`[B, H, W, 3]` in [-1, 1] to uint8, rounded; all of them on every host."""
    return np.asarray(_levels(images))


@jax.jit
def _levels(images: jax.Array) -> jax.Array:
    levels = jnp.round((jnp.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)
    return parallel.shard(levels, *[None] * levels.ndim)
