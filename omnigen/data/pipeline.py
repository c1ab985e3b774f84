# SPDX-License-Identifier: Apache-2.0
"""Batches of scenes: pictures alone, or packed rows of captions and pictures.

Every example has an index and is made from it alone: index -> kind -> scene -> caption, picture.
Training never repeats one. A batch is in turn a function of its number, so that any batch can be
made by any process at any time (see `stream`).

Packing keeps that. Consecutive rows form windows of `WINDOW_ROWS`, and consecutive examples form
windows of as many as these rows could hold at most; a window's rows pack the first of its examples
that fit (see `packing`) and skip the others, which nobody misses in an endless stream. A packer
that carries open rows from batch to batch would fill a few percent more, but only by going through
all examples in order, in one process. What fits depends on captions, not on pictures, so finding
out is cheap.
"""

import dataclasses
import enum
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from omnigen import sequence
from omnigen.data.packing import Bins
from omnigen.data.scenes.caption import caption
from omnigen.data.scenes.compose import compose
from omnigen.data.scenes.dice import Dice
from omnigen.data.scenes.scene import Kind, Scene, Split
from omnigen.data.text import TextTokenizer
from omnigen.parallel import DataShard

if TYPE_CHECKING:
    from omnigen.data.stream import Batch, Batches

WINDOW_ROWS = 8
LEAST_CAPTION_BYTES = 128
"""The words of any scene, quoted, and what holds them fit in this."""


class Order(enum.StrEnum):
    """In which order the tokens of a picture are laid out."""

    RASTER = "raster"
    RANDOM = "random"


def _equal_weights() -> Mapping[Kind, float]:
    return dict.fromkeys(Kind, 1.0)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
        image_size: side of the pictures in pixels.
        mixture: how often each kind of scene comes, in proportion; kinds left out never come.
        max_caption_bytes: captions of crowded scenes become terser to stay within this.
        row_length: elements of a packed row.
        images_per_row: most examples in a row.
        seed: another seed gives other examples.
        split: which compositions may occur.
        workers: processes that make batches; 0 for threads, which suffice for small batches.
        caption_dropout: share of captions that are replaced by nothing, for guidance.
        order: of picture tokens; random is another order for each example.
    """

    image_size: int = 128
    mixture: Mapping[Kind, float] = dataclasses.field(default_factory=_equal_weights)
    max_caption_bytes: int = 240
    row_length: int = 640
    images_per_row: int = 4
    seed: int = 0
    split: Split = Split.TRAIN
    workers: int = 0
    caption_dropout: float = 0.1
    order: Order = Order.RASTER

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            ValueError: names the field, its value and what is allowed.
        """
        _require("image_size", self.image_size, self.image_size >= 1, "at least 1")
        _require(
            "max_caption_bytes",
            self.max_caption_bytes,
            self.max_caption_bytes >= LEAST_CAPTION_BYTES,
            f"at least {LEAST_CAPTION_BYTES}",
        )
        _require("row_length", self.row_length, self.row_length >= 1, "at least 1")
        _require("images_per_row", self.images_per_row, self.images_per_row >= 1, "at least 1")
        _require("seed", self.seed, self.seed >= 0, "at least 0")
        _require("split", self.split, self.split in list(Split), _names(Split))
        _require("workers", self.workers, self.workers >= 0, "at least 0")
        dropout = self.caption_dropout
        _require("caption_dropout", dropout, 0 <= dropout <= 1, "0 to 1")
        _require("order", self.order, self.order in list(Order), _names(Order))
        for kind in self.mixture:
            _require("mixture", kind, kind in list(Kind), _names(Kind))
        weights = list(self.mixture.values())
        good = all(math.isfinite(w) and w >= 0 for w in weights) and sum(weights) > 0
        _require("mixture", dict(self.mixture), good, "weights of at least 0 that are not all 0")


@dataclasses.dataclass(frozen=True)
class Example:
    """A scene, a caption of it, and the picture, uint8 `[S, S, 3]`."""

    scene: Scene
    caption: str
    image: np.ndarray


def images_dataset(config: DataConfig, batch_size: int, shard: DataShard) -> "Batches":
    """Pictures without captions.

    Args:
        config: what to draw.
        batch_size: pictures in a local batch.
        shard: which part of each global batch is made here.

    Returns:
        An endless stream of `{"image": uint8 [B, S, S, 3]}`.
    """
    from omnigen.data.stream import Batches

    _check_shard(batch_size, shard)
    return Batches(ImageBatches(config, batch_size, shard), workers=config.workers)


def sequence_dataset(
    config: DataConfig,
    text: TextTokenizer,
    token_grid: tuple[int, int],
    batch_size: int,
    shard: DataShard,
) -> "Batches":
    """Packed rows of captions, each followed by its picture.

    Args:
        config: what to draw and how to pack it.
        text: tokenizer of captions.
        token_grid: rows and columns of the tokens of a picture.
        batch_size: rows in a local batch.
        shard: which part of each global batch is made here.

    Returns:
        An endless stream of the fields of `Sequence`, `[B, row_length]`, and `image`, uint8
        `[B, images_per_row, S, S, 3]`, black where a row holds fewer. `slot` counts a row's tokens
        picture after picture.

    Raises:
        ValueError: if a row cannot hold the longest example.
    """
    from omnigen.data.stream import Batches

    _check_shard(batch_size, shard)
    rows = RowBatches(config, text, token_grid, batch_size, shard)
    longest = rows.length(config.max_caption_bytes)
    if longest > config.row_length:
        raise ValueError(
            f"row_length is {config.row_length}; allowed: at least {longest}, which a caption of "
            f"max_caption_bytes = {config.max_caption_bytes} and {token_grid} picture tokens need"
        )
    return Batches(rows, workers=config.workers)


def eval_examples(config: DataConfig, kind: Kind, *, count: int, start: int) -> list[Example]:
    """Held-out examples, the same ones whatever was trained on.

    Args:
        config: gives the picture's size and the caption's limit; its split and seed do not matter.
        kind: family of scenes.
        count: how many.
        start: number of the first; examples of other numbers are other ones.

    Returns:
        Examples number `start` to `start + count - 1` of the test split.
    """
    from omnigen.data.scenes.render import render

    examples = []
    for seed in range(start, start + count):
        scene = compose(seed, kind, Split.TEST)
        words = caption(scene, seed, config.max_caption_bytes)
        examples.append(Example(scene, words, render(scene, config.image_size)))
    return examples


def scene_at(config: DataConfig, index: int) -> Scene:
    """The scene of an example of the stream; its kind is drawn from the mixture."""
    kind = Dice("kind", config.seed, index).weigh(dict(config.mixture))
    return compose(_seed(config, index), Kind(kind), Split(config.split))


def caption_at(config: DataConfig, index: int, *, scene: Scene) -> str:
    """The caption of an example of the stream, or nothing if it is dropped."""
    if Dice("dropout", config.seed, index).chance(config.caption_dropout):
        return ""
    return caption(scene, _seed(config, index), config.max_caption_bytes)


@dataclasses.dataclass(frozen=True)
class ImageBatches:
    """Local batches of pictures by number."""

    config: DataConfig
    batch_size: int
    shard: DataShard

    def __call__(self, number: int) -> "Batch":
        """Draws a batch."""
        from omnigen.data.scenes.render import render

        start = _start(number, self.batch_size, self.shard)
        size = self.config.image_size
        image = np.empty((self.batch_size, size, size, 3), np.uint8)
        for place in range(self.batch_size):
            image[place] = render(scene_at(self.config, start + place), size)
        return {"image": image}


@dataclasses.dataclass(frozen=True)
class _Packed:
    """An example that has its place in a row."""

    index: int
    scene: Scene
    ids: Sequence[int]


@dataclasses.dataclass(frozen=True)
class RowBatches:
    """Local batches of packed rows by number."""

    config: DataConfig
    text: TextTokenizer
    token_grid: tuple[int, int]
    batch_size: int
    shard: DataShard

    @property
    def specials(self) -> sequence.Specials:
        """Ids of the special tokens."""
        return sequence.Specials(self.text.vocab_size)

    def length(self, text_length: int) -> int:
        """Elements of an example whose caption has this many ids."""
        return text_length + len(self._sample(_Packed(0, Scene(Kind.SHAPES), ())).token)

    def __call__(self, number: int) -> "Batch":
        """Draws a batch."""
        start = _start(number, self.batch_size, self.shard)
        stop = start + self.batch_size
        rows: list[Batch] = []
        for window in range(start // WINDOW_ROWS, (stop - 1) // WINDOW_ROWS + 1):
            packed = self.window(window)
            first = window * WINDOW_ROWS
            wanted = packed[max(start - first, 0) : stop - first]
            rows += [self._row(examples) for examples in wanted]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def window(self, number: int) -> list[list[_Packed]]:
        """The examples in each row of a window."""
        bins = Bins(WINDOW_ROWS, self.config.row_length, self.config.images_per_row)
        base = self.length(0)
        first = number * bins.rows * bins.count
        examples: list[_Packed] = []

        def lengths():
            for index in itertools.count(first):
                scene = scene_at(self.config, index)
                ids = self.text.encode(caption_at(self.config, index, scene=scene))
                examples.append(_Packed(index, scene, ids))
                yield base + len(ids)

        return [[examples[i] for i in row] for row in bins.fill(lengths())]

    def _row(self, examples: Sequence[_Packed]) -> "Batch":
        from omnigen.data.scenes.render import render

        size = self.config.image_size
        image = np.zeros((self.config.images_per_row, size, size, 3), np.uint8)
        for place, example in enumerate(examples):
            image[place] = render(example.scene, size)
        samples = [self._sample(example) for example in examples]
        row = sequence.pack(samples, self.config.row_length, self.specials.pad)
        return {**{name: np.asarray(v) for name, v in row.fields().items()}, "image": image}

    def _sample(self, example: _Packed) -> sequence.Sequence:
        rows, cols = self.token_grid
        order = None
        if self.config.order == Order.RANDOM:
            dice = Dice("order", self.config.seed, example.index)
            order = np.array(sorted(range(rows * cols), key=lambda _: dice.unit()))
        spans = [sequence.TextSpan(example.ids), sequence.ImageSpan(rows, cols, order=order)]
        return sequence.layout(spans, self.specials, self.text.encode)


def _seed(config: DataConfig, index: int) -> int:
    return (config.seed << 64) + index


def _start(number: int, batch_size: int, shard: DataShard) -> int:
    """The first of the items of a global batch that belong to a shard."""
    return (number * shard.count + shard.index) * batch_size


def _check_shard(batch_size: int, shard: DataShard) -> None:
    _require("batch_size", batch_size, batch_size >= 1, "at least 1")
    assert 0 <= shard.index < shard.count


def _require(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r}; allowed: {allowed}")


def _names(values: type[enum.StrEnum]) -> str:
    return ", ".join(repr(value.value) for value in values)
