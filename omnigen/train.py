# SPDX-License-Identifier: Apache-2.0
"""Trains any stage from its recipe, or goes on where the workdir's newest checkpoint stopped."""

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from omnigen import cli, config

if TYPE_CHECKING:
    from omnigen.recipe import Recipe
    from omnigen.stages.base import Stage

PROGRAM = "omnigen.train"
USAGE = """
Trains a stage:    python -m omnigen.train --config configs/ar.py:nano --workdir runs/ar
Changes a recipe:  add --config.train.steps=100, or any other of its keys
Resumes:           the same command again

A workdir holds config.json, metrics.jsonl, log.txt, samples/, checkpoints/ and TensorBoard events.
"""


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    for name, text in (
        ("config", "the recipe, FILE.py:ARGUMENT; --config.KEY=VALUE changes a key of it"),
        ("workdir", "the run's folder; made if it does not exist"),
    ):
        flags.DEFINE_string(name, None, text, required=True, flag_values=values)
    return values


def _check_workdir(path: pathlib.Path) -> None:
    """Refuses a workdir that could not be written, without making it."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise ValueError(f"--workdir {path}: {existing} is not a folder")
    if not os.access(existing, os.W_OK):
        raise ValueError(f"--workdir {path}: {existing} is not writable")


def build_stage(recipe: "Recipe") -> "Stage":
    """Makes the stage of a recipe, with its frozen parts from `train.tokenizer`.

    Raises:
        ValueError: no such checkpoint, or one that lacks a part or has it in another shape.
    """
    from omnigen.models.omni import Omni
    from omnigen.stages import base as stages
    from omnigen.training import checkpoint

    stage = stages.find(recipe.stage)
    frozen = {}
    if stage.needed and recipe.train.tokenizer:
        loaded = checkpoint.load_model(recipe.train.tokenizer)
        nets = Omni(recipe.model).nets
        given = {part: nets[part].shapes() for part in stage.needed if part in loaded.params}
        frozen = checkpoint.graft(given, loaded)
    return stage(recipe.model, recipe.objective, recipe.data, frozen)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = _flags()
    with cli.bad_input_exits(PROGRAM):
        overrides = cli.parse(values, usage=USAGE, argv=argv)
        _check_workdir(pathlib.Path(values.workdir))

        from omnigen import parallel
        from omnigen import recipe as recipes
        from omnigen.training import loop

        recipe = recipes.read(values.config, overrides)
        cli.cache_compilations()
        parallel.initialize()
        mesh = parallel.make_mesh(recipe.mesh)
        recipe.check_mesh(mesh.shape)
        stage = build_stage(recipe)
        loop.run(
            stage,
            recipe.train,
            optimizer=recipe.optimizer,
            mesh=mesh,
            workdir=values.workdir,
            settings=config.to_dict(recipe),
            seed=recipe.seed,
        )


if __name__ == "__main__":
    main()
