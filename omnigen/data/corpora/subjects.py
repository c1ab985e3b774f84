# SPDX-License-Identifier: Apache-2.0
"""What drawings show: names and keywords, and which subjects are never trained on."""

import dataclasses
import functools
import hashlib
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omnigen.dice import Dice
from omnigen.scenes import grammar
from omnigen.scenes.scene import Color, Shape, Size
from omnigen.wording import plurals

LIST = pathlib.Path(__file__).with_name("subjects.tsv")  # by launch/maintain/list_subjects.py
UNDRAWN = pathlib.Path(__file__).with_name("undrawn.txt")
TEST_SHARE = 0.05
MOST_KEYWORDS = 4
MOST_WORDS = 3  # of a name, so that captions of several can be followed
SHAPES = {shape.value for shape in Shape}
OF_SCENES = SHAPES | {word.value for words in (Color, Size) for word in words}
COLORS = set("red orange yellow green blue purple brown black white pink gray grey".split())


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a drawing shows.

    Attributes:
        name: Name in words.
        keywords: Further words about it.
    """

    name: str
    keywords: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A key that all drawings of the subject share."""
        return slug(self.name)

    @property
    def has_color(self) -> bool:
        """Whether its name contains a colour."""
        return bool(COLORS & set(self.key.split("-")))

    @property
    def is_shape(self) -> bool:
        """Whether scenes have objects of its name, such as "heart" or "blue circle"."""
        words = set(self.key.split("-"))
        return bool(words & SHAPES) and words <= OF_SCENES

    @property
    def is_plain(self) -> bool:
        """Whether its name is of a few words that read well among others."""
        words = self.name.split()
        return len(words) <= MOST_WORDS and all(w.replace("-", "").isalpha() for w in words)

    @property
    def is_countable(self) -> bool:
        """Whether `plurals.plural` is right of its name, which may be more than a noun."""
        has_article = phrase(self.name).startswith(("a ", "an "))
        return has_article and not _JOINED & set(self.name.split())

    @property
    def is_held_out(self) -> bool:
        """Whether it is for the test, in whatever style it is drawn."""
        digest = hashlib.sha256(f"subject/{self.key}".encode()).digest()
        return int.from_bytes(digest[:4], "big") < TEST_SHARE * 2**32


@functools.cache
def listed() -> dict[str, tuple[Subject, ...]]:
    """Returns the subjects of each style whose names are plain; no package of drawings is read."""
    first, *lines = LIST.read_text(encoding="utf-8").splitlines()
    found: dict[str, list[Subject]] = {style: [] for style in first.split("\t")}
    styles = list(found)
    for line in lines:
        name, letters = line.split("\t")
        for letter in letters:
            found[styles[ord(letter) - ord("a")]].append(Subject(name))
    return {style: tuple(those) for style, those in found.items()}


@functools.cache
def undrawn() -> tuple[str, ...]:
    """Returns nouns of things of which there are no drawings."""
    return tuple(UNDRAWN.read_text(encoding="utf-8").split())


def slug(name: str) -> str:
    """Returns lower-case words joined by hyphens."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower().replace("\u2019", "").replace("'", "")))


def code(hexcode: str) -> str:
    """Returns a code point sequence without the marks that only choose a presentation."""
    return "-".join(p for p in hexcode.lower().split("-") if p != "fe0f").lstrip("0")


class Emoji:
    """Emoji by code point or by any of their names; skin tones are not separate subjects."""

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], nicknames: Sequence[Mapping[str, Any]]
    ) -> None:
        """Reads the tables of emojibase.

        Args:
            rows: Label, hexcode and tags of every emoji.
            nicknames: Tables from hexcode to a name or several.
        """
        self._by_code: dict[str, Subject] = {}
        self._by_name: dict[str, str] = {}
        for row in rows:
            key = code(row["hexcode"])
            label = re.sub("^(flag|family): ", r"\1 of ", row["label"])
            label = label.replace("keycap: ", "keycap ").replace(": ", ", ")
            words = [word for word in row.get("tags", ()) if slug(word) != slug(label)]
            self._by_code[key] = Subject(label, tuple(words))
            self._by_name[_squash(row["label"])] = key
        for table in nicknames:
            for hexcode, names in table.items():
                for name in [names] if isinstance(names, str) else names:
                    self._by_name.setdefault(_squash(name), code(hexcode))

    def by_code(self, hexcode: str) -> Subject | None:
        """Returns the emoji of a code point sequence."""
        return self._by_code.get(code(hexcode))

    def by_name(self, name: str) -> Subject | None:
        """Returns the emoji of a name, whatever its hyphens, case and trailing number."""
        for one in (name, re.sub(r"-\d+$", "", name)):
            if _squash(one) in self._by_name:
                return self._by_code.get(self._by_name[_squash(one)])
        return None


def _squash(name: str) -> str:
    return slug(name.replace("_", "-")).replace("-", "")


def icon(name: str) -> Subject:
    """Returns what an icon shows, by its file's name without sizes, numbers and words of style."""
    words = [word for word in name.split("-") if word]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in ("fill", "filled", "color")):
        words.pop()
    return Subject(" ".join(words))


_CONSONANTS = (
    "uni",
    "use",
    "eu",
    "ewe",
    "one-",
    "one ",
    "once",
)  # that begin with a vowel's letter
_NOUNS = frozenset("bed building dumpling earring king ring seedling sled wing".split())
_JOINED = frozenset("and at for from in of on over to under with without".split())
_VOWELS = ("hour", "hono", "heir")


def phrase(name: str) -> str:
    """Returns a name with the article that it takes in a sentence."""
    first = name.split()[0]
    if name.startswith("flag of "):
        return f"the {name}"
    last = re.split(r"[ :,]", name.split(" with ")[0])[-1]
    is_doing = re.search(r"\w(ing|ed)$", last) and last not in _NOUNS
    if plurals.is_plural(last) or first[0].isdigit() or is_doing or first.isupper():
        return name
    said = f"{name} ".lower()
    is_vowel = said.startswith(_VOWELS) or not said.startswith(_CONSONANTS) and said[0] in "aeiou"
    return f"{'an' if is_vowel else 'a'} {name}"


def captions(subject: Subject, *, style: str, medium: str, color: str, ground: str) -> list[str]:
    """Returns ways to say what a drawing shows; all are true, and the first is the plainest.

    Where scenes have objects of that name, all say the style.

    Args:
        subject: Subject that is shown.
        style: Name of the style.
        medium: Sort of drawing, in a word.
        color: Colour of a drawing in a single colour, or nothing.
        ground: Colour of the background, or nothing to leave it out.
    """
    dice = Dice("caption", subject.key, style, color, ground)
    name = f"{color} {subject.name}" if color else subject.name
    behind = f" on a {ground} background" if ground else ""
    words = list(subject.keywords)
    chosen = [
        words.pop(int(dice.unit() * len(words))) for _ in range(min(MOST_KEYWORDS, len(words)))
    ]
    shown = f"{phrase(name)}{behind}"
    said = [
        f"{shown}, {style} style",
        f"{medium} of {shown}, drawn in {style} style",
        f"{style} style: {name}{behind}",
        f"{grammar.asked(dice)}{shown}, {style} style",
    ]
    if not subject.is_shape:
        said += [shown, f"{grammar.asked(dice)}{shown}"]
    if chosen:
        said.append(f"{phrase(name)} ({', '.join(chosen)}){behind}, {style} style")
    return said[:1] + [grammar.punctuated(words, dice) for words in said[1:]]
