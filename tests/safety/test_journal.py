# SPDX-License-Identifier: Apache-2.0
"""Decisions are kept, and nothing of the texts."""

import concurrent.futures
import datetime
import json
import pathlib

import pytest

from omnigen import safety
from omnigen.safety.journal import NAME, OLD, SECRET, Journal

TEXT = "Ada Lovelace, 12 St James's Square: I want to die"


def lines(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def test_a_line_tells_the_decision_alone(tmp_path: pathlib.Path) -> None:
    decision = safety.judge_prompt(TEXT)
    code = Journal(tmp_path / "log").write(decision, TEXT, level="auto")
    (line,) = lines(tmp_path / "log")
    told = datetime.datetime.fromisoformat(line.pop("time"))
    assert abs((datetime.datetime.now(datetime.UTC) - told).total_seconds()) < 60
    assert line == {
        "subject": code,
        "stage": "input",
        "level": "auto",
        "allowed": False,
        "categories": ["self-harm/intent"],
        "policy": decision.policy,
    }
    written = b"".join(p.read_bytes() for p in (tmp_path / "log").iterdir() if p.name != SECRET)
    assert not any(word.encode() in written for word in TEXT.split() if len(word) > 3)


def test_hashes_are_of_the_installation(tmp_path: pathlib.Path) -> None:
    one, again, other = Journal(tmp_path / "a"), Journal(tmp_path / "a"), Journal(tmp_path / "b")
    assert one.code("A  red\ncircle") == again.code("a red circle") != other.code("a red circle")
    assert one.code("a red circle") != one.code("a red square")
    assert one.code(b"\0\1") != one.code(b"\0\2") and len(one.code(b"")) == 24
    assert one.code("\ud800")
    assert len((tmp_path / "a" / SECRET).read_bytes()) == 32
    modes = [(tmp_path / "a" / SECRET).stat().st_mode & 0o077]
    assert modes == [0]


def test_files_stay_small(tmp_path: pathlib.Path) -> None:
    journal, decision = Journal(tmp_path, most_bytes=1000), safety.judge_prompt("a circle")
    for i in range(50):
        journal.write(decision, f"circle {i}")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {NAME, OLD, SECRET}
    assert max(sizes.values()) <= 1000
    assert lines(tmp_path)[-1]["subject"] == journal.code("circle 49")


def test_threads_and_instances_do_not_mix_lines(tmp_path: pathlib.Path) -> None:
    decision = safety.judge_prompt("a circle")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: Journal(tmp_path).write(decision, f"{i}"), range(200)))
    found = [line["subject"] for line in lines(tmp_path)]
    assert sorted(found) == sorted(Journal(tmp_path).code(f"{i}") for i in range(200))
    assert {path.name for path in tmp_path.iterdir()} == {NAME, SECRET}


def test_a_folder_that_cannot_be_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        Journal(tmp_path / "file")
