# SPDX-License-Identifier: Apache-2.0
"""One recipe becomes a stage in one place, wherever its frozen weights come from."""

import pathlib

import jax
import numpy as np
import pytest

from omnigen import recipe as recipes
from omnigen.checkpoints import manager
from omnigen.models import omni
from omnigen.stages.ar import ARObjective, ARStage

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def recipe() -> recipes.Recipe:
    return recipes.read(f"{CONFIGS / 'ar'}.py:debug")


def test_shapes_and_random_weights_make_the_same_stage(recipe) -> None:
    abstract, random = (recipes.build(recipe, f) for f in (recipes.as_shapes, recipes.at_random))
    for stage in abstract, random:
        assert type(stage) is ARStage and stage.omni.config == recipe.model
        assert stage.objective == recipe.objective and stage.data == recipe.data
        assert stage.frozen.keys() == {"encoder", "decoder"}
    assert {type(leaf) for leaf in jax.tree.leaves(abstract.frozen)} == {jax.ShapeDtypeStruct}
    ours, theirs = (
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), stage.frozen)
        for stage in (abstract, random)
    )
    assert ours == theirs


def test_frozen_weights_are_those_of_the_checkpoint(recipe, untrained) -> None:
    path = f"{CONFIGS / 'ar'}.py:debug"
    given = recipes.read(path, [f"--config.train.frozen_from={untrained}"])
    stage = recipes.build(given, recipes.from_checkpoint)
    stored = manager.load_model(untrained).params
    wanted = {part: stored[part] for part in ("encoder", "decoder")}
    jax.tree.map(np.testing.assert_array_equal, stage.frozen, wanted)
    with pytest.raises(ValueError, match="set config.train.frozen_from to a checkpoint"):
        recipes.build(recipe, recipes.from_checkpoint)


def test_the_model_is_made_once(recipe, monkeypatch) -> None:
    made = []
    whole = omni.Omni.__init__
    monkeypatch.setattr(omni.Omni, "__init__", lambda s, c: (made.append(c), whole(s, c))[1])
    recipes.build(recipe, recipes.at_random)
    assert made == [recipe.model]


def test_an_objective_is_that_of_its_stage() -> None:
    values = {"stage": "ar", "model": {}, "data": {}, "optimizer": {}, "mesh": {}, "train": {}}
    found = recipes.from_dict({**values, "objective": {"draws": 2}})
    assert found.objective == ARObjective(draws=2)
    with pytest.raises(ValueError, match="unknown config key objective.truncate"):
        recipes.from_dict({**values, "objective": {"truncate": 0.5}})
    for stage in "vae", None, ["ar"], {}:
        with pytest.raises(ValueError, match=r"^stage .* is unknown; choose one of: tokenizer"):
            recipes.from_dict({**values, "objective": {}, "stage": stage})
