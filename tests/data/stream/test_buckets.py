# SPDX-License-Identifier: Apache-2.0
import io
import itertools
import json
from collections import Counter

import jax
import numpy as np
import pytest
from inputs import PLAIN, put
from PIL import Image

from omnigen.batch import Pictures
from omnigen.data.corpus import records
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import Corpus, Manifest, Record
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import ingest
from omnigen.data.stream import buckets, examples, pipeline
from omnigen.data.stream.mixing import Place
from omnigen.data.stream.pipeline import DataConfig
from omnigen.parallel import DataShard
from omnigen.scenes.scene import Kind
from omnigen.text import ByteText

SIZES = "16x16,8x24,24x8,32x32"
SQUARE, WIDE, TALL, LARGE = buckets.parse(SIZES)
GRID, TEXT = (2, 2), ByteText()


def record(number, height, width):
    """A picture of one colour that tells its number."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (number, 77, 0)).save(file, "PNG")
    return Record(f"k{number}", file.getvalue(), width, height, (f"number {number}",))


def corpus(folder, shapes, test=()):
    folder.mkdir(parents=True)
    splits = {}
    for split, chosen in (("train", shapes), ("test", test)):
        made = [record(n, *shape) for n, shape in enumerate(chosen)]
        splits[split] = (records.write_shard(folder / f"{split}-00000.arrayrecord", made),)
    Manifest(splits, {}, {}, {}).write(folder)
    return str(folder)


SHAPES = [(20, 20)] * 20 + [(20, 60)] * 10 + [(60, 20)] * 6 + [(50, 50)] * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("c") / "mixed", SHAPES, test=[(20, 20), (20, 60)])


def config_of(mixture, **fields):
    fields = {"buckets": SIZES, "row_length": 400, "caption_dropout": 0.0, **fields}
    return DataConfig(image_size=16, mixture=mixture, **fields)


def batches(config, count, *, size=4, shard=None, state=None, rows=False):
    shard = shard or DataShard(0, 1)
    if rows:
        stream = pipeline.sequence_dataset(config, TEXT, GRID, size, shard)
    else:
        stream = pipeline.images_dataset(config, size, shard)
    iterator = iter(stream)
    if state:
        iterator.set_state(json.loads(state))
    found = list(itertools.islice(iterator, count))
    state = json.dumps(iterator.get_state())
    iterator.close()
    return found, state


def size_of(batch):
    return Size(*batch.image.shape[-3:-1])


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (16, 16, SQUARE), (31, 31, SQUARE), (32, 32, LARGE), (400, 390, LARGE), (9, 9, SQUARE),
        (8, 24, WIDE), (3, 9, WIDE), (100, 500, WIDE), (100, 180, WIDE), (100, 170, LARGE),
        (24, 8, TALL), (500, 100, TALL), (20, 33, SQUARE), (0, 0, SQUARE),
    ],
)  # fmt: skip
def test_a_picture_goes_where_it_fits_best(height, width, expected):
    """The border between square and three to one is at the root of three."""
    every = buckets.parse(SIZES)
    assert every[buckets.assign(np.array([[height, width]]), every)[0]] == expected


@pytest.mark.parametrize("text", ["16", "16x", "16x16,", "ax2", "16x16,16x16", "0x4", "-8x8"])
def test_what_is_no_size_is_said(text):
    with pytest.raises(ValueError, match="buckets is .* as HEIGHTxWIDTH"):
        config_of({"./c": 1.0}, buckets=text)


def test_batches_are_of_one_size_and_sizes_as_frequent_as_pictures(folder):
    found, _ = batches(config_of({folder: 1.0}), 200)
    counts = Counter(map(size_of, found))
    for size, share in ((SQUARE, 20), (WIDE, 10), (TALL, 6), (LARGE, 4)):
        assert abs(counts[size] - 200 * share / 40) <= 12
    thousand = examples.Examples(config_of({folder: 1.0}))
    exact = Counter(thousand.at(number, Place(), 4)[0].size for number in range(1000))
    assert exact == {SQUARE: 500, WIDE: 250, TALL: 150, LARGE: 100}


def test_every_picture_comes_in_its_bucket_alone(folder):
    found, _ = batches(config_of({folder: 1.0}), 400)
    seen = {size: Counter() for size in buckets.parse(SIZES)}
    for batch in found:
        assert (batch.image[..., 1] == 77).all()  # no margins
        seen[size_of(batch)].update(batch.image[:, 0, 0, 0].tolist())
    assert seen[SQUARE].keys() == set(range(20)) and seen[WIDE].keys() == set(range(20, 30))
    assert seen[TALL].keys() == set(range(30, 36)) and seen[LARGE].keys() == set(range(36, 40))
    for counts in seen.values():  # whole epochs
        assert max(counts.values()) - min(counts.values()) <= 1


def by_size(found):
    """All examples of each size, in order."""
    joined = {}
    for batch in found:
        joined.setdefault(size_of(batch), []).append(batch.image)
    return {size: np.concatenate(parts) for size, parts in joined.items()}


@pytest.mark.parametrize("rows", [False, True])
def test_another_batch_size_skips_and_repeats_nothing(folder, rows):
    """In every bucket, batches of 4, 6, 1 and 2 hold together what batches of 1 hold."""
    config = config_of({folder: 1.0, Kind.SHAPES: 0.5})
    found, state, used = [], None, 0
    for size, count, processes in ((4, 9, 1), (6, 7, 2), (1, 8, 1), (2, 11, 2)):
        shards = [DataShard(index, processes) for index in range(processes)]
        parts, states = zip(
            *(
                batches(config, count, size=size // processes, shard=s, state=state, rows=rows)
                for s in shards
            ),
            strict=True,
        )
        (state,) = set(states)
        for same in zip(*parts, strict=True):
            found.append(Pictures(np.concatenate([part.image for part in same])))
        used += size * count
    assert sum(json.loads(state)["examples"]) == used
    ours, alone = by_size(found), by_size(batches(config, 220, size=1, rows=rows)[0])
    assert len(ours) == 4
    for size, images in ours.items():
        np.testing.assert_array_equal(images, alone[size][: len(images)])
    assert [len(ours[s]) for s in buckets.parse(SIZES)] == json.loads(state)["examples"]


@pytest.mark.parametrize("rows", [False, True])
def test_processes_and_resumes_change_nothing(folder, rows):
    """One process, then four, then two: what they make together is what one makes alone."""
    config = config_of({folder: 1.0, Kind.SHAPES: 0.5})
    alone, _ = batches(config, 18, rows=rows)
    assert len(set(map(size_of, alone))) == 4
    state = None
    for first, count in ((0, 1), (6, 4), (12, 2)):
        parts, states = zip(
            *(
                batches(
                    config, 6, size=4 // count, shard=DataShard(k, count), state=state, rows=rows
                )
                for k in range(count)
            ),
            strict=True,
        )
        (state,) = set(states)
        for number in range(6):
            joined = jax.tree.map(lambda *each: np.concatenate(each), *(p[number] for p in parts))
            assert jax.tree.structure(joined) == jax.tree.structure(alone[first + number])
            jax.tree.map(np.testing.assert_array_equal, joined, alone[first + number])


def test_rows_lay_out_as_many_tokens_as_their_pictures_have(folder):
    found, _ = batches(config_of({folder: 1.0}), 12, rows=True)
    for batch in found:
        size = size_of(batch)
        tokens = (size.height // 8) * (size.width // 8)
        for slot, segment, image in zip(
            batch.sequence.slot, batch.sequence.segment, batch.image, strict=True
        ):
            for place in range(segment.max()):
                used = slot[(segment == place + 1) & (slot >= 0)]
                assert sorted(used) == list(range(place * tokens, (place + 1) * tokens))
                assert image[place, 0, 0, 1] == 77


def test_scenes_are_drawn_at_the_squares(folder):
    found, _ = batches(config_of({Kind.SHAPES: 1.0}), 100)
    counts = Counter(map(size_of, found))
    assert counts.keys() == {SQUARE, LARGE} and 30 <= counts[SQUARE] <= 70
    assert len({batch.image.tobytes() for batch in found}) == 100
    with pytest.raises(ValueError, match="with a square, as scenes are"):
        config_of({Kind.SHAPES: 1.0}, buckets="8x24")


def test_one_square_is_no_bucket_at_all(folder):
    plain, _ = batches(config_of({folder: 1.0, Kind.WORDS: 1.0}, buckets=""), 5)
    one, _ = batches(config_of({folder: 1.0, Kind.WORDS: 1.0}, buckets="16x16"), 5)
    for left, right in zip(plain, one, strict=True):
        np.testing.assert_array_equal(left.image, right.image)


def test_sizes_are_measured_once(folder, monkeypatch):
    config = config_of({folder: 1.0})
    expected = [e.size for e in examples.Examples(config).buckets]
    monkeypatch.setattr(buckets, "size_of", None)
    assert [e.size for e in examples.Examples(config).buckets] == expected


def test_tars_and_turned_pictures_are_measured_by_their_headers():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (40, 20)).save(file, "JPEG", exif=exif)
    assert buckets.size_of(Record("k", file.getvalue(), 0, 0)) == Size(40, 20)


def test_the_test_split_has_its_own_buckets(folder):
    found, _ = batches(config_of({folder: 1.0}, split=Split.TEST), 10)
    assert set(map(size_of, found)) == {SQUARE, WIDE}


def test_latents_have_no_buckets(folder):
    with pytest.raises(ValueError, match="no buckets"):
        config_of({folder: 1.0}, latents=True)


def test_what_cannot_be_read_today_is_measured_again(tmp_path):
    put(tmp_path / "in", "a.png", "a", seed=1)
    ingest.run(ingest.plan(tmp_path / "in", tmp_path / "out", PLAIN))
    (shard,) = (tmp_path / "out").glob("*.arrayrecord")
    shard.rename(tmp_path / "away")
    assert buckets.measure(Corpus(tmp_path / "out"), Split.TRAIN).tolist() == [[0, 0]]
    records._open_shard.cache_clear()  # as in another process
    (tmp_path / "away").rename(shard)
    assert buckets.measure(Corpus(tmp_path / "out"), Split.TRAIN).tolist() == [[40, 48]]
