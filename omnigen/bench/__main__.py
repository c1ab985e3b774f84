# SPDX-License-Identifier: Apache-2.0
"""Measures this machine: training steps, drawing, data and checkpoints, against its own ceilings.

Times are medians of repeated runs after a warm-up. A ceiling is what one large matrix product and
one large copy reach here, so that a figure says how much is left and not only how large it is.
"""

import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from omnigen import cli, files

if TYPE_CHECKING:
    from omnigen.bench.measure import Row
    from omnigen.models.omni import Omni
    from omnigen.nn.module import Params
    from omnigen.recipe import Recipe

PROGRAM = "omnigen.bench"
STEPS = 4  # in a row, of a measurement
USAGE = """
A training step:  python -m omnigen.bench train --config configs/ar.py:nano
Drawing:          python -m omnigen.bench sample --batch_size 16 [--config configs/ar.py:base]
Input pipeline:   python -m omnigen.bench data --config configs/ar.py:nano
Checkpoints:      python -m omnigen.bench checkpoint --config configs/ar.py:nano
How costs grow:   python -m omnigen.bench grow --config configs/ar.py:nano --markdown grow.md
Prints one figure a line; --json FILE also writes them. --config.KEY=VALUE changes a recipe's key.
--profile DIR, of train and sample, also writes a trace and prints what took longest.
"""


def bench_train(
    recipe: "Recipe", *, repeats: int, trace: str | None = None
) -> tuple[dict[str, float], list["Row"]]:
    """Times training steps in a row on a batch of noise that stays on the device.

    FLOPs are by formula.
    """
    import jax

    from omnigen import parallel, topologies
    from omnigen import recipe as recipes
    from omnigen.bench import measure, workload

    mesh, stage = parallel.make_mesh(recipe.mesh), recipes.build(recipe, recipes.at_random)
    top = measure.ceilings()
    size = recipe.train.global_batch_size
    batch = stage.noise(size)
    rates = stage.rates(batch)
    with jax.set_mesh(mesh):
        step = workload.training_step(recipe, stage, batch, mesh)
        # Training does not wait for a step before it starts the next.
        seconds = measure.median_seconds(step, repeats=repeats, calls=STEPS)
        rows = measure.profile(step, trace) if trace else []
    achieved = rates.flops / seconds / 1e12 / mesh.size
    chip = topologies.chip_of(mesh.devices.flat[0].device_kind)
    figures = {
        "compile_s": step.compile_s,
        "step_ms": seconds * 1e3,
        "images_per_s": rates.images / seconds,
        **({"readings_per_s": rates.readings / seconds} if rates.readings else {}),
        "tokens_per_s": rates.tokens / seconds,
        "fill": rates.tokens / rates.positions,
        "tflops_per_s_per_device": achieved,
        "executed_tflops_per_s_per_device": rates.executed_flops / seconds / 1e12 / mesh.size,
        **({"mfu_percent": 100 * achieved / chip.device_tflops} if chip else {}),
        "measured_peak_tflops_per_s": top.tflops,
        "percent_of_measured_peak": 100 * achieved / top.tflops,
    }
    return figures, rows


def bench_sample(
    omni: "Omni",
    params: Mapping[str, "Params"],
    *,
    batch_size: int,
    repeats: int,
    trace: str | None = None,
) -> tuple[dict[str, float], list["Row"]]:
    """Times a batch of pictures, beside the time that reading the weights alone would take.

    The floor counts each weight of the transformer once a group of tokens and each of the flow head
    once a step of a group, whatever the batch: what bounds drawing one picture.
    """
    import jax
    import jax.numpy as jnp

    from omnigen.bench import measure
    from omnigen.bench.workload import PROMPT
    from omnigen.generation.generate import generate
    from omnigen.generation.prompt import prompt_rows

    top, rows = measure.ceilings(), prompt_rows(omni, [PROMPT] * batch_size)
    keys = jax.vmap(jax.random.key)(jnp.arange(batch_size, dtype=jnp.uint32))
    since = time.perf_counter()
    jax.block_until_ready(generate(omni, params, rows, keys))
    first = time.perf_counter() - since
    run = lambda: generate(omni, params, rows, keys)  # noqa: E731
    seconds = measure.median_seconds(run, repeats=repeats)
    traced = measure.profile(run, trace) if trace else []
    size = {part: sum(w.nbytes for w in jax.tree.leaves(params[part])) for part in params}
    groups, steps = omni.config.groups, omni.config.head.num_steps
    floor = groups * (size["ar"] + steps * size["head"]) / (top.bandwidth * 1e9)
    figures = {
        "first_call_s": first,
        "batch_s": seconds,
        "pictures_per_s": batch_size / seconds,
        "weights_floor_s": floor,
        "times_the_floor": seconds / floor,
        "measured_bandwidth_GB_per_s": top.bandwidth,
    }
    return figures, traced


def bench_data(recipe: "Recipe", *, repeats: int) -> dict[str, float]:
    """Times batches as the recipe makes them, after the first."""
    from omnigen import parallel
    from omnigen import recipe as recipes
    from omnigen.training import metrics

    stage, size = recipes.build(recipe, recipes.at_random), recipe.train.global_batch_size
    since = time.perf_counter()
    stream = iter(stage.dataset(size, parallel.DataShard()))
    next(stream)
    first = time.perf_counter() - since
    since, found = time.perf_counter(), []
    for _ in range(repeats):
        found.append(stage.rates(next(stream)))
    held = metrics.total(found)
    seconds = time.perf_counter() - since
    return {
        "first_batch_s": first,
        "batch_ms": seconds / repeats * 1e3,
        "images_per_s": held.images / seconds,
        **({"readings_per_s": held.readings / seconds} if held.readings else {}),
        "workers": float(recipe.data.workers),
    }


def bench_checkpoint(recipe: "Recipe", *, repeats: int) -> dict[str, float]:
    """Times saving and restoring the recipe's whole training state in a temporary folder.

    A save must wait for the state to be copied off the devices; `blocking_times_the_copy` says how
    much longer it waits.
    """
    import jax
    import jax.numpy as jnp

    from omnigen import config, parallel
    from omnigen import recipe as recipes
    from omnigen.bench import measure, workload
    from omnigen.checkpoints import manager

    mesh, stage = parallel.make_mesh(recipe.mesh), recipes.build(recipe, recipes.at_random)
    settings = config.to_dict(recipe)
    blocked, saved, restored = [], [], []
    with tempfile.TemporaryDirectory() as folder, jax.set_mesh(mesh):
        held, target, _ = workload.state_of(recipe, stage, mesh)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(held))
        copy = measure.seconds_to_host(held, repeats=repeats)
        for number in range(1, repeats + 1):
            # as a step leaves it: arrays keep what was copied of them once
            held = jax.block_until_ready(jax.tree.map(jnp.copy, held))
            checkpoints = manager.Checkpoints(folder, keep=1)
            since = time.perf_counter()
            checkpoints.save(number, manager.Snapshot(held, {}, b""), settings)
            blocked.append(time.perf_counter() - since)
            checkpoints.close()
            saved.append(time.perf_counter() - since)
            checkpoints = manager.Checkpoints(folder, keep=1)
            since = time.perf_counter()
            jax.block_until_ready(checkpoints.restore(number, state=target, frozen={}).state)
            restored.append(time.perf_counter() - since)
            checkpoints.close()
    return {
        "state_GB": size / 1e9,
        "copy_to_host_s": copy,
        "blocking_s": statistics.median(blocked),
        "blocking_times_the_copy": statistics.median(blocked) / copy,
        "save_s": statistics.median(saved),
        "save_MB_per_s": size / 1e6 / statistics.median(saved),
        "restore_s": statistics.median(restored),
        "restore_MB_per_s": size / 1e6 / statistics.median(restored),
    }


def bench_grow(recipe: "Recipe", *, repeats: int, longest: float) -> str:
    """Measures how training and drawing grow with tokens, batch and layers, as a Markdown table."""
    from omnigen.bench import workload

    if recipe.stage != "ar":
        raise ValueError(f"grow measures the stage ar, not {recipe.stage}")

    def tell(point: workload.Point) -> None:
        cli.say(f"{point.axis} {point.value}: {point.train}, {point.draw}", sys.stderr)

    return workload.table(workload.grow(recipe, repeats=repeats, longest=longest, tell=tell))


SUBJECTS = ("train", "sample", "data", "checkpoint", "grow")


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    cli.define_recipe(values, "sample draws with random weights of its sizes")
    for name, text in (
        ("checkpoint", "a workdir or checkpoint folder, of sample; the shipped model if not given"),
        ("json", "a file for the figures"),
        ("profile", "a folder for a trace, of train and sample"),
        ("markdown", "a file for the table of grow, which is printed if not given"),
    ):
        cli.define_path(values, name, None, text)
    for name, default, text in (
        ("batch_size", 1, "pictures at a time, of sample"),
        ("repeats", 5, "runs to take the median of"),
    ):
        flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)
    flags.DEFINE_float(
        "longest",
        10.0,
        "seconds; grow tries nothing larger along an axis after a call that took longer",
        lower_bound=0.0,
        flag_values=values,
    )
    return values


def _drawn(values: flags.FlagValues, overrides: Sequence[str]) -> tuple["Omni", dict[str, Any]]:
    """Returns the model to draw with: a recipe's with random weights, or a trained one."""
    needed = ("decoder", "ar", "head")
    if values.config is None:
        from omnigen.generation import pretrained

        model = pretrained.load(values.checkpoint, needed=needed)
        return model.omni, model.params
    from omnigen import recipe as recipes
    from omnigen.bench import workload
    from omnigen.models.omni import Omni

    omni = Omni(recipes.read(values.config, overrides).model)
    return omni, workload.random_weights(omni, needed)


def _measure(
    subject: str, values: flags.FlagValues, overrides: Sequence[str]
) -> tuple[dict[str, float], list["Row"]]:
    repeats, trace = values.repeats, values.profile
    if subject == "sample":
        size = values.batch_size
        omni, params = _drawn(values, overrides)
        return bench_sample(omni, params, batch_size=size, repeats=repeats, trace=trace)
    from omnigen import recipe as recipes

    recipe = recipes.read(values.config, overrides)
    if subject == "data":
        recipe.check_extras(judged=False)
    if subject == "train":
        return bench_train(recipe, repeats=repeats, trace=trace)
    benches = {"data": bench_data, "checkpoint": bench_checkpoint}
    return benches[subject](recipe, repeats=repeats), []


def _grow(values: flags.FlagValues, overrides: Sequence[str]) -> None:
    """Prints or writes the table, under the name of the machine."""
    import jax

    from omnigen import recipe as recipes

    recipe = recipes.read(values.config, overrides)
    found = bench_grow(recipe, repeats=values.repeats, longest=values.longest)
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}"
    text = f"`{cli.printable(values.config)}` on {device}:\n\n{found}\n"
    if values.markdown:
        files.write(pathlib.Path(values.markdown), text, follow=True)
    else:
        print(text, end="")


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = _flags()
    arguments = list(sys.argv[1:] if argv is None else argv)
    subject = arguments.pop(0) if arguments and not arguments[0].startswith("-") else ""
    with cli.bad_input_exits(PROGRAM):
        overrides = cli.parse(values, usage=USAGE, argv=arguments)
        if subject not in SUBJECTS:
            raise ValueError(f"{subject or 'nothing'} cannot be measured: {', '.join(SUBJECTS)}")
        if subject != "sample" and values.config is None:
            raise ValueError(f"{subject} needs --config")
        if values.config and values.checkpoint:
            raise ValueError("--config and --checkpoint: sample takes one of them")
        if values.profile and subject not in ("train", "sample"):
            raise ValueError(f"--profile is of train and sample, not of {subject}")
        if values.profile and pathlib.Path(values.profile).is_file():
            raise ValueError(f"--profile {values.profile}: is a file; a trace is a folder")
        if values["batch_size"].present and subject != "sample":
            raise ValueError(f"--batch_size is of sample, not of {subject}; change its recipe")
        if overrides and values.config is None:
            raise ValueError(f"{overrides[0]}: changes a recipe; give its --config")
        cli.check_writable(values, "json", "markdown")
        cli.cache_compilations()
        import jax

        from omnigen.bench import measure

        if subject == "grow":
            _grow(values, overrides)
            return
        figures, rows = _measure(subject, values, overrides)
    kind = jax.devices()[0].device_kind
    print(f"{subject} on {jax.device_count()} x {kind}, jax {jax.__version__}")
    for name, value in figures.items():
        print(f"{name} {value:.4g}")
    if rows:
        cli.say(f"trace in {values.profile}; the longest, of all streams or threads together:")
        print(measure.table(rows))
    if values.json:
        report = {"subject": subject, "device": kind, "jax": jax.__version__, **figures}
        files.write(pathlib.Path(values.json), json.dumps(report, indent=2) + "\n", follow=True)


if __name__ == "__main__":
    main()
