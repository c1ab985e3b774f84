# SPDX-License-Identifier: Apache-2.0
"""Streams of batches: their workers, and states that older versions stored."""

import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from omnigen.data.stream import batches, pipeline
from omnigen.parallel import DataShard


def process_of(number: int) -> dict[str, np.ndarray]:
    """A batch that tells which process made it."""
    return {"process": np.array([os.getpid()])}


def lead(how: str) -> None:
    """Trains with two workers, prints their process IDs, and dies."""
    stream = iter(batches.Batches(process_of, workers=2))
    print(*{int(next(stream)["process"][0]) for _ in range(4)}, flush=True)
    if how == "exit":  # as the watchdog does
        os._exit(42)
    time.sleep(600)


def is_alive(process: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize("how", ["kill", pytest.param("exit", marks=pytest.mark.slow)])
def test_workers_end_with_a_run_that_dies(how: str) -> None:
    command = [sys.executable, __file__, how]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stdout is not None
        started = [int(word) for word in run.stdout.readline().split()]
        assert len(started) == 2 and run.pid not in started
        if how == "kill":
            assert all(map(is_alive, started))
            run.kill()
        assert run.wait(60) == (42 if how == "exit" else -9)
    until = time.monotonic() + 20
    while any(map(is_alive, started)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, started))


def test_a_function_of_the_number_alone_is_a_course() -> None:
    stream = iter(batches.Batches(lambda number: {"number": np.array([number])}))
    assert [int(next(stream)["number"][0]) for _ in range(3)] == [0, 1, 2]
    assert stream.get_state() == {"batch": 3}
    stream.set_state({"batch": 7})
    assert int(next(stream)["number"][0]) == 7
    stream.close()


def images(size: int, state: dict) -> tuple[np.ndarray, dict]:
    """The first batch from a state on, and the state after it."""
    config = pipeline.DataConfig(image_size=16, mixture={"shapes": 1.0})
    iterator = iter(pipeline.images_dataset(config, size, DataShard(0, 1)))
    iterator.set_state(state)
    batch, after = next(iterator), iterator.get_state()
    iterator.close()
    return batch.image, after


@pytest.mark.parametrize(("before", "after"), [(4, 8), (8, 4), (4, 3)])
def test_states_that_count_batches_alone_go_on(before: int, after: int) -> None:
    """A state of four batches, whose size the run's stored settings tell."""
    examples, _ = images(after, {"batch": 4, "size": before})
    whole, _ = images(4 * before + after, {"batch": 0})
    np.testing.assert_array_equal(examples, whole[4 * before :])
    same, state = images(after, {"batch": 4})  # not known: as large as now
    np.testing.assert_array_equal(same, images(5 * after, {"batch": 0})[0][4 * after :])
    assert state == {"batch": 5, "examples": [5 * after]}


def test_other_buckets_go_on_after_as_many_examples() -> None:
    _, state = images(4, {"batch": 6, "examples": [12, 12]})
    assert state == {"batch": 7, "examples": [28]}


if __name__ == "__main__":
    lead(sys.argv[1])
