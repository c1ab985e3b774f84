# SPDX-License-Identifier: Apache-2.0
"""What may be told of anything in a scene: its place, its letters, how it stands to others."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from omnigen.dice import Dice
from omnigen.scenes import grammar
from omnigen.scenes.grammar import Box, Quote
from omnigen.scenes.scene import Object
from omnigen.wording.meaning import Relation, Thing, Words

INSIDE = 0.67  # share of pairs told from within
PLACED, INKED, STYLED = 0.22, 0.5, 0.12  # shares of meanings that tell these
RARE = {"inside": 6.0, "around": 3.0, "between": 4.0, "row": 8.0, "column": 8.0, "next_to": 1.5}
"""How much rather these relations are told than sides, of which there are many."""

T = TypeVar("T")

PLACES = {
    (-1, -1): "top left",
    (-1, 0): "top",
    (-1, 1): "top right",
    (0, -1): "left",
    (0, 0): "center",
    (0, 1): "right",
    (1, -1): "bottom left",
    (1, 0): "bottom",
    (1, 1): "bottom right",
}
ROWS = {-1: "top", 1: "bottom"}
COLUMNS = {-1: "left", 1: "right"}


@dataclasses.dataclass(frozen=True)
class Told:
    """A thing to be told, where it is, and what it is on a canvas."""

    thing: Thing
    boxes: tuple[Box, ...]
    objects: tuple[Object, ...] = ()


def place(boxes: Sequence[Box], dice: Dice) -> str | None:
    """Returns the part of the canvas that holds all centres, or None if it has no plain name."""
    rows = {grammar.third(box.y) for box in boxes}
    columns = {grammar.third(box.x) for box in boxes}
    row = rows.pop() if len(rows) == 1 else None
    column = columns.pop() if len(columns) == 1 else None
    if row is not None and column is not None and not (row and column and dice.chance(0.15)):
        return PLACES[row, column]
    known = [edge for edge in (ROWS.get(row or 0), COLUMNS.get(column or 0)) if edge]
    return dice.pick(known) if known else None


def written(quotations: Sequence[Quote], dice: Dice) -> tuple[Words, ...]:
    """Returns what is told of each quotation besides its letters."""
    inked, placed = dice.chance(INKED), dice.chance(PLACED)
    found = []
    for quote in quotations:
        holder = quote.lines[0].holder
        found.append(
            Words(
                " ".join(line.string for line in quote.lines),
                quote.ink if inked and dice.chance(0.85) else None,
                holder and str(holder),
                quote.style if dice.chance(STYLED) else None,
                place(quote.boxes, dice) if placed and holder is None else None,
            )
        )
    return tuple(found)


def few(weights: dict[T, float], dice: Dice) -> tuple[T, ...]:
    """Returns one to three of the keys, mostly one, as likely as their values say."""
    left, found = dict(weights), []
    for _ in range(min(dice.weigh({1: 0.68, 2: 0.24, 3: 0.08}), len(left))):
        found.append(dice.weigh(left))
        del left[found[-1]]
    return tuple(found)


def few_relations(relations: Sequence[Relation], dice: Dice) -> tuple[Relation, ...]:
    """Returns one to three relations, of each thing at most one, and of each pair at most one."""
    chosen: list[Relation] = []
    for _ in range(dice.weigh({1: 0.68, 2: 0.24, 3: 0.08})):
        pairs = [{one.one, *one.others} for one in chosen]
        rest = {
            r: RARE.get(r.name, 1.0)
            for r in relations
            if r.one not in {one.one for one in chosen}
            and not any({r.one, other} <= pair for other in r.others for pair in pairs)
        }
        if not rest:
            break
        chosen.append(dice.weigh(rest))
    return tuple(chosen)


def nestings(relations: Sequence[Relation], dice: Dice) -> tuple[Relation, ...]:
    """Returns what is inside what: of each such pair one relation, inside or around."""
    twins = {(r.one, r.others): r for r in relations if r.name == "around"}
    return tuple(
        r if dice.chance(INSIDE) else twins[r.others[0], (r.one,)]
        for r in relations
        if r.name == "inside"
    )
