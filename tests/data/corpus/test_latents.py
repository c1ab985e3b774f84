# SPDX-License-Identifier: Apache-2.0
import dataclasses
import functools
import json
import shutil

import jax
import numpy as np
import pytest

from omnigen import config, encode, recipe
from omnigen.checkpoints import fingerprint
from omnigen.data.corpus import latents, records
from omnigen.data.corpus.latents import Encoding, Latents
from omnigen.data.corpus.records import Corpus, Manifest, Reason, Record, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.stream import pipeline
from omnigen.data.stream.examples import DataConfig
from omnigen.generation import encode_corpus
from omnigen.models.omni import Omni
from omnigen.parallel import DataShard
from omnigen.scenes.scene import Kind

BAD = range(1, 20, 3)


def pictures(count, *, seed):
    from PIL import Image

    from omnigen.data.corpus import pictures

    rng = np.random.default_rng(seed)
    for number in range(count):
        image = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize((40, 36), 3)
        data = pictures.encode(image, lossless=True)
        yield Record(f"{seed}-{number}", data, 40, 36, (f"picture {number}",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of twenty pictures, of which every third is damaged, and two for the test."""
    folder = tmp_path_factory.mktemp("corpus")
    train_ = [*pictures(20, seed=0)]
    for bad in BAD:
        train_[bad] = dataclasses.replace(train_[bad], image=train_[bad].image[:50])
    shards = {
        split: (records.write_shard(folder / f"{split}-00000.arrayrecord", chosen),)
        for split, chosen in (("train", train_), ("test", [*pictures(2, seed=1)]))
    }
    Manifest(shards, {}, {}, {}).write(folder)
    return folder


def encoding_in(content):
    """What a corpus's latents.json says."""
    return Encoding(*(content[name] for name in ("encoder", "image_size", "tokens", "latent_dim")))


@pytest.fixture(scope="module")
def encoded(folder, untrained):
    """The same corpus with latents of an untrained encoder."""
    encode.main(["--corpus", str(folder), "--checkpoint", str(untrained)])
    return folder


@pytest.fixture(scope="module")
def stages(encoded, untrained):
    """The stage ar on pictures, and on their latents."""
    base = recipe.read("configs/ar.py:debug", [f"--config.train.frozen_from={untrained}"])
    data = dataclasses.replace(base.data, mixture={str(encoded): 1.0}, bad_limit=1.0)
    cached = dataclasses.replace(data, latents=True)
    return [
        recipe.build(dataclasses.replace(base, data=d), recipe.from_checkpoint)
        for d in (data, cached)
    ]


def test_latents_are_those_of_the_pictures_to_rounding(stages):
    batches = [next(iter(stage.dataset(8, DataShard(0, 1)))) for stage in stages]
    assert batches[1].image is None and batches[0].latents is None
    sequences = [batch.sequence for batch in batches]
    assert jax.tree.structure(sequences[0]) == jax.tree.structure(sequences[1])
    jax.tree.map(np.testing.assert_array_equal, *sequences)
    weight, slot = batches[0].sequence.weight, batches[0].sequence.slot
    row, place = np.nonzero((slot >= 0) & (weight > 0))
    assert 0 < len(row) < (slot >= 0).sum()  # damaged pictures have no weight
    drawn, read = (
        jax.jit(lambda b, stage=stage: stage.prepare({}, stage.frozen, b, None))(batch).latents
        for stage, batch in zip(stages, batches, strict=True)
    )
    where = row, slot[row, place]
    np.testing.assert_allclose(np.asarray(read)[where], np.asarray(drawn)[where], atol=2e-3)


@pytest.mark.slow
def test_losses_from_latents_are_those_from_pixels_to_rounding(stages):
    params = stages[0].init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 2)

    @functools.partial(jax.jit, static_argnums=0)
    def loss(number, batch):
        stage = stages[number]
        ready = stage.prepare(params, stage.frozen, batch, keys)
        return stage.loss(params, stage.frozen, ready, keys)[0]

    pixels, cached = (
        loss(number, next(iter(stage.dataset(2, DataShard(0, 1)))))
        for number, stage in enumerate(stages)
    )
    print(float(pixels), float(cached))
    np.testing.assert_allclose(cached, pixels, rtol=1e-3)


def test_the_test_split_has_latents_too(stages):
    batch = next(iter(stages[1].dataset(2, DataShard(0, 1), Split.TEST)))
    assert np.isfinite(batch.latents).all() and batch.latents.dtype == np.float16
    assert np.abs(batch.latents).max() > 0


def test_latents_of_other_weights_are_refused(encoded, stages, untrained):
    stage = stages[1]
    weights = jax.tree.map(lambda leaf: np.array(leaf), stage.frozen)
    first = jax.tree.leaves(weights["encoder"])[0]
    first.flat[0] += 1e-3
    other = type(stage)(stage.omni, stage.objective, stage.data, weights)
    with pytest.raises(ValueError, match="the latents are of another encoder; remove"):
        other.dataset(2, DataShard(0, 1))
    claim = encoded / "latents" / "made-of"
    text = claim.read_text()
    claim.write_text("other")
    with pytest.raises(ValueError, match="of other weights or pictures"):
        encode_corpus.encode(encoded, str(untrained))
    claim.write_text(text)


def test_an_interrupted_encoding_goes_on(folder, encoded, untrained, tmp_path, monkeypatch):
    monkeypatch.setattr(encode_corpus, "SHARD_ROWS", 8)
    monkeypatch.setattr(latents, "SHARD_ROWS", 8)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("latents"))
    seen = []
    rows = encode_corpus._encode_rows

    def dying(corpus, indices, encoder):
        seen.append((corpus.split, indices.start))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return rows(corpus, indices, encoder)

    monkeypatch.setattr(encode_corpus, "_encode_rows", dying)
    with pytest.raises(KeyboardInterrupt):
        encode_corpus.encode(copy, str(untrained))
    assert not (copy / "latents" / "latents.json").exists()
    encode_corpus.encode(copy, str(untrained))
    assert seen[3:] == [("train", 16), ("test", 0)]
    content = json.loads((copy / "latents" / "latents.json").read_text())
    encoding = encoding_in(content)
    ours, theirs = (Latents(Corpus(f), encoding) for f in (copy, encoded))
    for index in range(20):
        if index in BAD:
            with pytest.raises(Rejected, match="was not encoded"):
                ours[index]
        else:
            np.testing.assert_array_equal(ours[index], theirs[index])


def test_a_flipped_byte_costs_its_row_only(encoded, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(encoded, copy)
    content = json.loads((copy / "latents" / "latents.json").read_text())
    (shard,) = [
        p for p in (copy / "latents" / "train").rglob("*") if "c" in p.parts[-4:] and p.is_file()
    ]
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    rows = Latents(Corpus(copy), encoding_in(content))
    bad = []
    for index in set(range(20)) - set(BAD):
        try:
            rows[index]
        except Rejected as rejected:
            assert rejected.reason == Reason.RECORD
            bad.append(index)
    assert len(bad) == 1


def test_an_encoder_that_sees_less_is_another():
    model = recipe.read("configs/ar.py:debug").model
    weights = {"c": np.zeros(2, np.float32)}
    whole, local = (
        encode_corpus.encoding_of(Omni(dataclasses.replace(model, encoder=encoder)), weights)
        for encoder in (dataclasses.replace(model.encoder, local=local) for local in (False, True))
    )
    assert whole.encoder == fingerprint.exact(weights)
    assert local.encoder == f"{whole.encoder}-local"  # as corpora in use have it
    assert dataclasses.replace(local, is_local=False) == whole


def test_what_is_stored_with_latents_keeps_its_form(encoded, stages):
    encoding, manifest = stages[1]._encoding, Manifest.read(encoded)
    assert json.loads((encoded / "latents" / "latents.json").read_text()) == {
        "corpus": manifest.digest,
        "encoder": fingerprint.exact(stages[1].frozen["encoder"]) + "-local",
        "image_size": encoding.image_size,
        "tokens": encoding.tokens,
        "latent_dim": encoding.latent_dim,
    }
    claim = (encoded / "latents" / "made-of").read_text()
    assert claim == manifest.digest + encoding.encoder


def test_what_cannot_be_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="latents is True; allowed: only with corpora"):
        DataConfig(mixture={Kind.WORDS: 1.0, "./c": 1.0}, latents=True)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("latents"))
    data = DataConfig(image_size=32, mixture={str(copy): 1.0}, latents=True)
    from omnigen.text import ByteText

    with pytest.raises(ValueError, match="has no latents; make them: python -m"):
        encoding = Encoding("digest", 32, 4, 3)
        pipeline.sequence_dataset(data, ByteText(), (2, 2), 2, DataShard(0, 1), encoding)
    assert config.to_dict(data)["latents"] is True
