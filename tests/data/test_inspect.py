# SPDX-License-Identifier: Apache-2.0
import io

import numpy as np
import pytest
from PIL import Image

from omnigen.data import inspect
from omnigen.data.corpus import records
from omnigen.data.corpus.records import Corpus, Manifest, Record
from omnigen.data.corpus.split import Split

COLORS = ["red", "lime", "blue", "yellow"]


@pytest.fixture
def folder(tmp_path):
    """Four pictures to train on, each of one colour and wider than the one before."""
    made = []
    for number, color in enumerate(COLORS, 1):
        file = io.BytesIO()
        Image.new("RGB", (100 * number, 100), color).save(file, "PNG")
        made.append(Record(color, file.getvalue(), 100 * number, 100, (f"all {color}", "x")))
    shard = records.write_shard(tmp_path / "train-00000.arrayrecord", made)
    Manifest({"train": (shard,)}, {"animated": 3}, {"MIT": 4}, {}).write(tmp_path)
    return tmp_path


def test_the_command_prints_statistics_and_writes_a_sheet(folder, capsys):
    inspect.main([str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert "license, MIT: 4" in lines and "left out, animated: 3" in lines
    assert "train: 4 pictures, of which 4 were read" in lines
    assert "train: width, pixels: 100 .. 115 .. 250 .. 385 .. 400" in {
        s.split(" (")[0] for s in lines
    }
    assert any("captions a picture: 2 .. 2" in line for line in lines)
    assert "test: 0 pictures, of which 0 were read" in lines
    sheet = np.asarray(Image.open(folder / "contact-train.png"))
    for number, rgb in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]):
        left = number * inspect.SIDE + inspect.SIDE // 2
        assert tuple(sheet[inspect.SIDE // 2, left]) == rgb
        caption = sheet[inspect.SIDE :, number * inspect.SIDE : (number + 1) * inspect.SIDE]
        assert (caption[:11] < 100).any()


def test_sheets_go_where_they_are_asked_for(folder, tmp_path, capsys):
    before = sorted(folder.iterdir())
    inspect.main([str(folder), f"--output={tmp_path / 'sheets' / 'here'}"])
    assert sorted(folder.iterdir()) == sorted([*before, tmp_path / "sheets"])
    (sheet,) = (tmp_path / "sheets" / "here").iterdir()
    with Image.open(sheet) as image:
        assert image.size[0] == inspect.COLUMNS * inspect.SIDE
    assert f"train: wrote {sheet}" in capsys.readouterr().out


def test_a_licence_cannot_move_the_cursor(folder, capsys):
    manifest = Manifest.read(folder)
    Manifest(manifest.splits, {}, {"\x1b[2J" + "x" * 9000: 4}, {}, joined=7).write(folder)
    inspect.main([str(folder)])
    out = capsys.readouterr().out
    assert "\x1b" not in out and len(out) < 3000
    assert "joined to an equal picture, with their captions: 7" in out


def test_damaged_records_are_shown_as_such(folder):
    (folder / "train-00000.arrayrecord").unlink()
    corpus = Corpus(folder, Split.TRAIN)
    assert "unreadable, damaged record: 4" in inspect.describe(corpus, most=10)
    assert inspect.contact_sheet(corpus).shape[1] == inspect.COLUMNS * inspect.SIDE


def test_large_corpora_are_sampled():
    assert inspect._spread(10, 4) == [0, 2, 5, 7]
    assert inspect._spread(3, 4) == [0, 1, 2]


def test_folders_that_are_no_corpus_are_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        inspect.main([str(tmp_path)])
    assert "is no prepared corpus" in capsys.readouterr().err
