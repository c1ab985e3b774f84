# SPDX-License-Identifier: Apache-2.0
"""What a mesh must change, memory and traffic, and what it must not, the training."""

import json
import pathlib

import jax
import numpy as np
import pytest

from omnigen import config, parallel, train
from omnigen import recipe as recipes
from omnigen.plan import hlo
from omnigen.training import loop, state, step
from omnigen.training.optim import OptimizerConfig
from omnigen.training.stage import TrainConfig

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
MESHES = {
    "data 8": dict(data=8),
    "fsdp 8": dict(data=1, fsdp=8),
    "2 x 2 x 2": dict(data=2, fsdp=2, tensor=2),
    "sequence 2": dict(data=4, sequence=2),
}
SPLIT = {  # ways in which each mesh splits a weight, by its dims
    "data 8": {"embed": 1, "mlp": 1},
    "fsdp 8": {"embed": 8, "mlp": 1},
    "2 x 2 x 2": {"embed": 2, "mlp": 2},
    "sequence 2": {"embed": 1, "mlp": 1},
}


@pytest.fixture(
    scope="module",
    params=[
        "fsdp 8",
        "2 x 2 x 2",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("data 8", "sequence 2")),
    ],
)
def compiled(request, make_stage):
    """The toy's step on a mesh: its name, the abstract state, the executable."""
    mesh = parallel.make_mesh(parallel.MeshConfig(**MESHES[request.param]))
    stage, settings = make_stage(), TrainConfig(steps=20, global_batch_size=16)
    optimizer = loop.prepare_optimizer(stage, settings, OptimizerConfig())
    target = state.abstract(mesh, stage.init, axes=stage.axes(), optimizer=optimizer)
    split = parallel.sharding(mesh, ("batch",))
    few = next(iter(stage.dataset(16, parallel.DataShard())))
    batch = {
        name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=split)
        for name, value in few.items()
    }
    make = step.make_step(stage, settings, optimizer=optimizer, seed=0)
    with jax.set_mesh(mesh):
        executable, _ = loop.compile_step(
            make, target, loop.abstract_frozen(stage, mesh), batch, mesh=mesh
        )
    return request.param, stage, target, executable


def bytes_of(shape, names, ways):
    divisor = np.prod([ways.get(name, 1) for name in names]) if names else 1
    return 4 * np.prod(shape, dtype=int) // divisor


def test_every_device_holds_its_part_and_no_more(compiled):
    name, stage, target, executable = compiled
    ways = SPLIT[name]
    axes = jax.tree.leaves(stage.axes(), is_leaf=lambda node: isinstance(node, tuple))
    shapes = [leaf.shape for leaf in jax.tree.leaves(target["params"])]
    one = sum(bytes_of(shape, dims, ways) for shape, dims in zip(shapes, axes, strict=True))
    held = {
        part: sum(
            leaf.dtype.itemsize * np.prod(leaf.sharding.shard_shape(leaf.shape), dtype=int)
            for leaf in jax.tree.leaves(target[part])
        )
        for part in ("params", "ema", "opt")
    }
    assert held["params"] == held["ema"] == one
    assert 2 * one <= held["opt"] <= 2 * one + 64  # two moments, and counters
    frozen = 4 * 8 * 8 // ways["embed"]
    rows = 16 // (4 if name in ("sequence 2", "2 x 2 x 2") else 8)
    batch = rows * (8 * 4 + 4 + 4)
    memory = executable.memory_analysis()
    wanted = sum(held.values()) + 4 + frozen + batch
    assert wanted <= memory.argument_size_in_bytes <= wanted + 512
    assert memory.alias_size_in_bytes >= sum(held.values())


def test_the_collectives_are_those_of_the_mesh(compiled):
    name, _, target, executable = compiled
    moved = hlo.traffic(executable.as_text())
    weights = sum(leaf.dtype.itemsize * leaf.size for leaf in jax.tree.leaves(target["params"]))
    summed = moved["all-reduce"] / 2 + moved["reduce-scatter"] + moved["all-to-all"]
    if name == "fsdp 8":
        assert moved["all-gather"] >= 0.8 * weights  # in the forward or backward pass
        assert summed >= 0.8 * weights / 8
    elif name == "2 x 2 x 2":
        assert moved["all-gather"] > 0 and moved["all-reduce"] > 0
    else:
        assert moved["all-gather"] <= 0.05 * weights  # weights are whole everywhere
        assert summed >= weights  # gradients


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tokenizer", "ar"])
def test_twenty_steps_on_five_meshes(stage, untrained, tmp_path, monkeypatch, capsys):
    """The same losses, within a band: rounding differs with the order of sums, and grows."""
    make_mesh, losses = parallel.make_mesh, {}
    for name, sizes in {"one device": {}, **MESHES}.items():
        devices = jax.devices()[:1] if name == "one device" else None
        monkeypatch.setattr(parallel, "make_mesh", lambda c, d=devices: make_mesh(c, devices=d))
        workdir = tmp_path / name
        flags = [f"--config.mesh.{axis}={size}" for axis, size in sizes.items()]
        flags += ["--config.train.steps=20", "--config.train.log_every=1"]
        flags += ["--config.optimizer.name=adamw", f"--config.train.frozen_from={untrained}"]
        recipe = f"{CONFIGS / stage}.py:debug"
        train.main(["--config", recipe, "--workdir", str(workdir), *flags])
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        losses[name] = np.array([json.loads(line)["loss"] for line in lines], np.float32)
    reference = losses.pop("one device")
    assert len(reference) == 20 and reference[-1] < reference[0]
    ulp = np.spacing(reference)
    worst = {name: np.abs(found - reference) / ulp for name, found in losses.items()}
    with capsys.disabled():
        for name, off in worst.items():
            print(f"\n{stage}, {name}: {off[0]:.0f} ulp at step 1, {off.max():.0f} in 20", end="")
    for off in worst.values():
        assert off[0] <= 16 and off.max() <= 2048  # 2048 ulp of float32 are 2e-4


def test_recipes_name_their_meshes():
    for size in ("3b", "14b"):
        recipe = recipes.read(f"{CONFIGS / 'ar'}.py:{size}")
        assert recipe.mesh.fsdp == -1 and recipe.mesh.data == 1
        assert config.to_dict(recipe)["mesh"]["tensor"] == {"3b": 1, "14b": 4}[size]
