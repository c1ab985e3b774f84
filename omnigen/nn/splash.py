# SPDX-License-Identifier: Apache-2.0
"""Attention on TPUs that keeps its scores on the chip: splash attention, over any mesh.

The kernel is JAX's (`jax.experimental.pallas.ops.tpu.splash_attention`). Here lengths are padded to
its blocks, and batch and heads are split over the mesh, for XLA cannot partition a Mosaic kernel by
itself.

Shape legend: B batch, T queries and keys, N query heads, K key heads, H head dim.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import PartitionSpec

from omnigen import parallel

LANES = 128  # blocks are multiples of it
LONGEST_BLOCK = 512
SHORTEST = 512  # the scores of shorter rows are small, and XLA fuses what is around them
RESIDUALS = "splash"  # what the backward pass needs, for rematerialisation to keep by name


def supports(q_BTNH: jax.Array, k_BSKH: jax.Array) -> bool:
    """Returns whether the kernel applies and pays: long rows in bfloat16, not split by length."""
    return (
        q_BTNH.dtype == jnp.bfloat16
        and q_BTNH.shape[1] == k_BSKH.shape[1] >= SHORTEST
        and parallel.ways("length") == 1
    )


def splash_attention(
    q_BTNH: jax.Array,
    k_BTKH: jax.Array,
    v_BTKH: jax.Array,
    *,
    segment_BT: jax.Array | None = None,
    causal: bool = False,
    interpret: bool = False,
) -> jax.Array:
    """Computes scaled dot-product attention, `[B, T, N, H]`.

    Args:
        q_BTNH: Queries.
        k_BTKH: Keys; K divides N.
        v_BTKH: Values.
        segment_BT: Segments, int32; positions see their own segment alone. None is one segment.
        causal: Whether to hide what comes later, too.
        interpret: Whether to run without a TPU, slowly, as tests do.
    """
    attend = functools.partial(_attend, causal=causal, interpret=interpret)
    if jax.sharding.get_abstract_mesh().empty:
        return attend(q_BTNH, k_BTKH, v_BTKH, segment_BT)
    # Queries go with their keys, so that heads are split only as far as the keys' are.
    heads = parallel.fitting_spec(k_BTKH.shape, ("batch", "length", "kv_heads", None))
    rows = PartitionSpec(*heads[:2])
    mapped = jax.shard_map(
        attend, in_specs=(heads, heads, heads, rows), out_specs=heads, check_vma=False
    )
    return mapped(q_BTNH, k_BTKH, v_BTKH, segment_BT)


def _attend(
    q_BTNH: jax.Array,
    k_BTKH: jax.Array,
    v_BTKH: jax.Array,
    segment_BT: jax.Array | None,
    *,
    causal: bool,
    interpret: bool,
) -> jax.Array:
    """Computes one device's part."""
    batch, length, heads, head_dim = q_BTNH.shape
    blocks = math.ceil(length / LONGEST_BLOCK)
    block = LANES * math.ceil(length / (blocks * LANES))
    padded = blocks * block

    def prepare(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, 0), (0, padded - length), (0, 0), (0, 0)])
        return x.swapaxes(1, 2)

    # Padding is segment 0, so that no position sees it. A causal mask hides it from all the others
    # anyway; a full one does not, and needs segments even if the caller has only one.
    if segment_BT is None and padded > length:
        segment_BT = jnp.ones((batch, length), jnp.int32)
    segments = None
    if segment_BT is not None:
        segment_BT = jnp.pad(segment_BT, [(0, 0), (0, padded - length)])
        segments = kernels.SegmentIds(segment_BT, segment_BT)
    mask = (masks.CausalMask if causal else masks.FullMask)((padded, padded))
    kernel: Any = kernels.make_splash_mha(
        masks.MultiHeadMask([mask] * heads),
        head_shards=1,
        q_seq_shards=1,
        block_sizes=kernels.BlockSizes(
            block_q=block,
            block_kv=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
        residual_checkpoint_name=RESIDUALS,
        interpret=interpret,
    )
    # The kernel does not scale the scores itself.
    scale = jnp.asarray(1 / math.sqrt(head_dim), q_BTNH.dtype)
    y_BNTH = jax.vmap(kernel)(prepare(q_BTNH * scale), prepare(k_BTKH), prepare(v_BTKH), segments)
    return y_BNTH.swapaxes(1, 2)[:, :length]
