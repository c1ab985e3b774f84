# SPDX-License-Identifier: Apache-2.0
"""Oracles: ranks counted pair by pair; models that draw what they are told, or another picture."""

import dataclasses
import io
import types

import numpy as np
import pytest
from PIL import Image

from omnigen.data.corpus import records
from omnigen.data.corpus.records import Manifest, Record
from omnigen.evals.judges.reading import Line
from omnigen.evals.suites.corpus import Corpus, ranks

SIZE = 32


def record(number):
    """A picture of one grey, whose caption tells it."""
    file = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (number,) * 3).save(file, "PNG")
    return Record(f"k{number}", file.getvalue(), SIZE, SIZE, (f"{number}", "another caption"))


@pytest.fixture
def folder(tmp_path):
    """Greys 0, 10 ... 190 to train on, and three held out."""
    splits = {"train": range(0, 200, 10), "test": (5, 95, 205)}
    written = {
        split: (
            records.write_shard(
                tmp_path / f"{split}-00000.arrayrecord", list(map(record, numbers))
            ),
        )
        for split, numbers in splits.items()
    }
    Manifest(written, {}, {}, {}).write(tmp_path)
    return str(tmp_path)


class Painter:
    """Stands in for a model: draws the grey that its caption names, as `change` has it."""

    config = types.SimpleNamespace(image_size=SIZE)

    def __init__(self, change):
        self.change, self.asked = change, []

    def prompts(self, captions):
        self.asked.append(captions)
        return captions

    def generate(self, weights, prompts, keys, sampling):
        assert len(prompts) == len(keys) == 8 and weights == {"ar": 1, "decoder": 2}
        greys = [self.change(int(caption or 0)) for caption in prompts]
        images = np.broadcast_to(np.reshape(greys, (-1, 1, 1, 1)), (8, SIZE, SIZE, 3))
        return (images / 127.5 - 1).astype(np.float32)


def scores(omni, folder, tmp_path, count):
    suite = Corpus(omni, folder=folder, output=tmp_path / "out", count=count)
    return dict(suite.run({"ar": 1}, {"decoder": 2}))


def test_who_draws_what_is_asked_is_nearest(folder, tmp_path):
    omni = Painter(lambda grey: min(grey + 4, 255))
    assert scores(omni, folder, tmp_path, 10) == {
        "train_nearest": 1.0,
        "train_rank": 0.0,
        "test_nearest": 1.0,
        "test_rank": 0.0,
    }
    asked = [[int(caption or -1) for caption in captions] for captions in omni.asked]
    assert asked == [
        [0, 20, 40, 60, 80, 100, 120, 140],
        [160, 180, *[-1] * 6],
        [5, 95, 205, *[-1] * 5],
    ]
    sheet = np.asarray(Image.open(tmp_path / "out" / "corpus-train.png"))
    assert sheet.shape[1] == 4 * 160
    pair = sheet[:SIZE, 160 + (160 - 2 * SIZE) // 2 :][:, : 2 * SIZE, 0]
    assert (pair[:, :SIZE] == 20).all() and (pair[:, SIZE:] == 24).all()


def test_who_draws_something_else_is_not(folder, tmp_path):
    found = scores(Painter(lambda grey: 0), folder, tmp_path, 10)
    assert found["train_nearest"] == 0.1
    assert found["train_rank"] == pytest.approx(0.5)
    assert found["test_rank"] == pytest.approx((0 + 1 + 2) / 3 / 2)


def test_words_are_read_off_drawn_and_true_pictures(tmp_path):
    """The reader knows pictures by their grey: 40 says what its caption does, 44 half of it."""
    captions = ('a "red fox" and "cake"', "no words", '"Cake"')
    kept = [
        dataclasses.replace(record(40 + 10 * k), captions=(caption,))
        for k, caption in enumerate(captions)
    ]
    shard = records.write_shard(tmp_path / "train-00000.arrayrecord", kept)
    Manifest({"train": (shard,)}, {}, {}, {}).write(tmp_path)
    asked = []

    def reader(image):
        asked.append(int(image[0, 0, 0]))
        read = {40: ("cake", "red fox"), 44: ("fox",), 60: ("Cake",)}[asked[-1]]
        return [Line(text, (0, 0, 1, 1)) for text in read]

    class Words(Painter):
        def generate(self, weights, prompts, keys, sampling):
            images = np.zeros((8, SIZE, SIZE, 3)) + np.reshape([44, 50, 60, *[0] * 5], (8, 1, 1, 1))
            return (images / 127.5 - 1).astype(np.float32)

    suite = Corpus(Words(int), folder=str(tmp_path), output=tmp_path / "out", reader=reader)
    found = dict(suite.run({"ar": 1}, {"decoder": 2}))
    assert found["train_word_accuracy"] == 0.5  # "fox" and "Cake" of four
    assert found["train_word_accuracy_of_true_pictures"] == 1.0
    assert asked == [44, 60, 40, 60]  # what quotes no words is not read


def test_ranks_count_pair_by_pair():
    random = np.random.default_rng(0)
    true, drawn = random.integers(0, 256, (2, 7, 40, 24, 3), dtype=np.uint8)
    drawn[3] = true[3]

    def coarse(image):
        return [
            [
                image[r * 40 // 16 : (r + 1) * 40 // 16, c * 24 // 16 : (c + 1) * 24 // 16].mean(
                    (0, 1)
                )
                for c in range(16)
            ]
            for r in range(16)
        ]

    wanted = []
    for i, image in enumerate(drawn):
        apart = [np.mean(np.square(np.subtract(coarse(image), coarse(t)))) for t in true]
        wanted.append(sum(a < apart[i] for a in apart) / 6)
    np.testing.assert_allclose(ranks(true, drawn), wanted)
    assert wanted[3] == 0 and len(set(wanted)) > 2


def test_what_is_no_corpus_is_said_at_once(tmp_path):
    with pytest.raises(ValueError, match="nowhere.* is no prepared corpus"):
        Corpus(Painter(int), folder="./nowhere", output=tmp_path)
