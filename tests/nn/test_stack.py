# SPDX-License-Identifier: Apache-2.0
"""Oracle: the layers one after another, in a python loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend import core as extend_core

from omnigen.nn.layers import SwiGLU
from omnigen.nn.module import Net
from omnigen.nn.stack import Remat, Stack

LAYERS = 3


class Tower(nnx.Module):
    def __init__(self, *, rngs):
        self.stack = Stack(lambda r: SwiGLU(8, 16, rngs=r), LAYERS, rngs=rngs)


def call(layer, x):
    y = x + layer(x)
    return y, y.mean()


@pytest.fixture(scope="module")
def net():
    return Net(lambda rngs: Tower(rngs=rngs))


@pytest.fixture(scope="module")
def params(net):
    return jax.jit(net.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(1), (2, 5, 8))


def test_layers_start_different(params):
    for leaf in jax.tree.leaves(params):
        assert leaf.shape[0] == LAYERS
        assert np.abs(leaf[0] - leaf[1]).min() > 0


def test_scan_is_the_loop_over_numpy_layers(net, params, x):
    out, means = jax.jit(lambda p: net.bind(p).stack(x, call))(params)
    wanted, wanted_means = np.asarray(x, np.float64), []
    for i in range(LAYERS):
        gate, up, down = (
            np.asarray(params["stack"]["layers"][name]["w"][i], np.float64)
            for name in ("gate", "up", "down")
        )
        hidden = wanted @ gate
        wanted = wanted + (hidden / (1 + np.exp(-hidden)) * (wanted @ up)) @ down
        wanted_means.append(wanted.mean())
    np.testing.assert_allclose(out, wanted, atol=1e-5)
    np.testing.assert_allclose(means, wanted_means, atol=1e-6)


def test_unstacked_layers_are_the_scanned_ones(net, params, x):
    stack = net.bind(params).stack
    scanned, _ = stack(x, call)
    for layer in stack.unstacked():
        x, _ = call(layer, x)
    np.testing.assert_allclose(x, scanned, atol=1e-6)


def gradients(net, params, x, remat, unroll=False):
    def loss(params):
        out, means = net.bind(params).stack(x, call, remat=remat, unroll=unroll)
        return jnp.sum(out**2) + jnp.sum(means**3)

    return jax.grad(loss)


@pytest.mark.parametrize("remat", [Remat.DOTS, Remat.FULL, "full"])
def test_remat_changes_no_gradient(net, params, x, remat):
    plain = jax.jit(gradients(net, params, x, Remat.NONE))(params)
    again = jax.jit(gradients(net, params, x, remat))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), plain, again)


@pytest.mark.parametrize("remat", list(Remat))
def test_unrolled_layers_have_the_scanned_ones_gradients(net, params, x, remat):
    scanned = jax.jit(gradients(net, params, x, Remat.NONE))(params)
    compiled = jax.jit(gradients(net, params, x, remat, unroll=True)).lower(params).compile()
    assert " while(" not in compiled.as_text()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        scanned,
        compiled(params),
    )


def count_dots(jaxpr):
    total = 0
    for eqn in jaxpr.eqns:
        total += eqn.primitive.name == "dot_general"
        total += sum(count_dots(sub) for sub in extend_core.jaxprs_in_params(eqn.params))
    return total


def test_remat_computes_products_again_only_when_asked(net, params, x):
    def dots(remat):
        jaxpr = jax.make_jaxpr(gradients(net, params, x, remat))(params)
        return count_dots(jaxpr.jaxpr)

    # A layer has 3 products: forward and two each backward, whatever remat is.
    assert dots(Remat.NONE) == 9
    # Weights have no batch dim, so `dots` keeps all of them; `full` repeats what backward reads:
    # the gate and the up projection, for the result of the down projection is not read.
    assert dots(Remat.DOTS) == 9
    assert dots(Remat.FULL) == 11
