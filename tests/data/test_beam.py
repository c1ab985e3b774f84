# SPDX-License-Identifier: Apache-2.0
"""Runs where Apache Beam is installed; the oracle is the same work done locally."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from omnigen.data import ingest, prepare, records
from omnigen.data.sources import part

needs_beam = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("apache_beam"), reason="needs Apache Beam"
)


def fill(folder, count):
    folder.mkdir()
    for n in range(count):
        rng = np.random.default_rng(n % 30)  # some come twice
        image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((48, 40))
        file = io.BytesIO()
        image.save(file, "PNG")
        (folder / f"{n:04d}.png").write_bytes(file.getvalue()[: None if n % 7 else 200])
        (folder / f"{n:04d}.txt").write_text(f"picture {n}")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@needs_beam
def test_beam_gives_the_same_bytes(tmp_path):
    fill(tmp_path / "in", 1100)  # three parts
    settings = ["--shard_bytes=9000", "--near_duplicates=-1", f"--input={tmp_path / 'in'}"]
    command = [sys.executable, "-m", "omnigen.data.prepare", *settings]
    subprocess.run([*command, f"--output={tmp_path / 'local'}", "--workers=0"], check=True)
    beam = ["--runner=DirectRunner", "--runner_options=--direct_num_workers=1"]
    subprocess.run([*command, f"--output={tmp_path / 'beam'}", *beam], check=True)
    local = contents(tmp_path / "local")
    assert len(local) > 4 and json.loads(local["manifest.json"])["rejects"]
    assert contents(tmp_path / "beam") == local


@needs_beam
def test_an_unknown_runner_is_said(tmp_path, capsys):
    fill(tmp_path / "in", 2)
    arguments = [f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--runner=Nowhere"]
    with pytest.raises(SystemExit) as raised:
        prepare.main(arguments)
    assert raised.value.code == 2 and "runner is 'Nowhere'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_work_may_be_done_twice_at_a_time(tmp_path, monkeypatch):
    """Runners do that; here every call is interrupted by another one for the same file."""
    monkeypatch.setattr(part, "PART", 9)
    fill(tmp_path / "in", 25)
    settings = ingest.Settings(shard_bytes=9000)

    def twice(work, tasks, unit, sizes):
        replace, results = records.pathlib.Path.replace, []

        def interrupted(self, target):
            monkeypatch.setattr(records.pathlib.Path, "replace", replace)
            work(*task)
            return replace(self, target)

        for task in reversed(tasks):
            monkeypatch.setattr(records.pathlib.Path, "replace", interrupted)
            results.append(work(*task))
        monkeypatch.setattr(records.pathlib.Path, "replace", replace)
        return results[::-1]

    ingest.run(ingest.plan(tmp_path / "in", tmp_path / "once", settings))
    ingest.run(ingest.plan(tmp_path / "in", tmp_path / "twice", settings), execute=twice)
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")
