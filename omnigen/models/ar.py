# SPDX-License-Identifier: Apache-2.0
"""The autoregressive transformer: reads text and continuous image tokens, predicts what comes next.

Decoder-only, RMSNorm, QK-norm, SwiGLU, grouped-query attention, rotary positions on three axes.
Element i enters as the embedding of its content plus that of the place of the element after it
(`Sequence.target`), so that the order of an image's elements is data. A text element is predicted
by `logits`; an image element by the flow head on the hidden state.

Shape legend: B batch, L length, T new elements, S cache length, A position axes, D width,
Z latent dim, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from omnigen.config import derived
from omnigen.nn.attention import KVCache, Rope, write_rows
from omnigen.nn.block import Block
from omnigen.nn.layers import EPS, Linear, RMSNorm, lookup, place_features
from omnigen.nn.module import check_sizes, param
from omnigen.nn.stack import Remat, Stack
from omnigen.parallel import shard
from omnigen.sequence import Array, Modality, Sequence, may_attend

PLACE_DIM = 128


@dataclasses.dataclass(frozen=True)
class ARConfig:
    """Sizes of the transformer.

    Attributes:
        vocab_size: Number of rows of the table: text ids, specials, and spare ones behind them.
        text_vocab: Number of text ids, which the specials follow; None for all rows but the
            specials', so that none is spare.
        latent_dim: Number of dims of an image token; the encoder's.
        embed_dim: Width.
        num_layers: Number of layers.
        num_heads: Number of query heads, a multiple of `num_kv_heads`.
        num_kv_heads: Number of key and value heads.
        head_dim: Number of dims of a head, even.
        mlp_dim: Hidden width of the SwiGLU.
        dtype: Data type of the computation.
        remat: What the backward pass keeps.
        unroll: Whether training compiles each layer for itself: faster at small widths, longer to
            compile.
        rope: Rotary frequencies.
        text_axes: Whether rows and columns count from the place in the sequence, so that text
            stands at (s, s, s); else it stands at (s, 0, 0).
        qk_norm: Whether queries and keys are normalised.
        qkv_bias: Whether queries, keys and values have a bias.
        norm_eps: What norms add to the mean square.
        tied: Whether text is scored against the table of embeddings.
    """

    vocab_size: int = 264
    text_vocab: int | None = None
    latent_dim: int = derived(48)
    embed_dim: int = 512
    num_layers: int = 8
    num_heads: int = 8
    num_kv_heads: int = 4
    head_dim: int = 64
    mlp_dim: int = 1280
    dtype: str = "float32"
    remat: Remat = Remat.NONE
    unroll: bool = False
    rope: Rope = Rope()
    text_axes: bool = False
    qk_norm: bool = True
    qkv_bias: bool = False
    norm_eps: float = EPS
    tied: bool = False

    def __post_init__(self) -> None:
        check_sizes("ar", self)
        if self.text_vocab is not None and not 1 <= self.text_vocab <= self.vocab_size:
            raise ValueError(
                f"ar text_vocab is {self.text_vocab}; it must be in 1 ... {self.vocab_size}, the "
                "vocab_size"
            )
        if not 0 < self.norm_eps <= 1:
            raise ValueError(f"ar norm_eps is {self.norm_eps}; it must be above 0, up to 1")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"ar num_heads {self.num_heads} is not a multiple of num_kv_heads "
                f"{self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"ar head_dim {self.head_dim} is odd; rotary positions need pairs")
        counts = self.rope.counts
        if any(counts) and sum(counts) != self.head_dim // 2:
            raise ValueError(
                f"ar rope counts is {counts}; they must add up to {self.head_dim // 2}, half of "
                "head_dim"
            )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """What a decoding step can see: static in size, filled from the left.

    Attributes:
        layers: Keys and values of each layer.
        group: Groups of the mask rule, int32 `[B, S]`.
        segment: Segments, int32 `[B, S]`; 0 where nothing is written yet, which hides it.
        length: Number of elements written to each row, int32 `[B]`, or `[1]` if all rows have as
            many.
    """

    layers: list[KVCache]
    group: jax.Array
    segment: jax.Array
    length: jax.Array

    @property
    def rows(self) -> int:
        """The number of rows, B."""
        return len(self.group)

    def head(self, size: int) -> "Cache":
        """Returns what has room for `size` elements; all that was written must lie there."""
        layers = [KVCache(layer.k[:, :, :size], layer.v[:, :, :size]) for layer in self.layers]
        return Cache(layers, self.group[:, :size], self.segment[:, :size], self.length)

    def repeat(self, times: int) -> "Cache":
        """Returns `times` copies of all rows, `[times * B, ...]`, one after another.

        A row may hold the beginnings of several samples, each a segment; a copy goes on with one.
        """
        rows = (self.layers, self.group, self.segment, self.length)
        layers, group, segment, length = jax.tree.map(lambda x: jnp.concatenate([x] * times), rows)
        return Cache(layers, group, segment, self.length if len(self.length) == 1 else length)


class AR(nnx.Module):
    """The transformer without its flow head."""

    def __init__(self, config: ARConfig, *, rngs: nnx.Rngs):
        c = config
        self.config = c
        normal = nnx.initializers.normal(1.0)
        self.token = param(rngs, (c.vocab_size, c.embed_dim), ("vocab", "embed"), normal)
        self.vector_in = Linear(c.latent_dim, c.embed_dim, axes=("latent", "embed"), rngs=rngs)
        self.target_in = Linear(PLACE_DIM, c.embed_dim, axes=("cond", "embed"), rngs=rngs)

        def block(rngs: nnx.Rngs) -> Block:
            return Block(
                c.embed_dim,
                num_heads=c.num_heads,
                num_kv_heads=c.num_kv_heads,
                head_dim=c.head_dim,
                mlp_dim=c.mlp_dim,
                num_layers=c.num_layers,
                rngs=rngs,
                rope=c.rope,
                qk_norm=c.qk_norm,
                qkv_bias=c.qkv_bias,
                eps=c.norm_eps,
            )

        self.stack = Stack(block, c.num_layers, rngs=rngs)
        self.norm = RMSNorm(c.embed_dim, rngs=rngs, eps=c.norm_eps)
        ends = (c.embed_dim, c.vocab_size)
        self.logits_out = None if c.tied else Linear(*ends, axes=("embed", "vocab"), rngs=rngs)

    def embed(self, sequence: Sequence, vector_BLZ: jax.Array) -> jax.Array:
        """Embeds the elements, `[B, L, D]`.

        Args:
            sequence: The rows.
            vector_BLZ: Image tokens at their places; anything elsewhere.
        """
        dtype = self.config.dtype
        table_VD = shard(self.token[...].astype(dtype), "vocab", None)
        image_BLD = self.vector_in(vector_BLZ.astype(dtype))
        is_image = (jnp.asarray(sequence.modality) == Modality.IMAGE)[..., None]
        x_BLD = jnp.where(is_image, image_BLD, lookup(table_VD, jnp.asarray(sequence.token)))
        # The order of an image's elements may be any, so an element's own position does not say
        # which token it predicts.
        place = place_features(jnp.asarray(sequence.target), PLACE_DIM).astype(dtype)
        return shard(x_BLD + self.target_in(place), "batch", "length", None)

    def positions(self, sequence: Sequence) -> jax.Array:
        """Returns where the elements stand on the rotary axes, float32 `[B, L, 3]`."""
        position_BLA = jnp.asarray(sequence.position)
        if not self.config.text_axes:
            return position_BLA
        return position_BLA.at[..., 1:].add(position_BLA[..., :1])

    def hidden(
        self, sequence: Sequence, vector_BLZ: jax.Array, *, segments: int | None = None
    ) -> jax.Array:
        """Returns hidden states that predict the next element, `[B, L, D]`; used in training.

        Args:
            sequence: The rows. Without groups (`sequence.ungrouped`) the kernel skips half of the
                work and needs no mask; segments are kept apart all the same.
            vector_BLZ: Image tokens at their places.
            segments: The most segments of any row, if each lies in one piece; see `attend`.
        """
        unroll = self.config.unroll
        return self._run(sequence, vector_BLZ, segments=segments, unroll=unroll)[0]

    def _run(
        self,
        sequence: Sequence,
        vector_BLZ: jax.Array,
        *,
        segments: int | None = None,
        unroll: bool = False,
    ) -> tuple[jax.Array, KVCache]:
        position_BLA = self.positions(sequence)
        # Groups of one element are causal attention within segments, which kernels know how to do.
        # Any other rule needs a mask, `[B, L, L]`, and no kernel skips what it hides.
        causal = sequence.group is None
        segment_BL = jnp.asarray(sequence.segment) if causal else None
        mask_BLL = None if causal else may_attend(sequence, sequence)

        def call(block: Block, x: jax.Array) -> tuple[jax.Array, KVCache]:
            return block(
                x,
                position_BLA,
                mask_BLL=mask_BLL,
                segment_BL=segment_BL,
                segments=segments,
                causal=causal,
            )

        x_BLD = self.embed(sequence, vector_BLZ)
        x_BLD, caches = self.stack(x_BLD, call, remat=self.config.remat, unroll=unroll)
        return self.norm(x_BLD), caches

    def logits(self, hidden_BLD: jax.Array) -> jax.Array:
        """Returns scores of the next text token, float32 `[B, L, V]`."""
        if self.logits_out is None:
            table_VD = shard(self.token[...].astype(hidden_BLD.dtype), "vocab", None)
            return (hidden_BLD @ table_VD.T).astype(jnp.float32)
        return self.logits_out(hidden_BLD).astype(jnp.float32)

    def prefill(
        self, sequence: Sequence, vector_BLZ: jax.Array, *, cache_length: int
    ) -> tuple[jax.Array, Cache]:
        """Reads a prompt; returns hidden states, and the cache that a `Stepper` goes on from.

        Args:
            sequence: Rows of the prompt, all ending together; shorter ones are padded on the left.
            vector_BLZ: Image tokens at their places.
            cache_length: Number of elements of prompt and answer together.
        """
        hidden_BLD, caches = self._run(sequence, vector_BLZ)
        length = hidden_BLD.shape[1]
        assert cache_length >= length, (cache_length, length)

        def grow(x: jax.Array, axis: int) -> jax.Array:
            widths = [(0, cache_length - length if i == axis else 0) for i in range(x.ndim)]
            return jnp.pad(x, widths)

        stacked = jax.tree.map(lambda x: grow(x, 3), caches)
        layers = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(self.config.num_layers)]
        group, segment = (grow(jnp.asarray(x), 1) for x in (sequence.groups, sequence.segment))
        return hidden_BLD, Cache(layers, group, segment, jnp.full(1, length, jnp.int32))

    def stepper(self) -> "Stepper":
        """Returns the model prepared for decoding one element after another."""
        return Stepper(self, self.stack.unstacked())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stepper:
    """Decodes with weights that are sliced once, outside the token loop."""

    model: AR
    blocks: list[Block]

    def __call__(
        self, caches: tuple[Cache, ...], sequence: Sequence, vector_BTZ: jax.Array
    ) -> tuple[jax.Array, tuple[Cache, ...]]:
        """Appends T elements to what was read.

        Args:
            caches: What was read so far; together they have B rows.
            sequence: New elements, `[B, T]`; the first rows are those of the first cache, and so
                on. A row of a length of its own appends those that are in a segment, which come
                first; the others are overwritten by what comes next.
            vector_BTZ: Image tokens among them.

        Returns:
            Their hidden states `[B, T, D]`, which equal `AR.hidden`'s to rounding, and the caches.
        """
        begin, told, masks = 0, [], []
        for cache in caches:
            rows = slice(begin, begin + cache.rows)
            own = sequence.map(lambda field, rows=rows: field[rows])
            new = _told(cache, own)
            told.append(new)
            seen = dataclasses.replace(own, group=new.group, segment=new.segment)
            masks.append(may_attend(own, seen))
            begin = rows.stop
        assert begin == len(vector_BTZ), (begin, vector_BTZ.shape)
        position_BTA, starts = self.model.positions(sequence), [cache.length for cache in caches]
        x_BTD, layers = self.model.embed(sequence, vector_BTZ), []
        for number, block in enumerate(self.blocks):
            old = [cache.layers[number] for cache in caches]
            x_BTD, new = block.step(x_BTD, position_BTA, old, starts=starts, masks=masks)
            layers.append(new)
        by_cache = zip(told, zip(*layers, strict=True), strict=True)
        found = tuple(dataclasses.replace(cache, layers=list(own)) for cache, own in by_cache)
        return self.model.norm(x_BTD), found


def _told(cache: Cache, sequence: Sequence) -> Cache:
    """Returns a cache that knows of new elements, without their keys and values."""

    def write(into: jax.Array, new: Array) -> jax.Array:
        return write_rows(into, jnp.asarray(new), cache.length, axis=1)

    # What a row writes beyond its segment keeps segment 0, so nothing sees it before the next
    # elements are written over it.
    count = sequence.token.shape[1]
    if len(cache.length) == cache.rows:
        count = (jnp.asarray(sequence.segment) > 0).sum(axis=1, dtype=jnp.int32)
    return dataclasses.replace(
        cache,
        group=write(cache.group, sequence.groups),
        segment=write(cache.segment, sequence.segment),
        length=cache.length + count,
    )
