# SPDX-License-Identifier: Apache-2.0
"""What a caption of a landscape may tell."""

import dataclasses
from collections.abc import Collection

from omnigen.dice import Dice
from omnigen.scenes import grammar
from omnigen.scenes.caption_landscape import COUNTED, UNCOUNTED
from omnigen.scenes.grammar import Box
from omnigen.scenes.relating import sides
from omnigen.scenes.scene import Element, Landscape, Prop, Scene, Sky
from omnigen.scenes.telling import PLACED, Told, few, few_relations, place, written
from omnigen.wording.meaning import MANY, Meaning, Relation, Thing

LOOSE = 0.2  # share of meanings that leave elements out
SKY, AFLOAT, RELATED = 0.75, 0.6, 0.3  # shares that tell the sky, a boat's water, and sides
UNHELD = 0.06  # share that tell words without what holds them
DENIED, ONLY = 0.32, 0.15  # shares that tell what is absent, or may say that nothing else is there
ALOFT = frozenset({Element.SUN, Element.MOON, Element.CLOUD})
GROUNDED = frozenset({Element.HOUSE, Element.BOAT, Element.SIGN})
SIDED = ALOFT | GROUNDED
WATERS = (Element.RIVER, Element.LAKE, Element.SEA)
DENIABLE: dict[str, float] = {
    Element.CLOUD: 8.0,
    Element.BIRDS: 3.0,
    Element.TREES: 3.0,
    Element.HOUSE: 2.0,
    Element.BOAT: 2.0,
    Element.SNOW: 1.5,
    Element.MOUNTAINS: 1.0,
    Element.HILLS: 1.0,
    Element.RIVER: 1.0,
    Element.LAKE: 1.0,
    Element.SEA: 0.5,
    "people": 2.0,
    "animals": 1.0,
}
LIGHTS: dict[str, float] = {Element.MOON: 2.0, Element.STARS: 2.0}


def outdoors(scene: Scene, landscape: Landscape, dice: Dice) -> Meaning:
    """Returns what one caption tells of a landscape, as in `meaning`."""
    props: dict[Element, list[Prop]] = {}
    for prop in landscape.props:
        props.setdefault(prop.element, []).append(prop)
    words = written(grammar.quotes(scene), dice)
    if dice.chance(UNHELD):
        words = tuple(dataclasses.replace(one, holder=None) for one in words)
    held = {one.holder for one in words}
    seen = [(element, group) for element, group in props.items() if element not in held]
    loose = dice.chance(LOOSE)
    if loose and seen:
        kept = dice.integer(1, min(3, len(seen)))
        start = dice.integer(0, len(seen) - kept)
        seen = seen[start : start + kept]
    if dice.chance(0.5):
        seen.reverse()
    placed = dice.chance(PLACED)
    told = [_element(element, group, dice, placed=placed) for element, group in seen]
    return Meaning(
        str(scene.kind),
        tuple(one.thing for one in told),
        _relations(told, dice),
        words,
        sky=str(landscape.sky) if dice.chance(SKY) or not (told or words) else None,
        absent=_absent(scene, landscape.sky, props, dice) if dice.chance(DENIED) else (),
        only=not loose and dice.chance(ONLY),
    )


def _element(element: Element, group: list[Prop], dice: Dice, *, placed: bool) -> Told:
    boxes = tuple(Box(p.x, p.y, p.width / 2, p.height / 2) for p in group)
    count: int | None = len(group) if element in COUNTED else 1
    if element in MANY or (len(group) > 1 and dice.chance(UNCOUNTED)):
        count = None
    where = None
    if placed and len(group) == 1 and element in SIDED:
        where = place(boxes, dice)
        if element in GROUNDED:  # its height says how near it is
            where = next((side for side in ("left", "right") if side in (where or "")), None)
        where = where if where != "center" else None
    return Told(Thing(str(element), count, place=where), boxes)


def _relations(told: list[Told], dice: Dice) -> tuple[Relation, ...]:
    names = [one.thing.noun for one in told]
    found: tuple[Relation, ...] = ()
    water = next((names.index(name) for name in WATERS if name in names), None)
    if Element.BOAT in names and water is not None and dice.chance(AFLOAT):
        found = (Relation("on", names.index(Element.BOAT), (water,)),)
    if dice.chance(RELATED):
        boxes = [one.boxes for one in told]
        plain = [i for i, one in enumerate(told) if one.thing.count == 1 and names[i] in SIDED]
        taken = {one.one for one in found}
        found += few_relations(
            [
                one
                for one in sides(boxes, plain)
                if one.name != "below" and not taken & {one.one, *one.others}
            ],
            dice,
        )
    return found


def _absent(scene: Scene, sky: Sky, props: Collection[str], dice: Dice) -> tuple[str, ...]:
    lights = LIGHTS if sky == Sky.NIGHT else {str(Element.SUN): 2.0}
    weights = {**DENIABLE, **lights, **({} if scene.texts else {"text": 2.0})}
    return few({str(k): weight for k, weight in weights.items() if k not in props}, dice)
