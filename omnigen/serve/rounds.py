# SPDX-License-Identifier: Apache-2.0
"""Which rows take the next step: those that write text, or those that draw.

A step costs as much for one row as for all, and one that writes about half of one that draws. So
rows write in rounds, together, and those that draw wait meanwhile. A round begins when it is worth
that wait: when half as many rows write as draw, or more. While no row is free, which is when
requests wait for one, twice as many have to write: pictures that are whole at about the same time
make room for others that then write together, so that more are drawn.

A round ends when those that began it have written; who joins later waits for the next. Between two
rounds rows that draw take a step, so whoever joins and leaves again and again cannot hold them up.
Nor do rows that write wait for ever: those that draw become fewer.
"""

from collections.abc import Set

from omnigen.generation.state import Phase


class Rounds:
    """The rounds of rows of one kind."""

    def __init__(self, rows: int) -> None:
        """Begins without any.

        Args:
            rows: Number of rows.
        """
        self._rows = rows
        self._round: set[int] = set()
        self._may_begin = True

    def next(self, writing: Set[int], drawing: Set[int]) -> Phase:
        """Returns the phase whose rows take the next step.

        Args:
            writing: Numbers of rows that write.
            drawing: Numbers of rows that draw; one of both is not empty.
        """
        assert writing or drawing
        self._round &= writing
        if not drawing or not self._round and self._may_begin and self._is_worth(writing, drawing):
            self._round = set(writing)
        self._may_begin = not self._round
        return Phase.TEXT if self._round else Phase.IMAGE

    def leave(self, number: int) -> None:
        """Takes note that a row left, or another joined in its place."""
        self._round.discard(number)

    def _is_worth(self, writing: Set[int], drawing: Set[int]) -> bool:
        if len(writing) + len(drawing) == self._rows:
            return len(writing) >= 2 * len(drawing)
        return 2 * len(writing) >= len(drawing)
