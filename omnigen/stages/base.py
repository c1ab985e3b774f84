# SPDX-License-Identifier: Apache-2.0
"""What stages share: which parts of the model they train, and how one is built by name."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from omnigen import cli
from omnigen.data.corpus.split import Split
from omnigen.data.stream.pipeline import DataConfig, longest_sketch
from omnigen.models.omni import Omni
from omnigen.nn.module import Params
from omnigen.parallel import DataShard
from omnigen.training.metrics import Rates
from omnigen.training.stage import Batch

STAGES = {
    "tokenizer": "omnigen.stages.tokenizer:TokenizerStage",
    "decoder": "omnigen.stages.tokenizer:DecoderStage",
    "ar": "omnigen.stages.ar:ARStage",
    "distillation": "omnigen.stages.distillation:DistillationStage",
}


@dataclasses.dataclass(frozen=True)
class Objective:
    """How a stage learns; each has a dataclass of its own."""


class Stage:
    """Trains `trained` parts of an `Omni`, with `needed` parts frozen. See `training.loop.Stage`.

    Attributes:
        name: Name in configs.
        trained: Parts whose weights are learnt.
        needed: Parts whose weights must be given.
        added: Names of entries of a part that become zero where a checkpoint that it starts from
            lacks them.
        frozen: Weights of the needed parts.
    """

    name: str
    trained: tuple[str, ...]
    needed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    objective_type: type[Objective]

    def __init__(self, omni: Omni, objective: Objective, data: DataConfig, frozen: Params):
        """Sets the stage up.

        Args:
            omni: The model.
            objective: Settings of the stage, its `Objective`.
            data: What it trains on.
            frozen: Weights of at least the needed parts.

        Raises:
            ValueError: If a needed part is missing, or data and model do not fit together.
        """
        model = omni.config
        missing = [part for part in self.needed if part not in frozen]
        if missing:
            raise ValueError(
                f"stage {self.name} needs trained weights of {', '.join(missing)}: "
                "set config.train.frozen_from to a checkpoint that has them"
            )
        if data.image_size != model.image_size:
            raise ValueError(
                f"data.image_size is {data.image_size}; model.image_size is {model.image_size}"
            )
        longest = longest_sketch(data)
        if longest and model.sketch_length <= longest:
            raise ValueError(
                f"model.sketch_length is {model.sketch_length}; allowed: more than {longest}, "
                f"which sketches can have with data.sketches {data.sketches} and data.thumbnails "
                f"{data.thumbnails}"
            )
        side = model.encoder.token_size
        if any(size.height % side or size.width % side for size in data.sizes):
            raise ValueError(
                f"data.buckets is {data.buckets!r}; allowed: sides that are multiples of the "
                f"token's, {side} pixels"
            )
        self.omni = omni
        self.objective = objective
        self.data = data
        self.frozen = {part: frozen[part] for part in self.needed}

    def init(self, key: jax.Array) -> Params:
        """Returns fresh weights of the trained parts."""
        keys = dict(zip(self.omni.nets, jax.random.split(key, len(self.omni.nets)), strict=True))
        return {part: self.omni.nets[part].init(keys[part]) for part in self.trained}

    def axes(self) -> Params:
        """Returns the dim names of the trained weights."""
        return {part: self.omni.nets[part].axes() for part in self.trained}

    def frozen_axes(self) -> Params:
        """Returns the dim names of the frozen weights."""
        return {part: self.omni.nets[part].axes() for part in self.needed}

    def dataset(self, batch_size: int, shard: DataShard, split: Split = Split.TRAIN) -> Any:
        """Returns the stream of local batches."""
        raise NotImplementedError

    def noise(self, batch_size: int) -> Batch:
        """Returns a batch like those of `dataset`, for shapes and costs; it takes no data."""
        raise NotImplementedError

    def data_of(self, split: Split) -> DataConfig:
        """Returns the data of a split; that of the test has no workers and keeps its captions."""
        if split == Split.TRAIN:
            return self.data
        return dataclasses.replace(self.data, split=split, workers=0, caption_dropout=0.0)

    def prepare(self, params: Params, frozen: Params, batch: Batch, keys_B: jax.Array) -> Batch:
        """Returns what the loss needs, without a gradient."""
        raise NotImplementedError

    def loss(
        self, params: Params, frozen: Params, batch: Batch, keys_B: jax.Array
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Returns the loss and its parts, normalised by what `prepare` counted."""
        raise NotImplementedError

    def rates(self, batch: Batch) -> Rates:
        """Returns what a local batch holds and costs."""
        raise NotImplementedError

    def samples(self, params: Params, frozen: Params, seed: int) -> np.ndarray:
        """Returns pictures for people to look at, uint8 `[N, H, W, 3]`."""
        raise NotImplementedError


def find(name: Any) -> type[Stage]:
    """Returns the stage's class by name; its `Objective` is the dataclass of its settings.

    Raises:
        ValueError: If the name is unknown.
    """
    if not isinstance(name, str) or name not in STAGES:
        shown = cli.printable(repr(name))
        raise ValueError(f"stage {shown} is unknown; choose one of: {', '.join(STAGES)}")
    module, _, cls = STAGES[name].partition(":")
    return getattr(importlib.import_module(module), cls)
