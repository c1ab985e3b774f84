# SPDX-License-Identifier: Apache-2.0
"""Which rows take the next step: those that write text, or those that draw.

A step costs as much for one row as for all, and one that writes about half of one that draws. So
rows write in rounds, together, and those that draw wait meanwhile. A round begins when it is worth
that wait: when half as many rows write as draw, or more. It ends when those that began it have
written; who joins later waits for the next. Between two rounds rows that draw take a step, so
whoever joins and leaves again and again cannot hold them up. Nor do rows that write wait for ever:
those that draw become fewer.
"""

from collections.abc import Set

from omnigen.generation.state import Phase

_WORTH = 2  # rows that draw for each that writes


class Rounds:
    """The rounds of rows of one kind."""

    def __init__(self) -> None:
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
        is_worth = _WORTH * len(writing) >= len(drawing) and self._may_begin
        if not self._round and (is_worth or not drawing):
            self._round = set(writing)
        self._may_begin = not self._round
        return Phase.TEXT if self._round else Phase.IMAGE

    def leave(self, number: int) -> None:
        """Takes note that a row left, or another joined in its place."""
        self._round.discard(number)
