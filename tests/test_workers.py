# SPDX-License-Identifier: Apache-2.0
"""Workers of a parent that is killed, and of one that leaves without saying goodbye."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time

import pytest

from omnigen import workers


def stay(seconds: float) -> int:
    """Works that long; returns the worker's process ID."""
    time.sleep(seconds)
    return os.getpid()


def lead(how: str) -> None:
    """Starts two workers, prints their process IDs, and dies while they work."""
    spawn = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(2, spawn, workers.end_with_parent)
    print(*{pool.submit(stay, 0.5).result(), pool.submit(stay, 0.5).result()}, flush=True)
    busy = [pool.submit(stay, 600) for _ in range(2)]
    if how == "exit":
        os._exit(42)
    concurrent.futures.wait(busy)


def is_alive(process: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_workers_end_with_their_parent(how: str) -> None:
    command = [sys.executable, __file__, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        started = [int(word) for word in parent.stdout.readline().split()]
        assert started
        if how == "kill":
            assert all(map(is_alive, started))
            parent.kill()
        assert parent.wait(60) == (42 if how == "exit" else -9)
    until = time.monotonic() + 20
    while any(map(is_alive, started)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, started))


def test_only_workers_have_a_parent() -> None:
    with pytest.raises(ValueError, match="processes that multiprocessing starts"):
        workers.end_with_parent()


if __name__ == "__main__":
    lead(sys.argv[1])
