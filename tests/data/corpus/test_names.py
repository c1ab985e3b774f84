# SPDX-License-Identifier: Apache-2.0
"""What names say: which text belongs to which picture, and what is for the test."""

import json
import tarfile

import pytest
from inputs import picture, prepared, put, write_tar

from omnigen.data.corpus import names, records
from omnigen.data.corpus.records import Corpus
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import ingest, inputs
from omnigen.data.prepare.ingest import Settings
from omnigen.data.stream import tars

PLAIN = Settings(test_fraction=0.0, near_duplicates=-1)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.jpg", "a.txt"], {"a.jpg": "a.txt"}),
        (["a.JPG", "a.TXT"], {"a.JPG": "a.TXT"}),
        (["a.jpg", "a.caption"], {"a.jpg": "a.caption"}),
        (["a.jpg", "a.jpg.txt"], {"a.jpg": "a.jpg.txt"}),
        (["a.jpg", "a.caption", "a.txt"], {"a.jpg": "a.txt"}),
        (["a.input.jpg", "a.outputs.txt"], {"a.input.jpg": "a.outputs.txt"}),
        (["a.jpg", "a.seg.png", "a.txt"], {"a.jpg": "a.txt", "a.seg.png": None}),
        (["a.jpg", "a.seg.png"], {"a.jpg": "", "a.seg.png": None}),
        (["a.left.jpg", "a.right.jpg"], {"a.left.jpg": "", "a.right.jpg": ""}),
        (["a.jpg", "a.b.jpg", "a.txt", "a.b.txt"], {"a.jpg": "a.txt", "a.b.jpg": "a.b.txt"}),
        (["a.avif", "a.jpg", "a.txt"], {"a.jpg": "a.txt", "a.avif": None}),
        (["a.jpg", "a.png", "a.png.txt"], {"a.jpg": "", "a.png": "a.png.txt"}),
        (["a.jpg", "a.en.txt", "a.de.txt"], {"a.jpg": ""}),
        (["a.txt"], {}),
    ],
)
def test_texts_of_pictures(files, expected):
    for order in (files, files[::-1]):
        found = {s.picture: None if s.is_second else s.text for s in names.choose(order)}
        assert found == expected


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a/b.c.jpg", "a/b"),
        ("a.b/c.jpg", "a.b/c"),
        ("./a/b.jpg", "a/b"),
        ("shot 1.5.jpg", "shot 1.5"),
        ("2024.05.01-a.jpg", "2024.05.01-a"),
        ("Mr. Smith.jpg", "Mr. Smith"),
        ("v1.0.seg.png", "v1.0"),
        ("../a.jpg", "../a"),
        ("._a.jpg", None),
        (".hidden/a.jpg", None),
        ("a/.ipynb_checkpoints/b.jpg", None),
        ("README", None),
    ],
)
def test_keys_of_samples(name, key):
    parsed = names.parse(name)
    assert (parsed and parsed.key) == key


@pytest.mark.parametrize(
    ("text", "split"),
    [
        *dict.fromkeys(
            ("test", "TEST", "Validation", "val2017", "dev", "test_images"), "test"
        ).items(),
        *dict.fromkeys(("train", "training set", "train2017"), "train").items(),
        *dict.fromkeys(
            ("latest", "contest", "value", "train station", "crash test", ""), ""
        ).items(),
        ("train_test", ""),
    ],
)
def test_folders_and_columns_that_name_a_split(text, split):
    assert names.split_named(text) == split


@pytest.mark.parametrize(
    ("name", "is_test"),
    [
        ("test-00000-of-00001.parquet", True),
        ("cc3m-val-0001.tar", True),
        ("test/a.tar", True),
        ("train/test/a.tar", False),
        ("train-00000.tar", False),
        ("latest.tar", False),
        ("contest/a.tar", False),
        ("train_and_test.tar", False),
    ],
)
def test_files_of_many_pictures_that_name_a_split(name, is_test):
    assert bool(names.test_of_file(name)) == is_test


def splits(source, settings=PLAIN):
    output = source.parent / f"out-{len(list(source.parent.iterdir()))}"
    ingest.run(ingest.plan(source, output, settings))
    return {record.key: split.value for split in Split for record in Corpus(output, split)}


def test_a_folder_and_its_tar_are_one_corpus(pets):
    """Also what is held out, by `prepare` and by training on the tar as it is."""
    for n, name in enumerate(("train/1.5", "train/2", "val/2", "test.x", "latest/3", "b. c")):
        put(pets, f"{name}.png", f"number {n}", seed=n)
    (pets / "train/2.seg.png").write_bytes(picture(9))
    (pets / "train/4.tif").write_bytes(b"II*\0" + bytes(20))
    (pets / "._1.png").write_bytes(b"junk")
    (pets / ".trash").mkdir()
    put(pets, ".trash/5.png", "gone")
    path = pets.parent / "a.tar"
    with tarfile.open(path, "w") as tar:
        for file in sorted(pets.rglob("*")):
            tar.add(file, file.relative_to(pets), recursive=False)
    expected = dict.fromkeys(("train/1.5", "train/2", "test.x", "latest/3", "b. c"), "train")
    assert splits(pets) == splits(path) == {**expected, "val/2": "test"}
    assert prepared(pets) == prepared(path)
    assert prepared(path)[1] == {
        "train/2.seg": "duplicate",
        "train/4": "format not allowed",
    }
    assert {record.key for record in tars.TarCorpus(path)} == {*expected}
    assert [record.key for record in tars.TarCorpus(path, Split.TEST)] == ["val/2"]


def test_names_of_tars_hold_out_all_that_is_in_them(tmp_path, caplog):
    folder = tmp_path / "in"
    for name, numbers in (("train-0", range(4)), ("val_0", range(4, 7)), ("test-0", (7,))):
        folder.mkdir(exist_ok=True)
        files = [(f"{n}.{kind}", data) for n in numbers for kind, data in both(n)]
        write_tar(folder / f"{name}.tar", [*files, ("lost.txt", b"no picture")])
    expected = {f"{n}": "train" if n < 4 else "test" for n in range(8)}
    assert splits(folder) == expected
    for split in Split:
        corpus = tars.TarCorpus(folder, split)
        assert {r.key for r in corpus} == {k for k, v in expected.items() if v == split}
        assert corpus.held_out == 4
    assert "3 samples without a picture" in caplog.text
    (folder / "broken.tar").write_bytes(b"x" * 3000)
    assert len(tars.TarCorpus(folder)) == 4
    assert "1 tar that cannot be read" in caplog.text


def both(number):
    return ("png", picture(number)), ("txt", f"number {number}".encode())


def test_tables_heed_columns_and_folders_and_name_keys_from_the_root(pets):
    for seed, name in enumerate(("train/0", "test/0", "more/1", "more/2")):
        put(pets, f"{name}.png", seed=seed)
    (pets / "train/t.jsonl").write_text('{"file_name": "0.png", "text": "x"}')
    (pets / "test/t.jsonl").write_text('{"file_name": "0.png", "text": "x"}')
    rows = [{"file_name": f"{n}.png", "text": "x", "split": s} for n, s in ((1, "val"), (2, "all"))]
    (pets / "more/t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    expected = {"train/0": "train", "test/0": "test", "more/1": "test", "more/2": "train"}
    assert splits(pets) == expected


def test_the_name_of_the_input_itself_says_nothing(pets):
    path = pets / "test.jsonl"
    put(pets, "a.png", seed=1)
    path.write_text('{"file_name": "a.png", "text": "x"}')
    assert splits(path) == {"a": "train"}


def test_long_keys_cost_their_own_sample_alone(tmp_path):
    key = "x" * 20_000
    path = tmp_path / "a.tar"
    write_tar(path, [(f"{key}.png", picture(0)), *((f"{n}.png", picture(n)) for n in range(1, 9))])
    corpora = [tars.TarCorpus(path, split) for split in Split]
    found = {record.key for corpus in corpora for record in corpus}
    assert {f"{n}" for n in range(1, 9)} < found and max(map(len, found)) < 300
    assert corpora[0]._indices[0].itemsize < 400
    assert records.rank(key) == max(
        row["rank"] for row in corpora[0]._indices[0] if len(row["key"]) > 9
    )


def test_what_is_passed_over_is_counted_in_one_line(pets, caplog):
    for n in range(4):
        put(pets, f"{n}.png", "x", seed=n)
    (pets / "README.md").write_text("x")
    (pets / "lost.txt").write_text("x")
    inputs.find(pets)
    assert len(caplog.records) == 1
    assert "1 file other than pictures: 'README.md'" in caplog.text
    assert "1 text of no picture: 'lost.txt'" in caplog.text
    caplog.clear()
    put(pets.parent, "outside.png", seed=9)
    rows = [{"file_name": name, "text": "x"} for name in ("0.png", "../outside.png")]
    (pets / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    parts = inputs.find(pets)
    assert len(caplog.records) == 1 and sum(map(len, parts)) == 2
    assert "3 pictures that no table names, such as '1.png'" in caplog.text
    assert "1 row with pictures outside of the input" in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "image, caption\n0.png, one\n"),
        ("t.csv", "FILE_NAME,TEXT\n0.png,one\n"),
        ("t.json", '[{"file_name": "0.png", "caption": "one"}]'),
        ("t.jsonl", '{"file_name": "0.png", "sentences": ["one"]}'),
    ],
)
def test_tables_as_people_write_them(pets, name, text):
    put(pets, "0.png", seed=0)
    (pets / name).write_text(text)
    assert prepared(pets) == ({"0": ("one",)}, {})


def test_no_caption_names_what_was_found(pets):
    put(pets, "0.png", seed=0)
    (pets / "t.jsonl").write_text('{"file_name": "0.png", "untertitel": "eins"}')
    with pytest.raises(ingest.NothingKept, match="columns: file_name, untertitel; captions are"):
        prepared(pets)


def test_parquet_as_people_write_it(pets):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    put(pets, "0.png", seed=0)
    put(pets, "1.png", seed=1)
    (pets / "2").mkdir()
    rows = [
        {"image": {"bytes": None, "path": "0.png"}, "text": b"one", "jpg": None},
        {"image": {"bytes": picture(2), "path": None}, "text": b"two", "jpg": None},
        {"image": None, "text": b"three", "jpg": picture(3)},
    ]
    table = pyarrow.Table.from_pylist(rows)
    path = pets / "x.parquet"
    parquet.write_table(table, path)
    assert prepared(path)[0] == {"0": ("one",), "x/1": ("two",), "x/2": ("three",)}
    classes = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    said = {b"huggingface": json.dumps({"info": {"features": classes}}).encode()}
    labels = pyarrow.table({"image": [picture(4), picture(5)], "label": [1, 0]})
    parquet.write_table(labels.replace_schema_metadata(said), path)
    assert prepared(path)[0] == {"x/0": ("dog",), "x/1": ("cat",)}
