# SPDX-License-Identifier: Apache-2.0
"""What the loop asks of a stage, and its own settings."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from omnigen import config, parallel
from omnigen.training import state
from omnigen.training.metrics import Rates

Params = state.Params
Batch = Any  # a tree of arrays `[batch, ...]`; only the stage knows what is in it


class Evaluator(Protocol):
    """Judges weights; also used outside of training.

    Attributes:
        name: Of the suite; metrics are logged as `name/metric`.
    """

    name: str

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields metrics as (name, value); units are in the names.

        Args:
            params: Weights that are being trained, by part of the model; may be empty.
            frozen: The model's other weights.
        """
        ...


class Stage(Protocol):
    """The whole difference between training one thing and another.

    `params` are trained and `frozen` are not; both are dicts whose top-level keys are parts of the
    model. A batch is a tree of arrays `[batch, ...]`; `prepare` may add scalars, which are global
    normalisers. `keys_B` holds one random key for each example, the same on any mesh.
    """

    name: str
    frozen: Params
    added: tuple[str, ...]  # layers that are zero where `train.init_from` lacks them

    def init(self, key: jax.Array) -> Params:
        """Returns initial weights; jitted."""
        ...

    def axes(self) -> Any:
        """Returns the tree of dim names of the weights."""
        ...

    def frozen_axes(self) -> Any:
        """Returns the tree of dim names of the frozen weights."""
        ...

    def dataset(self, batch_size: int, shard: parallel.DataShard) -> Any:
        """Returns an iterable of local batches of `batch_size` whose iterators can be resumed."""
        ...

    def prepare(self, params: Params, frozen: Params, batch: Batch, keys_B: jax.Array) -> Batch:
        """Returns what the loss needs; jitted, sees the global batch, has no gradient."""
        ...

    def loss(
        self, params: Params, frozen: Params, batch: Batch, keys_B: jax.Array
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Returns the loss and its parts for some examples of the batch.

        All are normalised by global numbers, so that their sums over the parts of a batch are
        those of the batch.
        """
        ...

    def rates(self, batch: Batch) -> Rates:
        """Returns what a local batch holds and costs."""
        ...

    def samples(self, params: Params, frozen: Params, seed: int) -> np.ndarray:
        """Returns `[N, H, W, 3]` uint8 images to look at."""
        ...


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of the loop. Counts are in steps; 0 switches samples and evaluation off.

    Attributes:
        steps: Number of steps of the whole run.
        global_batch_size: Number of examples a step, over all hosts.
        microbatches: Number of parts of a batch that are computed one after the other, to save
            memory.
        log_every: Number of steps between lines.
        checkpoint_every: Number of steps between checkpoints; the last step always has one.
        sample_every: Number of steps between sample grids.
        eval_every: Number of steps between evaluations.
        keep_checkpoints: Number of checkpoints to keep.
        ema_decay: Decay of the average of the weights.
        init_from: Checkpoint whose weights the run starts from, or ""; it may have fewer layers. In
            recipes "shipped" is the model that ships, here and in `frozen_from`.
        relearn: Keys with commas between them, such as "model.encoder.local", whose values may
            differ from those that the weights of `init_from` learnt with: they are to learn these.
        frozen_from: Checkpoint of the frozen parts, or ""; read where the stage is built.
        spike_sigmas: Number of standard deviations above the running mean beyond which a step's
            loss is a spike and the step is skipped; 0 skips none. A run keeps it on or off for its
            life.
        hang_exit_s: Seconds without progress after which the process ends itself, for its launcher
            to start it again; 0 waits for ever.
    """

    steps: int = 1000
    global_batch_size: int = 64
    microbatches: int = 1
    log_every: int = 50
    checkpoint_every: int = 1000
    sample_every: int = 1000
    eval_every: int = 0
    keep_checkpoints: int = 2
    ema_decay: float = 0.999
    init_from: str = ""
    relearn: str = ""
    frozen_from: str = ""
    spike_sigmas: float = 0.0
    hang_exit_s: float = 1800.0

    @property
    def relearnt(self) -> tuple[str, ...]:
        """The keys of `relearn`."""
        keys = (key.strip() for key in self.relearn.split(","))
        return tuple(config.current_key(key) for key in keys if key)

    def __post_init__(self) -> None:
        for name in (
            "steps", "global_batch_size", "microbatches", "log_every", "keep_checkpoints"
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name}={getattr(self, name)} must be at least 1")
        if self.global_batch_size % self.microbatches:
            raise ValueError(
                f"train.global_batch_size={self.global_batch_size} is not a multiple of "
                f"train.microbatches={self.microbatches}"
            )
        for name in ("spike_sigmas", "hang_exit_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name}={getattr(self, name)} must not be negative")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay={self.ema_decay} must lie in [0, 1)")
