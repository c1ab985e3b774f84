# SPDX-License-Identifier: Apache-2.0
"""Captions with their sketches alone, in rows beside examples with pictures."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest

from omnigen.data.stream import examples, noise, pipeline, world
from omnigen.data.stream.pipeline import DataConfig, RowBatches
from omnigen.data.stream.source import Candidate, Source
from omnigen.parallel import DataShard
from omnigen.sequence import Modality
from omnigen.text import ByteText

GRID, TEXT, WHOLE = (3, 2), ByteText(), DataShard(0, 1)
PAD, BOS, EOS, BOI, IMG, EOI = range(256, 262)
CONFIG = DataConfig(
    image_size=16, sketches=True, readings=3, caption_dropout=0.5, learn_captions=False
)


def stream(config, *, batch_size=8, shard=WHOLE, block=1):
    return pipeline.sequence_dataset(config, TEXT, GRID, batch_size, shard, block=block)


def take(dataset, count):
    iterator = iter(dataset)
    batches = list(itertools.islice(iterator, count))
    iterator.close()
    return batches


def joined(batches):
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def assert_equal(batch, other):
    assert jax.tree.structure(batch) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, batch, other)


def samples(batch):
    """Of every sample of a batch: its row and its positions, in order."""
    for row, segment in enumerate(batch.sequence.segment):
        for number in range(1, segment.max() + 1):
            yield row, np.flatnonzero(segment == number)


def said(token):
    """Caption and sketch of a sample."""
    begin, end = token.index(BOI), token.index(IMG)
    assert bytes(token[begin + 1 : begin + 4]) == b"3*2"
    return TEXT.decode(token[1:begin]), TEXT.decode(token[begin + 4 : end])


def alone_at(config, number):
    """Caption and sketch of a reading, from scenes; the oracle knows only what an index is."""
    index, config = (1 << 63) + number, dataclasses.replace(config, caption_dropout=0.0)
    scene = world.scene_at(config, index)
    words = world.caption_at(config, index, scene=scene)
    return words, world.sketch_at(config, index, scene=scene, words=words)


@pytest.mark.parametrize("block", [1, 4])
def test_each_example_has_its_readings_behind_it(block):
    (batch,) = take(stream(CONFIG, batch_size=pipeline.WINDOW_ROWS, block=block), 1)
    assert batch.image.shape[1] == CONFIG.images_per_row
    sequence, read, drawn = batch.sequence, [], 0
    for row, where in samples(batch):
        token, weight = sequence.token[row, where].tolist(), sequence.weight[row, where]
        has_picture = (sequence.modality[row, where] == Modality.IMAGE).any()
        assert has_picture == (EOI in token) == (EOS in token)
        begin, end = token.index(BOI), token.index(IMG)
        assert not weight[:begin].any() and (weight[begin : end + 1] == 1).all()
        if has_picture:
            drawn += 1
        else:
            assert end == len(token) - 1
            assert (sequence.slot[row, where] == -1).all()
            read.append(said(token))
    wanted = [alone_at(CONFIG, number) for number in range(len(read) + CONFIG.readings)]
    # A prefix of the examples is packed, so as many of them are read, but for the last one's.
    assert sorted(read) == sorted(wanted[: len(read)])
    assert 3 * (drawn - 1) <= len(read) <= 3 * drawn and len(read) > 40
    assert all(caption and sketch for caption, sketch in read)  # none is dropped


def test_other_indices_and_buckets_read_other_things():
    config = dataclasses.replace(CONFIG, buckets="16x16,32x32")
    found = examples.Examples(config)
    assert len(found.buckets) == 2
    read = [found.readings.at(b, n) for b in found.buckets for n in range(40)]
    assert len({(one.caption, one.sketch) for one in read}) == 80
    assert found.readings.at(found.buckets[1], 7).caption == read[47].caption


def test_rows_with_readings_are_full():
    mixture = {"shapes": 1.5, "words": 1.75, "landscapes": 0.75, "mixed": 1.25}
    for readings, pictures in ((2, 4), (10, 1), (30, 1)):
        config = DataConfig(
            mixture=mixture,
            sketches=True,
            readings=readings,
            images_per_row=pictures,
            row_length=1472,
        )
        rows = RowBatches(config, 8, WHOLE, TEXT, (8, 8))
        packed = [r for n in range(3) for r in rows.window(rows.examples.buckets[0], n)]
        every = [sample for row in packed for sample in row]
        drawn = sum(len(sample.drawings) for sample in every)
        length = sum(rows.length(s.text_length, pictures=len(s.drawings)) for s in every)
        assert length / (len(packed) * 1472) > 0.95
        assert max(map(len, packed)) < 1472 // examples.LEAST_READING == config.examples_per_row
        assert max(sum(len(s.drawings) for s in row) for row in packed) <= pictures
        assert 0.8 * readings < (len(every) - drawn) / drawn <= readings


def test_rows_hold_as_many_segments_as_the_settings_say():
    """Examples so short that their number is what fills rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "SOURCES", (*examples.SOURCES, Brief))
        config = dataclasses.replace(
            CONFIG, readings=20, row_length=450, reading_mixture={"brief": 1.0}
        )
        (batch,) = take(stream(config, batch_size=16), 1)
        assert batch.sequence.segment.max() == config.examples_per_row == 7
        read = [batch.sequence.token[row, where].tolist() for row, where in samples(batch)]
        assert sum(token[-1] == IMG and said(token) == ("brief", "b") for token in read) > 80
        with pytest.raises(ValueError, match="mixture is 'brief'; allowed: 'shapes', "):
            dataclasses.replace(config, mixture={"brief": 1.0})


class Brief(Source):
    """Says one word and has no pictures."""

    NAMES = "'brief'"
    PICTURES = False
    name = "brief"

    def __init__(self, weights, config):
        assert config.caption_dropout == 0

    def weights(self):
        return [1.0]

    def candidate(self, turn):
        return Candidate("brief", "b", lambda: pytest.fail("a picture was asked for"))


def test_resumes_with_the_very_next_batch_whatever_its_size():
    whole = joined(take(stream(CONFIG, batch_size=34), 1))
    found, state = [], None
    for size, count in ((4, 3), (8, 1), (3, 2), (2, 4)):
        iterator = iter(stream(CONFIG, batch_size=size))
        if state:
            iterator.set_state(json.loads(state))
        found += list(itertools.islice(iterator, count))
        state = json.dumps(iterator.get_state())
        iterator.close()
    assert_equal(joined(found), whole)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_same_global_batches(count):
    whole = take(stream(CONFIG), 2)
    shards = [DataShard(index, count) for index in range(count)]
    parts = [take(stream(CONFIG, batch_size=8 // count, shard=shard), 2) for shard in shards]
    for number, batch in enumerate(whole):
        assert_equal(batch, joined([part[number] for part in parts]))


def test_no_picture_is_drawn_for_a_reading(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        world.World, "_render", lambda self, scene, size: drawn.append(1) or np.zeros((16, 16, 3))
    )
    (batch,) = take(stream(CONFIG, batch_size=16), 1)
    pictures = sum(EOI in batch.sequence.token[row, where] for row, where in samples(batch))
    assert len(drawn) >= pictures and len(drawn) < 3 * pictures  # a batch is read ahead


def test_noise_reads_what_the_data_read():
    found = noise.rows(CONFIG, TEXT, GRID, 8)
    assert_equal(found.sequence, take(stream(CONFIG), 1)[0].sequence)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"readings": -1}, "readings is -1; allowed: at least 0"),
        ({"readings": 2}, "readings is 2; allowed: 0, or with sketches"),
        (
            {"reading_mixture": {"photos": 1.0}},
            "reading_mixture is 'photos'; allowed: 'shapes'",
        ),
        ({"reading_mixture": {"words": 0.0}}, "reading_mixture is .*; allowed: weights of 0"),
    ],
)
def test_bad_settings_are_named(fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        DataConfig(**fields)
