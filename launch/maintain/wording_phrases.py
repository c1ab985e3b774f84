# SPDX-License-Identifier: Apache-2.0
"""The English of the suite `wording`: what the `{slots}` of its sentences stand for.

| slot | stands for |
|---|---|
| `{a}` `{b}` `{c}` | a group of things: "two red circles"; `{a.bare}` without article |
| `{list}` `{els}` `{tags}` `{plus}` `{slashes}` `{each}` | all groups, in a form each |
| `{rel}` `{inv}` | "above", and "below" |
| `{its}` `{itsinv}` | "above it", and "below it" |
| `{is}` `{are}` `{were}` `{it}` | forms that agree with the first group |
| `{q}` `{w}` | the quoted words, and "word" or "words" |
| `{sky}` `{sky.bare}` `{when}` `{when_is}` | the sky, or the hour |
| `{where}` `{whereb}` | where the first group is, and the second |
| `{on}` `{bg}` `{ground}` | a background: "on a white background", "white background", "white" |
| `{none}` `{none1}` `{nones}` `{less}` | what is absent: "clouds", "cloud", "cloudless" |
| `{two}` | "2", if there are two things |

`{Slot}` has a capital letter. A slot that the content cannot fill raises `Unfit`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omnigen.dice import Dice
from omnigen.scenes import palette
from omnigen.scenes.scene import Color

if TYPE_CHECKING:
    from wording_prompts import Content

NUMBERS = (
    "no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
ELEMENTS = {
    "sun": "the sun",
    "moon": "the moon",
    "cloud": "a cloud",
    "river": "a river",
    "lake": "a lake",
    "sea": "the sea",
    "house": "a house",
    "boat": "a boat",
}  # the others go without an article
SKIES = {
    "clear": ("a clear blue sky", "a blue sky"),
    "sunset": ("a sunset sky", "an evening sky"),
    "night": ("a night sky", "a dark night sky"),
    "overcast": ("an overcast sky", "a gray sky"),
}
MOMENTS = {
    "clear": (("on a clear day", "a clear day"), ("by day", "daytime")),
    "sunset": (("at sunset", "sunset"), ("in the evening", "evening")),
    "night": (("at night", "night"), ("by night", "night")),
    "overcast": (("on an overcast day", "an overcast day"), ("on a gray day", "a gray day")),
}
RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below",),
}
ITS = {
    "left": ("to its left", "on its left"),
    "right": ("to its right", "on its right"),
    "above": ("above it",),
    "below": ("below it",),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
PAPERS = ("white", "black")
APART = 40.0  # CIE 1976, between things and the background that is asked for
ABSENT = {  # from landscapes: of one, of many, and in a word
    "cloud": ("cloud", "clouds", "cloudless"),
    "trees": ("tree", "trees", "treeless"),
    "stars": ("star", "stars", "starless"),
    "moon": ("moon", "moon", "moonless"),
    "river": ("river", "rivers", ""),
    "lake": ("lake", "lakes", ""),
    "boat": ("boat", "boats", ""),
    "house": ("house", "houses", ""),
    "mountains": ("mountain", "mountains", ""),
    "snow": ("patch of snow", "snow", "snowless"),
}


class Unfit(Exception):
    """Raised when a content has nothing for a slot."""


class Place(str):
    """A noun with its article, and without."""

    @property
    def bare(self) -> str:
        """The noun without its article."""
        return re.sub("^(an?|the) ", "", self)


def plural(noun: str) -> str:
    """Returns the plural of a noun."""
    if re.search("[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def article(phrase: str) -> str:
    """Returns the phrase with its indefinite article."""
    sounds = phrase[0].lower() in "aeiou" and not phrase.startswith(("uni", "one"))
    return f"{'an' if sounds else 'a'} {phrase}"


def listing(parts: Sequence[str]) -> str:
    """Returns the items as an enumeration."""
    *rest, last = parts
    return f"{', '.join(rest)} and {last}" if rest else last


class Group:
    """A group of alike things, in words; as text it has its number or article."""

    def __init__(self, dice: Dice, kind: str, one: Mapping[str, Any], lexicon: Mapping[str, Any]):
        """Chooses the words."""
        self.count, name = one.get("count", 1), one["class"]
        self.is_element, self.is_drawing = False, "color" not in one
        if one.get("least"):
            self.is_element = True
            said = ELEMENTS.get(name, name)
            if kind == "nouns" and dice.chance(0.6):
                said = dice.pick(lexicon["elements"][name])
            if kind == "adjectives":
                said = _adorned(said, dice.pick(lexicon["adjectives"]["elements"]))
            self.said = said
            return
        nouns = (name, plural(name))
        if kind == "nouns" and name in lexicon["shapes"] and dice.chance(0.85):
            nouns = dice.pick(lexicon["shapes"][name])
        self.nouns, color = nouns, one.get("color", "")
        self.after = ""
        if kind == "hues" and dice.chance(0.3):
            told = dice.pick(("in {}", "colored {}", "that {} {}", "of {} color"))
            verb = "are" if self.count > 1 else "is"
            self.after, color = told.format(*([verb, color] if "that" in told else [color])), ""
        elif kind == "hues" and dice.chance(0.85):
            color = dice.pick(lexicon["colors"][color])
        size = dice.pick(lexicon["sizes"][one["size"]]) if "size" in one else ""
        adjective = ""
        if kind == "adjectives":
            of = "drawings" if self.is_drawing else "shapes"
            adjective = dice.pick(lexicon["adjectives"][of])
        self.before = " ".join(filter(None, (adjective, size, color)))
        self.number = ""
        if self.count > 1:
            self.number = NUMBERS[self.count] if dice.chance(0.75) else str(self.count)
            if kind == "counts":
                self.number = dice.pick(lexicon["counts"][str(self.count)])

    @property
    def many(self) -> bool:
        """Whether it is spoken of in the plural."""
        if self.is_element:
            return self.said.endswith("s") and not self.said.startswith(("a ", "an "))
        return self.count > 1

    @property
    def bare(self) -> str:
        """Without an article, but with its number."""
        if self.is_element:
            return Place(self.said).bare
        if self.count == 1:
            return f"{self.before} {self.nouns[0]} {self.after}".strip()
        said = f"{self.before} {self.nouns[1]} {self.after}".strip()
        if self.number.startswith("("):
            return f"{said} {self.number}"
        if self.number.endswith("x") and self.count % 2:
            said = f"{self.before} {self.nouns[0]}".strip()
        return f"{self.number} {said}"

    def __str__(self) -> str:
        if self.is_element:
            return self.said
        return article(self.bare) if self.count == 1 else self.bare

    __format__ = lambda self, spec: format(str(self), spec)  # noqa: E731

    @property
    def the(self) -> str:
        """With its definite article."""
        return self.said if self.is_element else f"the {self.bare}"

    @property
    def has(self) -> str:
        """The verb that agrees with it."""
        return "have" if self.many else "has"


def _adorned(said: str, adjective: str) -> str:
    """Returns a noun with an adjective."""
    first, _, rest = said.partition(" ")
    if first in ("a", "an"):
        return article(f"{adjective} {rest}")
    return f"the {adjective} {rest}" if first == "the" else f"{adjective} {said}"


# Groups have these as attributes of the same names as slots of sentences.
for _name, _one, _all in (("is_", "is", "are"), ("is", "is", "are"), ("was", "was", "were")):
    setattr(Group, _name, property(lambda self, one=_one, all=_all: all if self.many else one))


class Slots:
    """Fills the sentences for a content; the dice decide between words that mean the same."""

    def __init__(
        self, dice: Dice, kind: str, content: "Content", lexicon: Mapping[str, Any], *, quote: str
    ):
        """Prepares to say a content in a kind of wording."""
        self.dice, self.kind, self.content, self.lexicon = dice, kind, content, lexicon
        self.groups = [Group(dice, kind, one, lexicon) for one in content.include]
        self.quote, self.ground, self.absent = quote, "", []
        self._known: dict[str, Any] = {}

    def fill(self, frame: str) -> str:
        """Returns a sentence with what the slots stand for.

        Raises:
            Unfit: If the content has nothing for one of them.
        """
        said = frame.format_map(self)
        if re.search(r"[.!?]$", frame) or ". " in frame or "{each}" in frame:
            said = _capitalised(said)
        return said

    def __getitem__(self, slot: str) -> Any:
        if slot not in self._known:
            if slot[0].isupper() and slot != slot.lower():
                said = self[slot.lower()]
                return str(said)[0].upper() + str(said)[1:]
            self._known[slot] = getattr(self, f"_{slot}", self._group)(slot)
        return self._known[slot]

    def _group(self, slot: str) -> Group:
        place = "abc".find(slot)
        if len(slot) != 1 or not 0 <= place < len(self.groups):
            raise Unfit(slot)
        return self.groups[place]

    def _list(self, _: str) -> str:
        return listing([str(group) for group in self.groups])

    _els = _list

    def _tags(self, _: str) -> str:
        return ", ".join(group.bare for group in self.groups)

    def _plus(self, _: str) -> str:
        return " + ".join(group.bare for group in self.groups)

    def _slashes(self, _: str) -> str:
        return " / ".join(group.bare for group in self.groups)

    def _each(self, _: str) -> str:
        starts = ("There {} {}.", "Then there {} {}.", "Last, there {} {}.")
        if len(self.groups) > len(starts):
            raise Unfit("each")
        pairs = zip(starts, self.groups, strict=False)
        return " ".join(start.format(group.is_, group) for start, group in pairs)

    def _first(self) -> Group:
        if not self.groups:
            raise Unfit("first")
        return self.groups[0]

    def _is(self, _: str) -> str:
        return "are" if self._first().many else "is"

    _are = _is

    def _were(self, _: str) -> str:
        return "were" if self._first().many or len(self.groups) > 1 else "was"

    def _it(self, _: str) -> str:
        return "they" if self._first().many else "it"

    def _name(self) -> str:
        (name, *_), *_ = self.content.relations
        return name

    def _rel(self, _: str) -> str:
        return self._related(self._name())

    def _inv(self, _: str) -> str:
        return self._related(OPPOSITE[self._name()])

    def _related(self, name: str) -> str:
        words = self.lexicon["relations"] if self.kind == "relations" else RELATIONS
        return self.dice.pick(words[name])

    def _where(self, _: str) -> str:
        return self._placed(0)

    def _whereb(self, _: str) -> str:
        return self._placed(1)

    def _placed(self, number: int) -> str:
        if number >= len(self.content.include):
            raise Unfit("where")
        return self.dice.pick(self.lexicon["places"][self.content.include[number]["place"]])

    def _two(self, _: str) -> str:
        if sum(group.count for group in self.groups) != 2:
            raise Unfit("two")
        return "2"

    def _its(self, _: str) -> str:
        if self.groups[1].many:
            raise Unfit("its")
        return self.dice.pick(ITS[self._name()])

    def _itsinv(self, _: str) -> str:
        if self.groups[0].many:
            raise Unfit("itsinv")
        return self.dice.pick(ITS[OPPOSITE[self._name()]])

    def _q(self, _: str) -> str:
        if not self.content.strings:
            raise Unfit("q")
        return listing([self.quote.format(string) for string in self.content.strings])

    def _w(self, _: str) -> str:
        return "words" if " " in " ".join(self.content.strings) else "word"

    def _sky(self, _: str) -> Place:
        words = SKIES[self.content.sky]
        if self.kind == "nouns" and self.dice.chance(0.5):
            words = self.lexicon["skies"][self.content.sky]
        return Place(self.dice.pick(words))

    def _when(self, _: str) -> str:
        return self._moment()[0]

    def _when_is(self, _: str) -> str:
        return self._moment()[1]

    def _moment(self) -> tuple[str, str]:
        return self.dice.pick(MOMENTS[self.content.sky])

    def _on(self, _: str) -> str:
        return f"on a {self._chosen(PAPERS)} background"

    def _bg(self, _: str) -> str:
        return f"{self._chosen(PAPERS)} background"

    def _ground(self, _: str) -> str:
        return self._chosen([str(color) for color in Color])

    def _chosen(self, names: Sequence[str]) -> str:
        """Returns a background on which everything that has a colour stands out."""
        colors = [Color(one["color"]) for one in self.content.include if "color" in one]
        apart = palette.COLORS
        fitting = [
            name
            for name in names
            if all(palette.distance(apart[c], apart[Color(name)]) >= APART for c in colors)
        ]
        if not fitting or self.content.domain == "things" and self.kind != "grounds":
            raise Unfit("ground")
        self.ground = self.dice.pick(fitting)
        return self.ground

    def _missing(self, slot: str) -> str:
        """Returns something that is not asked for, and is then not to be there."""
        there = {one["class"] for one in self.content.include}
        if self.content.form == "landscape":
            aloft = {"night": ("moon", "stars", "cloud"), "overcast": ()}
            seen = aloft.get(self.content.sky, ("cloud",))
            others = [n for n in ABSENT if n in seen or n not in ("moon", "stars", "cloud")]
            others = [name for name in others if name not in there]
            if slot == "_less":
                others = [name for name in others if ABSENT[name][2]]
            else:
                others = [name for name in others if name not in ("moon", "snow")]
        else:
            others = [name for name in self.lexicon["shapes"] if name not in there]
        others = [name for name in others if name not in self.absent]
        if not others:
            raise Unfit(slot)
        self.absent.append(self.dice.pick(others))
        return self.absent[-1]

    def _none(self, slot: str) -> str:
        name = self._missing(slot)
        return ABSENT[name][1] if self.content.form == "landscape" else plural(name)

    def _none1(self, slot: str) -> str:
        name = self._missing(slot)
        return ABSENT[name][0] if self.content.form == "landscape" else name

    def _nones(self, slot: str) -> str:
        return f"{self._none(slot)}, no {self._none(slot)}"

    def _less(self, _: str) -> str:
        return ABSENT[self._missing("_less")][2]


def _capitalised(said: str) -> str:
    """Returns sentences with capital letters at their beginnings."""
    said = said[0].upper() + said[1:]
    return re.sub(r"([.?!] )([a-z])", lambda found: found[1] + found[2].upper(), said)
