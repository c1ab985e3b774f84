# SPDX-License-Identifier: Apache-2.0
"""Scenes in the order of their captions, so that a sketch copies it instead of choosing one."""

import dataclasses
from collections.abc import Sequence

from omnigen.scenes.scene import Color, Scene, Shape
from omnigen.wording.mentions import mentions


def in_order(scene: Scene, caption: str, *, colored: bool = True) -> Scene:
    """Returns a scene whose objects stand in the order in which its caption first names them.

    Objects of one kind stay together, and kinds that the caption does not tell apart keep their
    order. All do if some kind is not found.

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
    """Returns the numbers of the first mentions of kinds, of those that the reader finds."""
    told = [one for one in mentions(caption) if not one.is_absent] if len(kinds) > 1 else []
    places = [
        next(
            (
                place
                for place, one in enumerate(told)
                if str(shape) in one.nouns and (not color or one.color in (None, str(color)))
            ),
            None,
        )
        for color, shape in kinds
    ]
    return [place for place in places if place is not None]
