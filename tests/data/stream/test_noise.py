# SPDX-License-Identifier: Apache-2.0
"""The oracle is the data itself: all but pictures must be the same."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

from omnigen.data.corpus.latents import Encoding
from omnigen.data.stream import noise, pipeline
from omnigen.data.stream.pipeline import DataConfig
from omnigen.parallel import DataShard
from omnigen.sequence import Modality
from omnigen.text import ByteText

SMALL, GRID, TEXT = DataConfig(image_size=16), (3, 2), ByteText()
ABSENT = DataConfig(image_size=16, mixture={"not/here": 1}, buckets="16x16,16x32", row_length=640)


@pytest.mark.parametrize("fields", [{}, {"sketches": True, "row_length": 1000}])
def test_rows_are_those_of_the_data_but_for_their_pictures(fields):
    config = dataclasses.replace(SMALL, **fields)
    found = noise.rows(config, TEXT, GRID, 8)
    batch = next(iter(pipeline.sequence_dataset(config, TEXT, GRID, 8, DataShard())))
    assert jax.tree.structure(found) == jax.tree.structure(batch)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(batch), strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    jax.tree.map(np.testing.assert_array_equal, found.sequence, batch.sequence)
    assert (found.image != batch.image).any()


def test_no_corpus_is_needed_and_the_largest_size_is_taken(monkeypatch):
    monkeypatch.setitem(sys.modules, "omnigen.scenes.render", None)
    image = noise.images(ABSENT, 3).image
    assert image.shape == (3, 16, 32, 3) and image.dtype == np.uint8 and 100 < image.mean() < 155
    found = noise.rows(ABSENT, TEXT, GRID, 8)
    assert found.image.shape == (8, 4, 16, 32, 3)
    tokens = (found.sequence.modality == Modality.IMAGE).sum(1)
    assert np.array_equal(tokens, found.sequence.segment.max(1) * 3 * 4)


def test_latents():
    config = dataclasses.replace(ABSENT, buckets="", latents=True)
    found = noise.rows(config, TEXT, GRID, 8, Encoding("", 16, tokens=6, latent_dim=5)).latents
    assert found.shape == (8, 4 * 6, 5) and found.dtype == np.float16 and np.abs(found).max() <= 1


def test_rows_too_short_are_refused():
    with pytest.raises(ValueError, match="row_length is 100; allowed: at least"):
        noise.rows(dataclasses.replace(SMALL, row_length=100), TEXT, GRID, 8)
