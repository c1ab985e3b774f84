# SPDX-License-Identifier: Apache-2.0
"""What a record's picture holds, as its captions may tell it: kept as JSON, told in part.

A record whose attribute `meaning` holds one is worded anew whenever it is read.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from omnigen.dice import Dice
from omnigen.wording.meaning import Meaning, Relation, Thing, Words
from omnigen.wording.phrase import phrase

ATTRIBUTE = "meaning"
GIVEN = 0.3  # share of captions that are those of the record
WHOLE = 0.25  # share of captions that tell all there is
# Of the others, how often each of these is told.
LETTERED = 0.35  # relations of words, which their place tells too
RELATED, BEHIND, PLACED, SIZED, INKED, STYLED, HELD = 0.7, 0.4, 0.5, 0.5, 0.5, 0.25, 0.8
COLORED = 0.85  # of drawings that have one colour
SEVERAL = 0.1  # share of groups of three or more whose number is not told
ABSENT, ONLY = 0.08, 0.08  # shares that say what is not there, and that nothing else is

_PARTS = ("things", "relations", "words")
_Part = TypeVar("_Part", Thing, Words)


def write(meaning: Meaning) -> str:
    """Returns a meaning as JSON, without what is as by default."""
    return json.dumps(_sparse(meaning), ensure_ascii=False, separators=(",", ":"))


def read(written: str) -> Meaning:
    """Reads a meaning.

    Raises:
        ValueError: If it is none; the message says what is wrong with it.
    """
    try:
        values = json.loads(written)
        _check_types(values)
        return Meaning(
            **{
                **values,
                "things": tuple(Thing(**one) for one in values.get("things", ())),
                "relations": tuple(
                    Relation(one["name"], one["one"], tuple(one["others"]))
                    for one in values.get("relations", ())
                ),
                "words": tuple(Words(**one) for one in values.get("words", ())),
                "absent": tuple(values.get("absent", ())),
            }
        )
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no meaning: {type(error).__name__}: {error}") from error


def _check_types(value: Any, name: str = "") -> None:
    """Checks that objects and lists are where a meaning has some, and all else has its type."""
    if isinstance(value, Mapping) and name in ("", *_PARTS):
        for key, inner in value.items():
            _check_types(inner, key)
        return
    if isinstance(value, list) and name in (*_PARTS, "absent", "others"):
        for inner in value:
            _check_types(inner, name)
        return
    wanted = {"count": int, "one": int, "others": int, "only": bool}.get(name, str)
    if value is not None and type(value) is not wanted:
        raise ValueError(f"{name} is {value!r}; allowed: of type {wanted.__name__}")


def of(attributes: Mapping[str, str]) -> Meaning | None:
    """Returns the meaning that a record brings; None if it brings none that can be read."""
    try:
        return read(attributes[ATTRIBUTE]) if ATTRIBUTE in attributes else None
    except ValueError:
        return None


def worded(whole: Meaning, captions: Sequence[str], dice: Dice, *, most: int) -> str:
    """Returns a caption in free wording, or at times one of the captions that are given.

    Args:
        whole: All that holds.
        captions: Captions of which one is taken now and then, and where no other has room.
        dice: Source of all choices.
        most: Bytes that it may have; one of the given captions has more if all have.
    """
    said = None if dice.chance(GIVEN) else phrase(told(whole, dice), dice, most)
    if said is not None:
        return said
    return dice.pick([one for one in captions if len(one.encode()) <= most] or captions)


def told(whole: Meaning, dice: Dice) -> Meaning:
    """Returns what one caption tells of all that holds: every thing and word, and some more.

    One relation at most is told, for several of the same things may contradict each other's words.
    """
    is_whole = dice.chance(WHOLE)

    def kept(share: float) -> bool:
        return is_whole or dice.chance(share)

    def without(part: _Part, **shares: float) -> _Part:
        dropped = {name: None for name, share in shares.items() if not kept(share)}
        return dataclasses.replace(part, **dropped)

    things = tuple(
        without(_uncounted(thing, dice), place=PLACED, size=SIZED, color=COLORED)
        for thing in whole.things
    )
    words = tuple(
        without(one, ink=INKED, style=STYLED, place=PLACED, holder=HELD) for one in whole.words
    )
    is_lettered = any(one.one >= len(things) for one in whole.relations)
    related = bool(whole.relations) and kept(LETTERED if is_lettered else RELATED)
    absent = bool(whole.absent) and dice.chance(ABSENT)
    return dataclasses.replace(
        whole,
        things=things,
        words=words,
        relations=(dice.pick(whole.relations),) if related else (),
        background=whole.background if kept(BEHIND) else None,
        absent=(dice.pick(whole.absent),) if absent else (),
        only=whole.only and not absent and dice.chance(ONLY),
    )


def _uncounted(thing: Thing, dice: Dice) -> Thing:
    if (thing.count or 1) > 2 and dice.chance(SEVERAL):
        return dataclasses.replace(thing, count=None)
    return thing


def _sparse(part: Any) -> dict[str, Any]:
    """Returns the fields of a part that differ from their defaults."""
    found = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if value != field.default:
            is_parts = isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0])
            found[field.name] = [_sparse(one) for one in value] if is_parts else value
    return found
