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
or another's pictures:  python -m omnigen.evaluate --suites exact --images DIR --output runs/other
Its numbers go to metrics.json there, and to the terminal; pictures and verdicts too, if any.
"""
SUITES = {  # and the weights that each needs
    "reconstruction": ("encoder", "decoder"),
    "samples": ("decoder", "ar", "head"),
    "exact": ("decoder", "ar", "head"),
    "fidelity": ("encoder", "decoder"),
    "lpips": ("encoder", "decoder"),
}
COUNTS = {"reconstruction": 64, "samples": 64, "exact": 4, "fidelity": 64, "lpips": 64}


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    for name, text in (
        ("checkpoint", "a workdir or checkpoint folder; the shipped model if not given"),
        ("output", "the folder to write metrics.json to; made if it does not exist"),
        ("images", "pictures to judge instead, as PROMPT/samples/NUMBER.png; suite exact only"),
        ("inception_weights", "the weights file of FID's network; suite fidelity only"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    suites = f"benchmarks, separated by commas: {', '.join(SUITES)}"
    flags.DEFINE_list("suites", ["reconstruction"], suites, flag_values=values)
    text = (
        "pictures of each kind to judge by (default: 64), or of each prompt of exact (default: 4)"
    )
    flags.DEFINE_integer("count", None, text, lower_bound=1, upper_bound=10_000, flag_values=values)
    return values


def _output(name: str | None) -> pathlib.Path:
    if name is None:
        raise ValueError("--output is required")
    path = pathlib.Path(name)
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"--output {path}: {existing} is not a writable folder")
    return path


def _images(values: flags.FlagValues) -> pathlib.Path | None:
    """The folder of another system's pictures, if there is to be no model."""
    if values.images is None:
        return None
    if values.suites != ["exact"] or values.checkpoint is not None:
        raise ValueError(f"--images {values.images}: needs --suites exact and no --checkpoint")
    if not pathlib.Path(values.images).is_dir():
        raise ValueError(f"--images {values.images}: no such folder")
    return pathlib.Path(values.images)


def _suite(
    name: str,
    omni: "Omni | None",
    *,
    count: int,
    output: pathlib.Path,
    images: pathlib.Path | None,
    inception_weights: str | None,
) -> "Evaluator":
    """Makes the evaluator of a suite; without a model it judges `images`."""
    from omnigen.evals.exact import Exact
    from omnigen.evals.judges.inception import Inception
    from omnigen.evals.likeness import Fidelity, Perceptual
    from omnigen.evals.reconstruction import Reconstruction
    from omnigen.evals.samples import Samples

    if name == "exact":
        return Exact(omni, count=count, output=output, images=images)
    assert omni is not None
    if name == "samples":
        return Samples(omni, count=count, output=output)
    if name == "fidelity":
        return Fidelity(omni, inception=Inception(inception_weights), count=count)
    if name == "lpips":
        return Perceptual(omni, count=count)
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
        images, model = _images(values), None
        if images is None:
            cli.cache_compilations()

            from omnigen import pretrained

            needed = {part for name in values.suites for part in SUITES[name]}
            model = pretrained.load(values.checkpoint, needed=needed)
        omni, weights = (model.omni, model.params) if model else (None, {})
        counts = {name: values.count or COUNTS[name] for name in values.suites}
        evaluators = {
            name: _suite(
                name,
                omni,
                count=count,
                output=output,
                images=images,
                inception_weights=values.inception_weights,
            )
            for name, count in counts.items()
        }
    report: dict[str, object] = {"images": str(images)}
    if model is not None:
        report = {"checkpoint": model.path, "model": model.version, "step": model.step}
    for name, evaluator in evaluators.items():
        report[f"{name}/count"] = counts[name]
        for metric, value in evaluator.run({}, weights):
            print(f"{name}/{metric} {value:.4g}", file=sys.stderr, flush=True)
            report[f"{name}/{metric}"] = value
    output.mkdir(parents=True, exist_ok=True)
    (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
