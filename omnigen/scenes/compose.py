# SPDX-License-Identifier: Apache-2.0
"""Draws random scenes: what is in them, where, and that it can be seen and read.

`compose` depends on nothing but its arguments, needs no renderer and takes a fraction of a
millisecond.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

from omnigen.dice import Dice
from omnigen.scenes import grammar, marks, palette, placement, splits, words
from omnigen.scenes.arrange import GAP, RADII, arranged, size_of
from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.landscape import Writer, compose_landscape
from omnigen.scenes.scene import (
    Background,
    Color,
    Fill,
    Kind,
    Object,
    Scene,
    Shape,
    Size,
    Text,
)

GROUPED = 0.12
"""Share of scenes of shapes, of the train split, that are two kinds, one all on one side."""
BAND = 0.27
"""Half the width of the band in which these lie."""

_COUNTS = {
    0: 0.01, 1: 0.15, 2: 0.21, 3: 0.16, 4: 0.12, 5: 0.1,
    **{count: 0.2 / 7 for count in range(6, 13)},
    **{count: 0.05 / 8 for count in range(13, 21)},
}  # fmt: skip
_SHAPES = tuple(Shape)
_CALM, _VIVID = tuple(palette.CALM), tuple(palette.VIVID)
_MARKED = 0.7  # of the phrases of a scene with marks


_FONTS = {
    held_out: tuple(name for name, family in FAMILIES.items() if held_out or not family.held_out)
    for held_out in (False, True)
}


@dataclasses.dataclass(frozen=True)
class Variety:
    """Shares of scenes that hold more than those that published numbers are of.

    Attributes:
        related: Share of scenes of shapes in which one thing is inside, between or next to others,
            or some stand in a row or a column.
        vivid: Share of scenes on a canvas whose background has one of the vivid colours.
        marked: Share of scenes with words in which accents and signs are written.
    """

    related: float = 0.0
    vivid: float = 0.0
    marked: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What one scene may hold, and whether of the test split."""

    held_out: bool
    related: bool
    vivid: bool
    marked: bool

    @property
    def write(self) -> Writer:
        """What draws its words."""
        plain = functools.partial(words.phrase, held_out=self.held_out)
        if not self.marked:
            return plain
        special = functools.partial(marks.phrase, held_out=self.held_out)
        return lambda dice: (special if dice.chance(_MARKED) else plain)(dice)


def _background(dice: Dice, *, vivid: bool) -> Background:
    if vivid:
        fill = dice.weigh({Fill.PLAIN: 0.72, Fill.GRADIENT: 0.16, Fill.TEXTURE: 0.12})
        color = dice.pick(_VIVID)
    else:
        fill = dice.weigh({Fill.PLAIN: 0.5, Fill.GRADIENT: 0.27, Fill.TEXTURE: 0.23})
        color = dice.pick(_CALM)
    partners = () if fill == Fill.PLAIN else palette.partners(fill, color)
    if not partners:
        return Background(Fill.PLAIN, color)
    return Background(fill, color, dice.pick(partners), dice.seed())


def _sizes(dice: Dice, count: int) -> list[Size]:
    if count <= 3:
        weights = {Size.SMALL: 0.3, Size.MEDIUM: 0.38, Size.LARGE: 0.32}
    elif count <= 5:
        weights = {Size.SMALL: 0.42, Size.MEDIUM: 0.43, Size.LARGE: 0.15}
    elif count <= 9:
        weights = {Size.SMALL: 0.7, Size.MEDIUM: 0.3}
    else:
        weights = {Size.SMALL: 1.0}
    return [dice.weigh(weights) for _ in range(count)]


def _alike(dice: Dice, colors: tuple[Color, ...]) -> tuple[Color | None, Shape | None]:
    """Returns the colour and the shape that all objects of a scene share, or None."""
    color, shape = dice.pick(colors), dice.pick(_SHAPES)
    if splits.tables().single[splits.index(color, shape)]:
        return None, None
    return dice.weigh(
        {(None, None): 0.76, (color, shape): 0.12, (None, shape): 0.06, (color, None): 0.06}
    )


def _objects(
    dice: Dice,
    sizes: Sequence[Size],
    circles: Sequence[placement.Circle],
    *,
    colors: tuple[Color, ...],
    held_out: bool,
) -> tuple[Object, ...]:
    """Gives colours and shapes to circles, so that no atom of the test split arises."""
    shared_color, shared_shape = _alike(dice, colors)
    single = splits.tables().single
    chosen: list[tuple[int, float, float]] = []
    objects = []
    for size, circle in zip(sizes, circles, strict=True):
        x, y = circle.x, circle.y
        for _ in range(40):
            color, shape = shared_color or dice.pick(colors), shared_shape or dice.pick(_SHAPES)
            kind = splits.index(color, shape)
            if not held_out and (
                single[kind] or any(splits.pair_held_out(kind, x, y, *other) for other in chosen)
            ):
                continue
            chosen.append((kind, x, y))
            objects.append(Object(shape, color, size, x, y, circle.radius))
            break
    return tuple(objects)


def _sides(dice: Dice, count: int) -> tuple[list[placement.Circle], list[placement.Circle]] | None:
    """Returns circles, the first group all left of, or all above, the second."""
    radii = [dice.between(*RADII[size]) for size in _sizes(dice, count)]
    centre, across = dice.between(BAND, 1 - BAND), dice.chance(0.5)
    low, high = centre - BAND, centre + BAND
    around = [
        placement.Box(0, 0, 1, low),
        placement.Box(0, high, 1, 1),
        placement.Box(0.46, 0, 0.54, 1),
    ]
    placed = placement.scatter(dice, radii, gap=GAP, avoid=around)
    halves = [[c for c in placed or () if (c.x < 0.5) == first] for first in (True, False)]
    boxes = [[grammar.Box(c.x, c.y, c.radius, c.radius) for c in half] for half in halves]
    if not all(halves) or grammar.side(*boxes) is None:
        return None
    if across:
        return halves[0], halves[1]
    first, second = ([placement.Circle(c.y, c.x, c.radius) for c in half] for half in halves)
    return first, second


def _grouped(dice: Dice, *, vivid: bool) -> Scene | None:
    """Returns two kinds of object as in `_sides`, with nothing held out, or None if it fails."""
    background, single = _background(dice, vivid=vivid), splits.tables().single
    halves = _sides(dice, dice.weigh({3: 0.4, 4: 0.3, 5: 0.2, 6: 0.1}))
    if halves is None:
        return None
    colors = palette.object_colors(background)
    (one, another) = ((dice.pick(colors), dice.pick(_SHAPES)) for _ in halves)
    kinds = splits.index(*one), splits.index(*another)
    if (
        one == another
        or any(single[kind] for kind in kinds)
        or any(
            splits.pair_held_out(kinds[0], a.x, a.y, kinds[1], b.x, b.y)
            for a, b in itertools.product(*halves)
        )
    ):
        return None
    groups = [
        [
            Object(shape, color, size_of(circle.radius), circle.x, circle.y, circle.radius)
            for circle in half
        ]
        for (color, shape), half in zip((one, another), halves, strict=True)
    ]
    if dice.chance(0.5):
        groups.reverse()
    return Scene(Kind.SHAPES, background, tuple(itertools.chain(*groups)))


def _related(dice: Dice, plan: _Plan) -> Scene | None:
    background = _background(dice, vivid=plan.vivid)
    objects = arranged(dice, background)
    return None if objects is None else Scene(Kind.SHAPES, background, objects)


def _shapes(dice: Dice, plan: _Plan) -> Scene | None:
    if plan.related:
        return _related(dice, plan)
    # The scenes of the test stay those that published numbers are of.
    if not plan.held_out and dice.chance(GROUPED):
        tries = (_grouped(dice, vivid=plan.vivid) for _ in range(50))
        return next((scene for scene in tries if scene is not None), None)
    background = _background(dice, vivid=plan.vivid)
    sizes = _sizes(dice, dice.weigh(_COUNTS))
    circles = placement.scatter(dice, [dice.between(*RADII[size]) for size in sizes], gap=GAP)
    if circles is None:
        return None
    colors = palette.object_colors(background)
    objects = _objects(dice, sizes, circles, colors=colors, held_out=plan.held_out)
    return Scene(Kind.SHAPES, background, objects)


def lines_of_words(
    dice: Dice,
    count: int,
    *,
    inks: Sequence[Color],
    held_out: bool,
    large: float,
    room: float = 1 - 2 * placement.MARGIN,
    write: Writer | None = None,
) -> list[Text]:
    """Returns lines of words still to be placed.

    Args:
        dice: Source of all choices.
        count: Number of lines.
        inks: Colours of letters to choose from.
        held_out: Whether fonts and words of the test may occur.
        large: Share of lines with big letters.
        room: Largest width of a line.
        write: Draws the words; None for those of `words`.
    """
    write = write or functools.partial(words.phrase, held_out=held_out)
    fonts, lines = _FONTS[held_out], []
    font, color, mixed = dice.pick(fonts), dice.pick(inks), dice.chance(0.3)
    for _ in range(count):
        if mixed:
            font, color = dice.pick(fonts), dice.pick(inks)
        cap = dice.between(
            *dice.weigh(dict(zip(placement.CAPS, (0.35, 0.65 - large, large), strict=True)))
        )
        text = None
        while text is None:
            text = placement.line(write(dice), color=color, font=font, cap=cap, room=room)
        lines.append(text)
    return lines


def _words(dice: Dice, plan: _Plan) -> Scene | None:
    background = _background(dice, vivid=plan.vivid)
    count = dice.weigh({1: 0.42, 2: 0.34, 3: 0.24})
    inks = palette.ink_colors(background)
    lines = lines_of_words(
        dice, count, inks=inks, held_out=plan.held_out, large=0.12, write=plan.write
    )
    return Scene(Kind.WORDS, background, texts=placement.stack(dice, lines))


def _mixed(dice: Dice, plan: _Plan) -> Scene | None:
    background = _background(dice, vivid=plan.vivid)
    inks = palette.ink_colors(background)
    count = dice.weigh({1: 0.7, 2: 0.3})
    lines = lines_of_words(
        dice, count, inks=inks, held_out=plan.held_out, large=0.0, write=plan.write
    )
    texts = placement.stack(dice, lines)
    sizes = _sizes(dice, dice.weigh({1: 0.3, 2: 0.3, 3: 0.2, 4: 0.12, 5: 0.08}))
    boxes = [placement.text_box(text).grown(0.005) for text in texts]
    circles = placement.scatter(
        dice, [dice.between(*RADII[size]) for size in sizes], gap=GAP, avoid=boxes
    )
    if circles is None:
        return None
    colors = palette.object_colors(background)
    objects = _objects(dice, sizes, circles, colors=colors, held_out=plan.held_out)
    return Scene(Kind.MIXED, background, objects, texts) if objects else None


def _landscapes(dice: Dice, plan: _Plan) -> Scene | None:
    return compose_landscape(dice, fonts=_FONTS[plan.held_out], write=plan.write)


_MAKERS = {
    Kind.SHAPES: _shapes,
    Kind.WORDS: _words,
    Kind.MIXED: _mixed,
    Kind.LANDSCAPES: _landscapes,
}


def compose(seed: int, kind: Kind, *, held_out: bool, variety: Variety = Variety()) -> Scene:
    """Returns the scene of a seed, the same on every machine.

    Args:
        seed: Any integer; every seed of every kind, held out or not, gives another scene.
        kind: The family of scenes.
        held_out: False gives scenes without a held-out atom, True those with at least one (see
            `splits`).
        variety: What the scene may hold besides. Scenes that are not chosen for any of it are those
            that come without.
    """
    split = "test" if held_out else "train"
    choice = Dice("variety", seed, kind, split)
    chosen = [choice.chance(share) for share in (variety.related, variety.vivid, variety.marked)]
    plan, dice = _Plan(held_out, *chosen), Dice(seed, kind, split)
    for _ in itertools.count():
        scene = _MAKERS[kind](dice, plan)
        if scene is not None and splits.is_held_out(scene) == held_out:
            return scene
    raise AssertionError("unreachable")
