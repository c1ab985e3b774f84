# SPDX-License-Identifier: Apache-2.0
"""Judges a checkpoint by benchmarks and writes the numbers as JSON."""

import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from omnigen import cli

if TYPE_CHECKING:
    from omnigen.evals.base import Evaluator
    from omnigen.models.omni import Omni

PROGRAM = "omnigen.evaluate"
USAGE = """
Judges a model:  python -m omnigen.evaluate --checkpoint runs/ar --output runs/ar/eval
Its numbers go to metrics.json there, and to the terminal; pictures of the suite `samples` too.
"""
SUITES = {  # and the weights that each needs
    "reconstruction": ("encoder", "decoder"),
    "samples": ("decoder", "ar", "head"),
}


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    for name, text in (
        ("checkpoint", "a workdir or checkpoint folder; the shipped model if not given"),
        ("output", "the folder to write metrics.json to; made if it does not exist"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    suites = f"benchmarks, separated by commas: {', '.join(SUITES)}"
    flags.DEFINE_list("suites", ["reconstruction"], suites, flag_values=values)
    text = "pictures of each kind to judge by"
    flags.DEFINE_integer("count", 64, text, lower_bound=1, upper_bound=10_000, flag_values=values)
    return values


def _output(name: str | None) -> pathlib.Path:
    if name is None:
        raise ValueError("--output is required")
    path = pathlib.Path(name)
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"--output {path}: {existing} is not a writable folder")
    return path


def _suite(name: str, omni: "Omni", *, count: int, output: pathlib.Path) -> "Evaluator":
    """Makes the evaluator of a suite."""
    from omnigen.evals.reconstruction import Reconstruction
    from omnigen.evals.samples import Samples

    if name == "samples":
        return Samples(omni, count=count, output=output)
    return Reconstruction(omni, count=count)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = _flags()
    with cli.bad_input_exits(PROGRAM):
        cli.parse(values, usage=USAGE, argv=argv)
        output = _output(values.output)
        unknown = [name for name in values.suites if name not in SUITES]
        if unknown or not values.suites:
            raise ValueError(f"--suites {','.join(values.suites)}: allowed: {', '.join(SUITES)}")
        cli.cache_compilations()

        from omnigen import pretrained

        model = pretrained.load(
            values.checkpoint, needed={part for name in values.suites for part in SUITES[name]}
        )
    report: dict[str, object] = {
        "checkpoint": model.path,
        "model": model.version,
        "step": model.step,
        "count": values.count,
    }
    for name in values.suites:
        evaluator = _suite(name, model.omni, count=values.count, output=output)
        for metric, value in evaluator.run({}, model.params):
            print(f"{name}/{metric} {value:.4g}", file=sys.stderr, flush=True)
            report[f"{name}/{metric}"] = value
    output.mkdir(parents=True, exist_ok=True)
    (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
