# SPDX-License-Identifier: Apache-2.0
"""Draws random landscapes: a sky, what is in it and below it, and words in a cloud, sign or banner.

Props are listed back to front. What later props hide of an earlier one is limited, so that every
element can be seen.
"""

import dataclasses
from collections.abc import Callable, Sequence

from omnigen.dice import Dice
from omnigen.scenes import palette, placement
from omnigen.scenes.placement import Box
from omnigen.scenes.scene import Element, Kind, Landscape, Prop, Scene, Sky, Text

PADDING: dict[Element, tuple[float, float, float]] = {
    Element.CLOUD: (0.075, 0.075, 0.055),
    Element.SIGN: (0.04, 0.04, 0.04),
    Element.BANNER: (0.11, 0.035, 0.035),
}
"""From a holder's words to its sides, its top and its bottom; a banner's sides are its tails."""

_SHARE_OF_CLOUD_STYLE = 0.18
_SHARE_OF_WORDS = 0.42
_HIDDEN = {
    Element.STARS: 0.6,
    Element.SUN: 0.35,
    Element.MOON: 0.1,
    Element.BIRDS: 0.0,
    Element.HOUSE: 0.1,
    Element.BOAT: 0.1,
}
"""Share of a prop that later ones may cover, 0.4 if not said."""
_OPAQUE = (
    Element.CLOUD,
    Element.TREES,
    Element.HOUSE,
    Element.BOAT,
    Element.SIGN,
    Element.BANNER,
)


Writer = Callable[[Dice], tuple[str, ...]]
"""Draws one to three words that are read together."""

_BOATS = {Element.SEA: 0.6, Element.LAKE: 0.45, Element.RIVER: 0.12}


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a landscape is to hold, before anything has a place."""

    sky: Sky
    elements: frozenset[Element]
    holder: Element | None
    clouds: int
    horizon: float


def _cloud_style(dice: Dice) -> _Plan:
    """Returns words in a cloud of a clear sky over mountains and a river, a frequent request."""
    extras = {
        Element.SUN: 0.15,
        Element.TREES: 0.2,
        Element.BIRDS: 0.1,
        Element.HILLS: 0.08,
        Element.HOUSE: 0.05,
    }
    chosen = {element for element, chance in extras.items() if dice.chance(chance)}
    elements = frozenset({Element.MOUNTAINS, Element.RIVER} | chosen)
    return _Plan(Sky.CLEAR, elements, Element.CLOUD, 0, dice.between(0.6, 0.7))


def _plan(dice: Dice) -> _Plan:
    if dice.chance(_SHARE_OF_CLOUD_STYLE):
        return _cloud_style(dice)
    sky = dice.weigh({Sky.CLEAR: 0.4, Sky.SUNSET: 0.22, Sky.NIGHT: 0.2, Sky.OVERCAST: 0.18})
    water = dice.weigh({Element.RIVER: 0.26, Element.LAKE: 0.2, Element.SEA: 0.24, None: 0.3})
    at_sea = water == Element.SEA
    chances = {
        Element.SUN: {Sky.CLEAR: 0.55, Sky.SUNSET: 0.8}.get(sky, 0.0),
        Element.MOON: 0.75 if sky == Sky.NIGHT else 0.0,
        Element.STARS: 0.8 if sky == Sky.NIGHT else 0.0,
        Element.BIRDS: 0.0 if sky == Sky.NIGHT else 0.25,
        Element.MOUNTAINS: 0.3 if at_sea else 0.55,
        Element.HILLS: 0.0 if at_sea else 0.45,
        Element.TREES: 0.0 if at_sea else 0.55,
        Element.HOUSE: 0.0 if at_sea else 0.35,
        Element.BOAT: 0.0 if water is None else _BOATS[water],
        Element.SNOW: 0.0 if at_sea else 0.16,
    }
    elements = {element for element, chance in chances.items() if dice.chance(chance)}
    if water is not None:
        elements.add(water)
    holder = None
    if dice.chance(_SHARE_OF_WORDS):
        holder = dice.weigh({Element.CLOUD: 0.45, Element.SIGN: 0.3, Element.BANNER: 0.25})
    if holder == Element.SIGN:
        elements -= {Element.LAKE, Element.HOUSE, Element.BOAT}
    clouds = dice.weigh({0: 0.4, 1: 0.35, 2: 0.25}) if sky != Sky.OVERCAST else dice.integer(1, 3)
    if holder is not None:
        clouds = 0 if holder == Element.CLOUD else min(clouds, 1)
    return _Plan(sky, frozenset(elements), holder, clouds, dice.between(0.55, 0.68))


def _lines(
    dice: Dice, *, holder: Element, paper: palette.RGB, fonts: Sequence[str], write: Writer
) -> list[Text]:
    """Returns one line of words, or on a banner two to be read on, both about the origin."""
    room = 0.92 - 2 * PADDING[holder][0]
    color, font = dice.pick(palette.holder_inks(paper)), dice.pick(fonts)
    cap = dice.between(0.078, 0.115)
    least = 2 if dice.chance(0.4) else 1
    while True:
        phrase = write(dice)
        if len(phrase) < least:
            continue
        whole = placement.line(phrase, color=color, font=font, cap=cap, room=room)
        if whole is not None and (
            len(phrase) == 1 or holder == Element.BANNER or dice.chance(0.55)
        ):
            return [whole]
        if len(phrase) == 1 or holder == Element.BANNER:
            continue
        cut = min(
            range(1, len(phrase)),
            key=lambda i: max(len(" ".join(p)) for p in (phrase[:i], phrase[i:])),
        )
        parts = [
            placement.line(p, color=color, font=font, cap=cap, room=room)
            for p in (phrase[:cut], phrase[cut:])
        ]
        lines = [part for part in parts if part is not None]
        if len(lines) == 2:
            least = min(part.height for part in lines)
            again = [
                placement.line(part.words, color=color, font=font, cap=least, room=1.0)
                for part in lines
            ]
            return [part for part in again if part is not None]


def _hold(
    dice: Dice, plan: _Plan, *, fonts: Sequence[str], write: Writer
) -> tuple[Prop, tuple[Text, ...]]:
    """Returns the cloud, sign or banner of a plan, as large as its words need."""
    holder = plan.holder
    assert holder is not None
    seed = dice.seed()
    paper = palette.holder_color(holder, sky=plan.sky, seed=seed)
    lines = _lines(dice, holder=holder, paper=paper, fonts=fonts, write=write)
    boxes = [placement.text_box(text) for text in lines]
    gap = 0.024
    side, above, below = PADDING[holder]
    width = max(text.width for text in lines) + 2 * side
    height = sum(box.bottom - box.top for box in boxes) + gap * (len(lines) - 1) + above + below
    if holder == Element.CLOUD:
        width = max(width, 1.35 * height)
    x = dice.between(0.02 + width / 2, 0.98 - width / 2)
    if holder == Element.SIGN:
        low, high = plan.horizon - 0.02, 0.9 - height
    else:
        low, high = 0.03, (0.16 if holder == Element.CLOUD else 0.26)
    top = dice.between(min(low, high), high)
    placed, pen = [], top + above
    for text, box in zip(lines, boxes, strict=True):
        text = placement.moved(text, x=x, y=pen - box.top)
        placed.append(dataclasses.replace(text, holder=holder))
        pen += box.bottom - box.top + gap
    return Prop(
        holder, x, round(top + height / 2, 4), round(width, 4), round(height, 4), seed
    ), tuple(placed)


def _prop(dice: Dice, element: Element, box: Box) -> Prop:
    x, y = round((box.left + box.right) / 2, 4), round((box.top + box.bottom) / 2, 4)
    return Prop(
        element, x, y, round(box.right - box.left, 4), round(box.bottom - box.top, 4), dice.seed()
    )


def _in_sky(dice: Dice, plan: _Plan, taken: Sequence[Box], *, ridge: float) -> list[Prop]:
    """Returns sun, moon, stars, clouds and birds, clear of taken boxes, mostly above the ridge."""
    props = []
    if Element.STARS in plan.elements:
        props.append(_prop(dice, Element.STARS, Box(0.0, 0.0, 1.0, ridge)))
    for element in (Element.SUN, Element.MOON):
        if element in plan.elements:
            size = dice.between(0.13, 0.2)
            low = ridge if plan.sky == Sky.SUNSET and dice.chance(0.6) else max(0.17, ridge - 0.16)
            options = [(dice.between(0.14, 0.86), dice.between(0.13, low)) for _ in range(5)]
            x, y = min(
                options, key=lambda place: sum(_disk(*place, size).overlap(box) for box in taken)
            )
            props.append(_prop(dice, element, _disk(x, y, size)))
    count = plan.clouds
    for _ in range(count):
        width = dice.between(0.2, 0.36)
        height = width * dice.between(0.42, 0.55)
        options = [
            (dice.between(0.12, 0.88), dice.between(0.1, max(ridge - 0.06, 0.14))) for _ in range(4)
        ]
        solid = [
            *taken,
            *(placement.prop_box(prop) for prop in props if prop.element != Element.STARS),
        ]
        x, y = min(
            options,
            key=lambda place: sum(_about(*place, width, height).overlap(box) for box in solid),
        )
        props.append(_prop(dice, Element.CLOUD, _about(x, y, width, height)))
    if Element.BIRDS in plan.elements:
        width, height = dice.between(0.22, 0.36), dice.between(0.1, 0.15)
        options = [
            (dice.between(0.2, 0.8), dice.between(0.1, max(ridge - 0.05, 0.14))) for _ in range(5)
        ]
        solid = [*taken, *(placement.prop_box(prop) for prop in props)]
        x, y = min(
            options,
            key=lambda place: sum(_about(*place, width, height).overlap(box) for box in solid),
        )
        props.append(_prop(dice, Element.BIRDS, _about(x, y, width, height)))
    return props


def _about(x: float, y: float, width: float, height: float) -> Box:
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _disk(x: float, y: float, size: float) -> Box:
    return _about(x, y, size, size)


def _river(dice: Dice, plan: _Plan, taken: Sequence[Box]) -> Prop:
    """Returns a river from the horizon to the bottom, away from what stands before it."""

    def box() -> Box:
        width = dice.between(0.36, 0.6)
        x = dice.between(0.22 + width / 4, 0.78 - width / 4)
        return Box(x - width / 2, plan.horizon, x + width / 2, 1.0)

    options = [box() for _ in range(3)]
    best = min(options, key=lambda option: sum(option.overlap(other) for other in taken))
    return _prop(dice, Element.RIVER, best)


def _lake(dice: Dice, plan: _Plan) -> Prop:
    width, top = dice.between(0.5, 0.8), plan.horizon + dice.between(0.06, 0.1)
    x, bottom = dice.between(0.35, 0.65), min(top + dice.between(0.17, 0.24), 0.98)
    return _prop(dice, Element.LAKE, Box(x - width / 2, top, x + width / 2, bottom))


def _sea(dice: Dice, plan: _Plan) -> Prop:
    beach = plan.holder == Element.SIGN or dice.chance(0.55)
    bottom = dice.between(0.84, 0.92) if beach else 1.0
    return _prop(dice, Element.SEA, Box(0.0, plan.horizon, 1.0, bottom))


def _boat(dice: Dice, water: Prop) -> Prop:
    box = placement.prop_box(water)
    if water.element == Element.RIVER:
        size, base = dice.between(0.13, 0.16), dice.between(0.9, 0.96)
        x = river_middle(water, (base - box.top) / (1 - box.top))
    else:
        size, base = dice.between(0.17, 0.26), dice.between(box.top + 0.08, box.bottom - 0.05)
        reach = max(water.width / 2 - 0.2, 0.0)
        x = dice.between(water.x - reach, water.x + reach)
    return _prop(dice, Element.BOAT, Box(x - size / 2, base - 1.05 * size, x + size / 2, base))


def river_middle(river: Prop, depth: float) -> float:
    """Returns the middle of a river at a depth, 0 at the horizon to 1 at the bottom."""
    return river.x + (river.width / 2 - river_half(river, depth)) * river_bend(river.seed, depth)


def river_half(river: Prop, depth: float) -> float:
    """Returns half the width of a river at a depth, which grows as the river comes nearer."""
    return 0.012 + 0.3 * river.width * depth**1.5


def river_bend(seed: int, depth: float) -> float:
    """Returns how a river bends at a depth, -1 to 1: two turns, tighter in the distance."""
    turn = (depth**0.55) * 2.6 - 0.55
    swing = 1 - (abs((turn % 2) - 1)) * 2
    smooth = swing * (1.5 - 0.5 * swing * swing)
    return smooth if seed % 2 else -smooth


def _on_ground(dice: Dice, plan: _Plan, water: Sequence[Prop], taken: Sequence[Box]) -> list[Prop]:
    """Returns trees and a house, on the banks and beside one another."""
    props: list[Prop] = []
    horizon = plan.horizon
    river = water[0] if Element.RIVER in plan.elements else None
    bases = (0.03, 0.06) if Element.LAKE in plan.elements else (0.05, 0.94 - horizon)

    def stand(element: Element, width: float, height: float) -> None:
        options = []
        solid = [*taken, *(placement.prop_box(prop) for prop in props)]
        for _ in range(4):
            base = horizon + dice.between(*bases)
            x = dice.between(width / 2 + 0.01, 0.99 - width / 2)
            box = Box(x - width / 2, base - height, x + width / 2, base)
            cost = sum(box.overlap(other) for other in solid)
            if river is not None:
                depth = (base - horizon) / (1 - horizon)
                reach = width / 2 + river_half(river, depth)
                cost += max(reach - abs(x - river_middle(river, depth)), 0.0) * 0.1
            options.append((cost, box))
        props.append(_prop(dice, element, min(options, key=lambda option: option[0])[1]))

    if Element.HOUSE in plan.elements:
        width = dice.between(0.19, 0.28)
        stand(Element.HOUSE, width, width * 1.05)
    if Element.TREES in plan.elements:
        for _ in range(dice.weigh({1: 0.6, 2: 0.4})):
            stand(Element.TREES, dice.between(0.16, 0.38), dice.between(0.15, 0.25))
    return sorted(props, key=lambda prop: prop.y + prop.height / 2)


def _visible(props: Sequence[Prop]) -> bool:
    """Returns whether no prop is hidden beyond its limit by the opaque ones in front of it."""
    boxes = [placement.prop_box(prop) for prop in props]
    for index, (prop, box) in enumerate(zip(props, boxes, strict=True)):
        limit = _HIDDEN.get(prop.element, 0.4) * box.area
        front = zip(props[index + 1 :], boxes[index + 1 :], strict=True)
        if (
            sum(box.overlap(other) for later, other in front if later.element in _OPAQUE)
            > limit + 1e-9
        ):
            return False
    return True


def compose_landscape(dice: Dice, *, fonts: Sequence[str], write: Writer) -> Scene | None:
    """Returns a random landscape, or None if its drawn elements hide one another.

    Args:
        dice: Source of all choices.
        fonts: Font families for the words.
        write: Draws the words that are written.
    """
    plan = _plan(dice)
    holder, texts = None, ()
    if plan.holder is not None:
        holder, texts = _hold(dice, plan, fonts=fonts, write=write)
    horizon, elements = plan.horizon, plan.elements
    ridge = horizon - (dice.between(0.17, 0.3) if Element.MOUNTAINS in elements else 0.04)
    taken = []
    if holder is not None:
        box = placement.prop_box(holder)
        posts = 0.12 if holder.element == Element.SIGN else 0.0
        taken.append(dataclasses.replace(box, bottom=box.bottom + posts))
    props = _in_sky(dice, plan, taken, ridge=ridge)
    if Element.MOUNTAINS in elements:
        props.append(_prop(dice, Element.MOUNTAINS, Box(0.0, ridge, 1.0, horizon)))
    if Element.HILLS in elements:
        props.append(
            _prop(
                dice,
                Element.HILLS,
                Box(0.0, horizon - dice.between(0.05, 0.1), 1.0, horizon + 0.02),
            )
        )
    water = []
    if Element.RIVER in elements:
        water = [_river(dice, plan, taken)]
    elif Element.LAKE in elements:
        water = [_lake(dice, plan)]
    elif Element.SEA in elements:
        water = [_sea(dice, plan)]
    if Element.BOAT in elements:
        water.append(_boat(dice, water[0]))
    props += [*water[:1], *_on_ground(dice, plan, water, taken), *water[1:]]
    if Element.SNOW in elements:
        props.append(_prop(dice, Element.SNOW, Box(0.0, 0.0, 1.0, 1.0)))
    if holder is not None:
        props.append(holder)
    if not _visible(props):
        return None
    return Scene(Kind.LANDSCAPES, texts=texts, landscape=Landscape(plan.sky, tuple(props), horizon))
