# SPDX-License-Identifier: Apache-2.0
"""Oracles: rotation as a product of complex numbers, attention as a numpy softmax per head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.nn.attention import Attention, KVCache, Rope, attend, attend_cache, rotate
from omnigen.nn.module import Net


def gaussian(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def grid_positions(seed, batch, length, axes):
    return np.random.default_rng(seed).uniform(0, 20, (batch, length, axes)).astype(np.float32)


def complex_rotation(x, position):
    """Dims i and i + H/2 are one complex number, turned by position times frequency."""
    half, axes = x.shape[-1] // 2, position.shape[-1]
    angles = []
    for axis in range(axes):
        count = half // axes + (axis < half % axes)
        theta = 10_000.0 if axes == 3 and axis == 0 else 100.0
        for i in range(count):
            angles.append(position[..., axis].astype(np.float64) * theta ** (-i / count))
    turn = np.exp(1j * np.stack(angles, -1))[:, :, None]
    z = (x[..., :half] + 1j * x[..., half:]) * turn
    return np.concatenate([z.real, z.imag], -1)


@pytest.mark.parametrize("axes, head_dim", [(3, 16), (3, 10), (2, 16), (2, 6)])
def test_rotation_is_complex_multiplication(axes, head_dim):
    x, position = gaussian(0, 2, 5, 3, head_dim), grid_positions(1, 2, 5, axes)
    np.testing.assert_allclose(
        rotate(jnp.asarray(x), jnp.asarray(position)), complex_rotation(x, position), atol=1e-5
    )


def test_the_default_frequencies_are_those_of_no_choice_to_the_bit():
    x, position = gaussian(0, 2, 5, 3, 16), grid_positions(1, 2, 5, 3)
    np.testing.assert_array_equal(rotate(x, position, Rope()), rotate(x, position))


@pytest.mark.parametrize("sections", [False, True])
def test_each_axis_has_its_base_and_count_or_a_section_of_one_table(sections):
    x, position = gaussian(0, 2, 5, 3, 12), grid_positions(1, 2, 5, 3)
    axes = [0, 0, 0, 1, 2, 2]
    own = [1, 50 ** (-1 / 3), 50 ** (-2 / 3), 1, 1, 90**-0.5]  # 3, 1 and 2 pairs
    one = [50 ** (-i / 6) for i in range(6)]
    angle = position[..., axes].astype(np.float64) * (one if sections else own)
    z = (x[..., :6] + 1j * x[..., 6:]) * np.exp(1j * angle)[:, :, None]
    rope = Rope(theta=(50.0, 70.0, 90.0), counts=(3, 1, 2), sections=sections)
    wanted = np.concatenate([z.real, z.imag], -1)
    np.testing.assert_allclose(rotate(x, position, rope), wanted, atol=1e-5)


@pytest.mark.parametrize("axes", [2, 3])
def test_scores_depend_on_differences_of_positions_along_every_axis(axes):
    q, k = gaussian(0, 1, 4, 1, 24), gaussian(1, 1, 4, 1, 24)
    position = grid_positions(2, 1, 4, axes)

    def scores(query_shift, key_shift):
        a, b = (
            np.asarray(rotate(jnp.asarray(x), jnp.asarray(position + shift)))[0, :, 0]
            for x, shift in ((q, query_shift), (k, key_shift))
        )
        return a @ b.T

    still = scores(0.0, 0.0)
    for axis in range(axes):
        shift = np.zeros(axes, np.float32)
        shift[axis] = 3.0
        np.testing.assert_allclose(scores(shift, shift), still, atol=1e-4)
        assert np.abs(scores(shift, 0 * shift) - still).max() > 0.1


def softmax_attention(q, k, v, mask):
    batch, queries, heads, dim = q.shape
    out = np.zeros(q.shape)
    for b in range(batch):
        for n in range(heads):
            key = n // (heads // k.shape[2])
            scores = q[b, :, n].astype(np.float64) @ k[b, :, key].T / np.sqrt(dim)
            scores = np.where(mask[b], scores, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[b, :, n] = weights / weights.sum(-1, keepdims=True) @ v[b, :, key]
    return out


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_a_softmax(heads, kv_heads, causal, masked):
    q, k, v = (
        gaussian(0, 2, 5, heads, 8),
        gaussian(1, 2, 5, kv_heads, 8),
        gaussian(2, 2, 5, kv_heads, 8),
    )
    mask = np.random.default_rng(3).random((2, 5, 5)) < 0.6 if masked else np.ones((2, 5, 5), bool)
    mask |= np.eye(5, dtype=bool)[None]
    seen = mask & np.tril(np.ones((5, 5), bool))[None] if causal else mask
    out = attend(
        *map(jnp.asarray, (q, k, v)), mask_BTS=jnp.asarray(mask) if masked else None, causal=causal
    )
    np.testing.assert_allclose(out, softmax_attention(q, k, v, seen), atol=1e-5)


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (6, 2)])
def test_attention_to_a_cache_is_a_softmax(heads, kv_heads):
    q, k, v = (
        gaussian(0, 2, 3, heads, 8),
        gaussian(1, 2, 7, kv_heads, 8),
        gaussian(2, 2, 7, kv_heads, 8),
    )
    mask = np.random.default_rng(3).random((2, 3, 7)) < 0.6
    mask[:, :, 0] = True
    cache = KVCache(jnp.asarray(k.swapaxes(1, 2)), jnp.asarray(v.swapaxes(1, 2)))
    out = attend_cache(jnp.asarray(q), cache, mask_BTS=jnp.asarray(mask))
    np.testing.assert_allclose(out, softmax_attention(q, k, v, mask), atol=1e-5)
    blind = attend_cache(jnp.asarray(q), cache, mask_BTS=jnp.zeros((2, 3, 7), bool))
    assert np.isfinite(blind).all()


def test_a_query_that_sees_nothing_is_finite_and_so_is_its_gradient():
    q, k, v = (jnp.asarray(gaussian(i, 1, 3, 2, 8)) for i in range(3))
    mask = jnp.zeros((1, 3, 3), bool).at[:, 0, 0].set(True)
    run = jax.jit(jax.value_and_grad(lambda qkv: attend(*qkv, mask_BTS=mask).sum()))
    value, grads = run((q, k, v))
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in grads)


@pytest.fixture(scope="module")
def attention():
    net = Net(lambda rngs: Attention(32, 4, 2, 8, rngs=rngs))
    return net.bind(jax.jit(net.init)(jax.random.key(0)))


def test_layer_matches_numpy(attention):
    x, position = gaussian(0, 2, 5, 32), grid_positions(1, 2, 5, 3)

    def heads(linear, norm):
        y = (x @ np.asarray(linear.w[...])).reshape(2, 5, -1, 8)
        if norm is None:
            return y
        y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6) * np.asarray(norm.scale[...])
        return complex_rotation(y, position)

    q, k = heads(attention.q, attention.q_norm), heads(attention.k, attention.k_norm)
    v = heads(attention.v, None)
    everything = np.ones((2, 5, 5), bool)
    wanted = softmax_attention(q, k, v, everything).reshape(2, 5, 32) @ np.asarray(
        attention.o.w[...]
    )
    out, cache = jax.jit(attention)(jnp.asarray(x), jnp.asarray(position))
    np.testing.assert_allclose(out, wanted, atol=1e-4)
    np.testing.assert_allclose(cache.k, k.swapaxes(1, 2), atol=1e-4)
    np.testing.assert_allclose(cache.v, v.swapaxes(1, 2), atol=1e-4)


def test_steps_over_a_cache_equal_the_whole(attention):
    x, position = (jnp.asarray(a) for a in (gaussian(0, 2, 6, 32), grid_positions(1, 2, 6, 3)))

    @jax.jit
    def step_by_step(x, position):
        cache = KVCache(jnp.zeros((2, 2, 8, 8)), jnp.zeros((2, 2, 8, 8)))
        outs = []
        for start, stop in ((0, 3), (3, 4), (4, 6)):
            mask = jnp.arange(8)[None, None, :] <= jnp.arange(start, stop)[None, :, None]
            out, (cache,) = attention.step(
                x[:, start:stop],
                position[:, start:stop],
                [cache],
                starts=[jnp.full(1, start, jnp.int32)],
                masks=[jnp.broadcast_to(mask, (2, *mask.shape[1:]))],
            )
            outs.append(out)
        return jnp.concatenate(outs, axis=1), cache

    whole, full = jax.jit(lambda x, p: attention(x, p, causal=True))(x, position)
    out, cache = step_by_step(x, position)
    np.testing.assert_allclose(out, whole, atol=1e-5)
    np.testing.assert_allclose(cache.k[:, :, :6], full.k, atol=1e-6)
    np.testing.assert_array_equal(cache.k[:, :, 6:], 0.0)


def test_bfloat16_in_bfloat16_out(attention):
    x, position = jnp.asarray(gaussian(0, 2, 5, 32)), jnp.asarray(grid_positions(1, 2, 5, 3))
    run = jax.jit(lambda x: attention(x, position))
    low, cache = run(x.astype(jnp.bfloat16))
    assert low.dtype == cache.k.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), run(x)[0], atol=0.05)
