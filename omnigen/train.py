# SPDX-License-Identifier: Apache-2.0
"""Trains any stage from its recipe, or goes on where the workdir's newest checkpoint stopped."""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from omnigen import cli

PROGRAM = "omnigen.train"
USAGE = """
Trains a stage:    python -m omnigen.train --config configs/ar.py:nano --workdir runs/ar
Changes a recipe:  add --config.train.steps=100, or any other of its keys
Fine-tunes:        add --config.train.init_from=shipped --config.train.frozen_from=shipped, or name
                   other checkpoints than the model that ships
Resumes:           the same command again
Finds bad chips:   add --replay STEP to make the steps between two of the workdir's checkpoints
                   again and compare every array; exit code 1 if one differs

A workdir holds config.json, metrics.jsonl, log.txt, samples/, checkpoints/ and TensorBoard events.
"""


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    cli.define_recipe(values, "--config.KEY=VALUE changes a key of it")
    cli.define_path(values, "workdir", None, "the run's folder; made if it does not exist")
    text = "trains nothing, but repeats the steps from this checkpoint to the next"
    flags.DEFINE_integer("replay", None, text, lower_bound=1, flag_values=values)
    return values


def _check_workdir(location: str) -> None:
    """Refuses a workdir that could not be written, without making it."""
    if "://" in location:
        raise ValueError(f"--workdir {location}: must be a folder; mount the bucket as one")
    path = pathlib.Path(location)
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise ValueError(f"--workdir {path}: {existing} is not a folder")
    if not os.access(existing, os.W_OK):
        raise ValueError(f"--workdir {path}: {existing} is not writable")


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    began = time.time()
    values = _flags()
    with contextlib.ExitStack() as setup:
        setup.enter_context(cli.bad_input_exits(PROGRAM))
        overrides = cli.parse(values, usage=USAGE, argv=argv)
        cli.require(values, "config", "workdir")
        _check_workdir(values.workdir)

        from omnigen import parallel
        from omnigen import recipe as recipes

        recipe = recipes.read(values.config, overrides)
        recipe.check_extras(judged=True)

        from omnigen.data.stream.mixing import BadCorpusError
        from omnigen.evals import registry
        from omnigen.generation.pretrained import check_weights, locate
        from omnigen.training import loop, replay

        cli.cache_compilations()
        parallel.initialize()
        mesh = parallel.make_mesh(recipe.mesh)
        recipe.check_mesh(mesh.shape)
        stage = recipes.build(recipe, recipes.from_checkpoint)
        given: Any = {"optimizer": recipe.optimizer, "mesh": mesh, "seed": recipe.seed}
        given |= {"workdir": pathlib.Path(values.workdir), "started": setup.close}
        given |= {"settings": recipes.settings(recipe), "schema": recipes.schema(recipe)}
        train = dataclasses.replace(recipe.train, init_from=locate(recipe.train.init_from))
        with cli.bad_input_exits(PROGRAM, (BadCorpusError,)):
            if values.replay is not None:
                found = replay.replay(stage, train, first=values.replay, **given)
                cli.say(found.line)
                raise SystemExit(bool(found.arrays or found.losses))
            given |= {"check": check_weights}
            if train.eval_every:
                given |= {"evaluators": registry.in_training(recipe.evals, stage)}
            loop.run(stage, train, began=began, **given)


if __name__ == "__main__":
    main()
