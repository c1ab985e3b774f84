# SPDX-License-Identifier: Apache-2.0
"""What is said of backgrounds, of what is absent, and that nothing else is there."""

import re
from collections.abc import Sequence

from omnigen.wording import lexicon, rules
from omnigen.wording.clauses import Clauses
from omnigen.wording.meaning import COLORS
from omnigen.wording.nouns import ELEMENTS, NOUNS
from omnigen.wording.plurals import plural

SINGLE = ("sun", "moon", "sea", "river", "lake", "snow")  # absent in the singular
MASS = frozenset("people snow text sunshine water grass fog rain anything else".split())
USUAL = 0.75  # share of absent things that are called by their usual name


class Units:
    """Writes what a meaning tells besides things, words and relations."""

    def __init__(self, clauses: Clauses) -> None:
        """Prepares to write."""
        self.meaning, self.dice, self.names = clauses.meaning, clauses.dice, clauses.names

    def ground(self, rule: str, *, first: str | None = None) -> str | None:
        """Writes the background by a rule; `first` is the verb of what comes first."""
        told = self.meaning.background
        if told is None:
            return None
        gradient = re.fullmatch(r"gradient of (.+) and (.+)", told)
        texture = told.removeprefix("textured ") if told.startswith("textured ") else None
        slots: dict[str, str | None] = dict.fromkeys(("g", "gradient", "c1", "c2", "texture"))
        if gradient:
            slots["c1"], slots["c2"] = (self._shade(shade) for shade in gradient.groups())
            slots["gradient"] = f"{slots['c1']} and {slots['c2']}"
        elif texture:
            slots["texture"] = self._shade(texture)
        else:
            slots["g"] = self._shade(told)
        return rules.write(rule, self.dice, {**slots, "is_first": first})

    def _shade(self, name: str) -> str:
        table = "grounds" if lexicon.entries("grounds", name) else "colors"
        found = [
            one for one in lexicon.entries(table, name, "name") if "not_ground" not in one.tags
        ]
        if self.dice.chance(0.75):
            found = [one for one in found if one.text in (name, "gray")] or found
        return lexicon.draw(found, self.dice).text if found else name

    def absent(self, rule: str, nouns: Sequence[str]) -> str | None:
        """Writes that some things are absent by a rule."""
        return rules.write(rule, self.dice, self._denial(nouns)) if nouns else None

    def denied(self, nouns: Sequence[str], slot: str) -> str:
        """Returns the names of what is absent, by the slot "no" or "nos" of rules."""
        slots = self._denial(nouns)
        return str(slots[slot] or slots["nos"])

    def _denial(self, nouns: Sequence[str]) -> dict[str, str | None]:
        names = [self._absent(noun) for noun in nouns]
        *rest, last = names
        several = len(names) > 1
        only = nouns[0]
        single = only in lexicon.SHAPES or only in ("cloud", "boat", "house")
        return {
            "nos": f"{', '.join(rest)} {self.dice.pick(('or', 'or', 'and'))} {last}"
            if several
            else last,
            "nosand": f"{', '.join(rest)} and {last}" if several else last,
            "notags": ", ".join(f"no {name}" for name in names) if several else f"no {last}",
            "nor": f"{' nor '.join(names)}" if several else None,
            "no": only if single and not several else None,
        }

    def _absent(self, noun: str) -> str:
        """Returns what is absent in the plural, or as a mass."""
        if noun in COLORS:
            return noun
        if noun in ("text", "anything else"):
            found = lexicon.entries("absent", noun, "noun")
            entry = found[0] if self.dice.chance(0.4) else lexicon.draw(found, self.dice)
            return entry.plural or entry.text
        table = "shapes" if noun in NOUNS else "elements" if noun in ELEMENTS else None
        if table is None:
            return noun if noun in MASS or noun.endswith("s") else plural(noun)
        forms = ("noun", "count", "plural", "the", "mass")
        found = [
            one
            for one in lexicon.entries(table, noun)
            if one.form in forms
            and not one.tags
            and one.use != lexicon.Use.RARE
            and (one.form != "count" or one.plural or noun in SINGLE)
        ]
        entry = found[0] if self.dice.chance(USUAL) else lexicon.draw(found, self.dice)
        return entry.text if noun in SINGLE else entry.plural or entry.text

    def sky(self, form: str) -> str | None:
        """Returns words for the sky that speak of no element but those told; None if not told.

        Args:
            form: `adjective` of "sky", `when` or `bare`, as in the lexicon.
        """
        if self.meaning.sky is None:
            return None
        there = {thing.noun for thing in self.meaning.things}
        there |= {words.holder for words in self.meaning.words if words.holder}
        found = [
            one
            for one in lexicon.entries("skies", self.meaning.sky, form)
            if one.tags - {"loose"} <= there and not (self.meaning.absent and one.tags)
        ]
        return lexicon.draw(found, self.dice).text if found else None

    def only(self, rule: str) -> str | None:
        """Writes that nothing else is there."""
        return rules.write(rule, self.dice, {})
