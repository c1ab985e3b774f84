# SPDX-License-Identifier: Apache-2.0
"""The launcher of several processes, and that their number does not change a run."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from omnigen.checkpoints import manager

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOCAL = str(ROOT / "launch" / "local.py")


def start(processes: int, *command: str, **variables: str) -> subprocess.Popen[str]:
    one = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1"
    return subprocess.Popen(
        [sys.executable, LOCAL, "-n", str(processes), "--", *command],
        env={**os.environ, "XLA_FLAGS": one, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def python(source: str) -> tuple[str, ...]:
    """A program of a few lines; `i` is the index of the process."""
    return (sys.executable, "-c", f"import os; i = int(os.environ['JAX_PROCESS_ID'])\n{source}")


def test_each_process_learns_its_place_and_is_named_in_its_output() -> None:
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_PLATFORMS")
    run = start(3, *python(f"for n in {names}: print(os.environ[n])"))
    output, _ = run.communicate(timeout=20)
    assert run.returncode == 0
    said = [re.findall(rf"^\[{i}\] (.*)$", output, re.MULTILINE) for i in range(3)]
    assert [lines[1:] for lines in said] == [["3", str(i), "cpu"] for i in range(3)]
    (address,) = {lines[0] for lines in said}
    assert re.fullmatch(r"127\.0\.0\.1:\d+", address)


@pytest.mark.parametrize(("end", "code"), [("exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_the_first_failure_ends_all(end: str, code: int) -> None:
    began = time.monotonic()
    run = start(3, *python(f"import time\nif i == 1: {end}\ntime.sleep(60)"))
    run.communicate(timeout=20)
    assert run.returncode == code
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_reach_every_process_which_may_finish(signum: signal.Signals, code: int) -> None:
    program = python(
        "import signal, sys, time\n"
        "def stop(signum, frame):\n"
        "    time.sleep(0.5 * i)\n"
        "    print('saved'), sys.exit(128 + signum)\n"
        "signal.signal(signal.SIGTERM, stop), signal.signal(signal.SIGINT, stop)\n"
        "print('ready')\n"
        "time.sleep(60)"
    )
    run = start(2, *program)
    assert run.stdout is not None
    assert {run.stdout.readline(), run.stdout.readline()} == {"[0] ready\n", "[1] ready\n"}
    run.send_signal(signum)
    output, _ = run.communicate(timeout=20)
    assert run.returncode == code
    assert set(output.splitlines()) == {"[0] saved", "[1] saved"}


STOPPED_AT_ONCE = """
import os, signal, subprocess, sys, local
spawn, children = subprocess.Popen, []
def spawn_and_stop(*args, **settings):
    children.append(spawn(*args, **settings))
    os.kill(os.getpid(), signal.SIGTERM)
    return children[-1]
subprocess.Popen = spawn_and_stop
group = local.Group([sys.executable, "-c", "import time; time.sleep(60)"], processes=2)
watcher, *children = children
print(group.wait(), *(child.returncode for child in children))
"""


def test_a_signal_while_they_start_ends_all() -> None:
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "launch")}
    command = [sys.executable, "-c", STOPPED_AT_ONCE]
    run = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=20)
    assert run.stdout == "143 -15 -15\n", run


def test_a_run_goes_on_when_nobody_reads_its_output(tmp_path: pathlib.Path) -> None:
    lines = "for _ in range(3000): print('x' * 99)"
    program = python(f"import sys\n{lines}\nopen(sys.argv[1] + str(i), 'w')")
    with start(2, *program, f"{tmp_path}/") as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(timeout=20) == 0
        assert run.stderr.read() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


PARENTS = """
import subprocess, sys, time
held = open(sys.argv[1], "w")
subprocess.Popen(["sleep", "60"], pass_fds=[held.fileno()])
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGHUP])
def test_nothing_outlives_a_launcher_that_is_killed(
    tmp_path: pathlib.Path, signum: signal.Signals
) -> None:
    """Each process, and what it has started, holds a pipe open, whose end is read here."""
    os.mkfifo(tmp_path / "held")
    pipe = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    with start(2, *python(PARENTS), str(tmp_path / "held")) as run:
        assert run.stdout is not None
        assert {run.stdout.readline(), run.stdout.readline()} == {"[0] ready\n", "[1] ready\n"}
        with pytest.raises(BlockingIOError):
            os.read(pipe, 1)  # somebody holds it
        run.send_signal(signum)
        assert run.wait(timeout=20) == -signum
        until = time.monotonic() + 10
        while (found := read_end(pipe)) is None and time.monotonic() < until:
            time.sleep(0.05)
    os.close(pipe)
    assert found == b""


def read_end(pipe: int) -> bytes | None:
    """Returns b"" at the end of a pipe, and None while anybody holds it open."""
    try:
        return os.read(pipe, 1)
    except BlockingIOError:
        return None


PICTURES = """
import jax, numpy as np
from omnigen import parallel
from omnigen.models.omni import to_uint8
parallel.initialize()
mesh = parallel.make_mesh(parallel.MeshConfig(data=2))
whole = np.linspace(-1, 1, 48, dtype=np.float32).reshape(4, 2, 2, 3)
layout = parallel.sharding(mesh, ("batch",))
images = parallel.global_array(layout, whole[2 * i : 2 * i + 2], 4)
with jax.set_mesh(mesh):
    drawn = to_uint8(images)
print(np.array_equal(drawn, np.rint((whole + 1) * 127.5)))
"""


def test_every_process_gets_all_pictures() -> None:
    run = start(2, *python(PICTURES), JAX_NUM_CPU_DEVICES="1")
    output, errors = run.communicate(timeout=120)
    assert {"[0] True", "[1] True"} <= set(output.splitlines()), output + errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["-n", "2"], "write the command after --"), (["-n", "0", "--", "true"], "at least 1")],
)
def test_bad_input(arguments: list[str], message: str) -> None:
    run = subprocess.run([sys.executable, LOCAL, *arguments], capture_output=True, text=True)
    assert run.returncode == 2
    assert message in run.stderr


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(tmp_path: pathlib.Path) -> None:
    """2 processes of 2 devices and 1 of 4 see the same data and learn the same weights."""
    train = [sys.executable, "-m", "omnigen.train", "--config"]
    train += [str(ROOT / "configs" / "tokenizer.py:debug"), "--config.mesh.data=2"]
    train += ["--config.mesh.fsdp=2", "--config.train.steps=3", "--config.train.log_every=1"]
    train += ["--config.train.sample_every=2", "--config.train.eval_every=3"]
    for processes in (1, 2):
        workdir = ["--workdir", str(tmp_path / str(processes))]
        run = start(processes, *train, *workdir, JAX_NUM_CPU_DEVICES=str(4 // processes))
        output, errors = run.communicate(timeout=600)
        assert run.returncode == 0, output + errors
    alone, together = (
        [json.loads(line) for line in (tmp_path / n / "metrics.jsonl").read_text().splitlines()]
        for n in ("1", "2")
    )
    for name in ("step", "loss", "velocity_mse", "pixel_mse", "grad_norm"):
        expected, found = ([x[name] for x in lines if "loss" in x] for lines in (alone, together))
        assert len(expected) == 3
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    for name in ("held_out/velocity_mse", "reconstruction/psnr_dB"):
        np.testing.assert_allclose(together[-1][name], alone[-1][name], rtol=1e-3)
    drawn = [sorted((tmp_path / n / "samples").iterdir()) for n in ("1", "2")]
    assert [path.name[-6:] for path in drawn[1]] == ["02.png", "03.png"]
    before, after = (manager.load_model(tmp_path / n).params for n in ("1", "2"))
    # Muon divides by the norm of the gradient, so rounding of small ones is seen in the weights.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-4), before, after)
