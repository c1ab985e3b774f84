# SPDX-License-Identifier: Apache-2.0
"""Batches, a few ahead of the training step and already on the devices."""

import dataclasses
import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import NamedSharding

from omnigen import parallel
from omnigen.training.metrics import Rates
from omnigen.training.stage import Batch


@dataclasses.dataclass(frozen=True)
class Item:
    """A global batch, what the local part of it holds, and the place in the data after it."""

    batch: Batch
    rates: Rates
    position: bytes


class Feed:
    """Draws batches in a thread.

    The thread runs ahead of training, so the iterator's own state is ahead too: a checkpoint must
    store the `position` of the last batch that was trained on.

    Args:
        dataset: Yields trees of numpy arrays `[local batch, ...]`; its iterators have `get_state`
            and `set_state`, as Grain's do.
        position: Place in the data to go on at, or empty to start.
        rates: Returns what a local batch holds.
        sharding: Sharding of the batch dim.
        local_batch_size: Number of rows of a batch of the dataset.
        global_batch_size: Number of rows over all processes.
        depth: Number of batches to hold ready.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        position: bytes,
        rates: Callable[[Batch], Rates],
        sharding: NamedSharding,
        local_batch_size: int,
        global_batch_size: int,
        depth: int = 2,
    ) -> None:
        self._iterator = iter(dataset)
        if position:
            self._iterator.set_state(json.loads(position))
        self._rates = rates
        self._sharding = sharding
        self._local_batch_size = local_batch_size
        self._global_batch_size = global_batch_size
        self._queue: queue.Queue[Item | BaseException] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def _items(self) -> Iterator[Item]:
        for batch in self._iterator:
            rows = jax.tree.leaves(batch)[0].shape[0]
            if rows != self._local_batch_size:
                raise ValueError(
                    f"a batch has {rows} rows instead of {self._local_batch_size}: the data ended, "
                    "or ignores the batch size"
                )
            arrays = jax.tree.map(
                lambda part: parallel.global_array(self._sharding, part, self._global_batch_size),
                batch,
            )
            position = json.dumps(self._iterator.get_state()).encode()
            yield Item(batch=arrays, rates=self._rates(batch), position=position)

    def _run(self) -> None:
        try:
            for item in self._items():
                if not self._put(item):
                    return
            self._put(ValueError("the data ended before the last training step"))
        except BaseException as error:
            self._put(error)

    def _put(self, item: Item | BaseException) -> bool:
        """Waits for room; returns False once the feed is closed."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def get(self) -> Item:
        """Returns the next batch, or raises what went wrong while loading it."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stops the thread, and the workers of the iterator if it has any."""
        self._stop.set()
        self._thread.join(timeout=10)
        close = getattr(self._iterator, "close", None)
        if close is not None and not self._thread.is_alive():
            close()
