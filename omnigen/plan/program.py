# SPDX-License-Identifier: Apache-2.0
"""The training step of a recipe, compiled for devices that are not here, and what it needs."""

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from omnigen import parallel
from omnigen.plan import hlo, memory
from omnigen.recipe import Recipe
from omnigen.training import loop, step

SAMPLE_ROWS = 8  # from whose captions the work of a batch is estimated
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# What the TPU compiler says when a program does not fit: all of it, or its temporaries alone.
_EXCEEDED = re.compile(r"Used ([\d.]+)([KMGT]) of|HLO temporaries \(([\d.]+)([KMGT])\)")


@dataclasses.dataclass(frozen=True)
class Program:
    """What a training step takes. Bytes are of one device; the rest is of all.

    Attributes:
        weights: Bytes of trained and frozen parameters.
        optimizer: Bytes of the optimizer's state.
        averages: Bytes of the averages of the weights.
        temporary: Bytes of activations, gradients and buffers, from the compiler; for GPUs from
            `memory`; None if the compiler gave up.
        needed: Bytes of all of the above with the batch, even if the compiler gave up.
        traffic: Bytes that a device moves in a step, by kind of collective.
        flops: Model FLOPs of a step, by formula.
        executed_flops: FLOPs with those of padding and of what rematerialisation computes again.
        fill: Share of the positions of a batch that hold something.
        images: Number of images in a step.
        tokens: Number of tokens in a step.
        parameters: Number of parameters that are trained.
        mesh: Sizes of its axes.
        compile_s: Time that the compiler took.
    """

    weights: int
    optimizer: int
    averages: int
    temporary: int | None
    needed: int
    traffic: Mapping[str, int]
    flops: float
    executed_flops: float
    fill: float
    images: float
    tokens: float
    parameters: int
    mesh: Mapping[str, int]
    compile_s: float


def compile_training(recipe: Recipe, devices: Sequence[Any], *, optimize: bool = False) -> Program:
    """Compiles the recipe's step as `omnigen.train` would; nothing is allocated, no data read.

    Args:
        recipe: Recipe to train.
        devices: Devices to compile for.
        optimize: Whether to optimize fully, which takes several times longer; memory is hardly
            different.

    Raises:
        ValueError: If the mesh does not fit the devices, the model or the batch.
    """
    run, optimizer = memory.shapes(recipe, devices)
    stage, mesh, config = run.stage, run.mesh, recipe.train
    few = stage.noise(SAMPLE_ROWS)
    split = parallel.sharding(mesh, ("batch",))
    batch = jax.tree.map(
        lambda part: jax.ShapeDtypeStruct(
            (config.global_batch_size, *part.shape[1:]), part.dtype, sharding=split
        ),
        few,
    )
    rates, times = stage.rates(few), config.global_batch_size / SAMPLE_ROWS
    make = step.make_step(stage, config, optimizer=optimizer, seed=recipe.seed)
    if not optimize:
        jax.config.update("jax_optimization_level", "O0")
    since = time.perf_counter()
    stands_in = devices[0].platform == "cpu"  # for a GPU, whose compiler keeps less
    facts: dict[str, Any] = {"traffic": dict.fromkeys(hlo.KINDS, 0)}  # of one device
    if mesh.size > 1 or not stands_in:
        facts = _compile(make, run.state, run.frozen, batch, mesh=mesh)
    if stands_in:
        counted = memory.estimate(recipe, devices)
        facts["temporary"] = counted.temporary(config.microbatches)
        facts["needed"] = counted.needed(config.microbatches) + memory.held(batch)
    return Program(
        weights=memory.held((run.state["params"], run.frozen)),
        optimizer=memory.held(run.state["opt"]),
        averages=memory.held(run.state["ema"]),
        flops=rates.flops * times,
        executed_flops=rates.executed_flops * times,
        fill=rates.tokens / rates.positions,
        images=rates.images * times,
        tokens=rates.tokens * times,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(run.state["params"])),
        mesh=dict(mesh.shape),
        compile_s=time.perf_counter() - since,
        **facts,
    )


def _compile(make: Any, target: Any, frozen: Any, batch: Any, *, mesh: Mesh) -> dict[str, Any]:
    """Compiles; returns the memory and the program's collectives."""
    try:
        with jax.set_mesh(mesh):
            compiled, _ = loop.compile_step(make, target, frozen, batch, mesh=mesh)
    except jax.errors.JaxRuntimeError as error:
        exceeded = _EXCEEDED.search(str(error))
        if exceeded is None:
            raise
        number, unit = (exceeded[1], exceeded[2]) if exceeded[1] else (exceeded[3], exceeded[4])
        needed = int(float(number) * _UNITS[unit])
        return {"temporary": None, "needed": needed, "traffic": dict.fromkeys(hlo.KINDS, 0)}
    planned = compiled.memory_analysis()
    needed = (
        planned.argument_size_in_bytes
        + planned.output_size_in_bytes
        - planned.alias_size_in_bytes
        + planned.temp_size_in_bytes
    )
    return {
        "temporary": planned.temp_size_in_bytes,
        "needed": needed,
        "traffic": hlo.traffic(compiled.as_text()),
    }
