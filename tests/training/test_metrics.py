# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import math
import os
import re
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from omnigen.training import metrics
from omnigen.training.metrics import Rates, Reporter, Window


def test_rates_on_a_gpu(monkeypatch):
    gpu = types.SimpleNamespace(
        device_kind="NVIDIA H100 80GB HBM3",
        memory_stats=lambda: {"peak_bytes_in_use": 3 * 2**30, "bytes_in_use": 5},
    )
    monkeypatch.setattr(jax, "local_devices", lambda: [gpu])
    batch = Rates(75, 7500, flops=989e12 / 2, positions=10_000, executed_flops=989e12)
    batches = metrics.total([batch] * 8)
    found = metrics.rates(batches=batches, steps=8, seconds=2.0, data_wait=0.1, devices=4)
    assert found == {
        "images_per_s": 300,
        "tokens_per_s": 3e4,
        "fill": 0.75,
        "tflops_per_s_per_device": 494.5,
        "executed_tflops_per_s_per_device": 989,
        "step_ms": 250,
        "data_wait_percent": pytest.approx(5),
        "mfu_percent": pytest.approx(50),
        "memory_GiB": 3,
    }
    batches = dataclasses.replace(batches, readings=500.0)
    read = metrics.rates(batches=batches, steps=8, seconds=2.0, data_wait=0.1, devices=4)
    assert read == {**found, "readings_per_s": 250}


def test_what_takes_long_is_no_silence(monkeypatch):
    monkeypatch.setattr(metrics, "LONG_S", 0.1)
    said = []
    with metrics.timed(said.append, "restoring step 6"):
        time.sleep(0.6)
    assert said[:-1] == ["restoring step 6 ...", *["restoring step 6 ... 0s so far"] * 3]
    assert re.fullmatch(r"restoring step 6 took \d\.\d s", said[-1])
    with metrics.timed(said.append, "quick"):
        pass
    time.sleep(0.3)
    assert said[5:] == ["quick ...", "quick took 0.0 s"]


def test_step_line():
    values = {
        "step": 1200, "loss": 1.25, "image": 0.75, "text": 0.5, "grad_norm": 0.51234,
        "learning_rate": 1e-3, "skipped": 0, "images_per_s": 512.3, "tokens_per_s": 131072.0,
        "tflops_per_s_per_device": 312.04, "mfu_percent": 31.55, "step_ms": 410.2,
        "data_wait_percent": 0.44, "memory_GiB": 42.13, "eta_s": 723.0,
    }  # fmt: skip
    assert metrics.step_line(values, steps=5000) == (
        "step 1200/5000 24.0% | loss 1.2500 image 0.7500 text 0.5000 | grad norm 0.512 | "
        "lr 1.00e-03 | 512 images/s | 131,072 tokens/s | 312 TFLOP/s | 31.6% MFU | 410 ms | "
        "data wait 0.4% | 42.1 GiB | ETA 12m03s"
    )
    assert "| skipped 2 |" in metrics.step_line({**values, "skipped": 2.0}, steps=5000)
    assert metrics.step_line({"step": 5, "exact/score": 0.5}, steps=10) == (
        "step 5/10 50.0% | exact/score 0.5000"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.6, "1m00s"), (187, "3m07s"), (7500, "2h05m"), (273600, "3d04h")],
)
def test_duration(seconds, text):
    assert metrics.duration(seconds) == text


def report(loss, skipped=0.0):
    return {"skipped": np.float32(skipped), "loss": np.float32(loss), "a": np.float32(2 * loss)}


def make_window(**changes):
    settings = dict(steps=8, log_every=4, start=0, devices=8, parts=2)
    return Window(**{**settings, **changes})


RATES = Rates(images=4, tokens=40, flops=1e12, positions=50, executed_flops=2e12)


def test_lines_are_means_of_good_steps():
    window = make_window()
    found = []
    for step in range(1, 9):
        window.add(step, report(math.nan if step == 3 else step, skipped=float(step == 3)), RATES)
        found += list(window.fetch(in_flight=1))
        assert all(line["step"] < step for line in found)  # the newest step is still under way
    found += list(window.fetch(in_flight=0))
    assert [line["step"] for line in found] == [1, 4, 8]
    assert [line["loss"] for line in found] == [1, 3, 6.5]
    assert [line["skipped"] for line in found] == [0, 1, 0]
    assert found[1]["images_per_s"] / found[1]["step_ms"] ** -1 == pytest.approx(2 * 4 * 1e3)
    assert found[1]["eta_s"] == pytest.approx(4 * found[1]["step_ms"] / 1e3)
    assert found[2]["eta_s"] == 0


def test_pauses_are_not_training_time(monkeypatch):
    clock = iter([100.0, 112.0])
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: next(clock))
    window = make_window(start=1)
    window.data_wait = 0.5
    window.exclude(10.0)
    window.add(2, report(1.0), RATES)
    (line,) = window.fetch(in_flight=0)
    assert line["step_ms"] == 2000 and line["images_per_s"] == 4
    assert line["data_wait_percent"] == 25
    assert line["tflops_per_s_per_device"] == pytest.approx(2 / 2 / 8)
    assert line["executed_tflops_per_s_per_device"] == pytest.approx(4 / 2 / 8)
    assert line["fill"] == 0.8


def test_bad_steps_in_a_row():
    window = make_window()
    for step in range(1, 10):
        window.add(step, report(math.nan, skipped=1.0), RATES)
        list(window.fetch(in_flight=0))
    window.add(10, report(1.0), RATES)
    list(window.fetch(in_flight=0))
    for step in range(11, 20):
        window.add(step, report(math.nan, skipped=1.0), RATES)
    list(window.fetch(in_flight=0))
    window.add(20, report(math.nan, skipped=1.0), RATES)
    with pytest.raises(FloatingPointError, match="up to step 20"):
        list(window.fetch(in_flight=0))


def test_a_run_that_goes_on_has_each_step_once(tmp_path, capsys):
    first = Reporter(tmp_path)
    for step in (10, 20, 30):
        first.metrics({"step": step, "loss": step / 10}, steps=40)
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    again = Reporter(tmp_path, step=20)
    again.metrics({"step": 30, "loss": math.inf}, steps=40)
    again.close()
    found = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert found == [
        {"step": 10, "loss": 1.0},
        {"step": 20, "loss": 2.0},
        {"step": 30, "loss": None},
    ]
    assert "step 20/40 50.0% | loss 2.0000\n" in capsys.readouterr().out
    assert (tmp_path / "log.txt").read_text().count("step 30/40") == 2


def test_other_hosts_are_silent(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    reporter = Reporter(tmp_path / "run")
    reporter.settings({"a": 1})
    reporter.text("hello")
    reporter.metrics({"step": 1}, steps=2)
    reporter.images(np.zeros((1, 2, 2, 3), np.uint8), step=1)
    reporter.close()
    assert not (tmp_path / "run").exists() and capsys.readouterr().out == ""


def test_tensorboard_events(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    reporter = Reporter(tmp_path)
    reporter.metrics({"step": 7, "loss": 1.5, "grad_norm": 0.25}, steps=10)
    reporter.close()
    (path,) = tmp_path.glob("events.*")
    found = {
        (value.tag, event.step, value.simple_value)
        for event in loader.LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
    }
    assert found == {("loss", 7, 1.5), ("grad_norm", 7, 0.25)}


def test_without_tensorboard(tmp_path, monkeypatch):
    def missing(folder):
        raise ImportError

    monkeypatch.setattr(metrics, "_Events", missing)
    reporter = Reporter(tmp_path)
    reporter.metrics({"step": 1, "loss": 1.0}, steps=1)
    reporter.close()
    assert "TensorBoard events are off" in (tmp_path / "log.txt").read_text()
    assert not list(tmp_path.glob("events.*"))


JUNK = {
    "no UTF-8": b'{"step": 5, "loss": "\xff\xfe"}\n',
    "a number": b"3\n",
    "NULs": b"\0" * 4096 + b"\n",
    "another type": b'{"step": "5"}\n',
    "a list": b"[1]\n",
    "no step": b'{"loss": 1}\n',
    "infinite": b'{"step": 1e999}\n',
    "deep": b"[" * 100_000 + b"\n",
    "huge": b'{"step": 5, "text": "' + b"x" * (3 * metrics.MOST_LINE_BYTES) + b'"}\n',
    "empty": b"\n",
    "cut off": b'{"step": 40, "lo',
}


def test_junk_among_the_metrics_is_dropped_and_counted(tmp_path, capsys):
    good = b'{"step": 10, "loss": 1.0}\n'
    (tmp_path / "metrics.jsonl").write_bytes(good.join([b"", *JUNK.values()]))
    reporter = Reporter(tmp_path, step=20)
    reporter.metrics({"step": 30, "loss": 2.0}, steps=40)
    reporter.close()
    found = (tmp_path / "metrics.jsonl").read_bytes()
    assert found == good * len(JUNK) + b'{"step": 30, "loss": 2.0}\n'
    line = f"metrics.jsonl: dropped {len(JUNK)} lines that are not of this program, or cut off"
    assert capsys.readouterr().out.splitlines()[0] == line
    assert line in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt", "config.json", "goodput.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_files_that_a_run_would_hang_on_are_refused(tmp_path, name, kind):
    path = tmp_path / name
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(ValueError, match=f"{name} is a {kind}; allowed: regular files"):
        metrics.check_files(tmp_path)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "samples").write_text("")
    with pytest.raises(ValueError, match="samples is not a folder"):
        metrics.check_files(tmp_path)


CLOSED = """
import pathlib, sys
from omnigen.training import metrics

terminal = metrics.Terminal()
terminal.say("before")
reporter = metrics.Reporter(sys.argv[1], terminal=terminal)
for step in range(1, 2001):
    reporter.metrics({"step": step, "loss": 1.0}, steps=2000)
reporter.close()
"""


@pytest.mark.parametrize("reader", ["head -1", "true", ">/dev/full"])
def test_nobody_reads_the_lines(tmp_path, reader):
    """They go on in log.txt, and the run to its end."""
    command = f'("{sys.executable}" -c "$0" run; echo $? >code) | {reader}'
    if reader.startswith(">"):
        command = f'"{sys.executable}" -c "$0" run {reader}; echo $? >code'
    run = subprocess.run(
        ["sh", "-c", command, CLOSED], cwd=tmp_path, capture_output=True, text=True
    )
    assert (tmp_path / "code").read_text() == "0\n"
    assert "Traceback" not in run.stderr and "BrokenPipe" not in run.stderr
    log = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert sum("step 2000/2000" in line for line in log) == 1
    assert sum("| loss" in line for line in log) == 2000
    assert sum("standard output takes no more lines" in line for line in log) == 1
    assert log[0].endswith(" before")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2000


def test_squares_in_brackets_are_no_markup(tmp_path, monkeypatch, capsys):
    console = pytest.importorskip("rich.console")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    terminal = metrics.Terminal()
    assert isinstance(terminal._console, console.Console)
    terminal.say("was ['[/red]'], is [red]")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert plain == "was ['[/red]'], is [red]\n"
