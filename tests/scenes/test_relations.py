# SPDX-License-Identifier: Apache-2.0
"""What relations say holds in masks: pixels of shapes that another module draws."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from omnigen.dice import Dice
from omnigen.evals.judges import outlines
from omnigen.scenes.relations import (
    BESIDE,
    ROOMS,
    WAVER,
    is_between,
    is_column,
    is_inside,
    is_next_to,
    is_row,
)
from omnigen.scenes.scene import Color, Object, Shape, Size

SIDE = 160


def thing(x: float, y: float, radius: float = 0.06, shape: Shape = Shape.CIRCLE) -> Object:
    return Object(shape, Color.RED, Size.SMALL, x, y, radius)


def mask(one: Object) -> np.ndarray:
    """The pixels of an object, by the judge's own outlines."""
    places = {"x": SIDE * one.x, "y": SIDE * one.y, "radius": SIDE * one.radius}
    return outlines.draw(one.shape.value, (SIDE, SIDE), **places) > 0.5


def drawn(dice: Dice, low: float, high: float) -> Object:
    x, y, radius = dice.between(0.2, 0.8), dice.between(0.2, 0.8), dice.between(low, high)
    return thing(x, y, radius, dice.pick(tuple(Shape)))


def enclosed(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the pixels of one lie within the other's, holes filled, a pixel from its border."""
    inner = ndimage.binary_erosion(ndimage.binary_fill_holes(other))
    return bool((one & ~inner).sum() == 0)


def test_what_is_inside_is_enclosed_and_does_not_touch_a_ring():
    dice, inside = Dice("inside"), 0
    for _ in range(1500):
        other = drawn(dice, 0.15, 0.3)
        one = drawn(dice, 0.03, 0.09)
        if not is_inside(one, other):
            continue
        inside += 1
        assert enclosed(mask(one), mask(other)), (one, other)
        assert (mask(one) & mask(other)).any() == (other.shape != Shape.RING)
        assert not is_inside(other, one) and not is_next_to(one, other)
    assert inside > 40


@pytest.mark.parametrize("shape", Shape)
def test_a_room_is_the_largest_disc_about_the_centre(shape):
    """By brute force over pixels: a little larger disc would leave the shape."""
    other = thing(0.5, 0.5, 0.45, shape)
    filled = np.asarray(mask(other))
    if shape == Shape.RING:
        filled = ndimage.binary_fill_holes(filled) & ~filled
    y, x = np.indices((SIDE, SIDE)) + 0.5
    away = np.hypot(x - SIDE / 2, y - SIDE / 2)[~filled].min() / (0.45 * SIDE)
    assert away - 0.03 < ROOMS[shape] < away + 0.015
    assert is_inside(thing(0.5, 0.5, 0.45 * ROOMS[shape] - 1e-6), other)
    assert not is_inside(thing(0.5, 0.52, 0.45 * ROOMS[shape] - 1e-6), other)
    assert not is_inside(other, other)


def crossed(first: Object, one: Object, last: Object) -> list[int]:
    """Which objects the straight way from the first's centre to the last's meets, in order."""
    masks = [mask(o) for o in (first, one, last)]
    met = []
    for share in np.linspace(0, 1, 4 * SIDE):
        x = int(SIDE * (first.x + share * (last.x - first.x)))
        y = int(SIDE * (first.y + share * (last.y - first.y)))
        met += [i for i, pixels in enumerate(masks) if pixels[y, x]]
    return [number for number, _ in itertools.groupby(met)]


def test_what_is_between_is_met_on_the_way():
    dice, between = Dice("between"), 0
    for _ in range(2000):
        first, one, last = (
            thing(dice.between(0.1, 0.9), dice.between(0.1, 0.9), dice.between(0.05, 0.1))
            for _ in range(3)
        )
        held = is_between(one, first, last)
        assert held == is_between(one, last, first)
        if not held:
            continue
        between += 1
        assert not is_between(first, one, last) and not is_between(last, first, one)
        if abs(one.radius) > 0.12 * np.hypot(first.x - last.x, first.y - last.y):
            assert crossed(first, one, last) == [0, 1, 2]
        apart = ndimage.distance_transform_edt(~mask(one))
        near = [apart[mask(end)].min() for end in (first, last)]
        assert min(near) >= 0.5
    assert between > 20


def test_off_the_line_or_near_one_end_is_not_between():
    first, last = thing(0.1, 0.5), thing(0.9, 0.5)
    assert is_between(thing(0.5, 0.5), first, last)
    assert is_between(thing(0.5, 0.58), first, last)
    assert not is_between(thing(0.5, 0.62), first, last)
    assert not is_between(thing(0.28, 0.5), first, last)
    assert not is_between(thing(0.95, 0.5), first, last)
    assert not is_between(thing(0.5, 0.5, 0.35), first, last)
    assert not is_between(first, last, last)


def test_what_is_next_to_another_thing_is_near_and_level():
    dice, near = Dice("beside"), 0
    for _ in range(2000):
        one, other = (
            thing(dice.between(0.1, 0.9), dice.between(0.1, 0.9), dice.between(0.05, 0.1))
            for _ in range(2)
        )
        held = is_next_to(one, other)
        assert held == is_next_to(other, one)
        if not held:
            continue
        near += 1
        gap = ndimage.distance_transform_edt(~mask(one))[mask(other)].min() / SIDE
        assert 0 < gap <= BESIDE + 1.5 / SIDE
        rows = [set(np.flatnonzero(mask(o).any(1))) for o in (one, other)]
        columns = [set(np.flatnonzero(mask(o).any(0))) for o in (one, other)]
        assert len(rows[0] & rows[1]) > min(map(len, rows)) / 4
        assert len(columns[0] & columns[1]) <= 2
    assert near > 12
    assert not is_next_to(thing(0.5, 0.3), thing(0.5, 0.45))


def test_rows_and_columns():
    row = [thing(0.2 + 0.15 * i, 0.5 + 0.02 * (i % 2)) for i in range(4)]
    column = [thing(o.y, o.x) for o in row]
    assert is_row(row) and is_row(row[::-1]) and not is_column(row)
    assert is_column(column) and not is_row(column)
    assert not is_row(row[:2]), "two things are no row"
    assert not is_row([*row[:3], thing(0.65, 0.5 + 0.02 + WAVER)])
    assert not is_row([*row, thing(0.65, 0.8)])
    assert not is_row([*row, thing(0.95, 0.5)]), "a gap"
    assert not is_row([*row[:3], thing(0.55, 0.5)]), "they meet"
    assert is_row(row, [thing(0.5, 0.8), thing(0.9, 0.5)])
    assert not is_row([row[0], row[1], row[3]], [row[2]])
    assert not is_row(row, [thing(0.5, 0.6)])
    assert not is_column(column, [thing(0.6, 0.5)])


def test_rows_lie_in_a_strip_and_in_order():
    """Brute force: the pixels of a row are as many parts across, and none is above another."""
    dice, rows = Dice("rows"), 0
    for _ in range(8000):
        things = [
            thing(dice.between(0.1, 0.9), dice.between(0.47, 0.53), dice.between(0.05, 0.08))
            for _ in range(3)
        ]
        if not is_row(things):
            continue
        rows += 1
        if rows > 12:
            return
        seen = np.any([mask(o) for o in things], axis=0)
        _, parts = ndimage.label(seen.any(0))
        _, whole = ndimage.label(seen)
        assert whole == 3 and parts >= 2
        centres = [np.argwhere(mask(o)).mean(0)[0] / SIDE for o in things]
        assert max(centres) - min(centres) <= WAVER + 1 / SIDE
    raise AssertionError(rows)
