# SPDX-License-Identifier: Apache-2.0
"""Pictures that come several times: their captions join, nothing leaks from test to train."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from inputs import PLAIN, picture, put, write_tar
from PIL import Image

from omnigen.data.corpus import pictures
from omnigen.data.corpus.records import Corpus, Manifest, Record
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import __main__ as prepare
from omnigen.data.prepare import facts, ingest, processes
from omnigen.data.prepare.ingest import Settings
from omnigen.data.prepare.texts import Texts

ROWS = [(k, f"caption {n} of picture {k}") for k in range(4) for n in range(3)]


def as_rows(folder):
    with (folder / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        rows.writerows((f"{k}.png", caption) for k, caption in ROWS)
    for k in range(4):
        (folder / f"{k}.png").write_bytes(picture(k))


def as_scattered_rows(folder):
    """All first captions, then all second ones."""
    rows = sorted(ROWS, key=lambda row: row[1].split()[1])
    lines = (json.dumps({"file_name": f"{k}.png", "text": text}) for k, text in rows)
    (folder / "t.jsonl").write_text("\n".join(lines))
    for k in range(4):
        (folder / f"{k}.png").write_bytes(picture(k))


def as_files(folder):
    for n, (k, caption) in enumerate(ROWS):
        put(folder, f"{n:02d}.png", caption, seed=k)


def as_tars(folder):
    for n in range(3):
        chosen = ROWS[n::3]
        write_tar(
            folder / f"{n}.tar",
            [
                member
                for k, caption in chosen
                for member in ((f"{n}{k}.png", picture(k)), (f"{n}{k}.txt", caption.encode()))
            ],
        )


def as_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"image": {"bytes": picture(k), "path": f"{k}.png"}, "text": t} for k, t in ROWS]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "x.parquet", row_group_size=5)


FORMS = [as_rows, as_scattered_rows, as_files, as_tars, as_parquet]


def made(source, output, settings=PLAIN, workers=0):
    """The manifest, and what is kept: of each split, captions and attributes by picture."""
    ingest.run(ingest.plan(source, output, settings), workers)
    kept = {split: list(Corpus(output, split)) for split in Split}
    return Manifest.read(output), kept


def number_of(record):
    return next(k for k in range(200) if picture(k) == record.image)


def beside_each(folder, rows):
    """A table of files that are equal."""
    for n, row in enumerate(rows):
        (folder / f"{n:03d}.png").write_bytes(picture(0))
        row["file_name"] = f"{n:03d}.png"
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))


def rejects_of(output):
    return [json.loads(line) for line in (output / ingest.REJECTS).read_text().splitlines()]


@pytest.mark.parametrize("part", [1, 5, 512])
@pytest.mark.parametrize("form", FORMS)
def test_captions_of_equal_pictures_join_in_every_form(tmp_path, monkeypatch, form, part):
    monkeypatch.setattr("omnigen.data.prepare.inputs.part.PART", part)
    (tmp_path / "in").mkdir()
    form(tmp_path / "in")
    manifest, kept = made(tmp_path / "in", tmp_path / "out")
    assert {number_of(record): record.captions for record in kept[Split.TRAIN]} == {
        k: tuple(caption for row, caption in ROWS if row == k) for k in range(4)
    }
    # Rows that name one file are one picture to begin with; equal files become one.
    assert manifest.joined == 8 if form in (as_files, as_tars) else manifest.joined <= 8
    assert not manifest.rejects and not rejects_of(tmp_path / "out")
    assert manifest.count("train") == 4


def test_the_same_captions_stay_once_and_missing_attributes_come(tmp_path):
    rows = [
        {"text": "one"},
        {"captions": ["two", "one"], "license": "MIT", "source": "here"},
        {"captions": ["", "three"], "license": "GPL", "attribution": "me"},
        {"text": "x" * 30},
        {"text": ""},
    ]
    beside_each(tmp_path, rows)
    settings = Settings(test_fraction=0.0, max_caption=20, license="CC0-1.0")
    manifest, kept = made(tmp_path / "t.jsonl", tmp_path / "out", settings)
    (record,) = kept[Split.TRAIN]
    assert record.captions == ("one", "two", "three")
    assert record.attributes == {"license": "MIT", "source": "here", "attribution": "me"}
    assert manifest.licenses == {"MIT": 1} and manifest.joined == 2
    assert manifest.rejects == {"caption too long": 1, "no caption": 1}


def test_rows_that_name_one_file_give_it_all_they_know(tmp_path):
    put(tmp_path, "a.png", seed=0)
    rows = [{"text": "one", "source": "here"}, {"text": "two", "license": "MIT", "source": "there"}]
    (tmp_path / "t.jsonl").write_text(
        "\n".join(json.dumps({"file_name": "a.png", **row}) for row in rows)
    )
    _, kept = made(tmp_path / "t.jsonl", tmp_path / "out")
    (record,) = kept[Split.TRAIN]
    assert record.captions == ("one", "two")
    assert record.attributes == {"source": "here", "license": "MIT"}


def test_a_licence_that_nobody_names_is_the_one_of_the_settings(tmp_path):
    put(tmp_path / "in", "a.png", "a", seed=1)
    put(tmp_path / "in", "b.png", "b", seed=1)
    (tmp_path / "in" / "c.png").write_bytes(picture(2))
    (tmp_path / "in" / "c.json").write_text(json.dumps({"caption": "c", "license": "MIT"}))
    manifest, kept = made(tmp_path / "in", tmp_path / "out", Settings(license="X", test_fraction=0))
    assert manifest.licenses == {"MIT": 1, "X": 1}
    assert [r.attributes["license"] for r in kept[Split.TRAIN]] == ["X", "MIT"]


def test_no_picture_takes_in_captions_without_end(tmp_path):
    """A page that says "not found", say, thousands of times."""
    beside_each(tmp_path, [{"text": f"caption {n}"} for n in range(300)])
    manifest, kept = made(tmp_path / "t.jsonl", tmp_path / "out")
    (record,) = kept[Split.TRAIN]
    assert record.captions == tuple(f"caption {n}" for n in range(257))
    assert manifest.joined == 256 and manifest.rejects == {"duplicate": 43}
    assert rejects_of(tmp_path / "out")[0]["detail"] == "of '000', which 256 are joined to"


def test_repeats_are_decoded_and_stored_once(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    as_rows(tmp_path / "in")
    decoded, decode, stored, pack = [], pictures.decode, [], Record.pack

    def counted(data, **rest):
        decoded.append(data)
        return decode(data, **rest)

    def weighed(record, number):
        stored.append(len(record.image))
        return pack(record, number)

    monkeypatch.setattr(pictures, "decode", counted)
    monkeypatch.setattr(Record, "pack", weighed)
    made(tmp_path / "in", tmp_path / "out")
    assert decoded == [picture(k) for k in range(4)]
    assert sum(stored) == 2 * sum(map(len, decoded))  # in the part, and in the shard


def pages(*words):
    """A page for each word, all much alike."""
    from PIL import ImageDraw, ImageFont

    for word in words:
        image = Image.new("RGB", (256, 256), "white")
        font = ImageFont.load_default(40)
        ImageDraw.Draw(image).text((20, 100), word, fill="black", font=font)
        yield image


def saved(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def test_pages_of_other_words_stay_and_compressed_ones_go(tmp_path):
    words = ["apple", "angle", "ankle", "maple", "eagle", "table"]
    for word, page in zip(words, pages(*words), strict=True):
        saved(page, tmp_path / "in" / f"{word}.png")
        (tmp_path / "in" / f"{word}.txt").write_text(f"the word {word}")
    (page,) = pages("eagle")
    saved(page, tmp_path / "in" / "z1.jpg", quality=60)
    (tmp_path / "in" / "z1.txt").write_text("the word eagle")
    saved(page, tmp_path / "in" / "z2.jpg", quality=80)
    (tmp_path / "in" / "z2.txt").write_text("an eagle")
    shutil.copy(tmp_path / "in" / "z2.jpg", tmp_path / "in" / "z3.jpg")
    (tmp_path / "in" / "z3.txt").write_text("one more")
    manifest, kept = made(tmp_path / "in", tmp_path / "out", Settings(near_duplicates=8))
    assert {record.key for split in Split for record in kept[split]} == {*words}
    assert manifest.rejects == {"near duplicate": 3} and not manifest.joined
    one, two, three = rejects_of(tmp_path / "out")
    for reject, key in ((one, "z1"), (two, "z2"), (three, "z3")):
        assert reject["key"] == key
        assert reject["detail"].startswith("of 'eagle': the largest difference is ")
        assert 0 < float(reject["detail"].split()[6]) < 9
    assert "captions differ" not in one["detail"] and "captions differ" in two["detail"]


def named(tmp_path, rows, settings):
    """What becomes of pictures of some numbers whose rows name a split."""
    for number, *_ in rows:
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    lines = [
        {"file_name": f"{number}.png", "text": str(n), "attributes": {"split": split or None}}
        for n, (number, split) in enumerate(rows)
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    _, kept = made(
        tmp_path / "t.jsonl", tmp_path / f"out-{len(list(tmp_path.iterdir()))}", settings
    )
    return {number_of(r): (split.value, r.captions) for split in Split for r in kept[split]}


def test_what_any_copy_calls_test_is_test(tmp_path):
    rows = [(0, "train"), (1, "train"), (2, ""), (0, "test"), (2, "test"), (3, "")]
    assert named(tmp_path, rows, Settings(test_fraction=0.5)) == {
        0: ("test", ("0", "3")),
        1: ("train", ("1",)),
        2: ("test", ("2", "4")),
        3: ("train", ("5",)),  # as the input names pictures for the test, no others are
    }


def test_near_duplicates_do_not_leak_either(tmp_path):
    (page,) = pages("eagle")
    saved(page, tmp_path / "a.png")
    saved(page, tmp_path / "b.jpg", quality=80)
    rows = [{"file_name": "a.png", "text": "a"}, {"file_name": "b.jpg", "text": "b"}]
    rows[1]["attributes"] = {"split": "test"}
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    _, kept = made(tmp_path / "t.jsonl", tmp_path / "out", Settings(near_duplicates=8))
    assert [record.key for record in kept[Split.TEST]] == ["a"] and not kept[Split.TRAIN]


def test_a_fraction_is_taken_of_what_names_no_split(tmp_path):
    rows = [(n, "train" if n < 20 else "") for n in range(40)]
    found = named(tmp_path, rows, Settings(test_fraction=0.5))
    test = {number for number, (split, _) in found.items() if split == "test"}
    assert test and test < set(range(20, 40))
    assert all(split == "train" for split, _ in named(tmp_path, rows, PLAIN).values())


def test_workers_and_kills_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("omnigen.data.prepare.inputs.part.PART", 5)
    (tmp_path / "in").mkdir()
    as_scattered_rows(tmp_path / "in")
    settings = Settings(test_fraction=0.3, shard_bytes=9000)
    made(tmp_path / "in", tmp_path / "one", settings)
    made(tmp_path / "in", tmp_path / "two", settings, workers=2)
    run = processes.run
    for number in range(4):

        def dying(*given, left=[number]):  # noqa: B006
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return run(*given)

        monkeypatch.setattr(processes, "run", dying)
        job = ingest.plan(tmp_path / "in", tmp_path / "three", settings)
        if number < 2:
            with pytest.raises(KeyboardInterrupt):
                ingest.run(job)
        else:
            ingest.run(job)
    contents = [
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("one", "two", "three")
    ]
    assert contents[0] == contents[1] == contents[2] and len(contents[0]) >= 4


def test_the_command_says_what_was_joined(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    as_files(tmp_path / "in")
    prepare.main([f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--workers=0"])
    lines = capsys.readouterr().out.splitlines()
    assert "joined to an equal picture, with their captions: 8" in lines


def test_texts_are_as_long_as_they_are():
    texts = ["", "a\0", "x" * 100_000, "ü\ud800", "\0\0"]
    packed = Texts.of(texts)
    assert list(packed) == texts and len(packed) == 5 and len(packed.blob) < 100_020
    assert not len(Texts.of([]))


def test_what_is_known_of_a_picture_is_small(tmp_path):
    """One licence's whole text and one long key are held once, however many pictures there are."""
    for n in range(40):
        (tmp_path / f"{n}.bmp").write_bytes(picture(n, (32, 32), "BMP"))
    rows = [{"file_name": f"{n}.bmp", "text": "x", "license": "CC0"} for n in range(40)]
    rows[7]["license"] = "y" * 500_000 + "\0"
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    held = []
    read = facts.read

    def spied(paths):
        held.append(read(paths))
        return held[0]

    facts.read = spied
    try:
        manifest, _ = made(tmp_path / "t.jsonl", tmp_path / "out", Settings(near_duplicates=-1))
    finally:
        facts.read = read
    columns = [v for v in vars(held[0]).values() if isinstance(v, np.ndarray)]
    assert sum(column.nbytes for column in columns) <= 100 * 40 + 16
    assert manifest.licenses == {"CC0": 39, "y" * 500_000 + "\0": 1}


def test_merging_keeps_the_first():
    one = Record("a", b"1", 2, 3, ("x", "y"), {"license": "A"})
    two = Record("b", b"", 2, 3, ("y", "z"), {"license": "B", "source": "s"})
    merged = facts.merge([one, two], "C")
    assert merged == Record("a", b"1", 2, 3, ("x", "y", "z"), {"license": "A", "source": "s"})
    assert facts.merge([Record("a", b"1", 2, 3)], "C").attributes == {"license": "C"}
    assert io.BytesIO(merged.pack(0)).read(4) == b"OmRc"
