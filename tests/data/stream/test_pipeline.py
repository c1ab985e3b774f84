# SPDX-License-Identifier: Apache-2.0
import collections
import dataclasses
import itertools
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.stream import pipeline, world
from omnigen.data.stream.pipeline import DataConfig, Drawing, Order, RowBatches, Sample, Words
from omnigen.parallel import DataShard
from omnigen.scenes import caption as captions
from omnigen.scenes.mentioned import in_order
from omnigen.scenes.render import render
from omnigen.scenes.scene import Kind
from omnigen.scenes.sketch import sketch
from omnigen.scenes.splits import is_held_out
from omnigen.sequence import (
    ImageSpan,
    Modality,
    Role,
    Specials,
    TextSpan,
    layout,
    pack,
    ungrouped,
)
from omnigen.text import ByteText

SMALL = DataConfig(image_size=16)
GRID = (3, 2)
TEXT = ByteText()
WHOLE = DataShard(0, 1)
PAD, BOS, EOS, BOI, IMG, EOI = range(256, 262)


def rows_of(config, *, batch_size=8, shard=WHOLE, grid=GRID):
    return pipeline.sequence_dataset(config, TEXT, grid, batch_size, shard)


def images_of(config, *, batch_size=8, shard=WHOLE):
    return pipeline.images_dataset(config, batch_size, shard)


def take(stream, count):
    iterator = iter(stream)
    batches = list(itertools.islice(iterator, count))
    iterator.close()
    return batches


def assert_equal(batch, other):
    assert jax.tree.structure(batch) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, batch, other)


def joined(batches):
    """One batch of all."""
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def samples(batch):
    """Of every sample of a batch: its row, its number in the row, its positions."""
    for row, segment in enumerate(batch.sequence.segment):
        for number in range(1, segment.max() + 1):
            yield row, number, np.flatnonzero(segment == number)


def caption_of(token):
    """The text between BOS and BOI."""
    return TEXT.decode(token[1 : list(token).index(BOI)])


def first_batch(config):
    """Its batch, and of every sample the index of its example and its positions."""
    rows = RowBatches(config, pipeline.WINDOW_ROWS, WHOLE, TEXT, GRID)
    packed = rows.window(rows.examples.buckets[0], 0)
    batch = rows(0)
    found = [(packed[row][number - 1].index, row, where) for row, number, where in samples(batch)]
    assert len(found) == sum(map(len, packed)) > 2 * pipeline.WINDOW_ROWS
    return batch, found


@pytest.mark.parametrize("dataset", [rows_of, images_of])
def test_resumes_with_the_very_next_batch(dataset):
    stream = dataset(SMALL, batch_size=3)
    iterator = iter(stream)
    for _ in range(3):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    expected = [next(iterator) for _ in range(2)]
    iterator.set_state(state)  # rewinds
    assert_equal(next(iterator), expected[0])
    iterator.close()
    resumed = iter(stream)
    resumed.set_state(state)
    assert resumed.get_state() == state
    for batch in expected:
        assert_equal(next(resumed), batch)
    resumed.close()


@pytest.mark.parametrize("dataset", [rows_of, images_of])
def test_another_batch_size_skips_and_repeats_nothing(dataset):
    """Also where batches begin or end within a window of rows."""
    whole = next(iter(dataset(SMALL, batch_size=34)))
    found, state = [], None
    for size, count in ((4, 3), (8, 1), (3, 2), (2, 4)):
        iterator = iter(dataset(SMALL, batch_size=size))
        if state:
            iterator.set_state(json.loads(state))
        found += list(itertools.islice(iterator, count))
        state = json.dumps(iterator.get_state())
        iterator.close()
    assert json.loads(state)["examples"] == [34]
    assert_equal(joined(found), whole)


@pytest.mark.slow
def test_workers_change_nothing_and_resume():
    alone = take(rows_of(SMALL, batch_size=2), 5)
    iterator = iter(rows_of(dataclasses.replace(SMALL, workers=2), batch_size=2))
    assert_equal(next(iterator), alone[0])
    assert_equal(next(iterator), alone[1])
    assert_equal(next(iterator), alone[2])
    state = iterator.get_state()
    iterator.close()
    resumed = iter(rows_of(dataclasses.replace(SMALL, workers=1), batch_size=2))
    resumed.set_state(state)
    assert_equal(next(resumed), alone[3])
    assert_equal(next(resumed), alone[4])
    resumed.close()


@pytest.mark.parametrize("dataset", [rows_of, images_of])
@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_same_global_batches(dataset, count):
    whole = take(dataset(SMALL, batch_size=8), 2)
    parts = [
        take(dataset(SMALL, batch_size=8 // count, shard=DataShard(index, count)), 2)
        for index in range(count)
    ]
    for number, batch in enumerate(whole):
        assert_equal(batch, joined([part[number] for part in parts]))


def test_images_are_the_scenes_of_consecutive_indices():
    batches = take(images_of(SMALL, batch_size=3, shard=DataShard(1, 2)), 2)
    for batch, first in zip(batches, (3, 9), strict=True):
        expected = [render(world.scene_at(SMALL, first + i), 16) for i in range(3)]
        np.testing.assert_array_equal(batch.image, expected)


def test_no_example_comes_twice():
    rows = RowBatches(SMALL, 8, WHOLE, TEXT, GRID)
    indices = [
        e.index
        for window in range(6)
        for row in rows.window(rows.examples.buckets[0], window)
        for e in row
    ]
    assert len(indices) == len(set(indices)) > 6 * 8 * 3


@pytest.mark.parametrize("order", Order)
def test_rows_hold_whole_examples_one_after_another(order):
    config = dataclasses.replace(SMALL, order=order, caption_dropout=0.3)
    (batch,) = take(rows_of(config), 1)
    assert batch.sequence.token.shape == (8, config.row_length)
    assert batch.image.shape == (8, config.images_per_row, 16, 16, 3)
    per_image = GRID[0] * GRID[1]
    orders = set()
    for row, number, where in samples(batch):
        assert (np.diff(where) == 1).all()
        token, slot = batch.sequence.token[row, where], batch.sequence.slot[row, where]
        assert token[0] == BOS and token[-1] == EOS and token[-2] == EOI
        assert (token == BOS).sum() == (token == BOI).sum() == (token == IMG).sum() == 1
        begin = list(token).index(IMG) + 1
        assert TEXT.decode(token[list(token).index(BOI) + 1 : begin - 1]) == "3*2"
        np.testing.assert_array_equal(np.flatnonzero(slot >= 0), begin + np.arange(per_image))
        mine = slot[begin : begin + per_image] - (number - 1) * per_image
        assert sorted(mine) == list(range(per_image))
        orders.add(tuple(mine))
        modality, weight = batch.sequence.modality[row, where], batch.sequence.weight[row, where]
        assert ((modality == Modality.IMAGE) == (slot >= 0)).all()
        assert ((modality == Modality.TEXT) == (slot < 0)).all()
        assert weight[0] == 0 and (weight[1:] == 1).all()
    if order == Order.RASTER:
        assert orders == {tuple(range(per_image))}
    else:
        assert len(orders) > 15
    sequence = batch.sequence
    padding = sequence.segment == 0
    assert (sequence.token[padding] == PAD).all() and not sequence.weight[padding].any()
    assert (sequence.modality[padding] == Modality.PAD).all()
    assert (np.diff(np.flatnonzero(~padding[0])) == 1).all() and not padding[:, 0].any()


def test_captions_and_pictures_belong_together():
    (batch,) = take(rows_of(SMALL, batch_size=pipeline.WINDOW_ROWS), 1)
    window = range(pipeline.WINDOW_ROWS * SMALL.images_per_row)
    drawn = collections.defaultdict(list)
    for index in window:
        scene = world.scene_at(SMALL, index)
        drawn[world.caption_at(SMALL, index, scene=scene)].append(render(scene, 16))
    found = 0
    for row, number, where in samples(batch):
        picture = batch.image[row, number - 1]
        caption = caption_of(batch.sequence.token[row, where])
        assert any((picture == one).all() for one in drawn[caption])
        found += 1
    empty = [
        batch.image[row, segment.max() :].any()
        for row, segment in enumerate(batch.sequence.segment)
    ]
    assert not any(empty)
    assert 0.8 * len(window) < found <= len(window)


def test_rows_are_well_filled():
    config = DataConfig()
    rows = RowBatches(config, 8, WHOLE, TEXT, (8, 8))
    packed = [row for window in range(20) for row in rows.window(rows.examples.buckets[0], window)]
    elements = sum(rows.length(e.text_length) for row in packed for e in row)
    assert elements / (len(packed) * config.row_length) > 0.85
    assert sum(map(len, packed)) / (len(packed) * config.images_per_row) > 0.88


def test_the_mixture_is_kept():
    weights = {Kind.SHAPES: 3.0, Kind.WORDS: 1.0, Kind.MIXED: 0.0}
    config = DataConfig(mixture=weights)
    count = 1200
    kinds = collections.Counter(world.scene_at(config, index).kind for index in range(count))
    assert set(kinds) == {Kind.SHAPES, Kind.WORDS}
    deviation = (count * 0.75 * 0.25) ** 0.5
    assert abs(kinds[Kind.SHAPES] - 0.75 * count) < 4 * deviation


def test_captions_are_dropped_at_the_given_rate():
    config = DataConfig(caption_dropout=0.2)
    scene = world.scene_at(config, 0)
    count = 2000
    dropped = sum(world.caption_at(config, i, scene=scene) == "" for i in range(count))
    assert abs(dropped - 0.2 * count) < 4 * (count * 0.2 * 0.8) ** 0.5
    (batch,) = take(rows_of(dataclasses.replace(SMALL, caption_dropout=1.0)), 1)
    for row, _, where in samples(batch):
        assert caption_of(batch.sequence.token[row, where]) == ""


def test_a_sketch_stands_between_the_size_and_the_picture():
    config = dataclasses.replace(SMALL, sketches=True, caption_dropout=0.3)
    batch, found = first_batch(config)
    sketched = 0
    for index, row, where in found:
        scene = world.scene_at(config, index)
        words = world.caption_at(config, index, scene=scene)
        ids = TEXT.encode(sketch(in_order(scene, words))) if words else []
        head = [BOS, *TEXT.encode(words), BOI, *b"3*2", *ids, IMG]
        rest = [PAD] * 6 + [EOI, EOS]
        assert batch.sequence.token[row, where].tolist() == head + rest
        assert batch.sequence.weight[row, where].tolist() == [0] + [1] * (len(where) - 1)
        np.testing.assert_array_equal(
            batch.image[row, batch.sequence.segment[row, where[0]] - 1], render(scene, 16)
        )
        sketched += bool(ids)
    assert 0.5 * len(found) < sketched < len(found)


def test_where_all_captions_are_dropped_nothing_is_sketched():
    config = dataclasses.replace(SMALL, sketches=True, caption_dropout=1.0)
    batch, found = first_batch(config)
    for _, row, where in found:
        token = batch.sequence.token[row, where].tolist()
        assert token == [BOS, BOI, *b"3*2", IMG, *[PAD] * 6, EOI, EOS]


def test_a_sketch_groups_like_its_caption():
    config = DataConfig(mixture={"shapes": 1.0}, sketches=True, uncolored=0.5)
    seen = collections.Counter()
    for index in range(300):
        scene = world.scene_at(config, index)
        words = world.caption_at(config, index, scene=scene)
        plain = captions.caption(scene, index, config.max_caption_bytes)
        shapes_alone = captions.caption(scene, index, config.max_caption_bytes, uncolored=1.0)
        forms = [
            sketch(in_order(scene, words, colored=colored), colored=colored)
            for colored in (True, False)
        ]
        written = world.sketch_at(config, index, scene=scene, words=words)
        assert written in forms
        if words and plain != shapes_alone and forms[0] != forms[1]:
            assert written == forms[words == shapes_alone], words
            seen[words == shapes_alone] += 1
    assert min(seen[True], seen[False]) > 10, seen


@pytest.mark.parametrize("sketches", [True, False])
def test_captions_need_not_be_learnt(sketches):
    config = dataclasses.replace(SMALL, sketches=sketches, learn_captions=False)
    batch, found = first_batch(config)
    learnt, _ = first_batch(dataclasses.replace(config, learn_captions=True))
    for _, row, where in found:
        token, weight = batch.sequence.token[row, where].tolist(), batch.sequence.weight[row, where]
        caption = token.index(BOI)
        assert weight.tolist() == [0] * caption + [1] * (len(where) - caption)
    given, drawn = batch.sequence, learnt.sequence
    assert_equal(
        dataclasses.replace(batch, sequence=dataclasses.replace(given, weight=drawn.weight)), learnt
    )
    assert (given.weight <= drawn.weight).all()


def test_nothing_is_sketched_unless_asked():
    assert not DataConfig().sketches and DataConfig().learn_captions
    batch, found = first_batch(SMALL)
    for index, row, where in found:
        scene = world.scene_at(SMALL, index)
        words = world.caption_at(SMALL, index, scene=scene)
        assert world.sketch_at(SMALL, index, scene=scene, words=words) == ""
        token = batch.sequence.token[row, where].tolist()
        head = [BOS, *TEXT.encode(words), BOI, *b"3*2", IMG]
        assert token == [*head, *[PAD] * 6, EOI, EOS]


def test_seeds_and_splits_give_other_examples():
    base, other = SMALL, dataclasses.replace(SMALL, seed=1)
    assert world.scene_at(base, 5) == world.scene_at(base, 5)
    first, second = (
        [world.scene_at(config, index).to_json() for index in range(40)] for config in (base, other)
    )
    assert len({*first, *second}) == 80
    test = dataclasses.replace(SMALL, split=Split.TEST)
    for index in range(20):
        assert is_held_out(world.scene_at(test, index))
        assert not is_held_out(world.scene_at(base, index))


def test_eval_examples_are_held_out_and_fixed():
    examples = world.eval_examples(SMALL, Kind.WORDS, count=3, start=7)
    other = dataclasses.replace(SMALL, seed=9, caption_dropout=1.0, split=Split.TRAIN)
    again = world.eval_examples(other, Kind.WORDS, count=2, start=8)
    assert [e.scene for e in examples[1:]] == [e.scene for e in again]
    assert [e.caption for e in examples[1:]] == [e.caption for e in again]
    for example in examples:
        assert is_held_out(example.scene) and example.scene.kind == Kind.WORDS
        assert all(f'"{line.string}"' in example.caption for line in example.scene.texts)
        np.testing.assert_array_equal(example.image, render(example.scene, 16))


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("image_size", 0, "at least 1"),
        ("mixture", {"photos": 1.0}, "'landscapes'"),
        ("mixture", {}, "not all 0"),
        ("mixture", {Kind.WORDS: -1.0}, "0 or at least 1e-06"),
        ("mixture", {Kind.WORDS: 0.0}, "not all 0"),
        ("max_caption_bytes", 20, "at least 128"),
        ("row_length", 0, "at least 1"),
        ("images_per_row", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("split", "validation", "'train', 'test'"),
        ("workers", -1, "at least 0"),
        ("caption_dropout", 1.5, "0 to 1"),
        ("order", "spiral", "'raster', 'random'"),
    ],
)
def test_bad_settings_are_named(field, value, allowed):
    with pytest.raises(ValueError, match=f"^{field} is .*; allowed: .*{allowed}") as raised:
        DataConfig(**{field: value})
    shown = "photos" if value == {"photos": 1.0} else repr(value)
    assert shown in str(raised.value)


def test_rows_too_short_for_an_example_are_refused():
    with pytest.raises(ValueError, match="row_length is 300; allowed: at least 312"):
        rows_of(DataConfig(row_length=300), grid=(8, 8))
    rows_of(DataConfig(row_length=312), grid=(8, 8))
    message = (
        "row_length is 438; allowed: at least 439, which a caption of max_caption_bytes = 240, "
        r"127 of a sketch and \(8, 8\) picture tokens need"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        rows_of(DataConfig(row_length=438, sketches=True), grid=(8, 8))
    rows_of(DataConfig(row_length=439, sketches=True), grid=(8, 8))


def test_tokens_in_groups_take_one_img_each():
    short = DataConfig(row_length=314)
    with pytest.raises(ValueError, match="row_length is 314; allowed: at least 315"):
        pipeline.sequence_dataset(short, TEXT, (8, 8), 8, WHOLE, block=4)
    (one,) = take(rows_of(SMALL), 1)
    (three,) = take(pipeline.sequence_dataset(SMALL, TEXT, GRID, 8, WHOLE, block=3), 1)
    found = []
    for batch in (one, three):  # longer pictures are packed into other rows
        tokens = [batch.sequence.token[row][where] for row, _, where in samples(batch)]
        found.append({caption_of(token): token for token in tokens})
    both = found[0].keys() & found[1].keys()
    assert len(both) > len(found[1]) / 2
    for caption in both:
        flat, grouped = (tokens[caption] for tokens in found)
        assert (flat == IMG).sum() == 1 and (grouped == IMG).sum() == 3
        np.testing.assert_array_equal(flat[flat != IMG], grouped[grouped != IMG])
    row, _, where = next(samples(three))
    image = three.sequence.slot[row][where] >= 0
    assert (np.diff(three.sequence.group[row][where][image]) == [0, 0, 1, 0, 0]).all()


def test_a_sample_may_hold_several_texts_and_pictures():
    """Text, given picture, text, picture: rows as `layout` says, with their pictures in order."""
    config = dataclasses.replace(SMALL, row_length=96, images_per_row=4, order=Order.RANDOM)
    drawn = [np.full((16, 16, 3), n, np.uint8) for n in range(4)]
    draw = [lambda n=n: drawn[n] for n in range(4)]
    given, ab = Drawing(draw[0], list(b"pw"), Role.GIVEN), Words(list(b"ab"), Role.GIVEN)
    turns = Sample(0, [ab, given, Words(list(b"c"), Role.GIVEN), Drawing(draw[1], list(b"q"))])
    alone = Sample(1, [Words(list(b"d")), Drawing(draw[2])])
    for block in (1, 2):
        rows = RowBatches(config, 1, WHOLE, TEXT, GRID, block=block)
        row = rows.row([turns, alone], Size(16, 16))
        np.testing.assert_array_equal(row.image, np.stack([*drawn[:3], 0 * drawn[0]]))
        sample = row.sequence
        first, second = (np.flatnonzero(sample.segment == segment) for segment in (1, 2))
        assert len(first) == rows.length(turns.text_length, pictures=2)
        slots = [sample.slot[where][sample.slot[where] >= 0] for where in (first, second)]
        orders = slots[0][6:] - 6, slots[1] - 12  # of what is learnt; what is given is in raster
        assert slots[0][:6].tolist() == list(range(6))
        assert all(sorted(order) == list(range(6)) for order in orders)
        wanted = pack(
            [
                layout(
                    [
                        TextSpan(list(b"ab"), Role.GIVEN),
                        ImageSpan(3, 2, Role.GIVEN, sketch=list(b"pw"), block=block),
                        TextSpan(list(b"c"), Role.GIVEN),
                        ImageSpan(3, 2, order=orders[0], sketch=list(b"q"), block=block),
                    ],
                    Specials(256),
                    TEXT.encode,
                ),
                layout(
                    [TextSpan(list(b"d")), ImageSpan(3, 2, order=orders[1], block=block)],
                    Specials(256),
                    TEXT.encode,
                ),
            ],
            96,
            PAD,
        )
        wanted = ungrouped(wanted) if block == 1 else wanted
        assert_equal(sample, wanted)
        is_given = (sample.slot >= 0) & (sample.slot < 6)
        assert not sample.weight[is_given].any()
        assert (sample.weight[(sample.slot >= 6)] == 1).all()


def test_a_sample_with_a_picture_that_cannot_be_read_is_not_learnt():
    def fail():
        raise Rejected("damaged")

    rows = RowBatches(dataclasses.replace(SMALL, images_per_row=3), 1, WHOLE, TEXT, GRID)
    good = lambda: np.full((16, 16, 3), 7, np.uint8)  # noqa: E731
    bad = Sample(0, [Drawing(good, role=Role.GIVEN), Words([1]), Drawing(fail)])
    row = rows.row([bad, Sample(1, [Words([2]), Drawing(good)])], Size(16, 16))
    weight, segment = row.sequence.weight, row.sequence.segment
    assert not weight[segment == 1].any()
    assert weight[segment == 2].any()
    assert row.image[:, 0, 0, 0].tolist() == [7, 0, 7]


def test_batches_of_nothing_are_refused():
    with pytest.raises(ValueError, match="batch_size is 0; allowed: at least 1"):
        images_of(SMALL, batch_size=0)


def test_import_needs_neither_grain_nor_skia():
    code = (
        "import sys, omnigen.data.stream.pipeline; assert not {'grain', 'skia'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
