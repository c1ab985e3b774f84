# SPDX-License-Identifier: Apache-2.0
"""The same work for many tasks, in processes of this machine, with lines about how far it is.

Work on what strangers made may end its process. Its task is then tried again when no other one
runs. If it dies again, what it was at is to blame, and is passed over in the next try.
"""

import atexit
import contextlib
import errno
import multiprocessing.connection
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omnigen import cli
from omnigen.workers import Child, DiedError

Deaths = Mapping[int, DiedError]
"""How earlier tries of a task died, by the place that they had reached; see `workers.reach`. It is
what work gets as its last argument, after the first such try."""

_REPORT_S = 5.0


def run(
    workers: int, work: Callable[..., Any], tasks: Sequence[tuple], unit: str, sizes: Sequence[int]
) -> list:
    """Calls `work` for every task and reports on stderr how it goes.

    When Ctrl-C is pressed all processes end at once: what they were writing is lost, so `work` has
    to write files that appear whole or not at all.

    Args:
        workers: Number of processes; 0 works in this one.
        work: Function to call. If it calls `workers.reach`, it has to take `Deaths`, too.
        tasks: Arguments of each call.
        unit: What the calls are counted in, for reports.
        sizes: How many units each call counts.

    Returns:
        What the calls returned, in the order of the tasks.

    Raises:
        OSError: If no memory is left, or a process was ended from outside.
    """
    report = _Report(unit, sum(sizes))
    try:
        if workers:
            return _run_in_children(workers, work, tasks, sizes, report)
        results = []
        for task, size in zip(tasks, sizes, strict=True):
            results.append(work(*task))
            report.add(size)
        return results
    except (MemoryError, DiedError) as error:
        what = "no memory is left" if isinstance(error, MemoryError) else "a worker was killed"
        text = f"{what}; fewer workers need less memory, and another run goes on from here"
        raise OSError(errno.ENOMEM, text) from error


def _run_in_children(
    workers: int,
    work: Callable[..., Any],
    tasks: Sequence[tuple],
    sizes: Sequence[int],
    report: "_Report",
) -> list:
    results: list[Any] = [None] * len(tasks)
    left, died = list(reversed(range(len(tasks)))), list[int]()
    busy = dict[Any, tuple[Child, int]]()  # by pipe: who is at which task
    spare = list[Child]()
    _spare.close()
    try:
        while left or busy:
            while left and len(busy) < workers:
                child, number = spare.pop() if spare else Child(), left.pop()
                busy[child.pipe] = child, number
                child.begin(work, *tasks[number])
            for pipe in multiprocessing.connection.wait([*busy]):
                child, number = busy.pop(pipe)
                spare.append(child)
                try:
                    results[number] = child.result()
                    report.add(sizes[number])
                except DiedError:
                    died.append(number)
                    spare.pop().close()
    except Exception:
        for child, _ in busy.values():  # what is begun is ended well
            with contextlib.suppress(Exception):
                child.result()
        raise
    finally:
        for child in [*spare, *(child for child, _ in busy.values())]:
            child.close()
    for number in sorted(died):
        results[number] = _again(work, tasks[number])
        report.add(sizes[number])
    return results


def _again(work: Callable[..., Any], task: tuple) -> Any:
    """Makes a call whose process died, each try in a process of its own.

    Raises:
        DiedError: If the process dies again and tells no place, or twice at the same place.
    """
    deaths: dict[int, DiedError] = {}
    while True:
        with Child() as child:
            try:
                return child.call(work, *task, *([deaths] if deaths else []))
            except DiedError as error:
                place = child.place
                if place is None or place in deaths:
                    raise
                deaths[place] = error


class _Spare:
    """A process for `alone`, which is started when it is needed and kept for the next call."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._lock = threading.Lock()

    def call(self, work: Callable[..., Any], *task: Any) -> Any:
        with self._lock:
            self._child = self._child or Child()
            try:
                return self._child.call(work, *task)
            except DiedError:
                self._close()
        return _again(work, task)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._child:
            self._child.close()
        self._child = None


_spare = _Spare()
atexit.register(_spare.close)


def alone(work: Callable[..., Any], *task: Any) -> Any:
    """Makes one call in another process, as `run` does with workers.

    Raises:
        DiedError: If the process died in every try.
    """
    return _spare.call(work, *task)


class _Report:
    """Lines on stderr about how far the work is."""

    def __init__(self, unit: str, total: int) -> None:
        self._unit, self._total, self._done = unit, total, 0
        self._since = self._said = time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said < _REPORT_S and self._done < self._total:
            return
        self._said = now
        rate = self._done / max(now - self._since, 1e-9)
        left = (self._total - self._done) / max(rate, 1e-9)
        text = f"{self._done}/{self._total} {self._unit}, {rate:.0f}/s, {left:.0f} s left"
        cli.say(text, sys.stderr)
