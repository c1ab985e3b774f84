# SPDX-License-Identifier: Apache-2.0
"""Endless batches by number, prefetched by Grain: what makes a training run resume exactly.

Grain restores its own iterators too, but the state of its workers and packers depends on how many
there are. Here a batch is a function of its number and of how much of the data was used when it got
its size. Those are the state, so a run may go on with other worker processes, another number of
hosts or another batch size than it was started with.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import grain
from absl import flags

from omnigen import workers as processes
from omnigen.batch import Batch, copied
from omnigen.data.stream.mixing import START, Place

SCENE_THREADS = 1  # Python draws; more threads only wait for each other
DECODE_THREADS = 4  # Pillow decodes without holding the others up
BUFFER = 2  # batches ready in this process, or in each worker


@runtime_checkable
class Course(Protocol):
    """Makes batches, and keeps account of the examples in them."""

    def __call__(self, number: int, since: Place) -> Batch:
        """Makes batch `number`, if batches have had their size since a place in the data."""
        ...

    def place(self, batch: int, since: Place) -> Place:
        """Returns the place in the data after so many batches in all."""
        ...

    def find(self, state: Mapping[str, Any]) -> Place:
        """Returns the place that an iterator's state describes."""
        ...


class _Plain:
    """A course of batches that do not depend on how large they are."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        self._make = make

    def __call__(self, number: int, since: Place) -> Batch:
        return self._make(number)

    def place(self, batch: int, since: Place) -> Place:
        return Place(batch)

    def find(self, state: Mapping[str, Any]) -> Place:
        return Place(int(state["batch"]))


class Batches(grain.IterDataset[Batch]):
    """Batches 0, 1, ... of a course, or `make(0)`, `make(1)`, ...

    What makes them must be pure and, for workers, picklable.
    """

    def __init__(
        self, make: Course | Callable[[int], Batch], *, workers: int = 0, content: str = ""
    ) -> None:
        """Prepares the stream.

        Args:
            make: Course, or a function that makes a batch of its number.
            workers: Number of processes that make batches; 0 for threads of this process.
            content: Digest of the files that `make` reads; empty if it reads none.
        """
        super().__init__()
        self._course: Course = make if isinstance(make, Course) else _Plain(make)
        self._workers = workers
        self._content = content

    def __iter__(self) -> "BatchIterator":
        return BatchIterator(self._course, workers=self._workers, content=self._content)


class BatchIterator(grain.DatasetIterator[Batch]):
    """Reads batches ahead; `get_state` describes the next one to be handed out."""

    def __init__(self, course: Course, *, workers: int, content: str) -> None:
        """Starts at batch 0; threads or workers start with the first `next`."""
        super().__init__()
        self._course = course
        self._workers = workers
        self._content = content
        self._since = START
        self._number = 0
        self._source: Any = None

    def __next__(self) -> Batch:
        if self._source is None:
            self._source = iter(self._from(self._number))
        batch = next(self._source)
        self._number += 1
        # Workers hand over shared memory, which must not outlive them; the copy costs milliseconds.
        return copied(batch) if self._workers else batch

    def get_state(self) -> dict[str, Any]:
        """Returns the next batch's number, the examples before it, and its content."""
        place = self._course.place(self._number, self._since)
        state: dict[str, Any] = {"batch": place.batch}
        if place.examples:
            state["examples"] = list(place.examples)
        return state | ({"content": self._content} if self._content else {})

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was asked, perhaps with batches of another size.

        It goes on there in other corpora, too: whether `content` is another is for the caller.
        """
        self._stop()
        self._since = self._course.find(state)
        self._number = self._since.batch

    def close(self) -> None:
        """Ends threads and workers."""
        super().close()
        self._stop()

    def _stop(self) -> None:
        if self._source is not None:
            self._source.close()
        self._source = None

    def _from(self, number: int) -> grain.IterDataset:
        make = functools.partial(self._course, since=self._since)
        batches = grain.MapDataset.range(number, sys.maxsize).map(make)
        if not self._workers:
            threads = DECODE_THREADS if self._content else SCENE_THREADS
            return batches.to_iter_dataset(grain.ReadOptions(threads, max(threads, BUFFER)))
        if not flags.FLAGS.is_parsed():  # Grain's workers read flags, which a notebook never parses
            flags.FLAGS.mark_as_parsed()
        alone = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        return batches.to_iter_dataset(alone).mp_prefetch(
            grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=BUFFER),
            worker_init_fn=_begin_worker,
        )


def _begin_worker(index: int, count: int) -> None:
    """Makes a worker end with the run, which may be killed or exit without clearing up."""
    del index, count
    processes.end_with_parent()
