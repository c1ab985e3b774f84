# SPDX-License-Identifier: Apache-2.0
"""What is said of pictures composed of drawings: captions, sketches and meanings."""

import dataclasses

from omnigen.data.corpora import drawings, subjects
from omnigen.data.corpora.arrangement import (
    BESIDE,
    BOARD_WIDTH,
    LARGE,
    SMALL,
    Composite,
    Figure,
    Layout,
)
from omnigen.dice import Dice
from omnigen.scenes import grammar, sketch
from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.scene import Background, Fill, Text
from omnigen.wording import plurals
from omnigen.wording.meaning import PLACES, Meaning, Relation, Thing, Words

_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def meaning(composite: Composite, ground: Background, text: Text | None) -> Meaning:
    """Returns all that captions may tell of a composite; its relations are each true."""
    things = tuple(_thing(alike, composite) for alike in composite.kinds)
    words: tuple[Words, ...] = ()
    if text is not None:
        style = grammar.FONT_STYLES.get(FAMILIES[text.font].style)
        place = "top" if composite.side == "above" else "bottom"
        words = (Words(text.string, text.color, composite.layout, style, place),)
    return Meaning(
        "things",
        things=things,
        relations=_relations(composite, len(things)),
        words=words,
        background=_told_ground(ground),
        only=True,
    )


def _thing(alike: list[Figure], composite: Composite) -> Thing:
    first = alike[0]
    thing = drawings.inked(first.subject.name, first.ink, count=len(alike))
    if len(composite.figures) > 1 or composite.layout != Layout.GROUP:
        return thing
    size = "small" if first.side <= SMALL else "large" if first.side >= LARGE else None
    row, column = ((at > 0.4) + (at > 0.6) for at in (first.y, first.x))
    place = None if size == "large" else PLACES[3 * row + column]
    return dataclasses.replace(thing, size=size, place=place)


def _relations(composite: Composite, count: int) -> tuple[Relation, ...]:
    """Returns how the kinds, of which there are so many, and words stand to each other."""
    side, figures = composite.side, composite.figures
    if composite.layout != Layout.GROUP:
        return (Relation(side, 1, (0,)),)
    if not side or len(figures) == 1:
        return ()
    line = "row" if side == "left" else "column"
    if count == 1:
        return (Relation(line, 0, ()),) if len(figures) > 2 else ()
    if composite.is_between:
        return (Relation("between", 1, (0,)),)
    if count == 3:
        return Relation(line, 0, (1, 2)), Relation("between", 1, (0, 2))
    beside = side == "left" and len(figures) == 2 and _gap(*figures) <= BESIDE
    return (Relation(side, 0, (1,)), *([Relation("next_to", 0, (1,))] if beside else []))


def _gap(one: Figure, other: Figure) -> float:
    return other.x - one.x - (one.side + other.side) / 2


def _told_ground(ground: Background) -> str:
    if ground.fill == Fill.GRADIENT:
        return f"gradient of {ground.color} and {ground.second}"
    return f"textured {ground.color}" if ground.fill == Fill.TEXTURE else ground.color


def write(composite: Composite, ground: Background, text: Text | None, *, style: str) -> str:
    """Returns the sketch of a composite, in the notation of `scenes.sketch` and two parts more.

    It begins with a tilde and the style. Drawings, and the board of a sign, are `figure`s.
    """
    parts = [f"~{style}", sketch.ground(ground)]
    parts += [drawings.figure(f.title, f.x, f.y, f.side) for f in composite.figures]
    if composite.board:
        middle = composite.room / 2 if composite.side == "above" else 1 - composite.room / 2
        parts.append(drawings.figure(f"{composite.board} sign", 0.5, middle, BOARD_WIDTH))
    return "".join([*parts, sketch.line(text) if text is not None else ""])


def describe(
    dice: Dice, composite: Composite, ground: Background, text: Text | None, *, style: str
) -> tuple[str, ...]:
    """Returns ways to say what a composite shows; all are true and quote every word.

    The first is the plainest, the last but one is terse, and the last begins as requests may.
    """
    plain, *others, terse = _describe(dice, composite, ground, text, style=style)
    request = f"{grammar.asked(dice)}{dice.pick((plain, terse))}"
    return plain, *(grammar.punctuated(said, dice) for said in (*others, terse, request))


def _describe(
    dice: Dice, composite: Composite, ground: Background, text: Text | None, *, style: str
) -> tuple[str, ...]:
    """Returns what `describe` does, without openings and full stops.

    The first and the last begin with what is there.
    """
    behind = f" on {grammar.article(ground_name(ground))}"
    if text is None:
        return _describe_group(dice, composite, behind, style=style)
    first = _named(composite.figures)
    quote = grammar.Quote((text,))
    words = f"the {quote.word} {quote.quoted}"
    inked = f"{words} in {quote.ink} letters"
    there = "at the top" if composite.side == "above" else "at the bottom"
    if composite.layout == Layout.STICKER:
        return (
            f"a sticker of {first} with {inked} {there}{behind}, {style} style",
            f"a {style} style sticker of {first} that says {quote.quoted}",
            f"{first} as a sticker{behind}, and {words} {composite.side} the sticker",
            f"a sticker of {first} with {words}",
        )
    if composite.layout == Layout.POSTER:
        return (
            f"a poster with {first} and {inked} {there}{behind}, {style} style",
            f"{words} {composite.side} {first}{behind}, drawn in {style} style",
            f"{style} style poster: {first}, {quote.quoted}",
            f"{first} with {words}",
        )
    board = grammar.article(f"{composite.board} sign")
    return (
        f"{board} with {inked} {composite.side} {first}{behind}, {style} style",
        f"{first} and a sign that says {quote.quoted}, {style} style",
        f"{first} {_OPPOSITE[composite.side]} {board} that says {quote.quoted}{behind}",
        f"{first} and a sign with {words}",
    )


def _describe_group(
    dice: Dice, composite: Composite, behind: str, *, style: str
) -> tuple[str, ...]:
    names = [_named(alike) for alike in composite.kinds]
    side, first = composite.side, composite.figures[0]
    across = side == "left"
    if len(composite.figures) == 1:
        box = grammar.Box(first.x, first.y, first.side / 2, first.side / 2)
        place = grammar.place([box], dice)
        return (
            f"{names[0]} {place}{behind}, {style} style",
            f"{style} style: {names[0]}{behind}",
            f"a picture with {names[0]} {place}, drawn in {style} style",
            f"{names[0]} {place}{behind}",
        )
    if len(names) == 2:
        say = {name: dice.pick(grammar.SIDES[name]) for name in (side, _OPPOSITE[side])}
        one, other = f"{names[0]} {say[side]} {names[1]}", f"{names[1]} {say[_OPPOSITE[side]]} "
        other += names[0]
        if composite.is_between:
            one = other = f"{names[1]} between {names[0]}"
        return (
            f"{one}{behind}, {style} style",
            f"{other}{behind}, drawn in {style} style",
            f"{style} style: {names[0]} and {names[1]}",
            dice.pick((f"{names[0]} and {names[1]}", one)),
        )
    row = "in a row" if across else "one below the other"
    if len(names) == 1:
        lined = f"{names[0]} {row}" if side and len(composite.figures) > 2 else names[0]
        return (
            f"{lined}{behind}, {style} style",
            f"a picture with {names[0]}{behind}, drawn in {style} style",
            f"{style} style: {lined}",
            names[0],
        )
    line = "from left to right" if across else "from top to bottom"
    return (
        f"{grammar.listing(names)} {row} {line}{behind}, {style} style",
        f"{line}: {grammar.listing(names)}{behind}, drawn in {style} style",
        f"{style} style: {grammar.listing(dice.pick((names, names[::-1])))} {row}",
        grammar.listing(names),
    )


def _named(alike: list[Figure] | tuple[Figure, ...]) -> str:
    """Returns the name of what figures of one kind show, with an article or their number."""
    if len(alike) == 1:
        return subjects.phrase(alike[0].title)
    return f"{grammar.number(len(alike), digits=False)} {plurals.plural(alike[0].title)}"


def ground_name(ground: Background) -> str:
    """Returns a background as a noun without an article."""
    if ground.fill == Fill.GRADIENT:
        return f"{ground.color} and {ground.second} gradient background"
    if ground.fill == Fill.TEXTURE:
        return f"textured {ground.color} background"
    return f"{ground.color} background"
