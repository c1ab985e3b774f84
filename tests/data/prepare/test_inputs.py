# SPDX-License-Identifier: Apache-2.0
"""Inputs as people really have them: odd, mixed, damaged. Nothing is lost without a word."""

import errno
import io
import json
import os
import pathlib

import pytest
from inputs import PLAIN, members, picture, prepared, put, write_tar
from PIL import Image

from omnigen import files
from omnigen.data import inspect
from omnigen.data.corpus import records
from omnigen.data.corpus.records import Corpus, Manifest
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import __main__ as prepare
from omnigen.data.prepare import ingest, inputs
from omnigen.data.prepare.ingest import Settings


def test_what_changes_beside_a_picture_changes_the_plan(pets):
    put(pets, "a.png", "old", seed=1)
    before = ingest.plan(pets, pets.parent / "out", PLAIN).plan
    (pets / "a.txt").write_text("newer")
    assert ingest.plan(pets, pets.parent / "out", PLAIN).plan != before
    table = pets / "t.jsonl"
    table.write_text('{"file_name": "a.png", "text": "x"}')
    before = ingest.plan(table, pets.parent / "out", PLAIN).plan
    (pets / "a.png").write_bytes(picture(2, (50, 50)))
    assert ingest.plan(table, pets.parent / "out", PLAIN).plan != before


def test_an_output_in_the_input_is_refused(pets):
    put(pets, "a.png", "a")
    with pytest.raises(ValueError, match="corpus' lies in the input; name a folder outside"):
        ingest.plan(pets, pets / "corpus", PLAIN)
    assert sorted(path.name for path in pets.iterdir()) == ["a.png", "a.txt"]


def test_several_forms_at_once_are_refused_by_their_counts(pets):
    put(pets, "a.png", "a")
    put(pets, "b.png", "b")
    write_tar(pets / "backup.tar", members(1))
    with pytest.raises(ValueError, match="holds 1 tar, 2 pictures; name the folder or file"):
        inputs.find(pets)


def test_a_table_that_names_no_pictures_is_refused_by_its_columns(pets):
    put(pets, "a.png", "a")
    (pets / "stats.csv").write_text("name,views\na,3\n")
    with pytest.raises(ValueError, match=r"stats\.csv' names no pictures.* name, views; allowed"):
        inputs.find(pets)


@pytest.mark.parametrize("form", ["tars", "folders"])
def test_metadata_of_img2dataset_is_no_input(pets, form):
    if form == "tars":
        write_tar(pets / "00000.tar", members(1))
    else:
        put(pets, "00000/1.png", "number 1")
    (pets / "00000.parquet").write_bytes(b"PAR1 of addresses")
    (pets / "00000_stats.json").write_text("{}")
    found, rejects = prepared(pets)
    assert list(found.values()) == [("number 1",)] and not rejects


def test_attributes_may_name_the_split(pets):
    splits = ["train", "test", "validation", "holidays", None]
    rows = []
    for n, split in enumerate(splits):
        put(pets, f"{n}.png", seed=n)
        rows.append({"file_name": f"{n}.png", "text": "x", "attributes": {"split": split}})
    (pets / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ingest.run(ingest.plan(pets, pets.parent / "out", PLAIN))
    keys = {split: {r.key for r in Corpus(pets.parent / "out", split)} for split in Split}
    assert keys == {Split.TRAIN: {"0", "3", "4"}, Split.TEST: {"1", "2"}}


def test_what_was_held_out_stays_held_out(pets):
    for n in range(40):
        put(pets, f"{n}.png", "x", seed=n)
    first, second = pets.parent / "first", pets.parent / "second"
    ingest.run(ingest.plan(pets, first, Settings(test_fraction=0.3)))
    ingest.run(ingest.plan(first, second, Settings()))
    keys = [{r.key for r in Corpus(folder, Split.TEST)} for folder in (first, second)]
    assert keys[0] <= keys[1] and len(keys[0]) > 5
    assert "split" not in next(iter(Corpus(second, Split.TEST))).attributes


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "file_name,text\na.png,a cat, on a mat\n", "line 2: more fields than the header"),
        ("t.tsv", 'file_name\ttext\na.png\t"open\nb.png\tx\n', "line 2: unexpected end of data"),
        ("t.csv", f"file_name,text\na.png,{'x' * 200_000}\n", "line 2: field larger than"),
        ("t.csv", "file_name,text\na.png,caf\xe9\n".encode("latin-1"), "allowed: UTF-8"),
        ("t.csv", "file_name;text\na.png;x\n", "its columns are file_name;text; allowed"),
        ("t.jsonl", "[" * 200_000, "line 1: maximum recursion"),
        ("t.jsonl", '{"file_name": "a.png"}\n7\n', "line 2: not an object"),
    ],
)
def test_mistakes_in_tables_are_told_by_file_and_line(pets, name, text, message):
    put(pets, "a.png")
    (pets / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        inputs.find(pets / name)
    assert str(pets / name) in str(caught.value)


def test_captions_are_texts(pets):
    rows = {
        "0": ({"captions": ["a", None]}, ("a",)),
        "1": ({"captions": [], "caption": "x"}, ("x",)),
        "2": ({"captions": [{"raw": "a"}], "label": "y"}, ("y",)),
        "3": ({"text": "a\n b", "license": "MIT", "attributes": {"license": None}}, ("a b",)),
        "4": ({"caption": 3}, None),
    }
    lines = []
    for name, (row, _) in rows.items():
        put(pets, f"{name}.png", seed=int(name))
        lines.append(json.dumps({"file_name": f"{name}.png", **row}))
    (pets / "t.jsonl").write_text("\n".join(lines))
    found, rejects = prepared(pets)
    assert found == {key: captions for key, (_, captions) in rows.items() if captions}
    assert rejects == {"4": "no caption"}
    (raw,) = [raw for part in inputs.find(pets) for raw in part.read() if raw.key == "3"]
    assert raw.attributes == {"license": "MIT"}


def test_a_text_goes_before_json_in_folders_and_tars(pets):
    described = json.dumps({"captions": ["json"], "license": "MIT"}).encode()
    put(pets, "a.png", "text")
    (pets / "a.json").write_bytes(described)
    write_tar(
        pets.parent / "a.tar",
        [("a.png", picture(1)), ("a.txt", b"text"), ("a.json", described)],
    )
    for source in (pets, pets.parent / "a.tar"):
        (raw,) = [raw for part in inputs.find(source) for raw in part.read()]
        assert (raw.captions, raw.attributes) == (("text",), {"license": "MIT"})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("\ufeffa dog".encode(), "a dog"),
        ("a dög".encode("utf-16"), "a dög"),
        ("café".encode("latin-1"), None),
    ],
)
def test_encodings_of_captions(pets, data, expected):
    put(pets, "a.png")
    put(pets, "other.png", "other")
    (pets / "a.txt").write_bytes(data)
    found, rejects = prepared(pets)
    assert found.get("a") == (expected and (expected,))
    assert rejects == ({} if expected else {"a": "unreadable text"})


@pytest.mark.parametrize("text", ["{broken", "[" * 200_000])
def test_broken_json_is_a_reject(pets, text):
    write_tar(
        pets / "a.tar",
        [("1.png", picture(1)), ("1.json", text.encode()), *members(2)],
    )
    assert prepared(pets) == ({"2": ("number 2",)}, {"1": "unreadable text"})


def test_a_truncated_shard_gives_what_it_has_without_its_manifest(pets):
    for n in range(40):
        put(pets, f"{n:02d}.png", "x", seed=n)
    corpus = pets.parent / "corpus"
    ingest.run(ingest.plan(pets, corpus, PLAIN))
    (corpus / records.MANIFEST).unlink()
    (shard,) = corpus.glob("*.arrayrecord")
    data = shard.read_bytes()
    shard.write_bytes(data[:50_000])
    found, _ = prepared(shard)
    assert 10 <= len(found) < 40 and {*found} == {f"{n:02d}" for n in range(len(found))}
    shard.write_bytes(data[:100])
    with pytest.raises(ValueError, match="holds no record that can be read"):
        inputs.find(shard)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.tar"])
def test_no_pictures_at_all(pets, name):
    text = {"t.csv": "file_name,text\n", "t.jsonl": "\n\n"}.get(name)
    if text:
        (pets / name).write_text(text)
    else:
        write_tar(pets / name, [])
    with pytest.raises(ValueError, match="holds no pictures"):
        ingest.plan(pets, pets.parent / "out", PLAIN)
    assert not (pets.parent / "out").exists()


def test_if_nothing_passes_nothing_is_left_behind(pets, capsys):
    put(pets, "a.png")
    (pets / "b.jpg").write_bytes(b"%PDF")
    (pets / "b.txt").write_text("b")
    output = pets.parent / "out"
    with pytest.raises(SystemExit) as raised:
        prepare.main(["--input", str(pets), "--output", str(output), "--workers=0"])
    assert raised.value.code == 2 and not output.exists()
    last = capsys.readouterr().err.splitlines()[-1]
    output.mkdir()
    (pets.parent / "link").symlink_to(output)
    with pytest.raises(ingest.NothingKept):
        ingest.run(ingest.plan(pets, pets.parent / "link", PLAIN))
    assert not list(output.iterdir())
    assert "no picture passes: 1 x no caption, 1 x format not allowed; such as 'a'" in last


def test_odd_entries_are_rejects(pets):
    put(pets, "good.png", "good")
    (pets / "gone.png").symlink_to("nowhere.png")
    (pets / "y.tar").mkdir()
    assert prepared(pets) == ({"good": ("good",)}, {"gone": "no such file"})
    names = ["a\0b.png", ".", "/", "good.png"]
    rows = [json.dumps({"file_name": name, "text": "x"}) for name in names]
    (pets / "t.jsonl").write_text("\n".join(rows))
    found, rejects = prepared(pets / "t.jsonl")
    assert {*found} == {"good"} and set(rejects.values()) == {"no such file"} and len(rejects) == 3


def test_names_in_capitals_and_linked_folders(pets):
    put(pets, "UP.PNG", seed=1)
    (pets / "UP.TXT").write_text("up")
    put(pets.parent / "elsewhere", "more.png", "more", seed=2)
    (pets / "linked").symlink_to(pets.parent / "elsewhere")
    (pets / "linked" / "round").symlink_to(pets)
    assert prepared(pets) == ({"UP": ("up",), "linked/more": ("more",)}, {})
    assert prepared(pets / "UP.PNG") == ({"UP": ("up",)}, {})


def test_a_shard_that_is_gone_is_counted(pets):
    for n in range(3):
        put(pets, f"{n}.png", "x", seed=n)
    corpus = pets.parent / "corpus"
    ingest.run(ingest.plan(pets, corpus, Settings(shard_bytes=1, test_fraction=0.0)))
    (corpus / "train-00001.arrayrecord").unlink()
    found, rejects = prepared(corpus)
    assert {*found} == {"0", "2"} and rejects == {"train-00001/0": "damaged record"}


def test_parquet_of_the_hub(pets):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {
            "file_name": f"{n}.png",
            "image": {"bytes": picture(n), "path": f"in/{n}.png"},
            "caption": f"number {n}",
        }
        for n in range(3)
    ]
    path = pets / "train.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, compression="none")
    assert prepared(pets) == ({f"in/{n}": (f"number {n}",) for n in range(3)}, {})
    data = bytearray(path.read_bytes())
    data[4:200] = b"\xff" * 196  # the first page's header
    path.write_bytes(data)
    with pytest.raises(ingest.NothingKept, match="3 x damaged picture; such as 'train/0'"):
        prepared(pets)
    parquet.write_table(pyarrow.table({"url": ["x"], "text": ["y"]}), path)
    with pytest.raises(ValueError, match="has no pictures: its columns are url, text; allowed"):
        inputs.find(pets)


def test_parquet_is_read_whatever_lies_beside_it(pets):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"image": {"bytes": picture(n), "path": f"{n}.png"}, "text": "x"} for n in range(3)]
    when = pyarrow.array([1, 2, 3], pyarrow.timestamp("ns"))  # which Python cannot hold
    table = pyarrow.Table.from_pylist(rows).append_column("when", when)
    parquet.write_table(table, pets / "train.parquet")
    (pets / "train").mkdir()
    assert {*prepared(pets)[0]} == {"0", "1", "2"}
    path = pets / "train.parquet"
    settings = Settings(test_fraction=0.0)
    for _ in range(2):  # the output lies beside it, under the same name
        ingest.run(ingest.plan(path, pets / "train", settings))
    assert len(Corpus(pets / "train")) == 3
    bad = pyarrow.array([b"x", b"\xff", b"z"]).cast(pyarrow.string(), safe=False)
    table = table.drop(["text"]).append_column("text", bad)
    parquet.write_table(table, pets.parent / "bad.parquet")
    found, rejects = prepared(pets.parent / "bad.parquet")
    assert {*found} == {"0", "2"} and rejects == {"bad/1": "damaged picture"}


def test_contact_sheets_are_no_input(pets):
    write_tar(pets / "a.tar", members(*range(3)))
    inspect.main([str(pets), f"--output={pets}"])
    assert (pets / "contact-train.png").exists()
    assert {*prepared(pets)[0]} == {"0", "1", "2"}


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_ways_to_a_folder_the_first_by_name_is_taken(pets, monkeypatch, order):
    put(pets, "mm/x.png", "x", seed=1)
    (pets / "aa").symlink_to(pets / "mm")
    scan = os.scandir

    class Sorted:
        def __init__(self, folder):
            self.found = sorted(scan(folder), key=lambda one: one.name)[::order]

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731
        __iter__ = lambda self: iter(self.found)  # noqa: E731

        def __next__(self):
            if not self.found:
                raise StopIteration
            return self.found.pop(0)

    monkeypatch.setattr(os, "scandir", Sorted)
    assert [file.relative_to(pets).as_posix() for file in files.walk(pets)] == [
        "aa/x.png",
        "aa/x.txt",
    ]


def test_a_folder_that_cannot_be_read_is_told(pets, monkeypatch):
    put(pets, "good/a.png", "a")
    put(pets, "locked/b.png", "b")
    scan = os.scandir

    def refuse(folder):
        if str(folder).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match="Permission denied.*locked"):
        inputs.find(pets)


def test_a_foreign_manifest_is_just_a_file(pets):
    put(pets, "a.png", "a")
    (pets / "manifest.json").write_text('{"name": "web app"}')
    assert prepared(pets) == ({"a": ("a",)}, {})
    (pets / "manifest.json").write_text('{"format": 1, "splits": [], "digest": ""}')
    with pytest.raises(ValueError, match="is no prepared corpus"):
        inputs.find(pets)


def test_names_that_are_no_unicode(tmp_path, capsys):
    pets = tmp_path / os.fsdecode(b"caf\xe9")
    pets.mkdir()
    put(pets, "a.png", "a")
    output = tmp_path / "out"
    ingest.run(ingest.plan(pets, output, PLAIN))
    assert len(Corpus(output)) == 1
    (pets / "t.jsonl").write_text('{"file_name": "a.png", "text": "cut \\ud83d"}')
    ingest.run(ingest.plan(pets, tmp_path / "two", PLAIN))
    inspect.main([str(tmp_path / "two")])
    assert "caption, bytes: 7" in capsys.readouterr().out


def test_settings_that_no_format_can_hold():
    with pytest.raises(
        ValueError, match="size times max_aspect is 64000 pixels; allowed: up to 16383"
    ):
        Settings(size=64, max_aspect=1000)
    with pytest.raises(ValueError, match="min_caption is 10; allowed: up to 5"):
        Settings(min_caption=10, max_caption=5)


def test_what_training_would_refuse_is_left_out(pets):
    put(pets, "a.png", "a")
    big = io.BytesIO()
    Image.new("RGB", (6000, 6000), "red").save(big, "PNG")
    (pets / "big.png").write_bytes(big.getvalue())
    (pets / "big.txt").write_text("big")
    huge = 1 << 27
    assert prepared(pets, Settings(max_pixels=huge, test_fraction=0.0))[1] == {
        "big": "too many pixels"
    }
    found, rejects = prepared(pets, Settings(max_pixels=huge, size=64, test_fraction=0.0))
    assert {*found} == {"a", "big"} and not rejects


def test_other_pictures_at_the_same_place(pets):
    """One process prepares, reads, removes and prepares again, as notebooks do."""
    output = pets.parent / "out"
    for seed in (1, 2):
        put(pets, "a.png", "a", seed=seed)
        ingest.run(ingest.plan(pets, output, PLAIN))
        assert Corpus(output)[0].image == picture(seed)
        for path in output.iterdir():
            path.unlink()
        output.rmdir()


def test_a_full_disk_is_one_line_and_leaves_nothing_large(pets, monkeypatch, capsys):
    for n in range(3):
        put(pets, f"{n}.png", "x", seed=n)
    output = pets.parent / "out"
    arguments = ["--input", str(pets), "--output", str(output), "--workers=0", "--test_fraction=0"]
    describe = records.describe_shard

    def full(path, count):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(records, "describe_shard", full)
    with pytest.raises(SystemExit):
        prepare.main(arguments)
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in output.rglob("*") if path.is_file()] == ["plan"]
    monkeypatch.setattr(records, "describe_shard", describe)
    prepare.main(arguments)
    assert Manifest.read(output).count("train") == 3


def test_an_output_below_a_file_is_one_line(pets, capsys):
    put(pets, "a.png", "a")
    (pets.parent / "file").write_text("")
    with pytest.raises(SystemExit) as raised:
        prepare.main(["--input", str(pets), "--output", str(pets.parent / "file" / "out")])
    assert raised.value.code == 2
    assert "Not a directory" in capsys.readouterr().err.splitlines()[-1]


def test_keys_do_not_depend_on_how_the_input_is_named(pets, monkeypatch):
    put(pets, "a.png", "a")
    monkeypatch.chdir(pets.parent)
    plans = [
        ingest.plan(pathlib.Path(name), pathlib.Path("out"), PLAIN).plan
        for name in ("pets", "./pets", str(pets))
    ]
    assert len(set(plans)) == 1
