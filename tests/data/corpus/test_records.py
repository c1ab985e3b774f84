# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import random
import zlib

import pytest

from omnigen.data.corpus import records
from omnigen.data.corpus.records import Corpus, Manifest, Reason, Record, Rejected, ShardReader


def some(count, *, least=10, most=30_000, seed=0):
    dice = random.Random(seed)
    return [
        Record(f"k{n}", dice.randbytes(dice.randint(least, most)), n, 2 * n, (f"caption {n}", "é"))
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Sixty records of which some are longer than Riegeli's blocks."""
    path = tmp_path_factory.mktemp("shard") / "train-00000.arrayrecord"
    return path, records.write_shard(path, some(60, most=150_000))


def sound(path, count):
    """The numbers of the records that a file still gives, and these records."""
    reader, found = ShardReader(path, count), {}
    for number in range(count):
        try:
            found[number] = reader[number]
        except Rejected as rejected:
            assert rejected.reason == Reason.RECORD
    return found


def test_frames_hold_everything():
    record = Record("a/b", b"\x00pic", 3, 4, ("one", "zwei \ud800"), {"license": "CC0-1.0"})
    frame = record.pack(7)
    assert records.unpack(frame) == record
    assert frame[:4] == b"OmRc" and int.from_bytes(frame[8:12], "little") == 7
    assert int.from_bytes(frame[4:8], "little") == zlib.crc32(frame[8:])


def test_every_flipped_bit_and_every_cut_of_a_frame_is_noticed():
    frame = Record("k", b"picture", 3, 4, ("caption",)).pack(0)
    for bit in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Rejected):
            records.unpack(bytes(flipped))
    for cut in range(len(frame)):
        with pytest.raises(Rejected):
            records.unpack(frame[:cut])
    with pytest.raises(Rejected):
        records.unpack(frame + b"\0")


def test_shards_are_files_of_array_record_and_the_same_every_time(shard, tmp_path):
    from array_record.python.array_record_module import ArrayRecordReader

    path, described = shard
    reader = ArrayRecordReader(str(path))
    assert reader.num_records() == 60
    assert [records.unpack(frame) for frame in reader.read_all()] == some(60, most=150_000)
    again = records.write_shard(tmp_path / path.name, some(60, most=150_000))
    assert again == described
    assert list(tmp_path.iterdir()) == [tmp_path / path.name]


def test_a_shard_cut_anywhere_gives_every_record_that_is_whole(shard, tmp_path):
    path, described = shard
    data, expected = path.read_bytes(), some(60, most=150_000)
    # Where records end, found without the reader: their frames lie in the payload one by one.
    payload = b"".join(data[k + 24 : k + 65536] for k in range(0, len(data), 65536))
    ends = []
    for number, record in enumerate(expected):
        frame = record.pack(number)
        assert payload.count(frame) == 1
        end = payload.index(frame) + len(frame)
        ends.append(end + 24 * (-(-end // 65512)))
    dice = random.Random(1)
    cuts = [0, 1, 64, 65536, *ends[:3], ends[3] - 1, *dice.sample(range(len(data)), 92)]
    for cut in cuts:
        damaged = tmp_path / f"cut-{cut}.arrayrecord"
        damaged.write_bytes(data[:cut])
        whole = [number for number, end in enumerate(ends) if end <= cut]
        found = sound(damaged, 60)
        assert list(found) == whole, cut
        assert all(found[number] == expected[number] for number in whole)


def test_flipped_bits_cost_only_the_records_they_hit(shard, tmp_path):
    path, _ = shard
    expected, dice = some(60, most=150_000), random.Random(2)
    for flips in range(1, 13):
        data = bytearray(path.read_bytes())
        for _ in range(flips):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        damaged = tmp_path / f"flipped-{flips}.arrayrecord"
        damaged.write_bytes(data)
        found = sound(damaged, 60)
        assert len(found) >= 60 - 2 * flips
        assert all(record == expected[number] for number, record in found.items())


def test_a_missing_shard_loses_its_records_only(tmp_path):
    first = records.write_shard(tmp_path / "train-00000.arrayrecord", some(3))
    second = records.write_shard(tmp_path / "train-00001.arrayrecord", some(2, seed=1))
    manifest = Manifest({"train": (first, second)}, {}, {}, {})
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    (tmp_path / first.name).unlink()
    corpus = Corpus(tmp_path)
    assert len(corpus) == 5
    assert [corpus[3], corpus[4]] == some(2, seed=1)
    with pytest.raises(Rejected, match="damaged record"):
        corpus[2]
    with pytest.raises(IndexError):
        corpus[5]


def test_digests_tell_corpora_apart(tmp_path):
    one = records.write_shard(tmp_path / "train-00000.arrayrecord", some(3))
    other = dataclasses.replace(one, sha256="0" * 64)
    digests = {Manifest({"train": (s,)}, {}, {}, {}).digest for s in (one, other)}
    assert len(digests) == 2
    moved = Manifest({"train": (one,), "test": ()}, {"animated": 1}, {}, {"input": "elsewhere"})
    assert moved.digest in digests


@pytest.mark.parametrize("text", ["", "{}", "[]", json.dumps({"format": 99})])
def test_folders_that_are_no_corpus_are_refused(tmp_path, text):
    with pytest.raises(ValueError, match="is no prepared corpus"):
        Corpus(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="omnigen.data.prepare"):
        Corpus(tmp_path)


def test_chunks_are_bounded_before_they_are_unpacked(shard, tmp_path):
    from array_record.python.array_record_module import ArrayRecordWriter

    assert records.are_chunks_sound(shard[0])
    for name, size in (("honest", 1 << 20), ("bomb", (1 << 27) + 1)):
        path = tmp_path / f"{name}.arrayrecord"
        writer = ArrayRecordWriter(str(path), "group_size:1,zstd:3")
        writer.write(bytes(size))
        writer.close()
    assert records.are_chunks_sound(tmp_path / "honest.arrayrecord")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(Rejected, match=f"unpacks to {(1 << 27) + 1} bytes"):
        records.are_chunks_sound(path)
    for use in (
        lambda: ShardReader(path, 1, of_stranger=True),
        lambda: records.count_records(path),
    ):
        with pytest.raises(Rejected, match="file too large"):
            use()
    path.write_bytes(shard[0].read_bytes()[:-100_000])
    assert not records.are_chunks_sound(path)


def test_a_manifest_of_a_stranger(tmp_path):
    for text in ("[" * 100_000, "x", "\xff"):
        (tmp_path / records.MANIFEST).write_text(text)
        assert not records.is_corpus(tmp_path)
        with pytest.raises(ValueError, match="is no prepared corpus"):
            Manifest.read(tmp_path)
    with (tmp_path / records.MANIFEST).open("wb") as file:
        file.truncate(40 << 30)
    with pytest.raises(ValueError, match="allowed: up to"):
        Manifest.read(tmp_path)
    assert not records.is_corpus(tmp_path)
