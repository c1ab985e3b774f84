# SPDX-License-Identifier: Apache-2.0
"""Random choices that are the same on every machine and every Python."""

import bisect
import hashlib
import itertools
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Choices built on `random.Random.random` alone, the one method whose sequence Python promises to keep."""

    def __init__(self, *key: object) -> None:
        """Seeds the dice by the text of the key's parts."""
        digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
        self.unit = random.Random(int.from_bytes(digest, "big")).random

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def between(self, low: float, high: float) -> float:
        """A float uniform in [low, high), rounded so that it survives JSON and costs few characters."""
        return round(low + (high - low) * self.unit(), 4)

    def integer(self, low: int, high: int) -> int:
        """An integer uniform in low..high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self.unit() * len(items))]

    def weigh(self, weights: Mapping[T, float]) -> T:
        """One of the keys, as likely as its value says."""
        sums = list(itertools.accumulate(weights.values()))
        return list(weights)[min(bisect.bisect(sums, self.unit() * sums[-1]), len(sums) - 1)]

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """The items in another order."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = int(self.unit() * (last + 1))
            order[last], order[other] = order[other], order[last]
        return order

    def seed(self) -> int:
        """A small seed to keep in a scene."""
        return int(self.unit() * 1_000_000)
