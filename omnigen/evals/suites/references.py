# SPDX-License-Identifier: Apache-2.0
"""True pictures of prompts: what a perfect model would draw, for the tokenizer's ceiling."""

from collections.abc import Mapping, Sequence
from typing import Any

from omnigen.dice import Dice
from omnigen.scenes import palette, placement
from omnigen.scenes.compose import GAP, RADII
from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.placement import Circle
from omnigen.scenes.scene import Background, Color, Fill, Kind, Object, Scene, Shape, Size

_DOMINANCE = 2.0  # a relation's offset along its direction, in those across it


def shapes(metadata: Mapping[str, Any]) -> Scene:
    """Composes what GenEval's metadata asks for, and nothing else; the same one every time."""
    dice = Dice("truth", metadata["prompt"])
    wanted = [one for one in metadata["include"] for _ in range(one["count"])]
    size = Size.MEDIUM if len(wanted) <= 4 else Size.SMALL
    while True:
        background = Background(Fill.PLAIN, dice.pick(tuple(palette.CALM)))
        allowed = palette.object_colors(background)
        colors = [Color(one["color"]) if "color" in one else dice.pick(allowed) for one in wanted]
        circles = placement.scatter(dice, [dice.between(*RADII[size]) for _ in wanted], gap=GAP)
        if circles is None or not set(colors) <= set(allowed):
            continue
        if not all(_placed(one, i, circles) for i, one in enumerate(wanted)):
            continue
        things = zip(wanted, colors, circles, strict=True)
        objects = tuple(
            Object(Shape(one["class"]), color, size, circle.x, circle.y, circle.radius)
            for one, color, circle in things
        )
        return Scene(Kind.SHAPES, background, objects)


def _placed(wanted: Mapping[str, Any], index: int, circles: list[Circle]) -> bool:
    """Returns whether a thing lies as it should; relations are only asked of single things."""
    if "position" not in wanted:
        return True
    relation, other = wanted["position"]
    dx = circles[index].x - circles[other].x
    dy = circles[index].y - circles[other].y
    along, across = (dx, dy) if relation in ("left of", "right of") else (dy, dx)
    apart = circles[index].radius + circles[other].radius
    sign = -1 if relation in ("left of", "above") else 1
    return sign * along >= max(_DOMINANCE * abs(across), apart)


def words(lines: Sequence[Sequence[str]], *, seed: str, tries: int = 1000) -> Scene | None:
    """Composes lines of words in a font that training never holds; None if they do not fit."""
    dice = Dice("truth", seed)
    fonts = tuple(name for name, family in FAMILIES.items() if family.held_out)
    for _ in range(tries):
        background = Background(Fill.PLAIN, dice.pick(tuple(palette.CALM)))
        font, ink = dice.pick(fonts), dice.pick(palette.ink_colors(background))
        cap, room = dice.between(*placement.CAPS[0]), 1 - 2 * placement.MARGIN
        texts = [
            placement.line(tuple(one), color=ink, font=font, cap=cap, room=room) for one in lines
        ]
        fitting = [text for text in texts if text is not None]
        placed = placement.stack(dice, fitting) if len(fitting) == len(lines) else ()
        if len(placed) == len(lines):
            return Scene(Kind.WORDS, background, texts=placed)
    return None
