# SPDX-License-Identifier: Apache-2.0
"""Workers of a parent that is killed, and of one that leaves without saying goodbye."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import signal
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
    if how == "interrupt":
        with workers.pool(2) as processes:
            print("started", flush=True)
            list(processes.map(stay, [600, 600]))
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


@pytest.mark.parametrize("wait_s", [0.0, 0.05, 0.5])
def test_an_interrupt_ends_workers_and_they_say_nothing(wait_s: float) -> None:
    """It reaches them while they start, too."""
    leader = subprocess.Popen(
        [sys.executable, __file__, "interrupt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert leader.stdout is not None and leader.stdout.readline() == "started\n"
    time.sleep(wait_s)
    os.killpg(leader.pid, signal.SIGINT)
    _, errors = leader.communicate(timeout=60)  # until the last of them has ended
    assert errors.count("Traceback") == 1 and errors.endswith("\nKeyboardInterrupt\n")  # its own


def test_a_pool_keeps_the_order() -> None:
    with workers.pool(2) as processes:
        assert list(processes.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]


def test_only_workers_have_a_parent() -> None:
    with pytest.raises(ValueError, match="processes that multiprocessing starts"):
        workers.end_with_parent()


if __name__ == "__main__":
    lead(sys.argv[1])
