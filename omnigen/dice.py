# SPDX-License-Identifier: Apache-2.0
"""Random choices that are the same on every machine and every Python."""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Choices built on `random.Random.random` alone, whose sequence Python promises to keep."""

    def __init__(self, *key: object) -> None:
        """Seeds the dice by the text of the key's parts."""
        digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
        self.unit = random.Random(int.from_bytes(digest, "big")).random

    def chance(self, probability: float) -> bool:
        """Returns True with this probability."""
        return self.unit() < probability

    def between(self, low: float, high: float) -> float:
        """Returns a float uniform in [low, high), to four decimals so that it is short in JSON."""
        return round(low + (high - low) * self.unit(), 4)

    def integer(self, low: int, high: int) -> int:
        """Returns an integer uniform in low..high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """Returns one of the items."""
        return items[int(self.unit() * len(items))]

    def weigh(self, weights: dict[T, float]) -> T:
        """Returns one of the keys, as likely as its value says."""
        left = self.unit() * sum(weights.values())
        for key, weight in weights.items():
            left -= weight
            if left < 0:
                return key
        return next(key for key in reversed(weights) if weights[key] > 0)

    def seed(self) -> int:
        """Returns a small seed to keep in a scene."""
        return int(self.unit() * 1_000_000)
