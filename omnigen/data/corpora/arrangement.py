# SPDX-License-Identifier: Apache-2.0
"""What stands where in a picture composed of drawings, whatever the drawings look like.

Groups hold one to six subjects, some of them several times: one in a place, two beside or above
each other, rows, columns and blocks. Stickers, posters and signs hold one subject with words.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence

from omnigen.data.corpora.drawings import INKS
from omnigen.data.corpora.subjects import Subject
from omnigen.data.corpus.split import Split
from omnigen.dice import Dice
from omnigen.scenes import palette, placement
from omnigen.scenes.compose import lines_of_words
from omnigen.scenes.palette import RGB
from omnigen.scenes.scene import Background, Text

TEST_SHARE = 0.05
BOARDS: dict[str, RGB] = {
    "white": (250, 246, 236),
    "yellow": (252, 212, 32),
    "brown": (138, 82, 42),
    "green": (28, 104, 72),
    "blue": (34, 60, 120),
    "red": (190, 30, 45),
}
PATTERNS = {
    "a": 2.0,
    "ab": 5.0,
    "abc": 2.0,
    "aab": 0.7,
    "abb": 0.7,
    "aba": 0.6,
    "aa": 1.5,
    "aaa": 1.0,
    "aaaa": 0.6,
    "aaaaa": 0.4,
    "aaaaaa": 0.3,
}
"""Groups, letter by letter from the left or the top, and how often each comes."""
BOARD_WIDTH = 0.9
MOST_NAMES = 75  # letters of all names of a picture, so that a sketch holds them
SMALL, LARGE = 0.26, 0.55  # longer sides of drawings that are small at most, and large at least
BESIDE = 0.12  # between drawings that are next to each other
_SPOTS = {2: (0.27, 0.73), 3: (0.18, 0.5, 0.82), 4: (0.14, 0.38, 0.62, 0.86)}
_SIDES = {2: (0.34, 0.42), 3: (0.24, 0.29), 4: (0.17, 0.21)}
_TRIES = 1000

Pool = Sequence[tuple[str, Subject]]
Spot = tuple[float, float, float]  # centre across, centre down, longer side


class Layout(enum.StrEnum):
    """What sort of picture it is."""

    GROUP = "group"
    STICKER = "sticker"
    POSTER = "poster"
    SIGN = "sign"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing in its place.

    Attributes:
        name: Name of the drawing in its package.
        subject: What it shows.
        ink: Name of its colour if it has none of its own, or nothing.
        x: Centre across, in fractions of the canvas.
        y: Centre down, in fractions of the canvas.
        side: Longer side, in fractions of the canvas.
    """

    name: str
    subject: Subject
    ink: str
    x: float
    y: float
    side: float

    @property
    def title(self) -> str:
        """The name of what it shows."""
        return f"{self.ink} {self.subject.name}" if self.ink else self.subject.name


@dataclasses.dataclass(frozen=True)
class Composite:
    """A whole picture but for its background, which depends on how the drawings look.

    Attributes:
        layout: What sort of picture it is.
        figures: What stands in it.
        side: Where the words or the first figure are, seen from the (other) figures: "left",
            "right", "above" or "below"; nothing if they are in no line.
        room: Share of the canvas's height that the words have.
        board: Colour of the sign, or nothing.
        split: Split of its subjects and words.
    """

    layout: Layout
    figures: tuple[Figure, ...]
    side: str
    room: float
    board: str
    split: Split

    @property
    def kinds(self) -> list[list[Figure]]:
        """The figures of each subject, by the first of them."""
        found: dict[str, list[Figure]] = {}
        for figure in self.figures:
            found.setdefault(figure.title, []).append(figure)
        return list(found.values())

    @property
    def is_between(self) -> bool:
        """Whether the second subject stands between two of the first."""
        titles = [figure.title for figure in self.figures]
        return len(titles) == 3 and titles[0] == titles[2] != titles[1]


def arrange(dice: Dice, pools: Mapping[Split, Pool], *, is_mono: bool) -> Composite:
    """Returns a composite: what stands where.

    Args:
        dice: Source of all choices.
        pools: The drawings of each split.
        is_mono: Whether they have no colours of their own.
    """
    is_test = not pools[Split.TRAIN] or (bool(pools[Split.TEST]) and dice.chance(TEST_SHARE))
    split = Split.TEST if is_test else Split.TRAIN
    kind = dice.weigh(
        {Layout.GROUP: 6.0, Layout.STICKER: 1.5, Layout.POSTER: 1.5, Layout.SIGN: 2.0}
    )
    pattern, side, room, board = "a", "", 0.0, ""
    if kind == Layout.GROUP:
        pattern = dice.weigh(PATTERNS)
        side, spots = _group(dice, len(pattern))
    else:
        side, room, board, spots = _lettered(dice, kind)
    shown = _subjects(dice, pattern, pools[split], pools[Split.TRAIN] or pools[split])
    inks = {letter: dice.pick(list(INKS)) if is_mono else "" for letter in shown}
    figures = tuple(
        Figure(*shown[letter], inks[letter], *spot)
        for letter, spot in zip(pattern, spots, strict=True)
    )
    return Composite(kind, figures, side, room, board, split)


def _subjects(
    dice: Dice, pattern: str, first: Pool, others: Pool
) -> dict[str, tuple[str, Subject]]:
    """Returns a subject for each letter of a pattern, all different; the first decides the split.

    Names are short where there are many, and have a plural where they are of several.
    """
    shown: dict[str, tuple[str, Subject]] = {}
    for letter in sorted(set(pattern)):
        used = {subject.key for _, subject in shown.values()}
        for _ in range(_TRIES):
            found = dice.pick(others if shown else first)
            is_new = found[1].key not in used
            is_apt = pattern.count(letter) == 1 or found[1].is_countable
            if is_new and is_apt and len(found[1].name) <= MOST_NAMES // len(pattern):
                break
        shown[letter] = found
    return shown


def _group(dice: Dice, count: int) -> tuple[str, list[Spot]]:
    """Returns the side of the first figure, and the centre and longer side of each."""
    if count == 1:
        sizes = {(0.18, SMALL): 1.0, (0.3, 0.42): 2.0, (LARGE, 0.8): 1.0}
        length = dice.between(*dice.weigh(sizes))
        near = max(0.24, length / 2 + 0.03) if length < LARGE else 0.5
        return "", [(dice.pick((near, 0.5, 1 - near)), dice.pick((near, 0.5, 1 - near)), length)]
    if count > 4 or (count == 4 and dice.chance(0.5)):
        return "", _block(count, dice.between(0.24, 0.29))
    length = dice.between(*_SIDES[count])
    tilt, is_row = dice.between(0.35, 0.65), dice.chance(0.6)
    line = [(spot, tilt) if is_row else (tilt, spot) for spot in _SPOTS[count]]
    return "left" if is_row else "above", [(x, y, length) for x, y in line]


def _block(count: int, length: float) -> list[Spot]:
    """Returns places in two rows, the second of which may be shorter."""
    first = (count + 1) // 2
    spots = []
    for row, size in enumerate((first, count - first)):
        for place in range(size):
            x = 0.5 + (place - (size - 1) / 2) * (0.4 if first == 2 else 0.32)
            spots.append((x, 0.3 + 0.4 * row, length))
    return spots


def _lettered(dice: Dice, kind: Layout) -> tuple[str, float, str, list[Spot]]:
    """Returns side, room and board of the words, and the place of the figure."""
    side = "above" if dice.chance(0.4) else "below"
    room = dice.between(0.26, 0.36) if kind == Layout.SIGN else dice.between(0.18, 0.26)
    board = dice.pick(list(BOARDS)) if kind == Layout.SIGN else ""
    length = min(dice.between(0.5, 0.64), 0.9 - room)
    middle = room + (1 - room) / 2 if side == "above" else (1 - room) / 2
    x = 0.5 if kind != Layout.SIGN else dice.between(0.4, 0.6)
    return side, room, board, [(x, middle, length)]


def letter(dice: Dice, composite: Composite, ground: Background) -> Text | None:
    """Returns the words of a composite, placed; None if it has none."""
    if composite.layout == Layout.GROUP:
        return None
    inks = palette.ink_colors(ground)
    if composite.board:
        inks = palette.holder_inks(BOARDS[composite.board])
    room = 0.8 if composite.board else 0.92
    held_out = composite.split == Split.TEST
    (text,) = lines_of_words(dice, 1, inks=inks, held_out=held_out, large=0.4, room=room)
    box = placement.text_box(text)
    highest = composite.room * (0.5 if composite.board else 0.8)
    if box.bottom - box.top > highest:
        shrink = highest / (box.bottom - box.top)
        text = dataclasses.replace(text, height=text.height * shrink, width=text.width * shrink)
        box = placement.text_box(text)
    middle = composite.room / 2 if composite.side == "above" else 1 - composite.room / 2
    return placement.moved(text, x=0.5, y=middle - (box.top + box.bottom) / 2)
