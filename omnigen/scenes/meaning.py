# SPDX-License-Identifier: Apache-2.0
"""What a caption of a scene may tell: random subsets of its facts, as meanings.

Only what holds by a margin is told, so that nobody could dispute it, and no object is left out
silently: a loose caption tells its kind less exactly, as in "three red shapes". A landscape has
more in it than anybody would list, so that a loose caption leaves elements of one out. That a thing
is inside another is always told, since nobody who does not ask for it expects it.
"""

from collections.abc import Sequence

from omnigen.dice import Dice
from omnigen.scenes import grammar
from omnigen.scenes.grammar import Box
from omnigen.scenes.meaning_landscape import outdoors
from omnigen.scenes.relating import relations, sides
from omnigen.scenes.relations import is_nested
from omnigen.scenes.scene import Background, Fill, Object, Scene, Shape, Size
from omnigen.scenes.telling import (
    PLACED,
    Told,
    few,
    few_relations,
    nestings,
    place,
    written,
)
from omnigen.wording.meaning import Meaning, Thing

LOOSE = 0.16  # share of meanings that leave out or blur what a full one tells
SIZED, RELATED = 0.25, 0.7
GROUND = 0.5  # share that tell the background
APART = 0.15  # share that tell things of one kind apart by size or place, where they differ
DENIED = 0.24  # share that tell what is absent
ONLY = 0.3  # share that may say that nothing else is there
BLURRED = "shape"  # the noun of what has some form
FEW = range(3, 7)  # counts that "several" stands for
MAX_PLACED, MAX_RELATED = 5, 8


def meaning(scene: Scene, dice: Dice, *, colored: bool = True) -> Meaning:
    """Returns what one caption tells of a scene.

    Args:
        scene: What is in the picture.
        dice: Decide between the true meanings of the scene.
        colored: Whether the colours of objects may be told; if not, things of one shape are alike.
    """
    if scene.landscape is not None:
        return outdoors(scene, scene.landscape, dice)
    nested = is_nested(scene.objects)
    told = _groups(scene.objects, dice, colored=colored, exact=nested)
    quotations = grammar.quotes(scene)
    words = written(quotations, dice)
    boxes = [one.boxes for one in told] + [quote.boxes for quote in quotations]
    distinct = _distinct(told)
    among = [*distinct, *range(len(told), len(boxes))]
    related = nested or (len(boxes) <= MAX_RELATED and dice.chance(RELATED))
    ground = dice.chance(GROUND) or not boxes
    found = []
    if related:
        found = [*sides(boxes, among), *relations([one.objects for one in told], distinct)]
    return Meaning(
        str(scene.kind),
        tuple(one.thing for one in told),
        nestings(found, dice) or few_relations(found, dice),
        words,
        _ground(scene.background) if ground and scene.background is not None else None,
        absent=_absent(scene, dice) if dice.chance(DENIED) else (),
        only=bool(boxes) and dice.chance(ONLY),
    )


def _ground(background: Background) -> str:
    if background.fill == Fill.GRADIENT:
        return f"gradient of {background.color} and {background.second}"
    return f"textured {background.color}" if background.fill == Fill.TEXTURE else background.color


def _circles(objects: Sequence[Object]) -> tuple[Box, ...]:
    return tuple(Box(o.x, o.y, o.radius, o.radius) for o in objects)


def _kinds(
    objects: Sequence[Object], dice: Dice, *, colored: bool, exact: bool
) -> list[tuple[str, str | None, list[Object]]]:
    """Returns groups of objects by noun and colour, mostly as exactly as may be told."""
    by = "both" if colored else "shape"
    if not exact and dice.chance(LOOSE):
        by = dice.pick(("shape", "color", "color", "rest", "none") if colored else ("none", "rest"))
    first = dice.pick(objects)
    groups: dict[tuple[str, str | None], list[Object]] = {}
    for one in objects:
        alike = one.shape == first.shape and (one.color == first.color or not colored)
        has_shape = by in ("both", "shape") or (by == "rest" and alike)
        has_color = colored and (by in ("both", "color") or (by == "rest" and alike))
        noun, color = (
            str(one.shape) if has_shape else BLURRED,
            str(one.color) if has_color else None,
        )
        groups.setdefault((noun, color), []).append(one)
    if by == "rest":  # others are told after what they are other than
        groups = dict(sorted(groups.items(), key=lambda group: group[0][0] == BLURRED))
    return [(noun, color, group) for (noun, color), group in groups.items()]


def _groups(objects: Sequence[Object], dice: Dice, *, colored: bool, exact: bool) -> list[Told]:
    """Returns the groups to be told; if `exact`, all of a kind are one and none is told loosely."""
    if not objects:
        return []
    kinds = _kinds(objects, dice, colored=colored, exact=exact)
    sized, placed = dice.chance(SIZED), dice.chance(PLACED) and len(kinds) <= MAX_PLACED
    told = []
    for noun, color, group in kinds:
        parts = _parts(noun, group, dice, sized=sized, placed=placed, whole=exact)
        for part, size, where in parts:
            count: int | None = len(part)
            if count in FEW and dice.chance(0.4 if noun == BLURRED else 0.05):
                count = None
            told.append(Told(Thing(noun, count, color, size, where), _circles(part), tuple(part)))
    return told


def _parts(
    noun: str, group: list[Object], dice: Dice, *, sized: bool, placed: bool, whole: bool
) -> list[tuple[list[Object], str | None, str | None]]:
    """Returns a group, or its parts that differ in size or in place, with what is told of each."""
    if not whole and 1 < len(group) and noun != BLURRED and dice.chance(APART):
        if {one.size for one in group} == {Size.SMALL, Size.LARGE}:
            sizes = dict.fromkeys(one.size for one in group)
            return [([o for o in group if o.size == size], str(size), None) for size in sizes]
        places = [place(_circles([one]), dice) for one in group]
        if len(group) <= 3 and all(places) and len({*places}) == len(places):
            return [([one], None, where) for one, where in zip(group, places, strict=True)]
    sizes = {one.size for one in group}
    size = str(sizes.pop()) if sized and len(sizes) == 1 else None
    return [
        (
            group,
            None if size == Size.MEDIUM or dice.chance(0.2) else size,
            place(_circles(group), dice) if placed else None,
        )
    ]


def _distinct(told: Sequence[Told]) -> list[int]:
    """Returns the things that their noun and colour alone can point at."""
    names = [(one.thing.noun, one.thing.color) for one in told]
    return [
        index
        for index, (noun, color) in enumerate(names)
        if sum(
            noun == other and None in (color, hue) or (noun, color) == (other, hue)
            for other, hue in names
        )
        == 1
        and (noun != BLURRED or color is not None or len(names) == 1)
    ]


def _absent(scene: Scene, dice: Dice) -> tuple[str, ...]:
    there = {one.shape for one in scene.objects}
    weights: dict[str, float] = {str(shape): 1.0 for shape in Shape if shape not in there}
    if not scene.texts:
        weights["text"] = 2.0
    return few(weights, dice)
