# SPDX-License-Identifier: Apache-2.0
"""Drawings and composites that are read but never drawn: their names suffice.

It needs neither corpora nor the packages that corpora are built from, and none ever comes twice.
Some names are of things that nobody has drawn: a sketch has them as they are asked for.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from omnigen.data.corpora import arrangement, composites, description, drawings, recipes, subjects
from omnigen.data.corpora.arrangement import Composite, Pool
from omnigen.data.corpora.recipes import Art, Kind
from omnigen.data.corpora.subjects import Subject
from omnigen.data.corpus import meanings
from omnigen.data.corpus.split import Split
from omnigen.data.stream.source import MOST_SKETCH_BYTES, Candidate, Source, Turn
from omnigen.dice import Dice
from omnigen.scenes import words
from omnigen.wording.meaning import Meaning

if TYPE_CHECKING:
    from omnigen.data.stream.examples import DataConfig

ALONE = 0.4  # share of drawings that stand alone, as most of a corpus do
UNKNOWN = 0.15  # share of pictures with a name that no drawing has
INVENTED = 0.6  # share of these names that are no words at all
ICONS = 0.3  # how often styles of icons come, beside those of emoji with as many subjects


@dataclasses.dataclass(frozen=True)
class _Shown:
    """A picture: its sketch, all that captions may tell, and captions by its own grammar."""

    sketch: str
    meaning: Meaning
    captions: Sequence[str]


class Things(Source):
    """Makes captions and sketches of drawings, alone and in composites."""

    NAMES = "'things', 'things:STYLE' for a style of drawings"
    PICTURES = False
    name = "things"

    def __init__(self, weights: Mapping[str, float], config: "DataConfig") -> None:
        """Takes the names with their weights: `things` are of all styles, `things:STYLE` of one."""
        self._config, self._weight = config, sum(weights.values())
        self._styles = dict.fromkeys(_styles(config.split), 0.0)
        for name, weight in weights.items():
            asked = _styles(config.split, name.partition(":")[2])
            whole = sum(asked.values())
            for art, share in asked.items():
                self._styles[art] += weight * share / whole

    @classmethod
    def takes(cls, name: str) -> bool:
        """Returns whether a name is `things`, or `things:` with a style that has subjects."""
        kind, _, style = name.partition(":")
        return kind == cls.name and (name == cls.name or style in subjects.listed())

    def has_held_out(self) -> bool:
        """Returns True: some subjects are always held out."""
        return True

    def weights(self) -> Sequence[float]:
        """Returns the weight; sketches are of squares, whatever sizes pictures have."""
        return [self._weight]

    def candidate(self, turn: Turn) -> Candidate:
        """Returns a caption with its sketch."""
        config, attempt = self._config, 0
        while True:
            dice = Dice("things", config.seed, turn.index, attempt)
            art, attempt = dice.weigh(self._styles), attempt + 1
            shown = _shown(dice, art, config.split)
            if len(shown.sketch.encode()) > MOST_SKETCH_BYTES:
                continue
            said = meanings.worded(
                shown.meaning, shown.captions, dice, most=config.max_caption_bytes
            )
            return Candidate(said, shown.sketch, _undrawn)


def _undrawn() -> np.ndarray:
    raise AssertionError("things are read alone")


@functools.cache
def _pools(split: Split) -> dict[str, Pool]:
    """Returns the subjects of each style."""
    is_test = split == Split.TEST
    return {
        style: [("", subject) for subject in found if subject.is_held_out == is_test]
        for style, found in subjects.listed().items()
    }


@functools.cache
def _styles(split: Split, only: str = "") -> dict[Art, float]:
    """Returns the styles with their weights, or one of them alone."""
    pools = _pools(split)
    return {
        art: len(pools[art.style]) * (ICONS if art.kind == Kind.ICON else 1.0)
        for art in recipes.read().art
        if art.style in pools and only in ("", art.style)
    }


def _shown(dice: Dice, art: Art, split: Split) -> _Shown:
    pool = _pools(split)[art.style]
    stranger = _stranger(dice) if dice.chance(UNKNOWN) else None
    shown = _alone(dice, art, pool, stranger)
    if not dice.chance(ALONE):
        shown = _composed(dice, art, {split: pool}, stranger)
    other = dice.pick(pool)[1].name
    absent = (other,) if all(thing.noun != other for thing in shown.meaning.things) else ()
    if not shown.meaning.words:
        absent += ("text",)
    return dataclasses.replace(shown, meaning=dataclasses.replace(shown.meaning, absent=absent))


def _stranger(dice: Dice) -> Subject:
    """Returns something of which there is no drawing: a thing, or a word that is none."""
    if not dice.chance(INVENTED):
        return Subject(dice.pick(subjects.undrawn()))
    while len(name := words.pseudo(dice)) < 4 or not words.allowed(name, held_out=True):
        pass
    return Subject(name)


def _alone(dice: Dice, art: Art, pool: Pool, stranger: Subject | None) -> _Shown:
    subject = stranger or dice.pick(pool)[1]
    ink = dice.pick(list(drawings.INKS)) if art.is_mono else ""
    ground = "" if art.is_mono else dice.pick(("", *drawings.GROUNDS))
    style = art.style
    title = f"{ink} {subject.name}" if ink else subject.name
    return _Shown(
        drawings.write(title, ground, style=style),
        drawings.meaning(subject, ink, ground),
        subjects.captions(
            subject, style=style, medium=drawings.MEDIA[art.kind], color=ink, ground=ground
        ),
    )


def _composed(
    dice: Dice, art: Art, pools: Mapping[Split, Pool], stranger: Subject | None
) -> _Shown:
    every = {split: pools.get(split, ()) for split in Split}
    made = arrangement.arrange(dice, every, is_mono=art.is_mono)
    if stranger is not None:
        made = _with(made, stranger)
    ground = composites.choose_ground(dice, (), made)
    text = arrangement.letter(dice, made, ground)
    return _Shown(
        description.write(made, ground, text, style=art.style),
        description.meaning(made, ground, text),
        description.describe(dice, made, ground, text, style=art.style),
    )


def _with(made: Composite, stranger: Subject) -> Composite:
    """Returns a composite with a stranger in place of its first subject."""
    first = made.figures[0].subject
    figures = tuple(
        dataclasses.replace(one, subject=stranger) if one.subject == first else one
        for one in made.figures
    )
    return dataclasses.replace(made, figures=figures)
