# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen import config
from omnigen.models.omni import OmniConfig, stored_config, to_pixels, to_uint8


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


def test_parts_follow_the_sizes_that_they_share(omni):
    encoder = dataclasses.replace(omni.config.encoder, patch_size=2, merge=8, latent_dim=5)
    ar = dataclasses.replace(omni.config.ar, embed_dim=36)
    config = dataclasses.replace(omni.config, encoder=encoder, ar=ar)
    assert (config.encoder, config.ar.embed_dim, config.grid) == (encoder, 36, (2, 2))
    dims = [part.latent_dim for part in (config.decoder, config.ar, config.head)]
    assert dims == [5, 5, 5]
    assert (config.decoder.token_size, config.head.cond_dim) == (16, 36)
    others = {"token_size": 8, "latent_dim": 6}  # all else is as it was
    assert dataclasses.replace(config.decoder, **others) == omni.config.decoder


OLD = {  # as settings were stored while parts repeated what they share
    "model": {
        "image_size": 64,
        "encoder": {"patch_size": 4, "merge": 2, "latent_dim": 6},
        "decoder": {"token_size": 8, "latent_dim": 6, "patch_size": 4},
        "ar": {"latent_dim": 6, "embed_dim": 64},
        "head": {"latent_dim": 6, "cond_dim": 64},
    },
    "data": {"image_size": 64, "row_length": 640},
}


def test_stored_settings_that_repeat_sizes_are_read():
    found = stored_config(OLD)
    assert found == stored_config(config.current(OLD))
    assert (found.decoder.token_size, found.head.cond_dim, found.ar.latent_dim) == (8, 64, 6)
    assert "latent_dim" not in config.to_dict(found)["ar"]
    assert stored_config({"model": {"head": {"cond_dim": 512}}}) == OmniConfig()  # its default's


@pytest.mark.parametrize("key", sorted(config.DERIVED))
def test_stored_settings_that_contradict_themselves_are_refused(key):
    settings = json.loads(json.dumps(OLD))
    group, *parts, name = key.split(".")
    node = settings[group][parts[0]] if parts else settings[group]
    node[name] += 1
    with pytest.raises(ValueError, match=f"^config key {key} is {node[name]}; allowed: ") as told:
        stored_config(settings)
    assert str(node[name] - 1) in str(told.value) and "\n" not in str(told.value)


def test_sizes_that_stored_settings_leave_out_are_those_of_today():
    with pytest.raises(ValueError, match="head.cond_dim is 40; allowed: 512, which follows from"):
        stored_config({"model": {"head": {"cond_dim": 40}}})


def test_parts_that_do_not_fit_are_refused(omni):
    config = omni.config
    with pytest.raises(ValueError, match="image_size 36 is not a multiple of the token size 8"):
        dataclasses.replace(config, image_size=36)
    with pytest.raises(ValueError, match="decoder patch_size is 3; it must divide the token size"):
        dataclasses.replace(config, decoder=dataclasses.replace(config.decoder, patch_size=3))
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
