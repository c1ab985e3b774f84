# SPDX-License-Identifier: Apache-2.0
"""Pictures that come twice: the same file, or nearly the same picture."""

import itertools
from collections import defaultdict

import numpy as np

from omnigen.data.records import Reason

COLOR_TOLERANCE = 8.0  # of 255, mean over 4 x 4 pixels


def find(
    digests: np.ndarray, bits: np.ndarray, colors: np.ndarray, *, distance: int
) -> list[Reason | None]:
    """Marks all but the first of every set of duplicates.

    A picture is a near duplicate of an earlier one that is kept if their perceptual hashes differ
    in at most `distance` bits and their colours hardly. Hashes that close agree in at least one of
    `distance + 1` bands, so that only pictures which share a band are compared.

    Args:
        digests: of the files, bytes `[N, D]`.
        bits: perceptual hashes, uint64 `[N]`; see `pictures.look`.
        colors: uint8 `[N, 48]`.
        distance: in bits; below 0, only equal files are marked.

    Returns:
        Of each picture, why it is left out, or None.
    """
    seen: set[bytes] = set()
    bands: list[defaultdict[int, list[int]]] = [defaultdict(list) for _ in range(distance + 1)]
    cuts = [k * 64 // max(distance + 1, 1) for k in range(distance + 2)]
    spans = [(low, (1 << (high - low)) - 1) for low, high in itertools.pairwise(cuts)]
    found: list[Reason | None] = []
    for number, digest in enumerate(digests):
        if digest.tobytes() in seen:
            found.append(Reason.DUPLICATE)
            continue
        seen.add(digest.tobytes())
        keys = [int(bits[number]) >> low & mask for low, mask in spans]
        near = sorted({i for band, key in zip(bands, keys, strict=True) for i in band.get(key, ())})
        if near and _is_near(number, np.array(near), bits, colors, distance):
            found.append(Reason.NEAR_DUPLICATE)
            continue
        for band, key in zip(bands, keys, strict=True):
            band[key].append(number)
        found.append(None)
    return found


def _is_near(
    number: int, others: np.ndarray, bits: np.ndarray, colors: np.ndarray, distance: int
) -> bool:
    others = others[np.bitwise_count(bits[others] ^ bits[number]) <= distance]
    off = np.abs(colors[others].astype(np.int16) - colors[number]).mean(axis=1)
    return bool((off <= COLOR_TOLERANCE).any())
