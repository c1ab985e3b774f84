# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import shutil
import time

import jax
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from omnigen import parallel
from omnigen.checkpoints import checksums, manager
from omnigen.checkpoints.manager import Checkpoints, Snapshot


def weights(seed):
    rng = np.random.default_rng(seed)
    return {
        "ar": {
            "layers": {"up": rng.normal(size=(12, 8, 16)).astype(np.float32)},
            "scale": rng.normal(size=(8,)).astype(np.float32),
        },
        "head": {"out": rng.normal(size=(8, 64)).astype(np.float32)},
    }


FROZEN = {"encoder": {"w": np.arange(64, dtype=np.float32).reshape(8, 8) / 7}}
CONFIG = {"stage": "ar", "model": {"size": 3}, "betas": (0.9, 0.95)}


def state_of(seed):
    params = weights(seed)
    ema = jax.tree.map(lambda x: x / 2, params)
    return {"params": params, "opt": (np.int32(7),), "ema": ema, "step": np.int32(seed)}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved = Checkpoints(folder, keep=2)
    for step in (3, 5, 9):
        saved.save(step, Snapshot(state_of(step), FROZEN, b'{"at": %d}' % step), CONFIG)
    saved.save(9, Snapshot(state_of(1), FROZEN, b""), CONFIG)  # already there
    assert saved.latest_step == 9
    saved.close()
    return folder


@pytest.fixture(scope="module")
def exported(workdir, tmp_path_factory):
    output = tmp_path_factory.mktemp("export") / "model"
    manager.export_model(workdir, output)
    return output


def test_only_the_newest_are_kept(workdir):
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["5", "9"]


def test_restore_onto_a_mesh(workdir):
    mesh = parallel.make_mesh(parallel.MeshConfig(fsdp=8))
    split, whole = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("fsdp",), ()))

    def target(leaf):
        leaf = np.asarray(leaf)
        sharding = split if leaf.shape and leaf.shape[0] == 8 else whole
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    saved = Checkpoints(workdir, keep=2)
    found = saved.restore(
        5, state=jax.tree.map(target, state_of(5)), frozen=jax.tree.map(target, FROZEN)
    )
    saved.close()
    jax.tree.map(np.testing.assert_array_equal, found.state, state_of(5))
    jax.tree.map(np.testing.assert_array_equal, found.frozen, FROZEN)
    assert found.state["params"]["head"]["out"].sharding == split
    assert found.position == b'{"at": 5}'


@pytest.mark.parametrize(("place", "step"), [("", 9), ("checkpoints", 9), ("checkpoints/5", 5)])
def test_the_model_of_a_run(workdir, place, step):
    model = manager.load_model(workdir / place)
    assert model.step == step and model.path == str(workdir / "checkpoints" / str(step))
    assert model.config == {**CONFIG, "betas": [0.9, 0.95]}
    jax.tree.map(np.testing.assert_array_equal, model.params, FROZEN | state_of(step)["ema"])
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(model.params))


def test_an_export_is_the_model_in_bfloat16(workdir, exported):
    model = manager.load_model(exported)
    wanted = jax.tree.map(
        lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32), FROZEN | state_of(9)["ema"]
    )
    jax.tree.map(np.testing.assert_array_equal, model.params, wanted)
    assert model.step == 9 and model.config["model"] == {"size": 3}
    stored = manager.load_model(exported, dtype="bfloat16").params["ar"]["scale"]
    assert stored.dtype == ml_dtypes.bfloat16
    assert model.version == manager.load_model(workdir).version
    assert model.version != manager.load_model(workdir / "checkpoints/5").version
    with pytest.raises(ValueError, match="already exists"):
        manager.export_model(workdir, exported)


def test_an_export_in_float32_loses_nothing(workdir, tmp_path):
    manager.export_model(workdir, tmp_path / "model", dtype="float32")
    again = manager.load_model(tmp_path / "model")
    jax.tree.map(np.testing.assert_array_equal, again.params, manager.load_model(workdir).params)


def one_line(path: pathlib.Path) -> str:
    with pytest.raises(ValueError) as caught:
        manager.load_model(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


def test_paths_without_a_checkpoint(tmp_path):
    assert one_line(tmp_path / "none") == f"{tmp_path}/none: no such checkpoint folder"
    assert one_line(tmp_path).endswith("found an empty folder)")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).write_text("{}")
    assert one_line(tmp_path).endswith("found config.json, model.safetensors)")
    assert str(tmp_path) in one_line(tmp_path)


def data_files(folder):
    files = [p for p in folder.rglob("*") if p.is_file() and "/d/" in str(p)]
    return sorted(files, key=lambda p: -p.stat().st_size)


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"step": 1}'])
def test_unreadable_config(exported, tmp_path, text):
    shutil.copytree(exported, tmp_path / "m")
    (tmp_path / "m" / "config" / "metadata").write_text(text)
    assert one_line(tmp_path / "m").startswith(
        f"{tmp_path}/m: damaged checkpoint: file config/metadata: "
        "not a checkpoint of omnigen: unreadable config: "
    )


def test_format_of_the_future(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "m")
    (tmp_path / "m" / "digests.json").unlink()
    header = tmp_path / "m" / "config" / "metadata"
    header.write_text(json.dumps({**json.loads(header.read_text()), "omnigen_format": 99}))
    assert one_line(tmp_path / "m").endswith("checkpoint format 99, but this omnigen reads 1")


def test_missing_parts(exported, workdir, tmp_path):
    shutil.copytree(exported, tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "config")
    assert "unreadable config" in one_line(tmp_path / "m")
    shutil.copytree(workdir / "checkpoints/9", tmp_path / "s")
    (tmp_path / "s" / "state" / "_METADATA").unlink()
    assert one_line(tmp_path / "s").startswith(
        f"{tmp_path}/s: damaged checkpoint: file state/_METADATA: unreadable metadata of state"
    )


def test_truncated_data(exported, workdir, tmp_path):
    shutil.copytree(exported, tmp_path / "m")
    largest = data_files(tmp_path / "m")[0]
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    assert one_line(tmp_path / "m").startswith(f"{tmp_path}/m: damaged checkpoint: file model/")
    shutil.copytree(workdir / "checkpoints/9", tmp_path / "9")
    data_files(tmp_path / "9" / "state")[0].write_bytes(b"")
    said = one_line(tmp_path / "9")  # found by its digest, if the reader did not need the file
    assert said.startswith(f"{tmp_path}/9: damaged checkpoint: ") and "file state/" in said


def test_interrupted_saves_are_no_checkpoints(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    half = tmp_path / "checkpoints" / "12.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "9", half)
    assert manager.load_model(tmp_path).step == 9
    saved = Checkpoints(tmp_path, keep=2)
    assert saved.latest_step == 9
    saved.save(10, Snapshot(state_of(10), FROZEN, b""), CONFIG)
    saved.close()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10", "9"]


def test_looking_on_does_no_harm(tmp_path):
    """A run saves in the background while somebody opens its checkpoints to read."""
    saved = Checkpoints(tmp_path / "run", keep=2)
    for step in (1, 2, 3):
        saved.save(step, Snapshot(state_of(step), {}, b"{}"), {})
        others = [Checkpoints(tmp_path / "run", keep=1, read_only=True) for _ in range(3)]
        for other in others:
            assert set(other.steps) <= {1, 2, 3}
            other.close()
    saved.close()
    assert Checkpoints(tmp_path / "run", keep=2).steps == [2, 3]
    assert Checkpoints(tmp_path / "none", keep=1, read_only=True).steps == []
    assert not (tmp_path / "none").exists()


def test_nothing_is_pickled(workdir, exported):
    for path in [*workdir.rglob("*"), *exported.rglob("*")]:
        if path.is_file():
            assert path.suffix not in {".pkl", ".pickle", ".npy", ".pt"}
            assert not path.read_bytes().startswith(b"\x80\x04")


def test_a_save_that_failed_removes_nothing(tmp_path, monkeypatch):
    """Whoever asks first what went wrong must not let the old checkpoint go."""
    state = {"params": {"w": jax.numpy.ones(3)}}
    saved = Checkpoints(tmp_path, keep=1)
    saved.save(1, Snapshot(state, {}, b""), {})
    saved._manager.wait_until_finished()
    assert saved.steps == [1]
    wait = saved._manager._wait_for_checkpointers

    def late():
        time.sleep(0.5)
        wait()

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(saved._manager, "_wait_for_checkpointers", late)
    monkeypatch.setattr(checksums, "write", full)
    saved.save(2, Snapshot(state, {}, b""), {})
    with pytest.raises(OSError, match="no space left"):
        for _ in range(500):
            saved.check()
            time.sleep(0.01)
    saved.close()
    assert (tmp_path / "checkpoints/1").is_dir()
    assert not (tmp_path / "checkpoints/2").exists()
