# SPDX-License-Identifier: Apache-2.0
"""The pre-norm transformer block of the encoder and the AR transformer."""

import math
from collections.abc import Sequence

import jax
from flax import nnx

from omnigen.nn.attention import Attention, KVCache, Rope
from omnigen.nn.layers import EPS, RMSNorm, SwiGLU
from omnigen.parallel import shard


class Block(nnx.Module):
    """Attention and SwiGLU, each behind an RMSNorm and added to the residual stream.

    What writes to the stream starts smaller by √(2 · num_layers), so that its variance does not
    grow with depth.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        mlp_dim: int,
        num_layers: int,
        rngs: nnx.Rngs,
        rope: Rope | None = None,
        qk_norm: bool = True,
        qkv_bias: bool = False,
        eps: float = EPS,
    ):
        gain = 1.0 / math.sqrt(2 * num_layers)
        self.attention_norm = RMSNorm(dim, rngs=rngs, eps=eps)
        self.attention = Attention(
            dim,
            num_heads,
            num_kv_heads,
            head_dim,
            rngs=rngs,
            gain=gain,
            rope=rope,
            qk_norm=qk_norm,
            bias=qkv_bias,
            eps=eps,
        )
        self.mlp_norm = RMSNorm(dim, rngs=rngs, eps=eps)
        self.mlp = SwiGLU(dim, mlp_dim, rngs=rngs, gain=gain)

    def __call__(
        self,
        x_BLD: jax.Array,
        position_BLA: jax.Array,
        *,
        mask_BLL: jax.Array | None = None,
        segment_BL: jax.Array | None = None,
        segments: int | None = None,
        causal: bool = False,
    ) -> tuple[jax.Array, KVCache]:
        """Runs the block over a whole sequence; also returns its keys and values."""
        y_BLD, cache = self.attention(
            self.attention_norm(x_BLD),
            position_BLA,
            mask_BTS=mask_BLL,
            segment_BT=segment_BL,
            segments=segments,
            causal=causal,
        )
        return self._add_mlp(x_BLD + y_BLD), cache

    def step(
        self,
        x_BTD: jax.Array,
        position_BTA: jax.Array,
        caches: Sequence[KVCache],
        *,
        starts: Sequence[jax.Array],
        masks: Sequence[jax.Array],
    ) -> tuple[jax.Array, list[KVCache]]:
        """Runs the block over new elements, written into caches; see `Attention.step`."""
        normed_BTD = self.attention_norm(x_BTD)
        y_BTD, caches = self.attention.step(
            normed_BTD, position_BTA, caches, starts=starts, masks=masks
        )
        return self._add_mlp(x_BTD + y_BTD), caches

    def _add_mlp(self, x_BLD: jax.Array) -> jax.Array:
        return shard(x_BLD + self.mlp(self.mlp_norm(x_BLD)), "batch", "length", None)
