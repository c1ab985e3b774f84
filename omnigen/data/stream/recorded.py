# SPDX-License-Identifier: Apache-2.0
"""A prepared corpus or tars as a source: records that come in another order in every epoch."""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from omnigen.data.corpus import meanings, pictures
from omnigen.data.corpus.latents import Encoding, Latents
from omnigen.data.corpus.pictures import Crop, Size
from omnigen.data.corpus.records import Record, Records, Rejected, spread
from omnigen.data.stream import buckets, tars
from omnigen.data.stream.buckets import Selection
from omnigen.data.stream.mixing import Shuffled, shorten
from omnigen.data.stream.source import MOST_SKETCH_BYTES, Candidate, Captioned, Source, Turn
from omnigen.dice import Dice

if TYPE_CHECKING:
    from omnigen.data.stream.examples import DataConfig


class Recorded(Source):
    """Reads the records of one corpus, sorted by the sizes that pictures are trained at."""

    NAMES = "a corpus's folder with a slash in its path"

    def __init__(
        self,
        path: str,
        weight: float,
        number: int,
        config: "DataConfig",
        encoding: Encoding | None,
    ) -> None:
        """Opens the corpus.

        Args:
            path: Path of the folder, or of tars.
            weight: Its weight in the mixture.
            number: Number of the corpus in the mixture; another number gives another order.
            config: What to train on.
            encoding: Encoding whose latents are read instead of pictures; None reads pictures.

        Raises:
            ValueError: If there is no corpus, or its latents are missing or stale.
        """
        self.name, self._number, self._config = repr(path), number, config
        self._records = tars.open_records(path, config.split)
        self._weight = weight
        self._latents: Latents | None = None
        if encoding and len(self._records):
            self._latents = Latents(self._records, encoding)

    @classmethod
    def takes(cls, name: str) -> bool:
        """Returns whether a name is a path."""
        return "/" in name

    @classmethod
    def open(
        cls, weights: Mapping[str, float], config: "DataConfig", encoding: Encoding | None
    ) -> Sequence[Self]:
        """Opens every path as a source of its own."""
        return [
            cls(path, weight, number, config, encoding)
            for number, (path, weight) in enumerate(weights.items())
        ]

    def content(self) -> str:
        """Returns a digest that changes with every picture."""
        return self._records.digest

    def has_held_out(self) -> bool:
        """Returns whether some pictures are for the test."""
        return bool(self._records.held_out)

    @functools.cached_property
    def _bucket(self) -> np.ndarray:
        """The bucket of each picture."""
        sizes = self._config.sizes
        if len(sizes) == 1 or not len(self._records):
            return np.zeros(len(self._records), np.int64)
        return buckets.assign(buckets.measure(self._records, self._config.split), sizes)

    def weights(self) -> Sequence[float]:
        """Returns as weights the numbers of pictures in each bucket."""
        count = max(len(self._bucket), 1)
        found = np.bincount(self._bucket, minlength=len(self._config.sizes)).tolist()
        return [self._weight * mine / count for mine in found]

    @functools.cached_property
    def _streams(self) -> dict[int, Shuffled]:
        """The records of each bucket that has any."""
        config, found = self._config, {}
        for number in map(int, np.unique(self._bucket)):
            mine = np.flatnonzero(self._bucket == number)
            is_all = len(mine) == len(self._records)
            chosen: Records = self._records if is_all else Selection(self._records, mine)
            key = ("corpus", self._number, config.seed, *([number] if number else []))
            found[number] = Shuffled(chosen, *key, bad_limit=config.bad_limit)
        return found

    def picture(self, turn: Turn) -> np.ndarray:
        """Returns the picture of a record that can be read, uint8 `[H, W, 3]`."""
        stream = self._streams[turn.bucket]
        return stream.read(turn.ordinal, lambda k: self._load(stream.corpus[k], turn))

    def candidate(self, turn: Turn) -> Candidate:
        """Returns a record with one of its captions, for packing."""
        stream, latents = self._streams[turn.bucket], self._latents
        number, record = stream.read(turn.ordinal, lambda k: (k, stream.corpus[k]))
        words = self._words(turn.index, record)

        def draw() -> np.ndarray:
            try:
                return self._load(record, turn) if latents is None else latents[number]
            except Rejected as rejected:
                stream.recall(rejected)
                raise

        return Candidate(words, self._sketch(record, turn) if words else "", draw)

    def previews(self, count: int) -> Sequence[Captioned]:
        """Returns records at equal distances; fewer if the split holds fewer."""
        size, most = Size.square(self._config.image_size), self._config.max_caption_bytes

        def use(record: Record) -> Captioned:
            words = record.captions[0] if record.captions else ""
            return Captioned(shorten(words, most=most), pictures.load(record.image, size))

        return spread(self._records, count, use)

    def _load(self, record: Record, turn: Turn) -> np.ndarray:
        size = self._config.sizes[turn.bucket]
        return pictures.load(record.image, size, place=self._place(turn.index))

    def _place(self, index: int) -> tuple[float, float]:
        """Returns where the part of a picture lies."""
        if self._config.crop == Crop.CENTER:
            return (0.5, 0.5)
        dice = Dice("crop", self._config.seed, index)
        return (dice.unit(), dice.unit())

    def _words(self, index: int, record: Record) -> str:
        """Returns what is said of a record; nothing if it is dropped.

        It is worded anew if the record says what it holds, or else one of the captions that fit, or
        as much as fits.
        """
        dice, most = Dice("words", self._config.seed, index), self._config.max_caption_bytes
        captions = record.captions
        if dice.chance(self._config.caption_dropout) or not captions:
            return ""
        if (whole := meanings.of(record.attributes)) is not None:
            return shorten(meanings.worded(whole, captions, dice, most=most), most=most)
        short = [words for words in captions if shorten(words, most=most) == words]
        return shorten(dice.pick(short or captions), most=most)

    def _sketch(self, record: Record, turn: Turn) -> str | None:
        """Returns the sketch that a record brings, None for its thumbnail, or nothing."""
        own, size = record.attributes.get("sketch", ""), self._config.sizes[turn.bucket]
        is_whole = record.width == record.height and size.width == size.height
        if self._config.sketches and own and is_whole and len(own.encode()) <= MOST_SKETCH_BYTES:
            return own
        return None if self._config.thumbnails else ""
