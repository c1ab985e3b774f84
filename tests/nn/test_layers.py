# SPDX-License-Identifier: Apache-2.0
"""Oracles: the formulas in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.nn.layers import (
    SMALL_TABLE,
    Linear,
    RMSNorm,
    SwiGLU,
    gated,
    lookup,
    modulate,
    patchify,
    place_features,
    time_features,
    unpatchify,
)
from omnigen.nn.module import Net


def gaussian(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer(build):
    """The layer with weights drawn at random, those that start at 0 or 1 included."""
    net = Net(build)
    shapes = net.shapes()
    leaves, treedef = jax.tree.flatten(shapes)
    drawn = [jnp.asarray(gaussian(i, *leaf.shape)) for i, leaf in enumerate(leaves)]
    return net.bind(jax.tree.unflatten(treedef, drawn))


def rms(x):
    return x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6)


def test_linear():
    x = gaussian(9, 2, 3, 4)
    plain = layer(lambda rngs: Linear(4, 5, axes=("embed", "mlp"), rngs=rngs))
    np.testing.assert_allclose(plain(jnp.asarray(x)), x @ np.asarray(plain.w[...]), atol=1e-5)
    biased = layer(lambda rngs: Linear(4, 5, axes=("embed", "mlp"), rngs=rngs, bias=True))
    wanted = x @ np.asarray(biased.w[...]) + np.asarray(biased.b[...])
    np.testing.assert_allclose(biased(jnp.asarray(x)), wanted, atol=1e-5)


@pytest.mark.parametrize("gain", [1.0, 0.5, 0.0])
def test_linear_starts_with_the_stated_variance(gain):
    net = Net(lambda rngs: Linear(400, 100, axes=("embed", "mlp"), rngs=rngs, gain=gain))
    w = net.init(jax.random.key(0))["w"]
    np.testing.assert_allclose(w.std(), gain / 20, rtol=0.02)


def test_rms_norm():
    x = 3 * gaussian(9, 2, 3, 8)
    norm = layer(lambda rngs: RMSNorm(8, rngs=rngs))
    np.testing.assert_allclose(
        norm(jnp.asarray(x)), rms(x) * np.asarray(norm.scale[...]), atol=1e-5
    )
    assert norm(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16
    np.testing.assert_array_equal(norm(jnp.zeros((2, 8))), 0.0)


def test_swiglu():
    x = gaussian(9, 2, 3, 4)
    mlp = layer(lambda rngs: SwiGLU(4, 6, rngs=rngs))
    gate, up, down = (np.asarray(w.w[...], np.float64) for w in (mlp.gate, mlp.up, mlp.down))
    hidden = x @ gate
    wanted = (hidden / (1 + np.exp(-hidden)) * (x @ up)) @ down
    np.testing.assert_allclose(mlp(jnp.asarray(x)), wanted, rtol=1e-4, atol=1e-4)


def test_gated_gradients_of_half_precision():
    gate, up, dy = (gaussian(seed, 64, 32) for seed in range(3))
    half = [jnp.asarray(x, jnp.bfloat16) for x in (gate, up, dy)]
    y, pullback = jax.vjp(gated, *half[:2])
    d_gate, d_up = pullback(half[2])
    gate, up, dy = (np.asarray(x, np.float64) for x in half)
    sigmoid = 1.0 / (1.0 + np.exp(-gate))
    slope = sigmoid + gate * sigmoid * (1.0 - sigmoid)
    for found, expected in (
        (y, gate * sigmoid * up),
        (d_gate, dy * up * slope),
        (d_up, dy * gate * sigmoid),
    ):
        assert found.dtype == jnp.bfloat16
        # bfloat16 keeps 8 bits: a rounded value is off by a 256th at most, y is rounded twice more.
        np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=3 / 256, atol=1e-6)


def test_gated_gradients_of_float32_are_those_of_the_formula_to_the_bit():
    gate, up, dy = (jnp.asarray(gaussian(seed, 8, 4)) for seed in range(3))
    found = jax.vjp(gated, gate, up)[1](dy)
    expected = jax.vjp(lambda g, u: jax.nn.silu(g) * u, gate, up)[1](dy)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rows", [SMALL_TABLE, SMALL_TABLE + 1])
def test_lookup_and_its_gradient_whatever_the_way(rows):
    table, ids = gaussian(0, rows, 3), np.array([[0, 5, rows - 1], [5, 7, 5]])
    output, back = jax.vjp(lambda t: lookup(t, jnp.asarray(ids)), jnp.asarray(table))
    np.testing.assert_allclose(output, table[ids], atol=1e-6)
    upstream, wanted = gaussian(1, 2, 3, 3), np.zeros_like(table)
    np.add.at(wanted, ids, upstream)
    np.testing.assert_allclose(back(jnp.asarray(upstream))[0], wanted, atol=1e-6)


def test_modulate():
    x, scale, shift = (gaussian(i, 2, 3, 8) for i in range(3))
    np.testing.assert_allclose(
        modulate(*map(jnp.asarray, (x, scale, shift))), rms(x) * (1 + scale) + shift, atol=1e-5
    )


def test_time_features_are_cosines_and_sines():
    t = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)
    frequency = 0.1 * 10_000.0 ** (np.arange(8) / 7)
    angle = t[..., None].astype(np.float64) * frequency
    wanted = np.concatenate([np.cos(angle), np.sin(angle)], -1)
    np.testing.assert_allclose(time_features(jnp.asarray(t), 16), wanted, atol=1e-3)


def test_place_features_are_those_of_the_row_and_of_the_column():
    place = np.array([[0.5, 1.5], [3.0, 2.5], [-1.0, -1.0]], np.float32)
    frequency = 100.0 ** (-np.arange(4) / 3)
    angle = place[..., None].astype(np.float64) * frequency
    wanted = np.concatenate([np.cos(angle), np.sin(angle)], -1).reshape(3, 16)
    wanted[2] = 0.0
    np.testing.assert_allclose(place_features(jnp.asarray(place), 16), wanted, atol=1e-5)


def test_place_features_tell_places_of_a_large_grid_apart():
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64), indexing="ij"), -1) + 0.5
    features = np.asarray(place_features(jnp.asarray(grid.reshape(-1, 2), jnp.float32), 128))
    products = features @ features.T
    closest = np.where(np.eye(len(products), dtype=bool), -np.inf, products).max()
    assert np.allclose(np.diag(products), 64.0, rtol=1e-4) and closest < 63.0


def test_patches_are_the_blocks_of_the_image_in_raster_order():
    image = gaussian(0, 2, 4, 6, 3)
    patches = np.asarray(patchify(jnp.asarray(image), 2))
    assert patches.shape == (2, 6, 12)
    for n in range(6):
        r, c = divmod(n, 3)
        block = image[:, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].reshape(2, 12)
        np.testing.assert_array_equal(patches[:, n], block)
    np.testing.assert_array_equal(unpatchify(jnp.asarray(patches), 2, 2, 3), image)
