# SPDX-License-Identifier: Apache-2.0
"""A drawer without a model: its pictures tell of their request, and its steps do as tests wish."""

import threading
import time

import numpy as np

from omnigen.generation import spans
from omnigen.serve.drawer import Plan

TOKENS = 8


class StubDrawer:
    """Draws a token a step; a row first writes as many elements as its prompt has letters.

    Attributes:
        step_s: Seconds of a step.
        fail: Called before each step; may raise or hang.
        opened: Number of times that rows were made.
        steps: Number of steps.
    """

    native, name, version = (4, 4), "stub", "v"

    def __init__(self, rows=(2,), *, step_s=0.0, can_edit=False, picture_s=1.0):
        self.rows, self.step_s, self.can_edit, self.picture_s = rows, step_s, can_edit, picture_s
        self.fail = lambda rows: None
        self.opened = self.steps = 0

    def plan(self, request):
        words = spans.words(request.prompt)
        if words == "refused":
            raise ValueError("the prompt is refused")
        return Plan("long" in words and len(self.rows) > 1, TOKENS, len(words))

    def open(self):
        self.opened += 1
        return StubRows(self)


class StubRows:
    """Rows of a `StubDrawer`.

    Attributes:
        rows: Seed, number of elements left to write, and number of tokens of each row in use.
        thread: The only thread that may call.
    """

    def __init__(self, drawer):
        self._drawer, self.rows, self.thread = drawer, {}, threading.get_ident()

    def join(self, place, request, plan):
        assert threading.get_ident() == self.thread and place not in self.rows
        kind, number = place
        assert 0 <= number < self._drawer.rows[kind] and kind == plan.kind
        if request.prompt == "poison":
            raise OverflowError("too much")
        self.rows[place] = [request.seed, len(request.prompt), 0]

    def leave(self, place):
        assert threading.get_ident() == self.thread
        self.rows.pop(place, None)

    def step(self):
        assert threading.get_ident() == self.thread
        self._drawer.steps += 1
        self._drawer.fail(self)
        if self._drawer.step_s:
            time.sleep(self._drawer.step_s)
        for row in self.rows.values():
            row[1:] = [row[1] - 1, row[2]] if row[1] else [0, row[2] + 1]
        return {place: row[2] for place, row in self.rows.items()}

    def look(self, places):
        found = []
        for place in places:
            seed, _, done = self.rows[place]
            if done == TOKENS:
                del self.rows[place]
            found.append((picture(seed, done), f"sketch of {seed}", done))
        return found


def picture(seed, done=TOKENS):
    """What a seed looks like when some tokens are drawn."""
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0, 0] = [seed % 256, seed // 256 % 256, done]
    return pixels
