# SPDX-License-Identifier: Apache-2.0
"""Fingerprints are stored in files of users, so their values are pinned beside what they mean."""

import hashlib
import json
import zlib

import jax
import ml_dtypes
import numpy as np
import pytest

from omnigen.checkpoints import fingerprint
from omnigen.checkpoints.model import LoadedModel

TREE = {
    "head": np.arange(4, dtype=np.float32) / 3,
    "ar": {"w": np.arange(6, dtype=np.float32).reshape(2, 3) / 7},
}
FORMS = [fingerprint.exact, fingerprint.shipped, lambda tree: fingerprint.version({}, tree)]


def bits(array, dtype):
    return array.astype(dtype).tobytes()


def test_exact_is_of_names_shapes_and_float32():
    parts = b"/ar/w(2, 3)" + bits(TREE["ar"]["w"], np.float32)
    parts += b"/head(4,)" + bits(TREE["head"], np.float32)
    assert fingerprint.exact(TREE) == hashlib.sha256(parts).hexdigest()


def test_shipped_is_of_names_shapes_and_bfloat16():
    parts = b"['ar']['w'] (2, 3) " + bits(TREE["ar"]["w"], ml_dtypes.bfloat16)
    parts += b"['head'] (4,) " + bits(TREE["head"], ml_dtypes.bfloat16)
    assert fingerprint.shipped(TREE) == hashlib.sha256(parts).hexdigest()


def test_version_is_of_config_and_bfloat16():
    sums = {
        "ar/w": zlib.crc32(bits(TREE["ar"]["w"], ml_dtypes.bfloat16)),
        "head": zlib.crc32(bits(TREE["head"], ml_dtypes.bfloat16)),
    }
    text = json.dumps([{"a": 1}, sums], sort_keys=True)
    expected = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert fingerprint.version({"a": 1}, TREE) == expected != fingerprint.version({}, TREE)
    assert LoadedModel({"model": {"a": 1}}, TREE, 3, "").version == expected


@pytest.mark.parametrize("form", FORMS)
def test_arrays_may_lie_anywhere_but_not_be_others(form):
    same = {"ar": jax.tree.map(jax.numpy.asarray, TREE["ar"]), "head": TREE["head"]}
    assert form(same) == form(TREE)
    others = [
        {"head": TREE["head"], "ar": {"v": TREE["ar"]["w"]}},
        {"head": TREE["head"], "ar": {"w": TREE["ar"]["w"] * 2}},
        {**TREE, "more": np.zeros(2, np.float32)},
    ]
    assert len({form(TREE), *map(form, others)}) == 4


def test_dtypes_and_shapes():
    """Only `exact` tells what bfloat16 cannot hold; both long ones tell shapes."""
    rounded = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), TREE)
    turned = {**TREE, "ar": {"w": TREE["ar"]["w"].reshape(3, 2)}}
    exact, shipped, version = FORMS
    assert exact(rounded) != exact(TREE)
    assert shipped(rounded) == shipped(TREE) and version(rounded) == version(TREE)
    assert exact(turned) != exact(TREE) and shipped(turned) != shipped(TREE)
