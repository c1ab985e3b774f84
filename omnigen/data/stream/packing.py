# SPDX-License-Identifier: Apache-2.0
"""Which examples share a row: a pure function of their lengths."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True)
class Bins:
    """A fixed number of rows to be filled together.

    Attributes:
        rows: how many.
        length: elements that a row holds.
        count: examples that a row holds.
    """

    rows: int
    length: int
    count: int

    def fill(self, lengths: Iterable[int]) -> list[list[int]]:
        """Packs as many of the first examples as fit, leaving out none before the last.

        A prefix, and not whatever fits best, so that long examples are as frequent in rows as they
        are in the data. The rows of a prefix are found by best fit, longest first.

        Args:
            lengths: of the examples, read only as far as they can be of use.

        Returns:
            The indices of the examples in each row, ascending; rows may be empty only if the
            examples run out.
        """
        room = self.rows * self.length
        candidates: list[int] = []
        for length in itertools.islice(lengths, self.rows * self.count):
            assert 0 < length <= self.length
            room -= length
            if room < 0:
                break
            candidates.append(length)
        while (packed := self._best_fit(candidates)) is None:
            candidates.pop()
        return packed

    def _best_fit(self, lengths: Sequence[int]) -> list[list[int]] | None:
        """Puts each example, longest first, in the fullest row with room; None if there is none."""
        rows: list[list[int]] = [[] for _ in range(self.rows)]
        rooms = [self.length] * self.rows
        for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
            length = lengths[index]
            fitting = [
                r for r in range(self.rows) if rooms[r] >= length and len(rows[r]) < self.count
            ]
            if not fitting:
                return None
            row = min(fitting, key=lambda r: rooms[r])
            rows[row].append(index)
            rooms[row] -= length
        return [sorted(row) for row in rows]
