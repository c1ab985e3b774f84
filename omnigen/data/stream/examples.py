# SPDX-License-Identifier: Apache-2.0
"""What to train on, and its examples by index: scenes that are drawn and records of corpora.

Every example is made from its index alone: index -> kind -> scene -> caption, picture; or index ->
corpus -> record (see `mixing`). Training never repeats a scene.
"""

import dataclasses
import enum
import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from omnigen import cli
from omnigen.data.corpus import pictures
from omnigen.data.corpus.latents import Encoding, Latents
from omnigen.data.corpus.pictures import Crop, Size
from omnigen.data.corpus.records import Record, Records, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.stream import buckets, tars
from omnigen.data.stream.buckets import Selection
from omnigen.data.stream.mixing import LEAST_WEIGHT, START, Mixture, Place, Shuffled, shorten
from omnigen.dice import Dice
from omnigen.scenes.caption import caption, is_colored
from omnigen.scenes.compose import compose
from omnigen.scenes.scene import Kind, Scene
from omnigen.scenes.sketch import MAX_BYTES, sketch

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
            come. A corpus is the path of its folder, or of WebDataset tars, with a slash in it.
        max_caption_bytes: captions of crowded scenes become terser to stay within this, those of
            corpora are cut.
        row_length: elements of a packed row.
        images_per_row: most examples in a row.
        seed: another seed gives other examples.
        split: which compositions may occur.
        workers: processes that make batches; 0 for threads, which suffice for small batches.
        caption_dropout: share of captions that are replaced by nothing, for guidance.
        uncolored: share of the captions of scenes that name objects by their shapes alone.
        sketches: scenes with a caption have a sketch too (`scenes.sketch`), written before the
            picture, and so have square pictures of corpora whose records bring one ("sketch").
        thumbnails: other pictures of corpora with a caption have one too: their `thumbnail`.
        learn_captions: captions carry a loss, so that the model could write them too.
        order: of picture tokens; random is another order for each example.
        buckets: sizes that pictures of corpora are trained at, as HEIGHTxWIDTH with commas between
            them; each batch is of one. Empty for squares of `image_size`.
        crop: which part of a corpus's pictures is used.
        bad_limit: share of unreadable records of a corpus above which training stops.
        latents: read the latents that were made of corpora once, instead of pictures.
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
    uncolored: float = 0.0
    sketches: bool = False
    thumbnails: bool = False
    learn_captions: bool = True
    order: Order = Order.RASTER
    crop: Crop = Crop.CENTER
    buckets: str = ""
    bad_limit: float = 0.2
    latents: bool = False

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            ValueError: names the field, its value and what is allowed.
        """
        require("image_size", self.image_size, self.image_size >= 1, "at least 1")
        require(
            "max_caption_bytes",
            self.max_caption_bytes,
            self.max_caption_bytes >= LEAST_CAPTION_BYTES,
            f"at least {LEAST_CAPTION_BYTES}",
        )
        require("row_length", self.row_length, self.row_length >= 1, "at least 1")
        require("images_per_row", self.images_per_row, self.images_per_row >= 1, "at least 1")
        require("seed", self.seed, self.seed >= 0, "at least 0")
        require("split", self.split, self.split in list(Split), _names(Split))
        require("workers", self.workers, self.workers >= 0, "at least 0")
        for name in ("caption_dropout", "uncolored"):
            share = getattr(self, name)
            require(name, share, 0 <= share <= 1, "0 to 1")
        require("order", self.order, self.order in list(Order), _names(Order))
        require("crop", self.crop, self.crop in list(Crop), _names(Crop))
        require("bad_limit", self.bad_limit, 0 <= self.bad_limit <= 1, "0 to 1")
        for name in self.mixture:
            allowed = f"{_names(Kind)}, or a corpus's folder with a slash in its path"
            require("mixture", name, name in list(Kind) or "/" in name, allowed)
        if self.latents and (self.kinds or self.crop != Crop.CENTER or self.buckets):
            raise ValueError(
                "latents is True; allowed: only with corpora alone, crop 'center' and no buckets"
            )
        if self.latents and self.thumbnails:
            raise ValueError("thumbnails is True; allowed: without latents, as they show pictures")
        squares = [size for size in self.sizes if size.height == size.width]
        if sum(self.kinds.values()) and not squares:
            raise ValueError(f"buckets is {self.buckets!r}; allowed: with a square, as scenes are")
        weights = list(self.mixture.values())
        good = all(w == 0 or (math.isfinite(w) and w >= LEAST_WEIGHT) for w in weights)
        allowed = f"weights of 0 or at least {LEAST_WEIGHT} that are not all 0"
        require("mixture", dict(self.mixture), good and sum(weights) > 0, allowed)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """What pictures are trained at."""
        return buckets.parse(self.buckets) if self.buckets else (Size.square(self.image_size),)

    @property
    def kinds(self) -> Mapping[str, float]:
        """The scenes of the mixture that come at all."""
        items = self.mixture.items()
        return {name: weight for name, weight in items if name in list(Kind) and weight}

    @property
    def corpora(self) -> Mapping[str, float]:
        """The folders of the mixture that are ever read."""
        items = self.mixture.items()
        return {name: weight for name, weight in items if name not in list(Kind) and weight > 0}


def scene_at(config: DataConfig, index: int) -> Scene:
    """The scene of an example of the stream; its kind is drawn from those of the mixture."""
    kind = Dice("kind", config.seed, index).weigh(dict(config.kinds))
    return compose(_seed(config, index), Kind(kind), held_out=config.split == Split.TEST)


def caption_at(config: DataConfig, index: int, *, scene: Scene) -> str:
    """The caption of an example of the stream, or nothing if it is dropped."""
    if Dice("dropout", config.seed, index).chance(config.caption_dropout):
        return ""
    seed = _seed(config, index)
    return caption(scene, seed, config.max_caption_bytes, uncolored=config.uncolored)


def sketch_at(config: DataConfig, index: int, *, scene: Scene) -> str:
    """The sketch that goes with a caption, or nothing if there are none or it is too long."""
    if not config.sketches:
        return ""
    written = sketch(scene, colored=is_colored(_seed(config, index), config.uncolored))
    return written if len(written) <= MAX_BYTES else ""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An example of the stream whose picture is still to be made.

    Attributes:
        caption: short enough for the data's settings.
        sketch: of the scene or record; empty if there is none, None for the picture's thumbnail.
        draw: makes the picture, uint8 `[H, W, 3]`, or reads its latents, float16 `[N, Z]`; may
            raise `Rejected`.
    """

    caption: str
    sketch: str | None
    draw: Callable[[], np.ndarray]


class Stock:
    """All examples, by buckets.

    Attributes:
        content: of the corpora, changes with every picture in them; empty if there are none.
        buckets: the examples of each size that there are any of.
    """

    def __init__(self, config: DataConfig, encoding: Encoding | None = None) -> None:
        """Reads the manifests of the corpora.

        Args:
            config: what to train on.
            encoding: if given, latents are read instead of pictures.

        Raises:
            ValueError: a folder is no corpus, nothing has pictures of the split, or latents are
                missing or stale.
        """
        corpora = {path: tars.open_records(path, config.split) for path in config.corpora}
        empty = [folder for folder, corpus in corpora.items() if not len(corpus)]
        if empty and (
            config.split == Split.TRAIN or len(empty) == len(config.kinds) + len(config.corpora)
        ):
            raise ValueError(f"mixture: {empty[0]!r} has no pictures of the split {config.split}")
        if not has_held_out(config):
            cli.logger(__name__).warning(
                "nothing in data.mixture is held out: samples are of what is trained on, and the "
                "held-out loss is not measured; prepare a corpus with --test_fraction"
            )
        digests = [corpus.digest for corpus in corpora.values()]
        self.content = hashlib.sha256("/".join(digests).encode()).hexdigest() if digests else ""
        latents = {p: Latents(c, encoding) for p, c in corpora.items() if encoding and len(c)}
        found = {path: _sort(corpus, config) for path, corpus in corpora.items() if len(corpus)}
        squares = sum(size.height == size.width for size in config.sizes)
        self.buckets: list[Examples] = []
        shares: list[float] = []
        for number, size in enumerate(config.sizes):
            scenes = sum(config.kinds.values()) / squares if size.height == size.width else 0.0
            weights, chosen = [scenes], {}
            for path, numbers in found.items():
                mine = np.flatnonzero(numbers == number)
                if len(mine):
                    whole = corpora[path] if len(mine) == len(numbers) else None
                    chosen[path] = whole or Selection(corpora[path], mine)
                    weights.append(config.corpora[path] * len(mine) / len(numbers))
            if sum(weights):
                self.buckets.append(Examples(config, number, chosen, weights, latents))
                shares.append(sum(weights))
        self._schedule = Mixture(shares, seed=f"buckets/{config.seed}")

    def at(self, batch: int, since: Place, size: int) -> tuple["Examples", int]:
        """The bucket of a global batch, and the first of the bucket's examples that it holds.

        Args:
            batch: number of the batch.
            since: the place in the data from which on batches are of `size`; not after this one.
            size: examples in a global batch.
        """
        bucket, _ = self._schedule.at(batch)
        return self.buckets[bucket], self.place(batch, since, size).examples[bucket]

    def place(self, batch: int, since: Place, size: int) -> Place:
        """The place in the data after so many batches in all; see `at`."""
        used = since.examples or (0,) * len(self.buckets)
        made = zip(self._schedule.before(batch), self._schedule.before(since.batch), strict=True)
        counts = (
            count + (now - then) * size for count, (now, then) in zip(used, made, strict=True)
        )
        return Place(batch, tuple(counts))

    def find(self, state: Mapping[str, Any], size: int) -> Place:
        """The place that an iterator's state describes.

        Older states count batches alone, which were of `state["size"]` examples, or of `size` if
        that is not known. If there are other buckets now, as many examples as before were used.
        """
        batch, examples = int(state["batch"]), tuple(map(int, state.get("examples", ())))
        if not examples:
            return self.place(batch, START, int(state.get("size", size)))
        if len(examples) != len(self.buckets):
            return self.place(sum(examples) // size, START, size)
        return Place(batch, examples)


def has_held_out(config: DataConfig) -> bool:
    """Whether anything in the mixture is never trained on; scenes always hold something out."""
    corpora = (tars.open_records(path, Split.TEST) for path in config.corpora)
    return bool(config.kinds) or any(corpus.held_out for corpus in corpora)


def _sort(corpus: Records, config: DataConfig) -> np.ndarray:
    """The bucket of each picture of a corpus."""
    if len(config.sizes) == 1:
        return np.zeros(len(corpus), np.int64)
    return buckets.assign(buckets.measure(corpus, config.split), config.sizes)


class Examples:
    """The examples of one bucket by index, from scenes and corpora.

    Attributes:
        size: of the pictures.
    """

    def __init__(
        self,
        config: DataConfig,
        number: int,
        corpora: Mapping[str, Records],
        weights: Sequence[float],
        latents: Mapping[str, Latents],
    ) -> None:
        """Shuffles and mixes.

        Args:
            config: what to train on.
            number: of the bucket among the config's sizes; another number, other examples.
            corpora: pictures that belong here, by path.
            weights: of scenes, then of the corpora.
            latents: by path, if they are to be read.
        """
        self._config, self.size, self._first = config, config.sizes[number], number << 48
        names = list(config.corpora)
        self._streams = [
            Shuffled(
                corpus,
                *("corpus", names.index(path), config.seed, *([number] if number else [])),
                bad_limit=config.bad_limit,
            )
            for path, corpus in corpora.items()
        ]
        self._latents = [latents.get(path) for path in corpora]
        self._mixture = Mixture(weights, seed=f"{config.seed}/{number}" if number else config.seed)

    def picture(self, index: int) -> np.ndarray:
        """The picture of an example, uint8 `[H, W, 3]`."""
        source, ordinal = self._find(index)
        if not source:
            return self._render(scene_at(self._config, self._first + index))
        stream, place = self._streams[source - 1], self._place(index)
        use = functools.partial(pictures.load, size=self.size, place=place)
        return stream.read(ordinal, lambda k: use(stream.corpus[k].image))

    def _render(self, scene: Scene) -> np.ndarray:
        from omnigen.scenes.render import render

        return render(scene, self.size.height)

    def candidate(self, index: int) -> Candidate:
        """An example with its caption, for packing."""
        config = self._config
        source, ordinal = self._find(index)
        if not source:
            scene = scene_at(config, self._first + index)
            words = caption_at(config, self._first + index, scene=scene)
            sketched = sketch_at(config, self._first + index, scene=scene) if words else ""
            return Candidate(words, sketched, functools.partial(self._render, scene))
        stream, latents = self._streams[source - 1], self._latents[source - 1]
        number, record = stream.read(ordinal, lambda k: (k, stream.corpus[k]))
        words = self._words(index, record.captions)

        def draw() -> np.ndarray:
            try:
                if latents is not None:
                    return latents[number]
                return pictures.load(record.image, self.size, place=self._place(index))
            except Rejected as rejected:
                stream.recall(rejected)
                raise

        return Candidate(words, self._sketch(record) if words else "", draw)

    def _sketch(self, record: Record) -> str | None:
        """The sketch that a record brings, None for its thumbnail, or nothing."""
        own, size = record.attributes.get("sketch", ""), self.size
        is_whole = record.width == record.height and size.width == size.height
        if self._config.sketches and own and is_whole and len(own.encode()) <= MAX_BYTES:
            return own
        return None if self._config.thumbnails else ""

    def _find(self, index: int) -> tuple[int, int]:
        """The source, 0 for scenes, and how many examples it gave before."""
        return self._mixture.at(index) if self._streams else (0, index)

    def _words(self, index: int, captions: Sequence[str]) -> str:
        """One of the captions that fit, or as much as fits; nothing if it is dropped."""
        dice, most = (
            Dice("words", self._config.seed, self._first + index),
            self._config.max_caption_bytes,
        )
        if dice.chance(self._config.caption_dropout) or not captions:
            return ""
        short = [words for words in captions if shorten(words, most=most) == words]
        return shorten(dice.pick(short or captions), most=most)

    def _place(self, index: int) -> tuple[float, float]:
        """Where the part of a picture lies."""
        if self._config.crop == Crop.CENTER:
            return (0.5, 0.5)
        dice = Dice("crop", self._config.seed, self._first + index)
        return (dice.unit(), dice.unit())


def _seed(config: DataConfig, index: int) -> int:
    return (config.seed << 64) + index


def require(name: str, value: object, holds: bool, allowed: str) -> None:
    """Raises a ValueError that names a setting, its value and what is allowed, unless it holds."""
    if not holds:
        raise ValueError(f"{name} is {value!r}; allowed: {allowed}")


def _names(values: type[enum.StrEnum]) -> str:
    return ", ".join(repr(value.value) for value in values)
