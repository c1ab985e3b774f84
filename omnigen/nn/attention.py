# SPDX-License-Identifier: Apache-2.0
"""Grouped-query attention, rotary positions on several axes, a KV cache, the choice of kernel.

Shape legend: B batch, T queries, S keys, N query heads, K key heads, G query heads a key head,
H head dim, A position axes.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from omnigen import parallel
from omnigen.nn import packed, splash
from omnigen.nn.layers import EPS, Linear, RMSNorm
from omnigen.parallel import shard

THETA = 10_000.0  # of the first of three axes, the sequence
GRID_THETA = 100.0  # of rows and columns
_MOST_THETA = 1e12
_FEWEST = 16  # queries that are worth a fused kernel, which works in tiles of at least 64
_HIDDEN = -1e30  # score of what may not be seen; finite, so that a query may see nothing


@dataclasses.dataclass(frozen=True)
class Rope:
    """The rotary frequencies of sequence, row and column.

    Attributes:
        theta: Base of each axis.
        counts: Number of pairs of dims of each axis; all zeros share them out evenly.
        sections: Whether the axes take consecutive pieces of one table, that of the first base and
            all pairs, as public language models need; else each has a table of its own.
    """

    theta: tuple[float, float, float] = (THETA, GRID_THETA, GRID_THETA)
    counts: tuple[int, int, int] = (0, 0, 0)
    sections: bool = False

    def __post_init__(self) -> None:
        if not all(1 < theta <= _MOST_THETA for theta in self.theta):
            raise ValueError(f"theta is {self.theta}; each must be above 1, up to {_MOST_THETA:g}")
        if min(self.counts) < 0:
            raise ValueError(f"counts is {self.counts}; none may be negative")


def rotate(x_BTNH: jax.Array, position_BTA: jax.Array, rope: Rope | None = None) -> jax.Array:
    """Applies rotary embedding (Su et al. 2021, "RoFormer") on two or three axes.

    Dim i is paired with dim i + H/2, and the frequencies are shared out to the axes. With three
    axes the first is the sequence; two axes are a grid.

    Args:
        x_BTNH: Queries or keys.
        position_BTA: Float positions on two or three axes.
        rope: Frequencies of three axes; None for the defaults.
    """
    # Each axis has frequencies of its own, so that a score depends on the distance along each. The
    # grid's have shorter periods: a picture has tens of rows, a sequence thousands of elements.
    half, axes = x_BTNH.shape[-1] // 2, position_BTA.shape[-1]
    counts = [half // axes + (i < half % axes) for i in range(axes)]
    thetas = [THETA, GRID_THETA, GRID_THETA][-axes:]
    if rope is not None:
        assert axes == 3, axes
        counts, thetas = (rope.counts if any(rope.counts) else counts), rope.theta
    angles, begin = [], 0
    for axis, (count, theta) in enumerate(zip(counts, thetas, strict=True)):
        if rope is not None and rope.sections:
            theta = thetas[0]
            exponent = jnp.arange(begin, begin + count, dtype=jnp.float32) / half
        else:
            exponent = jnp.arange(count, dtype=jnp.float32) / max(count, 1)
        frequency = theta**-exponent
        angles.append(position_BTA[..., axis, None] * frequency.reshape(1, 1, -1))
        begin += count
    angle = jnp.concatenate(angles, axis=-1)[:, :, None, :]
    cos, sin = jnp.cos(angle).astype(x_BTNH.dtype), jnp.sin(angle).astype(x_BTNH.dtype)
    a, b = x_BTNH[..., :half], x_BTNH[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def attend(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    *,
    mask_BTS: jax.Array | None = None,
    segment_BT: jax.Array | None = None,
    segments: int | None = None,
    causal: bool = False,
) -> jax.Array:
    """Computes scaled dot-product attention, `[B, T, N, H]`.

    It is fused on GPUs and TPUs in bfloat16. The fused kernels are cuDNN's, and on TPUs splash
    attention for long rows without `mask_BTS`. XLA, which does the rest, writes the scores out,
    `[B, N, T, S]`.

    Args:
        q_BTNH: Queries.
        k_BSKH: Keys; K divides N.
        v_BSKH: Values.
        mask_BTS: What may be seen; None for everything.
        segment_BT: Segments, int32, instead of a mask: positions see their own segment alone; needs
            T == S. Segment 0 is padding, which no position sees; what a query there returns is not
            specified.
        segments: The most segments of any row, if each lies in one piece: 1, 2, ... one after the
            other, from the first position on. cuDNN then needs no mask.
        causal: Whether to hide what comes later, too; needs T == S.
    """
    assert mask_BTS is None or segment_BT is None
    platform, half = parallel.platform(), q_BTNH.dtype in (jnp.bfloat16, jnp.float16)
    if platform == "tpu" and mask_BTS is None and splash.supports(q_BTNH, k_BSKH):
        return splash.splash_attention(q_BTNH, k_BSKH, v_BSKH, segment_BT=segment_BT, causal=causal)
    fused = platform == "gpu" and half and q_BTNH.shape[1] >= _FEWEST
    if fused and segments == 1 and causal:
        segment_BT = None  # what stands behind the only segment is padding, which nothing sees
    elif fused and segment_BT is not None and segments is not None and segments > 1:
        return packed.packed_attention(
            q_BTNH, k_BSKH, v_BSKH, segment_BT=segment_BT, most=segments, causal=causal
        )
    if segment_BT is not None:
        same_BTS = segment_BT[:, :, None] == segment_BT[:, None, :]
        mask_BTS = same_BTS & (segment_BT[:, None, :] > 0)
    return jax.nn.dot_product_attention(
        q_BTNH,
        k_BSKH,
        v_BSKH,
        mask=None if mask_BTS is None else mask_BTS[:, None],
        is_causal=causal,
        implementation="cudnn" if fused else "xla",
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """One layer's keys and values, `[B, K, S, H]` each; the caller knows how much is filled.

    Heads come before the sequence, as the products with them need it: else every step would copy
    the whole cache.
    """

    k: jax.Array
    v: jax.Array


def write_rows(into: jax.Array, new: jax.Array, start: jax.Array, *, axis: int) -> jax.Array:
    """Writes `new` into each row of `into`, along `axis` from `start`: `[B]`, or `[1]` for all."""
    if len(start) == 1:  # in place; a scatter would cost a kernel of its own
        return jax.lax.dynamic_update_slice_in_dim(into, new, start[0], axis=axis)
    write = lambda *row: jax.lax.dynamic_update_slice_in_dim(*row, axis=axis - 1)  # noqa: E731
    return jax.vmap(write)(into, new, start)


def attend_cache(q_BTNH: jax.Array, cache: KVCache, *, mask_BTS: jax.Array) -> jax.Array:
    """Does what `attend` does over a cache, `[B, T, N, H]`; the softmax is in float32."""
    batch, length, heads, dim = q_BTNH.shape
    k_BKSH, v_BKSH = cache.k.astype(q_BTNH.dtype), cache.v.astype(q_BTNH.dtype)
    keys = k_BKSH.shape[1]
    # Query heads that share keys become rows of one product, so that the keys are read once.
    q_BKTGH = q_BTNH.reshape(batch, length, keys, -1, dim).swapaxes(1, 2)
    q_BKMH = q_BKTGH.reshape(batch, keys, -1, dim)  # M = T G
    scores = jnp.matmul(q_BKMH, k_BKSH.swapaxes(2, 3), preferred_element_type=jnp.float32)
    scores = scores.reshape(*q_BKTGH.shape[:-1], -1) / math.sqrt(dim)
    scores = jnp.where(mask_BTS[:, None, :, None], scores, _HIDDEN)
    weights = jax.nn.softmax(scores, axis=-1).astype(v_BKSH.dtype)
    y_BKMH = jnp.matmul(weights.reshape(batch, keys, length * heads // keys, -1), v_BKSH)
    return y_BKMH.reshape(q_BKTGH.shape).swapaxes(1, 2).reshape(q_BTNH.shape)


class Attention(nnx.Module):
    """Grouped-query attention, queries and keys normalised (Dehghani et al. 2023, "ViT-22B").

    Without `qk_norm` they are not; `bias` adds one to queries, keys and values.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        *,
        rngs: nnx.Rngs,
        gain: float = 1.0,
        rope: Rope | None = None,
        qk_norm: bool = True,
        bias: bool = False,
        eps: float = EPS,
    ):
        self.head_dim, self.rope = head_dim, rope
        keys = num_kv_heads * head_dim
        self.q = Linear(dim, num_heads * head_dim, axes=("embed", "heads"), rngs=rngs, bias=bias)
        self.k = Linear(dim, keys, axes=("embed", "kv_heads"), rngs=rngs, bias=bias)
        self.v = Linear(dim, keys, axes=("embed", "kv_heads"), rngs=rngs, bias=bias)
        self.o = Linear(num_heads * head_dim, dim, axes=("heads", "embed"), rngs=rngs, gain=gain)
        self.q_norm = RMSNorm(head_dim, rngs=rngs, eps=eps) if qk_norm else None
        self.k_norm = RMSNorm(head_dim, rngs=rngs, eps=eps) if qk_norm else None

    def qkv(
        self, x_BTD: jax.Array, position_BTA: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns rotated queries `[B, T, N, H]` and keys, and values `[B, T, K, H]`."""

        def heads(y: jax.Array, name: str) -> jax.Array:
            return shard(y.reshape(*y.shape[:2], -1, self.head_dim), "batch", "length", name, None)

        q, k, v = (
            heads(self.q(x_BTD), "heads"),
            heads(self.k(x_BTD), "kv_heads"),
            heads(self.v(x_BTD), "kv_heads"),
        )
        q = q if self.q_norm is None else self.q_norm(q)
        k = k if self.k_norm is None else self.k_norm(k)
        return rotate(q, position_BTA, self.rope), rotate(k, position_BTA, self.rope), v

    def out(self, y_BTNH: jax.Array) -> jax.Array:
        """Projects the heads' outputs back to the width."""
        return self.o(y_BTNH.reshape(*y_BTNH.shape[:2], -1))

    def __call__(
        self,
        x_BTD: jax.Array,
        position_BTA: jax.Array,
        *,
        mask_BTS: jax.Array | None = None,
        segment_BT: jax.Array | None = None,
        segments: int | None = None,
        causal: bool = False,
    ) -> tuple[jax.Array, KVCache]:
        """Attends within x; also returns keys and values, from which a cache can start."""
        q, k, v = self.qkv(x_BTD, position_BTA)
        y_BTNH = attend(
            q, k, v, mask_BTS=mask_BTS, segment_BT=segment_BT, segments=segments, causal=causal
        )
        return self.out(y_BTNH), KVCache(k.swapaxes(1, 2), v.swapaxes(1, 2))

    def step(
        self,
        x_BTD: jax.Array,
        position_BTA: jax.Array,
        caches: Sequence[KVCache],
        *,
        starts: Sequence[jax.Array],
        masks: Sequence[jax.Array],
    ) -> tuple[jax.Array, list[KVCache]]:
        """Writes x's keys and values into caches, then attends to them.

        Args:
            x_BTD: New elements; the first rows are those of the first cache, and so on.
            position_BTA: Their positions.
            caches: What each row has read; together they have B rows.
            starts: Where to write in each cache: `[B]` of its rows, or `[1]` for all of them.
            masks: What may be seen in each cache, `[B, T, S]` of its rows.
        """
        q, k, v = self.qkv(x_BTD, position_BTA)
        found, written, begin = [], [], 0
        for cache, start, mask_BTS in zip(caches, starts, masks, strict=True):
            rows = slice(begin, begin + len(cache.k))

            def write(into: jax.Array, new: jax.Array, start: jax.Array = start) -> jax.Array:
                return write_rows(into, new.swapaxes(1, 2).astype(into.dtype), start, axis=2)

            written.append(KVCache(write(cache.k, k[rows]), write(cache.v, v[rows])))
            found.append(attend_cache(q[rows], written[-1], mask_BTS=mask_BTS))
            begin = rows.stop
        return self.out(jnp.concatenate(found)), written
