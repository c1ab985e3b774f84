# SPDX-License-Identifier: Apache-2.0
"""That a checkpoint cannot lie: damage and malice are found, and the newest sound one is used."""

import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from omnigen.checkpoints import checksums, digest, manager
from omnigen.checkpoints.checksums import DamagedError
from omnigen.checkpoints.manager import Checkpoints, Snapshot

FROZEN = {"encoder": {"w": np.arange(4096, dtype=np.float32).reshape(64, 64) / 7}}
ONE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state_of(step):
    rng = np.random.default_rng(step)
    params = {
        "ar": {
            "up": rng.normal(size=(4, 64, 64)).astype(np.float32),
            "down": rng.normal(size=(64, 64)).astype(np.float32),
        }
    }
    ema = jax.tree.map(lambda x: x / 2, params)
    moments = jax.tree.map(np.square, params)
    return {"params": params, "opt": ({"nu": moments},), "ema": ema, "step": np.int32(step)}


def target(tree):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=ONE), tree
    )


TARGETS = {"state": target(state_of(0)), "frozen": target(FROZEN)}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run with checkpoints at steps 4 and 8, of arrays on a device, and the export of 8."""
    workdir = tmp_path_factory.mktemp("run")
    saved = Checkpoints(workdir, keep=2)
    saved.prepare(**TARGETS)
    for step in (4, 8):
        placed, frozen = jax.device_put((state_of(step), FROZEN), jax.devices()[0])
        saved.save(step, Snapshot(placed, frozen, b'{"batch": %d}' % step), {"model": {"a": 1}})
        jax.tree.map(lambda leaf: leaf.delete(), placed)  # as donation does
    saved.close()
    manager.export_model(workdir, workdir / "model", dtype="float32")
    return workdir


@pytest.fixture
def workdir(original, tmp_path):
    shutil.copytree(original, tmp_path / "run")
    return tmp_path / "run"


def restore(workdir, step):
    saved = Checkpoints(workdir, keep=2)
    try:
        return saved.restore(step, **TARGETS)
    finally:
        saved.close()


def newest(workdir):
    lines = []
    saved = Checkpoints(workdir, keep=2, warn=lines.append)
    try:
        return saved.restore_newest(**TARGETS), lines
    finally:
        saved.close()


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip_bits(folder, read, wanted, *, trials, seed):
    """Flips one random bit at a time; returns how many of the readings were refused.

    A reading that is not refused must return what was saved.
    """
    rng = np.random.default_rng(seed)
    files = files_of(folder)
    sizes = np.array([path.stat().st_size for path in files], float)
    refused = 0
    for _ in range(trials):
        path = files[rng.choice(len(files), p=sizes / sizes.sum())]
        content = path.read_bytes()
        place, bit = int(rng.integers(len(content))), int(rng.integers(8))
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        try:
            found = read()
        except ValueError as error:
            refused += 1
            relative = path.relative_to(folder).as_posix()
            assert relative in str(error) or path.name == checksums.NAME, error
        else:
            jax.tree.map(np.testing.assert_array_equal, found, wanted)
        path.write_bytes(content)
    jax.tree.map(np.testing.assert_array_equal, read(), wanted)
    return refused


def flip_everywhere(workdir, *, trials):
    """Half of the bits in an export, half in a run's checkpoint."""
    ema = state_of(8)["ema"]
    model = workdir / "model"
    refused = flip_bits(
        model,
        lambda: manager.load_model(model).params,
        FROZEN | ema,
        trials=trials // 2,
        seed=1,
    )
    saved = Checkpoints(workdir, keep=2)
    refused += flip_bits(
        workdir / "checkpoints" / "8",
        lambda: saved.restore(8, **TARGETS).state,
        state_of(8),
        trials=trials - trials // 2,
        seed=2,
    )
    saved.close()
    return refused


def test_flipped_bits(workdir):
    assert flip_everywhere(workdir, trials=30) == 30


@pytest.mark.slow
def test_five_hundred_flipped_bits(workdir):
    refused = flip_everywhere(workdir, trials=500)
    print(f"{refused} of 500 refused, 0 silently wrong")
    assert refused >= 499


def test_what_the_message_names(workdir):
    state = workdir / "checkpoints/8/state"
    largest = max(files_of(state / "ocdbt.process_0" / "d"), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        restore(workdir, 8)
    message = str(caught.value)
    assert message.startswith(f"{workdir}/checkpoints/8: damaged checkpoint: ")
    assert largest.relative_to(state.parent).as_posix() in message
    assert "\n" not in message


def test_an_array_that_was_wrong_before_it_reached_the_disk(workdir, monkeypatch):
    """All files are as they were written; only the digest from the device knows better."""
    truth = checksums.read(workdir / "checkpoints/8")
    leaves = dict(truth.leaves)
    name = "state/ema/ar/up"
    leaves[name] = checksums.Leaf(leaves[name].shape, leaves[name].dtype, "0" * 16)
    checksums.write(workdir / "checkpoints/8", step=8, leaves=leaves)
    folder = workdir / "checkpoints/8"
    for read in (lambda: restore(workdir, 8), lambda: manager.load_model(folder)):
        with pytest.raises(DamagedError, match=f"wrong digest of array {name}$"):
            read()


def test_the_newest_sound_step_is_used(workdir, caplog):
    for path in files_of(workdir / "checkpoints/8/state/ocdbt.process_0/d"):
        path.write_bytes(b"")
    assert manager.load_model(workdir).step == 4
    ours = [record for record in caplog.records if record.name.startswith("omnigen.")]
    assert [record.message.split(";")[-1] for record in ours] == [" taking an older one"]
    found, lines = newest(workdir)
    assert found.position == b'{"batch": 4}'
    jax.tree.map(np.testing.assert_array_equal, found.state, state_of(4))
    assert len(lines) == 1 and lines[0].endswith("; going on from step 4")
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["4", "8.damaged"]
    saved = Checkpoints(workdir, keep=2)  # and step 8 can be saved again
    saved.save(8, Snapshot(state_of(8), FROZEN, b"{}"), {})
    saved.close()
    jax.tree.map(np.testing.assert_array_equal, restore(workdir, 8).state, state_of(8))


def test_when_all_are_damaged_the_run_ends(workdir):
    for step in (4, 8):
        (workdir / f"checkpoints/{step}/state/manifest.ocdbt").write_bytes(b"")
    with pytest.raises(DamagedError, match="checkpoints/4: damaged checkpoint: file state/manif"):
        newest(workdir)
    with pytest.raises(DamagedError, match="checkpoints/4"):
        manager.load_model(workdir)


def test_every_file_is_missed(workdir):
    folder = workdir / "checkpoints/8"
    unread = {"commit_success.txt", checksums.NAME}
    for path in files_of(folder):
        if path.relative_to(folder).as_posix() in unread:
            continue
        for damage in (lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-1])):
            content = path.read_bytes()
            damage(path)
            with pytest.raises(DamagedError):
                restore(workdir, 8)
            path.write_bytes(content)
    assert int(restore(workdir, 8).state["step"]) == 8


def test_the_checkpoint_of_another_step(workdir):
    folder = workdir / "checkpoints"
    shutil.rmtree(folder / "8/state")
    shutil.copytree(folder / "4/state", folder / "8/state")
    with pytest.raises(DamagedError):
        restore(workdir, 8)
    shutil.rmtree(folder / "8")
    shutil.copytree(folder / "4", folder / "8")
    with pytest.raises(DamagedError, match="it holds step 4"):
        restore(workdir, 8)


def test_another_model_is_no_damage(workdir):
    other = {**TARGETS["state"], "params": target({"ar": {"up": np.zeros((4, 64, 64))}})}
    saved = Checkpoints(workdir, keep=2)
    with pytest.raises(ValueError, match="of another model: state/params/ar/down") as caught:
        saved.restore_newest(state=other, frozen=TARGETS["frozen"])
    saved.close()
    assert not isinstance(caught.value, DamagedError)
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["4", "8"]


def test_checkpoints_without_digests_are_read_with_a_warning(workdir, caplog):
    for folder in (workdir / "checkpoints/8", workdir / "model"):
        (folder / checksums.NAME).unlink()
    assert manager.load_model(workdir / "model").step == 8
    assert "has no digests" in caplog.text
    found, lines = newest(workdir)
    assert int(found.state["step"]) == 8
    assert lines == [f"{workdir}/checkpoints/8 has no digests: what it holds cannot be checked"]


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def _edit_metadata(folder, change):
    path = folder / "model" / "_METADATA"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def _rename_key(name):
    def change(values):
        entry = next(iter(values["tree_metadata"].values()))
        entry["key_metadata"][0]["key"] = name

    return lambda folder, outside: _edit_metadata(folder, change)


def _value_type(name):
    def change(values):
        next(iter(values["tree_metadata"].values()))["value_metadata"]["value_type"] = name

    return lambda folder, outside: _edit_metadata(folder, change)


def _pickled(name):
    def write(folder, outside):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(pickle.dumps(Bomb(outside / "pickled")))

    return write


def _linked(name, aim):
    def write(folder, outside):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(outside / aim if aim else outside)

    return write


def _huge(shape):
    """Declares an array that is not there, in the way that Orbax's store does."""

    def write(folder, outside):
        import tensorstore as ts

        spec = {
            "driver": "zarr",
            "kvstore": {
                "driver": "ocdbt",
                "base": f"file://{folder}/model/",
                "path": "ar.down/",
            },
        }
        metadata = {
            "shape": shape,
            "chunks": [1024] * len(shape),
            "dtype": "<f4",
            "compressor": None,
            "fill_value": 0,
        }
        ts.open({**spec, "metadata": metadata}, create=True, delete_existing=True).result()

    return write


def _text(name, content):
    return lambda folder, outside: (folder / name).write_text(content)


NAMES = ("../../../etc", "..", ".", "/etc/passwd", "a/../../b", "a\\b", "", "x" * 300, "a\x00b")
FILES = ("model", "config", "model/_METADATA", "model/manifest.ocdbt", "config/metadata")
MALICE = {
    **{f"key {name[:12]!r}": _rename_key(name) for name in NAMES},
    **{f"kind {name}": _value_type(name) for name in ("pickle", "str", "numpy.object", "torch")},
    **{f"pickled {name}": _pickled(name) for name in FILES},
    **{f"linked {name}": _linked(name, "secret") for name in FILES},
    **{f"linked to a folder {name}": _linked(name, "") for name in FILES},
    "a linked data file": _linked("model/d/0123", "secret"),
    "a linked extra": _linked("extra", "secret"),
    **{f"shape {shape}": _huge(shape) for shape in ([10**12], [10**6, 10**6], [2**50])},
    "loose files": lambda f, o: _edit_metadata(f, lambda v: v.update(use_ocdbt=False)),
    "a tree that is a list": lambda f, o: _edit_metadata(f, lambda v: v.update(tree_metadata=[1])),
    "no tree": lambda f, o: _edit_metadata(f, lambda v: v.clear()),
    "deep JSON": _text("model/_METADATA", "[" * 100_000),
    "a config that is a list": _text("config/metadata", "[1, 2]"),
    "a format of text": _text("config/metadata", '{"omnigen_format": "x", "step": 0, "config": 0}'),
    "a step of text": _text("config/metadata", '{"omnigen_format": 1, "step": "x", "config": {}}'),
    "a seal of text": _text(checksums.NAME, "{}"),
    "a seal that climbs": _text(checksums.NAME, '{"sha256": "", "seal": "../../secret"}'),
    "deep seal": _text(checksums.NAME, "[" * 100_000),
}


@pytest.mark.parametrize("resealed", [False, True])
@pytest.mark.parametrize("malice", MALICE)
def test_malice_is_refused(original, tmp_path, malice, resealed):
    """Whoever can write the checkpoint can also write a seal that fits it."""
    folder, outside = tmp_path / "model", tmp_path / "outside"
    shutil.copytree(original / "model", folder)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    os.utime(outside, (0, 0))
    MALICE[malice](folder, outside)
    if resealed and "seal" not in malice:
        leaves = checksums.read(original / "model").leaves
        (folder / checksums.NAME).unlink(missing_ok=True)
        checksums.write(folder, step=8, leaves=leaves)
    with pytest.raises(ValueError) as caught:
        manager.load_model(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "secret"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "outside"]


def test_early_digests_are_those_of_the_files(tmp_path, monkeypatch):
    """Files that are whole are read once; one that grew after all is read again."""
    data = tmp_path / "state/ocdbt.process_0/d"
    data.mkdir(parents=True)
    names = ["whole", "growing"]
    for number, name in enumerate(names):
        (data / name).write_bytes(bytes([number]) * 5000)
    wanted = {name: digest.of_file(data / name) for name in names}
    read, both = [], threading.Event()

    def of_file(path):
        read.append(path.name)
        if len(read) == 2:
            both.set()
        return found(path)

    found = digest.of_file
    monkeypatch.setattr(digest, "of_file", of_file)
    early = checksums.EarlyFiles(lambda: tmp_path)
    assert both.wait(30)
    early.stop()
    assert sorted(read) == ["growing", "whole"]
    with (data / "growing").open("ab") as file:
        file.write(b"more")
    wanted["growing"] = found(data / "growing")
    sealed = checksums.write(tmp_path, step=0, leaves={}, describe=early)
    assert sorted(read) == ["growing", "growing", "whole"]
    for name in names:
        assert sealed.files[f"state/ocdbt.process_0/d/{name}"][1] == wanted[name]


def test_the_seal_waits_for_what_orbax_notes(tmp_path):
    """It writes the handlers' names in a thread, under load after all arrays."""
    notes = tmp_path / "_CHECKPOINT_METADATA"
    notes.write_text('{"item_handlers": null, "commit_timestamp_nsecs": null}')
    late = threading.Timer(0.3, notes.write_text, ['{"item_handlers": {"state": "x"}}'])
    late.start()
    checksums.wait_for_notes(tmp_path)
    assert "state" in notes.read_text()
    late.join()
    notes.write_text('{"item_handlers": null}')
    checksums.wait_for_notes(tmp_path, seconds=0.05)  # not for ever
    checksums.wait_for_notes(tmp_path / "nothing")


COST = """
import pathlib, shutil, statistics, sys, time
import jax, numpy as np
from omnigen.checkpoints import checksums
from omnigen.checkpoints.manager import Checkpoints, Snapshot

rng = np.random.default_rng(0)
held = jax.device_put({f"w{i}": rng.normal(size=(10, 1024, 1024)).astype("f4") for i in range(30)})
target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), held)
write, stop = checksums.write, checksums.EarlyFiles.stop
shares, blocked, copies, marks = [], [], [], []


def stopped(early):  # the first that a save does for its digests when all files are there
    marks.append(time.perf_counter())
    stop(early)


def written(folder, **given):
    write(folder, **given)
    marks.append(time.perf_counter())


checksums.EarlyFiles.stop, checksums.write = stopped, written
for _ in range(5):
    saved = Checkpoints(sys.argv[1], keep=1)
    saved.prepare(state=target, frozen={})
    saved._digester._compiling.join()
    saved._digester({"state": held})()
    start = time.process_time()
    saved._digester({"state": held})()
    arrays = time.process_time() - start
    since = time.perf_counter()
    copy = [np.array(leaf) for leaf in held.values()]
    copies.append(time.perf_counter() - since)
    del copy
    marks.clear()
    start, since = time.process_time(), time.perf_counter()
    saved.save(1, Snapshot({**held}, {}, b""), {})
    blocked.append(time.perf_counter() - since)
    saved.close()
    total, wall = time.process_time() - start, time.perf_counter() - since
    start, added = time.process_time(), marks[1] - marks[0]
    for path in pathlib.Path(sys.argv[1]).rglob("*"):
        if path.is_file():
            checksums._describe(path)
    files = time.process_time() - start
    shares.append(((arrays + files) / total, added / wall))
    print(f"arrays {arrays:.2f} s, files {files:.2f} s of {total:.2f} s of CPU; "
          f"{added:.3f} s of {wall:.2f} s; blocking {blocked[-1]:.2f} s, a copy {copies[-1]:.2f} s")
    shutil.rmtree(sys.argv[1])
size = sum(leaf.nbytes for leaf in held.values()) / 1e9
cpu, wall = (statistics.median(share) for share in zip(*shares))
times = statistics.median(a / b for a, b in zip(blocked, copies))
print(f"{size:.2f} GB: digests take {100 * cpu:.1f} % of the CPU time of a save and add "
      f"{100 * wall:.1f} % to its time,")
print(f"which blocks the caller {times:.2f} times as long as a copy in memory takes")
sys.exit(wall > 0.03 or times > 1.3)
"""


@pytest.mark.slow
def test_what_digests_cost(tmp_path, capsys):
    """Without the flags of tests, which make XLA's code slow."""
    kept = {name: value for name, value in os.environ.items() if "OPTIMIZATIONS" not in name}
    env = {**kept, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    command = [sys.executable, "-c", COST, str(tmp_path / "run")]
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    with capsys.disabled():
        print(f"\n{run.stdout}", end="")
    assert run.returncode == 0, run.stderr
