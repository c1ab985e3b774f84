# SPDX-License-Identifier: Apache-2.0
"""Processes that work for another one: they end when it does, however it dies."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def pool(count: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Starts processes with the environment of now, and ends them with the block.

    Ctrl-C ends them at once and silently, also if their parent alone gets it: what is to be said,
    their parent says. What is not begun when an error leaves the block is not done.

    Args:
        count: of processes.
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
    """Keeps Ctrl-C from processes that the block starts: while Python starts, it is a traceback."""
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
        ValueError: this process was not started by `multiprocessing`.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise ValueError("end_with_parent is for processes that multiprocessing starts")

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
