# SPDX-License-Identifier: Apache-2.0
"""The prompts of the suite `exact`: GenEval's six tasks, told of shapes in ten colours.

Beyond them go counts and scenes of up to twenty objects. All are a function of nothing, so every
system is asked the same. Where colours are asked for, some are compositions that training pictures
never hold (`held_out`); GenEval's own template, "a photo of", is one that training captions never
have (`template_held_out`).
"""

import functools
import itertools
import random
from collections.abc import Iterator
from typing import Any

from omnigen.dice import Dice
from omnigen.evals.judges.geneval import RELATIONS
from omnigen.scenes import splits
from omnigen.scenes.grammar import NUMBERS, article, plural
from omnigen.scenes.scene import Color, Shape

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
CURVE = {  # counts beyond GenEval's 2 to 4
    "counting_5_8": (5, 6, 7, 8),
    "counting_9_12": (9, 10, 11, 12),
    "counting_13_16": (13, 14, 15, 16),
    "counting_17_20": (17, 18, 19, 20),
}
CROWDS = (3, 5, 8, 10, 12, 15, 18, 20)  # objects of the tasks `scene_K`, all named

_SEED = 2310_11513
_UNSEEN_TEMPLATE = "a photo of {}"
_TEMPLATES = ("{}", "a picture of {}", _UNSEEN_TEMPLATE)
_A_CROWD = 24  # prompts of each
_KINDS = 8  # coloured shapes at most in a crowd, so that its prompt is no longer than those trained

Metadata = dict[str, Any]


def _pick(dice: random.Random, values: list[Any], count: int) -> list[Any]:
    """Picks values in a random order, each at most once, as every Python draws them alike."""
    return [value for _, value in sorted((dice.random(), i) for i in range(len(values)))][:count]


def _one(shape: str, color: str | None = None) -> Metadata:
    wanted: Metadata = {"class": shape, "count": 1}
    return wanted if color is None else {**wanted, "color": color}


def _simple() -> Iterator[tuple[str, str, list[Metadata]]]:
    """Yields tag, what to draw and `include` of tasks with one object or two without colours."""
    shapes = [str(shape) for shape in Shape]
    pairs = list(itertools.permutations(shapes, 2))
    for shape in shapes:
        yield "single_object", article(shape), [_one(shape)]
    for a, b in pairs:
        yield "two_object", f"{article(a)} and {article(b)}", [_one(a), _one(b)]
    for relation, (a, b) in itertools.product(RELATIONS, pairs):
        placed = {**_one(a), "position": [relation, 0]}
        yield "position", f"{article(a)} {relation} {article(b)}", [_one(b), placed]


def _counting() -> Iterator[tuple[str, str, list[Metadata]]]:
    bins = {"counting": (2, 3, 4), **CURVE}
    for tag, numbers in bins.items():
        for number in numbers:
            for shape in Shape:
                things = f"{NUMBERS[number]} {plural(shape)}"
                yield tag, things, [{"class": str(shape), "count": number}]


def _colored() -> Iterator[tuple[str, str, list[Metadata], bool]]:
    """Yields the same for tasks with colours, and whether the composition is held out."""
    table, index = splits.tables(), splits.index
    for color, shape in itertools.product(Color, Shape):
        held = table.single[index(color, shape)]
        yield "colors", article(f"{color} {shape}"), [_one(str(shape), str(color))], held
    for (color, a), (other, b) in itertools.permutations(itertools.product(Color, Shape), 2):
        if color != other and a != b:
            kinds = index(color, a), index(other, b)
            held = table.pair[kinds[0]][kinds[1]] or any(table.single[kind] for kind in kinds)
            things = f"{article(f'{color} {a}')} and {article(f'{other} {b}')}"
            yield "color_attr", things, [_one(str(a), str(color)), _one(str(b), str(other))], held


@functools.cache
def prompts() -> tuple[Metadata, ...]:
    """Returns GenEval's metadata of every prompt.

    They are `tag`, `include`, `exclude`, `prompt` and `held_out`.
    """
    dice = random.Random(_SEED)
    things = [(*thing, False) for thing in itertools.chain(_simple(), _counting())]
    candidates: list[Metadata] = []
    for tag, what, include, held in itertools.chain(things, _colored()):
        for template in _TEMPLATES if tag in ("single_object", "counting") else (None,):
            template = template or _TEMPLATES[int(dice.random() * len(_TEMPLATES))]
            exclude = []
            if tag.startswith("counting"):
                exclude = [{"class": include[0]["class"], "count": include[0]["count"] + 1}]
            prompt = template.format(what)
            metadata = {"tag": tag, "include": include, "exclude": exclude, "prompt": prompt}
            unseen = template == _UNSEEN_TEMPLATE
            candidates.append({**metadata, "held_out": held, "template_held_out": unseen})
    chosen: list[Metadata] = []
    for tag in (*TASKS, *CURVE):
        mine = [c for c in candidates if c["tag"] == tag]
        if tag == "color_attr":  # half and half
            groups = [[c for c in mine if c["held_out"] == held] for held in (False, True)]
            for group in groups:
                chosen.extend(group[i] for i in _pick(dice, group, 50))
        else:
            chosen.extend(mine[i] for i in sorted(_pick(dice, mine, 100)))
    crowds = (_crowd(size, number) for size in CROWDS for number in range(_A_CROWD))
    return (*chosen, *crowds)


def _crowd(size: int, number: int) -> Metadata:
    """Returns a scene of so many objects; of every two prompts, one has held-out ones."""
    dice, held_out = Dice("crowd", size, number), number % 2 == 1
    table, kinds = splits.tables(), []
    while not kinds or held_out != (
        any(table.single[kind] for kind in kinds)
        or any(table.pair[a][b] for a, b in itertools.combinations(kinds, 2))
    ):
        kinds = []
        while len(kinds) < min(size, _KINDS):
            kind = dice.integer(0, len(splits.KINDS) - 1)
            kinds += [kind] if kind not in kinds else []
    counts = [1] * len(kinds)
    for _ in range(size - len(kinds)):
        counts[dice.integer(0, len(kinds) - 1)] += 1
    include, phrases = [], []
    for kind, count in zip(kinds, counts, strict=True):
        color, shape = (str(part) for part in splits.KINDS[kind])
        include.append({"class": shape, "count": count, "color": color})
        noun = f"{color} {shape}"
        phrases.append(f"{NUMBERS[count]} {plural(noun)}" if count > 1 else article(noun))
    template = _TEMPLATES[number // 2 % len(_TEMPLATES)]
    return {
        "tag": f"scene_{size}",
        "include": include,
        "exclude": [],
        "prompt": template.format(f"{', '.join(phrases[:-1])} and {phrases[-1]}"),
        "held_out": held_out,
        "template_held_out": template == _UNSEEN_TEMPLATE,
    }
