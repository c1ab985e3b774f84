# SPDX-License-Identifier: Apache-2.0
"""Meanings: what one caption tells of a picture, apart from the words in which it does.

A meaning is true of its picture. It may leave out much of it, and is not ambiguous about what it
tells. Nothing here knows scenes, so that scenes, corpora and tests can all make one. All names are
canonical, and those of shapes and elements are singular or plural as `scenes` has them.
"""

import dataclasses
from collections.abc import Collection

DOMAINS = ("shapes", "words", "mixed", "landscapes", "things")
COLORS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
)
SIZES = ("small", "large")
PLACES = (
    "top left",
    "top",
    "top right",
    "left",
    "center",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
HOLDERS = ("cloud", "sign", "banner", "sticker", "poster")
SKIES = ("clear", "sunset", "night", "overcast")
MANY = ("stars", "mountains", "hills", "trees", "birds")  # of which there is never just one
LONGEST = 6  # most things of a row or column that are told one by one
RELATIONS: dict[str, tuple[int, ...]] = {
    "left": (1,),
    "right": (1,),
    "above": (1,),
    "below": (1,),
    "next_to": (1,),
    "inside": (1,),
    "around": (1,),
    "between": (1, 2),
    "row": (0, *range(1, LONGEST)),
    "column": (0, *range(1, LONGEST)),
    "on": (1,),
}
"""Names of relations, each with how many others it may take."""


@dataclasses.dataclass(frozen=True)
class Thing:
    """One thing, or a group of things that are alike in all that is told of them.

    Attributes:
        noun: A shape ("circle"), an element of a landscape ("trees"), the name of a drawing
            ("panda"), or "shape" where the form is not told.
        count: How many there are; None for three to six of a number that is not told, and of
            landscapes for any number.
        color: One of `COLORS`, or None if not told.
        size: One of `SIZES`, or None; a middling size is never told.
        place: One of `PLACES`, where all of them are, or None.
    """

    noun: str
    count: int | None = 1
    color: str | None = None
    size: str | None = None
    place: str | None = None

    def __post_init__(self) -> None:
        if not self.noun or self.noun != self.noun.strip():
            raise ValueError(f"noun is {self.noun!r}; allowed: a name without spaces around it")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count is {self.count}; allowed: 1 or more, or None")
        _check("color", self.color, COLORS)
        _check("size", self.size, SIZES)
        _check("place", self.place, PLACES)

    @property
    def is_plural(self) -> bool:
        """Whether there are several."""
        return self.count != 1


@dataclasses.dataclass(frozen=True)
class Relation:
    """How things stand to each other; words count on after the things of the meaning.

    `one` is left of, above, …, inside or around the other, between the others or between several
    of one group, or on it, as a boat on a lake. Where a group takes part, all of it does. A row is
    `one` and then the others from left to right, a column from the top down; without others, the
    things of `one` are in a row or column.

    Attributes:
        name: One of `RELATIONS`.
        one: Index of what the relation is said of.
        others: Indices of what it stands to.
    """

    name: str
    one: int
    others: tuple[int, ...]

    def __post_init__(self) -> None:
        _check("relation", self.name, RELATIONS)
        if len(self.others) not in RELATIONS[self.name]:
            raise ValueError(
                f"{self.name} has {len(self.others)} others; allowed: {RELATIONS[self.name]}"
            )
        if len({self.one, *self.others}) <= len(self.others):
            raise ValueError(f"{self.name} of {self.one} to {self.others}; allowed: each once")


@dataclasses.dataclass(frozen=True)
class Words:
    """Something that is written in the picture.

    Attributes:
        text: What is to be read, verbatim.
        ink: One of `COLORS`, or None if not told.
        holder: One of `HOLDERS`, in or on which the words stand, or None.
        style: What a layman calls the letters, such as "handwritten", or None.
        place: One of `PLACES`, or None.
    """

    text: str
    ink: str | None = None
    holder: str | None = None
    style: str | None = None
    place: str | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(f"text is {self.text!r}; allowed: something to read")
        _check("ink", self.ink, COLORS)
        _check("holder", self.holder, HOLDERS)
        _check("place", self.place, PLACES)


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a caption tells.

    Attributes:
        domain: One of `DOMAINS`.
        things: Groups of things, in the order in which they are best told.
        relations: How they, and the words, stand to each other.
        words: What is written.
        background: As told, such as "blue", "gradient of white and mint" or "textured beige", or
            None.
        sky: One of `SKIES`, or None if not told.
        absent: What is truly not there and is told not to be: nouns, "text" or "anything else".
        only: Whether the wording may say that nothing else is there.
    """

    domain: str
    things: tuple[Thing, ...] = ()
    relations: tuple[Relation, ...] = ()
    words: tuple[Words, ...] = ()
    background: str | None = None
    sky: str | None = None
    absent: tuple[str, ...] = ()
    only: bool = False

    def __post_init__(self) -> None:
        _check("domain", self.domain, DOMAINS)
        _check("sky", self.sky, SKIES)
        known = range(len(self.things) + len(self.words))
        for relation in self.relations:
            for index in (relation.one, *relation.others):
                if index not in known:
                    raise ValueError(
                        f"{relation.name} names {index}; allowed: less than {len(known)}"
                    )
            if relation.name == "between" and len(relation.others) == 1:
                other = relation.others[0]
                if other >= len(self.things) or not self.things[other].is_plural:
                    raise ValueError("between is of one thing; allowed: two things, or a group")
            if relation.name in ("row", "column") and not relation.others:
                if relation.one >= len(self.things) or not self.things[relation.one].is_plural:
                    raise ValueError(
                        f"{relation.name} is of one thing; allowed: several things, or a group"
                    )
        there = {thing.noun for thing in self.things} & {*self.absent}
        if there:
            raise ValueError(f"absent has {sorted(there)}; allowed: only what is not there")


def _check(name: str, value: str | None, allowed: Collection[str]) -> None:
    if value is not None and value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}, or nothing")
