# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.checkpoints.graft import deepen, graft
from omnigen.checkpoints.manager import LoadedModel
from omnigen.models.ar import AR, ARConfig
from omnigen.models.heads.flow import ADDED, FlowHead, FlowHeadConfig
from omnigen.nn.module import Net
from omnigen.sequence import ImageSpan, Specials, TextSpan, layout
from omnigen.text import ByteText

SMALL = ARConfig(
    latent_dim=6, embed_dim=32, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=8, mlp_dim=24
)


def net(num_layers):
    config = dataclasses.replace(SMALL, num_layers=num_layers)
    return Net(lambda rngs: AR(config, rngs=rngs))


@pytest.fixture(scope="module")
def given():
    return LoadedModel({}, {"ar": jax.device_get(net(2).init(jax.random.key(3)))}, 7, path="there")


def hidden(num_layers, params):
    spans = [TextSpan(list(b"ab")), ImageSpan(2, 2)]
    rows = jax.tree.map(lambda x: x[None], layout(spans, Specials(256), ByteText().encode))
    z = jax.random.normal(jax.random.key(0), (*rows.token.shape, 6))
    return net(num_layers).bind(params).hidden(rows, z)


def test_a_deeper_model_starts_as_the_same_function(given):
    deep = net(5)
    start = {"ar": deep.init(jax.random.key(4))}
    params = graft(start, given, {"ar": deep.axes()})["ar"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, start["ar"])
    expected = hidden(2, given.params["ar"])
    np.testing.assert_allclose(hidden(5, params), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(hidden(5, start["ar"]) - expected).max() > 0.1


def test_a_plain_head_becomes_one_of_averages():
    """What it has besides does nothing at first."""
    config = FlowHeadConfig(latent_dim=6, cond_dim=32, embed_dim=24, num_blocks=1, mlp_dim=40)
    averaging = dataclasses.replace(config, average=True)
    plain, head = (Net(lambda rngs, c=c: FlowHead(c, rngs=rngs)) for c in (config, averaging))
    weights = plain.init(jax.random.key(0))
    model = LoadedModel({}, {"head": jax.device_get(weights)}, 7, path="there")
    for start in ({"head": head.init(jax.random.key(1))}, {"head": head.shapes()}):
        with pytest.raises(ValueError, match="head/guidance_in/w is None there and"):
            graft(start, model)
        params = graft(start, model, added=ADDED)["head"]
        assert params.keys() == weights.keys() | ADDED
        keys = jax.random.split(jax.random.key(2), 2)
        z, hidden = (jax.random.normal(k, (5, n)) for k, n in zip(keys, (6, 32), strict=True))
        t, span, scale = jnp.full(5, 0.7), jnp.full(5, 0.5), jnp.full(5, 3.0)
        expected = plain.bind(weights)(z, t, hidden)
        np.testing.assert_array_equal(head.bind(params)(z, t, hidden, span, scale), expected)


def test_every_new_layer_can_learn(given):
    deep = net(5)
    params = graft({"ar": deep.init(jax.random.key(4))}, given, {"ar": deep.axes()})["ar"]
    grads = jax.grad(lambda p: jnp.sum(hidden(5, p)[..., ::3] ** 2))(params)
    layers = grads["stack"]["layers"]
    for matrix in (layers["attention"]["o"]["w"], layers["mlp"]["down"]["w"]):
        assert np.abs(matrix).max(axis=(1, 2)).min() > 1e-4


def test_new_layers_are_spread_and_write_nothing():
    writer = np.arange(1.0, 9.0).reshape(2, 2, 2)
    wanted = jax.ShapeDtypeStruct((3, 2, 2), jnp.float32)
    np.testing.assert_array_equal(
        deepen(writer, wanted, ("layers", "mlp", "embed")),
        [[[1, 2], [3, 4]], [[0, 0], [0, 0]], [[5, 6], [7, 8]]],
    )
    np.testing.assert_array_equal(
        deepen(writer, wanted, ("layers", "embed", "mlp")), writer[np.array([0, 0, 1])]
    )
    scale, wanted = np.array([[1.0], [2.0]]), jax.ShapeDtypeStruct((4, 1), jnp.float32)
    np.testing.assert_array_equal(deepen(scale, wanted, ("layers", "norm")), scale[[0, 0, 1, 1]])


def test_a_shallower_model_is_refused(given):
    shallow = net(1)
    with pytest.raises(ValueError, match=r"ar/stack/layers/.* is \(2, .* there and \(1, .* here"):
        graft({"ar": shallow.init(jax.random.key(4))}, given, {"ar": shallow.axes()})


def test_stacks_are_deepened_only_if_asked(given):
    with pytest.raises(ValueError, match="does not fit this model"):
        graft({"ar": net(5).init(jax.random.key(4))}, given)
