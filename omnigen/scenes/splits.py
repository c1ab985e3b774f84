# SPDX-License-Identifier: Apache-2.0
"""Which compositions belong to the test split.

A scene is made of atoms. Each atom is held out or not, decided by a hash of its text alone:

- a colour with a shape ("red circle"): exactly `SINGLES` of the eighty are held out;
- two objects in no order ("blue star + red circle"), over every two of the scene: a share of
  `PAIRS`;
- two objects and how they lie ("red circle left of blue star", or "above"), over every two of
  the scene: a share of `RELATIONS`;
- a word, case and punctuation ignored: a share of `WORDS` of those with four characters or more;
- a font family: those that `fonts.FAMILIES` says;
- a landscape's sky and set of elements: a share of `LANDSCAPES`.

A test scene has at least one held-out atom and a train scene has none: what is tested was never
seen. Short words are never held out: there are few of them and no phrase goes without. Composing
draws a train scene's objects one by one against `Tables`, so scenes of twenty objects stay cheap.
"""

import dataclasses
import functools
import hashlib
import itertools

from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.scene import Color, Landscape, Object, Scene, Shape

SINGLES = 4
PAIRS = 0.05
RELATIONS = 0.02
WORDS = 0.05
LONG = 4
"""Words with fewer characters are never held out."""
LANDSCAPES = 0.1
KINDS: tuple[tuple[Color, Shape], ...] = tuple(itertools.product(Color, Shape))
"""The eighty coloured shapes; a kind's index is its place here."""

_INDEX = {kind: index for index, kind in enumerate(KINDS)}


def _fraction(atom: str) -> float:
    return int.from_bytes(hashlib.blake2b(atom.encode(), digest_size=4).digest(), "big") / 2**32


@dataclasses.dataclass(frozen=True)
class Tables:
    """Which of the eighty coloured shapes, by index, are held out, alone and by two.

    `left[a][b]` is about a left of b, `above[a][b]` about a above b, `pair` is symmetric.
    """

    single: tuple[bool, ...]
    pair: tuple[tuple[bool, ...], ...]
    left: tuple[tuple[bool, ...], ...]
    above: tuple[tuple[bool, ...], ...]


@functools.cache
def tables() -> Tables:
    """Returns the tables of held-out coloured shapes, hashed once a process."""
    names = [f"{color} {shape}" for color, shape in KINDS]
    # The salt is one whose four have four colours and four shapes.
    lowest = sorted(names, key=lambda name: _fraction(f"object44:{name}"))[:SINGLES]

    def grid(relation: str, share: float) -> tuple[tuple[bool, ...], ...]:
        return tuple(
            tuple(a != b and _fraction(f"{relation}:{a}:{b}") < share for b in names) for a in names
        )

    half = grid("pair", PAIRS)
    size = range(len(names))
    pair = tuple(tuple(half[min(a, b)][max(a, b)] for b in size) for a in size)
    return Tables(
        tuple(name in lowest for name in names),
        pair,
        grid("left", RELATIONS),
        grid("above", RELATIONS),
    )


def index(color: Color, shape: Shape) -> int:
    """Returns the place of a coloured shape in `KINDS`."""
    return _INDEX[color, shape]


def pair_held_out(
    kind: int, x: float, y: float, other: int, other_x: float, other_y: float
) -> bool:
    """Returns whether two coloured shapes at these places make a held-out pair or relation."""
    table = tables()
    if table.pair[kind][other]:
        return True
    if x != other_x and (table.left[kind][other] if x < other_x else table.left[other][kind]):
        return True
    return y != other_y and (table.above[kind][other] if y < other_y else table.above[other][kind])


def normal(word: str) -> str:
    """Returns a word in the form that is hashed: lower case, letters and digits alone."""
    return "".join(filter(str.isalnum, word.casefold()))


def word_held_out(word: str) -> bool:
    """Returns whether a word is of the test split."""
    bare = normal(word)
    return len(bare) >= LONG and _fraction(f"word:{bare}") < WORDS


def landscape_held_out(landscape: Landscape) -> bool:
    """Returns whether a sky with this set of elements is of the test split."""
    elements = sorted({str(prop.element) for prop in landscape.props})
    return _fraction(f"landscape:{landscape.sky}:{','.join(elements)}") < LANDSCAPES


def _objects_held_out(objects: tuple[Object, ...]) -> bool:
    single = tables().single
    placed = [(index(o.color, o.shape), o.x, o.y) for o in objects]
    return any(single[kind] for kind, _, _ in placed) or any(
        pair_held_out(*first, *second) for first, second in itertools.combinations(placed, 2)
    )


def is_held_out(scene: Scene) -> bool:
    """Returns whether a scene is of the test split, that is, has a held-out atom."""
    if scene.landscape is not None and landscape_held_out(scene.landscape):
        return True
    for text in scene.texts:
        if FAMILIES[text.font].held_out or any(word_held_out(word) for word in text.words):
            return True
    return _objects_held_out(scene.objects)
