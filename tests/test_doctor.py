# SPDX-License-Identifier: Apache-2.0
import pathlib
import socket
import threading

import pytest

from omnigen import doctor
from omnigen.doctor import Finding, Mark

CONFIG = f"{pathlib.Path(__file__).parents[1] / 'configs' / 'ar.py'}:debug"


def only(findings) -> Finding:
    (found,) = list(findings)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def roll_call(count: int, present: list[int], wait_s: float) -> dict[int, Finding]:
    """What each process that was started finds out."""
    port, found = free_port(), {}

    def one(index: int) -> None:
        env = {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(index),
        }
        found[index] = only(doctor.hosts(env, wait_s=wait_s))

    threads = [threading.Thread(target=one, args=(index,)) for index in present]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_all_hosts_are_here() -> None:
    found = roll_call(4, [0, 1, 2, 3], wait_s=20.0)
    assert all(finding.mark is Mark.OK for finding in found.values())
    assert found[0].found == "all 4 processes are here"
    assert found[2].found == "process 2: all"


def test_who_is_missing() -> None:
    found = roll_call(5, [0, 2, 4], wait_s=3.0)
    assert {finding.mark for finding in found.values()} == {Mark.BAD}
    assert found[0].found.startswith("2 of 5 did not come: 1, 3; here: 0 (")
    assert found[2].found == "process 2: missing 1,3"
    assert all(finding.mend for finding in found.values())


def test_nobody_listens() -> None:
    found = roll_call(2, [1], wait_s=0.5)[1]
    assert found.mark is Mark.BAD and "process 1 cannot reach 127.0.0.1:" in found.found
    assert "JAX_COORDINATOR_PORT=8476" in found.mend


def test_one_process_waits_for_nobody() -> None:
    assert only(doctor.hosts({})).mark is Mark.OK


def test_storage(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = next(doctor.storage(tmp_path / "not" / "yet"))
    assert found.mark in (Mark.OK, Mark.NOTE) and "MB/s" in found.found
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(doctor, "SLOW_MB_PER_S", 1e9)
    assert "checkpoint_every" in next(doctor.storage(tmp_path)).mend

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", full)
    found = next(doctor.storage(tmp_path))
    assert found.mark is Mark.BAD and "No space left" in found.found and found.mend


def test_mesh() -> None:
    assert "data=8" in only(doctor.mesh(CONFIG, [])).found
    found = only(doctor.mesh(CONFIG, ["--config.mesh.data=2"]))
    assert found.mark is Mark.BAD and "does not fit 8 devices" in found.found and found.mend


def test_jax_without_its_jaxlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.importlib.metadata.version
    fake = {"jaxlib": "0.1.0"}
    monkeypatch.setattr(
        doctor.importlib.metadata, "version", lambda name: fake.get(name) or real(name)
    )
    bad = [finding for finding in doctor.versions() if finding.mark is Mark.BAD]
    assert len(bad) == 1 and "with jaxlib 0.1.0" in bad[0].found


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    doctor.main(["--workdir", str(tmp_path), "--config", CONFIG])
    output = capsys.readouterr().out
    for what in ("versions", "hosts", "devices", "cache", "storage", "mesh"):
        assert f" {what} " in output
    assert "BAD" not in output and "8 x cpu" in output


def test_a_recipe_that_cannot_be_is_a_finding() -> None:
    found = only(doctor.mesh(CONFIG, ["--config.mesh.tensor=7"]))
    assert found.mark is doctor.Mark.BAD and "mesh.tensor=7 does not divide it" in found.found
    assert "no such file" in only(doctor.mesh("nope.py", [])).found


def test_a_check_that_fails_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    def broken():
        raise RuntimeError("no such\nthing")
        yield

    found = only(doctor.examine({"broken": broken}))
    assert found.line == "BAD  broken       RuntimeError: no such thing"
    assert capsys.readouterr().out == found.line + "\n"
