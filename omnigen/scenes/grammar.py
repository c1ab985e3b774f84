# SPDX-License-Identifier: Apache-2.0
"""The English of captions: numbers, nouns, lists, places, relations, templates with slots."""

import dataclasses
from collections.abc import Sequence

from omnigen.dice import Dice
from omnigen.scenes import words
from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.scene import Scene, Text

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()

VERBS = (
    "generate",
    "draw",
    "make",
    "create",
    "draw me",
    "please draw",
    "can you draw",
    "could you draw",
    "paint",
    "sketch",
    "please make",
    "render",
    "design",
    "show",
    "show me",
    "give me",
    "imagine",
    "let me see",
    "I want",
    "I need",
    "I would like",
    "I want to see",
)
HELD_OUT = frozenset({"photo", "painting", "poster"})  # media of evaluation's prompts alone
MEDIA = (
    "picture",
    "image",
    "pic",
    "drawing",
    "sketch",
    "illustration",
    "graphic",
    "rendering",
    "cartoon",
    "depiction",
    "view",
    "scene",
    "design",
    "print",
    "doodle",
    "collage",
    "mural",
    "wallpaper",
    "postcard",
    "snapshot",
    "close-up",
    "still",
    "portrait",
    "diagram",
    "etching",
    "woodcut",
    "screenshot",
    "canvas",
    "cover",
    "slide",
)
USUAL = 4  # of either, the first ones, which come more often
ASKED = 0.5  # the rest begin with the thing itself
# Of media, and half of it of verbs, are any word. A list is learnt by heart, and what is not on it
# then taken for a thing to draw (docs/experiments.md, 2026-11-29).
ANY = 0.5

NINTHS = {
    (-1, -1): ("in the top left", "at the top left", "in the upper left"),
    (-1, 0): ("at the top", "in the top middle"),
    (-1, 1): ("in the top right", "at the top right", "in the upper right"),
    (0, -1): ("on the left", "on the left side"),
    (0, 0): ("in the center", "at the center", "in the middle"),
    (0, 1): ("on the right", "on the right side"),
    (1, -1): ("in the bottom left", "at the bottom left", "in the lower left"),
    (1, 0): ("at the bottom", "in the bottom middle"),
    (1, 1): ("in the bottom right", "at the bottom right", "in the lower right"),
}
EDGES = {
    "row": {-1: ("at the top",), 1: ("at the bottom",)},
    "column": {-1: ("on the left",), 1: ("on the right",)},
}
SIDES = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below",),
}
# A centre in the bands between the thirds has no place that everybody would agree on.
THIRDS = ((0.0, 0.36, -1), (0.4, 0.6, 0), (0.64, 1.0, 1))
DOMINANCE = (
    2.0  # a relation holds along an axis if the offset there is this many times the other one
)

# What a layman calls the styles of `fonts.FAMILIES`; the others have no name that all agree on.
FONT_STYLES = {
    "serif": "serif",
    "slab": "slab serif",
    "mono": "monospace",
    "typewriter": "typewriter",
    "handwriting": "handwritten",
    "script": "script",
}


@dataclasses.dataclass(frozen=True)
class Box:
    """Where something is: its centre and half its sides, in fractions of the canvas."""

    x: float
    y: float
    half_width: float
    half_height: float


def number(count: int, *, digits: bool) -> str:
    """Returns a count of 2 to 20 as a digit or a word, and a larger one in digits."""
    return str(count) if digits or count >= len(NUMBERS) else NUMBERS[count]


def plural(noun: str) -> str:
    """Returns the plural of a noun; those of scenes are all regular."""
    return noun + ("es" if noun.endswith("s") else "s")


def article(phrase: str) -> str:
    """Returns the phrase with its indefinite article."""
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def listing(parts: Sequence[str]) -> str:
    """Returns the items as an enumeration: `a`, `a and b`, `a, b and c`."""
    *rest, last = parts
    return f"{', '.join(rest)} and {last}" if rest else last


def capital(sentence: str) -> str:
    """Returns the sentence with a capital first letter."""
    return sentence[:1].upper() + sentence[1:]


def place(boxes: Sequence[Box], dice: Dice) -> str | None:
    """Returns the part of the canvas that holds all centres, or None if it has no plain name."""
    rows = {third(box.y) for box in boxes}
    columns = {third(box.x) for box in boxes}
    row = rows.pop() if len(rows) == 1 else None
    column = columns.pop() if len(columns) == 1 else None
    if row is not None and column is not None:
        return dice.pick(NINTHS[row, column])
    if len(boxes) == 1:
        return None
    names = EDGES["row"].get(row or 0) or EDGES["column"].get(column or 0)
    return dice.pick(names) if names else None


def column(boxes: Sequence[Box], dice: Dice) -> str | None:
    """Returns the side of the canvas on which all centres are, or None if they are on neither."""
    columns = {third(box.x) for box in boxes}
    names = EDGES["column"].get(columns.pop() or 0) if len(columns) == 1 else None
    return dice.pick(names) if names else None


def third(coordinate: float) -> int | None:
    """Returns which third a centre is in, -1, 0 or 1, or None if it is between two."""
    return next((third for low, high, third in THIRDS if low <= coordinate <= high), None)


def side(subject: Sequence[Box], reference: Sequence[Box]) -> str | None:
    """Returns the side of every reference on which every subject is, or None if disputable."""
    sides = {_side(one, other) for one in subject for other in reference}
    return sides.pop() if len(sides) == 1 else None


def _side(one: Box, other: Box) -> str | None:
    dx, dy = one.x - other.x, one.y - other.y
    if abs(dx) >= DOMINANCE * abs(dy) and abs(dx) >= one.half_width + other.half_width:
        return "left" if dx < 0 else "right"
    if abs(dy) >= DOMINANCE * abs(dx) and abs(dy) >= one.half_height + other.half_height:
        return "above" if dy < 0 else "below"
    return None


@dataclasses.dataclass(frozen=True)
class Quote:
    """Words to be quoted as one, however many lines they were broken into."""

    lines: tuple[Text, ...]

    @property
    def quoted(self) -> str:
        """The words in double quotes."""
        return '"' + " ".join(line.string for line in self.lines) + '"'

    @property
    def word(self) -> str:
        """`word` or `words`."""
        return "words" if self.is_plural else "word"

    @property
    def is_plural(self) -> bool:
        """Whether these are several words."""
        return sum(len(line.words) for line in self.lines) > 1

    @property
    def ink(self) -> str | None:
        """The colour of the letters, if they have one."""
        inks = {line.color for line in self.lines}
        return inks.pop().value if len(inks) == 1 else None

    @property
    def style(self) -> str | None:
        """What a layman would call the font, if anything."""
        styles = {FONT_STYLES.get(FAMILIES[line.font].style) for line in self.lines}
        return styles.pop() if len(styles) == 1 else None

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Where the lines are."""
        return tuple(Box(t.x, t.y, t.width / 2, t.height / 2) for t in self.lines)


def quotes(scene: Scene) -> list[Quote]:
    """Returns the quotations of a scene: the lines in one holder are one, others one each."""
    held: dict[object, list[Text]] = {}
    for index, text in enumerate(scene.texts):
        held.setdefault(text.holder or index, []).append(text)
    return [Quote(tuple(lines)) for lines in held.values()]


def _one_of(known: Sequence[str], dice: Dice, others: float) -> str:
    if dice.chance(others):
        return _any_word(dice)
    return dice.pick(known[:USUAL] if dice.chance(0.4) else known)


def _any_word(dice: Dice) -> str:
    while True:
        word = dice.pick(words.common()) if dice.chance(0.8) else words.pseudo(dice)
        if word not in HELD_OUT:
            return word


def asked(dice: Dice) -> str:
    """Returns a way to begin a request, such as "draw a pic of ", or nothing."""
    if not dice.chance(ASKED):
        return ""
    verb, medium = _one_of(VERBS, dice, ANY / 2), _one_of(MEDIA, dice, ANY)
    if dice.chance(0.2):
        medium = f"{_any_word(dice)} {medium}"
    medium = medium if dice.chance(0.1) else article(medium)
    medium = f"{medium} {dice.pick(('of', 'of', 'with'))}"
    return dice.pick((f"{verb} ", f"{medium} ", f"{verb} {medium} "))


def punctuated(text: str, dice: Dice, *, sentences: bool = False) -> str:
    """Returns a text, at times with a capital and a full stop, as whole sentences mostly have."""
    if dice.chance(0.6 if sentences else 0.25):
        text = capital(text)
    if not text.endswith('"') and dice.chance(0.7 if sentences else 0.2):
        text += "."
    return text


class Untold(Exception):
    """Raised when a template speaks of something that the scene lacks."""


class Slots:
    """What the `{slots}` of templates stand for: each is what the method of its name returns.

    A method is asked once a caption, and returns None if the scene has nothing to say there.
    `{Slot}` is `{slot}` with a capital letter.
    """

    def __init__(self, scene: Scene, dice: Dice) -> None:
        """Prepares to describe a scene; the dice decide between equally true wordings."""
        self.scene = scene
        self.dice = dice
        self.quotations = quotes(scene)
        self._written: dict[str, str] = {}

    def __getitem__(self, slot: str) -> str:
        if slot not in self._written:
            phrase = capital(self[slot.lower()]) if slot[0].isupper() else getattr(self, slot)()
            if phrase is None:
                raise Untold(slot)
            self._written[slot] = phrase
        return self._written[slot]

    def write(self, template: str) -> str | None:
        """Fills a template; None if the scene lacks what it speaks of or it leaves words out."""
        try:
            text = template.format_map(self)
        except Untold:
            return None
        if any(quote.quoted not in text for quote in self.quotations):
            return None
        return punctuated(text, self.dice, sentences=". " in template or "{text}" in template)

    def draw(self) -> str:
        """Returns a way to begin a request."""
        return asked(self.dice)

    def bare_quotes(self) -> str:
        """Returns nothing but the quotations."""
        return listing([quote.quoted for quote in self.quotations]) if self.quotations else ""
