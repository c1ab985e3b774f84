# SPDX-License-Identifier: Apache-2.0
"""The encoder's geometry: a sphere, any size of image, tokens in raster order."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.models.encoder import Encoder, EncoderConfig, add_noise
from omnigen.nn.module import Net


def gaussian(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.fixture(scope="module")
def encode(omni, params):
    return jax.jit(lambda images: omni.encoder.bind(params["encoder"])(images))


@pytest.mark.parametrize("height, width", [(32, 32), (32, 64), (8, 24)])
def test_tokens_lie_on_the_sphere_for_any_size(encode, height, width):
    z = encode(gaussian(0, 2, height, width, 3))
    assert z.shape == (2, height * width // 64, 6) and z.dtype == jnp.float32
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=-1), np.sqrt(6), rtol=1e-5)


def test_pictures_do_not_see_each_other(encode):
    images = gaussian(0, 2, 32, 64, 3)
    mixed = images.at[1].set(0.0)
    np.testing.assert_allclose(encode(mixed)[0], encode(images)[0], atol=1e-6)


def test_tokens_are_in_raster_order(omni, params):
    """Without attention a token is a function of its own pixels alone."""
    blind = jax.tree.map(lambda x: x, params["encoder"])
    o = blind["stack"]["layers"]["attention"]["o"]
    o["w"] = jnp.zeros_like(o["w"])
    run = jax.jit(lambda images: omni.encoder.bind(blind)(images))
    image = gaussian(0, 1, 32, 64, 3)
    before = run(image)
    for row, col in ((0, 0), (1, 6), (3, 2)):
        edited = image.at[:, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8].set(0.5)
        moved = np.abs(run(edited) - before).max(-1)[0] > 1e-6
        assert np.flatnonzero(moved).tolist() == [row * 8 + col]


def test_attention_joins_all_of_the_picture(omni, params):
    def total(image):
        return (omni.encoder.bind(params["encoder"])(image)[0, 0] * jnp.arange(6.0)).sum()

    grad = np.abs(jax.jit(jax.grad(total))(gaussian(0, 1, 32, 64, 3)))[0].max(-1)
    assert (grad.reshape(8, 4, 16, 4).max((1, 3)) > 0).all()


def test_local_tokens_are_those_of_their_own_pixels(omni, params):
    config = dataclasses.replace(omni.config.encoder, local=True)
    net = Net(lambda rngs: Encoder(config, rngs=rngs))
    encode = jax.jit(lambda images: net.bind(params["encoder"])(images))
    images = gaussian(0, 2, 16, 24, 3)
    z = encode(images)
    assert z.shape == (2, 6, 6)
    whole = omni.encoder.bind(params["encoder"])
    for n, (row, col) in enumerate((r, c) for r in range(2) for c in range(3)):
        own = images[:, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8]
        np.testing.assert_allclose(z[:, n], whole(own)[:, 0], atol=1e-5)
    assert np.abs(z - whole(images)).max() > 1e-3


def test_bfloat16_tokens_are_exactly_normed(omni, params):
    config = dataclasses.replace(omni.config.encoder, dtype="bfloat16")
    net = Net(lambda rngs: Encoder(config, rngs=rngs))
    image = gaussian(0, 1, 32, 32, 3)
    z = jax.jit(lambda image: net.bind(params["encoder"])(image))(image)
    assert z.dtype == jnp.float32
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=-1), np.sqrt(6), rtol=1e-5)


def test_noise_is_that_of_the_image_s_own_key():
    z = gaussian(0, 3, 4, 6)
    z = np.sqrt(6) * z / jnp.linalg.norm(z, axis=-1, keepdims=True)
    keys = jax.random.split(jax.random.key(0), 3)
    sigma = jnp.array([0.0, 0.3, 2.0])
    noisy = add_noise(z, sigma, keys)
    np.testing.assert_allclose(noisy[0], z[0], atol=1e-6)
    for b in range(3):
        moved = np.asarray(z[b]) + float(sigma[b]) * np.asarray(jax.random.normal(keys[b], (4, 6)))
        wanted = np.sqrt(6) * moved / np.linalg.norm(moved, axis=-1, keepdims=True)
        np.testing.assert_allclose(noisy[b], wanted, atol=1e-5)
    per_token = jnp.broadcast_to(sigma[:, None], (3, 4))
    np.testing.assert_array_equal(add_noise(z, per_token, keys), noisy)


def test_impossible_configs_are_refused():
    assert EncoderConfig(patch_size=4, merge=3).token_size == 12
    with pytest.raises(ValueError, match="embed_dim 30 is not a multiple of twice num_heads, 8"):
        EncoderConfig(embed_dim=30, num_heads=4)
    with pytest.raises(ValueError, match="noise_max is -1"):
        EncoderConfig(noise_max=-1)
