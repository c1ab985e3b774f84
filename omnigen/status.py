# SPDX-License-Identifier: Apache-2.0
"""What a command is doing, on stderr, while it takes its time."""

import contextlib
import os
import sys
import threading
import time
from typing import Self, TextIO

from omnigen import cli

TICK_S = 0.5  # on a terminal, whose line changes
EVERY_S = 10.0  # elsewhere: a new line


class Status:
    """Says what is being done and for how long: in one changing line on a terminal.

    Elsewhere it is a line for what takes longer than `EVERY_S`, and another each time as long again
    has passed. Nothing of it stays on a terminal.
    """

    def __init__(self, program: str, stream: TextIO | None = None) -> None:
        """Prints nothing yet.

        Args:
            program: Name of the command.
            stream: Stream to print on; stderr by default.
        """
        self._program, self._stream = program, stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._text, self._since, self._left = "", 0.0, None
        self._next = EVERY_S
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def doing(self, text: str, *, left_s: float | None = None) -> None:
        """Begins something.

        Args:
            text: Name of the work, such as "drawing picture 2 of 4".
            left_s: Rough number of seconds until all is done, if known.
        """
        with self._lock:
            self._text, self._since, self._left = text, time.monotonic(), left_s
            self._next = EVERY_S
            if self._terminal:
                self._show()

    def line(self, text: str) -> None:
        """Prints a line that stays."""
        with self._lock:
            self._clear()
            cli.say(text, self._stream)

    def __enter__(self) -> Self:
        """Begins to print."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Clears the line."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._clear()

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            with self._lock, contextlib.suppress(OSError, ValueError):
                if self._text and (self._terminal or self._is_due()):
                    self._show()

    def _is_due(self) -> bool:
        is_due = time.monotonic() - self._since >= self._next
        self._next *= 2 if is_due else 1
        return is_due

    def _show(self) -> None:
        passed = time.monotonic() - self._since
        text = cli.one_line(f"{self._program}: {self._text}")
        if passed >= 1:
            text += f", {passed:.0f} s"
        if self._left is not None:
            text += f", about {max(self._left - passed, 0):.0f} s left"
        if self._terminal:
            with contextlib.suppress(OSError):
                text = text[: os.get_terminal_size(self._stream.fileno()).columns - 1]
            print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)
        else:
            print(text, file=self._stream, flush=True)

    def _clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
