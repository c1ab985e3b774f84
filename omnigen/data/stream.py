# SPDX-License-Identifier: Apache-2.0
"""Endless batches by number, prefetched by Grain: what makes a training run resume exactly.

Grain restores its own iterators too, but the state of its workers and packers depends on how many
there are. Here a batch is a function of its number, so that the state is that number, and a run may
go on with other worker processes, or another number of hosts, than it was started with.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

import grain
import numpy as np
from absl import flags

Batch = dict[str, np.ndarray]

SCENE_THREADS = 1  # Python draws; more threads only wait for each other
DECODE_THREADS = 4  # Pillow decodes without holding the others up
BUFFER = 2  # batches ready in this process, or in each worker


class Batches(grain.IterDataset[Batch]):
    """The batches `make(0)`, `make(1)`, ...; `make` must be pure and, for workers, picklable."""

    def __init__(
        self, make: Callable[[int], Batch], *, workers: int = 0, content: str = ""
    ) -> None:
        """Prepares the stream.

        Args:
            make: a batch by its number.
            workers: processes that make batches; 0 for threads of this process.
            content: of the files that `make` reads, told apart by this; empty if it reads none.
        """
        super().__init__()
        self._make = make
        self._workers = workers
        self._content = content

    def __iter__(self) -> "BatchIterator":
        return BatchIterator(self._make, workers=self._workers, content=self._content)


class BatchIterator(grain.DatasetIterator[Batch]):
    """Reads batches ahead; `get_state` tells the next one that is to be handed out."""

    def __init__(self, make: Callable[[int], Batch], *, workers: int, content: str) -> None:
        """Starts at batch 0; threads or workers start with the first `next`."""
        super().__init__()
        self._make = make
        self._workers = workers
        self._content = content
        self._number = 0
        self._source: Any = None

    def __next__(self) -> Batch:
        if self._source is None:
            self._source = iter(self._from(self._number))
        batch = next(self._source)
        self._number += 1
        # Workers hand over shared memory, which must not outlive them; the copy costs milliseconds.
        return {name: np.array(value) for name, value in batch.items()} if self._workers else batch

    def get_state(self) -> dict[str, Any]:
        """The number of the next batch, and what it is a batch of."""
        return {"batch": self._number} | ({"content": self._content} if self._content else {})

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was asked."""
        self._stop()
        self._number = int(state["batch"])
        if state.get("content", "") != self._content:
            logging.getLogger(__name__).warning(
                "the corpora have changed since this run was saved; it goes on at batch %d of the "
                "new ones",
                self._number,
            )

    def close(self) -> None:
        """Ends threads and workers."""
        super().close()
        self._stop()

    def _stop(self) -> None:
        if self._source is not None:
            self._source.close()
        self._source = None

    def _from(self, number: int) -> grain.IterDataset:
        batches = grain.MapDataset.range(number, sys.maxsize).map(self._make)
        if not self._workers:
            threads = DECODE_THREADS if self._content else SCENE_THREADS
            return batches.to_iter_dataset(grain.ReadOptions(threads, max(threads, BUFFER)))
        if not flags.FLAGS.is_parsed():  # Grain's workers read flags, which a notebook never parses
            flags.FLAGS.mark_as_parsed()
        alone = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        return batches.to_iter_dataset(alone).mp_prefetch(
            grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=BUFFER)
        )
