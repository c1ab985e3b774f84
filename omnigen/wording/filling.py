# SPDX-License-Identifier: Apache-2.0
"""The voices of sentences written by hand, filled with what a meaning holds."""

import dataclasses
import re

from omnigen.dice import Dice
from omnigen.wording import lexicon
from omnigen.wording.clauses import Clauses, mark
from omnigen.wording.fitting import Fit, draw
from omnigen.wording.meaning import Meaning
from omnigen.wording.nouns import Article
from omnigen.wording.templates import Slot
from omnigen.wording.units import Units

PART = 0.3  # share of landscapes told in part, where no sentence tells all of one
PLACE = "\ue0ff"  # stands before a place until it is known whether its article may stay
MOST = 5  # of more things or words than this no sentence speaks


def fill(meaning: Meaning, dice: Dice) -> str | None:
    """Returns a sentence of the tables that says what a meaning holds, or None if none does.

    Quotations have the marks of `clauses.mark`, and quotation marks around them where the sentence
    has some.
    """
    if len(meaning.things) + len(meaning.words) > MOST:
        return None
    fit = draw(meaning, dice)
    if fit is None and meaning.domain == "landscapes" and dice.chance(PART):
        fit = draw(meaning, dice, whole=False)
        if fit and (fit.template.domain, len(fit.words)) != ("landscapes", len(meaning.words)):
            return None
    return _Filling(meaning, fit, dice).text() if fit else None


class _Filling:
    """One sentence that is being filled."""

    def __init__(self, meaning: Meaning, fit: Fit, dice: Dice) -> None:
        self.meaning, self.fit, self.dice = meaning, fit, dice
        holds = {index: fit.template.things[name] for name, index in fit.things.items()}
        bare = [
            dataclasses.replace(thing, **dict.fromkeys(holds[i].apart.keys() - {"count"}))
            if i in holds
            else thing
            for i, thing in enumerate(meaning.things)
        ]
        told = dataclasses.replace(meaning, things=tuple(bare))
        self.clauses = Clauses(told, dice, article=Article.INDEFINITE)
        self.names, self.units = self.clauses.names, Units(self.clauses)
        pieces = fit.template.pieces
        pairs = zip(pieces, pieces[2:], strict=False)
        self.single = {
            id(after) for one, after in pairs if isinstance(one, Slot) and one.name == "an"
        }

    def text(self) -> str:
        text = self.fit.fill(self.meaning, self._say)
        text = re.sub(rf"\b([Tt]he ){PLACE}the ", r"\1", text)
        text = re.sub(rf"(\b(?:[Ii]n|[Aa]t|[Oo]n|[Tt]o|[Ii]nto|[Nn]ear) ){PLACE}", r"\1", text)
        return re.sub(rf"{PLACE}(the )?", "", text)

    def _say(self, slot: Slot) -> str:
        if slot.name in self.fit.things:
            single = id(slot) in self.single
            return self._thing(self.fit.things[slot.name], slot.part, single=single)
        if slot.name in self.fit.words:
            return self._words(self.fit.words[slot.name], slot.part)
        if slot.name == "bg":
            return self.units.ground("ground.a") or ""
        if slot.name == "bgc":
            return self.units.ground("shade") or ""
        if slot.name == "sky":
            return self.units.sky(slot.part or "bare") or ""
        rule = "no" if slot.name == "no" and slot.part != "color" else "nos"
        return self.units.denied(self.meaning.absent, rule)

    def _thing(self, index: int, part: str, *, single: bool) -> str:
        """Returns a slot of a thing; a `single` one follows the indefinite article."""
        thing, names = self.meaning.things[index], self.names
        if part == "phrase":
            return names.full(index, Article.INDEFINITE, late=False)
        if part in ("bare", "bares"):
            return names.described(index, many=part == "bares" or (thing.is_plural and not single))
        if part in ("noun", "nouns"):
            return names.noun_in(index, many=part == "nouns")
        if part in ("n", "N"):
            return names.plain_number(thing.count or 1, digits=part == "N")
        if part == "color":
            return names.color(thing.color or "", toned=True)
        if part == "size":
            return names.word("sizes", thing.size or "", "adjective").text
        return self._place(thing.place)

    def _words(self, index: int, part: str) -> str:
        words = self.meaning.words[index]
        if part == "ink":
            return self.names.color(words.ink or "")
        if part == "place":
            return self._place(words.place)
        return words.style or "" if part == "style" else mark(index)

    def _place(self, place: str | None) -> str:
        found = lexicon.entries("places", place or "", "corner")
        return PLACE + lexicon.draw(found, self.dice).text
