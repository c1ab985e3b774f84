# SPDX-License-Identifier: Apache-2.0
"""What a prompt asks for that a sketch does not hold, for people who would miss it.

The prompt is read by `wording.mentions`, which says nothing where it is in doubt; so does this.
"""

import collections
import dataclasses
import itertools
import re
from collections.abc import Sequence

from omnigen.scenes.reading import Reading
from omnigen.scenes.scene import Element, Shape
from omnigen.wording import mentions, quotes, vocabulary
from omnigen.wording.mentions import Mention

ANY_SHAPE = "shape"
_IN_GROUPS = frozenset(
    {Element.STARS, Element.MOUNTAINS, Element.HILLS, Element.TREES, Element.BIRDS}
    | {Element.RIVER, Element.LAKE, Element.SEA, Element.SNOW}
)
"""Elements of which one may be many, or no number at all."""
_OF_SCENES = {*Shape, *Element}
_STARS = frozenset({Shape.STAR.value, Element.STARS.value})  # which words do not tell apart

_REFUSES = re.compile(r"(\b(not|instead of|rather than|never|without|no)|n['’]t( \w+)?|=)\s*$")


def omissions(prompt: str, reading: Reading) -> list[str]:
    """Returns a line for each noun, count or quoted word that is missing, or that should be.

    Args:
        prompt: Words of the prompt, as they were typed.
        reading: What the model meant the picture to hold.
    """
    if reading.is_thumbnail:
        return []
    held = _Held(reading, is_colored=vocabulary.names_color(prompt))
    asked = [_widened(one) for one in mentions.mentions(prompt)]
    told = {name for one in asked for name in one.nouns}
    is_explained = held.kinds <= told  # a canoe may be why there is a boat
    wanted = [one for one in asked if not one.is_absent]
    unwanted = [one for one in asked if one.is_absent]
    found = []
    for one in wanted:
        if any(one.nouns & other.nouns for other in unwanted):
            continue  # who knows
        if ANY_SHAPE not in one.nouns and not held.shows(one):
            if (one.nouns & _OF_SCENES or is_explained) and not held.spells(one):
                found.append(f'the sketch shows nothing of "{one.text}"')
        elif line := held.miscounts(one, wanted):
            found.append(line)
    for one in unwanted:
        if held.shows(one) and not any(one.nouns & other.nouns for other in wanted):
            found.append(f'the sketch shows "{one.text}", which the prompt rules out')
    is_code = prompt.lstrip().startswith(("{", "["))  # where keys are quoted, too
    for one in quotes.quotations(prompt) if not is_code else ():
        is_whole = one.stop - one.start == len(prompt.strip())
        is_unwanted = _REFUSES.search(prompt[: one.start])
        if is_unwanted or is_whole and held.shows_all(one.text):
            continue
        if not held.writes(one.text):
            found.append(f'the sketch does not write "{one.text}"')
    return list(dict.fromkeys(found))


def _widened(one: Mention) -> Mention:
    return dataclasses.replace(one, nouns=one.nouns | _STARS) if one.nouns & _STARS else one


class _Held:
    """What a sketch holds.

    Attributes:
        kinds: Shapes and elements of landscapes.
        titles: Names of drawings, in lower case.
        names: Both.
        words: Words of the names, as they stand and singular, and of what could not be read.
    """

    def __init__(self, reading: Reading, *, is_colored: bool) -> None:
        """Takes what a sketch holds.

        Args:
            reading: What it says.
            is_colored: Whether the prompt names colours, which may be of anything.
        """
        self.reading, self.is_colored = reading, is_colored
        self.titles = [figure.title.lower() for figure in reading.figures]
        self.kinds = {o.shape.value for o in reading.objects}
        self.kinds |= {p.element.value for p in reading.props}
        self.names = {*self.titles, *self.kinds}
        self.words = {form for name in (*self.names, *reading.rest) for form in _forms(name)}

    def shows(self, one: Mention) -> bool:
        """Returns whether something may be what a prompt speaks of."""
        if one.nouns & (self.names | self.words) or _forms(one.text) & self.words:
            return True
        return not one.nouns and vocabulary.is_like(one.text.split()[-1], self.words)

    def spells(self, one: Mention) -> bool:
        """Returns whether it is a word to write, of which the prompt does not say so."""
        written = " ".join(text.string for text in self.reading.texts)
        return set(one.text.split()) <= set(re.findall(r"[^\W\d_]+", written.lower()))

    def shows_all(self, prompt: str) -> bool:
        """Returns whether a text is rather a prompt, of things that are all there."""
        asked = mentions.mentions(prompt)
        return bool(asked) and all(self.shows(_widened(one)) for one in asked)

    def miscounts(self, one: Mention, wanted: Sequence[Mention]) -> str | None:
        """Returns a line if a count is told and there are others, None if not or in doubt."""
        alike = [other for other in wanted if other.nouns & one.nouns]
        is_mixed = len({other.color is None for other in alike if other.count}) > 1
        same = [other for other in alike if other.color == one.color]
        is_vague = any(other.count is None and other.text.endswith("s") for other in same)
        if ANY_SHAPE in one.nouns and any(ANY_SHAPE not in other.nouns for other in wanted):
            return None  # "a star and two other shapes"
        if one.count is None or is_mixed or is_vague or (count := self._count(one)) is None:
            return None
        least, most = one.count, sum(other.count or 1 for other in same)
        if any(least <= number <= most for number in (count, *self._groups(one))):
            return None
        name = f"{one.color} {one.text}" if one.color else one.text
        return f'the prompt says {one.count} "{name}", the sketch has {count}'

    def _count(self, one: Mention) -> int | None:
        """Returns how many there are of something, or None where that is not told one by one."""
        if (
            one.nouns & self.kinds & _IN_GROUPS
            or ANY_SHAPE in one.nouns
            and "shape" not in one.text
        ):
            return None
        objects = [
            o for o in self.reading.objects if o.shape in one.nouns or ANY_SHAPE in one.nouns
        ]
        if objects and one.color is not None:
            return sum(o.color == one.color for o in objects)
        said = _forms(one.text) | one.nouns
        titles = [name for name in self.titles if said & {name, *_forms(name)}]
        props = [p for p in self.reading.props if p.element in one.nouns]
        return len(objects) + len(titles) + len(props)

    def _groups(self, one: Mention) -> list[int]:
        """Returns how many there are of each colour, one of which may be meant."""
        objects = [o for o in self.reading.objects if {o.shape, ANY_SHAPE} & one.nouns]
        if one.color is not None or not self.is_colored:
            return []
        return list(collections.Counter(o.color for o in objects).values())

    def writes(self, text: str) -> bool:
        """Returns whether a text is written, in one line or in several that follow each other."""
        lines = [line.string for line in self.reading.texts]
        ends = itertools.combinations(range(len(lines) + 1), 2)
        written = {_plain(" ".join(lines[start:stop])) for start, stop in ends}
        is_name = _forms(text) <= self.words  # 'a "cat"', in quotes for no reason
        is_unread = any(text in piece for piece in self.reading.rest)
        same = {_plain(text), _plain(text.rstrip(",."))}  # "Hi," as Americans put commas
        return is_name or is_unread or bool(written & same)


_SINGULARS = {"ves": ("f", "fe"), "ies": ("y",), "es": ("",), "s": ("",), "men": ("man",)} | {
    "mice": ("mouse",),
    "geese": ("goose",),
    "teeth": ("tooth",),
    "feet": ("foot",),
    "children": ("child",),
}
"""Ends of plurals, with those of their singulars."""


def _forms(name: str) -> set[str]:
    """Returns the words of a name as they stand, and what they may be the plurals of."""
    words = re.findall(r"[^\W\d_]+", name.lower())
    singular = {
        word.removesuffix(end) + other
        for word in words
        for end, others in _SINGULARS.items()
        if word.endswith(end)
        for other in others
    }
    return {*words, *singular}


def _plain(text: str) -> str:
    """Returns a text with single spaces, and apostrophes of one kind."""
    return " ".join(text.replace("’", "'").split())
