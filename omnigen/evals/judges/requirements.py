# SPDX-License-Identifier: Apache-2.0
"""What a prompt requires, compared with what is there: in a sketch, or in a picture.

GenEval's metadata, and more of its kind:

    include      what must be there: `class`, `count`, and `color`, `size`, `place` where told.
                 There are exactly `count` of these, or more where `least` is true. The class
                 "shape" is any of the eight.
    relations    [name, one, other, ...]: how things of `include` lie, by their places in the list
    exclude      what must not be there: `class` (or "text", or "anything else") and `color`
    text         words to be written: `string`, and their `color` where told
    background   name of the canvas's colour, or "gradient of white and mint"
    sky          clear, sunset, night or overcast

Every requirement is an atom, which is met or not. A requirement that a judge cannot see is left
out of what it judges.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omnigen.evals.judges import geneval

VERSION = "1"
SHAPES = "circle square triangle star diamond cross heart ring".split()
ANYTHING, TEXT, SHAPE = "anything else", "text", "shape"
UNTOLD = ("hills", "birds")
"""What may stand in any landscape, even under the strict reading."""

SMALL, LARGE = 0.172, 0.266
"""The longest side of what is small and the shortest of what is large."""
NEAR = 0.25
"""The widest gap between things that are next to each other."""
_SLACK = 0.05  # by which what is inside may reach out
_THIRDS = {"top": (0.0, 0.43), "left": (0.0, 0.43), "center": (0.34, 0.66)} | dict.fromkeys(
    ("bottom", "right"), (0.57, 1.0)
)


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object, element of a landscape, or drawing; lengths are fractions of the canvas's side.

    Attributes:
        name: Name of what it is.
        color: Name of its colour, "" if it has none.
        box: Left, top, right and bottom.
        side: Diameter or longer side.
    """

    name: str
    color: str
    box: tuple[float, float, float, float]
    side: float

    @property
    def center(self) -> tuple[float, float]:
        """The middle of its box."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of words as it is written, and the colour of its letters, "" if unknown."""

    text: str
    color: str = ""


@dataclasses.dataclass(frozen=True)
class View:
    """What a judge sees.

    Attributes:
        things: Objects, elements of a landscape and drawings.
        lines: Lines of words.
        background: Name of the canvas, "" if there is none.
        sky: Name of the sky, "" if there is none.
        blind: What the judge cannot see: names of things, "colors", "text", "inks", "background"
            or "sky".
    """

    things: tuple[Thing, ...] = ()
    lines: tuple[Line, ...] = ()
    background: str = ""
    sky: str = ""
    blind: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether all atoms are met, and whether there is nothing that was not asked for."""

    correct: bool
    strict: bool
    atoms: tuple[dict[str, Any], ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is not as it should be."""
        return tuple(f"not so: {atom['what']}" for atom in self.atoms if not atom["met"])


def judge(metadata: Mapping[str, Any], view: View) -> Verdict:
    """Compares what is there with what a prompt requires."""
    wanted = metadata.get("include", ())
    taken = [[thing for thing in view.things if _is(thing, one)] for one in wanted]
    atoms = [
        atom
        for one, mine in zip(wanted, taken, strict=True)
        if one["class"] not in view.blind
        for atom in _included(one, mine)
    ]
    for name, *places in metadata.get("relations", ()):
        if not view.blind & {wanted[place]["class"] for place in places}:
            groups = [taken[place] for place in places]
            names = " and ".join(_named(wanted[place]) for place in places[1:])
            what = f"{_named(wanted[places[0]])} {name} {names}".strip()
            atoms.append(_atom(what, all(groups) and _RELATIONS[name](groups)))
    asked = {id(thing) for mine in taken for thing in mine}
    others = [thing for thing in view.things if id(thing) not in asked]
    atoms += _excluded(metadata, view, others)
    atoms += _surroundings(metadata, view)
    if TEXT not in view.blind:
        atoms += _texts(metadata.get("text", ()), view)
    extra = [thing for thing in others if thing.name not in UNTOLD]
    unasked = not metadata.get("text") and view.lines
    correct = all(atom["met"] for atom in atoms)
    return Verdict(correct, correct and not extra and not unasked, tuple(atoms))


def _atom(what: str, met: bool, *, wanted: int = 1, found: int | None = None) -> dict[str, Any]:
    found = int(bool(met)) if found is None else found
    return {"what": what, "wanted": wanted, "found": found, "met": bool(met)}


def _named(one: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (one.get("color"), one["class"])))


def _is(thing: Thing, one: Mapping[str, Any]) -> bool:
    """Returns whether a thing is of the class and colour of a requirement."""
    if one.get("color") not in (None, thing.color):
        return False
    name, wanted = thing.name.casefold(), one["class"]
    # A board is written with its colour, as "white sign".
    return name == wanted or (
        name in SHAPES if wanted == SHAPE else wanted == "sign" and name.endswith(" sign")
    )


def _included(one: Mapping[str, Any], mine: Sequence[Thing]) -> Iterator[dict[str, Any]]:
    count, name = one["count"], _named(one)
    enough = len(mine) >= count if one.get("least") else len(mine) == count
    yield _atom(f"{count} {name}", enough, wanted=count, found=len(mine))
    if size := one.get("size"):
        fits = [t.side <= SMALL if size == "small" else t.side >= LARGE for t in mine]
        yield _atom(f"{size} {name}", bool(mine) and all(fits))
    if place := one.get("place"):
        yield _atom(f"{name} at the {place}", bool(mine) and all(_in(t, place) for t in mine))


def _in(thing: Thing, place: str) -> bool:
    x, y = thing.center
    if place == "center":
        return all(_within(value, "center") for value in (x, y))
    return all(_within(y if word in ("top", "bottom") else x, word) for word in place.split())


def _within(value: float, word: str) -> bool:
    low, high = _THIRDS[word]
    return low <= value <= high


def _excluded(
    metadata: Mapping[str, Any], view: View, others: Sequence[Thing]
) -> Iterator[dict[str, Any]]:
    for one in metadata.get("exclude", ()):
        name = one["class"]
        if name in view.blind:
            continue
        if name == TEXT:
            found: Sequence[Any] = view.lines
        elif name == ANYTHING:
            unasked = () if metadata.get("text") else view.lines
            found = [*(thing for thing in others if thing.name not in UNTOLD), *unasked]
        else:
            found = [thing for thing in view.things if _is(thing, one)]
        yield _atom(f"no {_named(one)}", not found, wanted=0, found=len(found))


def _surroundings(metadata: Mapping[str, Any], view: View) -> Iterator[dict[str, Any]]:
    wanted = metadata.get("background")
    if wanted and "background" not in view.blind:
        yield _atom(f"{wanted} background", view.background in (wanted, f"textured {wanted}"))
    sky = metadata.get("sky")
    if sky and "sky" not in view.blind:
        yield _atom(f"{sky} sky", view.sky == sky)


def _texts(wanted: Sequence[Mapping[str, Any]], view: View) -> Iterator[dict[str, Any]]:
    """Yields an atom a word, one for the whole, and one for each colour of letters."""
    if not wanted:
        return
    lines = [line.text.split() for line in view.lines]
    rest = list(itertools.chain(*lines))
    for word in itertools.chain(*(one["string"].split() for one in wanted)):
        yield {**_atom(word, word in rest), "is_word": True}
        if word in rest:
            rest.remove(word)
    whole = [[word for one in order for word in one["string"].split()] for order in _orders(wanted)]
    strings = " and ".join(f'"{one["string"]}"' for one in wanted)
    yield _atom(f"{strings} and no other words", list(itertools.chain(*lines)) in whole)
    if "inks" in view.blind:
        return
    for one in wanted:
        if color := one.get("color"):
            own = set(one["string"].split())
            inks = {line.color for line in view.lines if own & set(line.text.split())}
            yield _atom(f'{color} "{one["string"]}"', inks == {color})


def _orders(wanted: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], ...]]:
    return itertools.permutations(wanted)


def _every(name: str, groups: Sequence[Sequence[Thing]]) -> bool:
    """Returns whether each of the first group stands so to each of the others; by GenEval."""
    one, *others = groups
    return all(
        name in geneval.relations(a, b) for a in one for b in itertools.chain(*others) if a is not b
    )


def _gap(one: Thing, other: Thing) -> float:
    """Returns the distance between two boxes, 0 if they touch."""
    apart = [max(one.box[k] - other.box[k + 2], other.box[k] - one.box[k + 2], 0.0) for k in (0, 1)]
    return math.hypot(*apart)


def _next_to(groups: Sequence[Sequence[Thing]]) -> bool:
    one, other = groups
    return all(min(_gap(a, b) for b in other) <= NEAR and not _held(a, other) for a in one)


def _held(one: Thing, others: Sequence[Thing]) -> bool:
    return any(_inside([[one], [other]]) or _inside([[other], [one]]) for other in others)


def _inside(groups: Sequence[Sequence[Thing]]) -> bool:
    one, other = groups
    return all(
        any(
            a.side < b.side
            and all(a.box[k] >= b.box[k] - _SLACK for k in (0, 1))
            and all(a.box[k] <= b.box[k] + _SLACK for k in (2, 3))
            for b in other
        )
        for a in one
    )


def _around(groups: Sequence[Sequence[Thing]]) -> bool:
    one, other = groups
    return _inside([other, one])


def _between(groups: Sequence[Sequence[Thing]]) -> bool:
    """Returns whether each is seen from the first group and the last as in the middle.

    From it, the two lie in directions at least 120 degrees apart.
    """
    one, *ends = groups
    first, last = (ends[0], ends[1]) if len(ends) == 2 else (ends[0][:1], ends[0][1:])
    return all(_angle(a, b, c) <= -0.5 for a in one for b in first for c in last)


def _angle(one: Thing, first: Thing, last: Thing) -> float:
    """Returns the cosine of the angle at which a thing sees two others."""
    (x, y), ways = one.center, [end.center for end in (first, last)]
    (ax, ay), (bx, by) = ((end_x - x, end_y - y) for end_x, end_y in ways)
    return (ax * bx + ay * by) / max(math.hypot(ax, ay) * math.hypot(bx, by), 1e-9)


def _row(groups: Sequence[Sequence[Thing]], *, along: int = 0) -> bool:
    """Returns whether all things stand side by side at one height, or below each other."""
    things = sorted(itertools.chain(*groups), key=lambda thing: thing.center[along])
    across = [thing.center[1 - along] for thing in things]
    steps = [b.center[along] - a.center[along] for a, b in itertools.pairwise(things)]
    side = max(thing.side for thing in things)
    return max(across) - min(across) <= max(0.5 * side, 0.06) and min(steps) > 0.25 * side


_RELATIONS = {
    **{name: functools.partial(_every, name) for name in geneval.RELATIONS},
    "next to": _next_to,
    "inside": _inside,
    "around": _around,
    "between": _between,
    "in a row": _row,
    "in a column": functools.partial(_row, along=1),
}
