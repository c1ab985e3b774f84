# SPDX-License-Identifier: Apache-2.0
"""What a training step holds and keeps, counted in seconds without a compiler.

The backward pass needs what the forward pass kept, and tracing tells what that is. `--fit` leaves
out by it what cannot fit. For GPUs it is the plan's temporary memory: XLA's CPU compiler, which
stands in for theirs, keeps several times as much.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, Mesh

from omnigen import parallel
from omnigen import recipe as recipes
from omnigen.nn.stack import Remat, policy
from omnigen.recipe import SPLITS, Recipe
from omnigen.stages import base as stages
from omnigen.training import loop, state, step

# A TPU's fused attention keeps what cuDNN's does, and is traced on any machine.
_TRACED_FOR = AbstractDevice(device_kind="TPU v5p", num_cores=1, platform="tpu")

# Where no layers are stacked, XLA computes most of what is elementwise again. What it keeps is this
# many times the results of products and attention: 1.58 to 1.69 in six programs for an H200.
_UNROLLED = 1.65


@dataclasses.dataclass(frozen=True)
class Shapes:
    """A run on devices that are not here.

    Attributes:
        stage: What is trained, with shapes in place of frozen weights.
        mesh: The devices.
        state: Shapes and shardings of the state.
        frozen: Shapes and shardings of the frozen weights.
    """

    stage: stages.Stage
    mesh: Mesh
    state: state.State
    frozen: Any


def shapes(recipe: Recipe, devices: Sequence[Any]) -> tuple[Shapes, Any]:
    """Returns the run of a recipe, and its optimizer.

    Raises:
        ValueError: If the mesh does not fit the devices, the model or the batch.
    """
    mesh = parallel.make_mesh(recipe.mesh, devices=devices)
    recipe.check_mesh(mesh.shape)
    stage = recipes.build(recipe, recipes.as_shapes)
    optimizer = loop.prepare_optimizer(stage, recipe.train, recipe.optimizer)
    target = state.abstract(mesh, stage.init, axes=stage.axes(), optimizer=optimizer)
    return Shapes(stage, mesh, target, loop.abstract_frozen(stage, mesh)), optimizer


def held(tree: Any) -> int:
    """Returns bytes of one device's part of an abstract tree."""
    return sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a step takes, in bytes of one device.

    Attributes:
        state: Weights, the optimizer's state and averages.
        gradients: Gradients of all weights.
        kept: What the forward pass of the whole batch keeps for the backward pass.
    """

    state: int
    gradients: int
    kept: float

    def temporary(self, parts: int) -> int:
        """Returns what comes beside the state if the batch is cut into parts.

        Several parts need a sum of gradients beside those of the last.
        """
        return int(self.gradients * min(parts, 2) + self.kept / parts)

    def needed(self, parts: int) -> int:
        """Returns all of it."""
        return self.state + self.temporary(parts)


def estimate(recipe: Recipe, devices: Sequence[Any]) -> Estimate:
    """Traces the loss of a recipe; the number of its parts does not matter.

    Raises:
        ValueError: As in `shapes`.
    """
    run, _ = shapes(recipe, devices)
    sizes, layers = run.mesh.shape, [config.num_layers for config in stacks(recipe).values()]
    rows = recipe.train.global_batch_size / math.prod(sizes[n] for n in ("slice", "data", "fsdp"))
    kept = kept_by_row(recipe, tensor=sizes["tensor"])
    if any(config.remat != Remat.NONE for config in stacks(recipe).values()):
        # One layer is computed again at a time, and all of it is kept meanwhile.
        everything = kept_by_row(rematerialized(recipe, Remat.NONE), tensor=sizes["tensor"])
        kept += max(everything - kept, 0) / min(layers)
    return Estimate(
        state=held((run.state, run.frozen)),
        gradients=held(run.state["params"]),
        kept=rows * kept / sizes["sequence"],
    )


def stacks(recipe: Recipe) -> dict[str, Any]:
    """Returns the configs of the trained parts whose layers may be rematerialised, by name."""
    trained = stages.find(recipe.stage).trained
    configs = {part: getattr(recipe.model, part) for part in trained}
    return {part: config for part, config in configs.items() if hasattr(config, "remat")}


def rematerialized(recipe: Recipe, remat: Remat) -> Recipe:
    """Returns the recipe with stacks that keep what `remat` says."""
    parts = {p: dataclasses.replace(c, remat=remat) for p, c in stacks(recipe).items()}
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **parts))


def kept_by_row(recipe: Recipe, *, tensor: int = 1) -> float:
    """Returns bytes that one more row leaves for the backward pass."""
    unrolled = all(c.unroll and c.remat == Remat.NONE for c in stacks(recipe).values())
    stage = recipes.build(recipe, recipes.as_shapes)
    few, more = 3, 5  # numbers that are no width of a model
    kept = [_kept(stage, recipe, rows, tensor, unrolled) for rows in (few, more)]
    return (kept[1] - kept[0]) / (more - few) * (_UNROLLED if unrolled else 1.0)


def _kept(stage: stages.Stage, recipe: Recipe, rows: int, tensor: int, unrolled: bool) -> float:
    """Returns bytes that the backward pass of some rows needs, weights among them."""

    def pull(params: Any, frozen: Any, batch: Any) -> Any:
        keys_B = step.example_keys(recipe.seed, jnp.int32(0), rows)
        prepared = stage.prepare(params, frozen, batch, keys_B)

        def loss(params: Any) -> Any:
            return stage.loss(params, frozen, prepared, keys_B)

        if unrolled:
            loss = jax.checkpoint(loss, policy=policy(Remat.DOTS))
        return jax.vjp(loss, params, has_aux=True)[1]

    types = (AxisType.Auto,) * len(parallel.AXES)
    mesh = AbstractMesh(
        (1,) * len(parallel.AXES), parallel.AXES, axis_types=types, abstract_device=_TRACED_FOR
    )
    with jax.sharding.use_abstract_mesh(mesh):
        params = jax.eval_shape(stage.init, jax.random.key(0))
        found = jax.eval_shape(pull, params, stage.frozen, stage.noise(rows))
    split = {
        getattr(getattr(recipe.model, part), name)
        for part in stage.trained
        for name in SPLITS["tensor"][part]
        if name != "embed_dim"  # activations of that width lie whole on each device
    }
    total = 0.0
    for leaf in jax.tree.leaves(found):
        # Layers and rows come first, and there may be as many layers as heads.
        total += leaf.size * leaf.dtype.itemsize / (tensor if split & {*leaf.shape[2:]} else 1)
    return total
