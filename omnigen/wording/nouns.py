# SPDX-License-Identifier: Apache-2.0
"""How things are named within one caption: number, adjectives, noun, and what follows them."""

import dataclasses
import enum
import functools

from omnigen.dice import Dice
from omnigen.wording import lexicon, rules
from omnigen.wording.lexicon import Entry
from omnigen.wording.meaning import MANY, Meaning, Thing
from omnigen.wording.plurals import is_plural, plural

LATE_COLOR, LATE_SIZE = 0.12, 0.08  # shares of colours and sizes that follow the noun
FLUFF = 0.2  # share of captions with adjectives that change nothing
BROKEN = 0.02  # share whose plurals are as the singular: "four red star"
DIGITS = 0.3
TONED = 0.06  # share of colours with an adjective of their own: "dark red"
ALL = "shape"
FEW = range(3, 7)  # numbers that "several" stands for
MOST_WORDS = 20  # larger numbers are written in digits
NOUNS = (*lexicon.SHAPES, ALL)
ELEMENTS = frozenset({one.meaning for one in lexicon.table("elements")})
PLAIN = {
    "colors": 0.55,
    "shapes": 0.45,
    "elements": 0.35,
    "numbers": 0.0,
    "things": 0.65,
    "sizes": 0.1,
}
"""Shares of words that are the meaning's own name, before others are drawn."""

Slots = dict[str, str | None]


class Article(enum.Enum):
    """What a noun stands with: "a red circle", "red circle", "the red circle"."""

    INDEFINITE = "indefinite"
    BARE = "bare"
    DEFINITE = "definite"


class Names:
    """Names of the things of one meaning; a thing keeps its words throughout a caption."""

    def __init__(self, meaning: Meaning, dice: Dice) -> None:
        """Prepares to name what a meaning tells."""
        self.things, self.dice, self.domain = meaning.things, dice, meaning.domain
        self.count = len(meaning.things) + len(meaning.words)
        self.digits = dice.chance(DIGITS)
        self.fluff = dice.chance(FLUFF)
        self.broken = dice.chance(BROKEN)
        self._words: dict[tuple[str, str], Entry] = {}
        self._adjectives: dict[int, Slots] = {}

    def word(self, table: str, meaning: str, form: str | None = None) -> Entry:
        """Returns the entry for a meaning, the same one whenever a caption asks again."""
        key = (f"{table}/{form}", meaning)
        if key not in self._words:
            found = [one for one in lexicon.entries(table, meaning, form) if self._suits(one)]
            plain = Entry(meaning, meaning, lexicon.Use.USUAL)
            if found and found[0].text == meaning and self.dice.chance(PLAIN.get(table, 0.0)):
                found = found[:1]
            self._words[key] = lexicon.draw(found, self.dice) if found else plain
        return self._words[key]

    def _suits(self, entry: Entry) -> bool:
        """Returns whether an entry can stand as a noun or adjective of this meaning."""
        if "shape_context" in entry.tags:
            return self.domain in ("shapes", "mixed") and len(self.things) > 1
        return "small" not in entry.tags

    def noun(self, index: int) -> Entry:
        """Returns the noun of a thing."""
        noun = self.things[index].noun
        if noun in NOUNS:
            return self.word("shapes", noun, "noun")
        if self.domain == "landscapes" or noun in ELEMENTS:
            return self.element(noun)
        return self.drawing(noun)

    def element(self, noun: str) -> Entry:
        """Returns the noun of an element of a landscape."""
        key = ("elements", noun)
        if key not in self._words:
            forms = ("the", "count", "plural", "mass")
            found = [one for one in lexicon.entries("elements", noun) if one.form in forms]
            several = any(t.noun == noun and (t.count or 1) > 1 for t in self.things)
            if any(thing.noun == noun and thing.place for thing in self.things):
                found = [one for one in found if one.form != "mass"] or found
            found = [one for one in found if not several or one.plural] or found
            usual = found[:1] if self.dice.chance(PLAIN["elements"]) else found
            self._words[key] = lexicon.draw(usual, self.dice)
        return self._words[key]

    def drawing(self, noun: str) -> Entry:
        """Returns the name of a drawing, or at times another one for the same."""
        key = ("things", noun)
        if key not in self._words:
            found = [Entry(noun, noun, lexicon.Use.USUAL)]
            others = [one for one in lexicon.entries("things", noun, "synonym") if self._suits(one)]
            if others and not self.dice.chance(PLAIN["things"]):
                found = others
            drawn = lexicon.draw(found, self.dice)
            form = "plural" if is_plural(drawn.text) else ""
            self._words[key] = dataclasses.replace(drawn, form=form)
        return self._words[key]

    def is_plural(self, index: int) -> bool:
        """Returns whether verbs and pronouns of a thing, or of words, are in the plural."""
        if index >= len(self.things):
            return False
        form = self.noun(index).form
        if form in ("mass", "the"):
            return False
        if form == "plural":
            return True
        return self.things[index].count not in (1, None) or (
            self.things[index].count is None and not self._is_collective(index)
        )

    def _is_collective(self, index: int) -> bool:
        """Returns whether one word stands for many, as "a forest" for trees."""
        thing = self.things[index]
        return thing.noun in MANY and self.noun(index).form in ("count", "mass")

    def is_pointed(self, index: int) -> bool:
        """Returns whether the noun alone says which thing is meant."""
        own = self.things[index].noun
        return sum(thing.noun == own for thing in self.things) == 1

    def full(self, index: int, article: Article, *, late: bool = True) -> str:
        """Returns a thing with all that is told of it, but for its place.

        Args:
            index: Which thing.
            article: What it stands with.
            late: Whether adjectives may follow the noun.
        """
        adjectives = self._adjective(index)
        alone = len(self.things) == 1 and article == Article.INDEFINITE
        after = self._late(index, alone=alone) if late and article != Article.BARE else ""
        before = [
            text
            for kind in ("size", "fluff", "color")
            if (text := adjectives[kind]) and f"<{kind}>" not in after
        ]
        noun = self._number(index, article, before, alone=alone and late and not after)
        for kind in ("size", "color"):
            after = after.replace(f"<{kind}>", "")
        return f"{noun}{after}" if after.startswith(",") else f"{noun} {after}".strip()

    def described(self, index: int, *, many: bool) -> str:
        """Returns a thing with its adjectives, without article and number."""
        adjectives = self._adjective(index)
        before = [text for kind in ("size", "fluff", "color") if (text := adjectives[kind])]
        return " ".join([*before, self.noun_in(index, many=many)])

    def definite(self, index: int) -> str:
        """Returns a thing that was named before, with as much as is needed to point at it."""
        noun, adjectives = self._noun(index), self._adjective(index)
        if self.is_pointed(index) and self.dice.chance(0.75):
            return f"the {noun}"
        return f"the {' '.join([*filter(None, [adjectives['color']]), noun])}"

    def pronoun(self, index: int) -> str:
        """Returns `it` or `them`."""
        return "them" if self.is_plural(index) else "it"

    def where(self, place: str | None) -> str | None:
        """Returns words for a place."""
        if place is None:
            return None
        forms = (
            *lexicon.entries("places", place, "phrase"),
            *lexicon.entries("places", place, "corner"),
        )
        found = lexicon.draw(forms, self.dice)
        return f"in {found.text}" if found.form == "corner" else found.text

    def label(self, place: str) -> str:
        """Returns a place as it stands in a list, such as "top left"."""
        return lexicon.draw(lexicon.entries("places", place, "label"), self.dice).text

    def color(self, name: str, *, toned: bool = False) -> str:
        """Returns the word for a colour, at times with an adjective of its own."""
        text = self.word("colors", name, "name").text
        if toned and text == name and self.dice.chance(TONED):
            tones = lexicon.entries("modifiers", name)
            return f"{lexicon.draw(tones, self.dice).text} {text}" if tones else text
        return text

    def number(self, count: int) -> str:
        """Returns a count as a word or in digits, as the caption has it."""
        if self.digits or count > MOST_WORDS:
            return self._counted("any", "digit", count) if self.dice.chance(0.05) else str(count)
        if self.dice.chance(0.04):
            return self._counted("any", "word", count)
        if count == 1 or self.dice.chance(0.65):
            return _words_of(count)
        return self.word("numbers", str(count), "word").text

    def _counted(self, meaning: str, form: str, count: int) -> str:
        text = lexicon.draw(lexicon.entries("numbers", meaning, form), self.dice).text
        return text.format(N=count, n=_words_of(count))

    def _adjective(self, index: int) -> Slots:
        if index not in self._adjectives:
            thing = self.things[index]
            kind = {"landscapes": "landscape", "things": "thing"}.get(self.domain, "shape")
            is_fluffy = self.fluff and self.dice.chance(0.6)
            self._adjectives[index] = {
                "size": thing.size and self.word("sizes", thing.size, "adjective").text,
                "color": thing.color and self.color(thing.color, toned=True),
                "fluff": rules.write(f"fluff.{kind}", self.dice, {}) if is_fluffy else None,
            }
        return self._adjectives[index]

    def _late(self, index: int, *, alone: bool) -> str:
        """Returns what follows the noun, with marks of what it tells: "<color>that is red"."""
        number = "many" if self.is_plural(index) else "one"
        found = ""
        adjectives = self._adjective(index)
        for kind, share in (("color", LATE_COLOR), ("size", LATE_SIZE)):
            others_tell = alone or (kind == "color" and self._is_safe(index))
            if adjectives[kind] and not found and others_tell and self.dice.chance(share):
                ending = ".alone" if alone and self.dice.chance(0.5) else ""
                text = rules.write(f"{kind}.{number}{ending}", self.dice, {kind: adjectives[kind]})
                found = f"{text}<{kind}>"
        return found

    def _is_safe(self, index: int) -> bool:
        """Returns whether a colour after this noun cannot be taken for another thing's too."""
        return all(thing.color for thing in self.things[:index])

    def noun_in(self, index: int, *, many: bool) -> str:
        """Returns a thing's noun in the singular or the plural."""
        entry = self.noun(index)
        if not many or entry.form == "plural":
            return entry.text
        return entry.plural or plural(entry.text)

    def plain_number(self, count: int, *, digits: bool) -> str:
        """Returns a count in digits or as its usual word."""
        return str(count) if digits else _words_of(count)

    def _noun(self, index: int) -> str:
        return self.noun_in(index, many=self.is_plural(index) and not self.broken)

    def _number(self, index: int, article: Article, before: list[str], *, alone: bool) -> str:
        thing = self.things[index]
        entry = self.noun(index)
        others = [t for t in self.things[:index] if t.noun != ALL]
        if thing.noun == ALL and thing.color is None and others:
            before = ["other" if thing.count != 1 or article == Article.BARE else "other", *before]
        x = " ".join([*before, self._noun(index)])
        bare = ".bare" if article == Article.BARE else ""
        if entry.form == "mass":
            return x
        if entry.form == "the":
            return x if bare else f"{self.dice.pick(('the', 'the', 'a'))} {x}"
        if entry.form == "plural":
            return rules.write(f"np.element{bare}", self.dice, {"x": x}) or x
        count = 1 if thing.count is None and self._is_collective(index) else thing.count
        slots = self._count_slots(thing, count, x)
        if count is None:
            kind = "element" if self.domain == "landscapes" else "some"
            return rules.write(f"np.{kind}{bare}", self.dice, slots) or x
        if count == 1:
            text = rules.write(f"np.one{bare}", self.dice, slots) or x
            return text.replace("a other ", "another ").replace("one other ", "another ")
        ending = ".alone" if alone and not bare and self.dice.chance(0.12) else bare
        return rules.write(f"np.many{ending}", self.dice, slots) or x

    def _count_slots(self, thing: Thing, count: int | None, x: str) -> rules.Slots:
        def group() -> str | None:
            found = lexicon.entries("numbers", str(count), "of")
            if self.dice.chance(0.25) or not found:
                return self._counted("many", "of", count or 2)
            return lexicon.draw(found, self.dice).text

        return {
            "x": x,
            "n": self.number(count) if count else None,
            "m": None if not count else str(count) if self.digits else _words_of(count),
            "digit": str(count),
            "times": lambda: self._counted("any", "times", count or 1),
            "after": lambda: self._counted("any", "after", count or 1),
            "group": group,
            "several": lambda: lexicon.draw(_several(), self.dice).text,
        }


@functools.cache
def _several() -> tuple[Entry, ...]:
    """Returns what may be said of any number of `FEW`, by the ranges in the tags of the lexicon."""
    found = []
    for entry in lexicon.entries("numbers", "several", "vague"):
        low, high = next(iter(entry.tags)).split("-")
        if int(low) <= FEW[0] and FEW[-1] <= int(high):
            found.append(entry)
    return tuple(found)


def _words_of(count: int) -> str:
    """Returns a count as its usual word."""
    found = lexicon.entries("numbers", str(count), "word")
    return found[0].text if found else str(count)
