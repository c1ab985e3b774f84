# SPDX-License-Identifier: Apache-2.0
"""One recipe becomes a stage in one place, wherever its frozen weights come from."""

import dataclasses
import math
import pathlib
import typing
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from omnigen import config
from omnigen import recipe as recipes
from omnigen.checkpoints import manager
from omnigen.models import omni
from omnigen.stages.ar import ARObjective, ARStage
from omnigen.training.changes import flat

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


def derived(cls: type, path: str = "") -> Iterator[str]:
    """Yields the keys of fields that are not a config's."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        key = f"{path}{field.name}"
        if dataclasses.is_dataclass(hints[field.name]):
            yield from derived(hints[field.name], f"{key}.")
        elif "derived" in field.metadata:
            yield key


def at(recipe: recipes.Recipe, key: str) -> int:
    for name in key.split("."):
        recipe = getattr(recipe, name)
    return recipe


def test_derived_keys_are_those_of_the_table_and_have_its_values(recipe) -> None:
    assert set(derived(recipes.Recipe)) == config.DERIVED.keys()
    stored = flat(config.to_dict(recipe))
    for key, owners in config.DERIVED.items():
        assert at(recipe, key) == math.prod(at(recipe, owner) for owner in owners)
        assert key not in stored


OLD = (
    "--config.model.encoder.merge=1", "--config.model.decoder.token_size=8",
    "--config.model.encoder.latent_dim=12", "--config.model.ar.latent_dim=12",
    "--config.model.decoder.latent_dim=12", "--config.model.head.latent_dim=12",
    "--config.model.image_size=64", "--config.data.image_size=64",
    "--config.model.ar.embed_dim=96", "--config.model.head.cond_dim=96",
    "--config.data.row_length=400",
)  # fmt: skip


def test_commands_that_repeat_sizes_mean_the_same() -> None:
    path = f"{CONFIGS / 'ar'}.py:debug"
    others = [argument for argument in OLD if argument.partition("=")[0][9:] not in config.DERIVED]
    assert len(OLD) - len(others) == len(config.DERIVED)
    assert recipes.read(path, OLD) == recipes.read(path, others)
    for wrong in sorted(set(OLD) - set(others)):
        with pytest.raises(ValueError, match=f"^config key {wrong[9:].partition('=')[0]} is "):
            recipes.read(path, [wrong + "0"])
