# SPDX-License-Identifier: Apache-2.0
"""What is said of single things, of words, and of things that stand to each other.

A quotation is a mark of its own in all that is written here (`mark`), so that nothing that is done
to a caption afterwards reaches into it.
"""

import enum
import re
from collections.abc import Callable, Sequence

from omnigen.dice import Dice
from omnigen.wording import lexicon, rules
from omnigen.wording.meaning import Meaning, Relation, Words
from omnigen.wording.nouns import Article, Names

CONVERSE = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
    "next_to": "next_to",
    "inside": "around",
    "around": "inside",
}
FIRST_MARK = 0xE000  # of Unicode's private use area


def mark(index: int) -> str:
    """Returns what stands for a quotation until the caption is done."""
    return chr(FIRST_MARK + index)


class Said(enum.Enum):
    """How something is said: within a sentence, as one of its own, or as a tag."""

    PHRASE = "phrase"
    SENTENCE = "sentence"
    TAG = "tag"


class Clauses:
    """Writes parts of one meaning's caption."""

    def __init__(self, meaning: Meaning, dice: Dice, *, article: Article) -> None:
        """Prepares to write; `article` is what nouns stand with when they come first."""
        self.meaning, self.dice, self.article = meaning, dice, article
        self.names = Names(meaning, dice)
        self.things = len(meaning.things)

    def first(self, index: int) -> str:
        """Returns a thing or a quotation that was not named before, without its place."""
        if index < self.things:
            return self.names.full(index, self.article)
        said = Said.TAG if self.article == Article.BARE else Said.PHRASE
        return self.words(self.meaning.words[index - self.things], said)

    def placed(self, index: int) -> str:
        """Returns a thing or a quotation with its place, if that is told."""
        place = self._place(index)
        if place is None:
            return self.first(index)
        if self.is_bare:
            return self.dice.pick(
                (
                    f"{self.first(index)} {place}",
                    f"{place}: {self.first(index)}",
                    f"{self.first(index)} ({place})",
                    f"{place} {self.first(index)}",
                )
            )
        slots = {**self._one("a", index), "a": self.first(index), "place": place}
        return rules.write("place.np", self.dice, slots) or self.first(index)

    def fronted(self, index: int) -> str | None:
        """Returns a placed thing after its place, as a sentence begins."""
        place = self._place(index)
        if place is None:
            return None
        slots = {**self._one("a", index), "place": place}
        return rules.write("place.front", self.dice, slots)

    def again(self, index: int) -> str:
        """Returns a thing or a quotation that was named before."""
        if index < self.things:
            return self.names.definite(index)
        words = self.meaning.words
        if len(words) > 1:
            return mark(index - self.things)
        return self.dice.pick(("the text", "the text", "the writing", "the lettering"))

    def bare(self, index: int) -> str:
        """Returns what `again` does, without its article."""
        return self.again(index).removeprefix("the ")

    def relation(self, rule: str, one: Relation) -> str | None:
        """Writes a relation by a rule, such as "rel.np"; None if the rule cannot."""
        return rules.write(rule, self.dice, self._slots(one))

    def inline(self, one: Relation) -> str | None:
        """Returns a relation and all things of it, none of which was named before."""
        if one.name == "between":
            rule = "between.np" if len(one.others) == 1 else "between.three"
        elif one.name in ("row", "column"):
            rule = f"{one.name}.{'list' if one.others else 'group'}"
        elif one.name == "next_to" and self.dice.chance(0.3):
            rule = "rel.group"
        elif one.name in ("left", "above") and self._is_all(one) and self.dice.chance(0.2):
            rule = f"sides.{one.name}"
        else:
            rule = "rel.tag" if self.article == Article.BARE else "rel.np"
        return self.relation(rule, one)

    def _is_all(self, one: Relation) -> bool:
        return self.names.count == 2 and len(one.others) == 1

    def words(self, told: Words, said: Said) -> str:
        """Returns a quotation with all that is told of it but its place."""
        rule = {Said.PHRASE: "words.np", Said.SENTENCE: "words.sentence", Said.TAG: "words.tag"}
        name = rule[said]
        holder = self.names.word("holders", told.holder, "noun") if told.holder else None
        if holder is not None:
            name = "words.held" if said == Said.PHRASE else f"{name}.held"
        elif told.style and said == Said.PHRASE:
            name += ".style"
        if told.ink:
            name += ".ink"
        index = self.meaning.words.index(told)
        is_many = " " in told.text
        slots: rules.Slots = {
            "q": mark(index),
            "q_ink": lambda: self.quoted(told),
            "word": "words" if is_many else "word",
            "is_q": "are" if is_many else "is",
            "ink": told.ink and self.names.color(told.ink),
            "style": told.style,
            "holder": holder and holder.text,
            "on_it": self.dice.pick(
                (" somewhere", " in the picture", "") if self.things else (" on it", "", "")
            ),
            "on": "in" if holder and "inside" in holder.tags else "on",
        }
        return rules.write(name, self.dice, slots) or mark(index)

    def quoted(self, told: Words) -> str:
        """Returns a quotation with its ink after it."""
        quote = mark(self.meaning.words.index(told))
        return f"{quote} in {self.names.color(told.ink)}" if told.ink else quote

    def in_line(self, one: Relation) -> str | None:
        """Returns a sentence that says of things that were named that they are in a row."""
        group = self._entry(one.name, "group")
        if group is None:
            return None
        if one.others:
            return self.dice.pick(
                (f"they are {group}", f"all of them {group}", f"everything is {group}")
            )
        return f"{self.again(one.one)} {self.dice.pick(('are', 'should be'))} {group}"

    @property
    def is_bare(self) -> bool:
        """Whether nouns stand without articles."""
        return self.article == Article.BARE

    def is_plural(self, index: int) -> bool:
        """Returns whether verbs of a thing, or of words, are in the plural."""
        return self.names.is_plural(index)

    def has_place(self, index: int) -> bool:
        """Returns whether it is told where a thing or a quotation is."""
        if index < self.things:
            return self.meaning.things[index].place is not None
        return self.meaning.words[index - self.things].place is not None

    def mark(self, index: int) -> str:
        """Returns what stands for a quotation."""
        return mark(index)

    def _place(self, index: int) -> str | None:
        if index < self.things:
            told = self.meaning.things[index].place
        else:
            told = self.meaning.words[index - self.things].place
        if told and self.is_bare:
            return self.names.label(told)
        return self.names.where(told)

    def _one(self, letter: str, index: int) -> dict[str, str | Callable[[], str | None] | None]:
        """Returns the slots of one thing, by the letter that stands for it."""
        many = index < self.things and self.names.is_plural(index)
        return {
            letter: lambda: self.first(index),
            f"the_{letter}": lambda: self.again(index),
            f"bare_{letter}": lambda: self.bare(index),
            f"it_{letter}": "them" if many else "it",
            f"it_{letter}_is": "they are" if many else "it is",
            f"it_{letter}_has": "they have" if many else "it has",
            f"is_{letter}": "are" if many else "is",
            f"has_{letter}": "have" if many else "has",
            f"sits_{letter}": lambda: self.dice.pick(
                ("sit", "are", "stand", "lie") if many else ("sits", "is", "stands", "lies")
            ),
        }

    def _slots(self, one: Relation) -> rules.Slots:
        slots = self._one("a", one.one)
        if one.name in ("row", "column"):
            members = (one.one, *one.others)
            slots["list"] = lambda: listing([self.first(index) for index in members], self.dice)
        for letter, index in zip(("b", "c"), one.others, strict=False):
            slots |= self._one(letter, index)
        if len(one.others) == 2:
            first, second = one.others
            slots["bare_b"] = lambda: f"{self.bare(first)} and {self.bare(second)}"
            slots["the_b"] = lambda: f"{self.again(first)} and {self.again(second)}"
            slots |= {"it_b": "them", "is_b": "are", "has_b": "have"}
        back = CONVERSE.get(one.name)
        return slots | {
            "prep": lambda: self._preposition(one.name),
            "front": lambda: self._preposition(one.name, front=True),
            "converse": lambda: back and self._preposition(back, front=True),
            "verb": lambda: self._verb(one),
            "row_of": lambda: self._entry(one.name, "of"),
            "with": lambda: self._with(one),
            "group": lambda: self._entry(one.name, "group"),
        }

    def _preposition(self, name: str, *, front: bool = False) -> str | None:
        """Returns words between the one and the others; at the front only the plain ones."""
        found = lexicon.entries("relations", name, "preposition")
        allowed = [one for one in found if "loose" not in one.tags and self._is_apt(one)]
        if front:
            allowed = [one for one in allowed if one.use != lexicon.Use.RARE]
        return lexicon.draw(allowed, self.dice).text if allowed else None

    def _verb(self, one: Relation) -> str | None:
        many = self.is_plural(one.one)
        found = [
            found for found in lexicon.entries("relations", one.name, "verb") if self._is_apt(found)
        ]
        if not found:
            return None
        entry = lexicon.draw(found, self.dice)
        return entry.plural if many else entry.text

    def _is_apt(self, entry: lexicon.Entry) -> bool:
        """Returns whether words for a relation suit: the sun is above a house, not on top of it."""
        is_sky = self.meaning.domain == "landscapes" and entry.meaning == "above"
        return not (is_sky and re.search(r"\b(on|upon|atop|tops?|aboard)\b", entry.text))

    def _with(self, one: Relation) -> str | None:
        """Returns what follows the one in "the others with the one on top"."""
        many = len(one.others) > 1 or any(self.is_plural(other) for other in one.others)
        found = [
            found for found in lexicon.entries("relations", one.name, "with") if self._is_apt(found)
        ]
        if not found:
            return None
        entry = lexicon.draw(found, self.dice)
        return (entry.plural or entry.text) if many else entry.text

    def _entry(self, name: str, form: str) -> str | None:
        found = lexicon.entries("relations", name, form)
        return lexicon.draw(found, self.dice).text if found else None


def listing(parts: Sequence[str], dice: Dice) -> str:
    """Returns items as people list them; those that are relations themselves are kept apart."""
    if len(parts) < 2:
        return "".join(parts)
    if any("," in part for part in parts[:-1]):
        *rest, last = parts
        return f"{'; '.join(rest)}; {dice.pick(('and ', '', 'and also '))}{last}"
    *rest, last = parts
    joint = dice.weigh(
        {", ": 70, " and ": 12 if len(parts) < 5 else 2, ", and ": 3, " plus ": 1, " & ": 1}
    )
    final = dice.weigh(
        {" and ": 60, ", and ": 14, ", ": 5, " plus ": 3, " & ": 3, ", plus ": 2,
         " as well as ": 2, " and also ": 2, ", also ": 1, " together with ": 1, " + ": 1}
    )  # fmt: skip
    if joint != ", " and final == ", ":
        final = joint
    return f"{joint.join(rest)}{final}{last}"
