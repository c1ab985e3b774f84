# SPDX-License-Identifier: Apache-2.0
import itertools
import random

import pytest

from omnigen.data.stream.packing import Bins, Load


def loads(lengths):
    """Of examples with one picture each."""
    return map(Load, lengths)


def bins(rows, length, count, most=None):
    """Rows of as many examples as pictures, unless more are said."""
    return Bins(rows, length, count, most or count)


def test_longest_first_into_the_emptiest_row():
    # 9 to the first row, 7 to the second, 6 to the second, which has more room, 1 to the first.
    assert bins(rows=2, length=14, count=3).fill(loads([1, 6, 7, 9])) == [[0, 3], [1, 2]]


def test_rows_that_may_hold_few_are_balanced():
    """The fullest row first would take both of 4 and leave a row of three that is half empty."""
    packed = bins(rows=2, length=8, count=3).fill(loads([4, 4, 2, 1, 1, 1]))
    assert packed == [[0, 2, 5], [1, 3, 4]]


def test_only_a_prefix_is_packed_even_if_a_later_one_would_fit():
    assert bins(rows=1, length=10, count=4).fill(loads([6, 5, 2, 2])) == [[0]]


def test_a_prefix_that_fits_in_sum_but_not_in_rows_is_shortened():
    assert bins(rows=2, length=10, count=3).fill(loads([6, 6, 6, 1])) == [[0], [1]]


def test_the_count_of_a_row_is_kept():
    assert bins(rows=2, length=100, count=2).fill(loads([1, 1, 1, 1, 1])) == [[0, 2], [1, 3]]


def test_pictures_of_an_example_take_as_many_places():
    pictures = [2, 2, 1, 1, 1]
    rows = bins(rows=2, length=100, count=3)
    assert rows.fill(Load(9, n) for n in pictures) == [[0, 2], [1, 3]]
    with pytest.raises(AssertionError):
        rows.fill([Load(9, 4)])


def test_lengths_are_read_only_as_far_as_needed():
    def lengths():
        yield from (4, 4, 4)
        pytest.fail("asked for a length after the rows were full")

    assert bins(rows=1, length=10, count=9).fill(loads(lengths())) == [[0, 1]]


def test_lengths_that_run_out_leave_rows_empty():
    assert bins(rows=3, length=10, count=2).fill(loads([7, 7])) == [[0], [1], []]


def test_random_lengths_are_packed_within_limits_and_well():
    dice = random.Random(0)
    filled = packed = 0
    for _ in range(200):
        lengths = [dice.randint(72, 312) for _ in range(48)]
        rows = bins(rows=8, length=640, count=6).fill(loads(lengths))
        chosen = sorted(index for row in rows for index in row)
        assert chosen == list(range(len(chosen)))
        assert all(sum(lengths[i] for i in row) <= 640 and len(row) <= 6 for row in rows)
        assert all(row == sorted(row) for row in rows)
        filled += sum(lengths[i] for i in chosen)
        packed += 8 * 640
    assert filled / packed > 0.9


def test_examples_without_pictures_take_no_places():
    """The pictures of 5 and 4 in a row each, the others where room is left."""
    mixed = [Load(5), Load(8, 0), Load(4), Load(3, 0), Load(1)]
    assert bins(rows=2, length=13, count=1, most=3).fill(mixed) == [[1, 2], [0, 3]]


def test_rows_hold_no_more_examples_than_they_may():
    assert bins(rows=2, length=99, count=1, most=2).fill([Load(1, 0)] * 7) == [[0, 2], [1, 3]]


def fits(loads, rows, length, count, most):
    """Whether any of all ways to give each example a row keeps the limits."""
    for way in itertools.product(range(rows), repeat=len(loads)):
        if all(
            sum(load.length for load, r in zip(loads, way, strict=True) if r == row) <= length
            and sum(load.pictures for load, r in zip(loads, way, strict=True) if r == row) <= count
            and way.count(row) <= most
            for row in range(rows)
        ):
            return True
    return False


def test_both_sorts_are_packed_about_as_well_as_can_be():
    dice, found, best = random.Random(1), 0, 0
    for _ in range(150):
        limits = {"rows": 2, "length": 24, "count": dice.randint(1, 2), "most": dice.randint(3, 4)}
        mixed = [
            Load(dice.randint(8, 14)) if dice.random() < 0.3 else Load(dice.randint(2, 9), 0)
            for _ in range(8)
        ]
        rows = bins(**limits).fill(mixed)
        chosen = sorted(index for row in rows for index in row)
        assert chosen == list(range(len(chosen)))
        for row in rows:
            assert sum(mixed[i].length for i in row) <= 24 and len(row) <= limits["most"]
            assert sum(mixed[i].pictures for i in row) <= limits["count"]
        found += len(chosen)
        best += max(n for n in range(9) if fits(mixed[:n], **limits))
    assert best * 0.97 <= found <= best
