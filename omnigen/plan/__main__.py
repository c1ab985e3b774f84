# SPDX-License-Identifier: Apache-2.0
"""Plans a training run, or drawing, on chips that are not here; nothing is allocated."""

import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from omnigen import cli, topologies

PROGRAM = "omnigen.plan"
DOES_NOT_FIT = 2
USAGE = """
Training:   python -m omnigen.plan --config configs/ar.py:14b --topology v5p-512
What fits:  add --fit to search microbatches, rematerialisation and, if it must, another mesh
Drawing:    add --sample, and --batch_size
Compiles the real training step for the topology and prints its memory, collectives, roofline, days
and chip-hours. Exit code 2 if it does not fit. TPU topologies need: pip install 'omnigen-jax[plan]'
"""
KNOBS = """What helps, the first first:
  --config.train.microbatches={parts}   cut the batch into more parts
  --config.model.ar.remat=full (and decoder, encoder)     keep less of each layer
  --config.mesh.tensor={tensor}, or a larger --topology   split weights and activations further
  or let --fit search"""


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    cli.define_recipe(values, "--config.KEY=VALUE changes a key of it")
    text = "chips, such as v5p-512, v5e-256 or h100x8"
    flags.DEFINE_string("topology", None, text, flag_values=values)
    for name, text in (
        ("fit", "search for the fastest way to train that fits"),
        ("sample", "plan drawing instead of training"),
        ("optimize", "compile at full effort: slower, with nearly the same numbers"),
    ):
        flags.DEFINE_boolean(name, False, text, flag_values=values)
    for name, text in (
        ("batch_size", "pictures at a time, of --sample"),
        ("slices", "TPU slices, joined by the data centre's network"),
    ):
        flags.DEFINE_integer(name, 1, text, lower_bound=1, flag_values=values)
    text = "a Markdown file that gets a row for the table in docs/scaling.md"
    cli.define_path(values, "row", None, text)
    return values


def _training(values: flags.FlagValues, overrides: Sequence[str]) -> bool:
    """Plans a training run; returns whether it fits."""
    topology = topologies.find(values.topology)

    from omnigen.plan import target

    target.prepare(topology)

    from omnigen import recipe as recipes
    from omnigen.plan import fit, program, report

    recipe, how = recipes.read(values.config, overrides), ""
    devices = target.devices(topology, slices=values.slices)
    if values.fit:
        best = fit.search(recipe, topology, devices)
        how, recipe, found = best.flags(recipe), best.recipe, best.program
        if report.fits(found, topology):
            print(f"the fastest that fits:\n{how}")
    else:
        found = program.compile_training(recipe, devices, optimize=values.optimize)
    print(report.text(found, topology, steps=recipe.train.steps))
    if values.row:
        name = cli.printable(pathlib.Path(values.config).name.replace(".py:", " "))
        line = report.row(found, topology, recipe, name=name)
        with pathlib.Path(values.row).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    if report.fits(found, topology):
        return True
    if values.fit:
        needed, room = found.needed / 2**30, report.room(topology) / 2**30
        text = f"{PROGRAM}: nothing fits {topology.name}: a device has {room:.2f} GiB and needs "
        print(f"{text}{needed:.2f} or more, with {how}", file=sys.stderr)
    else:
        tensor = 2 * found.mesh["tensor"]
        print(KNOBS.format(parts=2 * recipe.train.microbatches, tensor=tensor), file=sys.stderr)
    return False


def _drawing(values: flags.FlagValues, overrides: Sequence[str]) -> bool:
    """Plans drawing; returns whether it fits."""
    from omnigen import recipe as recipes
    from omnigen.plan import sampling

    topology = topologies.find(values.topology)
    recipe = recipes.read(values.config, overrides)
    found = sampling.sampling(recipe.model, topology, batch_size=values.batch_size)
    print(sampling.text(found, topology, batch_size=values.batch_size))
    return sampling.fits(found, topology)


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = _flags()
    with cli.bad_input_exits(PROGRAM):
        overrides = cli.parse(values, usage=USAGE, argv=argv)
        cli.require(values, "config", "topology")
        cli.check_writable(values, "row")
        if values.sample and (values.row or values.fit):
            raise ValueError("--row and --fit are of training, and not of --sample")
        if not values.sample and values["batch_size"].present:
            raise ValueError("--batch_size is of --sample; train.global_batch_size of training")
        plan = _drawing if values.sample else _training
        fits = plan(values, overrides)
    if not fits:
        raise SystemExit(DOES_NOT_FIT)


if __name__ == "__main__":
    main()
