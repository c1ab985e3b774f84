# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from omnigen.data.stream.packing import Bins, Load


def loads(lengths):
    """Of examples with one picture each."""
    return map(Load, lengths)


def test_longest_first_into_the_emptiest_row():
    # 9 to the first row, 7 to the second, 6 to the second, which has more room, 1 to the first.
    assert Bins(rows=2, length=14, count=3).fill(loads([1, 6, 7, 9])) == [[0, 3], [1, 2]]


def test_rows_that_may_hold_few_are_balanced():
    """The fullest row first would take both of 4 and leave a row of three that is half empty."""
    packed = Bins(rows=2, length=8, count=3).fill(loads([4, 4, 2, 1, 1, 1]))
    assert packed == [[0, 2, 5], [1, 3, 4]]


def test_only_a_prefix_is_packed_even_if_a_later_one_would_fit():
    assert Bins(rows=1, length=10, count=4).fill(loads([6, 5, 2, 2])) == [[0]]


def test_a_prefix_that_fits_in_sum_but_not_in_rows_is_shortened():
    assert Bins(rows=2, length=10, count=3).fill(loads([6, 6, 6, 1])) == [[0], [1]]


def test_the_count_of_a_row_is_kept():
    assert Bins(rows=2, length=100, count=2).fill(loads([1, 1, 1, 1, 1])) == [[0, 2], [1, 3]]


def test_pictures_of_an_example_take_as_many_places():
    bins = Bins(rows=2, length=100, count=3)
    pictures = [2, 2, 1, 1, 1]
    assert bins.fill(Load(9, n) for n in pictures) == [[0, 2], [1, 3]]
    with pytest.raises(AssertionError):
        bins.fill([Load(9, 4)])


def test_lengths_are_read_only_as_far_as_needed():
    def lengths():
        yield from (4, 4, 4)
        pytest.fail("asked for a length after the rows were full")

    assert Bins(rows=1, length=10, count=9).fill(loads(lengths())) == [[0, 1]]


def test_lengths_that_run_out_leave_rows_empty():
    assert Bins(rows=3, length=10, count=2).fill(loads([7, 7])) == [[0], [1], []]


def test_random_lengths_are_packed_within_limits_and_well():
    dice = random.Random(0)
    filled = packed = 0
    for _ in range(200):
        bins = Bins(rows=8, length=640, count=6)
        lengths = [dice.randint(72, 312) for _ in range(48)]
        rows = bins.fill(loads(lengths))
        chosen = sorted(index for row in rows for index in row)
        assert chosen == list(range(len(chosen)))
        assert all(sum(lengths[i] for i in row) <= 640 and len(row) <= 6 for row in rows)
        assert all(row == sorted(row) for row in rows)
        filled += sum(lengths[i] for i in chosen)
        packed += 8 * 640
    assert filled / packed > 0.9
