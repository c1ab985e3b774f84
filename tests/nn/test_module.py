# SPDX-License-Identifier: Apache-2.0
"""A net's trees agree, and binding is a pure function of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from omnigen import parallel
from omnigen.nn.block import Block
from omnigen.nn.module import Net, param
from omnigen.nn.stack import Stack


class Tower(nnx.Module):
    def __init__(self, *, rngs):
        self.first = block(rngs)
        self.stack = Stack(block, 3, rngs=rngs)


def block(rngs):
    return Block(16, num_heads=2, num_kv_heads=1, head_dim=8, mlp_dim=24, num_layers=3, rngs=rngs)


@pytest.fixture(scope="module")
def net():
    return Net(lambda rngs: Tower(rngs=rngs))


@pytest.fixture(scope="module")
def init(net):
    return jax.jit(net.init)


def paths(tree, is_leaf=None):
    return {jax.tree_util.keystr(path): leaf for path, leaf in
            jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)[0]}  # fmt: skip


def test_init_shapes_and_axes_agree(net, init):
    params, shapes = paths(init(jax.random.key(0))), paths(net.shapes())
    axes = paths(net.axes(), is_leaf=lambda node: isinstance(node, tuple))
    assert params.keys() == shapes.keys() == axes.keys()
    for path, leaf in params.items():
        assert (leaf.shape, leaf.dtype) == (shapes[path].shape, shapes[path].dtype)
        assert len(axes[path]) == leaf.ndim
        assert all(name is None or name in parallel.RULES for name in axes[path])


def test_stacked_leaves_have_layers_first(net):
    axes = net.axes()
    assert axes["first"]["mlp"]["down"]["w"] == ("mlp", "embed")
    assert axes["stack"]["layers"]["mlp"]["down"]["w"] == ("layers", "mlp", "embed")
    assert axes["stack"]["layers"]["attention"]["q_norm"]["scale"][0] == "layers"
    assert net.shapes()["stack"]["layers"]["mlp"]["down"]["w"].shape == (3, 24, 16)


def test_trees_are_plain_dicts(net, init):
    def check(node):
        assert type(node) is dict, type(node)
        for child in node.values():
            if not isinstance(child, jax.Array | jax.ShapeDtypeStruct | tuple):
                check(child)

    for tree in (init(jax.random.key(0)), net.shapes(), net.axes()):
        check(tree)


def test_count_is_the_sum_of_the_weights(net):
    # q, o: 16 x 16; k, v: 16 x 8; gate, up, down: 16 x 24; two norms of 16 and two of 8.
    one = 2 * 256 + 2 * 128 + 3 * 384 + 2 * 16 + 2 * 8
    assert net.count() == 4 * one


def test_the_key_decides_the_weights(init):
    same, again, other = (init(jax.random.key(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, same, again)
    assert np.abs(same["first"]["mlp"]["up"]["w"] - other["first"]["mlp"]["up"]["w"]).max() > 0
    first, layers = same["first"], same["stack"]["layers"]
    assert np.abs(first["mlp"]["up"]["w"] - layers["mlp"]["up"]["w"][0]).max() > 0


def test_residual_writers_start_smaller():
    net = Net(lambda rngs: Block(256, num_heads=4, num_kv_heads=4, head_dim=64, mlp_dim=512,
                                 num_layers=8, rngs=rngs))  # fmt: skip
    params = jax.jit(net.init)(jax.random.key(0))
    np.testing.assert_allclose(params["attention"]["q"]["w"].std(), 1 / 16, rtol=0.02)
    np.testing.assert_allclose(params["attention"]["o"]["w"].std(), 1 / 16 / 4, rtol=0.02)
    np.testing.assert_allclose(params["mlp"]["down"]["w"].std(), 512**-0.5 / 4, rtol=0.02)


def test_bind_uses_the_given_weights_and_no_others(net, init):
    x, position = jnp.ones((1, 2, 16)), jnp.zeros((1, 2, 3))

    @jax.jit
    def run(params):
        return net.bind(params).first(x, position)[0]

    params = init(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_array_equal(run(zeros), x)
    assert np.abs(run(params) - x).max() > 0
    np.testing.assert_array_equal(run(zeros), x)


def test_a_parameter_names_every_dim():
    with pytest.raises(AssertionError):
        param(nnx.Rngs(0), (2, 3), ("embed",), nnx.initializers.zeros_init())
