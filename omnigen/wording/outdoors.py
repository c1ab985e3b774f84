# SPDX-License-Identifier: Apache-2.0
"""The wording of landscapes: the sky and what is in it, over what is below."""

from collections.abc import Sequence

from omnigen.wording import lexicon, rules
from omnigen.wording.clauses import Clauses, Said, listing
from omnigen.wording.units import Units

ALOFT = ("sun", "moon", "stars", "cloud", "birds", "snow", "banner")
WATERS = ("lake", "river", "sea")
BACKS = ("mountains", "hills")
DOING = 0.25  # share of things in the sky that do something, as "birds flying"
NEAR, BACK = 0.4, 0.45  # shares of houses that stand at water, and of mountains that lie behind
BARE_ADJECTIVE = {"cloud": "sky", "stars": "night", "moon": "night", "trees": "hills"}


class Outdoors:
    """Writes the body of a landscape's caption."""

    def __init__(self, clauses: Clauses) -> None:
        """Prepares to write."""
        self.clauses, self.meaning, self.dice = clauses, clauses.meaning, clauses.dice
        self.names, self.units = clauses.names, Units(clauses)
        self.absent = list(self.meaning.absent)
        self.later = list(self.meaning.relations)
        self.nouns = [thing.noun for thing in self.meaning.things]
        self._high = [i for i, noun in enumerate(self.nouns) if noun in ALOFT]
        self._low = [i for i, noun in enumerate(self.nouns) if noun not in ALOFT]
        self._high_words: list[int] = []
        self._low_words: list[int] = []

    def body(self, held: Sequence[int]) -> str | None:
        """Returns all of it but what is absent; `held` are quotations to be told along with it."""
        self._take(held)
        high, low = self.high(), self.low()
        kind = "both" if high and low else "low" if low else "high" if high else "sky"
        plain = "" if self.meaning.sky else ".plain"
        if kind == "sky" and plain:
            return None
        slots: rules.Slots = {
            "high": high,
            "low": low,
            "all": lambda: listing(self.dice.pick(((high, low), (low, high))), self.dice),
            "sky": lambda: self.sky(),
            "when": lambda: self.units.sky("when"),
            "day": lambda: self._day(),
        }
        return rules.write(f"land.{kind}{plain}", self.dice, slots)

    def tags(self) -> list[str]:
        """Returns each thing and quotation apart, and the sky, bare."""
        self._take(range(len(self.meaning.words)))
        found = [self.clauses.first(i) for i in range(len(self.nouns))]
        found += [self._words(i) for i in (*self._high_words, *self._low_words)]
        sky = self.units.sky("bare") if self.meaning.sky else None
        self._shuffle(found)
        return [*found, sky] if sky and self.dice.chance(0.6) else [*filter(None, [sky]), *found]

    def _take(self, held: Sequence[int]) -> None:
        holders = [word.holder for word in self.meaning.words]
        self._high_words = [i for i in held if holders[i] in ALOFT]
        self._low_words = [i for i in held if holders[i] not in ALOFT]

    def _shuffle(self, parts: list[str]) -> None:
        """Puts parts in a random order, in place."""
        parts.sort(key=lambda _: self.dice.unit())

    def high(self) -> str:
        """Returns what is in the sky."""
        found = [self._doing(index) for index in self._high]
        found += [self._words(i) for i in self._high_words]
        self._shuffle(found)
        return listing(found, self.dice)

    def low(self) -> str:
        """Returns what is on the ground."""
        left = list(self._low)
        found = [*self._at_water(left)]
        backs = [i for i in left if self.nouns[i] in BACKS]
        rest = [i for i in left if i not in backs]
        found += [self._grounded(i) for i in rest]
        found += [self._words(i) for i in self._low_words]
        self._shuffle(found)
        if backs and found and self.dice.chance(BACK):
            slots = {
                "x": listing(found, self.dice),
                "back": listing([self.clauses.first(i) for i in backs], self.dice),
            }
            return rules.write("land.back", self.dice, slots) or ""
        found += [self._grounded(i) for i in backs]
        self._shuffle(found)
        return listing(found, self.dice)

    def sky(self) -> str | None:
        """Returns the sky with its article, at times told to be cloudless or starless."""
        adjective = self.units.sky("adjective")
        if adjective is None:
            return None
        for noun in ("cloud", "stars", "moon"):
            found = lexicon.entries("absent", noun, "adjective")
            if noun in self.absent and found and self.dice.chance(0.4):
                self.absent.remove(noun)
                adjective = f"{lexicon.draw(found, self.dice).text} {adjective}"
        article = "the" if self.dice.chance(0.4) else "a"
        return f"{article} {adjective} sky"

    def _day(self) -> str | None:
        sky = self.meaning.sky
        return sky and rules.write(f"day.{sky}", self.dice, {})

    def _doing(self, index: int) -> str:
        text = self.clauses.placed(index)
        noun, place = self.nouns[index], self.meaning.things[index].place
        is_plain = self.names.noun(index).use == lexicon.Use.USUAL
        if place is None and is_plain and f"do.{noun}" in rules.rules() and self.dice.chance(DOING):
            return f"{text} {rules.write(f'do.{noun}', self.dice, {})}"
        return text

    def _grounded(self, index: int) -> str:
        text = self._doing(index)
        if self.nouns[index] == "hills" and "trees" in self.absent and self.dice.chance(0.25):
            self.absent.remove("trees")
            return f"{rules.write('absent.hills', self.dice, {})} {text}".replace(
                "treeless a ", "a "
            )
        return text

    def _at_water(self, left: list[int]) -> list[str]:
        """Takes a boat or a house with its water from what is left, and returns them as one."""
        water = next((i for i in left if self.nouns[i] in WATERS), None)
        if water is None:
            return []
        for relation in self.later:
            if relation.name == "on" and self.dice.chance(0.85):
                self.later.remove(relation)
                return self._joined("land.afloat", relation.one, water, left)
        house = next((i for i in left if self.nouns[i] == "house"), None)
        trees = next((i for i in left if self.nouns[i] == "trees"), None)
        for stands in (house, trees):
            if stands is not None and self.dice.chance(NEAR):
                return self._joined("land.at", stands, water, left)
        return []

    def _joined(self, rule: str, one: int, water: int, left: list[int]) -> list[str]:
        left.remove(one)
        left.remove(water)
        slots = {"x": self.clauses.placed(one), "w": self.clauses.first(water)}
        text = rules.write(rule, self.dice, slots)
        return [text] if text else []

    def _words(self, index: int) -> str:
        said = Said.TAG if self.clauses.is_bare else Said.PHRASE
        return self.clauses.words(self.meaning.words[index], said)
