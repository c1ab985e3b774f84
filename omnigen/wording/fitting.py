# SPDX-License-Identifier: Apache-2.0
"""Which templates say what a meaning holds, and what their letters stand for then."""

import collections
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from omnigen.dice import Dice
from omnigen.wording import templates
from omnigen.wording.lexicon import SEVERAL, SHAPES
from omnigen.wording.meaning import COLORS, Meaning, Thing, Words
from omnigen.wording.templates import (
    ANY,
    ANY_COLOR,
    ATTRIBUTES,
    DRAWING_LETTERS,
    ELEMENT_LETTERS,
    NOUNS,
    PLAIN,
    WORD_ATTRIBUTES,
    Holds,
    Slot,
    Template,
)

ANYTHING, ELEMENT = "anything else", "element"
NEVER = frozenset(
    "people person animals frame border outline shadow decoration ornament clutter rainbow smoke "
    "pictures photo background cars buildings grass flowers fog rain".split()
)
"""What no scene has, so that a template may always say that it is absent."""
TRIES = 40  # templates that `draw` looks at
ALONE = re.compile(r"[A-Za-z0-9]+")
CAPITALS = re.compile(r"[A-Z0-9]+( [A-Z0-9]+)*")
PLURAL_NOUNS = frozenset({"trees", "mountains", "hills", "stars", "birds"})
_Needs = tuple[tuple[str, int], ...]  # how many things of each kind
_OPPOSITE = {"right": "left", "below": "above", "around": "inside"}


@dataclasses.dataclass(frozen=True)
class Fit:
    """A template with what its letters and nouns stand for.

    Attributes:
        template: The template.
        things: Index in `Meaning.things` of each letter or noun.
        words: Index in `Meaning.words` of each letter.
    """

    template: Template
    things: dict[str, int]
    words: dict[str, int]

    def fill(self, meaning: Meaning, say: Callable[[Slot], str]) -> str:
        """Writes the template out.

        Args:
            meaning: The meaning that it fits.
            say: What a slot stands for; asked for all slots but those of forms and articles.
        """
        written = ""
        for piece in reversed(self.template.pieces):
            if isinstance(piece, str):
                said = piece
            elif piece.forms:
                is_plural = meaning.things[self.things[piece.name]].is_plural
                said = piece.forms[is_plural]
            elif piece.name == "an":
                said = "an" if written.lstrip()[:1].lower() in set("aeiou") else "a"
            else:
                said = say(piece)
            written = said + written
        return written


def fitting(meaning: Meaning, *, whole: bool = True, style: str | None = None) -> list[Fit]:
    """Returns the templates that say what a meaning holds, each once, in the order of the tables.

    Args:
        meaning: What is to be told.
        whole: Whether all of it is to be told, as opposed to a part. What the template says is
            part of the meaning either way.
        style: Style of drawing, which templates of a style need.
    """
    kinds = [_kind(thing.noun, meaning.domain) for thing in meaning.things]
    have = collections.Counter([*kinds, *("w" for _ in meaning.words)])
    found = (
        fit(one, meaning, whole=whole, style=style)
        for needs, group in _by_needs().items()
        if _suffices(have, dict(needs), whole=whole)
        for one in group
    )
    return [one for one in found if one is not None]


def draw(
    meaning: Meaning, dice: Dice, *, whole: bool = True, style: str | None = None
) -> Fit | None:
    """Returns one of `fitting`, each as likely; None if none of the first tried fits."""
    kinds = [_kind(thing.noun, meaning.domain) for thing in meaning.things]
    have = collections.Counter([*kinds, *("w" for _ in meaning.words)])
    key = _size(meaning), _names(one.name for one in meaning.relations)
    left = [
        one
        for needs, group in (_by_size().get(key, {}) if whole else _by_needs()).items()
        if _suffices(have, dict(needs), whole=whole)
        for one in group
    ]
    for _ in range(min(len(left), TRIES)):
        index = int(dice.unit() * len(left))
        left[index], left[-1] = left[-1], left[index]
        found = fit(left.pop(), meaning, whole=whole, style=style)
        if found is not None:
            return found
    return None


@functools.cache
def _by_size() -> Mapping[tuple[object, ...], Mapping[_Needs, list[Template]]]:
    """Returns the templates by how much they say, relations by name, and then by their needs."""
    groups: dict[tuple[object, ...], dict[_Needs, list[Template]]] = {}
    for needs, group in _by_needs().items():
        for one in group:
            key = _size(one), _names(name for name, *_ in one.relations)
            groups.setdefault(key, {}).setdefault(needs, []).append(one)
    return groups


def _names(relations: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(_OPPOSITE.get(name, name) for name in relations))


@functools.cache
def _by_needs() -> Mapping[_Needs, list[Template]]:
    """Returns the templates by how many things of what kind, and words, they speak of."""
    groups = collections.defaultdict(list)
    for one in templates.every():
        kinds = [holds.noun or _kind_of_letter(name) for name, holds in one.things.items()]
        needs = collections.Counter([*kinds, *("w" for _ in one.words)])
        groups[tuple(sorted(needs.items()))].append(one)
    return groups


def _suffices(have: dict[str, int], needs: dict[str, int], *, whole: bool) -> bool:
    """Returns whether there is enough of each kind, and in the whole nothing more."""
    if any(have.get(kind, 0) < needed for kind, needed in needs.items() if kind != ELEMENT):
        return False
    if whole and sum(have.values()) != sum(needs.values()):
        return False
    spare = sum(n - needs.get(kind, 0) for kind, n in have.items() if kind in NOUNS)
    return spare >= needs.get(ELEMENT, 0)


def _kind_of_letter(name: str) -> str:
    if name in ELEMENT_LETTERS:
        return ELEMENT
    return "drawing" if name in DRAWING_LETTERS else "shape"


def _kind(noun: str, domain: str) -> str:
    if domain == "things" or noun not in (*SHAPES, "shape", *NOUNS):
        return "drawing"
    return "shape" if noun in (*SHAPES, "shape") else noun


def _size(one: Meaning | Template) -> tuple[object, ...]:
    told = one.background is not None
    lengths = map(len, (one.things, one.words, one.relations))
    return (one.sky is not None, told, *lengths)


def fit(
    template: Template, meaning: Meaning, *, whole: bool = True, style: str | None = None
) -> Fit | None:
    """Returns how a template says what a meaning holds, or None; arguments as of `fitting`."""
    if (
        (whole and _size(template) != _size(meaning))
        or (template.only and not (meaning.only or ANYTHING in meaning.absent))
        or (whole and ANYTHING in meaning.absent and not template.only)
        or (template.style is not None and template.style not in (ANY, style))
        or (template.style == ANY and style is None)
        or (template.sky == ANY and meaning.sky is None)
        or (template.sky not in (None, ANY, meaning.sky))
        or not _suits_background(template.background, meaning.background)
        or not _suits_absent(template.absent, meaning, whole=whole)
        or len(template.things) > len(meaning.things)
        or len(template.words) > len(meaning.words)
    ):
        return None
    if template.only and (len(template.things), len(template.words)) != (
        len(meaning.things),
        len(meaning.words),
    ):
        return None
    wanted = {_straight(r.name, r.one, r.others) for r in meaning.relations}
    for words in _assigned(template.words, meaning.words, whole=whole, domain=meaning.domain):
        for things in _assigned(
            template.things, meaning.things, whole=whole, domain=meaning.domain
        ):
            index = things | {name: len(meaning.things) + i for name, i in words.items()}
            said = {
                _straight(name, index[one], tuple(index[other] for other in others))
                for name, one, *others in template.relations
            }
            if said == wanted if whole else said <= wanted:
                return Fit(template, things, words)
    return None


def _suits_background(told: str | None, held: str | None) -> bool:
    if told is None or held is None:
        return told is None
    is_plain = not held.startswith(("gradient", "textured"))
    return told == ANY or (told == PLAIN and is_plain) or told == held


def _suits_absent(told: Sequence[str], meaning: Meaning, *, whole: bool) -> bool:
    left = [noun for noun in meaning.absent if noun != ANYTHING]
    for noun in sorted(told, key=lambda noun: noun in (ANY, ANY_COLOR)):
        fits = (one for one in left if noun == one or noun == _kind_of_absent(one))
        one = next(fits, None)
        if one is not None:
            left.remove(one)
        elif noun not in NEVER or meaning.domain == "things":
            return False
    return not (whole and left)


def _kind_of_absent(noun: str) -> str | None:
    if noun in COLORS:
        return ANY_COLOR
    return None if noun == "text" else ANY


def _straight(name: str, one: int, others: tuple[int, ...]) -> tuple[object, ...]:
    if name in _OPPOSITE:
        return _OPPOSITE[name], others[0], one
    if name == "next_to":
        return name, *sorted((one, *others))
    if name == "between":
        return name, one, *sorted(others)
    return name, one, *others


def _assigned(
    told: dict[str, Holds], held: Sequence[Thing | Words], *, whole: bool, domain: str
) -> Iterator[dict[str, int]]:
    """Yields every way to give each letter or noun one of what the meaning holds."""
    choices = [
        [i for i, one in enumerate(held) if _suits(name, holds, one, whole=whole, domain=domain)]
        for name, holds in told.items()
    ]
    for chosen in itertools.product(*choices):
        if len({*chosen}) == len(chosen):
            yield dict(zip(told, chosen, strict=True))


def _suits(name: str, holds: Holds, one: Thing | Words, *, whole: bool, domain: str) -> bool:
    if isinstance(one, Words):
        if holds.noun and not (CAPITALS if holds.noun == "W" else ALONE).fullmatch(one.text):
            return False
        attributes = WORD_ATTRIBUTES
    else:
        if holds.is_plural and one.count == 1:
            return False
        kind, wanted = _kind(one.noun, domain), holds.noun or _kind_of_letter(name)
        if kind != wanted and (wanted != ELEMENT or kind not in NOUNS):
            return False
        attributes = ATTRIBUTES
    return all(
        _suits_attribute(holds, attribute, getattr(one, attribute), whole=whole)
        for attribute in attributes
    )


def _suits_attribute(holds: Holds, attribute: str, value: object, *, whole: bool) -> bool:
    if attribute in holds.apart:
        told = holds.apart[attribute]
        if told == SEVERAL:
            return value is None
        return value is not None if told is None else str(value) == told
    if attribute == "count":
        usual = None if holds.noun in PLURAL_NOUNS else 1
        return "count" in holds.takes or value == usual or (not (whole or usual) and value != 1)
    return value is None or not whole or attribute in holds.takes
