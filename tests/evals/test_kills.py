# SPDX-License-Identifier: Apache-2.0
"""The command with the model that ships, killed again and again: nothing of it shows afterwards."""

import pathlib
import random
import subprocess
import sys
import time

import pytest

KILLS = 8
COMMAND = ("-m", "omnigen.evaluate", "--suites=exact", "--every=100", "--count=1")


def start(output: pathlib.Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, *COMMAND, "--output", str(output)]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def progress(output: pathlib.Path) -> tuple[int, int]:
    """Pictures drawn, and bytes of verdicts."""
    verdicts = sum(path.stat().st_size for path in output.glob("verdicts/*.jsonl"))
    return len(list(output.glob("pictures/**/[!.]*.png"))), verdicts


def lasting(output: pathlib.Path) -> dict[str, bytes]:
    """Contents of the files that a run is for; journals and what a kill left half-written aside."""
    files = (path for path in output.rglob("*") if path.is_file() and path.name[0] != ".")
    kept = (path for path in files if path.parent.name != "verdicts")
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in kept}


@pytest.mark.slow
def test_kills_do_not_show_in_the_report(tmp_path: pathlib.Path) -> None:
    """Killed by signal 9 right after something was written, or a little later; to the byte."""
    assert start(tmp_path / "whole").wait(timeout=3000) == 0
    dice, output, kills = random.Random(0), tmp_path / "killed", []
    for _ in range(KILLS):
        before, process = progress(output), start(output)
        while progress(output) == before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(dice.choice([0, 0, 0.05, 0.5]))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills.append(progress(output))
    assert len(kills) == KILLS, "it ended before it was killed often enough"
    assert start(output).wait(timeout=3000) == 0
    whole, killed = lasting(tmp_path / "whole"), lasting(output)
    print(f"\npictures and bytes of verdicts at the kills: {kills}; {len(whole)} files")
    assert {"results.json", "report.html"} <= whole.keys()
    assert killed == whole
