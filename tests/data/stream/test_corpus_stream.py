# SPDX-License-Identifier: Apache-2.0
import collections
import dataclasses
import io
import itertools
import json
import time

import jax
import numpy as np
import pytest
from PIL import Image

from omnigen.data.corpus import meanings, pictures, records
from omnigen.data.corpus.pictures import Crop
from omnigen.data.corpus.records import Manifest, Record
from omnigen.data.corpus.split import Split
from omnigen.data.corpus.thumbnail import thumbnail
from omnigen.data.stream import examples, pipeline, world
from omnigen.data.stream.pipeline import DataConfig
from omnigen.data.stream.recorded import Recorded
from omnigen.parallel import DataShard
from omnigen.scenes.scene import Kind
from omnigen.text import ByteText
from omnigen.wording.meaning import Meaning, Thing

SIZE, GRID, TEXT = 16, (2, 2), ByteText()
BOI, IMG = 256 + 3, 256 + 4
WHOLE = DataShard(0, 1)


def colored(number, *, base=0):
    """A record whose picture is all of one colour that tells its number, wider than it is high."""
    file = io.BytesIO()
    Image.new("RGB", (32, 24), (base + number, number % 7, 0)).save(file, "PNG")
    captions = (f"number {base + number}", " ".join(["something else"] * (number + 1)))
    return Record(f"k{number}", file.getvalue(), 32, 24, captions)


def corpus(folder, train, test=(), shard=10):
    """Writes a corpus of the given records, its train split in several shards."""
    folder.mkdir(parents=True)
    cut = [train[k : k + shard] for k in range(0, len(train), shard)]
    shards = [
        records.write_shard(folder / f"train-{k:05d}.arrayrecord", part)
        for k, part in enumerate(cut)
    ]
    splits = {"train": tuple(shards)}
    if test:
        splits["test"] = (records.write_shard(folder / "test-00000.arrayrecord", test),)
    Manifest(splits, {}, {}, {}).write(folder)
    return str(folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two corpora, of the numbers 0 to 24 and 100 to 139, with one test picture each."""
    folder = tmp_path_factory.mktemp("corpora")
    small = corpus(folder / "small", [colored(n) for n in range(25)], [colored(90)])
    large = corpus(folder / "large", [colored(n, base=100) for n in range(40)], [colored(95)])
    return small, large


def config_of(mixture, **fields):
    return DataConfig(image_size=SIZE, mixture=mixture, row_length=300, **fields)


def images(config, count, *, size=8, shard=WHOLE):
    return run(pipeline.images_dataset(config, size, shard), count)


def rows(config, count, *, size=8, shard=WHOLE):
    return run(pipeline.sequence_dataset(config, TEXT, GRID, size, shard), count)


def run(stream, count, state=None):
    iterator = iter(stream)
    if state is not None:
        iterator.set_state(state)
    batches = list(itertools.islice(iterator, count))
    iterator.close()
    return batches


def numbers(batches):
    """The numbers of the pictures, read off their colours; scenes are no single colour."""
    image = np.concatenate([batch.image.reshape(-1, SIZE, SIZE, 3) for batch in batches])
    flat = (image == image[:, :1, :1]).all(axis=(1, 2, 3))
    return [int(one[0, 0, 0]) if is_flat else -1 for one, is_flat in zip(image, flat, strict=True)]


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def joined(batches):
    """One batch of all."""
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def test_an_epoch_of_one_corpus_is_every_picture_once(two):
    got = numbers(images(config_of({two[0]: 1.0}), 10, size=5))
    assert sorted(got[:25]) == sorted(got[25:]) == list(range(25))
    assert got[:25] != got[25:]


def test_corpora_and_scenes_are_mixed_by_weight(two):
    small, large = two
    got = numbers(images(config_of({Kind.WORDS: 1.0, small: 2.0, large: 1.0}), 10, size=100))
    assert sum(0 <= n < 25 for n in got) == 500
    assert sum(n >= 100 for n in got) == 250
    every = {n: got.count(n) for n in range(25)}
    assert set(every.values()) == {20}  # whole epochs, though mixed


def test_scenes_are_the_same_beside_a_corpus(two):
    config = config_of({Kind.WORDS: 1.0, two[0]: 1.0})
    image = np.concatenate([b.image for b in images(config, 4)])
    alone = config_of({Kind.WORDS: 1.0})
    same = [
        (image[k] == examples.Examples(alone).buckets[0].picture(k)).all()
        for k in range(len(image))
    ]
    assert 12 <= sum(same) <= 20


def test_captions_and_pictures_stay_together(two):
    config = config_of({two[0]: 1.0}, caption_dropout=0.2, max_caption_bytes=128)
    found = dropped = 0
    for batch in rows(config, 3):
        for token, segment, image in zip(
            batch.sequence.token, batch.sequence.segment, batch.image, strict=True
        ):
            for place in range(segment.max()):
                ids = list(token[segment == place + 1])
                caption, number = TEXT.decode(ids[1 : ids.index(BOI)]), int(image[place, 0, 0, 0])
                long = " ".join(["something else"] * (number + 1))[:128]
                assert caption in ("", f"number {number}") or long.startswith(caption)
                assert len(caption) > 110 or caption in ("", f"number {number}", long)
                dropped += caption == ""
                found += 1
    assert found > 50 and 0.05 < dropped / found < 0.4


@pytest.mark.parametrize("dataset", [images, rows])
def test_one_four_and_two_processes_make_the_same_global_batches(two, dataset):
    config = config_of({Kind.SHAPES: 1.0, two[0]: 1.0, two[1]: 0.5}, crop=Crop.RANDOM)
    whole = dataset(config, 3)
    for count in (4, 2):
        parts = [
            dataset(config, 3, size=8 // count, shard=DataShard(k, count)) for k in range(count)
        ]
        for number, batch in enumerate(whole):
            assert equal(joined([part[number] for part in parts]), batch)


def test_a_run_goes_on_mid_epoch_with_another_number_of_processes(two):
    """One process, then four, then two: what they make together is what one makes alone."""
    config = config_of({two[0]: 1.0, two[1]: 0.5})
    alone, state = rows(config, 6), None
    for first, count in ((0, 1), (2, 4), (4, 2)):
        parts, states = [], []
        for index in range(count):
            stream = pipeline.sequence_dataset(
                config, TEXT, GRID, 8 // count, DataShard(index, count)
            )
            iterator = iter(stream)
            if state is not None:
                iterator.set_state(json.loads(state))
            parts.append([next(iterator), next(iterator)])
            states.append(json.dumps(iterator.get_state()))
            iterator.close()
        (state,) = set(states)
        for number in range(2):
            assert equal(joined([part[number] for part in parts]), alone[first + number])


def test_the_first_batch_comes_at_once_wherever_the_run_stands(two):
    config = config_of({two[0]: 1.0, Kind.SHAPES: 1.0})
    stream = pipeline.images_dataset(config, 8, DataShard())
    content = iter(stream).get_state()["content"]
    since = time.monotonic()
    (batch,) = run(stream, 1, {"batch": 10**15, "content": content})
    assert time.monotonic() - since < 2.0
    assert batch.image.shape == (8, SIZE, SIZE, 3)


@pytest.mark.slow
def test_worker_processes_change_nothing(two):
    config = config_of({two[0]: 1.0, Kind.SHAPES: 1.0})
    workers = rows(dataclasses.replace(config, workers=2), 4)
    assert all(map(equal, rows(config, 4), workers))


def test_the_state_of_another_corpus_is_taken_and_told_apart(two):
    """`checkpoints/data_position.py` tells of it."""
    state = iter(pipeline.images_dataset(config_of({two[0]: 1.0}), 2, DataShard())).get_state()
    other = iter(pipeline.images_dataset(config_of({two[1]: 1.0}), 2, DataShard()))
    other.set_state({**state, "batch": 3})
    found = other.get_state()
    assert found["batch"] == 3 and found["content"] != state["content"]


def test_the_test_split_is_another(two):
    config = config_of({two[0]: 1.0}, split=Split.TEST)
    assert set(numbers(images(config, 1))) == {90}


def test_crops(two, tmp_path):
    stripe = np.zeros((20, 60, 3), np.uint8)
    stripe[:, 20:40] = 255
    folder = corpus(
        tmp_path / "stripe",
        [Record("k", pictures.encode(Image.fromarray(stripe), lossless=True), 60, 20)],
    )
    (batch,) = images(config_of({folder: 1.0}), 1)
    assert (batch.image == 255).all()
    (batch,) = images(config_of({folder: 1.0}, crop=Crop.RANDOM), 1)
    means = batch.image.mean(axis=(1, 2, 3))
    assert len(set(means)) > 4 and means.min() < 100


def damage(folder, source):
    """A copy of a corpus whose first shard is cut in the middle and whose second has a flip."""
    import shutil

    shutil.copytree(source, folder)
    first, second = sorted(folder.glob("train-*"))[:2]
    first.write_bytes(first.read_bytes()[:1000])
    data = bytearray(second.read_bytes())
    data[400] ^= 1
    second.write_bytes(data)
    return str(folder)


def test_bad_records_are_replaced_and_the_stream_stays_the_same(two, tmp_path):
    damaged = damage(tmp_path / "damaged", two[0])
    config = config_of({damaged: 1.0}, bad_limit=1.0)
    expected = numbers(images(config_of({two[0]: 1.0}), 25, size=2))
    got = numbers(images(config, 25, size=2))
    gone = set(range(25)) - set(got)
    assert 1 <= len(gone) < 12
    assert all(g == e or e in gone for g, e in zip(got, expected, strict=True))
    parts = [numbers(images(config, 25, size=1, shard=DataShard(k, 2))) for k in range(2)]
    assert [n for pair in zip(*parts, strict=True) for n in pair] == got
    assert all(map(equal, rows(config, 2), rows(config, 2)))


def test_a_picture_that_does_not_decode_is_not_learnt(tmp_path):
    """Its frame is sound, so its caption was packed before anyone noticed."""
    good, bad = [colored(n) for n in range(3)], Record("bad", b"\x89PNG\r\n\x1a\nx", 9, 9, ("bad",))
    folder = corpus(tmp_path / "c", [*good, bad])
    (batch,) = rows(config_of({folder: 1.0}, caption_dropout=0.0), 1)
    seen = 0
    for token, segment, weight in zip(
        batch.sequence.token, batch.sequence.segment, batch.sequence.weight, strict=True
    ):
        for place in range(1, segment.max() + 1):
            here = segment == place
            is_bad = TEXT.decode(list(token[here])[1:4]) == "bad"
            assert weight[here].any() != is_bad
            seen += is_bad
    assert seen > 2
    assert set(numbers(images(config_of({folder: 1.0}), 3))) == {0, 1, 2}


def test_the_sketch_of_a_picture_is_its_thumbnail(two, tmp_path):
    damaged = Record("bad", b"\x89PNG\r\n\x1a\nx", 9, 9, ("bad",))
    folder = corpus(tmp_path / "c", [*(colored(n) for n in range(12)), damaged])
    mixture = {folder: 4.0, Kind.SHAPES: 1.0}
    config = config_of(mixture, caption_dropout=0.2, thumbnails=True, learn_captions=False)
    config = dataclasses.replace(config, row_length=400)
    (batch,) = rows(config, 1, size=16)
    fields = batch.sequence
    assert equal(batch, rows(config, 1, size=16)[0])
    seen = collections.Counter()
    for row in range(16):
        token, segment, weight = fields.token[row], fields.segment[row], fields.weight[row]
        for place in range(segment.max()):
            where = segment == place + 1
            ids, learnt = list(token[where]), weight[where]
            caption = TEXT.decode(ids[1 : ids.index(BOI)])
            written = TEXT.decode(ids[ids.index(BOI) + 1 : ids.index(IMG)])
            of_corpus = caption.startswith(("number", "something", "bad"))
            expected = thumbnail(batch.image[row, place]) if of_corpus else ""
            assert written == "2*2" + expected
            assert not caption or learnt[ids.index(BOI) :].all() == (caption != "bad")
            seen["bad" if caption == "bad" else expected[:2] if of_corpus else bool(caption)] += 1
    assert seen["bad"] > 1 and seen["#A"] > 5, seen  # numbers up to 11 are nearly black
    assert seen[True] > 3 and seen[False] > 3, seen


def written_before(batch):
    """Caption and sketch of every picture of a batch."""
    for row in range(len(batch.sequence.token)):
        token, segment = batch.sequence.token[row], batch.sequence.segment[row]
        for place in range(segment.max()):
            ids = list(token[segment == place + 1])
            caption = TEXT.decode(ids[1 : ids.index(BOI)])
            written = TEXT.decode(ids[ids.index(BOI) + 1 : ids.index(IMG)])
            yield caption, written.removeprefix("2*2"), batch.image[row, place]


def test_a_square_picture_that_brings_a_sketch_has_that(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 99, 199)).save(file, "PNG")

    def record(name, sketch, height=32):
        return Record(name, file.getvalue(), 32, height, (name,), {"sketch": sketch})

    records_ = [record("own", "<fox>gg8"), record("long", "x" * 128), record("wide", "no", 24)]
    records_ += [record("most", "ü" + 125 * "y"), record("none", "")]
    folder = corpus(tmp_path / "c", records_)
    for sketches, thumbnails in ((True, True), (True, False), (False, True), (False, False)):
        flags = {"sketches": sketches, "thumbnails": thumbnails, "caption_dropout": 0.3}
        config = dataclasses.replace(config_of({folder: 1.0}, **flags), row_length=400)
        (batch,) = rows(config, 1, size=32)
        seen = set()
        for caption, written, image in written_before(batch):
            other = thumbnail(image) if thumbnails else ""
            own = {"own": "<fox>gg8", "most": "ü" + 125 * "y", "": ""} if sketches else {"": ""}
            assert written == own.get(caption, other)
            seen.add(caption)
        assert seen >= {"own", "long", "wide", "none", ""}


def test_readings_of_a_corpus_have_the_sketches_of_its_pictures(tmp_path):
    """Their own or, if asked, their thumbnails."""
    own = dataclasses.replace(colored(0), captions=("own",), attributes={"sketch": "<fox>gg8"})
    own = dataclasses.replace(own, width=32, height=32)
    folder = corpus(tmp_path / "c", [own, colored(3)], [colored(9)])
    fields = {"sketches": True, "readings": 2, "reading_mixture": {folder: 1.0}}
    config = DataConfig(image_size=SIZE, mixture={"shapes": 1.0}, row_length=400, **fields)

    def read(config):
        found = examples.Examples(config)
        return [found.readings.at(found.buckets[0], number) for number in range(40)]

    number_3 = "number 3", " ".join(["something else"] * 4)
    texts = {(one.caption, one.sketch) for one in read(config)}
    assert texts == {("own", "<fox>gg8"), *((caption, "") for caption in number_3)}
    shown = dataclasses.replace(config, thumbnails=True)
    wanted = {thumbnail(one.draw()) for one in read(shown) if one.sketch is None}
    assert len(wanted) == 1
    (batch,) = rows(shown, 1, size=8)
    read_alone = 0
    for row, segment in enumerate(batch.sequence.segment):
        for number in range(1, segment.max() + 1):
            token = batch.sequence.token[row, segment == number].tolist()
            caption = TEXT.decode(token[1 : token.index(BOI)])
            if token[-1] == IMG and caption in number_3:
                assert TEXT.decode(token[token.index(BOI) + 4 : -1]) in wanted
                read_alone += 1
    assert read_alone > 3
    nothing = dataclasses.replace(config, readings=0)
    assert examples.Examples(config).content and not examples.Examples(nothing).content
    bare = corpus(tmp_path / "d", [own])
    test = dataclasses.replace(config, reading_mixture={bare: 1.0}, split=Split.TEST)
    assert examples.Examples(test).readings is None
    (batch,) = rows(test, 1, size=4)
    assert batch.sequence.segment.max() <= config.images_per_row
    with pytest.raises(ValueError, match="reading_mixture: .* has no pictures of the split train"):
        empty = corpus(tmp_path / "e", [], [own])
        examples.Examples(dataclasses.replace(config, reading_mixture={empty: 1.0}))


def test_records_are_worded_anew_if_they_say_what_they_hold(tmp_path, monkeypatch):
    """The wording is a stub, of which the oracle knows what it is told."""
    pandas = Meaning("things", (Thing("panda", 2),), background="blue")
    written = meanings.write(pandas)
    good = dataclasses.replace(colored(0), captions=("given",), attributes={"meaning": written})
    bad = dataclasses.replace(colored(1), captions=("bad",), attributes={"meaning": "{}"})
    folder = corpus(tmp_path / "c", [good, bad])
    config = config_of({folder: 1.0}, max_caption_bytes=128)

    def captions():
        (bucket,) = examples.Examples(config).buckets
        return collections.Counter(bucket.candidate(n).caption for n in range(800))

    def phrase(meaning, dice, most):
        assert most == 128 and dataclasses.replace(meaning, background="blue") == pandas
        return f"2 pandas on {meaning.background}, {dice.integer(0, 9)}"

    monkeypatch.setattr(meanings, "phrase", phrase)
    found = captions()
    assert found == captions()  # from the index alone
    share = 0.45  # of what comes: half of the records, a tenth without captions
    assert abs(found.pop("") - 80) < 40 and abs(found.pop("bad") - 800 * share) < 60
    assert abs(found.pop("given") - 800 * share * meanings.GIVEN) < 45
    grounds = collections.Counter()
    for caption, count in found.items():
        grounds[caption.split(",")[0]] += count
    assert grounds.keys() == {"2 pandas on blue", "2 pandas on None"} and len(found) == 20
    monkeypatch.setattr(meanings, "phrase", lambda *_: None)  # there is no room for any
    assert captions().keys() == {"", "bad", "given"}


def test_thumbnails_need_pictures_and_letters(two):
    class Words:
        """A tokenizer without single letters."""

        vocab_size = 300

        def encode(self, text):
            return [299, *TEXT.encode(text)]

    with pytest.raises(ValueError, match="^thumbnails is True; allowed: without latents"):
        config_of({two[0]: 1.0}, thumbnails=True, latents=True)
    config = config_of({two[0]: 1.0}, thumbnails=True)
    with pytest.raises(ValueError, match="^thumbnails is True; allowed: with a text tokenizer"):
        pipeline.sequence_dataset(config, Words(), GRID, 8, WHOLE)
    with pytest.raises(ValueError, match="row_length is 300; allowed: at least 317, .* 65 of a s"):
        rows(dataclasses.replace(config, max_caption_bytes=240), 1)


def test_what_cannot_be_read_is_said_at_once(two, tmp_path, caplog):
    with pytest.raises(ValueError, match="'\\./nowhere' is no prepared corpus"):
        images(config_of({"./nowhere": 1.0}), 1)
    folder = corpus(tmp_path / "c", [colored(1)])
    images(config_of({folder: 1.0, two[0]: 1.0}), 1)
    assert "held out" not in caplog.text
    images(config_of({folder: 1.0}), 1)
    assert "nothing in data.mixture is held out" in caplog.text
    with pytest.raises(ValueError, match="has no pictures of the split test"):
        rows(config_of({folder: 1.0}, split=Split.TEST), 1)
    assert numbers(images(config_of({folder: 1.0, two[0]: 1.0}, split=Split.TEST), 1)) == [90] * 8
    with pytest.raises(ValueError, match="bad_limit is 2; allowed: 0 to 1"):
        config_of({folder: 1.0}, bad_limit=2)


def test_previews_are_held_out_examples_of_what_is_trained_on(two):
    (small, large) = pipeline.previews(config_of({two[0]: 1.0, two[1]: 2.0}))
    assert (small.caption, large.caption) == ("number 90", "number 95")
    assert (small.image[..., 0] == 90).all() and small.image.shape == (SIZE, SIZE, 3)
    mixed = pipeline.previews(config_of({two[0]: 1.0, Kind.WORDS: 1.0}), count=1)
    scenes = [world.eval_examples(DataConfig(), kind, count=1, start=0)[0] for kind in Kind]
    assert [e.caption for e in mixed] == [*(e.caption for e in scenes), "number 90"]


def test_previews_pass_over_what_cannot_be_read(tmp_path):
    broken = dataclasses.replace(colored(90), image=b"no picture")
    folder = corpus(tmp_path / "c", [colored(1)], [broken, colored(91), broken, broken])
    found = pipeline.previews(config_of({folder: 1.0}), count=2)
    assert [example.caption for example in found] == ["number 91"]
    alone = corpus(tmp_path / "alone", [colored(1), colored(2)])
    found = pipeline.previews(config_of({alone: 1.0}))  # nothing is held out
    assert [example.caption for example in found] == ["number 1", "number 2"]
    assert not examples.has_held_out(config_of({alone: 1.0}))
    assert examples.has_held_out(config_of({alone: 1.0, folder: 1.0}))
    assert examples.has_held_out(config_of({alone: 1.0, Kind.WORDS: 1.0}))
    never = config_of({alone: 1.0, Kind.WORDS: 0.0})
    assert not examples.has_held_out(never) and never.kinds.keys() == {Recorded}
    assert [example.caption for example in pipeline.previews(never)] == ["number 1", "number 2"]
    with pytest.raises(ValueError, match="has no pictures of the split test"):
        examples.Examples(dataclasses.replace(never, split=Split.TEST))


def test_weights_that_would_never_come_are_refused(two):
    with pytest.raises(ValueError, match="weights of 0 or at least 1e-06"):
        config_of({two[0]: 1e-7, two[1]: 1.0})


def test_a_whole_mixture_is_set_from_the_command_line(two):
    from omnigen import recipe

    text = f"--config.data.mixture={{'{two[0]}': 1, 'words': 0.5}}"
    read = recipe.read("configs/ar.py:debug", [text])
    assert read.data.mixture == {two[0]: 1.0, "words": 0.5}
    with pytest.raises(ValueError, match="'wrods'.*'words'.*slash in its path"):
        recipe.read("configs/ar.py:debug", ["--config.data.mixture={'wrods': 1}"])
