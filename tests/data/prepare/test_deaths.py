# SPDX-License-Identifier: Apache-2.0
"""What ends the process that reads it costs itself, and nothing beside it."""

import dataclasses
import errno
import json
import os
import pathlib
import signal
import sys

import pytest
from inputs import PLAIN, picture

from omnigen import workers
from omnigen.data.corpus.records import Corpus, Manifest, Raw, Rejected
from omnigen.data.prepare import checks, ingest, inputs, processes
from omnigen.data.prepare.inputs.part import NOTHING, Lost
from omnigen.workers import Child, DiedError


@dataclasses.dataclass(frozen=True)
class Deadly:
    """Pictures, some of which end the process when they are read or looked at."""

    start: int
    stop: int
    reading: tuple[int, ...] = ()
    looking: tuple[int, ...] = ()
    ended: int = 0

    def __len__(self):
        return self.stop - self.start

    def read(self, lost: Lost = NOTHING):
        for place, number in enumerate(range(self.start, self.stop)):
            image: bytes | Rejected = lost[place] if place in lost else picture(number)
            if number in self.reading and place not in lost:
                os.abort() if not self.ended else os._exit(self.ended)
            # What decodes in these tests looks for this caption.
            text = "deadly" if number in self.looking else f"number {number}"
            yield Raw(f"{number}", image, (text,), {})


def dying(raw, settings):
    if raw.captions == ("deadly",) and workers.is_child():
        os.kill(os.getpid(), signal.SIGKILL)
    return check(raw, settings)


check = checks.check


def read_part(*args):
    """What the parts of these tests are read by, in a child, too."""
    checks.check = dying
    return ingest._read_part(*args)


def prepared(parts, output, count):
    job = ingest.plan_parts(parts, pathlib.Path("made"), output, PLAIN)

    def run(workers, work, *rest, run=processes.run):
        return run(workers, read_part if work is ingest._read_part else work, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "run", run)
        ingest.run(job, count)
    lines = (output / ingest.REJECTS).read_text("utf-8").splitlines()
    return {line["key"]: line["detail"] for line in map(json.loads, lines)}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_what_ends_its_process_is_left_out(tmp_path):
    parts = [
        Deadly(0, 4),
        Deadly(4, 10, reading=(4, 7), looking=(6,)),
        Deadly(10, 12, reading=(11,), ended=3),
        Deadly(12, 14),
    ]
    found = prepared(parts, tmp_path / "one", 1)
    assert found == {
        "4": "damaged picture: ended its reader: signal 6",
        "6": "not enough memory: ended its reader: signal 9",
        "7": "damaged picture: ended its reader: signal 6",
        "11": "damaged picture: ended its reader: exit code 3",
    }
    kept = {record.key for record in Corpus(tmp_path / "one")}
    assert kept == {f"{number}" for number in range(14)} - found.keys()
    assert prepared(parts, tmp_path / "two", 2) == found
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def lying_footers(path):
    """Parquet whose first column has a type that its statistics do not fit: the library aborts."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = {"image": [picture(n) for n in range(6)], "text": [f"number {n}" for n in range(6)]}
    parquet.write_table(pyarrow.table(rows), path, row_group_size=3, store_schema=False)
    whole = path.read_bytes()
    begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(begin, len(whole) - 8):
        if whole[place] == 12:  # BYTE_ARRAY, or anything else
            yield whole[:place] + b"\0" + whole[place + 1 :]


def opened(path):
    parquet = sys.modules.get("pyarrow.parquet") or pytest.importorskip("pyarrow.parquet")
    metadata = parquet.ParquetFile(path).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [group.column(number).path_in_schema for group in groups for number in range(2)]


def test_a_flipped_byte_of_parquet_is_rejects_of_that_file(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    bad = folder / "bad.parquet"
    signals = []
    for data in lying_footers(folder / "good.parquet"):
        bad.write_bytes(data)
        try:
            processes.alone(opened, bad)
        except DiedError as died:
            signals.append(-died.code)
            break
        except Exception:
            continue
    if not signals:
        pytest.skip("this pyarrow aborts at none of them")
    for count in (0, 2):
        output = tmp_path / f"out{count}"
        ingest.run(ingest.plan(folder, output, PLAIN), count)
        assert {record.key for record in Corpus(output)} == {f"good/{n}" for n in range(6)}
        lines = map(json.loads, (output / ingest.REJECTS).read_text().splitlines())
        text = f"damaged picture: ended its reader: signal {signals[0]}"
        assert {line["key"]: line["detail"] for line in lines} == {
            f"bad/{n}": text for n in range(6)
        }
    assert contents(tmp_path / "out0") == contents(tmp_path / "out2")
    with pytest.raises(ingest.NothingKept, match="ended its reader"):
        ingest.run(ingest.plan(bad, tmp_path / "alone", PLAIN))


def abort(*_):
    os.abort()


def test_a_file_that_cannot_even_be_opened(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / f"{name}.arrayrecord").write_bytes(b"x")
    monkeypatch.setitem(inputs._PLANS, "ArrayRecord files", abort)
    parts = inputs.find(tmp_path)
    found = [(raw.key, str(raw.image)) for part in parts for raw in part.read()]
    assert [key for key, _ in found] == ["a.arrayrecord", "b.arrayrecord"]
    assert all(text.endswith(f"{key} ended its reader: signal 6") for key, text in found)
    with pytest.raises(ValueError, match=r"a\.arrayrecord ended its reader: signal 6"):
        inputs.find(tmp_path / "a.arrayrecord")


@dataclasses.dataclass(frozen=True)
class Exhausting(Deadly):
    """Lacks memory instead."""

    def read(self, lost: Lost = NOTHING):
        for place, raw in enumerate(super().read(lost)):
            if raw.key in ("2", "3") and place not in lost:
                raise MemoryError
            yield raw


def test_no_memory_for_one_picture_is_its_reject(tmp_path):
    job = ingest.plan_parts([Exhausting(0, 6)], pathlib.Path("made"), tmp_path / "out", PLAIN)
    ingest.run(job)
    assert Manifest.read(tmp_path / "out").rejects == {"not enough memory": 2}
    assert [record.key for record in Corpus(tmp_path / "out")] == ["0", "1", "4", "5"]


def place_or_raise(what):
    workers.reach(7)
    if what == "raise":
        raise OSError(errno.ENOSPC, "no room", "file")
    if what == "odd":
        raise Rejected("a", "b")  # type: ignore[arg-type]
    if what == "die":
        os._exit(5)
    return what


def test_a_child_tells_what_happened():
    with Child() as child:
        assert child.call(place_or_raise, {"a": 1}) == {"a": 1} and child.place == 7
        with pytest.raises(OSError, match="no room: 'file'") as raised:
            child.call(place_or_raise, "raise")
        assert "place_or_raise" in "".join(raised.value.__notes__)
        with pytest.raises(TypeError):
            child.call(place_or_raise)
        assert child.place is None
        with pytest.raises(DiedError, match="exit code 5"):
            child.call(place_or_raise, "die")
        assert child.place == 7
        with pytest.raises(DiedError, match="exit code 5"):
            child.call(place_or_raise, "")
    assert not workers.is_child()
