# SPDX-License-Identifier: Apache-2.0
"""Every size of the table, in full, without allocating a weight."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

import sizes
from omnigen import parallel
from omnigen.config import build
from omnigen.generation.generate import generate
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.models.omni import Omni, OmniConfig
from omnigen.sequence import padding

# Weights of the whole model in millions, as the documentation may quote them.
MILLIONS = {"nano": 58, "base": 472, "3b": 2109, "14b": 15100}
NAMES = list(sizes.SIZES)


@functools.cache
def model(name):
    return Omni(build(OmniConfig, sizes.SIZES[name]))


def is_names(node):
    return isinstance(node, tuple)


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_the_table_has_the_sizes_that_this_file_checks():
    assert set(MILLIONS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_weights(name):
    omni, c = model(name), model(name).config.ar
    block = c.embed_dim * c.head_dim * 2 * (c.num_heads + c.num_kv_heads)
    block += 3 * c.embed_dim * c.mlp_dim + 2 * c.embed_dim + 2 * c.head_dim
    ends = c.embed_dim * (2 * c.vocab_size + c.latent_dim + 128 + 1)
    assert omni.ar.count() == c.num_layers * block + ends
    total = sum(net.count() for net in omni.nets.values())
    np.testing.assert_allclose(total / 1e6, MILLIONS[name], rtol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_every_dim_has_a_name_that_has_a_rule(name):
    for net in model(name).nets.values():
        shapes, axes = jax.tree.leaves(net.shapes()), jax.tree.leaves(net.axes(), is_leaf=is_names)
        assert jax.tree.structure(net.shapes()) == jax.tree.structure(net.axes(), is_leaf=is_names)
        for leaf, names in zip(shapes, axes, strict=True):
            assert len(names) == leaf.ndim
            assert all(dim is None or dim in parallel.RULES for dim in names)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fsdp, tensor", [(8, 1), (8, 8), (32, 4)])
def test_every_weight_divides_over_the_mesh(name, fsdp, tensor):
    mesh = AbstractMesh(
        (1, 2, fsdp, tensor, 1), parallel.AXES, axis_types=(AxisType.Auto,) * len(parallel.AXES)
    )
    held = total = 0
    for part, net in model(name).nets.items():
        shardings = parallel.tree_sharding(mesh, net.axes())
        leaves = jax.tree_util.tree_flatten_with_path(net.shapes())[0]
        for (path, leaf), sharding in zip(leaves, jax.tree.leaves(shardings), strict=True):
            local = sharding.shard_shape(leaf.shape)  # raises if it does not divide
            assert all(local), (part, jax.tree_util.keystr(path), leaf.shape)
            held += int(np.prod(local))
            total += leaf.size
    # What is left whole on every device (norms, modulations) must not matter.
    assert held < 1.02 * total / (fsdp * tensor) + 0.005 * total


@pytest.mark.parametrize("name", NAMES)
def test_forward_shapes(name):
    omni = model(name)
    config, shapes = omni.config, {part: net.shapes() for part, net in omni.nets.items()}
    size, (rows, cols), width = config.image_size, config.grid, config.encoder.latent_dim
    z = jax.eval_shape(
        lambda p, x: omni.encoder.bind(p)(x), shapes["encoder"], floats(2, size, size, 3)
    )
    assert z.shape == (2, rows * cols, width)
    pixels = jax.eval_shape(
        lambda p, z, noise: omni.decoder.bind(p).decode(z, noise, num_steps=2),
        shapes["decoder"],
        z,
        floats(2, size, size, 3),
    )
    assert pixels.shape == (2, size, size, 3)
    length = rows * cols + 64
    row = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 2), padding(length, 256))
    hidden, logits = jax.eval_shape(
        lambda p, v: (
            h := omni.ar.bind(p).hidden(row, v),
            omni.ar.bind(p).logits(h),
        ),
        shapes["ar"],
        floats(2, length, width),
    )
    assert hidden.shape == (2, length, config.ar.embed_dim)
    assert logits.shape == (2, length, config.ar.vocab_size)


@pytest.mark.parametrize("name", NAMES)
def test_two_pictures_are_drawn_and_decoded(name):
    omni = model(name)
    shapes = {part: net.shapes() for part, net in omni.nets.items()}
    prompts = prompt_rows(omni, ["a red dot", "two"])
    keys, sampling = jax.random.split(jax.random.key(0), 2), Sampling(head_steps=2)
    out = jax.eval_shape(lambda p: generate(omni, p, prompts, keys, sampling), shapes)
    size = omni.config.image_size
    assert out.shape == (2, size, size, 3) and out.dtype == jnp.float32
