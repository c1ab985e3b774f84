# SPDX-License-Identifier: Apache-2.0
"""Rounds of writing: when they begin and end, that nobody waits for ever, and what they save."""

import random

import pytest

from omnigen.generation.state import Phase
from omnigen.serve.rounds import Rounds


@pytest.mark.parametrize(
    ("writing", "drawing", "phase"),
    [
        ({0}, set(), Phase.TEXT),
        (set(), {0}, Phase.IMAGE),
        ({0}, {1, 2}, Phase.TEXT),
        ({0}, {1, 2, 3}, Phase.IMAGE),
        ({0, 1}, {2, 3, 4, 5}, Phase.TEXT),
        ({0, 1}, {2, 3, 4, 5, 6}, Phase.IMAGE),
    ],
)
def test_a_round_begins_when_half_as_many_write_as_draw(writing, drawing, phase):
    assert Rounds(8).next(writing, drawing) == phase


@pytest.mark.parametrize(
    ("writing", "drawing", "phase"),
    [
        ({0, 1, 2}, set(), Phase.TEXT),
        ({0}, {1, 2}, Phase.IMAGE),
        ({0, 1}, {2}, Phase.TEXT),
    ],
)
def test_where_no_row_is_free_twice_as_many_have_to_write(writing, drawing, phase):
    assert Rounds(3).next(writing, drawing) == phase


def test_a_round_ends_when_those_that_began_it_have_written():
    rounds = Rounds(8)
    assert rounds.next({0, 1}, {2, 3}) == Phase.TEXT
    assert rounds.next({1, 4}, {0, 2, 3}) == Phase.TEXT  # row 4 joined, and goes along
    assert rounds.next({4, 5}, {0, 1}) == Phase.IMAGE  # a step, at least
    assert rounds.next({4, 5}, {0, 1}) == Phase.TEXT


def test_a_row_that_left_holds_no_round_open():
    rounds = Rounds(8)
    assert rounds.next({0}, {1}) == Phase.TEXT
    rounds.leave(0)
    assert rounds.next({0}, {1}) == Phase.IMAGE  # another in its place


def drawn(count, *, at_a_time, chance):
    """Steps of each kind that pictures take, and the most that any waited for its next step."""
    rounds, rows, left = Rounds(at_a_time), {}, count
    steps, waited, most = {Phase.TEXT: 0, Phase.IMAGE: 0}, {}, 0
    while left or rows:
        for number in set(range(at_a_time)) - rows.keys():
            if left and chance.random() < 0.5:
                rows[number], waited[number] = [chance.randint(8, 31), 64], 0
                left -= 1
        if not rows:
            continue
        writing = {number for number, (text, _) in rows.items() if text}
        phase = rounds.next(writing, rows.keys() - writing)
        steps[phase] += 1
        for number in list(rows):
            if (number in writing) != (phase == Phase.TEXT):
                waited[number] += 1
                continue
            most, waited[number] = max(most, waited[number]), 0
            rows[number][0 if number in writing else 1] -= 1
            if not any(rows[number]):
                del rows[number]
    return steps, most


def test_whoever_waits_waits_for_one_picture_at_most():
    for seed in range(20):
        _, most = drawn(100, at_a_time=8, chance=random.Random(seed))
        assert most <= 64


def test_under_load_rows_draw_together():
    """A hundred batches of eight would take 64 steps each to draw, and 31 at most to write."""
    steps, _ = drawn(800, at_a_time=8, chance=random.Random(0))
    assert 6400 <= steps[Phase.IMAGE] < 1.02 * 6400
    assert steps[Phase.TEXT] < 3100
