# SPDX-License-Identifier: Apache-2.0
"""Digests of arrays and files: 16 hex digits that change when a single bit does.

An array's digest is a function of its values alone, not of how they lie on a mesh, and is computed
where the array is: on the devices, in one pass, without a copy to the host. So it also finds what
went wrong between the device and the disk, and a state restored onto other devices can be compared
with the one that was saved. It is no signature: it finds accidents, not forgery.

With x_i the bits of element i as an unsigned integer and `mix` a bijection of 32-bit integers
(the finalizer of MurmurHash3), both halves are sums modulo 2^32, which need no order:

    h_i = mix(x_i + i * 0x9E3779B9)        digest = (sum h_i, sum mix'(h_i))

A change of one element always changes both sums.
"""

import functools
import hashlib
import os
import pathlib
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK = 2**20  # bytes of a file that are folded into _ROW
_ROW = 2**12
_PIECE = 16 * _BLOCK  # what a thread reads at a time
_THREADS = min(8, os.cpu_count() or 1)
_CHUNK = 2**18  # elements; what fits the cache


def _terms(bits: Any, index: Any, uint32: Any) -> tuple[Any, Any]:
    """Returns the two terms of each element; `bits` and `index` are uint32 of numpy or JAX."""
    h = bits + index * uint32(0x9E3779B9)
    h = (h ^ (h >> 16)) * uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * uint32(0xC2B2AE35)
    g = (h ^ (h >> 15)) * uint32(0x2545F491)
    return h, g ^ (g >> 16)


def _on_device(x: jax.Array) -> jax.Array:
    """Returns the digest of an array as two uint32."""
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    width = min(x.dtype.itemsize, 4)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[width]
    bits = jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)
    index, stride = jnp.zeros(bits.shape, jnp.uint32), 1
    for dim in reversed(range(bits.ndim)):
        places = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, dim)
        index, stride = index + places * jnp.uint32(stride % 2**32), stride * bits.shape[dim]
    zeros = (jnp.uint32(0), jnp.uint32(0))
    add = lambda a, b: (a[0] + b[0], a[1] + b[1])  # noqa: E731
    dims = tuple(range(bits.ndim))
    return jnp.stack(jax.lax.reduce(_terms(bits, index, jnp.uint32), zeros, add, dims))


def of_tree(tree: Any) -> jax.Array:
    """Returns the digests of all leaves as uint32 `[leaves, 2]`; jitted by the caller.

    A sharded tree gives the same on every host, and the same as on one device.
    """
    return jnp.stack([_on_device(leaf) for leaf in jax.tree.leaves(tree)])


def of_array(array: np.ndarray) -> str:
    """Returns the digest of an array on the host."""
    width = min(array.dtype.itemsize, 4)
    flat = np.ascontiguousarray(array).reshape(-1).view(f"u{width}")
    total = np.zeros(2, np.uint32)
    for start in range(0, flat.size, _CHUNK):
        bits = flat[start : start + _CHUNK].astype(np.uint32)
        index = np.arange(start, start + bits.size, dtype=np.uint64).astype(np.uint32)
        h, g = _terms(bits, index, np.uint32)
        total += np.array([h.sum(dtype=np.uint32), g.sum(dtype=np.uint32)])
    return text(total)


def text(pair: np.ndarray) -> str:
    """Formats a digest from `of_tree` as `of_array` does."""
    return f"{int(pair[0]):08x}{int(pair[1]):08x}"


def of_file(path: pathlib.Path) -> str:
    """Returns a digest of a file's bytes.

    It is SHA-256, but each whole MiB is first folded to 4 KiB by adding its rows of 64-bit words,
    so that it costs little more than reading the file, which several threads do.
    """
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        pieces = range(0, os.fstat(file.fileno()).st_size, _PIECE)
        fold = functools.partial(_folded, file.fileno())
        if len(pieces) <= 1:
            found.update(fold(0))
        else:
            with futures.ThreadPoolExecutor(min(len(pieces), _THREADS)) as pool:
                for folded in pool.map(fold, pieces):
                    found.update(folded)
    return found.hexdigest()[:16]


def _folded(file: int, start: int) -> bytes:
    """Reads a piece of a file, and folds each whole MiB of it."""
    found, block = [], bytearray(_BLOCK)
    for place in range(start, start + _PIECE, _BLOCK):
        size = _fill(file, block, place)
        if size < _BLOCK:
            found.append(block[:size])
            break
        rows = np.frombuffer(block, np.uint64).reshape(_BLOCK // _ROW, -1)
        found.append(rows.sum(axis=0).tobytes())
    return b"".join(found)


def _fill(file: int, block: bytearray, place: int) -> int:
    """Reads a block, which may take several calls; returns the number of bytes there were."""
    view, size = memoryview(block), 0
    while size < len(block) and (got := os.preadv(file, [view[size:]], place + size)):
        size += got
    return size
