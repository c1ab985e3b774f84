# SPDX-License-Identifier: Apache-2.0
"""A run that was stopped, however it was, ends as if it had not been: to the bit."""

import functools
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from omnigen import parallel
from omnigen.checkpoints import checksums, manager
from omnigen.checkpoints.manager import Checkpoints, Snapshot
from omnigen.training import loop, replay, state
from omnigen.training.optim import OptimizerConfig
from omnigen.training.stage import TrainConfig

CONFTEST = pathlib.Path(__file__).with_name("conftest.py")
RATES = {"learning_rate": 0.01, "warmup_steps": 2, "weight_decay": 0.1}
OPTIMIZER = OptimizerConfig(**RATES)
SHORT = {
    "global_batch_size": 8,
    "log_every": 1,
    "checkpoint_every": 7,
    "keep_checkpoints": 3,
    "ema_decay": 0.9,
    "spike_sigmas": 6.0,
}

PROGRAM = """
import runpy, sys, time
from omnigen import parallel
from omnigen.training import loop, optim
from omnigen.training.stage import TrainConfig

conftest, workdir, steps, nap = sys.argv[1:]


class Slow(runpy.run_path(conftest)["ToyStage"]):
    def rates(self, batch):
        time.sleep(float(nap))
        return super().rates(batch)


loop.run(
    Slow(),
    TrainConfig(steps=int(steps), %s),
    optimizer=optim.OptimizerConfig(%s),
    mesh=parallel.make_mesh(parallel.MeshConfig()),
    workdir=workdir,
    settings={},
    seed=5,
)
"""


def launch(workdir, steps, *, nap=0.0):
    program = PROGRAM % (keywords(SHORT), keywords(RATES))
    command = [sys.executable, "-c", program, str(CONFTEST), str(workdir), str(steps), str(nap)]
    env = dict(
        os.environ, XLA_FLAGS=f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1"
    )
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def keywords(values):
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def lines(workdir):
    try:
        text = (workdir / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("}\n")]


def stop_at(workdir, step, steps, signum):
    """Runs until a step is reported, then sends the signal; returns exit code and seconds to it."""
    run = launch(workdir, steps, nap=0.05)
    while not any(line["step"] >= step for line in lines(workdir)):
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signum)
    since = time.monotonic()
    code = run.wait(timeout=60)
    return code, time.monotonic() - since


def finish(stage, workdir, steps):
    """Runs to the end, in this process."""
    mesh = parallel.make_mesh(parallel.MeshConfig(), devices=jax.devices()[:1])
    config = TrainConfig(steps=steps, **SHORT)
    given = {"mesh": mesh, "workdir": workdir, "settings": {}, "seed": 5}
    loop.run(stage, config, optimizer=OPTIMIZER, **given)


def assert_same_end(workdir, reference, steps):
    ours, theirs = lines(workdir), lines(reference)
    assert [line["step"] for line in theirs] == list(range(1, steps + 1))
    for name in ("step", "loss", "grad_norm", "mse"):
        assert [line[name] for line in ours] == [line[name] for line in theirs]
    seals = [checksums.read(folder / "checkpoints" / str(steps)) for folder in (workdir, reference)]
    assert seals[0].leaves == seals[1].leaves
    parts = {path.split("/")[1] for path in seals[0].leaves}
    assert {"params", "opt", "ema", "step"} <= parts
    places = [next((w / f"checkpoints/{steps}/data").glob("*.json")) for w in (workdir, reference)]
    assert places[0].read_bytes() == places[1].read_bytes()


def stop_and_go(make_stage, tmp_path, *, steps, cuts):
    finish(make_stage(), tmp_path / "reference", steps)
    for step, signum in cuts:
        code, seconds = stop_at(tmp_path / "run", step, steps, signum)
        assert code == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[signum]
        if signum != signal.SIGKILL:
            assert seconds < 30
            saved = max(int(p.name) for p in (tmp_path / "run/checkpoints").glob("[0-9]*"))
            assert saved == lines(tmp_path / "run")[-1]["step"]
    finish(make_stage(), tmp_path / "run", steps)
    assert_same_end(tmp_path / "run", tmp_path / "reference", steps)


def test_killed_and_resumed(make_stage, tmp_path):
    stop_and_go(make_stage, tmp_path, steps=24, cuts=[(11, signal.SIGKILL)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_two_hundred_steps_stopped_at_five_random_ones(make_stage, tmp_path, seed):
    dice = random.Random(seed)
    steps = sorted(dice.sample(range(5, 190), 5))
    signals = [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]
    dice.shuffle(signals)
    cuts = list(zip(steps, signals, strict=True))
    stop_and_go(make_stage, tmp_path, steps=200, cuts=cuts)


@pytest.mark.slow
def test_killed_at_any_time(tmp_path):
    """Kills land anywhere: while starting, compiling, saving, restoring, cleaning up."""
    dice = random.Random(0)
    acknowledged, rounds = 0, 25
    for _ in range(rounds):
        run = launch(tmp_path, 100_000, nap=0.0)
        time.sleep(dice.uniform(3.0, 12.0))
        run.kill()
        run.wait()
        complete = [int(p.name) for p in (tmp_path / "checkpoints").glob("*") if p.name.isdigit()]
        assert max(complete, default=0) >= acknowledged
        acknowledged = max(complete, default=0)
        if complete:
            manager.load_model(tmp_path / "checkpoints" / str(acknowledged))
    print(f"{rounds} kills, {acknowledged} steps, none lost")
    assert acknowledged > 100


MESHES = [
    dict(data=8),
    dict(data=1, fsdp=8),
    dict(data=2, fsdp=2, tensor=2),
    dict(data=1, fsdp=1, one_device=True),
]
PAIRS = list(itertools.permutations(range(len(MESHES)), 2))


def mesh_of(number):
    sizes = dict(MESHES[number])
    devices = jax.devices()[:1] if sizes.pop("one_device", False) else None
    return parallel.make_mesh(parallel.MeshConfig(**sizes), devices=devices)


@functools.cache
def target_of(stage, number):
    config = TrainConfig(steps=6)
    optimizer = loop.prepare_optimizer(stage, config, OPTIMIZER)
    mesh = mesh_of(number)
    target = state.abstract(mesh, stage.init, axes=stage.axes(), optimizer=optimizer)
    return target, loop.abstract_frozen(stage, mesh)


def place(target):
    """Random values of every leaf, on the devices of the target."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jax.device_put(
            (100 * rng.standard_normal(leaf.shape)).astype(leaf.dtype), leaf.sharding
        ),
        target,
    )


@pytest.fixture(scope="module")
def toy(make_stage):
    return make_stage()


@pytest.mark.parametrize(
    ("before", "after"),
    [pair if pair == (1, 2) else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS],
)
def test_the_state_on_another_mesh_is_the_same_to_the_bit(toy, tmp_path, before, after):
    saved = Checkpoints(tmp_path, keep=1)
    held = place(target_of(toy, before))
    saved.save(3, Snapshot(*held, b'{"batch": 3}'), {})
    saved.close()
    again = Checkpoints(tmp_path, keep=1)
    target, frozen = target_of(toy, after)
    found = again.restore(3, state=target, frozen=frozen)
    again.close()
    jax.tree.map(np.testing.assert_array_equal, (found.state, found.frozen), held)
    shardings = jax.tree.map(lambda leaf, want: leaf.sharding == want.sharding, found.state, target)
    assert all(jax.tree.leaves(shardings))
    assert found.position == b'{"batch": 3}'


def run(stage, workdir, **changes):
    config = TrainConfig(
        **{"steps": 6, "global_batch_size": 16, "log_every": 1, "checkpoint_every": 3, **changes}
    )
    mesh = parallel.make_mesh(parallel.MeshConfig())
    given = {"optimizer": OPTIMIZER, "mesh": mesh, "seed": 5}
    return stage, config, given, workdir


def train(stage, config, given, workdir):
    return loop.run(stage, config, workdir=workdir, settings={}, **given)


@pytest.fixture(scope="module")
def finished(make_stage, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    train(*run(make_stage(), workdir))
    return workdir


def first_of_batch(stage, number):
    """Index of the first example of a batch, counted from 1."""
    batches = iter(stage.dataset(16, parallel.DataShard()))
    return [next(batches) for _ in range(number)][-1]["index"][0]


def play_again(stage, workdir, first):
    stage, config, given, workdir = run(stage, workdir)
    said = []
    return replay.replay(stage, config, first=first, workdir=workdir, say=said.append, **given)


def test_a_replay_of_a_sound_run_finds_nothing(make_stage, finished):
    before = sorted(path.name for path in finished.rglob("*"))
    found = play_again(make_stage(), finished, 3)
    assert (found.first, found.last, found.losses, found.arrays) == (3, 6, [], [])
    assert found.line == "steps 4 to 6: every array is the same to the bit"
    assert sorted(path.name for path in finished.rglob("*")) == before


def test_a_replay_finds_one_wrong_bit(make_stage, finished):
    unlucky = first_of_batch(make_stage(), 5)

    class Miscounting(make_stage):
        """One bit of one number of the data is wrong, in the fifth step."""

        def dataset(self, batch_size, shard):
            return super().dataset(batch_size, shard).map(self.spoil)

        def spoil(self, batch):
            if batch["index"][0] == unlucky:
                batch["x"].view(np.uint32)[3, 2] ^= 1 << 12
            return batch

    found = play_again(Miscounting(), finished, 3)
    assert found.losses == [5, 6]
    assert "state/params/encoder/in" in found.arrays
    assert "arrays differ, such as state/" in found.line and "since step 5" in found.line


def test_a_replay_reads_what_is_whole_of_the_metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert replay._losses(path) == {}
    found = [json.dumps({"step": step, "loss": step / 2}) for step in (4, 5, 6)]
    path.write_text("\n".join([found[0], '{"step": 5, "psnr": 3}', *found[1:]])[:-4])
    assert replay._losses(path) == {5: 2.5}


def test_a_replay_needs_two_checkpoints(make_stage, finished):
    for first in (2, 6):
        with pytest.raises(ValueError, match=rf"step {first} and a later one; there are \[3, 6\]"):
            play_again(make_stage(), finished, first)


def test_a_run_passes_over_a_damaged_checkpoint(make_stage, finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    reference = lines(finished)
    for path in (tmp_path / "checkpoints/6/state/ocdbt.process_0/d").iterdir():
        path.write_bytes(path.read_bytes()[::-1])
    train(*run(make_stage(), tmp_path))
    assert [line["loss"] for line in lines(tmp_path)] == [line["loss"] for line in reference]
    log = (tmp_path / "log.txt").read_text()
    assert log.count("checkpoints/6: damaged checkpoint") == 1 and "going on from step 3" in log
    assert checksums.read(tmp_path / "checkpoints/6") is not None
