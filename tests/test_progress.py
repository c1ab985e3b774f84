# SPDX-License-Identifier: Apache-2.0
import io
import multiprocessing
import re
import sys
import time

import pytest

from omnigen import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes tenths of them."""
    monkeypatch.setattr(progress, "FIRST_S", 0.05)
    monkeypatch.setattr(progress, "EVERY_S", 0.1)
    monkeypatch.setattr(progress, "_REDRAW_S", 0.05)


def test_short_work_says_nothing(capsys: pytest.CaptureFixture) -> None:
    with progress.work("quick", 3) as done:
        assert list(done.each("abc")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_now_and_then(quick: None, capsys: pytest.CaptureFixture) -> None:
    """Also before anything is done, as while something compiles."""
    with progress.work("judging", 4) as done:
        time.sleep(0.45)
        for _ in done.each(range(4)):
            time.sleep(0.15)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert not out and len(lines) >= 5
    assert lines[0] == "judging: 0 of 4, 0 s so far"
    assert any(re.fullmatch(r"judging: [123] of 4, \d s so far, about \d s left", s) for s in lines)
    assert re.fullmatch(r"judging: 4 of 4, took \d s", lines[-1])


def test_a_terminal_has_one_line(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "20")
    with progress.work("w" * 30):
        time.sleep(0.4)
    shown = screen.getvalue().split("\r\x1b[K")[1:]
    assert len(shown) >= 4 and set(shown[:-1]) == {"w" * 19}
    assert re.fullmatch("w{30}, took \\d s\n", shown[-1])


def test_nothing_is_said_after_an_error(quick: None, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(KeyError), progress.work("judging"):
        time.sleep(0.08)
        raise KeyError
    said = capsys.readouterr().err
    assert set(said.splitlines()) == {"judging, 0 s so far"}
    time.sleep(0.3)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("stream", [None, open])
def test_nobody_needs_to_listen(quick: None, monkeypatch, stream: object, tmp_path) -> None:
    if stream is not None:
        stream = (tmp_path / "closed").open("w")
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.work("judging"):
        time.sleep(0.1)


def test_what_is_left_follows_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 s to compile and draw the first 4 of 20, then 3 s a picture."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    done = progress.Progress("drawing", 20)
    assert done.line() == "drawing: 0 of 20, 0 s so far"
    now[0] = 100
    done.add(4)
    assert done.line() == "drawing: 4 of 20, 1 min 40 s so far, about 6 min 40 s left"
    now[0] = 112
    done.add(4)
    assert done.line() == "drawing: 8 of 20, 1 min 52 s so far, about 36 s left"
    assert done.line(is_over=True) == "drawing: 8 of 20, took 1 min 52 s"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said


def test_bytes_are_shown_for_people() -> None:
    told = progress.Progress("reading", 2_500_000_000, unit=progress.Unit.BYTE)
    told.add(1_234_567_890)
    assert told.line().startswith("reading: 1235 MB of 2500 MB, 0 s so far")


def test_worker_processes_leave_it_to_who_started_them(
    quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "the one")
    with progress.work("reading", 2) as told:
        told.add(2)
        time.sleep(0.3)
    assert capsys.readouterr() == ("", "")
