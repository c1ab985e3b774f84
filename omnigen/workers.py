# SPDX-License-Identifier: Apache-2.0
"""Processes that work for another one: they end when it does, however it dies.

What strangers made may end the process that reads it: a library aborts, or the system kills who
takes too much memory. A `Child` makes calls for its parent, and the parent learns that it died and
at which place.
"""

import concurrent.futures
import contextlib
import copy
import multiprocessing
import multiprocessing.connection
import multiprocessing.reduction
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Self, cast


@contextlib.contextmanager
def pool(count: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Starts processes with the current environment, and ends them with the block.

    Ctrl-C ends them at once and silently, even if their parent alone gets it, since their parent
    reports it. What is not begun when an error leaves the block is not done.

    Args:
        count: Number of processes.
    """
    spawn = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(count, spawn, _begin)
    others = set(multiprocessing.active_children())
    try:
        with _shielded():
            for _ in range(count):
                executor.submit(int)  # starts one, as none is idle yet
        yield executor
    except (KeyboardInterrupt, SystemExit):
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Blocks Ctrl-C in processes that the block starts, while Python would print a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent()


def end_with_parent() -> None:
    """Lets this process end as soon as the process that started it has ended.

    Call it first thing in a process of `multiprocessing`: as the initializer of a pool, say. A
    worker whose parent was killed would otherwise wait for work for ever.

    Raises:
        ValueError: If this process was not started by `multiprocessing`.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise ValueError("end_with_parent is for processes that multiprocessing starts")

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


class DiedError(Exception):
    """Raised when a child ended in the midst of a call.

    Attributes:
        code: Exit code; less than 0 for a signal, as in `subprocess`.
    """

    def __init__(self, code: int) -> None:
        """Keeps how it ended."""
        super().__init__(code)  # as it is, or the error could not be sent to other processes
        self.code = code

    def __str__(self) -> str:
        return f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"


class Child:
    """A process that makes one call after another; what ends it does not end its parent.

    Unlike the processes of `multiprocessing`, it does not import the program that runs. What it
    prints is dropped, since libraries that abort print messages.
    """

    def __init__(self) -> None:
        """Starts the process, which takes less than a second."""
        self.pipe, theirs = multiprocessing.connection.Pipe()
        self._place = tempfile.TemporaryFile()
        with theirs:
            passed = (theirs.fileno(), self._place.fileno())
            code = f"import sys; sys.path[:] = {sys.path!r}; from omnigen import workers; "
            arguments = (*passed, os.getpid())
            # `-c` looks for modules in this folder first, unless it is told not to.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"{code}workers.serve{arguments}"],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def begin(self, work: Callable[..., Any], *args: Any) -> None:
        """Begins a call; `pipe` becomes readable when it has ended."""
        os.ftruncate(self._place.fileno(), 0)
        with contextlib.suppress(BrokenPipeError):  # it has died, which `result` tells
            self.pipe.send((work, args))

    def result(self) -> Any:
        """Waits for what the call returns, and raises what it raises.

        Raises:
            DiedError: If the process has ended; another one has to be started.
        """
        try:
            returned, error = self.pipe.recv()
        except (EOFError, ConnectionError):
            raise DiedError(self._process.wait()) from None
        if error is not None:
            raise error
        return returned

    def call(self, work: Callable[..., Any], *args: Any) -> Any:
        """Makes a call; see `result`."""
        self.begin(work, *args)
        return self.result()

    @property
    def place(self) -> int | None:
        """The last place that the call passed to `reach`, or None."""
        data = os.pread(self._place.fileno(), 8, 0)
        return int.from_bytes(data, "little") if data else None

    def close(self) -> None:
        """Ends the process at once."""
        self._process.kill()
        self._process.wait()
        self.pipe.close()
        self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_reached: int | None = None  # descriptor of the file that tells the place, in a child


def is_child() -> bool:
    """Returns whether this process is a `Child`."""
    return _reached is not None


def reach(place: int) -> None:
    """Reports to the parent of a `Child` how far a call is; does nothing elsewhere.

    Args:
        place: Number of the place, not negative.
    """
    if _reached is not None:
        os.pwrite(_reached, place.to_bytes(8, "little"), 0)


def serve(pipe: int, place: int, parent: int) -> None:
    """Makes calls until the parent ends; this is what a `Child` runs.

    Args:
        pipe: Descriptor that calls arrive on.
        place: Descriptor of the file for `reach`.
        parent: Process ID of the parent.
    """
    global _reached
    _reached = place
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    loads = cast(Any, multiprocessing.reduction.ForkingPickler).loads
    with multiprocessing.connection.Connection(pipe) as calls:
        while True:
            returned = error = None
            try:
                call = calls.recv_bytes()
            except (EOFError, ConnectionError):
                return
            try:
                work, args = loads(call)
                returned = work(*args)
            except Exception as raised:
                error = _portable(raised)
            calls.send((returned, error))


def _watch(parent: int) -> None:
    """Ends this process when its parent has ended, even in the midst of a call."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """Returns an error that another process can raise, with its traceback as a note."""
    text = "".join(traceback.format_exception(error))
    try:
        copy.copy(error)  # makes it from its arguments, as the other process does
    except Exception:
        error = RuntimeError(str(error))
    error.__cause__ = error.__context__ = None
    error.add_note(text)
    return error
