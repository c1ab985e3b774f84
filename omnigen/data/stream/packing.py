# SPDX-License-Identifier: Apache-2.0
"""Which examples share a row: a pure function of their lengths."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True)
class Load:
    """What an example takes of a row: elements, and places for pictures, which may be none."""

    length: int
    pictures: int = 1


@dataclasses.dataclass(frozen=True)
class Bins:
    """A fixed number of rows to be filled together.

    Attributes:
        rows: Number of rows.
        length: Number of elements that a row holds.
        count: Number of pictures that a row holds.
        most: Number of examples that a row holds; not less than that of pictures.
    """

    rows: int
    length: int
    count: int
    most: int

    def fill(self, loads: Iterable[Load]) -> list[list[int]]:
        """Packs as many of the first examples as fit, leaving out none before the last.

        A prefix, and not whatever fits best, so that long examples are as frequent in rows as they
        are in the data. The rows of a prefix are found by putting the longest first where most
        room is left (Graham 1969, "Bounds on multiprocessing timing anomalies"), so that all rows
        come out about as full. Best fit would put the longest together, until rows are full with
        fewer examples than they may hold, and the short ones find no row that may take more.

        Args:
            loads: Of the examples; read only as far as they can be of use.

        Returns:
            The indices of the examples in each row, ascending; rows may be empty only if the
            examples run out.
        """
        room, places = self.rows * self.length, self.rows * self.count
        candidates: list[Load] = []
        for load in itertools.islice(loads, self.rows * self.most):
            assert 0 < load.length <= self.length and 0 <= load.pictures <= self.count, load
            room -= load.length
            places -= load.pictures
            if room < 0 or places < 0:
                break
            candidates.append(load)
        while (packed := self._balance(candidates)) is None:
            candidates.pop()
        return packed

    def _balance(self, loads: Sequence[Load]) -> list[list[int]] | None:
        """Puts each example, longest first, in the emptiest row; None if none has room."""
        rows: list[list[int]] = [[] for _ in range(self.rows)]
        rooms, places = [self.length] * self.rows, [self.count] * self.rows
        for index in sorted(range(len(loads)), key=lambda i: -loads[i].length):
            load = loads[index]
            fitting = [
                r
                for r in range(self.rows)
                if rooms[r] >= load.length
                and places[r] >= load.pictures
                and len(rows[r]) < self.most
            ]
            if not fitting:
                return None
            row = max(fitting, key=lambda r: rooms[r])
            rows[row].append(index)
            rooms[row] -= load.length
            places[row] -= load.pictures
        return [sorted(row) for row in rows]
