# SPDX-License-Identifier: Apache-2.0
import csv
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from inputs import PLAIN, picture
from PIL import Image

from omnigen.data.corpus import records
from omnigen.data.corpus.records import Corpus, Manifest, Reason
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import __main__ as prepare
from omnigen.data.prepare import ingest
from omnigen.data.prepare.ingest import Settings
from omnigen.data.prepare.inputs import part


def samples(count):
    """Of each picture its key, file name, bytes and caption."""
    for n in range(count):
        kind = ("PNG", "JPEG", "WEBP")[n % 3]
        suffix = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}[kind]
        key = f"{n:05d}"
        yield key, f"{key}.{suffix}", picture(n, (40 + n % 7, 48), kind), f"Picture {n}, naïve"


def as_folder(folder, count):
    for key, name, data, caption in samples(count):
        (folder / name).write_bytes(data)
        (folder / f"{key}.txt").write_text(f" {caption}\n", "utf-8")


def as_jsonl(folder, count):
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for _, name, data, caption in samples(count):
            (folder / name).write_bytes(data)
            file.write(json.dumps({"file_name": name, "text": caption}) + "\n")


def as_csv(folder, count):
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_path", "caption"])
        for _, name, data, caption in samples(count):
            (folder / name).write_bytes(data)
            rows.writerow([name, caption])


def as_tars(folder, count):
    every = list(samples(count))
    half = count // 2
    for number, chosen in enumerate((every[:half], every[half:])):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for key, name, data, caption in chosen:
                more = json.dumps({"caption": "not this", "status": "success"}).encode()
                beside = ((f"{key}.json", more), (f"{key}.txt", caption.encode()))
                for member, content in ((name, data), *beside):
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def as_parquet(folder, count):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"image": {"bytes": data, "path": name}, "text": caption}
        for _, name, data, caption in samples(count)
    ]
    table = pyarrow.Table.from_pylist(rows)
    parquet.write_table(table, folder / "train-0.parquet", row_group_size=count // 3)


def as_array_record(folder, count):
    (folder / "files").mkdir()
    as_folder(folder / "files", count)
    ingest.run(ingest.plan(folder / "files", folder / "corpus", PLAIN))
    for name in ("manifest.json", "rejects.jsonl"):
        (folder / "corpus" / name).unlink()
    shutil.rmtree(folder / "files")


FORMS = [as_folder, as_jsonl, as_csv, as_tars, as_parquet, as_array_record]


def prepared(source, output, settings=PLAIN, workers=0):
    ingest.run(ingest.plan(source, output, settings), workers)
    return Manifest.read(output)


def contents(folder):
    """Every file of a corpus but for what its manifest says of the input."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != records.MANIFEST}
    manifest = json.loads((folder / records.MANIFEST).read_text())
    for name in ("input", "plan"):
        manifest["settings"].pop(name)
    return files, manifest


def all_forms_agree(folder, count, settings):
    reference = None
    for form in FORMS:
        source = folder / form.__name__
        source.mkdir()
        form(source, count)
        prepared(source, folder / f"{form.__name__}-out", settings)
        found = contents(folder / f"{form.__name__}-out")
        reference = reference or found
        assert found == reference, form.__name__
    return Corpus(folder / "as_folder-out")


@pytest.mark.parametrize("settings", [Settings(test_fraction=0.1), Settings(size=32)])
def test_all_forms_of_the_same_pictures_give_the_same_corpus(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(part, "PART", 7)
    corpus = all_forms_agree(tmp_path, 24, settings)
    test = Corpus(tmp_path / "as_folder-out", Split.TEST)
    assert 1 <= len(test) <= 6 and len(corpus) + len(test) == 24
    expected = {key: (data, caption) for key, _, data, caption in samples(24)}
    for record in (*corpus, *test):
        data, caption = expected[record.key]
        assert record.captions == (caption,)
        assert (record.image == data) == (not settings.size)
        width, height = Image.open(io.BytesIO(record.image)).size
        assert (record.width, record.height) == (width, height)
        if settings.size:
            assert min(width, height) == 32


@pytest.mark.slow
def test_all_forms_of_500_pictures_give_the_same_corpus(tmp_path):
    assert len(all_forms_agree(tmp_path, 500, PLAIN)) == 500


def test_workers_and_shards_change_nothing_but_the_cut(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    as_folder(tmp_path / "in", 20)
    alone = prepared(tmp_path / "in", tmp_path / "alone")
    many = prepared(tmp_path / "in", tmp_path / "many", workers=2)
    assert alone.digest == many.digest and alone.splits == many.splits
    cut = prepared(tmp_path / "in", tmp_path / "cut", Settings(test_fraction=0.0, shard_bytes=9000))
    assert len(cut.splits["train"]) > 3
    assert list(Corpus(tmp_path / "cut")) == list(Corpus(tmp_path / "alone"))


def test_rejects_are_counted_by_reason(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name, data, caption in (
        ("a.png", picture(1), "good"),
        ("b.png", picture(1), "good"),
        ("c.png", picture(1, (96, 80)), "good"),
        ("d.jpg", b"", "good"),
        ("e.jpg", b"%PDF", "good"),
        ("f.png", picture(2)[:-40], "good"),
        ("g.png", picture(3, (40, 20)), "good"),
        ("h.png", picture(4, (200, 40)), "good"),
        ("i.png", picture(5), ""),
        ("j.png", picture(6), "long " * 500),
        ("k.png", picture(7, (400, 300)), "good"),
    ):
        (source / name).write_bytes(data)
        (source / name).with_suffix(".txt").write_text(caption)
    settings = Settings(test_fraction=0.0, max_pixels=100_000, license="CC0-1.0")
    manifest = prepared(source, tmp_path / "out", settings)
    assert manifest.rejects == {
        reason.value: 1
        for reason in (
            Reason.NEAR_DUPLICATE,
            Reason.EMPTY,
            Reason.FORMAT,
            Reason.DAMAGED,
            Reason.SMALL,
            Reason.ASPECT,
            Reason.NO_CAPTION,
            Reason.LONG_CAPTION,
            Reason.PIXELS,
        )
    }
    assert [record.key for record in Corpus(tmp_path / "out")] == ["a"]
    assert manifest.licenses == {"CC0-1.0": 1} and manifest.joined == 1
    lines = (tmp_path / "out" / ingest.REJECTS).read_text().splitlines()
    assert {json.loads(line)["key"] for line in lines} == set("cdefghijk")
    kept = Settings(near_duplicates=-1, min_caption=0, test_fraction=0.0)
    keys = {
        record.key for record in (prepared(source, tmp_path / "2", kept), Corpus(tmp_path / "2"))[1]
    }
    assert keys == {"a", "c", "i", "k"}


def test_tables_say_what_is_missing(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(0))
    rows = [
        {"image": "a.png", "captions": ["one", "two  words", ""], "license": "MIT", "other": 3},
        {"image": "nowhere.png", "text": "x"},
        {"text": "no picture"},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    manifest = prepared(tmp_path / "t.jsonl", tmp_path / "out")
    (record,) = Corpus(tmp_path / "out")
    assert record.captions == ("one", "two words") and record.attributes == {"license": "MIT"}
    assert manifest.rejects == {"no such file": 2}


def test_a_tar_that_ends_early_gives_what_it_has(tmp_path):
    (tmp_path / "in").mkdir()
    as_tars(tmp_path / "in", 10)
    data = (tmp_path / "in" / "00000.tar").read_bytes()
    (tmp_path / "in" / "00001.tar").unlink()
    (tmp_path / "in" / "00000.tar").write_bytes(data[: len(data) // 2])
    manifest = prepared(tmp_path / "in", tmp_path / "out")
    every = {key: (data, caption) for key, _, data, caption in samples(10)}
    kept = list(Corpus(tmp_path / "out"))
    assert 1 <= len(kept) < 5 and sum(manifest.rejects.values()) <= 2
    for record in kept:
        assert (record.image, record.captions[0]) == every[record.key]


def test_what_is_already_there_is_kept(tmp_path):
    (tmp_path / "in").mkdir()
    as_folder(tmp_path / "in", 5)
    prepared(tmp_path / "in", tmp_path / "out")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    prepared(tmp_path / "in", tmp_path / "out")
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match="holds another corpus"):
        ingest.plan(tmp_path / "in", tmp_path / "out", Settings(size=32))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises(ValueError, match="not an empty folder"):
        ingest.plan(tmp_path / "in", tmp_path / "other", PLAIN)


class Killed(BaseException):
    pass


def test_a_run_killed_at_any_file_goes_on_to_the_same_result(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    as_folder(tmp_path / "in", 12)
    (tmp_path / "in" / "00003.jpg").write_bytes(b"")
    monkeypatch.setattr(part, "PART", 5)
    settings = Settings(test_fraction=0.2, shard_bytes=30_000)
    prepared(tmp_path / "in", tmp_path / "whole", settings)
    replace, left = pathlib.Path.replace, 0

    def dying(self, target):
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return replace(self, target)

    for number in range(40):
        left = number
        output = tmp_path / f"killed-{number}"
        with monkeypatch.context() as patch:
            patch.setattr(pathlib.Path, "replace", dying)
            try:
                prepared(tmp_path / "in", output, settings)
            except Killed:
                assert not (output / records.MANIFEST).exists()
            else:
                break
        prepared(tmp_path / "in", output, settings)
        assert contents(output) == contents(tmp_path / "whole")
        (output / "manifest.json").unlink()
    assert number > 8


@pytest.mark.slow
def test_kill_9_and_again(tmp_path):
    (tmp_path / "in").mkdir()
    as_folder(tmp_path / "in", 3000)
    command = [
        sys.executable,
        "-m",
        "omnigen.data.prepare",
        "--input",
        str(tmp_path / "in"),
    ]
    subprocess.run([*command, "--output", str(tmp_path / "whole")], check=True)
    killed = 0
    for delay in (1.0, 1.5, 2.0, 2.5):
        process = subprocess.Popen([*command, "--output", str(tmp_path / "out")])
        time.sleep(delay)
        killed += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert killed >= 2
    subprocess.run([*command, "--output", str(tmp_path / "out")], check=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_the_command(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    as_folder(tmp_path / "in", 6)
    (tmp_path / "in" / "00001.jpg").write_bytes(b"nothing")
    arguments = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    prepare.main([*arguments, "--workers=0", "--test_fraction=0"])
    assert "train: 5 pictures" in capsys.readouterr().out
    assert Manifest.read(tmp_path / "out").rejects == {"format not allowed": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "x"], "--input and --output are required"),
        (["--input", "nowhere", "--output", "x"], "'nowhere': no such file or folder"),
        (["--input", ".", "--output", "x"], "holds nothing to read; allowed"),
        (["--input", ".", "--output", "x", "--max_aspect=0"], "max_aspect is 0.0; allowed: 1 to"),
        (["--input", ".", "--output", "x", "--sise=4"], "did you mean --size?"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as raised:
        prepare.main(arguments)
    error = capsys.readouterr().err
    assert raised.value.code == 2 and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
