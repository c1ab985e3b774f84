# SPDX-License-Identifier: Apache-2.0
"""Pictures composed of drawings: subjects in relation to each other, stickers, posters and signs.

A composite follows from its style and number alone: what stands where, on which background, with
which words, and what captions say of it. Drawings of one picture are of one style. Backgrounds,
fonts and words are those of scenes, and are held out as there; a composite is for the test if one
of its subjects is, or its style.
"""

import dataclasses
import enum
import functools
import hashlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from omnigen.data.corpora import drawings, subjects
from omnigen.data.corpora.drawings import INKS
from omnigen.data.corpora.recipes import Art, Kind
from omnigen.data.corpora.subjects import Subject
from omnigen.data.corpus import pictures
from omnigen.data.corpus.records import Raw, Reason, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.prepare.inputs.part import NOTHING, Lost
from omnigen.dice import Dice
from omnigen.scenes import grammar, palette, placement, sketch
from omnigen.scenes.compose import lines_of_words
from omnigen.scenes.palette import RGB
from omnigen.scenes.scene import Background, Fill, Text

PART = 128  # composites
TEST_SHARE = 0.05
MOST_WORDS = 3  # of a subject's name, so that captions of several can be followed
LEAST_SUBJECTS = 20  # of a style that is worth composing
BOARD_WIDTH = 0.9
DISTANCE = 28.0  # CIE 1976, between the rim of a drawing and what lies behind it
_SEEN = 128  # least opacity, of 255, that counts as drawn
_BOARDS = {"white": (250, 246, 236), "yellow": (252, 212, 32), "brown": (138, 82, 42)} | {
    "green": (28, 104, 72),
    "blue": (34, 60, 120),
    "red": (190, 30, 45),
}
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


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

    @property
    def phrase(self) -> str:
        """The name of what it shows, with an article."""
        return subjects.phrase(self.title)


@dataclasses.dataclass(frozen=True)
class Composite:
    """A whole picture but for its background, which depends on how the drawings look.

    Attributes:
        layout: What sort of picture it is.
        figures: What stands in it.
        side: Where the words or the first figure are, seen from the (other) figure: "left",
            "right", "above" or "below"; nothing if there is neither.
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


@dataclasses.dataclass(frozen=True)
class Composites:
    """Some composites of a style.

    Attributes:
        art: Recipe of the style.
        digest: Digest of everything that changes the result.
        archive: Archive of the package; its path does not count.
        drawings: Name in the package and subject of each drawing that may be used.
        start: Number of the first composite.
        stop: Number after the last.
        size: Side of the pictures in pixels.
    """

    art: Art
    digest: str
    archive: pathlib.Path = dataclasses.field(repr=False)
    drawings: tuple[tuple[str, Subject], ...] = dataclasses.field(repr=False)
    start: int
    stop: int
    size: int

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        """Draws the pictures; see `Part.read`."""
        for place, number in enumerate(range(self.start, self.stop)):
            yield Raw(self._key(number), lost[place], (), {}) if place in lost else self.at(number)

    def _key(self, number: int) -> str:
        return f"composites/{subjects.slug(self.art.style)}/{number:06d}"

    def at(self, number: int) -> Raw:
        """Draws a picture; every process draws the same."""
        key = self._key(number)
        dice = Dice("composite", key)
        composite = compose(dice, self._pools, self.art)
        try:
            drawn = [self._drawing(figure) for figure in composite.figures]
            rims = [rim(one) for one in drawn]
        except Rejected as rejected:
            return Raw(key, rejected, (), {})
        ground = choose_ground(dice, rims, composite)
        inks = palette.ink_colors(ground)
        if composite.board:
            inks = palette.holder_inks(_BOARDS[composite.board])
        text = _text(dice, composite, inks)
        image = _paint(composite, drawn, ground, text, self.size)
        captions = describe(dice, composite, ground, text, style=self.art.style)
        written = write(composite, ground, text, style=self.art.style)
        return Raw(key, image, captions, {**self._attributes(composite), "sketch": written})

    def _drawing(self, figure: Figure) -> np.ndarray:
        side, ink = round(figure.side * self.size), INKS.get(figure.ink, drawings.PLAIN_INK)
        drawn = drawings.draw(self.art, self.archive, figure.name, side=side, ink=ink)
        pixels = np.asarray(drawn)
        drawings.check_seen(pixels)
        return pixels

    @functools.cached_property
    def _pools(self) -> dict[Split, list[tuple[str, Subject]]]:
        pools: dict[Split, list[tuple[str, Subject]]] = {split: [] for split in Split}
        for name, subject in self.drawings:
            if subject.is_shape:  # captions need not say the style
                continue
            is_test = self.art.held_out or subject.is_held_out
            pools[Split.TEST if is_test else Split.TRAIN].append((name, subject))
        return pools

    def _attributes(self, composite: Composite) -> dict[str, str]:
        return {
            "license": self.art.license,
            "attribution": self.art.attribution,
            "source": self.art.source,
            "style": self.art.style,
            "subject": ", ".join(figure.subject.key for figure in composite.figures),
            "layout": composite.layout,
            "split": composite.split,
        }


def parts(
    art: Sequence[tuple[Art, pathlib.Path, Sequence[tuple[str, Subject]]]],
    *,
    digest: str,
    count: int,
    size: int,
) -> list[Composites]:
    """Returns about `count` composites, cut into parts.

    Styles share them by their numbers of subjects.

    Args:
        art: Recipe, archive and drawings of each style.
        digest: Digest of everything that names subjects and changes the result.
        count: Number of composites.
        size: Side of the pictures in pixels.
    """
    usable = []
    for recipe, archive, found in art:
        chosen = tuple((name, subject) for name, subject in found if _is_plain(subject))
        if recipe.kind != Kind.FLAG and len(chosen) >= LEAST_SUBJECTS:
            usable.append((recipe, archive, chosen))
    total = sum(len(chosen) for _, _, chosen in usable)
    made: list[Composites] = []
    for recipe, archive, chosen in usable:
        names = hashlib.sha256(repr(chosen).encode()).hexdigest()
        share = round(count * len(chosen) / total)
        for start in range(0, share, PART):
            stop = min(start + PART, share)
            made.append(Composites(recipe, digest + names, archive, chosen, start, stop, size))
    return made


def _is_plain(subject: Subject) -> bool:
    """Returns whether a name reads well among others."""
    words = subject.name.split()
    return len(words) <= MOST_WORDS and all(w.replace("-", "").isalpha() for w in words)


def compose(dice: Dice, pools: dict[Split, list[tuple[str, Subject]]], art: Art) -> Composite:
    """Returns a composite: what stands where.

    Args:
        dice: Source of all choices.
        pools: The drawings of each split.
        art: Recipe of their style.
    """
    is_test = not pools[Split.TRAIN] or (pools[Split.TEST] and dice.chance(TEST_SHARE))
    split = Split.TEST if is_test else Split.TRAIN
    kind = dice.weigh(
        {Layout.GROUP: 5.0, Layout.STICKER: 1.5, Layout.POSTER: 1.5, Layout.SIGN: 2.0}
    )
    side, room, board, places = _arrange(dice, kind)
    figures: list[Figure] = []
    for x, y, length in places:
        pool = pools[split] if not figures or not pools[Split.TRAIN] else pools[Split.TRAIN]
        used = {figure.subject.key for figure in figures}
        name, subject = dice.pick(pool)
        while subject.key in used:
            name, subject = dice.pick(pool)
        ink = dice.pick(list(INKS)) if art.is_mono else ""
        figures.append(Figure(name, subject, ink, x, y, length))
    return Composite(kind, tuple(figures), side, room, board, split)


def _arrange(dice: Dice, kind: Layout) -> tuple[str, float, str, list[tuple[float, float, float]]]:
    """Returns side, room, board, and the centre and longer side of each figure."""
    if kind == Layout.GROUP:
        count = dice.weigh({1: 1.0, 2: 4.0, 3: 2.0})
        if count == 1:
            side = dice.between(0.3, 0.42)
            return "", 0.0, "", [(dice.pick((0.24, 0.5, 0.76)), dice.pick((0.24, 0.5, 0.76)), side)]
        length = dice.between(0.34, 0.42) if count == 2 else dice.between(0.24, 0.29)
        spots, tilt = (0.27, 0.73) if count == 2 else (0.18, 0.5, 0.82), dice.between(0.35, 0.65)
        across = dice.chance(0.6)
        places = [(s, tilt, length) if across else (tilt, s, length) for s in spots]
        return "left" if across else "above", 0.0, "", places
    side = "above" if dice.chance(0.4) else "below"
    room = dice.between(0.26, 0.36) if kind == Layout.SIGN else dice.between(0.18, 0.26)
    board = dice.pick(list(_BOARDS)) if kind == Layout.SIGN else ""
    length = min(dice.between(0.5, 0.64), 0.9 - room)
    middle = room + (1 - room) / 2 if side == "above" else (1 - room) / 2
    x = 0.5 if kind != Layout.SIGN else dice.between(0.4, 0.6)
    return side, room, board, [(x, middle, length)]


def rim(drawn: np.ndarray) -> list[RGB]:
    """Returns the mean colours of the outline of a drawing, one for each eighth that has any.

    Raises:
        Rejected: If the drawing is too faint everywhere to have an outline.
    """
    seen = drawn[..., 3] >= _SEEN
    if not seen.any():
        raise Rejected(Reason.DAMAGED, "too faint to have an outline")
    padded = np.pad(seen, 2)
    inner = padded.copy()
    for axis in (0, 1):
        for shift in (-2, 2):
            inner &= np.roll(padded, shift, axis)
    edge = seen & ~inner[2:-2, 2:-2]
    rows, cols = np.nonzero(edge)
    middle = (seen.shape[0] / 2, seen.shape[1] / 2)
    octant = ((np.arctan2(rows - middle[0], cols - middle[1]) / np.pi + 1) * 4).astype(int) % 8
    colors = drawn[rows, cols, :3]
    means = [colors[octant == k].mean(axis=0) for k in range(8) if (octant == k).any()]
    return [(int(r), int(g), int(b)) for r, g, b in means]


def choose_ground(dice: Dice, rims: Sequence[Sequence[RGB]], composite: Composite) -> Background:
    """Returns a background on which most of every outline shows, or that on which most does."""
    outlines = [*rims, *([[_BOARDS[composite.board]]] if composite.board else [])]
    if composite.layout == Layout.STICKER:
        outlines = [[(255, 255, 255)]]
    grounds, shades_GS3 = _grounds()
    shown_G = np.full(len(grounds), np.inf)  # the lower quartile of an outline's distances
    for colors in outlines:
        colors_K3 = np.array([palette.lab(color) for color in colors])
        apart_KGS = np.linalg.norm(colors_K3[:, None, None] - shades_GS3, axis=-1)
        shown_G = np.minimum(shown_G, np.quantile(apart_KGS.min(axis=-1), 0.25, axis=0))
    weights = {
        ground: 4.0 if ground.fill == Fill.PLAIN else 1.0
        for ground, shown in zip(grounds, shown_G, strict=True)
        if shown >= DISTANCE
    }
    ground = dice.weigh(weights) if weights else grounds[int(shown_G.argmax())]
    return ground if ground.fill == Fill.PLAIN else dataclasses.replace(ground, seed=dice.seed())


@functools.cache
def _grounds() -> tuple[list[Background], np.ndarray]:
    """Returns all backgrounds but for their seeds, with the CIELAB of their shades.

    Some are there twice.
    """
    grounds = []
    for color in palette.CALM:
        grounds.append(Background(Fill.PLAIN, color))
        for fill in (Fill.GRADIENT, Fill.TEXTURE):
            grounds += [Background(fill, color, one) for one in palette.partners(fill, color)]
    labs = [[palette.lab(shade) for shade in palette.shades(ground)] for ground in grounds]
    most = max(map(len, labs))
    return grounds, np.array([one + one[-1:] * (most - len(one)) for one in labs])


def _text(dice: Dice, composite: Composite, inks: Sequence) -> Text | None:
    """Returns the words of a composite, placed."""
    if composite.layout == Layout.GROUP:
        return None
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


def _paint(
    composite: Composite,
    drawn: Sequence[np.ndarray],
    ground: Background,
    text: Text | None,
    size: int,
) -> bytes:
    from PIL import Image

    from omnigen.scenes.pen import Pen
    from omnigen.scenes.render import draw_background, draw_text

    pen = Pen(size)
    draw_background(pen, ground)
    if composite.board:
        paper, height = _BOARDS[composite.board], composite.room * 0.8
        rim_ = palette.mix(paper, (20, 16, 12), 0.55)
        top = (composite.room - height) / 2
        top = top if composite.side == "above" else 1 - composite.room + top
        pen.rectangle(0.5 - BOARD_WIDTH / 2, top, BOARD_WIDTH, height, rim_, round=0.04)
        pen.rectangle(0.068, top + 0.018, 0.864, height - 0.036, paper, round=0.028)
    for figure, pixels in zip(composite.figures, drawn, strict=True):
        if composite.layout == Layout.STICKER:
            pixels = _outlined(pixels, max(round(0.022 * size), 1))
        pen.image(np.ascontiguousarray(pixels), x=figure.x, y=figure.y)
    if text is not None:
        draw_text(pen, text)
    return pictures.encode(Image.fromarray(pen.picture()), lossless=True)


def _outlined(pixels: np.ndarray, width: int) -> np.ndarray:
    """Returns a drawing with a white outline, as stickers are cut."""
    from PIL import Image, ImageFilter

    wide = np.pad(pixels, ((2 * width,) * 2, (2 * width,) * 2, (0, 0)))
    front = Image.fromarray(wide)
    soft = front.getchannel("A").filter(ImageFilter.GaussianBlur(width))
    back = Image.new("RGBA", front.size, "white")
    back.putalpha(soft.point([min(value * 8, 255) for value in range(256)]))
    return np.asarray(Image.alpha_composite(back, front))


def describe(
    dice: Dice, composite: Composite, ground: Background, text: Text | None, *, style: str
) -> tuple[str, ...]:
    """Returns ways to say what a composite shows; all are true and quote every word.

    The first is the plainest, the last but one is terse, and the last begins as requests may.
    """
    plain, *others, terse = _describe(dice, composite, ground, text, style=style)
    request = f"{grammar.asked(dice)}{dice.pick((plain, terse))}"
    return plain, *(grammar.punctuated(said, dice) for said in (*others, terse, request))


def _describe(
    dice: Dice, composite: Composite, ground: Background, text: Text | None, *, style: str
) -> tuple[str, ...]:
    """Returns what `describe` does, without openings and full stops.

    The first and the last begin with what is there.
    """
    behind, figures = f" on {grammar.article(ground_name(ground))}", composite.figures
    first = figures[0].phrase
    if text is None:
        return _describe_group(dice, composite, behind, style=style)
    quote = grammar.Quote((text,))
    words = f"the {quote.word} {quote.quoted}"
    inked = f"{words} in {quote.ink} letters"
    there = "at the top" if composite.side == "above" else "at the bottom"
    if composite.layout == Layout.STICKER:
        return (
            f"a sticker of {first} with {inked} {there}{behind}, {style} style",
            f"a {style} style sticker of {first} that says {quote.quoted}",
            f"{first} as a sticker{behind}, and {words} {composite.side} the sticker",
            f"a sticker of {first} with {words}",
        )
    if composite.layout == Layout.POSTER:
        return (
            f"a poster with {first} and {inked} {there}{behind}, {style} style",
            f"{words} {composite.side} {first}{behind}, drawn in {style} style",
            f"{style} style poster: {first}, {quote.quoted}",
            f"{first} with {words}",
        )
    board = grammar.article(f"{composite.board} sign")
    return (
        f"{board} with {inked} {composite.side} {first}{behind}, {style} style",
        f"{first} and a sign that says {quote.quoted}, {style} style",
        f"{first} {_OPPOSITE[composite.side]} {board} that says {quote.quoted}{behind}",
        f"{first} and a sign with {words}",
    )


def write(composite: Composite, ground: Background, text: Text | None, *, style: str) -> str:
    """Returns the sketch of a composite, in the notation of `scenes.sketch` and two parts more.

    It begins with a tilde and the style. Drawings, and the board of a sign, are `figure`s.
    """
    parts = [f"~{style}", sketch.ground(ground)]
    parts += [drawings.figure(f.title, f.x, f.y, f.side) for f in composite.figures]
    if composite.board:
        middle = composite.room / 2 if composite.side == "above" else 1 - composite.room / 2
        parts.append(drawings.figure(f"{composite.board} sign", 0.5, middle, BOARD_WIDTH))
    return "".join([*parts, sketch.line(text) if text is not None else ""])


def _describe_group(
    dice: Dice, composite: Composite, behind: str, *, style: str
) -> tuple[str, ...]:
    names, figures = [figure.phrase for figure in composite.figures], composite.figures
    if len(names) == 1:
        box = grammar.Box(figures[0].x, figures[0].y, figures[0].side / 2, figures[0].side / 2)
        place = grammar.place([box], dice)
        return (
            f"{names[0]} {place}{behind}, {style} style",
            f"{style} style: {names[0]}{behind}",
            f"a picture with {names[0]} {place}, drawn in {style} style",
            f"{names[0]} {place}{behind}",
        )
    if len(names) == 2:
        side, other = composite.side, _OPPOSITE[composite.side]
        say = {name: dice.pick(grammar.SIDES[name]) for name in (side, other)}
        return (
            f"{names[0]} {say[side]} {names[1]}{behind}, {style} style",
            f"{names[1]} {say[other]} {names[0]}{behind}, drawn in {style} style",
            f"{style} style: {names[0]} and {names[1]}",
            f"{names[0]} {dice.pick(('and', say[side]))} {names[1]}",
        )
    across = composite.side == "left"
    line = "from left to right" if across else "from top to bottom"
    row = "in a row" if across else "one below the other"
    return (
        f"{grammar.listing(names)} {row} {line}{behind}, {style} style",
        f"{line}: {grammar.listing(names)}{behind}, drawn in {style} style",
        f"{style} style: {grammar.listing(dice.pick((names, names[::-1])))} {row}",
        grammar.listing(names),
    )


def ground_name(ground: Background) -> str:
    """Returns a background as a noun without an article."""
    if ground.fill == Fill.GRADIENT:
        return f"{ground.color} and {ground.second} gradient background"
    if ground.fill == Fill.TEXTURE:
        return f"textured {ground.color} background"
    return f"{ground.color} background"
