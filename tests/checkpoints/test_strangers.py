# SPDX-License-Identifier: Apache-2.0
"""A stranger's checkpoint is refused in one line, at once, without eating memory."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import strangers

from omnigen.checkpoints import checksums, manager, store
from omnigen.checkpoints.manager import Checkpoints, Snapshot
from omnigen.generation import pretrained

SECONDS = 2  # of CPU
HUNG = 30  # seconds
MEGABYTES = 600


@pytest.fixture(autouse=True)
def deadline():
    """Interrupts what waits for ever, for a writer of a pipe."""

    def interrupt(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, HUNG)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def honest(untrained, tmp_path_factory):
    """A model-only checkpoint without a seal."""
    folder = tmp_path_factory.mktemp("honest") / "model"
    manager.export_model(untrained, folder, dtype="float32")
    (folder / checksums.NAME).unlink()
    return folder


@pytest.fixture
def model(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "stranger")
    return tmp_path / "stranger"


def refusal(read):
    """The one line that reading ends with, at once."""
    since = time.process_time()
    with pytest.raises(ValueError) as caught:
        read()
    assert time.process_time() - since < SECONDS
    line = str(caught.value)
    assert "\n" not in line and "\x1b" not in line and len(line) < 900, line
    return line


@pytest.mark.parametrize("kind", strangers.STRANGERS)
def test_a_stranger_is_refused(model, kind):
    words, craft = strangers.STRANGERS[kind]
    craft(model)
    line = refusal(lambda: manager.load_model(model, check=pretrained.check_weights))
    assert str(model) in line and re.search(words, line), line


def test_there_are_enough():
    assert len(strangers.STRANGERS) >= 80


MEMORY = f"""
import pathlib, resource, shutil, sys, time
import jax
import strangers
from omnigen.generation import pretrained

honest, room = map(pathlib.Path, sys.argv[1:])
jax.numpy.zeros(3).block_until_ready()
for kind, (_, craft) in strangers.STRANGERS.items():
    shutil.rmtree(room, ignore_errors=True)
    shutil.copytree(honest, room / "stranger")
    craft(room / "stranger")
    since = time.process_time()
    try:
        pretrained.load(room / "stranger", needed=(), meanwhile=lambda omni: sys.exit("compiled"))
    except ValueError as error:
        assert len(str(error).splitlines()) == 1, (kind, error)
    else:
        sys.exit(f"{{kind}}: was read")
    took = time.process_time() - since
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{{kind}}: {{took:.2f}} s, at most {{size:.0f}} MB so far")
    assert took < {SECONDS} and size < {MEGABYTES}, kind
"""


@pytest.mark.slow
def test_strangers_take_little_memory(honest, tmp_path, capsys):
    """All of them in one process of its own, by the door that compiles while it reads."""
    paths = os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, honest, tmp_path / "room"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    with capsys.disabled():
        print("\n" + "\n".join(run.stdout.splitlines()[-3:]))
    assert run.returncode == 0, run.stdout[-1000:] + run.stderr[-2000:]


def test_an_honest_one_is_read(honest, untrained):
    wanted = manager.load_model(untrained, check=pretrained.check_weights)
    found = manager.load_model(honest, dtype=None, check=pretrained.check_weights)
    jax.tree.map(np.testing.assert_array_equal, found.params, wanted.params)
    assert found.version == wanted.version
    assert set(found.params) == {"encoder", "decoder", "ar", "head"}


def test_hidden_folders_are_no_part_of_it(model):
    (model / ".git").mkdir()
    (model / ".git/link").symlink_to("/")
    assert manager.load_model(model).step == 1


def test_too_many_files(model, monkeypatch):
    monkeypatch.setattr(store, "MOST_FILES", 5)
    assert "refused: more than 5 files" in refusal(lambda: manager.load_model(model))


def test_entries_that_share_bytes_are_refused(model):
    """Else a piece of noise would count as often as it is named."""
    sizes = store.check_folder(model)
    index = store._Index(model / "model", {n.removeprefix("model/"): s for n, s in sizes.items()})
    name, taken = max(index._taken.items(), key=lambda pair: len(pair[1]))
    index._refuse_shared()
    index._taken[name].append((taken[0][0], taken[0][0] + 1))
    with pytest.raises(ValueError, match="entries overlap in model/"):
        index._refuse_shared()


def test_what_zstd_unpacks_to():
    """Blocks that are stored, repeated and packed, of RFC 8878."""
    magic = b"\x28\xb5\x2f\xfd"
    block = lambda kind, size, last: (size << 3 | kind << 1 | last).to_bytes(3, "little")  # noqa: E731
    frame = magic + b"\x00\x58" + block(0, 4, 0) + b"abcd" + block(1, 1000, 0) + b"x"
    assert store._unpacked_frame(frame + block(2, 2, 1) + b"zz") == 4 + 1000 + 2**17
    single = magic + b"\x20\x07" + block(0, 7, 1) + b"abcdefg"
    assert store._unpacked_frame(single) == 7
    with pytest.raises(ValueError, match="no zstd"):
        store._unpacked_frame(frame + block(2, 2, 0))


# doors


def test_nothing_is_compiled_for_a_stranger(model, monkeypatch):
    from omnigen import sample

    fail = lambda *_, **__: pytest.fail("compiled")  # noqa: E731
    monkeypatch.setattr("omnigen.generation.generate.compile", fail)
    strangers.STRANGERS["ar.num_layers 1000"][1](model)
    load = lambda: sample.Sampler.load(model, expected=sample.Request("a"))  # noqa: E731
    assert "by its config" in refusal(load)


def test_nothing_is_compiled_for_a_config_that_was_changed(model):
    """A file of a megabyte or less is held against the seal first."""
    leaves = checksums.leaves({}, {})
    checksums.write(model, step=1, leaves=leaves)
    strangers.set_model("image_size", 64)(model)
    load = lambda: pretrained.load(model, needed=(), meanwhile=lambda _: pytest.fail("compiled"))  # noqa: E731
    assert "damaged checkpoint: wrong digest of file config/metadata" in refusal(load)


def test_programs_are_compiled_while_weights_are_read(model, monkeypatch):
    """The check costs the first picture no time."""
    order = []
    read = store.read

    def reading(folder, arrays):
        deadline = time.monotonic() + 20
        while "compiling" not in order and time.monotonic() < deadline:
            time.sleep(0.01)
        order.append("read")
        return read(folder, arrays)

    monkeypatch.setattr(store, "read", reading)
    found = pretrained.load(model, needed=("ar",), meanwhile=lambda _: order.append("compiling"))
    assert order == ["compiling", "read"] and found.step == 1


def test_a_run_does_not_start_from_a_stranger(model, tmp_path):
    from omnigen import export
    from omnigen.generation import encode_corpus

    strangers.STRANGERS["an array of another shape"][1](model)
    with pytest.raises(SystemExit) as caught:
        export.main(["--checkpoint", str(model), "--output", str(tmp_path / "out")])
    assert caught.value.code == 2 and not (tmp_path / "out").exists()
    (tmp_path / "corpus").mkdir()
    assert "by its config" in refusal(lambda: encode_corpus.encode(tmp_path / "corpus", str(model)))
    assert not any((tmp_path / "corpus").iterdir())


# workdirs


def saved_run(folder, steps=(1, 2, 3)):
    saved = Checkpoints(folder, keep=len(steps))
    for step in steps:
        saved.save(step, Snapshot({"ema": {"ar": {"x": np.full(3, step, "f4")}}}, {}, b"{}"), {})
    saved.close()
    return folder / "checkpoints"


def test_a_step_that_is_a_link(tmp_path):
    """It would be resumed from, and four saves later the run could not remove it."""
    steps = saved_run(tmp_path / "run")
    shutil.move(steps / "3", tmp_path / "elsewhere")
    (steps / "3").symlink_to(tmp_path / "elsewhere")
    words = f"{steps}/3: refused: it is a symbolic link"
    assert words in refusal(lambda: manager.load_model(tmp_path / "run"))
    assert "refused: 3 is a symbolic link" in refusal(lambda: Checkpoints(tmp_path / "run", keep=2))
    assert manager.load_model(steps / "3").step == 3  # the user knows the way to what is named


def test_checkpoints_that_are_a_link(tmp_path):
    """Saving would write, and remove steps, where the link leads. A linked workdir is fine."""
    steps = saved_run(tmp_path / "run")
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger/checkpoints").symlink_to(steps)
    words = "stranger/checkpoints: refused: it is a symbolic link"
    assert words in refusal(lambda: Checkpoints(tmp_path / "stranger", keep=1))
    assert words in refusal(lambda: manager.load_model(tmp_path / "stranger"))
    assert sorted(path.name for path in steps.iterdir()) == ["1", "2", "3"]
    (tmp_path / "linked").symlink_to(tmp_path / "run")
    assert manager.load_model(tmp_path / "linked").step == 3
    saved = Checkpoints(tmp_path / "linked", keep=3)
    assert saved.steps == [1, 2, 3]
    saved.close()


PLACES = ("_CHECKPOINT_METADATA", "state/_sharding", "data/process_0-of-1.json", "digests.json")


@pytest.mark.parametrize("place", [*(f"2/{name}" for name in PLACES), "more", "2.damaged"])
def test_a_run_does_not_wait_for_a_pipe(tmp_path, place):
    """Nor for one in an older step, which Orbax looks at, too."""
    steps = saved_run(tmp_path / "run")
    (steps / place).unlink(missing_ok=True)
    os.mkfifo(steps / place)
    assert "is a pipe" in refusal(lambda: Checkpoints(tmp_path / "run", keep=3))


def test_a_run_of_other_shapes_is_refused_without_a_seal(tmp_path):
    steps = saved_run(tmp_path / "run")
    (steps / "3" / checksums.NAME).unlink()
    target = {"ema": {"ar": {"x": jax.ShapeDtypeStruct((4,), np.float32)}}}
    saved = Checkpoints(tmp_path / "run", keep=3)
    line = refusal(lambda: saved.restore(3, state=target, frozen={}))
    saved.close()
    assert "of another model: state/ema/ar/x is (3,) there and (4,) here" in line


@pytest.mark.parametrize("name", ["٣", "²", "007", "1e3", "9" * 200, " 4", "-1"])
def test_names_that_are_no_steps(tmp_path, name):
    steps = saved_run(tmp_path / "run")
    (steps / name).mkdir()
    assert manager.load_model(tmp_path / "run").step == 3


def test_a_hole_is_damage(tmp_path):
    """As after a power cut: an older step is taken."""
    steps = saved_run(tmp_path / "run")
    file = max(
        (steps / "3/state/ocdbt.process_0/d").iterdir(), key=lambda path: path.stat().st_size
    )
    size = file.stat().st_size
    file.write_bytes(b"")
    os.truncate(file, max(size, 2**16))
    assert manager.load_model(tmp_path / "run").step == 2
