# SPDX-License-Identifier: Apache-2.0
"""Colours are told apart as people do."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from omnigen.evals.judges.colors import lab
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
    for name in palette.CALM:
        assert len(colors(name)) >= 8


def differ(one: str, another: str) -> float:
    """The CIE 1976 difference of two named colours, by the judges' CIELAB."""
    labs = [lab(np.array(palette.BACKGROUNDS[name])) for name in (one, another)]
    return float(np.linalg.norm(labs[0] - labs[1]))


def grounds() -> Iterator[Background]:
    for name in palette.BACKGROUNDS:
        yield Background(Fill.PLAIN, name)
        for fill in (Fill.GRADIENT, Fill.TEXTURE):
            for second in palette.partners(fill, name):
                yield Background(fill, name, second)


def told(ground: Background) -> set[str]:
    """The colours that captions name: of a texture the first alone, whose tones it has."""
    return {ground.color, ground.second if ground.fill == Fill.GRADIENT else ""}


def test_each_of_the_ten_colors_is_a_background():
    assert {color.value for color in Color} < set(palette.BACKGROUNDS)
    for name in palette.VIVID:
        assert palette.BACKGROUNDS[name] == palette.COLORS[Color(name)]
        assert palette.partners(Fill.GRADIENT, name) and palette.partners(Fill.TEXTURE, name)


def test_nothing_is_drawn_on_a_background_of_its_color():
    """Every background, by the judges' CIELAB: no shade of it is an object's colour."""
    found = list(grounds())
    assert len(found) > 100
    for ground in found:
        for color in palette.object_colors(ground):
            assert color.value not in told(ground)
            shades = [lab(np.array(shade)) for shade in palette.shades(ground)]
            own = lab(np.array(palette.COLORS[color]))
            assert min(np.linalg.norm(own - shade) for shade in shades) > 31.5, (color, ground)
        assert not told(ground) & {ink.value for ink in palette.ink_colors(ground)}


def test_the_two_colors_of_a_vivid_gradient_differ():
    for name in palette.VIVID:
        for second in palette.partners(Fill.GRADIENT, name):
            assert differ(name, second) > 39.5
        assert set(palette.partners(Fill.TEXTURE, name)) <= {"white", "black"}
    for name in palette.CALM:
        for fill in (Fill.GRADIENT, Fill.TEXTURE):
            assert set(palette.partners(fill, name)) <= set(palette.CALM)


def test_gradients_and_textures_leave_enough_colors():
    for fill, name in itertools.product((Fill.GRADIENT, Fill.TEXTURE), palette.BACKGROUNDS):
        for second in palette.partners(fill, name):
            ground = Background(fill, name, second)
            assert second != name
            assert len(palette.object_colors(ground)) >= 5
            assert len(palette.ink_colors(ground)) >= (1 if name in palette.VIVID else 2)
            for ink in palette.ink_colors(ground):
                assert palette.contrast(palette.COLORS[ink], palette.BACKGROUNDS[name]) > 2.5


def test_every_holder_can_be_written_on():
    for sky, seed in itertools.product(Sky, range(3)):
        for holder in (Element.CLOUD, Element.SIGN, Element.BANNER):
            paper = palette.holder_color(holder, sky=sky, seed=seed)
            assert len(palette.holder_inks(paper)) >= 2
            for ink in palette.holder_inks(paper):
                assert palette.contrast(palette.COLORS[ink], paper) > 3
