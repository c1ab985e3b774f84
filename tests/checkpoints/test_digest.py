# SPDX-License-Identifier: Apache-2.0
import hashlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from omnigen import parallel
from omnigen.checkpoints import digest

DTYPES = (np.float32, ml_dtypes.bfloat16, np.int32, np.uint8, np.bool_, np.float16)


def mix(x: int) -> tuple[int, int]:
    """The two terms of an element, in Python's integers."""
    low = 2**32 - 1
    h = x & low
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & low
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & low
    g = ((h ^ (h >> 15)) * 0x2545F491) & low
    return h, g ^ (g >> 16)


def by_hand(array: np.ndarray) -> str:
    raw, width = array.tobytes(), array.dtype.itemsize
    bits = [int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width)]
    terms = [mix(x + i * 0x9E3779B9) for i, x in enumerate(bits)]
    return "".join(f"{sum(term) % 2**32:08x}" for term in zip(*terms, strict=True))


def some(dtype, shape=(3, 5, 7)) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=shape) * 100).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_by_hand_on_the_host_and_on_devices(dtype):
    array = some(dtype)
    assert digest.of_array(array) == by_hand(array)
    (pair,) = np.asarray(jax.jit(digest.of_tree)([jnp.asarray(array)]))
    assert digest.text(pair) == by_hand(array)


def test_scalars_and_arrays_longer_than_a_chunk():
    assert digest.of_array(np.int32(7)[None]) == by_hand(np.array(7, np.int32))
    pairs = jax.jit(digest.of_tree)([jnp.int32(7), some(np.float32, (600, 1000))])
    assert digest.text(np.asarray(pairs)[0]) == by_hand(np.array(7, np.int32))
    assert digest.text(np.asarray(pairs)[1]) == digest.of_array(some(np.float32, (600, 1000)))


@pytest.mark.parametrize("sizes", [dict(fsdp=8), dict(data=2, fsdp=2, tensor=2)])
def test_the_mesh_does_not_matter(sizes):
    array = some(np.float32, (8, 16))
    mesh = parallel.make_mesh(parallel.MeshConfig(**{"data": 1, **sizes}))
    for names in (("embed", "mlp"), ("mlp", "embed"), (None, None)):
        placed = jax.device_put(array, parallel.sharding(mesh, names))
        (pair,) = np.asarray(jax.jit(digest.of_tree)([placed]))
        assert digest.text(pair) == by_hand(array)


def test_every_bit_matters():
    array = some(np.float32)
    found = {digest.of_array(array)}
    flat = array.reshape(-1).view(np.uint32)
    for place in range(0, flat.size, 7):
        for bit in range(32):
            flat[place] ^= np.uint32(1 << bit)
            found.add(digest.of_array(array))
            flat[place] ^= np.uint32(1 << bit)
    assert len(found) == 1 + 32 * len(range(0, flat.size, 7))


def test_order_matters():
    array = some(np.float32)
    assert digest.of_array(array) != digest.of_array(array[::-1])
    assert digest.of_array(np.zeros(3, np.float32)) != digest.of_array(np.zeros(4, np.float32))


def test_files(tmp_path):
    path, rng = tmp_path / "file", np.random.default_rng(0)
    small = rng.bytes(100_000)
    path.write_bytes(small)
    assert digest.of_file(path) == hashlib.sha256(small).hexdigest()[:16]
    large = bytearray(rng.bytes(3 * 2**20 + 12_345))
    path.write_bytes(large)
    found = {digest.of_file(path)}
    folded = b"".join(
        np.frombuffer(large[i : i + 2**20], np.uint64).reshape(256, 512).sum(0).tobytes()
        for i in range(0, 3 * 2**20, 2**20)
    )
    whole = hashlib.sha256(folded + large[3 * 2**20 :]).hexdigest()[:16]
    assert found == {whole}
    for place in (0, 7, 2**20 - 1, 2**20, 3 * 2**20 - 1, 3 * 2**20, len(large) - 1):
        large[place] ^= 0x10
        path.write_bytes(large)
        found.add(digest.of_file(path))
    assert len(found) == 8


@pytest.mark.parametrize("more", [-1, 0, 1, 2**20 + 5])
def test_files_that_several_threads_read(tmp_path, more):
    path, size = tmp_path / "file", 48 * 2**20 + more
    content = np.random.default_rng(0).bytes(size)
    path.write_bytes(content)
    whole = size // 2**20 * 2**20
    words = np.frombuffer(content[:whole], np.uint64).reshape(-1, 256, 512)
    expected = hashlib.sha256(words.sum(axis=1).tobytes() + content[whole:])
    assert digest.of_file(path) == expected.hexdigest()[:16]
