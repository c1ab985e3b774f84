# SPDX-License-Identifier: Apache-2.0
"""Colours are told apart as people do."""

import itertools

import pytest

from omnigen.scenes import palette
from omnigen.scenes.scene import Background, Color, Element, Fill, Sky


def test_lab_of_known_colors():
    assert palette.lab((255, 255, 255)) == pytest.approx((100, 0, 0), abs=0.02)
    assert palette.lab((0, 0, 0)) == pytest.approx((0, 0, 0), abs=0.02)
    assert palette.lab((255, 0, 0)) == pytest.approx((53.24, 80.09, 67.20), abs=0.05)
    assert palette.lab((0, 0, 255)) == pytest.approx((32.30, 79.19, -107.86), abs=0.05)


def test_contrast_of_known_colors():
    assert palette.contrast((255, 255, 255), (0, 0, 0)) == pytest.approx(21)
    assert palette.contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)
    assert palette.contrast((1, 2, 3), (1, 2, 3)) == 1


def test_objects_are_not_of_their_backgrounds_color():
    def colors(name: str) -> set[Color]:
        return set(palette.object_colors(Background(Fill.PLAIN, name)))

    assert Color.WHITE not in colors("white") | colors("beige") | colors("sky blue")
    assert Color.BLACK not in colors("black")
    assert Color.BLUE in colors("sky blue")
    for name in palette.BACKGROUNDS:
        assert len(colors(name)) >= 8


def test_gradients_and_textures_leave_enough_colors():
    for fill, name in itertools.product((Fill.GRADIENT, Fill.TEXTURE), palette.BACKGROUNDS):
        for second in palette.partners(fill, name):
            ground = Background(fill, name, second)
            assert second != name
            assert len(palette.object_colors(ground)) >= 5
            assert len(palette.ink_colors(ground)) >= 2
            for ink in palette.ink_colors(ground):
                assert palette.contrast(palette.COLORS[ink], palette.BACKGROUNDS[name]) > 2.5


def test_every_holder_can_be_written_on():
    for sky, seed in itertools.product(Sky, range(3)):
        for holder in (Element.CLOUD, Element.SIGN, Element.BANNER):
            paper = palette.holder_color(holder, sky=sky, seed=seed)
            assert len(palette.holder_inks(paper)) >= 2
            for ink in palette.holder_inks(paper):
                assert palette.contrast(palette.COLORS[ink], paper) > 3
