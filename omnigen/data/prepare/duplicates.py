# SPDX-License-Identifier: Apache-2.0
"""Pictures that come twice: the same file, or nearly the same picture.

What nearly is was measured (docs/data.md). A perceptual hash and mean colours find candidates among
millions, but see nothing small: pages that differ by a word have the same hash. So candidates are
compared a second time by 64 x 64 greys and 32 x 32 colours, and what counts there is the largest
difference anywhere, not the mean. Compressing, resizing or brightening a picture changes every
place a little, another word one place much.
"""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np

from omnigen.data.corpus.pictures import LOOK_SIDE

COLOR_TOLERANCE = 8.0  # of 255, mean over 4 x 4 pixels
MOST_DIFFERENT = 9.0  # of 255, the largest anywhere, of what is nearly the same; see `difference`
MOST_COMPARED = 16  # candidates for each picture, those that look most alike


@dataclasses.dataclass(frozen=True)
class Twins:
    """Which pictures are there twice.

    Attributes:
        of: Number of the picture that stays in place of each, int64 `[N]`; its own if it stays.
        differences: Differences of near duplicates, by number; see `difference`. Equal files have
            none.
    """

    of: np.ndarray
    differences: dict[int, float]

    @property
    def stays(self) -> np.ndarray:
        """Whether each picture stays, bool `[N]`."""
        return self.of == np.arange(len(self.of))


def find(
    digests: np.ndarray,
    bits: np.ndarray,
    colors: np.ndarray,
    *,
    distance: int,
    compare: Callable[[int, int], float],
) -> Twins:
    """Finds pictures that come twice; the first stays.

    A picture is a near duplicate of an earlier one that stays if their perceptual hashes differ in
    at most `distance` bits, their colours hardly, and a closer look finds nothing either. Hashes
    that close agree in at least one of `distance + 1` bands, so that only pictures which share a
    band are compared. It needs about 100 bytes for each picture, with 5 bands.

    Args:
        digests: Digests of the files, uint8 `[N, 16]`.
        bits: Perceptual hashes, uint64 `[N]`; see `pictures.look`.
        colors: Mean colours, uint8 `[N, 48]`; see `pictures.look`.
        distance: Largest difference of two hashes in bits; below 0, only equal files are found.
        compare: Returns the difference of two pictures, given by their numbers; see `difference`.
    """
    of, differences = _first_of_equals(digests), {}
    firsts = np.flatnonzero(of == np.arange(len(of)))
    if distance < 0 or not len(firsts):
        return Twins(of, {})
    bands, stays = _Bands(bits[firsts], distance + 1), np.ones(len(firsts), bool)
    for place, number in enumerate(firsts.tolist()):
        near = bands.before(place)
        near = firsts[near[stays[near]]]
        if not len(near):
            continue
        for other in _most_alike(number, near, bits, colors, distance):
            found = compare(int(other), number)
            if found <= MOST_DIFFERENT:
                of[number], stays[place] = other, False
                differences[number] = found
                break
    equals = np.flatnonzero(of[of] != of)  # equal to what went as nearly the same as another
    for number in equals.tolist():
        differences[number] = differences[int(of[number])]
    return Twins(of[of], differences)


def _first_of_equals(digests: np.ndarray) -> np.ndarray:
    """Returns for each digest the number of the first that equals it, int64 `[N]`."""
    high, low = np.ascontiguousarray(digests).view(np.uint64).reshape(-1, 2).T
    order = np.lexsort((low, high))  # stable: of equal ones the first comes first
    is_new = np.ones(len(order), bool)
    is_new[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    of = np.empty(len(order), np.int64)
    of[order] = order[np.maximum.accumulate(np.where(is_new, np.arange(len(order)), 0))]
    return of


class _Bands:
    """Finds hashes that agree in a band of adjacent bits."""

    def __init__(self, bits: np.ndarray, count: int) -> None:
        """Sorts the hashes, uint64 `[M]`, by each of `count` bands."""
        cuts = [k * 64 // count for k in range(count + 1)]
        self._keys, self._sorted = [], []
        for low, high in itertools.pairwise(cuts):
            keys = bits >> np.uint64(low) & np.uint64((1 << (high - low)) - 1)
            keys = keys.astype(np.uint16 if high - low <= 16 else np.uint64)
            order = np.argsort(keys, kind="stable").astype(np.uint32)
            self._keys.append(keys)
            self._sorted.append((keys[order], order))

    def before(self, place: int) -> np.ndarray:
        """Returns places before this one whose hashes share a band with it, sorted."""
        found = []
        for keys, (ordered, order) in zip(self._keys, self._sorted, strict=True):
            start, stop = (
                np.searchsorted(ordered, keys[place], side) for side in ("left", "right")
            )
            members = order[start:stop]
            found.append(members[: np.searchsorted(members, place)])
        return np.unique(np.concatenate(found))


def _most_alike(
    number: int, others: np.ndarray, bits: np.ndarray, colors: np.ndarray, distance: int
) -> np.ndarray:
    """Returns those of `others` that may be the same picture as `number`, most likely first."""
    bits_off = np.bitwise_count(bits[others] ^ bits[number])
    others, bits_off = others[bits_off <= distance], bits_off[bits_off <= distance]
    off = np.abs(colors[others].astype(np.int16) - colors[number]).mean(axis=1)
    order = np.lexsort((others, off, bits_off))
    return others[order[off[order] <= COLOR_TOLERANCE]][:MOST_COMPARED]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the largest difference of two pictures anywhere, of 255.

    A small shift, zoom or change of brightness and contrast is removed first: least squares find
    the change of the whole picture that explains most.

    Args:
        one: Look at a picture, uint8 `[pictures.LOOK_BYTES]`; see `pictures.Look.fine`.
        other: Look at the other picture, uint8 `[pictures.LOOK_BYTES]`.

    Returns:
        The difference; as soon as the greys differ too much, that of the greys.
    """
    start, largest = 0, 0.0
    for side in (LOOK_SIDE, LOOK_SIDE // 2, LOOK_SIDE // 2):
        stop = start + side * side
        left, right = (each[start:stop].reshape(side, side) for each in (one, other))
        largest = max(largest, _unexplained(left, right))
        if largest > MOST_DIFFERENT:
            break
        start = stop
    return largest


def _unexplained(one: np.ndarray, other: np.ndarray) -> float:
    one, other = _smooth(one.astype(np.float32)), _smooth(other.astype(np.float32))
    off, mean = one - other, (one + other) / 2
    if np.abs(off).max() < 1:
        return float(np.abs(off).max())
    down, across = np.gradient(mean)
    y, x = np.mgrid[-1 : 1 : len(one) * 1j, -1 : 1 : len(one) * 1j].astype(np.float32)
    moves = (across, down, across * x, across * y, down * x, down * y)
    changes = np.stack([*moves, np.ones_like(mean), mean]).reshape(8, -1)
    # The small number on the diagonal lets plain pictures, which show no shift, be solved too.
    square = changes @ changes.T + 1e-3 * np.eye(8, dtype=np.float32)
    weights = np.linalg.solve(square.astype(np.float64), changes @ off.ravel())
    return float(np.abs(off.ravel() - weights.astype(np.float32) @ changes).max())


def _smooth(grey: np.ndarray) -> np.ndarray:
    """Returns each pixel averaged with its neighbours, weighed 1, 2, 1 both ways."""
    for axis in (0, 1):
        padded = np.pad(grey, [(1, 1) if k == axis else (0, 0) for k in (0, 1)], mode="edge")
        before, after = (np.take(padded, range(k, k + grey.shape[axis]), axis) for k in (0, 2))
        grey = (before + 2 * grey + after) / 4
    return grey
