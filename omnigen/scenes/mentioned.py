# SPDX-License-Identifier: Apache-2.0
"""Scenes in the order of their captions, so that a sketch copies it instead of choosing one."""

import dataclasses
from collections.abc import Callable, Sequence

from omnigen.scenes.scene import Color, Scene, Shape
from omnigen.wording.mentions import Mention, mentions


def in_order(scene: Scene, caption: str, *, colored: bool = True) -> Scene:
    """Returns a scene whose objects stand in the order in which its caption first names them.

    Objects of one kind stay together, and kinds that the caption does not tell apart keep their
    order. All do if none is found.

    Args:
        scene: What is in the picture.
        caption: What is told of it.
        colored: Whether colour and shape make a kind, or the shape alone (`sketch`).
    """
    kinds = dict.fromkeys((o.color if colored else None, o.shape) for o in scene.objects)
    first = _plainly(caption, [shape for _, shape in kinds]) or _by_reading(caption, list(kinds))
    if len(first) != len(kinds):
        return scene
    place = dict(zip(kinds, first, strict=True))
    objects = sorted(scene.objects, key=lambda o: place[o.color if colored else None, o.shape])
    return dataclasses.replace(scene, objects=tuple(objects))


def _plainly(caption: str, shapes: Sequence[Shape]) -> list[int]:
    """Returns where shapes stand in a caption; nothing unless all differ and have plain names."""
    text = caption.lower()
    found = [text.find(str(shape)) for shape in shapes]
    return found if len({*shapes}) == len(shapes) and -1 not in found else []


def _by_reading(caption: str, kinds: Sequence[tuple[Color | None, Shape]]) -> list[int]:
    """Returns the numbers of the first mentions of kinds, nothing if none is mentioned.

    A kind that no mention names by its shape has the first of its colour that is left, as in "a
    red shape", or else the first that is left. If none is, it comes after the others.
    """
    told = [one for one in mentions(caption) if not one.is_absent] if len(kinds) > 1 else []
    places: dict[tuple[Color | None, Shape], int] = {}

    def settle(is_meant: Callable[[Mention, Color | None, Shape], bool], *, again: bool) -> None:
        for color, shape in kinds:
            taken = () if again else {*places.values()}
            meant = (
                place
                for place, one in enumerate(told)
                if place not in taken and is_meant(one, color, shape)
            )
            if (color, shape) not in places and (place := next(meant, None)) is not None:
                places[color, shape] = place

    settle(_is_named, again=True)
    settle(lambda one, color, _: color is not None and one.color == color, again=False)
    settle(lambda one, *_: True, again=False)
    return [places.get(kind, len(told)) for kind in kinds] if told else []


def _is_named(one: Mention, color: Color | None, shape: Shape) -> bool:
    return str(shape) in one.nouns and (not color or one.color in (None, str(color)))
