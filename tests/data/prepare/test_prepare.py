# SPDX-License-Identifier: Apache-2.0
"""`prepare` among others, on full disks, and interrupted: one line, nothing lost, nothing left."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import pytest
from inputs import PLAIN, picture, put

from omnigen import encode, files
from omnigen.data.corpora import __main__ as corpora
from omnigen.data.corpus import pictures
from omnigen.data.corpus.records import Corpus, Manifest
from omnigen.data.prepare import __main__ as prepare
from omnigen.data.prepare import ingest, processes


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    for n in range(8):
        put(folder, f"{n}.png", f"picture {n}", seed=n)
    return folder


def arguments(source, output, *more):
    return [f"--input={source}", f"--output={output}", "--workers=0", *more]


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(capsys, main, *args):
    """The exit code of a command, and the last line that it says."""
    with pytest.raises(SystemExit) as raised:
        main(*args)
    lines = capsys.readouterr().err.splitlines()
    assert "Traceback" not in "".join(lines)
    return raised.value.code, lines[-1]


def test_a_second_one_at_once_is_refused_and_harms_nothing(source, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    with ingest.claimed(output):  # which is not there yet
        code, line = refused(capsys, prepare.main, arguments(source, output))
        assert code == 2 and "another prepare is at work there already (process" in line
        assert [path.name for path in output.iterdir()] == [files.LOCK]
    assert not output.exists()
    job = ingest.plan(source, output, PLAIN)

    def interrupting(*given, run=processes.run):
        before = contents(output)
        code, line = refused(capsys, prepare.main, arguments(source, output, "--test_fraction=0"))
        assert code == 2 and str(output) in line and contents(output) == before
        return run(*given)

    monkeypatch.setattr(processes, "run", interrupting)
    ingest.run(job)
    assert len(Corpus(output)) == 8
    assert not (output / files.LOCK).exists() and not (output / ingest.WORK).exists()


def test_one_that_waited_for_its_turn_finds_it_done(source, tmp_path, monkeypatch):
    job = ingest.plan(source, tmp_path / "out", PLAIN)
    ingest.run(job)
    before = contents(tmp_path / "out")
    monkeypatch.setattr(processes, "run", lambda *_: pytest.fail("it is done"))
    ingest.run(job)
    assert contents(tmp_path / "out") == before


def test_what_killed_ones_left_goes(source, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / files.LOCK).write_text("process 1 on another machine")
    ingest.run(ingest.plan(source, output, PLAIN))
    left = [output / files.LOCK, output / "x.partial", output / ".1-2.tmp"]
    for path in left:
        path.write_text("")
    (output / ingest.WORK).mkdir()
    ingest.run(ingest.plan(source, output, PLAIN))
    assert not any(path.exists() for path in left) and not (output / ingest.WORK).exists()


def test_nothing_is_left_of_an_output_that_nothing_is_kept_for(tmp_path, capsys):
    put(tmp_path / "in", "a.png", "a")
    (tmp_path / "in" / "a.png").write_bytes(b"nothing")
    code, line = refused(capsys, prepare.main, arguments(tmp_path / "in", tmp_path / "out"))
    assert code == 2 and "1 x format not allowed" in line
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_latents_and_drawn_corpora_take_turns_too(source, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    job = ingest.plan(source, output, PLAIN)
    monkeypatch.setattr(corpora, "build", lambda *_, **__: (job, "whose work it is"))
    monkeypatch.setitem(sys.modules, "resvg_py", sys)
    with ingest.claimed(output):
        code, line = refused(capsys, corpora.main, ["build", str(output), "--workers=0"])
        assert code == 2 and "another prepare is at work" in line
    corpora.main(["build", str(output), "--workers=0"])
    assert (output / "NOTICE").read_text() == "whose work it is" and len(Corpus(output)) == 8
    before = contents(output)
    with ingest.claimed(output):
        code, line = refused(capsys, encode.main, [f"--corpus={output}"])
        assert code == 2 and "another prepare is at work" in line
    assert contents(output) == before


@contextlib.contextmanager
def full_disk(most):
    """No file may become larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("most", [20, 300, 1000, 9000, 50_000, 70_000])
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(source, tmp_path, capsys, most):
    ingest.run(ingest.plan(source, tmp_path / "whole", PLAIN))
    output = tmp_path / "out"
    with full_disk(most):
        code, line = refused(capsys, prepare.main, arguments(source, output, "--test_fraction=0"))
    assert code == 1 and "File too large" in line and str(output) in line
    assert not list(output.rglob("*.partial")) and not (output / "manifest.json").exists()
    prepare.main(arguments(source, output, "--test_fraction=0"))
    assert contents(output) == contents(tmp_path / "whole")


def test_a_disk_that_fills_up_in_the_end(source, tmp_path, capsys, monkeypatch):
    """Nothing but the manifest does not fit any more."""
    ingest.run(ingest.plan(source, tmp_path / "whole", PLAIN))
    write = Manifest.write

    def full(manifest, folder):
        with full_disk(100):
            write(manifest, folder)

    monkeypatch.setattr(Manifest, "write", full)
    ran = arguments(source, tmp_path / "out", "--test_fraction=0")
    code, line = refused(capsys, prepare.main, ran)
    assert code == 1 and "manifest.json: File too large" in line
    monkeypatch.setattr(Manifest, "write", write)
    prepare.main(ran)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("where", ["look", "shrink", "encode"])
@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), ValueError("odd")])
def test_whatever_one_picture_raises_is_its_reject(source, tmp_path, monkeypatch, where, error):
    call, calls = getattr(pictures, where), []

    def failing(*args, **rest):
        calls.append(1)
        if len(calls) == 3:
            raise error
        return call(*args, **rest)

    monkeypatch.setattr(pictures, where, failing)
    ingest.run(ingest.plan(source, tmp_path / "out", ingest.Settings(size=32, test_fraction=0)))
    is_memory = isinstance(error, MemoryError)
    reason = "not enough memory" if is_memory else "damaged picture"
    assert Manifest.read(tmp_path / "out").rejects == {reason: 1}
    line = json.loads((tmp_path / "out" / ingest.REJECTS).read_text())
    assert line["key"] == "2" and (is_memory or type(error).__name__ in line["detail"])


def exhausted(number):
    if number == 1:
        raise MemoryError
    return number


def killed(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize(("workers", "work"), [(0, exhausted), (1, exhausted), (1, killed)])
def test_lack_of_memory_is_told(workers, work):
    with pytest.raises(OSError, match="fewer workers need less memory"):
        processes.run(workers, work, [(0,), (1,)], "numbers", [1, 1])


def test_results_come_in_the_order_of_the_tasks(capsys):
    assert processes.run(2, exhausted, [(n,) for n in (5, 0, 3)], "numbers", [1, 1, 1]) == [5, 0, 3]
    assert "3/3 numbers" in capsys.readouterr().err


def started(source, output, workers):
    command = [sys.executable, "-m", "omnigen.data.prepare", f"--workers={workers}"]
    command += [f"--input={source}", f"--output={output}", "--test_fraction=0"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def alive(group):
    """Processes of a group that have not ended."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            found += [path] if int(of) == group and state != "Z" else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "group"), [(0, True), (2, True), (2, False)])
def test_ctrl_c_is_one_line_and_the_next_run_goes_on(tmp_path, workers, group):
    folder, data = tmp_path / "in", [picture(n) for n in range(40)]
    folder.mkdir()
    for n in range(3000):
        (folder / f"{n}.png").write_bytes(data[n % 40])
        (folder / f"{n}.txt").write_text(f"picture {n}")
    process = started(folder, tmp_path / "out", workers)
    while not list((tmp_path / "out").rglob("*.partial")):
        assert process.poll() is None
        time.sleep(0.01)
    since = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=300)  # which only a busy machine comes near
    assert process.returncode == 130, error
    assert (
        "Traceback" not in error and error.splitlines()[-1] == "omnigen.data.prepare: interrupted"
    )
    while alive(process.pid):
        assert time.monotonic() - since < 300
        time.sleep(0.1)
    for output, count in ((tmp_path / "out", workers), (tmp_path / "whole", 0)):
        process = started(folder, output, count)
        process.communicate(timeout=300)
        assert process.returncode == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_reader_that_went_away_is_no_traceback(source, tmp_path):
    process = started(source, tmp_path / "out", 0)
    process.stdout.close()
    assert process.wait() == 141
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert len(Corpus(tmp_path / "out")) == 8
