# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, turn read-only or are slow: no half-written checkpoint has a number."""

import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from omnigen.checkpoints import manager

CONFTEST = pathlib.Path(__file__).with_name("conftest.py")

PROGRAM = """
import json, os, resource, runpy, subprocess, sys, time
from omnigen import parallel
from omnigen.checkpoints import checksums
from omnigen.training import loop, optim
from omnigen.checkpoints.manager import Checkpoints
from omnigen.training.stage import TrainConfig

conftest, workdir = sys.argv[1:3]
folder = workdir + "/checkpoints/"


class Toy(runpy.run_path(conftest)["ToyStage"]):
    def rates(self, batch):
        time.sleep(0.05)
        return super().rates(batch)


def hook(owner, name, *, before=lambda *_: None, after=lambda *_: None):
    # Calls `before` and `after` with the arguments of a function around each of its calls.
    function = getattr(owner, name)

    def hooked(*given, **named):
        before(*given, *named.values())
        result = function(*given, **named)
        after(*given, *named.values())
        return result

    setattr(owner, name, hooked)


def train(**changes):
    given = {"steps": 200, "global_batch_size": 8, "log_every": 20, "checkpoint_every": 5}
    loop.run(
        Toy(),
        TrainConfig(**given | changes),
        optimizer=optim.OptimizerConfig(),
        mesh=parallel.make_mesh(parallel.MeshConfig()),
        workdir=workdir,
        settings={},
    )

"""

FULL = """
def fill(*_):
    while not os.path.exists(folder + "10"):
        time.sleep(0.05)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    open(workdir + ".turned", "w").close()


hook(Toy, "samples", before=fill)
train(sample_every=11, keep_checkpoints=2)
"""

READ_ONLY = """
point, turned = sys.argv[3], []
again = folder + "15.orbax-checkpoint-tmp"


def turn():
    if not turned:
        turned.append(True)
        subprocess.run(sys.argv[4:], check=True)
        try:
            open(folder + "probe", "w")
        except OSError:
            open(workdir + ".turned", "w").close()


def idle(*_):
    while not os.path.exists(folder + "10"):
        time.sleep(0.05)
    turn()


if point == "idle":
    hook(loop, "_judge", before=idle)
if point == "folders":
    hook(os, "mkdir", after=lambda path, *_: str(path) == again and turn())
if point == "arrays":
    hook(checksums.Digester, "__call__", before=lambda *_: os.path.exists(again) and turn())
if point == "seal":
    hook(checksums, "write", before=lambda place, *_: str(place) == again and turn())
if point == "sealed":
    hook(checksums, "write", after=lambda place, *_: str(place) == again and turn())
if point == "named":
    hook(os, "rename", after=lambda _, path, *__: str(path) == folder + "15" and turn())
train(eval_every=11, keep_checkpoints=2)
"""

SLOW = """
events = open(workdir + ".events", "w", buffering=1)


def say(*what):
    events.write(json.dumps([time.monotonic(), *what]) + "\\n")


hook(
    Checkpoints,
    "save",
    before=lambda saved, step, *_: say("due", step),
    after=lambda saved, step, *_: say("saving", step),
)
hook(os, "rename", after=lambda _, path, *__: say("named", str(path)))
hook(Checkpoints, "check", after=lambda *_: say("step"))
hook(checksums, "write", before=lambda *_: time.sleep(float(sys.argv[3])))
train(steps=100_000, checkpoint_every=10, log_every=1000)
"""

# Every write, and every folder that is made or named, takes so long below a folder.
SLOW_CALLS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static void wait_for(const char *path) {
  const char *below = getenv("SLOW_BELOW");
  if (below && !strncmp(path, below, strlen(below))) usleep(1e6 * atof(getenv("SLOW_S")));
}
static void wait_for_file(int file) {
  char link[64], path[4096] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  if (readlink(link, path, sizeof path - 1) > 0) wait_for(path);
}
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
ssize_t write(int f, const void *b, size_t n) { wait_for_file(f); return REAL(write)(f, b, n); }
ssize_t writev(int f, const struct iovec *v, int n) {
  wait_for_file(f);
  return REAL(writev)(f, v, n);
}
int fsync(int f) { wait_for_file(f); return REAL(fsync)(f); }
int mkdir(const char *p, mode_t m) { wait_for(p); return REAL(mkdir)(p, m); }
int rename(const char *a, const char *b) { wait_for(b); return REAL(rename)(a, b); }
"""


def launch(program, workdir, *arguments, before=(), env=None, **given):
    command = [*before, sys.executable, "-c", PROGRAM + program, str(CONFTEST), str(workdir)]
    env = dict(
        os.environ,
        XLA_FLAGS=f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1",
        **env or {},
    )
    given = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **given}
    return subprocess.Popen([*command, *arguments], env=env, **given)


def wait_until(run, condition):
    while not condition():
        assert run.poll() is None
        time.sleep(0.01)


def numbers(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit())


def assert_ends(run, workdir, *, newest):
    """It ends with an error soon after its disk has turned, and the last two numbers are whole.

    Of an older one some files may be gone, because the run was removing it.
    """
    wait_until(run, pathlib.Path(f"{workdir}.turned").exists)
    since = time.monotonic()
    code = run.wait(timeout=60)
    assert time.monotonic() - since < 20  # half a second until something is written; busy machines
    assert code == 1
    assert max(numbers(workdir)) == newest
    for step in (newest - 5, newest):
        assert manager.load_model(workdir / "checkpoints" / str(step)).step == step


@pytest.mark.parametrize(
    "limit", [3000, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 100, 700, 1500))]
)
def test_no_room(tmp_path, limit):
    """From step 11 on no file can grow beyond `limit` bytes, as when the disk is full."""
    run = launch(FULL, tmp_path / "run", str(limit), env={"JAX_ENABLE_COMPILATION_CACHE": "0"})
    assert_ends(run, tmp_path / "run", newest=10)


def read_only(workdir):
    """What to run before a program, and within it, to make a folder read-only."""
    private = ["unshare", "--map-root-user", "--mount"]
    prepare = 'mount --bind "$0" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    twin = workdir.with_name("twin")
    twin.mkdir()
    mounted = [*private, "sh", "-c", prepare, str(workdir), str(twin)]
    if shutil.which("unshare") and not subprocess.run([*mounted, "true"]).returncode:
        return mounted, ["mount", "--bind", str(twin), str(workdir)]
    if os.geteuid() == 0:
        pytest.skip("here root cannot mount, and no permission stops it")
    return [], ["chmod", "-R", "a-w", str(workdir)]


@pytest.mark.parametrize(
    ("point", "newest"),
    [
        ("folders", 10),
        *(
            pytest.param(point, newest, marks=pytest.mark.slow)
            for point, newest in (
                ("idle", 10),
                ("arrays", 10),
                ("seal", 10),
                ("sealed", 10),
                ("named", 15),
            )
        ),
    ],
)
def test_the_disk_turns_read_only(tmp_path, point, newest):
    """Between saves, and at five points of the third, of which the last is before the clean-up."""
    workdir = tmp_path / "run"
    workdir.mkdir()
    before, turn = read_only(workdir)
    run = launch(READ_ONLY, workdir, point, *turn, before=before)
    assert_ends(run, workdir, newest=newest)


class Events:
    """What a run said: when each of its steps was made, and its saves due, under way and named."""

    def __init__(self, workdir):
        lines = pathlib.Path(f"{workdir}.events").read_text().split("\n")[:-1]
        events = [json.loads(line) for line in lines]
        self.steps = [when for when, *what in events if what == ["step"]]
        self.due = {what[1]: when for when, *what in events if what[0] == "due"}
        self.under_way = {what[1]: when for when, *what in events if what[0] == "saving"}
        paths = {what[1]: when for when, *what in events if what[0] == "named"}
        self.named = {
            int(path.rsplit("/", 1)[1]): when
            for path, when in paths.items()
            if path.startswith(f"{workdir}/checkpoints/") and path.rsplit("/", 1)[1].isdigit()
        }


def stop_while_saving(workdir, *, seconds, env):
    """Stops a run in its second save; returns the seconds that it then took.

    Until then whatever has a number must be whole.
    """
    run = launch(SLOW, workdir, str(seconds), env=env)

    def second_is_under_way():
        for step in numbers(workdir):
            assert (workdir / f"checkpoints/{step}/digests.json").exists()
        path = pathlib.Path(f"{workdir}.events")
        return path.exists() and 20 in Events(workdir).under_way

    wait_until(run, second_is_under_way)
    run.send_signal(signal.SIGTERM)
    since = time.monotonic()
    assert run.wait(timeout=60) == 143
    return time.monotonic() - since


@pytest.mark.parametrize("slow", ["seal", pytest.param("calls", marks=pytest.mark.slow)])
def test_a_slow_disk(tmp_path, slow, capsys):
    """A save takes seconds: steps go on, the next save waits, SIGTERM lets both of them end."""
    workdir, env, seconds = tmp_path / "run", {}, 2.0
    if slow == "calls":
        if not shutil.which("cc"):
            pytest.skip("needs a C compiler")
        library = str(tmp_path / "slow.so")
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library, "-ldl"]
        subprocess.run(command, input=SLOW_CALLS, text=True, check=True)
        below = str(workdir / "checkpoints")
        env = {"LD_PRELOAD": library, "SLOW_BELOW": below, "SLOW_S": "0.1"}
        seconds = 0.0
    stopping = stop_while_saving(workdir, seconds=seconds, env=env)
    events = Events(workdir)
    last = len(events.steps)
    assert list(events.named) == [10, 20, last] and 20 <= last < 25
    saves = [events.named[step] - events.under_way[step] for step in events.named]
    blocked = events.under_way[10] - events.due[10]
    gaps = [after - before for before, after in itertools.pairwise(events.steps[10:20])]
    with capsys.disabled():
        print(f"\nsaves take {', '.join(f'{took:.1f}' for took in saves)} s; the first blocks for")
        print(f"{blocked:.2f} s, the steps beside it take {max(gaps):.2f} s or less; SIGTERM in")
        print(f"the second ends the run in {stopping:.1f} s")
    assert blocked < saves[0] / 4 and max(gaps) < saves[0] / 4
    assert events.steps[19] < events.due[20] < events.named[10] < events.under_way[20]
    assert stopping < 2 * max(saves) + 8
    for step in numbers(workdir):
        assert manager.load_model(workdir / "checkpoints" / str(step)).step == step
    assert max(numbers(workdir)) == last
