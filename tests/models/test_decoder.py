# SPDX-License-Identifier: Apache-2.0
"""The decoder: which tokens it reads, where they act, and its flow written as a loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.models.decoder import Decoder, DecoderConfig
from omnigen.nn.module import Net


def gaussian(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.fixture(scope="module")
def decoder(omni, params):
    return omni.decoder.bind(params["decoder"])


@pytest.fixture(scope="module")
def predict(decoder):
    return jax.jit(decoder)


NOISY, Z = gaussian(0, 2, 32, 32, 3), gaussian(1, 2, 16, 6)
T = jnp.array([0.2, 0.9])


def test_unknown_tokens_are_not_seen(predict):
    known = jnp.asarray(np.random.default_rng(2).random((2, 16)) < 0.5)
    other = jnp.where(known[..., None], Z, gaussian(3, 2, 16, 6))
    assert not jnp.array_equal(other, Z)
    np.testing.assert_array_equal(predict(NOISY, T, other, known), predict(NOISY, T, Z, known))
    changed = np.abs(predict(NOISY, T, -Z, known) - predict(NOISY, T, Z, known))
    assert changed.max() > 1e-3


def test_all_known_is_the_default(predict):
    everything = jnp.ones((2, 16), bool)
    np.testing.assert_allclose(
        predict(NOISY, T, Z, everything), predict(NOISY, T, Z, None), atol=1e-6
    )
    nothing = predict(NOISY, T, Z, ~everything)
    assert np.abs(nothing - predict(NOISY, T, Z, everything)).max() > 1e-3


def test_gradients_reach_what_is_read(omni, params):
    known = jnp.arange(16)[None] < 5

    def loss(params, z):
        return (omni.decoder.bind(params)(NOISY[:1], T[:1], z, known) ** 2).sum()

    of_params, of_z = jax.jit(jax.grad(loss, argnums=(0, 1)))(params["decoder"], Z[:1])
    moved = np.abs(of_z[0]).max(-1)
    assert (moved[:5] > 0).all() and (moved[5:] == 0).all()
    for path, leaf in jax.tree_util.tree_flatten_with_path(of_params)[0]:
        name = jax.tree_util.keystr(path)
        # Nothing reads what the last block writes to the latents.
        last = 0.0 if "stack" in name and "latents" in name else np.abs(leaf[-1]).max()
        assert np.abs(leaf[0]).max() > 0, name
        assert last > 0 or "latents" in name, name


def test_a_token_is_added_to_the_patches_that_it_covers(omni, params):
    """Without attention a token reaches its own pixels only."""
    blind = jax.tree.map(lambda x: x, params["decoder"])
    for stream in ("latents", "patches"):
        o = blind["stack"]["layers"][stream]["attention"]["o"]
        o["w"] = jnp.zeros_like(o["w"])
    run = jax.jit(omni.decoder.bind(blind))
    noisy, z, t = gaussian(0, 1, 32, 64, 3), gaussian(1, 1, 32, 6), T[:1]
    before = run(noisy, t, z)
    for row, col in ((0, 0), (1, 6), (3, 2)):
        moved = np.abs(run(noisy, t, z.at[0, row * 8 + col].add(1.0)) - before)[0].max(-1)
        blocks = moved.reshape(4, 8, 8, 8).max((1, 3)) > 1e-6
        assert np.argwhere(blocks).tolist() == [[row, col]]
        covered = moved[8 * row : 8 * row + 8, 8 * col : 8 * col + 8]
        assert (covered.reshape(2, 4, 2, 4).max((1, 3)) > 1e-6).all()


def test_time_and_pixels_matter_and_pictures_are_apart(predict):
    before = predict(NOISY, T, Z, None)
    later = predict(NOISY, T.at[0].set(0.7), Z, None)
    assert np.abs(later[0] - before[0]).max() > 1e-3
    np.testing.assert_allclose(later[1], before[1], atol=1e-6)
    other = predict(NOISY.at[0].set(0.0), T, Z.at[0].set(1.0), None)
    np.testing.assert_allclose(other[1], before[1], atol=1e-6)


@pytest.mark.parametrize("num_steps", [None, 3])
def test_decoding_is_euler_on_the_predicted_clean_picture(decoder, predict, num_steps):
    known = jnp.asarray(np.random.default_rng(2).random((2, 16)) < 0.5)
    out = jax.jit(lambda z, e: decoder.decode(z, e, known_BN=known, num_steps=num_steps))(Z, NOISY)
    steps = num_steps or 2
    x = np.asarray(NOISY)
    for i in range(steps, 0, -1):
        t, h = i / steps, 1 / steps
        clean = np.asarray(predict(jnp.asarray(x), jnp.full(2, t), Z, known))
        x = x - h * (x - clean) / t
    np.testing.assert_allclose(out, np.clip(x, -1, 1), atol=1e-5)
    assert (np.abs(x) > 1).any()


@pytest.mark.parametrize("num_steps", [1, 25, 100])
def test_no_noise_is_left_however_many_steps(decoder, monkeypatch, num_steps):
    clean = jnp.tanh(NOISY[::-1])
    monkeypatch.setattr(type(decoder), "__call__", lambda self, x_t, t, z, known: clean)
    out = decoder.decode(Z, NOISY, num_steps=num_steps)
    np.testing.assert_allclose(out, clean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_the_noise_may_be_scaled(omni, params, decoder, predict, scale):
    config = dataclasses.replace(omni.config.decoder, noise_scale=scale)
    scaled = Net(lambda rngs: Decoder(config, rngs=rngs)).bind(params["decoder"])
    np.testing.assert_allclose(
        scaled.decode(Z, NOISY), decoder.decode(Z, scale * NOISY), rtol=0, atol=1e-5
    )
    if scale == 0:  # in one step: what is predicted where nothing is known
        mean = np.clip(predict(jnp.zeros_like(NOISY), jnp.ones(2), Z, None), -1, 1)
        np.testing.assert_allclose(scaled.decode(Z, NOISY, num_steps=1), mean, atol=1e-5)


def test_bfloat16_pixels_are_float32(omni, params):
    config = dataclasses.replace(omni.config.decoder, dtype="bfloat16")
    net = Net(lambda rngs: Decoder(config, rngs=rngs))
    out = jax.eval_shape(lambda p: net.bind(p)(NOISY, T, Z), params["decoder"])
    assert out.shape == (2, 32, 32, 3) and out.dtype == jnp.float32


def test_impossible_inputs_are_refused(decoder):
    with pytest.raises(ValueError, match="embed_dim 30 is not a multiple of twice num_heads, 8"):
        DecoderConfig(embed_dim=30, num_heads=4)
    with pytest.raises(ValueError, match="noise_scale is 1.5; it must be in"):
        DecoderConfig(noise_scale=1.5)
    with pytest.raises(AssertionError):
        decoder(NOISY, T, Z[:, :-1])
