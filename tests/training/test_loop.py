# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from omnigen import files, parallel
from omnigen.checkpoints import manager
from omnigen.data.stream import batches
from omnigen.training import loop, optim, state
from omnigen.training.changes import Schema
from omnigen.training.optim import OptimizerConfig

QUICK = loop.TrainConfig(
    steps=6, global_batch_size=16, log_every=1, checkpoint_every=3, sample_every=0, ema_decay=0.9
)
OPTIMIZER = OptimizerConfig(learning_rate=0.01, warmup_steps=2, weight_decay=0.1)


SETTINGS = {"model": {"size": "toy"}}


class Sum:
    """The sum of some weights."""

    name = "probe"

    def run(self, params, frozen):
        yield "weight_sum", float(params["encoder"]["layers"]["up"].sum())


def run(
    stage,
    workdir,
    config=QUICK,
    optimizer=OPTIMIZER,
    *,
    settings=SETTINGS,
    evaluators=(),
    **sizes,
):
    mesh = parallel.make_mesh(parallel.MeshConfig(**sizes))
    return loop.run(
        stage,
        config,
        optimizer=optimizer,
        mesh=mesh,
        workdir=workdir,
        settings=settings,
        schema=Schema(defaults={"model": {"local": True}}, unseen={"model.local": "encoder"}),
        seed=5,
        evaluators=evaluators,
    )


def change(**changes):
    return dataclasses.replace(QUICK, **changes)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def final(stage, workdir, step):
    """All arrays of a checkpoint, on one device."""
    mesh = parallel.make_mesh(parallel.MeshConfig(), devices=jax.devices()[:1])
    shapes = jax.eval_shape(stage.init, jax.random.key(0))
    optimizer = optim.build(OPTIMIZER, axes=stage.axes(), shapes=shapes, total_steps=6)
    target = state.abstract(mesh, stage.init, axes=stage.axes(), optimizer=optimizer)
    saved = manager.Checkpoints(workdir, keep=3)
    found = saved.restore(step, state=target, frozen={})
    saved.close()
    return jax.device_get(found.state)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, make_stage):
    """An uninterrupted run of six steps over eight devices."""
    workdir, stage = tmp_path_factory.mktemp("reference"), make_stage()
    run(stage, workdir)
    return workdir, stage


def one_step(stage, batch, microbatches):
    config = change(microbatches=microbatches)
    shapes = jax.eval_shape(stage.init, jax.random.key(0))
    optimizer = optim.build(OPTIMIZER, axes=stage.axes(), shapes=shapes, total_steps=6)
    step = loop.make_step(stage, config, optimizer=optimizer, seed=5)
    first = state.fresh(stage.init(jax.random.key(1)), optimizer)
    return first, jax.jit(step)(first, stage.frozen, batch)


def batch_of(stage):
    return next(iter(stage.dataset(16, parallel.DataShard())))


def test_microbatches_change_nothing(make_stage):
    stage = make_stage()
    results = [one_step(stage, batch_of(stage), parts)[1] for parts in (1, 2, 4)]
    new, report = results[0]
    assert float(report["share"]) == pytest.approx(1.0)
    assert float(report["loss"]) > 0.5 and float(report["grad_norm"]) > 0.1
    for other, other_report in results[1:]:
        for name in report:
            np.testing.assert_allclose(other_report[name], report[name], rtol=1e-6)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), other, new
        )


def test_the_loss_is_that_of_the_whole_batch_with_a_key_for_each_example(make_stage):
    stage = make_stage()
    batch = batch_of(stage)
    first, (_, report) = one_step(stage, batch, 4)
    total, weights = 0.0, np.asarray(batch["weight"])
    step_key = jax.random.fold_in(jax.random.key(5), 0)
    for index in range(16):
        key = jax.random.fold_in(step_key, index)
        row = {name: value[index : index + 1] for name, value in batch.items()}
        row = stage.prepare(first["params"], stage.frozen, row, jax.random.fold_in(key, 0)[None])
        loss, _ = stage.loss(first["params"], {}, row, jax.random.fold_in(key, 1)[None])
        total += float(loss) * weights[index]
    assert float(report["loss"]) == pytest.approx(total / weights.sum(), rel=1e-5)


@pytest.mark.parametrize(
    "sizes", [dict(data=1), dict(fsdp=8), dict(data=2, fsdp=2, tensor=2), dict(slice=2, sequence=2)]
)
def test_the_mesh_changes_nothing(make_stage, reference, tmp_path, sizes):
    stage = make_stage()
    one_device = sizes == dict(data=1)
    mesh = parallel.make_mesh(
        parallel.MeshConfig(**sizes), devices=jax.devices()[:1] if one_device else None
    )
    config = change(microbatches=1 if sizes.get("fsdp") == 8 else 2)
    loop.run(stage, config, optimizer=OPTIMIZER, mesh=mesh, workdir=tmp_path, settings={}, seed=5)
    ours, theirs = ([line["loss"] for line in lines(w)] for w in (tmp_path, reference[0]))
    assert len(ours) == 6 and len(set(ours)) == 6
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_batches_of_two_shapes_train_one_state(make_stage, reference, tmp_path):
    """What the loss does not read changes shape from batch to batch; the result stays."""

    class Growing(make_stage):
        def dataset(self, batch_size, shard):
            def grow(batch):
                return {**batch, "more": np.zeros((batch_size, 1 + batch["index"][0] % 2))}

            return super().dataset(batch_size, shard).map(grow)

    stage = Growing()
    run(stage, tmp_path)
    assert {int(index[0]) % 2 for index in stage.seen} == {0, 1}
    ours, theirs = ([line["loss"] for line in lines(w)] for w in (tmp_path, reference[0]))
    assert ours == theirs
    assert (tmp_path / "log.txt").read_text().count("compiled the step") == 2


def test_resuming_is_as_if_nothing_happened(make_stage, reference, tmp_path):
    workdir, first = reference
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "6")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    stage = make_stage()
    stage.frozen = jax.tree.map(np.zeros_like, stage.frozen)  # the checkpoint's hold
    run(stage, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, final(stage, tmp_path, 6), final(stage, workdir, 6))
    np.testing.assert_array_equal(stage.seen[:3], first.seen[3:6])
    ours, theirs = lines(tmp_path), lines(workdir)
    assert [line["step"] for line in ours] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in ours] == [line["loss"] for line in theirs]
    assert run(make_stage(), tmp_path) == {}


def test_resuming_on_another_mesh(make_stage, reference, tmp_path):
    shutil.copytree(reference[0], tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "6")
    run(make_stage(), tmp_path, fsdp=4, tensor=2)
    ours, theirs = ([line["loss"] for line in lines(w)] for w in (tmp_path, reference[0]))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_exit(make_stage, reference, tmp_path, signum, code):
    class Interrupted(make_stage):
        def samples(self, params, frozen, seed):
            os.kill(os.getpid(), signum)
            return super().samples(params, frozen, seed)

    before = signal.getsignal(signum)
    with pytest.raises(SystemExit) as caught:
        run(Interrupted(), tmp_path, change(sample_every=4, checkpoint_every=0))
    assert caught.value.code == code
    assert signal.getsignal(signum) is before
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["4"]
    assert "saving step 4" in (tmp_path / "log.txt").read_text()
    stage = make_stage()
    run(stage, tmp_path)
    jax.tree.map(
        np.testing.assert_array_equal, final(stage, tmp_path, 6), final(stage, reference[0], 6)
    )


def test_a_bad_batch_is_skipped(make_stage):
    stage = make_stage(bad_indices=[3])
    batch = batch_of(stage)
    _, (_, fine) = one_step(make_stage(bad_indices=[-1]), batch, 2)
    assert float(fine["skipped"]) == 0 and np.isfinite(fine["loss"])
    batch["index"][5] = 3
    first, (new, report) = one_step(stage, batch, 2)
    assert float(report["skipped"]) == 1 and np.isnan(report["loss"])
    assert int(new.pop("step")) == 1 and int(first.pop("step")) == 0
    jax.tree.map(np.testing.assert_array_equal, new, first)


def test_skipped_steps_are_counted_and_the_rest_goes_on(make_stage, reference, tmp_path):
    fourth = reference[1].seen[3]
    run(make_stage(bad_indices=fourth[:1]), tmp_path, change(log_every=2))
    found = {line["step"]: line for line in lines(tmp_path)}
    assert list(found) == [1, 2, 4, 6]
    assert [line["skipped"] for line in found.values()] == [0, 0, 1, 0]
    good = lines(reference[0])
    assert found[4]["loss"] == pytest.approx(good[2]["loss"], rel=1e-6)
    assert found[6]["loss"] != pytest.approx((good[4]["loss"] + good[5]["loss"]) / 2, rel=1e-6)


def test_ten_bad_steps_end_the_run(make_stage, tmp_path):
    stage = make_stage(bad_indices=range(960))
    with pytest.raises(FloatingPointError, match="10 steps in a row, up to step 10"):
        run(stage, tmp_path, change(steps=20, checkpoint_every=0))
    assert lines(tmp_path)[0]["loss"] is None
    report = json.loads((tmp_path / "evidence-10" / "report.json").read_text())
    assert (report["step"], report["seed"], len(report["reports"])) == (10, 5, 10)
    layers = report["layers"]
    assert layers["weights"]["encoder/layers/up"]["not_finite"] == 0
    assert layers["weights"]["encoder/layers/up"]["norm"] > 1
    assert layers["gradients"]["encoder/layers/up"]["not_finite"] == 2 * 16 * 24
    batch = np.load(tmp_path / "evidence-10" / "batch-0.npz")
    np.testing.assert_array_equal(batch["index"], stage.seen[9])


def test_samples_and_evaluations(make_stage, tmp_path):
    stage = make_stage()
    last = run(stage, tmp_path, change(sample_every=4, eval_every=5), evaluators=[Sum()])
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [
        "step_00000004.png",
        "step_00000006.png",
    ]
    with Image.open(tmp_path / "samples" / "step_00000006.png") as image:
        assert image.size == (2 * 6 + 2, 2 * 4 + 2)
        drawn = np.asarray(image)[0, 0, 0]
    ema = final(stage, tmp_path, 6)["ema"]
    assert drawn == int(np.abs(ema["head"]["out"]).max() * 100)
    weights = {
        line["step"]: line["probe/weight_sum"]
        for line in lines(tmp_path)
        if "probe/weight_sum" in line
    }
    assert list(weights) == [5, 6]
    assert weights[6] == pytest.approx(ema["encoder"]["layers"]["up"].sum(), rel=1e-4)
    assert last["probe/weight_sum"] == weights[6]


def test_what_a_workdir_holds(reference):
    workdir, _ = reference
    assert json.loads((workdir / "config.json").read_text()) == {"model": {"size": "toy"}}
    first = lines(workdir)[0]
    assert list(first)[:4] == ["step", "loss", "mse", "share"]
    expected = {
        "step", "loss", "mse", "share", "grad_norm", "skipped", "learning_rate", "images_per_s",
        "tokens_per_s", "fill", "tflops_per_s_per_device", "executed_tflops_per_s_per_device",
        "step_ms", "data_wait_percent", "eta_s",
    }  # fmt: skip
    assert set(first) == expected  # no MFU and no device memory on a CPU
    rates = [line["learning_rate"] for line in lines(workdir)]
    np.testing.assert_allclose(rates, [0.005, 0.01, 0.01, 0.01, 0.01, 0.01], rtol=1e-6)
    assert first["tokens_per_s"] == pytest.approx(10 * first["images_per_s"])
    log = (workdir / "log.txt").read_text()
    assert "step 6/6 100.0% | loss" in log and "stage toy: 0.0 M weights" in log


def test_starting_from_weights(make_stage, reference, tmp_path):
    still = dataclasses.replace(OPTIMIZER, learning_rate=0.0)
    config = change(steps=1, init_from=str(reference[0]))
    stage = make_stage()
    run(stage, tmp_path, config, still)
    made, given = final(stage, tmp_path, 1), final(stage, reference[0], 6)
    jax.tree.map(np.testing.assert_array_equal, made["params"], given["ema"])
    assert int(made["step"]) == 1
    assert f"weights of {reference[0]}/checkpoints/6" in (tmp_path / "log.txt").read_text()


def test_starting_from_weights_that_do_not_fit(make_stage, reference, tmp_path):
    class Wider(make_stage):
        def init(self, key):
            params = super().init(key)
            return {**params, "head": {"out": jnp.zeros((16, 16))}}

    class Other(make_stage):
        def init(self, key):
            return {"ar": super().init(key)["encoder"]}

        def axes(self):
            return {"ar": super().axes()["encoder"]}

    config = change(init_from=str(reference[0]))
    with pytest.raises(ValueError, match=r"head/out is \(16, 8\) there and \(16, 16\) here"):
        run(Wider(), tmp_path / "a", config)
    with pytest.raises(ValueError, match=r"\['decoder', 'encoder', 'head'\] but none of \['ar'\]"):
        run(Other(), tmp_path / "b", config)
    shutil.copytree(reference[0] / "checkpoints", tmp_path / "c" / "checkpoints")
    with pytest.raises(
        ValueError, match=r"checkpoints/6: .* of another model: state/ema/head/out is"
    ):
        run(Wider(), tmp_path / "c")


def test_a_run_that_goes_on_knows_what_it_was(make_stage, reference, tmp_path, capsys):
    """What weights do not show is refused, before anything is written; all else is told."""
    shutil.copytree(reference[0], tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    other = {"model": {"size": "toy", "local": False}}
    message = r"^model\.local is False; the encoder of \S*run/checkpoints/6 learnt with True; to go"
    with pytest.raises(ValueError, match=message):
        run(make_stage(), tmp_path / "run", change(steps=7), settings=other)
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}

    capsys.readouterr()
    given = {"model": {"size": "toy", "local": True}, "seed": 5}
    run(make_stage(), tmp_path / "run", change(steps=7), settings=given)
    told = "changed since step 6: seed was absent, is 5"
    assert [s for s in capsys.readouterr().out.splitlines() if "changed since" in s] == [told]
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("changed since") == 1 and f" {told}\n" in log
    phases = [
        "restoring step 6 ...",
        "restoring step 6 took",
        told,
        "opening the data",
        "compiling",
    ]
    phases += ["step 7/7", "writing the checkpoint of step 7 ...", "goodput"]
    places = [log.rindex(phase) for phase in phases]
    assert places == sorted(places)


def test_corpora_that_have_changed_are_told_like_settings(make_stage, tmp_path, capsys):
    stage = make_stage()
    batch = batch_of(stage)
    for content, steps in (("a", 1), ("a", 2), ("b", 3)):
        stage.dataset = lambda size, shard, content=content: batches.Batches(
            lambda number: batch, content=content
        )
        run(stage, tmp_path, change(steps=steps))
    log = (tmp_path / "log.txt").read_text()
    told = [line for line in log.splitlines() if "changed since" in line]
    assert len(told) == 1 and "changed since step 2: the pictures or captions of the" in told[0]
    assert told[0].split(" ", 2)[2] in capsys.readouterr().out.splitlines()


def test_weights_that_mean_another_thing_are_no_start(make_stage, reference, tmp_path, capsys):
    other = {"model": {"size": "toy", "local": False}}
    config = change(steps=1, init_from=str(reference[0]))
    with pytest.raises(
        ValueError, match=r"model\.local is False.*; train.relearn=model.local lets"
    ):
        run(make_stage(), tmp_path / "new", config, settings=other)
    assert not (tmp_path / "new").exists()
    learning = dataclasses.replace(config, relearn="model.local")
    run(make_stage(), tmp_path / "new", learning, settings=other)
    assert "model.local is False; the encoder of" in capsys.readouterr().out


def test_one_run_in_a_workdir(make_stage, reference, tmp_path):
    """The second leaves everything as it is; one that was killed holds nothing."""
    workdir = tmp_path / "run"
    shutil.copytree(reference[0], workdir)
    (workdir / "checkpoints" / "9.orbax-checkpoint-tmp").mkdir()  # a save under way
    (workdir / ".lock").write_text("process 1 on some host\n")  # of a run that was killed
    held = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
    del held[workdir / ".lock"]
    with files.locked(workdir, work="a run"), pytest.raises(ValueError, match="a run is at work"):
        run(make_stage(), workdir, change(steps=9))
    assert (workdir / "checkpoints" / "9.orbax-checkpoint-tmp").is_dir()
    assert {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()} == held
    run(make_stage(), workdir, change(steps=7))
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["6", "7"]
    assert not (workdir / ".lock").exists()


def test_bad_input_leaves_no_folders(make_stage, tmp_path):
    with pytest.raises(ValueError, match="no such checkpoint"):
        run(make_stage(), tmp_path / "a" / "b" / "c", change(init_from="absent"))
    assert not list(tmp_path.iterdir())


def test_data_that_ends(make_stage, tmp_path):
    with pytest.raises(ValueError, match="8 rows instead of 16: the data ended"):
        run(make_stage(end=40), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(steps=0), "train.steps=0"),
        (dict(microbatches=3), "16 is not a multiple of train.microbatches=3"),
        (dict(ema_decay=1.0), "ema_decay"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        change(**changes)


def test_a_batch_that_the_mesh_does_not_divide(make_stage, tmp_path):
    with pytest.raises(ValueError, match="16 must be a multiple of 8 mesh parts x 4"):
        run(make_stage(), tmp_path, change(microbatches=4))
    assert list(tmp_path.iterdir()) == []


HOST = """
import os, pathlib, runpy, signal, sys
import jax
import numpy as np
from omnigen import parallel

parallel.initialize()
from omnigen.training import loop, optim

conftest, workdir = sys.argv[1:]

class Preempted(runpy.run_path(conftest)["ToyStage"]):
    def samples(self, params, frozen, seed):
        if jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return np.zeros((1, 2, 2, 3), np.uint8)

loop.run(
    Preempted(),
    loop.TrainConfig(steps=500, global_batch_size=16, sample_every=3, checkpoint_every=0),
    optimizer=optim.OptimizerConfig(),
    mesh=parallel.make_mesh(parallel.MeshConfig(fsdp=2)),
    workdir=workdir,
    settings={},
)
"""


@pytest.mark.slow
def test_all_hosts_save_the_same_step_when_one_is_preempted(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    conftest = pathlib.Path(__file__).with_name("conftest.py")
    hosts = []
    for index in range(2):
        env = dict(
            os.environ,
            XLA_FLAGS=f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
            JAX_COORDINATOR_ADDRESS=f"localhost:{port}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(index),
        )
        command = [sys.executable, "-c", HOST, str(conftest), str(tmp_path)]
        hosts.append(subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL))
    assert [host.wait(timeout=300) for host in hosts] == [143, 143]
    (checkpoint_folder,) = (tmp_path / "checkpoints").iterdir()
    assert 3 <= int(checkpoint_folder.name) < 500
    places = [json.loads(p.read_text()) for p in sorted(checkpoint_folder.glob("data/*.json"))]
    assert len(places) == 2 and places[0] == places[1]
