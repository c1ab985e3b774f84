# SPDX-License-Identifier: Apache-2.0
import io
import itertools
import json
import pathlib
import pickle
import re
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from omnigen import progress
from omnigen.data import inspect
from omnigen.data.corpus import webdataset
from omnigen.data.corpus.records import Corpus, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import ingest
from omnigen.data.stream import buckets, examples, pipeline, tars
from omnigen.data.stream.pipeline import DataConfig
from omnigen.parallel import DataShard
from omnigen.scenes.scene import Kind
from omnigen.text import ByteText

SIZE = 16


def picture(number, kind="PNG"):
    """Of all one colour that tells its number."""
    file = io.BytesIO()
    Image.new("RGB", (48, 40), (number % 256, number // 256, 90)).save(file, kind)
    return file.getvalue()


def write(path, samples):
    """A tar of samples, `(key, {suffix: bytes})` each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, files in samples:
            for suffix, content in files.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def sample(number, **files):
    return f"{number:05d}", {"png": picture(number), "txt": f"number {number}".encode(), **files}


def tars_of(folder, count, per_tar):
    for start in range(0, count, per_tar):
        numbers = range(start, min(start + per_tar, count))
        write(folder / f"{start:05d}.tar", [sample(n) for n in numbers])
    return folder


def first_batches(mixture, count, *, size=8, shard=None, state=None, **fields):
    config = DataConfig(image_size=SIZE, mixture=mixture, **fields)
    iterator = iter(pipeline.images_dataset(config, size, shard or DataShard(0, 1)))
    if state:
        iterator.set_state(state)
    got = [batch.image for batch in itertools.islice(iterator, count)]
    state = iterator.get_state()
    iterator.close()
    return np.concatenate(got), state


def numbers(images):
    red, green = images[:, 0, 0, 0].astype(int), images[:, 0, 0, 1].astype(int)
    assert (images == images[:, :1, :1]).all()
    return (red + 256 * green).tolist()


def test_tars_hold_what_prepare_makes_of_them(tmp_path):
    folder = tars_of(tmp_path / "in", 300, 70)
    keep = ingest.Settings(near_duplicates=-1)
    ingest.run(ingest.plan(folder, tmp_path / "out", keep))
    for split in Split:
        direct, prepared = tars.TarCorpus(folder, split), Corpus(tmp_path / "out", split)
        assert len(direct) == len(prepared) > 0
        assert direct.held_out == prepared.held_out
        for one, other in zip(direct, prepared, strict=True):
            assert (one.key, one.image, one.captions) == (other.key, other.image, other.captions)


def test_an_epoch_of_tars_is_every_picture_once(tmp_path):
    folder = tars_of(tmp_path / "in", 50, 20)
    trained = len(tars.TarCorpus(folder))
    assert trained == 49
    images, _ = first_batches({str(folder): 1.0}, 2, size=trained)
    first, second = numbers(images[:trained]), numbers(images[trained:])
    assert sorted(first) == sorted(second) and len(set(first)) == trained
    assert first != second


def test_one_tar_is_a_corpus_too_and_mixes_with_others(tmp_path):
    path = write(tmp_path / "a" / "b.tar", [sample(n) for n in range(30)])
    images, _ = first_batches({str(path): 1.0, Kind.SHAPES: 1.0}, 1, size=100)
    flat = (images == images[:, :1, :1]).all(axis=(1, 2, 3))
    assert 35 <= flat.sum() <= 65 and set(numbers(images[flat])) < set(range(30))


def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    mixture = {str(tars_of(tmp_path / "in", 60, 25)): 1.0}
    whole, _ = first_batches(mixture, 6)
    _, state = first_batches(mixture, 3)
    state = json.loads(json.dumps(state))
    parts = [
        first_batches(mixture, 3, size=2, shard=DataShard(k, 4), state=state)[0].reshape(3, 2, -1)
        for k in range(4)
    ]
    joined = np.concatenate(parts, axis=1).reshape(24, SIZE, SIZE, 3)
    assert (joined == whole[24:]).all()


def test_a_tar_that_two_threads_open_at_once_stays_open(tmp_path, monkeypatch):
    """The cache then keeps the file of one of them; here it keeps none."""
    corpus = tars.TarCorpus(tars_of(tmp_path / "in", 20, 5))
    monkeypatch.setattr(tars, "_open", tars._Open)
    assert [record.image for record in corpus] == [picture(int(r.key)) for r in corpus]


def test_captions_come_with_pictures(tmp_path):
    path = write(
        tmp_path / "a.tar",
        [
            ("x/1", {"jpg": picture(1, "JPEG"), "json": b'{"caption": "one", "license": "MIT"}'}),
            ("x/2", {"json": b'{"caption": "no"}', "txt": b" tw\xc3\xb6\n", "png": picture(2)}),
            ("3", {"webp": picture(3, "WEBP")}),
            ("4", {"txt": b"no picture"}),
            ("5", {"cls": b"7", "gif": picture(5, "GIF")}),
        ],
    )
    both = [*tars.TarCorpus(path), *tars.TarCorpus(path, Split.TEST)]
    found = {record.key: (record.captions, dict(record.attributes)) for record in both}
    assert found == {
        "x/1": (("one",), {"license": "MIT"}),
        "x/2": (("twö",), {}),
        "3": ((), {}),
        "5": ((), {}),
    }
    config = DataConfig(image_size=SIZE, mixture={str(path): 1.0}, row_length=300)
    rows = pipeline.sequence_dataset(config, ByteText(), (2, 2), 4, DataShard(0, 1))
    batch = next(iterator := iter(rows))
    iterator.close()
    assert batch.image.shape[2:] == (SIZE, SIZE, 3)


def test_headers_are_read_once_unless_the_tar_changes(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tar", [sample(n) for n in range(300)])
    digest = tars.TarCorpus(path).digest
    read = webdataset.index_tar
    monkeypatch.setattr(webdataset, "index_tar", None)
    again = pickle.loads(pickle.dumps(tars.TarCorpus(path)))
    assert again.digest == digest and len(again) == len(tars.TarCorpus(path))
    monkeypatch.setattr(webdataset, "index_tar", read)
    write(path, [sample(n) for n in range(400)])
    assert tars.TarCorpus(path).digest != digest
    assert len(tars.TarCorpus(path)) > 300


def test_no_cache_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OMNIGEN_CACHE", str(tmp_path / "file" / "below"))
    path = write(tmp_path / "a.tar", [sample(n) for n in range(9)])
    assert len(tars.TarCorpus(path)) == 8


def test_a_tar_that_ends_early_gives_what_it_has(tmp_path):
    path = write(tmp_path / "a.tar", [sample(n) for n in range(20)])
    data = path.read_bytes()
    for cut in np.linspace(2000, len(data) - 1, 12, dtype=int):
        path.write_bytes(data[:cut])
        both = [tars.TarCorpus(path), tars.TarCorpus(path, Split.TEST)]
        good = 0
        for corpus in both:
            for index in range(len(corpus)):
                try:
                    record = corpus[index]
                except Rejected:
                    continue
                assert record.image == picture(int(record.key))
                good += 1
        headers = {int(key) for key, found in webdataset.index_tar(path).samples.items() if found}
        assert len(headers) - 1 <= good <= len(headers)
    images, _ = first_batches({str(path): 1.0}, 3, bad_limit=1.0)
    assert set(numbers(images)) <= set(range(20))


def test_the_first_batch_comes_at_once_wherever_the_run_stands(tmp_path):
    folder = tars_of(tmp_path / "in", 500, 100)
    _, state = first_batches({str(folder): 1.0}, 1)
    since = time.monotonic()
    first_batches({str(folder): 1.0}, 1, state={"batch": 10**12, "content": state["content"]})
    assert time.monotonic() - since < 2.0


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such tar"), (b"x" * 2000, "is no tar archive"), (b"\0" * 10240, "no pictures")],
)
def test_what_cannot_be_read_is_said_at_once(tmp_path, content, message):
    path = pathlib.Path(tmp_path, "a.tar")
    if content:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        first_batches({str(path): 1.0}, 1)


def test_latents_are_of_prepared_corpora_alone(tmp_path):
    from omnigen.data.corpus.latents import Encoding

    path = write(tmp_path / "a.tar", [sample(n) for n in range(9)])
    config = DataConfig(image_size=SIZE, mixture={str(path): 1.0}, latents=True)
    with pytest.raises(ValueError, match="only with prepared corpora"):
        examples.Examples(config, Encoding("x", SIZE, 4, 8))


def test_tars_can_be_inspected(tmp_path, capsys):
    path = write(tmp_path / "a.tar", [sample(n) for n in range(9)])
    inspect.main([str(path)])
    assert [*tmp_path.iterdir()] == [path]  # nothing is written beside tars
    assert "no contact sheets; --output names" in capsys.readouterr().out
    inspect.main([str(path), f"--output={tmp_path}"])
    lines = capsys.readouterr().out.splitlines()
    assert "train: 8 pictures, of which 8 were read" in lines
    assert any(line.startswith("test: width, pixels: 48 .. 48") for line in lines)
    sheet = np.asarray(Image.open(tmp_path / "contact-train.png"))
    assert (sheet[64, 64, 1:] == (0, 90)).all()


def test_long_work_before_training_is_told(tmp_path, monkeypatch, capsys):
    """Reading headers, digesting and measuring: what, how much of how much, how long to go."""
    monkeypatch.setattr(progress, "FIRST_S", 0.02)
    monkeypatch.setattr(progress, "EVERY_S", 0.02)
    folder = tars_of(tmp_path / "in", 40, per_tar=10)
    size = sum(path.stat().st_size for path in folder.iterdir())
    slow = {  # what is called for every file, sample or tar
        (webdataset, "_wrong"): webdataset._wrong,
        (buckets, "size_of"): buckets.size_of,
        (progress.Progress, "add"): progress.Progress.add,
    }
    for (place, name), plain in slow.items():
        monkeypatch.setattr(place, name, lambda *a, plain=plain: (time.sleep(0.01), plain(*a))[1])
    monkeypatch.setattr(buckets, "_CHUNK", 2)
    corpus = tars.TarCorpus(folder)
    lines = capsys.readouterr().err.splitlines()
    total = f"of {size / 1e6:.0f} MB"
    assert len(lines) > 3 and all(
        re.fullmatch(rf"reading the headers of {folder}: \d MB {total}, .*", line) for line in lines
    )
    assert any(re.search(r"s so far, about \d+ s left$", line) for line in lines)
    assert re.search(rf": \d MB {total}, took \d s$", lines[-1])
    assert corpus.digest == tars.TarCorpus(folder).digest
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"digesting the index of {folder}: 0 MB of") for line in lines)
    buckets.measure(corpus, Split.TRAIN)
    lines = capsys.readouterr().err.splitlines()
    pattern = rf"measuring the pictures of {folder}: \d+ of {len(corpus)}, .* about \d s left"
    assert any(re.fullmatch(pattern, line) for line in lines)
    buckets.measure(tars.TarCorpus(folder), Split.TRAIN)
    err = capsys.readouterr().err
    assert "headers" not in err and "measuring" not in err  # from the cache
