# SPDX-License-Identifier: Apache-2.0
"""Oracle: XLA's attention with the mask written out. On CPUs a stand-in does what cuDNN promises.

The stand-in takes beginnings and lengths as cuDNN documents them, and leaves whatever belongs to no
segment unwritten, here NaN: in the result and in the gradients.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen import parallel
from omnigen.nn import packed
from omnigen.nn.attention import attend
from omnigen.parallel import MeshConfig

ON_GPU = jax.default_backend() == "gpu"
ROWS = {
    "one": [[37]],
    "one, full": [[64]],
    "several": [[20, 30], [64], [1, 1, 1]],
    "eight, full": [[8] * 8, [1] * 7 + [57]],
    "nearly empty": [[1], [64]],
    "empty": [[], [10, 20]],
}


def segments_of(rows: list[list[int]], length: int = 64) -> np.ndarray:
    found = np.zeros((len(rows), length), np.int32)
    for row, lengths in zip(found, rows, strict=True):
        ids = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        row[: len(ids)] = ids
    return found


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("more", [0, 3])
def test_bounds_of_segments(rows: list[list[int]], more: int) -> None:
    most = max(map(len, rows)) + more
    start, length = packed.bounds(jnp.asarray(segments_of(rows)), most)
    for row, starts, lengths in zip(rows, start, length, strict=True):
        rest = [-1] * (most - len(row))
        assert lengths.tolist() == row + rest
        assert starts.tolist() == [sum(row[:i]) for i in range(len(row))] + rest + [-1]


def test_bounds_of_segments_with_padding_before_them() -> None:
    segment = jnp.asarray([[0, 0, 1, 1, 0, 2, 0, 0]])
    start, length = packed.bounds(segment, 3)
    assert (start.tolist(), length.tolist()) == ([[2, 5, -1, -1]], [[2, 1, -1]])


def _ids(start_BM: jax.Array, length_BM: jax.Array, size: int) -> jax.Array:
    """Which segment each place is in, from beginnings and lengths alone; 0 for none."""
    place = jnp.arange(size)[None, :, None]
    start, length = start_BM[:, None, :-1], length_BM[:, None, :]
    inside = (start >= 0) & (place >= start) & (place < start + length)
    return jnp.sum(inside * jnp.arange(1, length_BM.shape[1] + 1)[None, None], axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _unwritten(q, k, v, start, length, causal):
    return _forward(q, k, v, start, length, causal)[0]


def _exact(q, k, v, ids, causal):
    same = (ids[:, :, None] == ids[:, None, :]) & (ids[:, None, :] > 0)
    return jax.nn.dot_product_attention(q, k, v, mask=same[:, None], is_causal=causal)


def _forward(q, k, v, start, length, causal):
    ids = _ids(start, length, q.shape[1])
    y = jnp.where((ids > 0)[..., None, None], _exact(q, k, v, ids, causal), jnp.nan)
    return y, (q, k, v, ids)


def _backward(causal, residuals, dy):
    q, k, v, ids = residuals
    here = (ids > 0)[..., None, None]
    _, pull = jax.vjp(lambda q, k, v: _exact(q, k, v, ids, causal), q, k, v)
    return (*(jnp.where(here, g, jnp.nan) for g in pull(jnp.where(here, dy, 0))), None, None)


_unwritten.defvjp(_forward, _backward)


def stand_in(q, k, v, *, q_seqlen, kv_seqlen, q_offsets, kv_offsets, scale, mask_type):
    del kv_seqlen, kv_offsets
    assert scale == q.shape[-1] ** -0.5
    causal = mask_type == packed.cudnn.MaskType.PADDING_CAUSAL
    return _unwritten(q, k, v, q_offsets, q_seqlen, causal)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    if not ON_GPU:
        monkeypatch.setattr(packed.cudnn, "dot_product_attention", stand_in)


def both(rows: list[list[int]], *, causal: bool, dtype: str, length: int = 64, most: int | None):
    """Outputs and gradients of XLA in float32 and of the kernel, where there is no padding."""
    segment = jnp.asarray(segments_of(rows, length))
    rng, batch = np.random.default_rng(length), len(rows)
    q, k, v, weight = (
        jnp.asarray(rng.standard_normal((batch, length, heads, 32)), dtype)
        for heads in (4, 2, 2, 4)
    )
    real = (segment > 0)[:, :, None, None]

    def run(function, args):
        def loss(q, k, v):
            y = function(q, k, v, segment_BT=segment, causal=causal)
            return jnp.sum(jnp.where(real, y * weight, 0).astype(jnp.float32)), y

        grads, y = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*args)
        return [np.where(real, x.astype(jnp.float32), 0) for x in (y, *grads)]

    wide = [x.astype(jnp.float32) for x in (q, k, v)]
    most = most or max(map(len, rows))
    return run(attend, wide), run(functools.partial(packed.packed_attention, most=most), (q, k, v))


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("causal", [True, False])
def test_it_is_attention_within_segments(rows, causal: bool, kernel: None) -> None:
    """At padding nothing is NaN, and gradients are zero."""
    dtype, tolerance = ("bfloat16", 2e-2) if ON_GPU else ("float32", 1e-5)
    wanted, found = both(rows, causal=causal, dtype=dtype, most=8)
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance * max(1, np.abs(one).max()))


@pytest.mark.skipif(ON_GPU, reason="one device")
def test_on_a_mesh(kernel: None) -> None:
    rows = [[20, 30], [64], [1, 1, 1], [8] * 8]
    wanted, _ = both(rows, causal=True, dtype="float32", most=8)
    with jax.set_mesh(parallel.make_mesh(MeshConfig(data=2, tensor=2, fsdp=2))):
        _, found = both(rows, causal=True, dtype="float32", most=8)
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_attend_takes_it_on_gpus_if_it_knows_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "platform", lambda: "gpu")
    asked = []
    monkeypatch.setattr(
        jax.nn, "dot_product_attention", lambda *_, mask, **more: asked.append(mask is not None)
    )
    monkeypatch.setattr(packed, "packed_attention", lambda *_, most, **more: (most, more["causal"]))
    x, segment = jnp.ones((1, 32, 2, 8), jnp.bfloat16), jnp.asarray(segments_of([[20]], 32))
    assert attend(x, x, x, segment_BT=segment, segments=3, causal=True) == (3, True)
    attend(x, x, x, segment_BT=segment, causal=True)
    few = slice(None, 15)  # shorter than a tile
    attend(x[:, few], x[:, few], x[:, few], segment_BT=segment[:, few], segments=3, causal=True)
    attend(*(x.astype("float32") for _ in "qkv"), segment_BT=segment, segments=3, causal=True)
    assert asked == [True] * 3
    attend(x, x, x, segment_BT=segment, segments=1, causal=True)
    attend(x, x, x, segment_BT=segment, segments=1, causal=False)
    assert asked[3:] == [False, True]  # what is behind the only segment needs no mask to be hidden
