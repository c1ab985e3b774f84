# SPDX-License-Identifier: Apache-2.0
"""The command, as people call it, each in a process of its own: it chooses the devices."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

from omnigen import extras

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = ["--config", "configs/tokenizer.py:debug", "--config.train.global_batch_size=8"]


# A plan needs neither data nor what draws it; flax brings rich itself.
HIDDEN = [name for extra in extras.MODULES.keys() - {"rich"} for name in extras.MODULES[extra]]
BARE = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({HIDDEN}))
runpy.run_module("omnigen.plan", run_name="__main__")
"""


def plan(*arguments: str, run: tuple[str, ...] = ("-c", BARE)) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *run, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def for_tpus(*arguments: str) -> subprocess.CompletedProcess[str]:
    return plan(*arguments, run=("-m", "omnigen.plan"))


def test_a_small_one_for_eight_gpus(tmp_path):
    table, elsewhere = tmp_path / "table.md", "--config.data.mixture={'not/here':1}"
    found = plan(*SMALL, elsewhere, "--topology", "h100x8", "--row", str(table))
    assert found.returncode == 0, found.stderr
    assert "h100x8: 8 chips, 1 hosts, mesh data=8" in found.stdout
    assert "of 73.23: fits" in found.stdout and "all-reduce" in found.stdout
    assert table.read_text().startswith("| tokenizer debug | h100x8 | data 8 | 1.00 | 1 | dots |")


def test_what_fits_is_a_line_of_flags():
    found = plan(*SMALL, "--topology", "h200x1", "--fit")
    assert found.returncode == 0, found.stderr
    flags = "--config.train.microbatches=1 --config.model.encoder.remat=none "
    flags += "--config.model.decoder.remat=none"
    assert f"\nthe fastest that fits:\n{flags}\nh200x1: 1 chips" in found.stdout


def test_nothing_fits(tmp_path):
    table, huge = tmp_path / "table.md", ["--config", "configs/ar.py:14b"]
    found = plan(*huge, "--topology", "h100x1", "--fit", "--row", str(table))
    assert found.returncode == 2
    line = re.fullmatch(
        r"omnigen.plan: nothing fits h100x1: a device has 73.23 GiB and needs ([\d.]+) or more, "
        "with --config.mesh.data=-1 --config.mesh.fsdp=1 --config.mesh.tensor=1 "
        "--config.train.microbatches=2048 --config.model.ar.remat=full\n",
        found.stderr,
    )
    assert line and float(line[1]) > 12 * 13.4e9 / 2**30  # weights, momentum and averages alone
    assert "| 2048 | full |" in table.read_text() and "over (" in table.read_text()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the TPU compiler")
def test_a_small_one_for_tpus():
    found = for_tpus(*SMALL, "--topology", "v5e-4", "--config.mesh.fsdp=4", "--config.mesh.data=1")
    assert found.returncode == 0, found.stderr
    assert "v5e-4: 4 chips, 1 hosts, mesh fsdp=4" in found.stdout
    assert "all-gather" in found.stdout


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the TPU compiler")
def test_no_device_computes_the_rows_of_others():
    """Two layers of 3b, 16 rows a device: noise of the flow head once lay whole on every device."""
    topology = ["--topology", "v5p-128", "--config.model.ar.num_layers=2"]
    found = for_tpus("--config", "configs/ar.py:3b", *topology)
    assert found.returncode == 0, found.stderr
    temporary = re.search(r"temporary +([\d.]+)", found.stdout)
    assert temporary and float(temporary[1]) < 6.0, found.stdout


def test_drawing():
    found = plan("--sample", "--config", "configs/ar.py:14b", "--topology", "v5p-8")
    assert found.returncode == 0, found.stderr
    assert "KV cache         1.29 GiB" in found.stdout  # 2 x 4224 x 40 x 8 x 128 x 2 x 2 bytes
    tight = plan("--sample", "--config", "configs/ar.py:14b", "--topology", "v5e-1")
    assert tight.returncode == 2 and "DOES NOT FIT" in tight.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology", "v5p-500"], "the nearest is 'v5p-512'"),
        (["--topology", "h100x8", "--config.mesh.fsdp=3"], "mesh"),
        ([], "--config and --topology are required"),
        (["--topology", "h100x8", "--row", "."], "--row .: is a folder"),
        (["--topology", "h100x8", "--sample", "--fit"], "--row and --fit are of training"),
        (["--topology", "h100x8", "--batch_size=2"], "--batch_size is of --sample"),
        (["--topology", "h100x8", "--slices=2"], "slices is 2; allowed: 1 of GPUs"),
    ],
)
def test_bad_input(arguments, message):
    found = plan(*SMALL, *arguments)
    assert found.returncode == 2
    assert found.stderr.startswith("omnigen.plan: ") and message in found.stderr
    assert found.stderr.count("\n") == 1
