# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.models.omni import to_pixels, to_uint8


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def images(count):
    pixels = np.random.default_rng(0).uniform(-1, 1, (count, 32, 32, 3))
    return jnp.asarray(pixels, jnp.float32)


def test_reconstruction_decodes_what_was_encoded(omni, params):
    noise = jnp.stack([jax.random.normal(key, (32, 32, 3)) for key in keys(2)])

    @jax.jit
    def direct(images):
        z = omni.encoder.bind(params["encoder"])(images)
        return omni.decoder.bind(params["decoder"]).decode(z, noise)

    out = omni.reconstruct(params, images(2), keys(2))
    np.testing.assert_allclose(out, direct(images(2)), atol=1e-5)


def test_specials_and_grid_follow_the_config(omni):
    assert omni.config.specials.text_vocab == 256 and omni.config.grid == (4, 4)


def test_parts_that_do_not_fit_are_refused(omni):
    config = omni.config
    with pytest.raises(ValueError, match="image_size 36 is not a multiple of the token size 8"):
        dataclasses.replace(config, image_size=36)
    with pytest.raises(ValueError, match="decoder token_size is 8; the encoder's is 16"):
        encoder = dataclasses.replace(config.encoder, merge=4)
        dataclasses.replace(config, encoder=encoder)
    with pytest.raises(ValueError, match="latent_dim must be the same.*'head': 5"):
        dataclasses.replace(config, head=dataclasses.replace(config.head, latent_dim=5))
    with pytest.raises(ValueError, match="head cond_dim is 33; the ar embed_dim is 32"):
        dataclasses.replace(config, head=dataclasses.replace(config.head, cond_dim=33))
    with pytest.raises(ValueError, match="sketch_length is -1; it must be in 0"):
        dataclasses.replace(config, sketch_length=-1)
    for block in (0, 3, 32):
        with pytest.raises(ValueError, match=f"block is {block}; it must divide the 16 tokens"):
            dataclasses.replace(config, block=block)


def test_every_byte_survives_the_way_through_pixels():
    image = np.arange(256, dtype=np.uint8)
    pixels = to_pixels(jnp.asarray(image))
    assert pixels.dtype == jnp.float32
    np.testing.assert_allclose(pixels, np.linspace(-1, 1, 256), atol=1e-6)
    np.testing.assert_array_equal(to_uint8(pixels), image)
    np.testing.assert_array_equal(to_uint8(jnp.array([-7.0, 7.0])), [0, 255])
