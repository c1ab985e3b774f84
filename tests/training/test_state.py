# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen import parallel
from omnigen.training import optim, state
from omnigen.training.optim import Algorithm, OptimizerConfig, Rule


def prepare(stage, mesh, config=None):
    shapes = jax.eval_shape(stage.init, jax.random.key(0))
    config = config or OptimizerConfig()
    optimizer = optim.build(config, axes=stage.axes(), shapes=shapes, total_steps=10)
    return state.abstract(mesh, stage.init, axes=stage.axes(), optimizer=optimizer), optimizer


def path_of(path):
    return jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", list(Algorithm))
def test_every_leaf_lies_as_its_parameter(make_stage, name):
    stage = make_stage()
    mesh = parallel.make_mesh(parallel.MeshConfig(fsdp=2, tensor=2))
    target, optimizer = prepare(stage, mesh, OptimizerConfig(name=name))
    made = state.create(target, stage.init, optimizer=optimizer, key=jax.random.key(0))
    weights = {
        path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(made["params"])
    }
    shards = {
        path: {s.data.shape for s in leaf.addressable_shards} for path, leaf in weights.items()
    }
    assert shards == {
        "['encoder']['in']": {(8, 8)},
        "['encoder']['layers']['bias']": {(2, 12)},
        "['encoder']['layers']['down']": {(2, 12, 8)},
        "['encoder']['layers']['up']": {(2, 8, 12)},
        "['head']['out']": {(8, 8)},
    }
    followers = 0
    for part in ("opt", "ema"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(made[part]):
            owner = [w for w in weights if path_of(path).endswith(w)]
            if owner:
                followers += 1
                assert leaf.shape == weights[owner[0]].shape
                assert leaf.sharding == weights[owner[0]].sharding
            else:
                assert leaf.ndim < 3 and leaf.sharding.is_fully_replicated
    averages, moments = 5, {Algorithm.ADAMW: 10, Algorithm.MUON: 7}
    assert followers == averages + moments[name]


def test_frozen_weights_are_laid_out_too(make_stage):
    mesh = parallel.make_mesh(parallel.MeshConfig(fsdp=8))
    config = OptimizerConfig(rules=(Rule("encoder/in", freeze=True),))
    target, _ = prepare(make_stage(), mesh, config)
    moments = [
        path_of(path)
        for path, _ in jax.tree_util.tree_leaves_with_path(target["opt"])
        if path_of(path).endswith("['in']")
    ]
    assert moments == [] and target["ema"]["encoder"]["in"].shape == (8, 16)


def test_weights_do_not_depend_on_the_mesh(make_stage):
    stage, made = make_stage(), []
    for sizes in (dict(), dict(fsdp=4, tensor=2)):
        mesh = parallel.make_mesh(parallel.MeshConfig(**sizes))
        target, optimizer = prepare(stage, mesh)
        made.append(state.create(target, stage.init, optimizer=optimizer, key=jax.random.key(3)))
    jax.tree.map(np.testing.assert_array_equal, made[0], made[1])
    assert int(made[0]["step"]) == 0
    jax.tree.map(np.testing.assert_array_equal, made[0]["params"], made[0]["ema"])


def test_adopted_weights(make_stage):
    stage = make_stage()
    target, optimizer = prepare(stage, parallel.make_mesh(parallel.MeshConfig(fsdp=8)))
    given = jax.tree.map(np.asarray, stage.init(jax.random.key(9)))
    made = state.adopt(target, given, optimizer=optimizer)
    jax.tree.map(np.testing.assert_array_equal, made["params"], given)
    jax.tree.map(np.testing.assert_array_equal, made["ema"], given)
    assert jax.tree.map(lambda leaf: leaf.sharding, made) == jax.tree.map(
        lambda leaf: leaf.sharding, target
    )


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.999])
def test_average_of_constant_weights(decay):
    start, weight = 5.0, 2.0
    ema = {"w": jnp.full((3,), start)}
    factor = 1.0
    for step in range(20):
        ema = state.update_ema(
            ema, {"w": jnp.full((3,), weight, jnp.bfloat16)}, step=jnp.int32(step), decay=decay
        )
        factor *= min(decay, (1 + step) / (10 + step))
    assert ema["w"].dtype == jnp.float32
    np.testing.assert_allclose(ema["w"], weight + (start - weight) * factor, rtol=1e-5)
