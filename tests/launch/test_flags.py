# SPDX-License-Identifier: Apache-2.0
"""Flag groups do not repeat or contradict each other; the clouds' names of topologies."""

import collections
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import flags
from omnigen import topologies

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"


@pytest.mark.parametrize("chip", topologies.CHIPS)
def test_no_flag_is_set_twice_for_a_chip(chip: str) -> None:
    groups = [group for group in flags.GROUPS.values() if chip in group.chips]
    assert groups
    times = collections.Counter(flag for group in groups for flag in group.flags)
    assert set(times.values()) == {1}


@pytest.mark.parametrize("chip", topologies.CHIPS)
def test_collectives_are_fused_or_offloaded_never_both(chip: str) -> None:
    asked = [name for name, group in flags.GROUPS.items() if chip in group.chips]
    words = " ".join(flags.environment(chip, slices=2, asked=asked).values())
    fused = "async_collective_fusion=true" in words
    offloaded = "sparse_core_collective_offload_all_gather=true" in words
    assert fused + offloaded == (chip not in ("h100", "h200", "a100"))


def test_groups_are_dated_and_well_formed() -> None:
    for name, group in flags.GROUPS.items():
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", group.date), name
        assert set(group.chips) <= topologies.CHIPS.keys()
        assert group.flags and group.purpose
        for flag, value in group.flags.items():
            assert re.fullmatch(r"xla_\w+", flag) and re.fullmatch(r"true|false|\d+", value)


def test_groups_come_when_they_should() -> None:
    def named(**options) -> set[str]:
        (words,) = flags.environment("v6e", **options).values()
        set_ = dict(word.removeprefix("--").split("=") for word in words.split())
        return {name for name, g in flags.GROUPS.items() if g.flags.items() <= set_.items()}

    assert named() == {"fusion"}
    assert named(slices=2) == {"fusion", "slices"}
    assert named(asked=["vmem"]) == {"fusion", "vmem"}
    with pytest.raises(ValueError, match="no flags 'vmem' for v5p; there are fusion, slices"):
        flags.environment("v5p", asked=["vmem"])
    with pytest.raises(ValueError, match="no chip 'v9'"):
        flags.environment("v9")
    assert set(flags.environment("h100")) == {"XLA_FLAGS"}


def program(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(LAUNCH / name), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        ("v5e-256", "v5litepod-256 v2-alpha-tpuv5-lite tpu-v5-lite-podslice 16x16 4 64"),
        ("v5p-512", "v5p-512 v2-alpha-tpuv5 tpu-v5p-slice 4x8x8 4 64"),
        ("v6e-1", "v6e-1 v2-alpha-tpuv6e tpu-v6e-slice 1x1 1 1"),
        ("v7x-128", "tpu7x-128  tpu7x 4x4x4 4 16"),
    ],
)
def test_names_of_a_topology(topology: str, expected: str) -> None:
    run = program("topologies.py", topology)
    found = dict(word.split("=", 1) for word in shlex.split(run.stdout))
    keys = "ACCELERATOR_TYPE RUNTIME_VERSION GKE_ACCELERATOR GKE_TOPOLOGY CHIPS_PER_HOST HOSTS"
    assert [found[key] for key in keys.split()] == expected.split(" ")
    assert found["MACHINE_TYPE"].endswith(f"-{found['CHIPS_PER_HOST']}t")
    assert found["LIBTPU_INIT_ARGS"].startswith("--xla_tpu_enable_")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v5p-500"], "the nearest is 'v5p-512'"),
        (["h100x8"], "is not a TPU topology"),
        (["v5p-8", "--slices", "0"], "0 slices"),
    ],
)
def test_bad_topologies(arguments: list[str], message: str) -> None:
    run = program("topologies.py", *arguments)
    assert run.returncode == 2 and run.stdout == ""
    assert message in run.stderr and run.stderr.count("\n") == 1


def test_flags_on_the_command_line() -> None:
    run = program("flags.py", "v6e", "vmem")
    assert run.stdout.startswith("LIBTPU_INIT_ARGS=--xla_tpu_enable_async_collective_fusion=true ")
    assert run.stdout.endswith(" --xla_tpu_scoped_vmem_limit_kib=98304\n")
    assert "--xla_tpu_scoped_vmem_limit_kib=98304" in program(
        "topologies.py", "v6e-16", OMNIGEN_FLAGS="vmem"
    ).stdout  # fmt: skip
