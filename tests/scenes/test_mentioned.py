# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools

import pytest

from omnigen.scenes.caption import caption
from omnigen.scenes.compose import Variety, compose
from omnigen.scenes.mentioned import in_order
from omnigen.scenes.scene import Color, Kind, Object, Shape, Size

STAR = Object(Shape.STAR, Color.BLUE, Size.SMALL, 0.2, 0.2, 0.06)
RING = Object(Shape.RING, Color.RED, Size.LARGE, 0.7, 0.2, 0.17)
OTHER_STAR = Object(Shape.STAR, Color.RED, Size.SMALL, 0.2, 0.7, 0.06)


def of(*objects):
    scene = compose(0, Kind.SHAPES, held_out=False)
    return dataclasses.replace(scene, objects=objects)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("a blue star and a red ring", [STAR, RING]),
        ("a red ring and a blue star", [RING, STAR]),
        ("to the right of a star there is a ring", [STAR, RING]),
        ("left of the ring: a star, no circles", [RING, STAR]),
        ("a scarlet hoop and a star that is blue", [RING, STAR]),
        ("a scarlet frob and a star that is blue", [RING, STAR]),
        ("a red shape and a blue shape", [RING, STAR]),
        ("a blue shape and a red shape", [STAR, RING]),
        ("a red rnig and a star", [RING, STAR]),
        ("two things", [STAR, RING]),
        ("", [STAR, RING]),
    ],
)
def test_objects_stand_as_the_caption_names_them(text, order) -> None:
    assert list(in_order(of(STAR, RING), text).objects) == order


def test_kinds_stay_together_and_what_is_not_found_is_what_is_left() -> None:
    more = dataclasses.replace(STAR, x=0.5, y=0.5)
    scene = of(STAR, RING, more, OTHER_STAR)
    told = in_order(scene, "a red star, a ring and two blue stars").objects
    assert list(told) == [OTHER_STAR, RING, STAR, more]
    told = in_order(scene, "a red star, a frob and two blue stars").objects
    assert list(told) == [OTHER_STAR, RING, STAR, more]
    alone = in_order(scene, "rings and stars", colored=False).objects
    assert list(alone) == [RING, STAR, more, OTHER_STAR]


def test_most_sketches_copy_the_order_of_their_captions() -> None:
    """Judged by where plain names of shapes stand in the text, if each stands there once."""
    same = judged = 0
    for seed in range(1500):
        scene = compose(seed, Kind.SHAPES, held_out=False, variety=Variety(related=0.17))
        kinds = {(one.shape, one.color) for one in scene.objects}
        names = {str(shape) for shape, _ in kinds}
        text = caption(scene, seed, 240).lower()
        if not 2 <= len(kinds) == len(names) or any(text.count(name) != 1 for name in names):
            continue
        judged += 1
        told = dict.fromkeys(str(one.shape) for one in in_order(scene, text).objects)
        found = [text.index(name) for name in told]
        same += all(a < b for a, b in itertools.pairwise(found))
    assert judged > 150
    assert same / judged > 0.97
