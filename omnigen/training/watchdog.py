# SPDX-License-Identifier: Apache-2.0
"""Notices when a run stands still: writes where every thread is, and in the end lets it restart.

A collective that waits for a dead host, a data worker that is stuck and a disk that does not answer
look the same from outside: nothing happens, at full price.
"""

import collections
import contextlib
import faulthandler
import os
import pathlib
import statistics
import sys
import threading
import time
from collections.abc import Iterator

from omnigen import cli

EXIT_CODE = 42  # XPK and JobSet start a job again that ends with it
LEAST_S = 60.0  # a step may always take this long
LEAST_PAUSE_S = 600.0  # so may saving, sampling and an evaluator's metric
TIMES = 10.0  # or this many median steps


class Watchdog:
    """A thread that expects `beat` to be called again and again.

    Args:
        path: File for stacks, which is made when there is something to write.
        exit_s: Seconds without a beat after which the process ends; 0 never ends it.
    """

    def __init__(self, path: pathlib.Path, *, exit_s: float) -> None:
        self._path, self._exit_s = path, exit_s
        self._between: collections.deque[float] = collections.deque(maxlen=64)
        self._last = time.monotonic()
        self._pausing = self._dumped = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Notes that a step was made."""
        now = time.monotonic()
        if not self._pausing:
            self._between.append(now - self._last)
        self._last, self._dumped = now, False

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Allows longer times between beats in the block, for work longer than a step."""
        self.beat()
        self._pausing = True
        try:
            yield
        finally:
            self._last, self._pausing, self._dumped = time.monotonic(), False, False

    def limit(self) -> float:
        """Returns the seconds without a beat after which stacks are written."""
        usual = TIMES * statistics.median(self._between) if self._between else 0.0
        return max(usual, LEAST_PAUSE_S if self._pausing else LEAST_S)

    def _watch(self) -> None:
        while not self._closed.wait(0.25):
            quiet = time.monotonic() - self._last
            if quiet > self.limit() and not self._dumped:
                self._dumped = True
                self._dump(f"no progress for {quiet:.0f} s")
            if self._exit_s and quiet > max(self._exit_s, self.limit()):
                self._dump(f"no progress for {quiet:.0f} s: exit code {EXIT_CODE}")
                # No exception reaches a main thread that hangs in a collective; and cleaning up
                # would wait for the same devices.
                os._exit(EXIT_CODE)

    def _dump(self, why: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {why}"
        with contextlib.suppress(OSError, ValueError):  # stderr may be closed
            cli.say(f"{line}; stacks of all threads are in {self._path}", sys.stderr)
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            faulthandler.dump_traceback(file=file, all_threads=True)

    def close(self) -> None:
        """Stops watching."""
        self._closed.set()
        self._thread.join(timeout=5)
