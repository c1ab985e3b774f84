# SPDX-License-Identifier: Apache-2.0
"""Fingerprints: what tells the weights of one model from those of another, wherever they lie.

A fingerprint is of values: their names, shapes and numbers in one dtype, in the order of the names.
So a model keeps it when it is exported, loaded in another dtype or spread over other devices.
`checksums` ask something else: whether bytes are still those that were written. They tell dtypes
apart and are sums that need no order, since they are computed where arrays lie.

Three forms are kept, because files in use carry each of them:

- `exact` is of every bit of float32: latents of a corpus follow from all bits of the encoder.
- `shipped` is of bfloat16, as models ship: an evaluation goes on with an exported model.
- `version` is short, and also of the model's config: PNG files carry it.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_dtypes
import numpy as np
from jax.tree_util import keystr


def exact(params: Any) -> str:
    """Returns 64 hex digits that change with any bit of weights as float32."""
    return _sha256(params, np.float32, lambda path: f"/{_name(path)}", "")


def shipped(params: Any) -> str:
    """Returns 64 hex digits that change with any bit of weights as bfloat16."""
    return _sha256(params, ml_dtypes.bfloat16, lambda path: f"{keystr(path)} ", " ")


def version(config: Any, params: Any) -> str:
    """Returns twelve hex digits that name a model.

    Args:
        config: the model's, as JSON.
        params: its weights.
    """
    leaves = _leaves(params, ml_dtypes.bfloat16)
    sums = {_name(path): zlib.crc32(values.view(np.uint8).data) for path, values in leaves}
    described = json.dumps([config, sums], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:12]


def _sha256(params: Any, dtype: Any, head: Callable[[Any], str], tail: str) -> str:
    """SHA-256 over all leaves, each between its name and shape and the next."""
    found = hashlib.sha256()
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(params)]
    for (path, values), shape in zip(_leaves(params, dtype), shapes, strict=True):
        found.update(f"{head(path)}{shape}{tail}".encode())
        found.update(values.view(np.uint8).data)
    return found.hexdigest()


def _leaves(params: Any, dtype: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Yields the path and the flat values of each leaf, in the order of their names."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        values = np.asarray(leaf).astype(dtype, copy=False)
        yield path, np.ascontiguousarray(values).ravel()


def _name(path: Any) -> str:
    return keystr(path, simple=True, separator="/")
