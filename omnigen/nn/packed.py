# SPDX-License-Identifier: Apache-2.0
"""Attention of packed rows on GPUs: cuDNN takes each segment of a row as a sequence of its own.

A mask of what is in one segment would be dense, `[B, 1, T, T]`: cuDNN reads all of it and skips
nothing. Told where segments begin and how long they are, it reads no mask and computes no score
between two segments. Segments must lie in a row as `sequence.pack` puts them: 1, 2, 3, ... one
after the other, each in one piece, with padding between them at most and behind them.

Shape legend: B batch, T queries and keys, N query heads, K key heads, H head dim, M segments.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax._src.cudnn import fused_attention_stablehlo as cudnn  # no public name takes offsets yet
from jax.sharding import PartitionSpec

from omnigen import parallel

_NONE = -1  # where a row has fewer segments than others


def bounds(segment_BT: jax.Array, most: int) -> tuple[jax.Array, jax.Array]:
    """Returns where the segments of each row begin, `[B, M + 1]`, and their lengths, `[B, M]`.

    Both are int32, and -1 for segments that a row does not have; so is the last of the beginnings.

    Args:
        segment_BT: Segments, int32: 1, 2, ..., one after the other, 0 for padding.
        most: The most segments of any row, M.
    """
    is_in_BTM = segment_BT[:, :, None] == jnp.arange(1, most + 1)[None, None]
    length_BM = jnp.sum(is_in_BTM, axis=1, dtype=jnp.int32)
    start_BM = jnp.argmax(is_in_BTM, axis=1).astype(jnp.int32)
    start_BM = jnp.where(length_BM > 0, start_BM, _NONE)
    length_BM = jnp.where(length_BM > 0, length_BM, _NONE)
    return jnp.pad(start_BM, [(0, 0), (0, 1)], constant_values=_NONE), length_BM


def packed_attention(
    q_BTNH: jax.Array,
    k_BTKH: jax.Array,
    v_BTKH: jax.Array,
    *,
    segment_BT: jax.Array,
    most: int,
    causal: bool,
) -> jax.Array:
    """Computes scaled dot-product attention within segments, `[B, T, N, H]`; zeros at padding.

    Args:
        q_BTNH: Queries in half precision.
        k_BTKH: Keys; K divides N.
        v_BTKH: Values.
        segment_BT: Segments; see `bounds`.
        most: The most segments of any row; at least 2, for cuDNN packs no fewer.
        causal: Whether to hide what comes later, too.
    """
    attend = functools.partial(_attend, most=most, causal=causal)
    if jax.sharding.get_abstract_mesh().empty:
        return attend(q_BTNH, k_BTKH, v_BTKH, segment_BT)
    # Beginnings count from a row's first element, so every device needs whole rows.
    heads = parallel.fitting_spec(k_BTKH.shape, ("batch", None, "kv_heads", None))
    mapped = jax.shard_map(
        attend,
        in_specs=(heads, heads, heads, PartitionSpec(heads[0])),
        out_specs=heads,
        check_vma=False,
    )
    return mapped(q_BTNH, k_BTKH, v_BTKH, segment_BT)


def _attend(
    q_BTNH: jax.Array,
    k_BTKH: jax.Array,
    v_BTKH: jax.Array,
    segment_BT: jax.Array,
    *,
    most: int,
    causal: bool,
) -> jax.Array:
    """Attends on one device.

    cuDNN leaves padding unwritten, in the result and in the gradients: whatever was in that memory,
    NaN too. `where` puts zeros there; that of the inputs does it for the gradients.

    Keys and values are repeated for the query heads that share them. cuDNN would add their
    gradients up in a kernel of its own, which takes five times what XLA's does.
    """
    start_BM, length_BM = bounds(segment_BT, most)
    real = (segment_BT > 0)[:, :, None, None]
    shared = q_BTNH.shape[2] // k_BTKH.shape[2]
    k_BTKH, v_BTKH = (jnp.repeat(x, shared, axis=2) for x in (k_BTKH, v_BTKH))
    q_BTNH, k_BTKH, v_BTKH = (jnp.where(real, x, 0) for x in (q_BTNH, k_BTKH, v_BTKH))
    y_BTNH: Any = cudnn.dot_product_attention(
        q_BTNH,
        k_BTKH,
        v_BTKH,
        q_seqlen=length_BM,
        kv_seqlen=length_BM,
        q_offsets=start_BM,
        kv_offsets=start_BM,
        scale=q_BTNH.shape[-1] ** -0.5,
        mask_type=cudnn.MaskType.PADDING_CAUSAL if causal else cudnn.MaskType.PADDING,
    )
    return jnp.where(real, y_BTNH, 0)
