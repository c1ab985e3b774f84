# SPDX-License-Identifier: Apache-2.0
"""A stage's own loss on what it is never trained on."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from omnigen.data.corpus.split import Split
from omnigen.data.stream.examples import has_held_out
from omnigen.data.stream.pipeline import DataConfig
from omnigen.models.omni import Omni
from omnigen.nn.module import Params
from omnigen.parallel import DataShard
from omnigen.training import stage as training


class Stage(training.Stage, Protocol):
    """What evaluators ask of a stage beyond what the loop does.

    Attributes:
        omni: Model.
        data: What it trains on.
    """

    omni: Omni
    data: DataConfig

    def dataset(self, batch_size: int, shard: DataShard, split: Split = Split.TRAIN) -> Any:
        """Returns an iterable of local batches of a split."""
        ...


class HeldOut:
    """The loss of the stage on the test split, with the same noise every time."""

    name = "held_out"

    def __init__(self, stage: Stage, *, batches: int = 4, batch_size: int = 32):
        """Judges by `batches` batches of `batch_size` examples."""
        self._stage, self._batches, self._batch_size = stage, batches, batch_size
        self._judge = jax.jit(self._parts)

    def _parts(
        self, params: Params, frozen: Params, batch: training.Batch, keys: jax.Array
    ) -> Mapping[str, jax.Array]:
        batch = self._stage.prepare(params, frozen, batch, keys)
        return self._stage.loss(params, frozen, batch, keys)[1]

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields the mean of every part of the loss; nothing if nothing is held out."""
        if not has_held_out(self._stage.data):
            return
        stream = iter(self._stage.dataset(self._batch_size, DataShard(), Split.TEST))
        parts: list[Mapping[str, jax.Array]] = []
        for number in range(self._batches):
            keys = jax.random.split(jax.random.key(number), self._batch_size)
            parts.append(self._judge(params, frozen, next(stream), keys))
        for part in parts[0]:
            yield part, float(np.mean([float(values[part]) for values in parts]))
