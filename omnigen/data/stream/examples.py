# SPDX-License-Identifier: Apache-2.0
"""What to train on, and its examples by index, whatever source makes them.

Every example is made from its index alone: index -> source and turn -> example (see `mixing`).
"""

import dataclasses
import enum
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnigen import cli
from omnigen.config import derived
from omnigen.data.corpus.latents import Encoding
from omnigen.data.corpus.pictures import Crop, Size
from omnigen.data.corpus.split import Split
from omnigen.data.stream import buckets, world
from omnigen.data.stream.mixing import LEAST_WEIGHT, START, Mixture, Place
from omnigen.data.stream.recorded import Recorded
from omnigen.data.stream.source import Candidate, Source, Turn
from omnigen.data.stream.things import Things
from omnigen.data.stream.world import World

SOURCES: tuple[type[Source], ...] = (World, Recorded, Things)
"""The kinds of sources, in the order in which a mixture counts them; see `source`."""

LEAST_CAPTION_BYTES = 128
"""The words of any scene, quoted, and what holds them fit in this."""

LEAST_READING = 64
"""Elements of a row for each example that it holds at most, where some are read alone.

Readings have twice as many on average. Programs are compiled for the most that a row may hold.
"""

_READING = 1 << 63  # what indices of readings are counted from; those of other examples are lower


class Order(enum.StrEnum):
    """The order in which the tokens of a picture are laid out."""

    RASTER = "raster"
    RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
        image_size: Side of the pictures in pixels; the model's.
        mixture: Weight of each kind of scene or corpus; kinds left out never come. A corpus is the
            path of its folder, or of WebDataset tars, with a slash in it.
        max_caption_bytes: Longest caption in bytes. Captions of crowded scenes become terser to
            stay within it, those of corpora are cut.
        row_length: Number of elements of a packed row.
        images_per_row: Largest number of pictures in a row.
        readings: Number of readings for each example with a picture: captions with their sketches
            alone, which cost no picture tokens. They are never dropped.
        reading_mixture: Weights as in `mixture` for readings, among them those of kinds that have
            no pictures; empty for those of `mixture`.
        seed: Seed of the stream; another seed gives other examples.
        split: Split whose compositions occur.
        workers: Number of processes that make batches; 0 for threads, which suffice for small
            batches.
        caption_dropout: Share of captions that are replaced by nothing, for guidance.
        uncolored: Share of the captions of scenes that name objects by their shapes alone.
        foreign: Share of the captions of scenes that are in German, French, Spanish or Chinese.
        related: Share of training scenes of shapes where one thing is inside, between or next to
            others, or some stand in a row or a column.
        vivid: Share of training scenes on a canvas whose background is red, orange, yellow, green,
            blue, purple, pink or brown.
        marked: Share of training scenes with words that have accents and signs.
        sketches: Whether scenes with a caption have a sketch too (`scenes.sketch`), written before
            the picture, and so have square pictures of corpora whose records bring one ("sketch").
        thumbnails: Whether other pictures of corpora with a caption have one too: their
            `thumbnail`.
        learn_captions: Whether captions carry a loss, so that the model could write them too.
        order: Order of picture tokens; random is another order for each example.
        buckets: Sizes that pictures of corpora are trained at, as HEIGHTxWIDTH with commas between
            them; each batch is of one. Empty for squares of `image_size`.
        crop: Which part of a corpus's pictures is used.
        bad_limit: Share of unreadable records of a corpus above which training stops.
        latents: Whether to read latents that were made of corpora once, instead of pictures.
    """

    image_size: int = derived(128)
    mixture: Mapping[str, float] = dataclasses.field(default_factory=lambda: world.EVERY)
    max_caption_bytes: int = 240
    row_length: int = 640
    images_per_row: int = 4
    readings: int = 0
    reading_mixture: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seed: int = 0
    split: Split = Split.TRAIN
    workers: int = 0
    caption_dropout: float = 0.1
    uncolored: float = 0.0
    foreign: float = 0.0
    related: float = 0.17
    vivid: float = 0.4
    marked: float = 0.25
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
            ValueError: If a field is out of range; the message names its value and what is allowed.
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
        for name in ("caption_dropout", "uncolored", "foreign", "related", "vivid", "marked"):
            share = getattr(self, name)
            require(name, share, 0 <= share <= 1, "0 to 1")
        require("order", self.order, self.order in list(Order), _names(Order))
        require("crop", self.crop, self.crop in list(Crop), _names(Crop))
        require("bad_limit", self.bad_limit, 0 <= self.bad_limit <= 1, "0 to 1")
        require("readings", self.readings, self.readings >= 0, "at least 0")
        _check_mixture("mixture", self.mixture, [kind for kind in SOURCES if kind.PICTURES])
        if self.reading_mixture:
            _check_mixture("reading_mixture", self.reading_mixture, SOURCES)
        if self.readings and not self.sketches:
            raise ValueError(
                f"readings is {self.readings}; allowed: 0, or with sketches, which they write"
            )
        if self.latents and (self.crop != Crop.CENTER or self.buckets):
            raise ValueError("latents is True; allowed: only with crop 'center' and no buckets")
        if self.latents and self.thumbnails:
            raise ValueError("thumbnails is True; allowed: without latents, as they show pictures")
        _ = self.sizes  # checks what they are made of
        for kind in self.kinds:
            kind.check(self)
        if self.readings:
            for kind in self.reading_kinds:
                kind.check(self.alone)

    @property
    def examples_per_row(self) -> int:
        """The largest number of examples in a row, with and without pictures."""
        if not self.readings:
            return self.images_per_row
        return max(self.images_per_row, self.row_length // LEAST_READING)

    @property
    def alone(self) -> "DataConfig":
        """The settings of the sources of readings: square, without latents, never dropped."""
        return dataclasses.replace(self, readings=0, caption_dropout=0.0, buckets="", latents=False)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes that pictures are trained at."""
        return buckets.parse(self.buckets) if self.buckets else (Size.square(self.image_size),)

    @property
    def kinds(self) -> dict[type[Source], dict[str, float]]:
        """The kinds of sources in the mixture whose weight is not 0."""
        return _by_kind(self.mixture)

    @property
    def reading_kinds(self) -> dict[type[Source], dict[str, float]]:
        """The kinds of sources of readings whose weight is not 0."""
        return _by_kind(self.reading_mixture or self.mixture)

    def check_extras(self) -> None:
        """Checks that the packages of all kinds of sources are installed.

        Raises:
            MissingExtraError: If one is not.
        """
        for kind in self.kinds:
            kind.check_extras(self)

    def open(self, encoding: Encoding | None = None) -> list[Source]:
        """Opens all sources of the mixture; their order is part of what decides batches.

        Raises:
            ValueError: If one cannot be read, or lacks the latents of `encoding`.
        """
        return [s for kind, names in self.kinds.items() for s in kind.open(names, self, encoding)]

    def open_readings(self) -> list[Source]:
        """Opens all sources of readings; see `open`."""
        alone, kinds = self.alone, self.reading_kinds
        return [s for kind, names in kinds.items() for s in kind.open(names, alone, None)]


class Examples:
    """All examples, by buckets.

    Attributes:
        content: Digest of the sources that changes with every file in them; empty if they read
            none.
        buckets: Examples of each size that has any.
        readings: What is read alone; None if nothing is.
    """

    def __init__(self, config: DataConfig, encoding: Encoding | None = None) -> None:
        """Opens all sources.

        Args:
            config: What to train on.
            encoding: Encoding whose latents are read instead of pictures; None reads pictures.

        Raises:
            ValueError: If a folder is no corpus, nothing has pictures of the split, or latents are
                missing or stale.
        """
        sources = config.open(encoding)
        weights = _weights("mixture", sources, config.split)
        if not any(source.has_held_out() for source in sources):
            cli.logger(__name__).warning(
                "nothing in data.mixture is held out: samples are of what is trained on, and the "
                "held-out loss is not measured; prepare a corpus with --test_fraction"
            )
        read = config.open_readings() if config.readings else []
        if config.split == Split.TEST:
            read = [source for source in read if any(source.weights())]
        self.readings = Readings(read, config) if read else None
        contents = [content for source in (*sources, *read) if (content := source.content())]
        self.content = hashlib.sha256("/".join(contents).encode()).hexdigest() if contents else ""
        self.buckets: list[Bucket] = []
        shares: list[float] = []
        for number, size in enumerate(config.sizes):
            mine = [
                (source, w[number]) for source, w in zip(sources, weights, strict=True) if w[number]
            ]
            if mine:
                self.buckets.append(Bucket(number, size, mine, seed=config.seed))
                shares.append(sum(weight for _, weight in mine))
        self._schedule = Mixture(shares, seed=f"buckets/{config.seed}")

    def at(self, batch: int, since: Place, size: int) -> tuple["Bucket", int]:
        """Returns the bucket of a global batch, and the first of its examples in the batch.

        Args:
            batch: Number of the batch.
            since: Place in the data from which on batches are of `size`; not after this one.
            size: Number of examples in a global batch.
        """
        bucket, _ = self._schedule.at(batch)
        return self.buckets[bucket], self.place(batch, since, size).examples[bucket]

    def place(self, batch: int, since: Place, size: int) -> Place:
        """Returns the place in the data after so many batches in all; see `at`."""
        used = since.examples or (0,) * len(self.buckets)
        made = zip(self._schedule.before(batch), self._schedule.before(since.batch), strict=True)
        counts = (
            count + (now - then) * size for count, (now, then) in zip(used, made, strict=True)
        )
        return Place(batch, tuple(counts))

    def find(self, state: Mapping[str, Any], size: int) -> Place:
        """Returns the place that an iterator's state describes.

        Older states count batches alone, which were of `state["size"]` examples, or of `size` if
        that is not known. If there are other buckets now, as many examples as before were used.
        """
        batch, examples = int(state["batch"]), tuple(map(int, state.get("examples", ())))
        if not examples:
            return self.place(batch, START, int(state.get("size", size)))
        if len(examples) != len(self.buckets):
            return self.place(sum(examples) // size, START, size)
        return Place(batch, examples)


class Bucket:
    """The examples of one size by index, from all sources that have any.

    Attributes:
        number: Number of the bucket among the config's sizes.
        size: Size of the pictures.
    """

    def __init__(
        self, number: int, size: Size, sources: Sequence[tuple[Source, float]], *, seed: int
    ) -> None:
        """Mixes the sources.

        Args:
            number: Number of the bucket among the config's sizes; another number gives other
                examples.
            size: Size of the pictures.
            sources: Sources of the examples, with weights.
            seed: Seed of the order.
        """
        self.number, self.size = number, size
        self._sources = [source for source, _ in sources]
        weights = [weight for _, weight in sources]
        self._mixture = Mixture(weights, seed=f"{seed}/{number}" if number else seed)

    def picture(self, index: int) -> np.ndarray:
        """Returns the picture of an example, uint8 `[H, W, 3]`."""
        source, turn = self._find(index)
        return source.picture(turn)

    def candidate(self, index: int) -> Candidate:
        """Returns an example with its caption, for packing."""
        source, turn = self._find(index)
        return source.candidate(turn)

    def _find(self, index: int) -> tuple[Source, Turn]:
        """Returns the source whose turn it is, with the turn."""
        source, ordinal = self._mixture.at(index)
        return self._sources[source], Turn(self.number, (self.number << 48) + index, ordinal)


class Readings:
    """Examples that are read alone, by index: those of all sources that are opened for it."""

    def __init__(self, sources: Sequence[Source], config: DataConfig) -> None:
        """Mixes the sources.

        Raises:
            ValueError: If one is empty.
        """
        self._sources, self._buckets = sources, len(config.sizes)
        weights = _weights("reading_mixture", sources, config.split)
        self._mixture = Mixture(list(map(sum, weights)), seed=f"readings/{config.seed}")

    def at(self, bucket: Bucket, index: int) -> Candidate:
        """Returns an example of those that go with a bucket's, whose picture nobody needs."""
        index = index * self._buckets + bucket.number  # no two buckets read the same
        source, ordinal = self._mixture.at(index)
        return self._sources[source].candidate(Turn(0, _READING + index, ordinal))


def _by_kind(mixture: Mapping[str, float]) -> dict[type[Source], dict[str, float]]:
    found: dict[type[Source], dict[str, float]] = {}
    for kind in SOURCES:
        mine = {name: w for name, w in mixture.items() if w and kind.takes(name)}
        if mine:
            found[kind] = mine
    return found


def _weights(name: str, sources: Sequence[Source], split: Split) -> list[Sequence[float]]:
    """Returns the weights of the sources of a mixture, whose name is `name`; see `Examples`."""
    weights = [source.weights() for source in sources]
    empty = [source for source, w in zip(sources, weights, strict=True) if not any(w)]
    if empty and (split == Split.TRAIN or len(empty) == len(sources)):
        raise ValueError(f"{name}: {empty[0].name} has no pictures of the split {split}")
    return weights


def _check_mixture(name: str, mixture: Mapping[str, float], kinds: Sequence[type[Source]]) -> None:
    """Checks names and weights of a mixture, which is the setting `name`."""
    allowed = ", or ".join(kind.NAMES for kind in kinds)
    for key in mixture:
        require(name, key, any(kind.takes(key) for kind in kinds), allowed)
    weights = list(mixture.values())
    good = all(w == 0 or (math.isfinite(w) and w >= LEAST_WEIGHT) for w in weights)
    allowed = f"weights of 0 or at least {LEAST_WEIGHT} that are not all 0"
    require(name, dict(mixture), good and sum(weights) > 0, allowed)


def has_held_out(config: DataConfig) -> bool:
    """Returns whether the mixture holds anything out from training; scenes always do."""
    return any(source.has_held_out() for source in config.open())


def require(name: str, value: object, holds: bool, allowed: str) -> None:
    """Raises a ValueError that names a setting, its value and what is allowed, unless it holds."""
    if not holds:
        raise ValueError(f"{name} is {value!r}; allowed: {allowed}")


def _names(values: type[enum.StrEnum]) -> str:
    return ", ".join(repr(value.value) for value in values)
