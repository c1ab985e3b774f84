# SPDX-License-Identifier: Apache-2.0
"""Hangs are put where they happen: in the data, in a step, in the thread that saves."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from omnigen.training import watchdog
from omnigen.training.watchdog import Watchdog

CONFTEST = pathlib.Path(__file__).with_name("conftest.py")

PROGRAM = """
import runpy, sys, time
import jax, numpy as np
from omnigen import parallel
from omnigen.checkpoints import checksums
from omnigen.training import loop, optim, watchdog

conftest, workdir, place = sys.argv[1:]
watchdog.LEAST_S = watchdog.LEAST_PAUSE_S = 3.0


def stuck_here(value):
    time.sleep(600)
    return value


class Hanging(runpy.run_path(conftest)["ToyStage"]):
    def rates(self, batch):
        if place == "data" and len(self.seen) == 8:
            stuck_here(0)
        return super().rates(batch)

    def prepare(self, params, frozen, batch, keys_B):
        batch = super().prepare(params, frozen, batch, keys_B)
        if place == "step":
            kind = jax.ShapeDtypeStruct(batch["x"].shape, np.float32)
            slow = lambda x, bad: stuck_here(x) if bad else x
            batch["x"] = jax.pure_callback(slow, kind, batch["x"], (batch["index"] == 1).any())
        return batch


if place == "checkpoint":
    checksums.write = lambda *args, **kwargs: stuck_here(0)
loop.run(
    Hanging(),
    loop.TrainConfig(steps=300, global_batch_size=16, checkpoint_every=4, hang_exit_s=6),
    optimizer=optim.OptimizerConfig(),
    mesh=parallel.make_mesh(parallel.MeshConfig()),
    workdir=workdir,
    settings={},
)
"""


def hang(workdir, place):
    command = [sys.executable, "-c", PROGRAM, str(CONFTEST), str(workdir), place]
    env = dict(
        os.environ, XLA_FLAGS=f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1"
    )
    began = time.monotonic()
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    return run, time.monotonic() - began


@pytest.mark.parametrize(
    "place",
    [
        "data",
        pytest.param("step", marks=pytest.mark.slow),
        pytest.param("checkpoint", marks=pytest.mark.slow),
    ],
)
def test_a_hang_is_described_and_ends(tmp_path, place):
    run, _ = hang(tmp_path, place)
    assert run.returncode == watchdog.EXIT_CODE, run.stderr
    assert "stacks of all threads are in" in run.stderr
    stacks = (tmp_path / "stacks-0.txt").read_text()
    assert "stuck_here" in stacks and "in run" in stacks
    assert stacks.count("no progress for") == 2


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(watchdog, "LEAST_S", 0.5)
    monkeypatch.setattr(watchdog, "LEAST_PAUSE_S", 1.5)
    dog = Watchdog(tmp_path / "stacks.txt", exit_s=0)
    yield dog, tmp_path / "stacks.txt"
    dog.close()


def test_beats_keep_it_quiet_and_silence_is_reported_once(quick, capsys):
    dog, path = quick
    for _ in range(40):
        time.sleep(0.02)
        dog.beat()
    assert not path.exists()
    time.sleep(1.2)
    assert path.read_text().count("no progress") == 1
    assert "test_beats_keep_it_quiet" in path.read_text()
    dog.beat()
    time.sleep(1.2)
    assert path.read_text().count("no progress") == 2


def test_pauses_may_take_longer(quick):
    dog, path = quick
    with dog.pause():
        time.sleep(1.1)
        dog.beat()
        time.sleep(1.1)
        assert dog.limit() == 1.5
    assert not path.exists()


def test_the_limit_follows_the_steps(quick, monkeypatch):
    dog, _ = quick
    now = [0.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now[0])
    dog._last = 0.0
    for seconds in (2.0, 3.0, 40.0):
        now[0] += seconds
        dog.beat()
    assert dog.limit() == 30.0
