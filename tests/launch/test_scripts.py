# SPDX-License-Identifier: Apache-2.0
"""The launch scripts with no cluster: stand-ins on PATH record what they would have asked for."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = [*sorted(LAUNCH.rglob("*.sh")), LAUNCH / "slurm" / "train.sbatch"]
TRAIN = ["python", "-m", "omnigen.train", "--config.train.init_from=a b"]
FUSION = (
    "--xla_tpu_enable_async_collective_fusion=true "
    "--xla_tpu_enable_async_collective_fusion_fuse_all_gather=true "
    "--xla_tpu_enable_async_collective_fusion_multiple_steps=true "
    "--xla_tpu_overlap_compute_collective_tc=true --xla_enable_async_all_gather=true"
)
STAND_IN = """#!/usr/bin/env bash
{ basename "$0"; printf '%s\\n' "$@"; echo; } >> "$CALLS"
case "$*" in
  *kill-on-bad-exit*) echo "$XLA_FLAGS" ;;
  *describe*) read -r state < "$STATES"; sed -i 1d "$STATES"; echo "$state" ;;
esac
"""


@pytest.fixture
def launch(tmp_path: pathlib.Path):
    """Runs a script with stand-ins for the clouds' programs; returns it and their calls."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gcloud", "kubectl", "srun"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    calls = tmp_path / "calls"

    def run(script: str, *arguments: str, states: str = "", **variables: str):
        (tmp_path / "states").write_text(states)
        calls.write_text("")
        environment = {
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "HOME": str(tmp_path),
            "CALLS": str(calls),
            "STATES": str(tmp_path / "states"),
            **variables,
        }
        done = subprocess.run(
            ["bash", str(LAUNCH / script), *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=ROOT,
            timeout=120,
        )
        return done, [call.split("\n") for call in calls.read_text().split("\n\n")[:-1]]

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(script: pathlib.Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.read_text().startswith("#!/usr/bin/env bash\n# SPDX-License-Identifier: Apache")


def test_shellcheck() -> None:
    program = shutil.which("shellcheck", path=str(pathlib.Path(sys.executable).parent))
    if program is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([program, *map(str, SCRIPTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


VM = {"TPU": "mine", "ZONE": "us-east5-a", "TOPOLOGY": "v5e-256"}
GCLOUD = ["gcloud", "compute", "tpus", "queued-resources"]
WHERE = ["--zone=us-east5-a", "--node=all", "--worker=all"]


def test_tpu_vm_asks_for_a_slice(launch) -> None:
    done, calls = launch("tpu_vm.sh", "create", "--spot", **VM)
    assert done.returncode == 0, done.stderr
    kind = ["--accelerator-type=v5litepod-256", "--runtime-version=v2-alpha-tpuv5-lite"]
    asked = [*GCLOUD, "create", "mine", "--zone=us-east5-a", *kind]
    assert calls == [[*asked, "--node-id=mine", "--spot"]]
    _, calls = launch("tpu_vm.sh", "create", **VM, SLICES="2")
    assert calls == [[*asked, "--node-count=2", "--node-prefix=mine"]]


def test_tpu_vm_waits_until_it_is_ours(launch) -> None:
    states = "WAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE\nNEVER\n"
    done, calls = launch("tpu_vm.sh", "wait", states=states, POLL="0", **VM)
    assert done.returncode == 0
    assert [line.split()[-1] for line in done.stdout.splitlines()] == states.split()[:3]
    ask = [*GCLOUD, "describe", "mine", "--zone=us-east5-a", "--format=value(state.state)"]
    assert calls == [ask] * 3
    done, calls = launch("tpu_vm.sh", "wait", states="FAILED\n", POLL="0", **VM)
    assert done.returncode == 1 and len(calls) == 1


def test_tpu_vm_copies_the_commit_to_all_workers(launch, tmp_path: pathlib.Path) -> None:
    done, (copy, install) = launch("tpu_vm.sh", "copy", **VM, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    archive = copy.pop(5)
    assert re.fullmatch(rf"{tmp_path}/tmp\.\w+/omnigen\.tar\.gz", archive)
    assert not pathlib.Path(archive).exists()
    assert copy == [*GCLOUD, "scp", "mine:", *WHERE]
    assert install[:-1] == [*GCLOUD, "ssh", "mine", *WHERE]
    assert "tar -xzf omnigen.tar.gz -C omnigen && cd omnigen" in install[-1]
    assert install[-1].endswith("uv pip install --quiet -e '.[scenes,tpu]'")


def test_tpu_vm_runs_on_all_workers(launch, tmp_path: pathlib.Path) -> None:
    """What the workers are told, run here: the command starts with its words and variables."""
    done, (call,) = launch("tpu_vm.sh", "run", *TRAIN, **VM)
    assert done.returncode == 0, done.stderr
    assert call[:-1] == [*GCLOUD, "ssh", "mine", *WHERE]
    told = call[-1].removeprefix("--command=")
    (tmp_path / "omnigen" / "launch").mkdir(parents=True)
    shutil.copy(LAUNCH / "worker.sh", tmp_path / "omnigen" / "launch")
    program = tmp_path / "omnigen" / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/usr/bin/env bash\nprintf "%s\\n" "$@" "$LIBTPU_INIT_ARGS" "$OMNIGEN_MULTIHOST" '
        '"$JAX_COORDINATOR_PORT" "$$"\n'
    )
    program.chmod(0o755)
    subprocess.run(["bash", "-c", f"{told} wait"], cwd=tmp_path, check=True, timeout=120)
    *said, identity = (tmp_path / "omnigen.log").read_text().splitlines()
    assert said == [*TRAIN[1:], FUSION, "1", "8476"]
    assert (tmp_path / "omnigen.pid").read_text() == f"{identity}\n"


def test_tpu_vm_tails_stops_and_deletes(launch) -> None:
    _, (tail,) = launch("tpu_vm.sh", "tail", **VM)
    assert tail[4:8] == ["ssh", "mine", "--zone=us-east5-a", "--node=0"]
    assert tail[8:] == ["--worker=0", "--command=tail -n 100 -F omnigen.log"]
    _, (stop,) = launch("tpu_vm.sh", "stop", **VM)
    assert stop == [*GCLOUD, "ssh", "mine", *WHERE, "--command=kill -TERM $(cat omnigen.pid)"]
    _, (delete,) = launch("tpu_vm.sh", "delete", **VM)
    assert delete == [*GCLOUD, "delete", "mine", "--zone=us-east5-a", "--force", "--quiet"]


JOB = {"NAME": "my-run", "IMAGE": "registry/omnigen", "TOPOLOGY": "v5p-512"}


def test_sbatch(launch) -> None:
    done, (call,) = launch("slurm/train.sbatch", *TRAIN)
    assert done.returncode == 0, done.stderr
    assert call == ["srun", "--kill-on-bad-exit=1", *TRAIN]
    assert done.stdout == "--xla_gpu_enable_latency_hiding_scheduler=true\n"
    done, _ = launch("slurm/train.sbatch", *TRAIN, XLA_FLAGS="--mine")
    assert done.stdout == "--mine\n"
    text = (LAUNCH / "slurm" / "train.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(\S*)$", text, re.MULTILINE))
    assert options["ntasks-per-node"] == options["gpus-per-node"] == "8"
    assert {"requeue", "signal"} <= options.keys()


def test_jax_finds_its_place_among_slurm_tasks(monkeypatch) -> None:
    """As train.sbatch starts them: one task a GPU, numbered on its node."""
    from jax._src.clusters.slurm_cluster import SlurmCluster

    for name, value in {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NODELIST": "node[03-06]",
        "SLURM_NTASKS": "32",
        "SLURM_PROCID": "13",
        "SLURM_LOCALID": "5",
    }.items():
        monkeypatch.setenv(name, value)
    assert SlurmCluster.is_env_present()
    assert SlurmCluster.get_coordinator_address(1, None) == "node03:61447"
    assert (SlurmCluster.get_process_count(), SlurmCluster.get_process_id()) == (32, 13)
    assert SlurmCluster.get_local_process_id() == 5


@pytest.mark.parametrize(
    ("script", "arguments", "changed", "message"),
    [
        ("tpu_vm.sh", ["creat"], VM, "unknown action 'creat'; create, wait"),
        ("tpu_vm.sh", ["create"], {"ZONE": "z"}, "set TPU"),
        ("tpu_vm.sh", ["create"], {**VM, "TOPOLOGY": "v5e-255"}, "the nearest is 'v5e-256'"),
        ("tpu_vm.sh", ["create"], {**VM, "TOPOLOGY": "v7x-128"}, "on GKE only"),
        ("tpu_vm.sh", ["run"], VM, "run what?"),
        ("tpu_vm.sh", ["create"], {**VM, "TOPOLOGY": "h100x8"}, "not a TPU topology"),
        ("tpu_vm.sh", ["run", *TRAIN], {**VM, "OMNIGEN_FLAGS": "x"}, "no flags 'x' for v5e"),
        ("gke/apply.sh", ["pod.yaml"], JOB, "no manifest 'pod.yaml'"),
        ("gke/apply.sh", ["jobset.yaml"], JOB, "write the command after"),
        ("gke/apply.sh", ["jobset.yaml", *TRAIN], {**JOB, "NAME": "My"}, "NAME 'My' must be"),
        ("gke/apply.sh", ["jobset.yaml", *TRAIN], {**JOB, "NAME": "a" * 29}, "at most 28"),
        ("slurm/train.sbatch", [], {}, "write the command"),
    ],
)
def test_bad_input_asks_for_nothing(script, arguments, changed, message, launch) -> None:
    done, calls = launch(script, *arguments, **changed)
    assert done.returncode != 0
    assert message in done.stderr
    assert calls == []


@pytest.mark.parametrize("script", ["worker.sh", "slurm/train.sbatch"])
def test_sigterm_reaches_python(script: str, tmp_path: pathlib.Path) -> None:
    """The process that was started is Python itself by the time it says that it is ready."""
    (tmp_path / "omnigen" / "launch").mkdir(parents=True)
    copy = shutil.copy(LAUNCH / script, tmp_path / "omnigen" / "launch")
    (tmp_path / "srun").write_text('#!/usr/bin/env bash\nshift\nexec "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(20)"
    )
    run = subprocess.Popen(
        ["bash", copy, sys.executable, "-c", program],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    run.send_signal(signal.SIGTERM)
    assert run.communicate(timeout=10)[0] == "saved\n"
    assert run.returncode == 143


def test_flags_stand_in_one_file() -> None:
    files = [p for p in LAUNCH.rglob("*") if p.is_file() and p.suffix not in (".pyc", ".npz")]
    assert [p.name for p in files if "--xla_" in p.read_text() or "xla_tpu" in p.read_text()] == [
        "flags.py"
    ]


def test_the_image_has_no_shell_before_the_command() -> None:
    lines = (LAUNCH / "Dockerfile").read_text().splitlines()
    words = [line.split()[0] for line in lines if re.match(r"[A-Z]+ ", line)]
    assert words[0] == "FROM" and not {"ENTRYPOINT", "CMD"} & set(words)
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
    assert all((ROOT / source).exists() for sources in copied for source in sources)
    extras = re.findall(r"EXTRAS=(\S+)", "\n".join(lines))
    setup = (ROOT / "setup.py").read_text()
    assert all(f'"{name}": ' in setup for extra in extras for name in extra.split(","))


def test_the_readme_names_every_file() -> None:
    text = (LAUNCH / "README.md").read_text()
    files = {p.name for p in LAUNCH.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert {name for name in files if name not in text} == {"README.md", "worker.sh"}
