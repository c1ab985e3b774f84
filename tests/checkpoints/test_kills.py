# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random times, in saves, restores and clean-ups: no acknowledged checkpoint is lost.

Each victim is forked from a process that has imported everything and started nothing, so that a
trial takes a second instead of ten.
"""

import os
import pathlib
import subprocess
import sys

import pytest

PROGRAM = """
import os, pathlib, random, signal, sys, time, traceback
import numpy as np
import grain
from omnigen.checkpoints import manager
from omnigen.checkpoints.manager import Checkpoints, Snapshot

workdir, trials, doing = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dice = random.Random(doing)


def state_of(step):
    rng = np.random.default_rng(step)
    params = {"ar": {"w": rng.normal(size=(64, 1024)).astype(np.float32)}}
    return {"params": params, "ema": params, "step": np.int32(step)}


def save(say):
    saved = Checkpoints(workdir, keep=1 if doing == "cleanup" else 2)
    step = saved.latest_step or 0
    say(0)
    while True:
        step += 1
        saved.save(step, Snapshot(state_of(step), {}, b"%d" % step), {"model": {}})
        saved._manager.wait_until_finished()
        say(step)


def restore(say):
    import jax

    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=here), state_of(0)
    )
    say(0)
    while True:
        saved = Checkpoints(workdir, keep=2)
        saved.restore_newest(state=target, frozen={})
        saved.close()


def fork(work):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            work(lambda step: os.write(writing, step.to_bytes(4, "little")))
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    os.close(writing)
    return child, reading


def check(say):
    model = manager.load_model(workdir)
    steps = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    assert model.step == steps[-1]
    np.testing.assert_array_equal(model.params["ar"]["w"], state_of(steps[-1])["ema"]["ar"]["w"])
    assert len(list((workdir / "checkpoints").glob("*tmp*"))) <= 1  # the next save removes it
    say(model.step)
    os._exit(0)


acknowledged = lost = 0
for trial in range(trials + (doing == "restore")):
    victim = restore if doing == "restore" and trial else save
    child, reading = fork(victim)
    os.read(reading, 4)  # it is ready
    if victim is save and not acknowledged:
        acknowledged = int.from_bytes(os.read(reading, 4), "little")
    time.sleep(dice.uniform(0.0, 2.0))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while answer := os.read(reading, 4):
        acknowledged = int.from_bytes(answer, "little")
    os.close(reading)
    child, reading = fork(check)
    newest = int.from_bytes(os.read(reading, 4), "little")
    lost += os.waitpid(child, 0)[1] != 0 or newest < acknowledged
    acknowledged = max(acknowledged, newest)
    os.close(reading)
print(f"{doing}: {trials} kills, {acknowledged} steps acknowledged, {lost} lost or unreadable")
sys.exit(bool(lost))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("doing", "trials"), [("save", 200), ("restore", 50), ("cleanup", 50)])
def test_kills(tmp_path: pathlib.Path, doing: str, trials: int, capsys) -> None:
    env = dict(
        os.environ, XLA_FLAGS=f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1"
    )
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path), str(trials), doing]
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    with capsys.disabled():
        print(f"\n{run.stdout}", end="")
    assert run.returncode == 0, run.stdout + run.stderr
