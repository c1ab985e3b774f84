# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from omnigen.training import goodput
from omnigen.training.goodput import Activity, Ledger


@pytest.fixture
def clock(monkeypatch):
    """A time that only moves when it is told to."""

    class Clock:
        now = 1000.0

        def sleep(self, seconds):
            self.now += seconds

    found = Clock()
    monkeypatch.setattr(goodput.time, "time", lambda: found.now)
    return found


def start(folder, clock, *, resume, steps, saving=2.0, before=5.0):
    """One start of a run: `steps` steps of 10 s, each with 1 s of waiting for data."""
    began = clock.now
    clock.sleep(before)
    book = Ledger(folder, began=began)
    with book.into(Activity.CHECKPOINT_RESTORE):
        clock.sleep(3)
    book.resume(resume)
    clock.sleep(1)
    with book.into(Activity.PROGRAM_STARTUP):
        clock.sleep(20)
    book.enter(Activity.PRODUCTIVE)
    for step in range(resume + 1, resume + steps + 1):
        with book.into(Activity.DATA_LOADING_SYNC):
            clock.sleep(1)
        clock.sleep(9)
        book.write(step)
    with book.into(Activity.CUSTOM), book.into(Activity.CHECKPOINT_SAVE):
        clock.sleep(saving)
    return book


def test_every_second_has_a_bucket(tmp_path, clock):
    book = start(tmp_path, clock, resume=0, steps=10)
    book.write(10)
    total = book.total()
    assert total == {
        **dict.fromkeys(Activity, 0.0),
        Activity.TPU_INITIALIZATION: 5.0,
        Activity.CHECKPOINT_RESTORE: 3.0,
        Activity.TRAINING_PREP: 1.0,
        Activity.PROGRAM_STARTUP: 20.0,
        Activity.DATA_LOADING_SYNC: 10.0,
        Activity.PRODUCTIVE: 90.0,
        Activity.CHECKPOINT_SAVE: 2.0,
    }
    assert sum(total.values()) == clock.now - 1000.0 == 131.0
    assert book.line().startswith("goodput 68.7% of 131.0 s | program startup 15.3% data loading")
    assert json.loads((tmp_path / "goodput.json").read_text())["total"] == total


def test_steps_that_are_made_again_were_wasted(tmp_path, clock):
    start(tmp_path, clock, resume=0, steps=10)  # killed: its last line says step 10, at 129 s
    clock.sleep(60)
    book = start(tmp_path, clock, resume=6, steps=4)
    book.write(10)
    total = book.total()
    assert total[Activity.PRODUCTIVE] == pytest.approx(0.6 * 90 + 36)
    assert total[Activity.WASTED] == pytest.approx(0.4 * 90)
    assert total[Activity.RECOVERY] == 62.0  # and the save that nobody wrote down
    assert sum(total.values()) == pytest.approx(clock.now - 1000.0)
    assert Ledger(tmp_path, began=clock.now).total()[Activity.WASTED] == pytest.approx(36)


def test_an_unreadable_ledger_is_begun_again(tmp_path, clock):
    (tmp_path / "goodput.json").write_text("{")
    assert sum(Ledger(tmp_path, began=clock.now).total().values()) == 0.0


def test_other_hosts_keep_no_file(tmp_path, clock):
    book = Ledger(None, began=clock.now)
    clock.sleep(1)
    book.write(1)
    assert sum(book.total().values()) == 1.0 and not list(tmp_path.iterdir())
