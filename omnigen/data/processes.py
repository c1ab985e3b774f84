# SPDX-License-Identifier: Apache-2.0
"""The same work for many tasks, in processes of this machine, with lines about how far it is."""

import concurrent.futures
import errno
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from omnigen.workers import pool

_REPORT_S = 5.0


def run(
    workers: int, work: Callable[..., Any], tasks: Sequence[tuple], unit: str, sizes: Sequence[int]
) -> list:
    """Calls `work` for every task and reports on stderr how it goes.

    When Ctrl-C is pressed all processes end at once: what they were writing is lost, so `work` has
    to write files that appear whole or not at all.

    Args:
        workers: processes; 0 works in this one.
        work: what to call.
        tasks: the arguments of each call.
        unit: what the calls are to report.
        sizes: how much each counts.

    Returns:
        What the calls returned, in the order of the tasks.

    Raises:
        OSError: no memory is left, or a process was ended from outside.
    """
    report = _Report(unit, sum(sizes))
    try:
        if workers:
            return _run_in_processes(workers, work, tasks, sizes, report)
        results = []
        for task, size in zip(tasks, sizes, strict=True):
            results.append(work(*task))
            report.add(size)
        return results
    except (MemoryError, BrokenProcessPool) as error:
        what = "no memory is left" if isinstance(error, MemoryError) else "a worker was killed"
        text = f"{what}; fewer workers need less memory, and another run goes on from here"
        raise OSError(errno.ENOMEM, text) from error


def _run_in_processes(
    workers: int,
    work: Callable[..., Any],
    tasks: Sequence[tuple],
    sizes: Sequence[int],
    report: "_Report",
) -> list:
    with pool(workers) as processes:
        pending = {
            processes.submit(work, *task): size for task, size in zip(tasks, sizes, strict=True)
        }
        for future in concurrent.futures.as_completed(pending):
            future.result()
            report.add(pending[future])
    return [future.result() for future in pending]


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
        print(text, file=sys.stderr, flush=True)
