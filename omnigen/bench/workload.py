# SPDX-License-Identifier: Apache-2.0
"""What is measured: a recipe's training step and its drawing, and how their costs grow.

A cost is time and memory of one compiled program with weights that mean nothing, so that any size
can be tried before anything is trained.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from optax import GradientTransformationExtraArgs as Optimizer

from omnigen import parallel
from omnigen import recipe as recipes
from omnigen.batch import Batch, Rows
from omnigen.bench import measure
from omnigen.generation.generate import draw
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.generation.state import Dials
from omnigen.models.omni import Omni
from omnigen.nn.module import Params
from omnigen.recipe import Recipe
from omnigen.sequence import ImageSpan, TextSpan, layout, pack, ungrouped
from omnigen.stages.base import Stage
from omnigen.training import loop, state
from omnigen.training.state import State

PROMPT = 'a red circle to the left of a blue star, with the word "hello" in green letters'
AXES = {
    "tokens": (64, 256, 1024, 4096),
    "batch": (1, 4, 16, 64, 256),
    "layers": (2, 4, 8, 16, 32),
}
_GIB = 2**30
_ROW = 64  # a row's length is a multiple of it


def random_weights(omni: Omni, parts: Sequence[str]) -> dict[str, Params]:
    """Returns random weights of some parts of a model, each in its computing dtype."""

    def make(part: str) -> Params:
        dtype = getattr(omni.config, part).dtype
        init = lambda key: jax.tree.map(lambda w: w.astype(dtype), omni.nets[part].init(key))  # noqa: E731
        return jax.jit(init)(jax.random.key(0))

    return {part: make(part) for part in parts}


def state_of(recipe: Recipe, stage: Stage, mesh: Mesh) -> tuple[State, State, Optimizer]:
    """Returns the training state at step 0, its abstract twin, and the optimizer."""
    optimizer = loop.prepare_optimizer(stage, recipe.train, recipe.optimizer)
    target = state.abstract(mesh, stage.init, axes=stage.axes(), optimizer=optimizer)
    key = jax.random.key(recipe.seed)
    return state.create(target, stage.init, optimizer=optimizer, key=key), target, optimizer


@dataclasses.dataclass
class Step:
    """A compiled training step on one batch that stays on the devices; calling it takes it.

    Attributes:
        compiled: Program of the step.
        compile_s: Time that it took to compile.
        held: Training state.
        rest: Frozen weights and batch.
    """

    compiled: Any
    compile_s: float
    held: Any
    rest: tuple[Any, Any]

    def __call__(self) -> jax.Array:
        """Takes a step and returns its loss."""
        self.held, report = self.compiled(self.held, *self.rest)
        return report["loss"]


def training_step(recipe: Recipe, stage: Stage, batch: Batch, mesh: Mesh) -> Step:
    """Compiles a recipe's step; call this and the step within `jax.set_mesh(mesh)`."""
    held, _, optimizer = state_of(recipe, stage, mesh)
    placed = jax.device_put(batch, parallel.sharding(mesh, ("batch",)))
    step = loop.make_step(stage, recipe.train, optimizer=optimizer, seed=recipe.seed)
    since = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(held, stage.frozen, placed).compile()
    return Step(compiled, time.perf_counter() - since, held, (stage.frozen, placed))


@dataclasses.dataclass(frozen=True)
class Cost:
    """The costs of one program.

    They are median seconds a call, and GiB of arguments and temporaries.
    """

    seconds: float
    gib: float


@dataclasses.dataclass(frozen=True)
class Point:
    """The costs of one size; None where the one before already took too long.

    Attributes:
        axis: Name of what was varied.
        value: Its value.
        pixels: Side of the picture.
        train: Cost of a training step on rows of a caption and a picture.
        draw: Cost of drawing a batch, without the decoder.
    """

    axis: str
    value: int
    pixels: int
    train: Cost | None
    draw: Cost | None


def grown(recipe: Recipe, axis: str, value: int) -> Recipe:
    """Returns the recipe with one size changed: tokens a picture, rows a batch, or layers."""
    model, data, train = recipe.model, recipe.data, recipe.train
    if axis == "batch":
        return dataclasses.replace(
            recipe, train=dataclasses.replace(train, global_batch_size=value, microbatches=1)
        )
    if axis == "layers":
        ar = dataclasses.replace(model.ar, num_layers=value)
        return dataclasses.replace(recipe, model=dataclasses.replace(model, ar=ar))
    assert axis == "tokens" and math.isqrt(value) ** 2 == value, (axis, value)
    side = math.isqrt(value) * model.encoder.token_size
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(model, image_size=side),
        data=dataclasses.replace(data, row_length=value + 256, images_per_row=1),
    )


def grow(
    recipe: Recipe, *, repeats: int, longest: float, tell: Callable[[Point], None]
) -> list[Point]:
    """Measures along each of `AXES`, from the recipe's own model and one row a batch.

    Args:
        recipe: Recipe of the stage ar.
        repeats: Number of runs to take the median of.
        longest: Seconds after which an axis ends: nothing is tried after a call that took longer,
            nor after one that did not fit the memory.
        tell: Called with each point as soon as it is measured.
    """
    if jax.default_backend() == "cpu":
        parts = ("encoder", "decoder", "ar", "head")
        wide = {p: dataclasses.replace(getattr(recipe.model, p), dtype="float32") for p in parts}
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **wide))
    recipe, points = grown(recipe, "batch", 1), []
    for axis, values in AXES.items():
        going = {"train": True, "draw": True}
        for value in values:
            changed = grown(recipe, axis, value)
            costs: dict[str, Cost | None] = {}
            for name, run in (("train", _train_cost), ("draw", _draw_cost)):
                costs[name] = _tried(run, changed, repeats) if going[name] else None
                cost = costs[name]
                going[name] = cost is not None and cost.seconds <= longest
            points.append(Point(axis, value, changed.model.image_size, **costs))
            tell(points[-1])
            if not any(going.values()):
                break
    return points


def table(points: Sequence[Point]) -> str:
    """Formats the points as Markdown, with ratios to the row above in brackets."""
    lines = [
        "| varied | pixels a side | training step | its memory | drawing a batch | its memory |",
        "|---|---|---|---|---|---|",
    ]
    before: dict[str, Point] = {}
    for point in points:
        cells = [f"{point.axis} {point.value}", str(point.pixels)]
        for name in ("train", "draw"):
            cost, last = getattr(point, name), getattr(before.get(point.axis), name, None)
            if cost is None:
                cells += ["", ""]
                continue
            times = f" ({cost.seconds / last.seconds:.1f})" if last else ""
            cells += [f"{cost.seconds * 1e3:.4g} ms{times}", f"{cost.gib:.3g} GiB"]
        lines.append(f"| {' | '.join(cells)} |")
        before[point.axis] = point
    return "\n".join(lines)


def _tried(run: Callable[[Recipe, int], Cost], recipe: Recipe, repeats: int) -> Cost | None:
    try:
        return run(recipe, repeats)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None


def _rows(omni: Omni, batch: int) -> Rows:
    """Returns rows of a caption and a picture, without drawing any."""
    config, specials = omni.config, omni.config.specials
    spans = [TextSpan(omni.text.encode(PROMPT)), ImageSpan(*config.grid, block=config.block)]
    sample = layout(spans, specials, omni.text.encode)
    row = pack([sample], -(-len(sample.token) // _ROW) * _ROW, specials.pad)
    if config.block == 1:
        row = ungrouped(row)
    side = config.image_size
    image = np.random.default_rng(0).integers(0, 256, (batch, 1, side, side, 3), np.uint8)
    return Rows(row.map(lambda field: np.repeat(np.asarray(field)[None], batch, axis=0)), image)


def _train_cost(recipe: Recipe, repeats: int) -> Cost:
    mesh, stage = parallel.make_mesh(recipe.mesh), recipes.build(recipe, recipes.at_random)
    batch = _rows(stage.omni, recipe.train.global_batch_size)
    with jax.set_mesh(mesh):
        step = training_step(recipe, stage, batch, mesh)
        return Cost(measure.median_seconds(step, repeats=repeats), _gib(step.compiled))


def _draw_cost(recipe: Recipe, repeats: int) -> Cost:
    omni, batch = Omni(recipe.model), recipe.train.global_batch_size
    weights = random_weights(omni, ("ar", "head"))
    keys = jax.random.split(jax.random.key(0), batch)
    dials = Dials.of(omni.config, Sampling(), batch)
    arguments = (weights, prompt_rows(omni, [PROMPT] * batch), keys, dials)
    compiled = draw.lower(omni, *arguments).compile()
    run = lambda: compiled(*arguments)  # noqa: E731
    return Cost(measure.median_seconds(run, repeats=repeats), _gib(compiled))


def _gib(compiled: Any) -> float:
    """Returns the GiB that a running program holds: arguments, other results, temporaries."""
    used = compiled.memory_analysis()
    held = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
    return (held + used.temp_size_in_bytes) / _GIB
