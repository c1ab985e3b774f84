# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from omnigen.data import duplicates
from omnigen.data.records import Reason


def one_by_one(digests, bits, colors, distance):
    """What `find` should do, by comparing everything with everything that is kept."""
    found, kept, seen = [], [], set()
    for number in range(len(digests)):
        near = any(
            int(bits[number] ^ bits[k]).bit_count() <= distance
            and np.abs(colors[number].astype(int) - colors[k]).mean() <= 8
            for k in kept
        )
        if bytes(digests[number]) in seen:
            found.append(Reason.DUPLICATE)
        else:
            found.append(Reason.NEAR_DUPLICATE if near else None)
            kept += [] if near else [number]
        seen.add(bytes(digests[number]))
    return found


@pytest.mark.parametrize("distance", range(-1, 16))
def test_the_same_as_comparing_all_with_all(distance):
    rng = np.random.default_rng(distance + 1)
    digests = rng.integers(0, 256, (300, 1), np.uint8)
    bits = rng.integers(0, 1 << 63, 40, np.uint64)[rng.integers(0, 40, 300)]
    for _ in range(6):
        flips = rng.integers(0, 2, 300).astype(np.uint64)
        bits ^= flips << rng.integers(0, 64, 300).astype(np.uint64)
    colors = rng.integers(0, 2, (300, 1), np.uint8) * np.full((1, 48), 200, np.uint8)
    found = duplicates.find(digests, bits, colors, distance=distance)
    assert found == one_by_one(digests, bits, colors, distance)
    assert Reason.DUPLICATE in found
    assert Reason.NEAR_DUPLICATE in found or distance < 1


@pytest.mark.parametrize("distance", [11, 13, 14, 15])
def test_few_are_compared(distance, monkeypatch):
    """Bands of no bits would be shared by all."""
    compared = []
    monkeypatch.setattr(
        duplicates, "_is_near", lambda number, others, *_: bool(compared.append(len(others)))
    )
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 64, 400, np.uint64, endpoint=False)
    digests = np.arange(400, dtype=np.uint32)[:, None].view(np.uint8)
    duplicates.find(digests, bits, np.zeros((400, 48), np.uint8), distance=distance)
    assert np.mean(compared) < 150
