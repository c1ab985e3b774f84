# SPDX-License-Identifier: Apache-2.0
"""Meanings in German, French, Spanish and Chinese, from a small lexicon each.

A language is a file in `data/languages/`. Nouns have a singular, a plural and a gender. Adjectives
have four forms (singular and plural of two genders) or one, to which German adds the ending of its
case, unless it ends in `!`. A relation is a pattern whose `{b}` may name the case of the other:
`{b:dat}`. What comes before a request names the case of what is asked for.
"""

import functools
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from omnigen.dice import Dice
from omnigen.wording.meaning import MANY, Meaning, Relation, Thing, Words

FOLDER = pathlib.Path(__file__).parent / "data" / "languages"
LANGUAGES = ("de", "es", "fr", "zh")
ONLY = 0.4  # share of those that may say that nothing else is there and do


class Unsaid(Exception):
    """Raised where a language has no words for a part of a meaning."""


def phrase(meaning: Meaning, language: str, dice: Dice, max_bytes: int) -> str | None:
    """Words a meaning in another language.

    Args:
        meaning: What is told, of one relation at most.
        language: One of `LANGUAGES`.
        dice: Choose between the wordings.
        max_bytes: Bytes of UTF-8 that the wording may have.

    Returns:
        The wording, with every quotation verbatim, or None if the lexicon or the bytes do not
        suffice.

    Raises:
        ValueError: If the language is unknown.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language is {language!r}; allowed: {', '.join(LANGUAGES)}")
    try:
        text = _Speaker(lexicon(language), meaning, dice).say()
    except Unsaid:
        return None
    return text if len(text.encode()) <= max_bytes else None


@functools.cache
def lexicon(language: str) -> dict[str, Any]:
    """Returns the file of a language."""
    return json.loads((FOLDER / f"{language}.json").read_text("utf-8"))


class _Speaker:
    """Words one meaning."""

    def __init__(self, lexicon: dict[str, Any], meaning: Meaning, dice: Dice) -> None:
        self.lexicon, self.meaning, self.dice = lexicon, meaning, dice
        self.opening = ""
        self.is_spaced = "joint" not in lexicon  # Chinese has no spaces, and commas instead
        self.only = "anything else" in meaning.absent or (meaning.only and dice.chance(ONLY))

    def say(self) -> str:
        """Returns the sentence; raises Unsaid."""
        meaning = self.meaning
        if len(meaning.relations) > 1 or not (meaning.things or meaning.words):
            raise Unsaid
        self.opening, case, *rest = self._opening()
        text = f"{self.opening}{self._core(case)}"
        joint = " " if self.is_spaced else self.lexicon["joint"]
        text = joint.join([text, *filter(None, [self._background(), self._sky()])])
        if absent := self._absent():
            joint = ", " if self.is_spaced and self.dice.chance(0.4) else joint
            text += joint + absent
        if self.only:
            text += f"{', ' if self.is_spaced else joint}{self._pick('only')}"
        text += rest[0] if rest else ""
        for pattern, replacement in self.lexicon.get("mend", ()):
            text = re.sub(pattern, replacement, text)
        return self._quoted(self._ended(text))

    def _opening(self) -> Sequence[str]:
        """Returns what comes before, the case it asks for, and what comes after, if anything."""
        found = [one for one in self.lexicon["openings"] if not self.only or len(one) == 2]
        if not self.is_spaced and not any(map(self._is_plain, range(len(self.meaning.things)))):
            return found[0]
        return self.dice.pick(found)

    def _ended(self, text: str) -> str:
        if self.is_spaced and self.dice.chance(0.6):
            start = 1 if text[0] in "¿" else 0
            text = text[:start] + text[start].upper() + text[start + 1 :]
        is_open = text[-1] not in "?!."
        return text + self.lexicon.get("stop", ".") if is_open and self.dice.chance(0.4) else text

    def _quoted(self, text: str) -> str:
        marks = self._pick("quotes")
        first, last = marks[: len(marks) // 2], marks[len(marks) // 2 :]
        for index, words in enumerate(self.meaning.words):
            text = text.replace(f"\0{index}\0", f"{first}{words.text}{last}")
        return text

    def _core(self, case: str) -> str:
        """Returns the things and words, those of a relation last."""
        alone = [(i, self._placed(i, case)) for i in self._unrelated()]
        related = [self._relation(one, case) for one in self.meaning.relations]
        if self.is_spaced:
            return self._list([*(text for _, text in alone), *related])
        plain = [text for i, text in alone if self._is_plain(i)]
        others = [text for i, text in alone if not self._is_plain(i)]
        groups = [*([self._list(plain)] if plain else []), *others, *related]
        return self.lexicon["joint"].join(groups)

    def _unrelated(self) -> list[int]:
        related = {i for r in self.meaning.relations for i in (r.one, *r.others)}
        count = len(self.meaning.things) + len(self.meaning.words)
        return [i for i in range(count) if i not in related]

    def _is_plain(self, index: int) -> bool:
        things = self.meaning.things
        return index < len(things) and things[index].place is None

    def _list(self, parts: list[str]) -> str:
        *rest, last = parts
        return f"{self.lexicon['comma'].join(rest)}{self.lexicon['and']}{last}" if rest else last

    def _relation(self, relation: Relation, case: str) -> str:
        patterns = self.lexicon["relations"][relation.name]
        if self.opening:  # what is asked for comes first
            patterns = [one for one in patterns if one.startswith("{a}")]
        pattern = self.dice.pick(patterns)
        if relation.name in ("row", "column"):
            names = [self._name(i, case) for i in (relation.one, *relation.others)]
            return pattern.format(a=self._list(names))
        found = re.search(r"\{b(?::(\w+))?\}", pattern)
        other = found[1] if found and found[1] else case
        others = self._list([self._name(i, other) for i in relation.others])
        one = self._name(relation.one, case)
        return re.sub(r"\{b(:\w+)?\}", lambda _: others, pattern).replace("{a}", one)

    def _name(self, index: int, case: str) -> str:
        """Returns what takes part in a relation."""
        things = self.meaning.things
        if index < len(things):
            if things[index].place is not None:
                raise Unsaid
            return self._thing(things[index], case)
        words = self.meaning.words[index - len(things)]
        if words != Words(words.text):
            raise Unsaid
        return self._text(index - len(things), case)

    def _placed(self, index: int, case: str) -> str:
        things = self.meaning.things
        if index >= len(things):
            return self._written(index - len(things), case)
        text, place = self._thing(things[index], case), things[index].place
        if place is None:
            return text
        pattern = self.lexicon.get("placed", "{thing} {place}")
        return pattern.format(thing=text, place=self.lexicon["places"][place])

    def _thing(self, thing: Thing, case: str) -> str:
        """Returns a noun with its number or article and adjectives, in a case."""
        if thing.noun not in self.lexicon["nouns"]:
            raise Unsaid
        singular, plural, gender, *_ = self.lexicon["nouns"][thing.noun]
        is_plural = thing.is_plural
        noun = plural if is_plural else singular
        if not noun:
            raise Unsaid
        ending = self.lexicon.get("dative_plural", "")
        if is_plural and case == "dat" and noun[-1] not in f"{ending}s":
            noun += ending
        slots = {"noun": noun, "number": self._number(thing, case), "color": "", "size": ""}
        for kind, value in (("color", thing.color), ("size", thing.size)):
            if value is not None:
                slots[kind] = self._adjective(
                    self.lexicon[f"{kind}s"][value], gender, case, is_plural=is_plural
                )
        text = self.lexicon["phrase"].format(**slots)
        return " ".join(text.split()) if self.is_spaced else text

    def _number(self, thing: Thing, case: str) -> str:
        lexicon = self.lexicon
        _, _, gender, *mark = lexicon["nouns"][thing.noun]
        if mark and thing.count == 1:
            kind = mark[0]
            return lexicon["the"][case][gender] if kind == "the" else lexicon.get(kind, "")
        if thing.noun in MANY and thing.count is None:
            return lexicon.get("some", "")
        if thing.count is None:
            forms = lexicon["several"][case].split()
            number = forms[lexicon["genders"].index(gender) if len(forms) > 1 else 0]
        elif thing.count == 1:
            number = lexicon["one"][case][gender]
        elif thing.count - 2 < len(lexicon["numbers"]):
            number = lexicon["numbers"][thing.count - 2]
        else:
            number = str(thing.count)
        classifiers = lexicon.get("classifiers", {"": ""})
        return number + classifiers.get(thing.noun, classifiers[""])

    def _adjective(self, word: str, gender: str, case: str, *, is_plural: bool) -> str:
        forms = word.split()
        if len(forms) == 4:
            return forms[2 * is_plural + (gender == "f")]
        if "endings" in self.lexicon and not word.endswith("!"):
            return word + self.lexicon["endings"][case]["p" if is_plural else gender]
        return word.rstrip("!").replace("_", " ")

    def _colored(self, pattern: str, color: str) -> str:
        """Fills a pattern that has a colour, as a noun or as an adjective of gender and case."""

        def adjective(found: re.Match[str]) -> str:
            case, _, form = found[1].rpartition("_")
            word, is_plural = self.lexicon["colors"][color], form.endswith("p")
            return self._adjective(word, form[0], case, is_plural=is_plural)

        text = re.sub(r"\{color:(\w+)\}", adjective, pattern)
        return text.replace("{color_noun}", self.lexicon["color_nouns"][color])

    def _text(self, index: int, case: str) -> str:
        found = self.lexicon["text"][case]
        several = " " in self.meaning.words[index].text
        kept = [one for one in found if ("s {q}" in one) == several or "text" in one.lower()]
        return self.dice.pick(kept or found).replace("{q}", f"\0{index}\0")

    def _written(self, index: int, case: str) -> str:
        """Returns words with their ink, what holds them and where they stand."""
        words = self.meaning.words[index]
        if words.style is not None:
            raise Unsaid
        ink = self._colored(self._pick("ink"), words.ink) if words.ink else ""
        holder = self.lexicon["holders"][words.holder] if words.holder else ""
        place = self.lexicon["places"][words.place] if words.place else ""
        if "written" in self.lexicon:
            where = f"{place}的{holder}" if place and holder else place or holder
            pattern = self.lexicon["written"]
            return pattern.format(where=where, q=f"\0{index}\0", ink=ink)
        return " ".join(filter(None, (self._text(index, case), ink, holder, place)))

    def _background(self) -> str:
        told = self.meaning.background
        if told is None:
            return ""
        patterns = self.lexicon["backgrounds"]
        gradient = re.fullmatch(r"gradient of (.+) and (.+)", told)
        if gradient:
            first, second = (self.lexicon["color_nouns"][name] for name in gradient.groups())
            return self.dice.pick(patterns["gradient"]).format(first=first, second=second)
        kind = "texture" if told.startswith("textured ") else "plain"
        return self._colored(self.dice.pick(patterns[kind]), told.removeprefix("textured "))

    def _sky(self) -> str:
        return self.dice.pick(self.lexicon["skies"][self.meaning.sky]) if self.meaning.sky else ""

    def _absent(self) -> str:
        names = []
        for noun in self.meaning.absent:
            if noun == "anything else":
                continue
            known = self.lexicon["nouns"].get(noun, ("", ""))
            name = self.lexicon["none"].get(noun) or known[1] or known[0]
            if not name:
                raise Unsaid
            names.append(name)
        listed = self.lexicon["nor"].join(names)
        return self.lexicon["without"].format(none=listed) if names else ""

    def _pick(self, key: str) -> str:
        return self.dice.pick(self.lexicon[key])
