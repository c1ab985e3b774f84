# SPDX-License-Identifier: Apache-2.0
"""The procedural world as a source: scenes that are drawn, none of which ever comes twice.

Of the modules that make batches, this one alone knows `omnigen.scenes`.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from omnigen import extras
from omnigen.data.corpus.latents import Encoding
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.split import Split
from omnigen.data.stream.source import MOST_SKETCH_BYTES, Candidate, Captioned, Source, Turn
from omnigen.dice import Dice
from omnigen.scenes.caption import caption, in_grammar, is_colored
from omnigen.scenes.compose import Variety, compose
from omnigen.scenes.mentioned import in_order
from omnigen.scenes.scene import Kind, Scene
from omnigen.scenes.sketch import sketch

if TYPE_CHECKING:
    from omnigen.data.stream.examples import DataConfig

EVERY: Mapping[str, float] = {kind: 1.0 for kind in Kind}
"""The mixture of all kinds of scenes, each as often as the others."""


@dataclasses.dataclass(frozen=True)
class Example(Captioned):
    """A caption and its picture, with the scene that both were made from."""

    scene: Scene


class World(Source):
    """Draws scenes of the kinds of the mixture, with captions and sketches."""

    NAMES = ", ".join(repr(kind.value) for kind in Kind)
    name = "scenes"

    def __init__(self, weights: Mapping[str, float], config: "DataConfig") -> None:
        """Takes the kinds of scenes with their weights."""
        self._config = dataclasses.replace(config, mixture=weights)
        self._weight = sum(weights.values())

    @classmethod
    def takes(cls, name: str) -> bool:
        """Returns whether a name is a kind of scene."""
        return name in list(Kind)

    @classmethod
    def open(
        cls, weights: Mapping[str, float], config: "DataConfig", encoding: Encoding | None = None
    ) -> Sequence[Self]:
        """Opens one source for all kinds of scenes."""
        return [cls(weights, config)]

    @classmethod
    def check(cls, config: "DataConfig") -> None:
        """Refuses sizes among which no square is, and latents, which scenes do not have."""
        if config.latents:
            raise ValueError("latents is True; allowed: only with corpora alone")
        if not any(size.height == size.width for size in config.sizes):
            raise ValueError(
                f"buckets is {config.buckets!r}; allowed: with a square, as scenes are"
            )

    @classmethod
    def check_extras(cls, config: "DataConfig") -> None:
        """Checks that skia is installed, which draws scenes."""
        kinds = ", ".join(weights_of(config))
        extras.load("skia", "scenes", f"data.mixture draws scenes ({kinds}), which")

    def content(self) -> str:
        """Returns nothing, since no files are read."""
        return ""

    def has_held_out(self) -> bool:
        """Returns True: some compositions are always held out."""
        return True

    def weights(self) -> Sequence[float]:
        """Returns the weight of scenes, shared evenly by the square buckets."""
        squares = [size.height == size.width for size in self._config.sizes]
        return [self._weight / sum(squares) if is_square else 0.0 for is_square in squares]

    def picture(self, turn: Turn) -> np.ndarray:
        """Returns the picture of an example, uint8 `[S, S, 3]`."""
        return self._render(scene_at(self._config, turn.index), self._config.sizes[turn.bucket])

    def candidate(self, turn: Turn) -> Candidate:
        """Returns an example with its caption, for packing."""
        config, index = self._config, turn.index
        scene = scene_at(config, index)
        words = caption_at(config, index, scene=scene)
        sketched = sketch_at(config, index, scene=scene, words=words) if words else ""
        draw = functools.partial(self._render, scene, config.sizes[turn.bucket])
        return Candidate(words, sketched, draw)

    def previews(self, count: int) -> Sequence[Captioned]:
        """Returns held-out examples of every kind of scene, `count` of each."""
        return [e for kind in Kind for e in eval_examples(self._config, kind, count=count, start=0)]

    def _render(self, scene: Scene, size: Size) -> np.ndarray:
        from omnigen.scenes.render import render

        return render(scene, size.height)


def weights_of(config: "DataConfig") -> dict[str, float]:
    """Returns the kinds of scenes in a mixture whose weight is not 0, with their weights."""
    return {name: w for name, w in config.mixture.items() if w and World.takes(name)}


def scene_at(config: "DataConfig", index: int) -> Scene:
    """Returns the scene of an example; its kind is drawn from those of the mixture."""
    kind = Kind(Dice("kind", config.seed, index).weigh(weights_of(config)))
    if config.split == Split.TEST:
        return compose(_seed(config, index), kind, held_out=True)
    variety = Variety(related=config.related, vivid=config.vivid, marked=config.marked)
    return compose(_seed(config, index), kind, held_out=False, variety=variety)


def caption_at(config: "DataConfig", index: int, *, scene: Scene) -> str:
    """Returns the caption of an example, or nothing if it is dropped."""
    if Dice("dropout", config.seed, index).chance(config.caption_dropout):
        return ""
    seed = _seed(config, index)
    return caption(
        scene,
        seed,
        config.max_caption_bytes,
        uncolored=config.uncolored,
        foreign=config.foreign,
    )


def sketch_at(config: "DataConfig", index: int, *, scene: Scene, words: str) -> str:
    """Returns the sketch that goes with a caption, or nothing if it has none or is too long."""
    if not config.sketches:
        return ""
    colored = is_colored(scene, _seed(config, index), config.uncolored)
    written = sketch(in_order(scene, words, colored=colored), colored=colored)
    return written if len(written.encode()) <= MOST_SKETCH_BYTES else ""


def eval_examples(config: "DataConfig", kind: Kind, *, count: int, start: int) -> list[Example]:
    """Returns held-out examples, the same ones whatever was trained on.

    Args:
        config: Settings of the picture's size and the caption's limit; its split and seed do not
            matter.
        kind: Family of scenes.
        count: Number of examples.
        start: Number of the first; examples of other numbers are other ones.

    Returns:
        Examples number `start` to `start + count - 1` of the test split.
    """
    from omnigen.scenes.render import render

    examples = []
    for seed in range(start, start + count):
        scene = compose(seed, kind, held_out=True)
        words = in_grammar(scene, seed, config.max_caption_bytes)
        examples.append(Example(words, render(scene, config.image_size), scene))
    return examples


def _seed(config: "DataConfig", index: int) -> int:
    return (config.seed << 64) + index
