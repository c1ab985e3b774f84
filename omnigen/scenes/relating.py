# SPDX-License-Identifier: Apache-2.0
"""All relations between the groups of objects and the words of a scene, as meanings tell them."""

import itertools
from collections.abc import Iterator, Sequence

from omnigen.scenes import grammar
from omnigen.scenes.grammar import Box
from omnigen.scenes.relations import is_between, is_column, is_inside, is_next_to, is_row
from omnigen.scenes.scene import Object
from omnigen.wording.meaning import LONGEST, Relation

Groups = Sequence[Sequence[Object]]


def sides(boxes: Sequence[Sequence[Box]], among: Sequence[int]) -> Iterator[Relation]:
    """Yields which groups of boxes are left of, right of, above or below which others.

    Args:
        boxes: Where the members of each group are.
        among: Indices of the groups that may take part.
    """
    for one, other in itertools.permutations(among, 2):
        side = grammar.side(boxes[one], boxes[other])
        if side is not None:
            yield Relation(side, one, (other,))


def relations(groups: Groups, among: Sequence[int]) -> Iterator[Relation]:
    """Yields how groups of objects stand to each other, besides sides; arguments as in `sides`."""
    single = [index for index in among if len(groups[index]) == 1]
    for one, other in itertools.permutations(single, 2):
        if is_next_to(groups[one][0], groups[other][0]):
            yield Relation("next_to", one, (other,))
    for one, other in itertools.product(among, single):
        if one != other and all(is_inside(each, groups[other][0]) for each in groups[one]):
            yield Relation("inside", one, (other,))
            yield Relation("around", other, (one,))
    yield from _between(groups, among, single)
    yield from _lines(groups, among)


def _between(groups: Groups, among: Sequence[int], single: Sequence[int]) -> Iterator[Relation]:
    for one, pair in itertools.product(single, among):
        if len(groups[pair]) == 2 and is_between(groups[one][0], *groups[pair]):
            yield Relation("between", one, (pair,))
    for one, first, last in itertools.permutations(single, 3):
        if is_between(groups[one][0], groups[first][0], groups[last][0]):
            yield Relation("between", one, (first, last))


def _lines(groups: Groups, among: Sequence[int]) -> Iterator[Relation]:
    """Yields rows and columns of one group, and of all objects of a scene, one of each kind."""
    every = [one for group in groups for one in group]
    for index in among:
        group = groups[index]
        others = [one for one in every if one not in group]
        for name, is_line in (("row", is_row), ("column", is_column)):
            if is_line(group, others):
                yield Relation(name, index, ())
    if len(every) == len(groups) == len(among) <= LONGEST:
        for name, is_line, axis in (("row", is_row, "x"), ("column", is_column, "y")):
            if is_line(every):
                first, *rest = sorted(among, key=lambda i: getattr(groups[i][0], axis))
                yield Relation(name, first, tuple(rest))
