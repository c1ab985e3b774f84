# SPDX-License-Identifier: Apache-2.0
"""Weights in eight bits: what a model-only checkpoint may hold instead of floats.

A matrix `w` is stored as int8, and beside it, as `w-scale` in float32, what one step of it is
worth, for each column of each matrix: a stack `[..., I, O]` has scales `[..., 1, O]`. A weight is
their product. It is off by half a step at most, 1/254 of the largest weight of its column. Vectors
and small matrices stay floats. Whoever loads a model gets floats and learns nothing of this.

Shape legend: I inputs, O outputs.
"""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from omnigen.checkpoints.store import Array

DTYPE = "int8"
_SUFFIX = "-scale"
_LEAST = 2**14  # numbers of a matrix that is worth its scales
_STEPS = 127  # on either side of zero
_FLOAT32 = np.dtype(np.float32)


def pack(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns weights with their large matrices in eight bits, the others in bfloat16.

    Args:
        params: Tree of dicts of arrays.
    """
    packed: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            packed[name] = pack(value)
            continue
        weights = np.asarray(value, np.float32)
        if weights.ndim < 2 or weights.size < _LEAST:
            packed[name] = weights.astype(ml_dtypes.bfloat16)
            continue
        largest = np.abs(weights).max(axis=-2, keepdims=True)
        scale = np.where(largest > 0, largest / _STEPS, 1).astype(np.float32)
        packed[name] = np.rint(weights / scale).astype(np.int8)
        packed[name + _SUFFIX] = scale
    return packed


def declared(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Returns what arrays are once they are unpacked, by path.

    Args:
        arrays: What a checkpoint declares, by path.

    Raises:
        ValueError: If the scales of a matrix are missing, or of another shape or dtype, or scales
            have no matrix.
    """
    found = dict(arrays)
    for path, array in arrays.items():
        if array.dtype != np.int8:
            continue
        scale = found.pop(path + _SUFFIX, None)
        wanted = (*array.shape[:-2], 1, *array.shape[-1:])
        if len(array.shape) < 2 or scale is None:
            raise ValueError(f"{path} is int8 and has no {path.rpartition('/')[2]}{_SUFFIX}")
        if scale.shape != wanted or scale.dtype != _FLOAT32:
            raise ValueError(
                f"{path}{_SUFFIX} is {scale.dtype} {scale.shape}; allowed: float32 {wanted}"
            )
        found[path] = Array(array.shape, _FLOAT32, array.packed + scale.packed)
    lone = sorted(path for path in found if path.endswith(_SUFFIX))
    if lone:
        raise ValueError(f"{lone[0]} belongs to no int8 array")
    return found


def unpack(leaves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the floats of arrays of which `declared` approved, by path; float32 if packed."""
    found = dict(leaves)
    for path, leaf in leaves.items():
        if leaf.dtype == np.int8:
            found[path] = leaf.astype(np.float32) * found.pop(path + _SUFFIX)
    return found
