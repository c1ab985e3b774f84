# SPDX-License-Identifier: Apache-2.0
"""A whole training run as one frozen dataclass, and what must hold between its parts."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from omnigen import cli, config, extras, files
from omnigen.data.stream.pipeline import DataConfig
from omnigen.evals import registry
from omnigen.models import compatibility
from omnigen.models.omni import DEFAULTS, Omni, OmniConfig, stored_config
from omnigen.nn.module import Net, Params
from omnigen.parallel import MeshConfig
from omnigen.stages import base as stages
from omnigen.training.changes import Schema
from omnigen.training.optim import OptimizerConfig
from omnigen.training.stage import TrainConfig

Nets = Mapping[str, Net[Any]]

# What judges a stage whose recipe does not say, as recipes of older versions do not.
EVALS = {
    "tokenizer": ("held_out", "reconstruction"),
    "decoder": ("held_out", "reconstruction"),
    "ar": ("held_out", "exact/12"),
    "distillation": ("held_out", "exact/12"),
}
UNSEEN = {f"model.{key}": part for key, part in compatibility.UNSEEN.items()}
MIXTURES = ("mixture", "reading_mixture")  # of the data
MOST_TOKENIZER_BYTES = 1 << 28

# Widths that each mesh axis splits, by part of the model.
SPLITS = {
    "tensor": {
        "encoder": ("num_heads", "mlp_dim"),
        "decoder": ("num_heads", "mlp_dim"),
        "ar": ("num_heads", "num_kv_heads", "mlp_dim", "vocab_size"),
        "head": ("mlp_dim", "embed_dim"),
    },
    "fsdp": {part: ("embed_dim",) for part in ("encoder", "decoder", "ar", "head")},
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What `configs/*.py` describe: everything that decides a run but the folder it lives in.

    Attributes:
        stage: Name of what is trained; see `stages.base`.
        model: Sizes of all parts.
        objective: Settings of the stage, its `Objective`.
        data: What it trains on.
        optimizer: Settings of the optimizer.
        mesh: How many ways the devices are split.
        train: Settings of the loop.
        seed: Seed of weights and of everything random in training.
        evals: What judges the stage in training; see `evals.registry.listed`.
    """

    stage: str
    model: OmniConfig
    objective: stages.Objective
    data: DataConfig
    optimizer: OptimizerConfig
    mesh: MeshConfig
    train: TrainConfig
    seed: int = 0
    evals: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        data = dataclasses.replace(self.data, image_size=self.model.image_size)
        object.__setattr__(self, "data", data)  # a derived value; see `config.DERIVED`
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"seed is {self.seed}; it must be in [0, 2**32)")
        unknown = [key for key in self.train.relearnt if key not in UNSEEN]
        if unknown:
            raise ValueError(
                f"train.relearn is {self.train.relearn!r}; allowed: {', '.join(UNSEEN)}, with "
                "commas between them"
            )
        sizes = dataclasses.asdict(self.mesh)
        self.check_mesh({axis: max(size, 1) for axis, size in sizes.items()})

    def check_mesh(self, sizes: Mapping[str, int]) -> None:
        """Checks that the mesh divides the model and the batch.

        Args:
            sizes: Sizes of the mesh's axes; 1 where it is not known yet.

        Raises:
            ValueError: If an axis does not divide a size; the message names both.
        """
        for axis, parts in SPLITS.items():
            for part, names in parts.items():
                for name in names:
                    width = getattr(getattr(self.model, part), name)
                    if width % sizes[axis]:
                        raise ValueError(
                            f"model.{part}.{name} is {width}; mesh.{axis}={sizes[axis]} "
                            "does not divide it"
                        )
        if self.data.row_length % sizes["sequence"]:
            raise ValueError(
                f"data.row_length is {self.data.row_length}; "
                f"mesh.sequence={sizes['sequence']} does not divide it"
            )
        ways = sizes["slice"] * sizes["data"] * sizes["fsdp"]
        batch, parts = self.train.global_batch_size, self.train.microbatches
        if batch % (ways * parts):
            raise ValueError(
                f"train.global_batch_size is {batch}; it must be a multiple of {ways} "
                f"(mesh slice x data x fsdp) x {parts} (train.microbatches)"
            )

    def check_extras(self, *, judged: bool) -> None:
        """Checks that what its data needs is installed, before anything is compiled.

        Args:
            judged: Whether its judges will be asked, too.

        Raises:
            MissingExtraError: If it is not.
        """
        if self.model.text != "bytes":
            extras.load("tokenizers", "hf", f"model.text {self.model.text!r}")
        self.data.check_extras()
        if judged and self.train.eval_every:
            for entry in self.evals:
                registry.listed(entry)[0].check_extras(registry.Use.TRAINING, f"evals {entry}")


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """Builds a recipe from nested dicts.

    Raises:
        ValueError: As in `config.build`, or if the stage is unknown.
    """
    values = config.current(values, DEFAULTS)
    stage = stages.find(values.get("stage"))
    types = {"objective": stage.objective_type}
    recipe = config.build(Recipe, {"evals": _evals(stage.name), **values}, types=types)
    registry.check(recipe.evals, stage=stage.name, parts={*stage.trained, *stage.needed})
    return _expanded(recipe)


def _evals(stage: Any) -> tuple[str, ...]:
    """Returns what judges a stage whose recipe does not say."""
    return EVALS.get(str(stage), ("held_out",))


def _expanded(recipe: Recipe) -> Recipe:
    """Returns the recipe with `~` in its paths expanded: shells do not reach into values."""
    model, data, train = recipe.model, recipe.data, recipe.train
    mixtures = {
        key: {cli.expand(name): weight for name, weight in getattr(data, key).items()}
        for key in MIXTURES
    }
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(model, text=cli.expand(model.text)),
        data=dataclasses.replace(data, **mixtures),
        train=dataclasses.replace(
            train, frozen_from=cli.expand(train.frozen_from), init_from=cli.expand(train.init_from)
        ),
    )


def read(location: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads `path/to/recipe.py:argument` with `--config.key=value` overrides of any of its keys.

    Raises:
        ValueError: As in `config.load_config`, `config.override` and `from_dict`.
    """
    recipe = from_dict(config.load_config(location))
    if overrides:
        recipe = from_dict(config.override(config.to_dict(recipe), overrides))
    return recipe


def settings(recipe: Recipe) -> dict[str, Any]:
    """Returns a recipe as a run stores it: nested dicts, with digests of the files that it names.

    Raises:
        ValueError: If a file cannot be read.
    """
    found = config.to_dict(recipe)
    if recipe.model.text != "bytes":
        try:
            data = files.read(pathlib.Path(recipe.model.text), most=MOST_TOKENIZER_BYTES)
        except OSError as error:
            raise ValueError(f"model.text {recipe.model.text!r}: {error.strerror}") from error
        found["digests"] = {"model": {"text": hashlib.sha256(data).hexdigest()}}
    return found


def schema(recipe: Recipe) -> Schema:
    """Returns what is known about the keys of such a recipe."""
    groups = {
        "model": OmniConfig(),
        "objective": type(recipe.objective)(),
        "data": DataConfig(),
        "optimizer": OptimizerConfig(),
        "mesh": MeshConfig(),
        "train": TrainConfig(),
    }
    defaults = {name: config.to_dict(group) for name, group in groups.items()}
    for key in MIXTURES:
        del defaults["data"][key]  # its keys are no settings of which each has a default
    defaults |= {"seed": 0, "evals": list(_evals(recipe.stage))}
    return Schema(defaults=defaults, unseen=UNSEEN)


def build(recipe: Recipe, frozen: Callable[[Recipe, Nets], Params]) -> stages.Stage:
    """Makes the stage of a recipe.

    Args:
        recipe: What is trained.
        frozen: Makes the weights that stay as they are, given the nets of their parts:
            `from_checkpoint`, `at_random`, or `as_shapes`.

    Raises:
        ValueError: If the recipe's parts do not fit each other; see `stages.base.Stage`.
    """
    stage, omni = stages.find(recipe.stage), Omni(recipe.model)
    nets = {part: omni.nets[part] for part in stage.needed}
    return stage(omni, recipe.objective, recipe.data, frozen(recipe, nets))


def from_checkpoint(recipe: Recipe, nets: Nets) -> Params:
    """Reads the weights of parts from `train.frozen_from`: of those that it has.

    Raises:
        ValueError: If no such checkpoint, or one that has a part in another shape, whose encoder
            makes other tokens, or that can be no teacher.
    """
    from omnigen.checkpoints import manager
    from omnigen.checkpoints.graft import graft
    from omnigen.generation.pretrained import check_weights, locate
    from omnigen.training.changes import Changes

    if not nets or not recipe.train.frozen_from:
        return {}
    loaded = manager.load_model(locate(recipe.train.frozen_from), check=check_weights)
    wanted = {part: net.shapes() for part, net in nets.items() if part in loaded.params}
    params = graft(wanted, loaded, added=stages.find(recipe.stage).added)
    past = Changes(loaded.config, settings(recipe), schema(recipe))
    past.refuse(wanted.keys(), path=loaded.path)
    if "head" in nets and stored_config(loaded.config).head.average:
        raise ValueError(f"{loaded.path} is distilled already; it can be no teacher")
    return params


def at_random(recipe: Recipe, nets: Nets) -> Params:
    """Makes weights that mean nothing and cost the same time."""
    return {part: net.init(jax.random.key(1)) for part, net in nets.items()}


def as_shapes(recipe: Recipe, nets: Nets) -> Params:
    """Returns shapes in place of weights: enough to compile."""
    return {part: net.shapes() for part, net in nets.items()}
