# SPDX-License-Identifier: Apache-2.0
"""Batches of scenes and corpora: pictures alone, or packed rows of captions and pictures.

Every example has an index and is made from it alone: index -> kind -> scene -> caption, picture; or
index -> corpus -> record (see `mixing`). Training never repeats a scene. A batch is in turn a
function of its number, so that any batch can be made by any process at any time (see `stream`).

Packing keeps that. Consecutive rows form windows of `WINDOW_ROWS`, and consecutive examples form
windows of as many as these rows could hold at most; a window's rows pack the first of its examples
that fit (see `packing`) and skip the others, which nobody misses in an endless stream; of a corpus
it is others in every epoch. A packer that carries open rows from batch to batch would fill a few
percent more, but only by going through all examples in order, in one process. What fits depends on
captions, not on pictures, so finding out is cheap.
"""

import dataclasses
import enum
import functools
import hashlib
import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from omnigen import sequence
from omnigen.data import pictures
from omnigen.data.mixing import Mixture, Shuffled, shorten
from omnigen.data.packing import Bins
from omnigen.data.pictures import Crop
from omnigen.data.records import Corpus, Record, Rejected
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


def _equal_weights() -> Mapping[str, float]:
    return {kind: 1.0 for kind in Kind}


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
        image_size: side of the pictures in pixels.
        mixture: how often each kind of scene or corpus comes, in proportion; kinds left out never
            come. A corpus is the path of its folder, with a slash in it.
        max_caption_bytes: captions of crowded scenes become terser to stay within this, those of
            corpora are cut.
        row_length: elements of a packed row.
        images_per_row: most examples in a row.
        seed: another seed gives other examples.
        split: which compositions may occur.
        workers: processes that make batches; 0 for threads, which suffice for small batches.
        caption_dropout: share of captions that are replaced by nothing, for guidance.
        order: of picture tokens; random is another order for each example.
        crop: which square of a corpus's pictures is used.
        bad_limit: share of unreadable records of a corpus above which training stops.
    """

    image_size: int = 128
    mixture: Mapping[str, float] = dataclasses.field(default_factory=_equal_weights)
    max_caption_bytes: int = 240
    row_length: int = 640
    images_per_row: int = 4
    seed: int = 0
    split: Split = Split.TRAIN
    workers: int = 0
    caption_dropout: float = 0.1
    order: Order = Order.RASTER
    crop: Crop = Crop.CENTER
    bad_limit: float = 0.2

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
        _require("crop", self.crop, self.crop in list(Crop), _names(Crop))
        _require("bad_limit", self.bad_limit, 0 <= self.bad_limit <= 1, "0 to 1")
        for name in self.mixture:
            allowed = f"{_names(Kind)}, or a corpus's folder with a slash in its path"
            _require("mixture", name, name in list(Kind) or "/" in name, allowed)
        weights = list(self.mixture.values())
        good = all(math.isfinite(w) and w >= 0 for w in weights) and sum(weights) > 0
        _require("mixture", dict(self.mixture), good, "weights of at least 0 that are not all 0")

    @property
    def kinds(self) -> Mapping[str, float]:
        """The scenes of the mixture."""
        return {name: weight for name, weight in self.mixture.items() if name in list(Kind)}

    @property
    def corpora(self) -> Mapping[str, float]:
        """The folders of the mixture that are ever read."""
        items = self.mixture.items()
        return {name: weight for name, weight in items if name not in list(Kind) and weight > 0}


@dataclasses.dataclass(frozen=True)
class Captioned:
    """A caption and its picture, uint8 `[S, S, 3]`."""

    caption: str
    image: np.ndarray


@dataclasses.dataclass(frozen=True)
class Example(Captioned):
    """The same, and the scene that both were made from."""

    scene: Scene


def images_dataset(config: DataConfig, batch_size: int, shard: DataShard) -> "Batches":
    """Pictures without captions.

    Args:
        config: what to draw.
        batch_size: pictures in a local batch.
        shard: which part of each global batch is made here.

    Returns:
        An endless stream of `{"image": uint8 [B, S, S, 3]}`.

    Raises:
        ValueError: if a corpus is missing.
    """
    from omnigen.data.stream import Batches

    _check_shard(batch_size, shard)
    batches = ImageBatches(config, batch_size, shard)
    return Batches(batches, workers=config.workers, content=batches.examples.content)


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
        ValueError: if a row cannot hold the longest example, or a corpus is missing.
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
    return Batches(rows, workers=config.workers, content=rows.examples.content)


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
        examples.append(Example(words, render(scene, config.image_size), scene))
    return examples


def previews(config: DataConfig, *, count: int = 4) -> list[Captioned]:
    """What to look at in training: held-out examples of whatever is trained on.

    Args:
        config: gives the mixture.
        count: how many of each corpus, and of each kind of scene if there are scenes at all.

    Returns:
        The same ones every time; fewer of a corpus that holds fewer out.
    """
    kinds = Kind if config.kinds else ()
    found: list[Captioned] = []
    for kind in kinds:
        found += eval_examples(config, kind, count=count, start=0)
    for folder in config.corpora:
        corpus = Corpus(folder, Split.TEST)
        for index in range(min(count, len(corpus))):
            record = corpus[index * len(corpus) // count if len(corpus) > count else index]
            image = _fit(record, size=config.image_size, place=(0.5, 0.5))
            words = record.captions[0] if record.captions else ""
            found.append(Captioned(shorten(words, most=config.max_caption_bytes), image))
    return found


def scene_at(config: DataConfig, index: int) -> Scene:
    """The scene of an example of the stream; its kind is drawn from those of the mixture."""
    kind = Dice("kind", config.seed, index).weigh(dict(config.kinds))
    return compose(_seed(config, index), Kind(kind), Split(config.split))


def caption_at(config: DataConfig, index: int, *, scene: Scene) -> str:
    """The caption of an example of the stream, or nothing if it is dropped."""
    if Dice("dropout", config.seed, index).chance(config.caption_dropout):
        return ""
    return caption(scene, _seed(config, index), config.max_caption_bytes)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An example of the stream whose picture is still to be made.

    Attributes:
        caption: short enough for the data's settings.
        draw: makes the picture of a size, uint8 `[S, S, 3]`; may raise `Rejected`.
    """

    caption: str
    draw: Callable[[int], np.ndarray]


class Examples:
    """The examples of the stream by index, from scenes and corpora.

    Attributes:
        content: of the corpora, changes with every picture in them; empty if there are none.
    """

    def __init__(self, config: DataConfig) -> None:
        """Reads the manifests of the corpora.

        Raises:
            ValueError: a folder is no corpus, or nothing has pictures of the split.
        """
        self._config = config
        corpora = {folder: Corpus(folder, config.split) for folder in config.corpora}
        empty = [folder for folder, corpus in corpora.items() if not len(corpus)]
        if empty and (config.split == Split.TRAIN or len(empty) == len(config.mixture)):
            raise ValueError(f"mixture: {empty[0]!r} has no pictures of the split {config.split}")
        held_out = config.kinds or any(c.manifest.count(Split.TEST) for c in corpora.values())
        if not held_out:
            logging.getLogger(__name__).warning(
                "nothing in data.mixture is held out: prepare a corpus with --test_fraction, or "
                "set train.eval_every and train.sample_every to 0"
            )
        weights = [sum(config.kinds.values())]
        self._streams: list[Shuffled] = []
        for number, (folder, corpus) in enumerate(corpora.items()):
            if len(corpus):
                key = ("corpus", number, config.seed)
                self._streams.append(Shuffled(corpus, *key, bad_limit=config.bad_limit))
                weights.append(config.corpora[folder])
        self._mixture = Mixture(weights, seed=config.seed)
        digests = [corpus.manifest.digest for corpus in corpora.values()]
        self.content = hashlib.sha256("/".join(digests).encode()).hexdigest() if digests else ""

    def picture(self, index: int, size: int) -> np.ndarray:
        """The picture of an example, uint8 `[S, S, 3]`."""
        from omnigen.data.scenes.render import render

        source, ordinal = self._find(index)
        if not source:
            return render(scene_at(self._config, index), size)
        fit = functools.partial(_fit, size=size, place=self._place(index))
        return self._streams[source - 1].read(ordinal, fit)

    def candidate(self, index: int) -> Candidate:
        """An example with its caption, for packing."""
        from omnigen.data.scenes.render import render

        config = self._config
        source, ordinal = self._find(index)
        if not source:
            scene = scene_at(config, index)
            words = caption_at(config, index, scene=scene)
            return Candidate(words, functools.partial(render, scene))
        stream = self._streams[source - 1]
        record = stream.read(ordinal, lambda record: record)
        words = self._words(index, record.captions)

        def draw(size: int) -> np.ndarray:
            try:
                return _fit(record, size=size, place=self._place(index))
            except Rejected as rejected:
                stream.note(rejected)
                raise

        return Candidate(words, draw)

    def _find(self, index: int) -> tuple[int, int]:
        """The source, 0 for scenes, and how many examples it gave before."""
        return self._mixture.at(index) if self._streams else (0, index)

    def _words(self, index: int, captions: Sequence[str]) -> str:
        """One of the captions that fit, or as much as fits; nothing if it is dropped."""
        dice, most = Dice("words", self._config.seed, index), self._config.max_caption_bytes
        if dice.chance(self._config.caption_dropout) or not captions:
            return ""
        short = [words for words in captions if shorten(words, most=most) == words]
        return shorten(dice.pick(short or captions), most=most)

    def _place(self, index: int) -> tuple[float, float]:
        """Where the square of a picture lies."""
        if self._config.crop == Crop.CENTER:
            return (0.5, 0.5)
        dice = Dice("crop", self._config.seed, index)
        return (dice.unit(), dice.unit())


def _fit(record: Record, *, size: int, place: tuple[float, float]) -> np.ndarray:
    return pictures.fit(pictures.decode(record.image, side=size).image, size, place=place)


@dataclasses.dataclass(frozen=True)
class ImageBatches:
    """Local batches of pictures by number."""

    config: DataConfig
    batch_size: int
    shard: DataShard

    @functools.cached_property
    def examples(self) -> Examples:
        """Where pictures come from."""
        return Examples(self.config)

    def __call__(self, number: int) -> "Batch":
        """Draws a batch."""
        start = _start(number, self.batch_size, self.shard)
        size = self.config.image_size
        image = np.empty((self.batch_size, size, size, 3), np.uint8)
        for place in range(self.batch_size):
            image[place] = self.examples.picture(start + place, size)
        return {"image": image}


@dataclasses.dataclass(frozen=True)
class _Packed:
    """An example that has its place in a row."""

    index: int
    ids: Sequence[int]
    draw: Callable[[int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class RowBatches:
    """Local batches of packed rows by number."""

    config: DataConfig
    text: TextTokenizer
    token_grid: tuple[int, int]
    batch_size: int
    shard: DataShard

    @functools.cached_property
    def examples(self) -> Examples:
        """Where captions and pictures come from."""
        return Examples(self.config)

    @property
    def specials(self) -> sequence.Specials:
        """Ids of the special tokens."""
        return sequence.Specials(self.text.vocab_size)

    def length(self, text_length: int) -> int:
        """Elements of an example whose caption has this many ids."""
        return text_length + len(self._sample(0, ()).token)

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
                candidate = self.examples.candidate(index)
                ids = self.text.encode(candidate.caption)
                examples.append(_Packed(index, ids, candidate.draw))
                yield base + len(ids)

        return [[examples[i] for i in row] for row in bins.fill(lengths())]

    def _row(self, examples: Sequence[_Packed]) -> "Batch":
        size = self.config.image_size
        image = np.zeros((self.config.images_per_row, size, size, 3), np.uint8)
        samples = []
        for place, example in enumerate(examples):
            sample = self._sample(example.index, example.ids)
            try:
                image[place] = example.draw(size)
            except Rejected:  # keeps its place, so that no other example has to move
                sample = dataclasses.replace(sample, weight=np.zeros_like(sample.weight))
            samples.append(sample)
        row = sequence.pack(samples, self.config.row_length, self.specials.pad)
        return {**{name: np.asarray(v) for name, v in row.fields().items()}, "image": image}

    def _sample(self, index: int, ids: Sequence[int]) -> sequence.Sequence:
        rows, cols = self.token_grid
        order = None
        if self.config.order == Order.RANDOM:
            dice = Dice("order", self.config.seed, index)
            order = np.array(sorted(range(rows * cols), key=lambda _: dice.unit()))
        spans = [sequence.TextSpan(ids), sequence.ImageSpan(rows, cols, order=order)]
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
