# SPDX-License-Identifier: Apache-2.0
"""A toy kind of source is one class and one name in a table; all else works with it."""

import numpy as np
import pytest

from omnigen.data.stream import examples, pipeline
from omnigen.data.stream.pipeline import DataConfig
from omnigen.data.stream.source import Candidate, Captioned, Source
from omnigen.parallel import DataShard
from omnigen.text import ByteText

SIZE, WHOLE = 16, DataShard(0, 1)


class Count(Source):
    """Pictures of one colour that tells which turn it is."""

    NAMES = "'count'"
    name = "count"

    def __init__(self, weight):
        self.weight = weight

    @classmethod
    def takes(cls, name):
        return name == "count"

    @classmethod
    def open(cls, weights, config, encoding):
        return [cls(weights["count"])]

    def content(self):
        return ""

    def has_held_out(self):
        return False

    def weights(self):
        return [self.weight]

    def picture(self, turn):
        return np.full((SIZE, SIZE, 3), turn.ordinal, np.uint8)

    def candidate(self, turn):
        return Candidate(f"turn {turn.ordinal}", "", lambda: self.picture(turn))

    def previews(self, count):
        return [Captioned("a turn", np.zeros((SIZE, SIZE, 3), np.uint8))] * count


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(examples, "SOURCES", (*examples.SOURCES, Count))


def config_of(**mixture):
    return DataConfig(image_size=SIZE, mixture=mixture)


def test_pictures_captions_and_previews_come_from_it():
    config = config_of(count=1.0)
    batch = next(iter(pipeline.images_dataset(config, 5, WHOLE)))
    np.testing.assert_array_equal(batch.image[:, 0, 0, 0], range(5))
    row = next(iter(pipeline.sequence_dataset(config, ByteText(), (1, 1), 8, WHOLE)))
    text = bytes(int(i) for i in row.sequence.token[0] if i < 256).decode()
    assert f"turn {row.image[0, 0, 0, 0, 0]}" in text
    assert [e.caption for e in pipeline.previews(config, count=2)] == ["a turn"] * 2


def test_it_is_mixed_by_weight_and_goes_on_where_it_was():
    config = config_of(shapes=1.0, count=3.0)

    def begun():
        return iter(pipeline.images_dataset(config, 100, WHOLE))

    iterator = begun()
    batches = [next(iterator).image for _ in range(3)]
    flat = [image for batch in batches for image in batch if (image == image[0, 0, 0]).all()]
    assert abs(len(flat) - 225) < 30
    assert sorted(int(image[0, 0, 0]) for image in flat)[:10] == list(range(10))
    resumed = begun()
    resumed.set_state({"batch": 2, "examples": [200]})
    np.testing.assert_array_equal(next(resumed).image, batches[2])


def test_it_is_named_where_a_mixture_is_wrong():
    with pytest.raises(ValueError, match="slash in its path, or 'count'"):
        config_of(other=1.0)


def test_an_empty_one_is_told(monkeypatch):
    monkeypatch.setattr(Count, "weights", lambda self: [0.0])
    with pytest.raises(ValueError, match="mixture: count has no pictures of the split train"):
        examples.Examples(config_of(shapes=1.0, count=1.0))
