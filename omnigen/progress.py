# SPDX-License-Identifier: Apache-2.0
"""Progress of long work on stderr: what is done, how much is left and roughly how long.

On a terminal it is one line that changes, elsewhere a line now and then. A clock of its own drives
it, so that work which cannot count, such as compiling, is no silence. Short work says nothing.
"""

import contextlib
import enum
import multiprocessing
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from omnigen import cli

T = TypeVar("T")

FIRST_S = 1.0  # work that is done sooner says nothing
EVERY_S = 10.0  # between lines of a log
_REDRAW_S = 0.5  # between changes of a terminal's line


class Unit(enum.Enum):
    """What is counted, and how it is shown."""

    ONE = enum.auto()
    BYTE = enum.auto()

    def shown(self, count: int) -> str:
        """Formats a count for people."""
        return str(count) if self is Unit.ONE else f"{count / 1e6:.0f} MB"


class Progress:
    """The state of some work; made by `work`."""

    def __init__(self, what: str, total: int = 0, *, unit: Unit = Unit.ONE):
        """Begins now; `total` is 0 if it is unknown."""
        self._what, self._total, self._unit = what, total, unit
        self._began = time.monotonic()
        self._done, self._first, self._counted = 0, 0, self._began

    def add(self, count: int = 1) -> None:
        """Counts what was done since the last call."""
        self._done += count
        if not self._first:  # what came before, such as compiling, says nothing of the rest
            self._first, self._counted = self._done, time.monotonic()

    def each(self, things: Iterable[T]) -> Iterator[T]:
        """Yields the things, and counts each when the next one is asked for."""
        for thing in things:
            yield thing
            self.add()

    def line(self, *, is_over: bool = False) -> str:
        """Returns the line to show."""
        passed = time.monotonic() - self._began
        said = self._what
        if self._total:
            said += f": {self._unit.shown(self._done)} of {self._unit.shown(self._total)}"
        if is_over:
            return f"{said}, took {duration(passed)}"
        left = self._left()
        return f"{said}, {duration(passed)} so far" + (
            "" if left is None else f", about {duration(left)} left"
        )

    def _left(self) -> float | None:
        """Returns the seconds left, by the pace since the first count."""
        if not (self._done and self._total):
            return None
        since, done = self._counted, self._done - self._first
        if not done:
            since, done = self._began, self._done
        return (self._total - self._done) * (time.monotonic() - since) / done


def duration(seconds: float) -> str:
    """Formats seconds as people say them: `40 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


@contextlib.contextmanager
def work(what: str, total: int = 0, *, unit: Unit = Unit.ONE) -> Iterator[Progress]:
    """Reports the block's work on stderr, from `FIRST_S` after its start until its end.

    Worker processes print nothing: their parent does it for them.

    Args:
        what: Name of the work.
        total: Amount of work, if it is counted with the `add` of what is yielded.
        unit: Unit of what is counted.
    """
    progress, over, has_spoken = Progress(what, total, unit=unit), threading.Event(), False
    is_terminal = _is_terminal()
    if multiprocessing.parent_process() is not None:
        yield progress
        return

    def speak() -> None:
        nonlocal has_spoken
        pause = FIRST_S
        while not over.wait(pause):
            has_spoken = True
            if not say(progress.line(), is_passing=is_terminal):
                return
            pause = _REDRAW_S if is_terminal else EVERY_S

    speaker = threading.Thread(target=speak, name="progress", daemon=True)
    speaker.start()
    is_done = False
    try:
        yield progress
        is_done = True
    finally:
        over.set()
        speaker.join()
        if has_spoken and (is_done or is_terminal):
            say(progress.line(is_over=is_done))


def say(line: str, *, is_passing: bool = False) -> bool:
    """Prints a line on stderr; returns whether that succeeded.

    Args:
        line: Line to print.
        is_passing: Whether the next line takes its place, on a terminal.
    """
    if sys.stderr is None:
        return False
    line = cli.one_line(line)
    try:
        if not _is_terminal():
            print(line, file=sys.stderr, flush=True)
        else:
            shown = line[: shutil.get_terminal_size().columns - 1] if is_passing else line
            end = "" if is_passing else "\n"
            print(f"\r\x1b[K{shown}", end=end, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return False
    return True


def _is_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
