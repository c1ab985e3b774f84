# SPDX-License-Identifier: Apache-2.0
"""Batches: pictures alone, or packed rows of captions and pictures.

Every example is made from its index alone (see `examples`). A batch is in turn a function of its
number and of the place in the data from which on batches have had their size, so that any batch can
be made by any process at any time (see `stream`).

Packing keeps that. Consecutive rows form windows of `WINDOW_ROWS`, and consecutive examples form
windows of as many as these rows could hold at most; a window's rows pack the first of its examples
that fit (see `packing`) and skip the others, which does no harm in an endless stream; of a corpus
it is others in every epoch. Where the length and the count of a row go together, one in a hundred
is skipped and rows are 0.96 full (docs/data.md). What fits depends on captions, not on pictures, so
finding out is cheap. Readings, which have no pictures, stand behind the example that they come
with, and are packed and skipped like it.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from omnigen import sequence
from omnigen.batch import Pictures, Rows, stack
from omnigen.data.corpus.latents import Encoding
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.corpus.thumbnail import LENGTH, LETTERS, MARK, thumbnail
from omnigen.data.stream.examples import Bucket, DataConfig, Examples, Order, require
from omnigen.data.stream.mixing import START, Place
from omnigen.data.stream.packing import Bins, Load
from omnigen.data.stream.source import MOST_SKETCH_BYTES, Candidate, Captioned
from omnigen.dice import Dice
from omnigen.parallel import DataShard
from omnigen.sequence import Role
from omnigen.text import TextTokenizer

if TYPE_CHECKING:
    from omnigen.data.stream.batches import Batches

WINDOW_ROWS = 16


def images_dataset(config: DataConfig, batch_size: int, shard: DataShard) -> "Batches":
    """Returns a stream of pictures without captions.

    Args:
        config: What to draw.
        batch_size: Number of pictures in a local batch.
        shard: Part of each global batch that is made here.

    Returns:
        An endless stream of `Pictures`; all of a global batch have one size.

    Raises:
        ValueError: If a corpus is missing.
    """
    from omnigen.data.stream.batches import Batches

    _check_shard(batch_size, shard)
    batches = ImageBatches(config, batch_size, shard)
    return Batches(batches, workers=config.workers, content=batches.examples.content)


def sequence_dataset(
    config: DataConfig,
    text: TextTokenizer,
    token_grid: tuple[int, int],
    batch_size: int,
    shard: DataShard,
    encoding: Encoding | None = None,
    *,
    block: int = 1,
) -> "Batches":
    """Returns a stream of packed rows of captions, each followed by its picture or its sketch.

    Args:
        config: What to draw and how to pack it.
        text: Tokenizer of captions.
        token_grid: Rows and columns of the tokens of a square picture of the config's size.
        batch_size: Number of rows in a local batch.
        shard: Part of each global batch that is made here.
        encoding: Encoding of the latents to read instead of pictures; None reads pictures.
        block: Number of picture tokens that are predicted together.

    Returns:
        An endless stream of `Rows` of `row_length` elements, with room for `images_per_row`
        pictures. It has latents if there is an encoding, else pixels. `slot` counts a row's tokens
        picture after picture.

    Raises:
        ValueError: If a row cannot hold the longest example, a corpus is missing, or latents are
            missing or stale.
    """
    from omnigen.data.stream.batches import Batches

    _check_shard(batch_size, shard)
    rows = RowBatches(config, batch_size, shard, text, token_grid, encoding, block)
    rows.check()
    return Batches(rows, workers=config.workers, content=rows.examples.content)


def longest_sketch(config: DataConfig) -> int:
    """Returns the bytes of the longest sketch that is trained on; 0 if there are none."""
    own = MOST_SKETCH_BYTES if config.sketches else 0
    return max(own, LENGTH if config.thumbnails else 0)


def previews(config: DataConfig, *, count: int = 4) -> list[Captioned]:
    """Returns examples to look at in training, held out from whatever is trained on.

    Args:
        config: Settings with the mixture.
        count: Number of examples of each corpus, and of each kind of scene if there are scenes at
            all.

    Returns:
        The same ones every time; fewer of a corpus that holds fewer out. If nothing is held out,
        what is trained on.
    """
    for split in Split.TEST, Split.TRAIN:
        sources = dataclasses.replace(config, split=split).open()
        found = [example for source in sources for example in source.previews(count)]
        if found:
            return found
    return []


@dataclasses.dataclass(frozen=True)
class _Course:
    """The examples of a local batch, by the batch's number; see `batches.Course`."""

    config: DataConfig
    batch_size: int
    shard: DataShard

    @functools.cached_property
    def examples(self) -> Examples:
        """Where pictures come from."""
        return Examples(self.config)

    @property
    def _global_size(self) -> int:
        return self.batch_size * self.shard.count

    def place(self, batch: int, since: Place) -> Place:
        """Returns the place in the data after so many batches, if they were as here since then."""
        return self.examples.place(batch, since, self._global_size)

    def find(self, state: Mapping[str, Any]) -> Place:
        """Returns the place that an iterator's state describes."""
        return self.examples.find(state, self._global_size)

    def _first(self, number: int, since: Place) -> tuple[Bucket, int]:
        """Returns the bucket of a batch, and the first of its examples that belong here."""
        bucket, first = self.examples.at(number, since, self._global_size)
        return bucket, first + self.shard.index * self.batch_size


@dataclasses.dataclass(frozen=True)
class ImageBatches(_Course):
    """Local batches of pictures by number."""

    def __call__(self, number: int, since: Place = START) -> Pictures:
        """Draws a batch."""
        bucket, start = self._first(number, since)
        size = bucket.size
        image = np.empty((self.batch_size, size.height, size.width, 3), np.uint8)
        for place in range(self.batch_size):
            image[place] = bucket.picture(start + place)
        return Pictures(image)


@dataclasses.dataclass(frozen=True)
class Words:
    """Text of a sample: its ids, and whether they are given or learnt."""

    ids: Sequence[int]
    role: Role = Role.GENERATED


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A picture of a sample that is still to be made.

    Attributes:
        draw: Makes the picture or reads its latents; see `Candidate`.
        sketch: Ids of its sketch; None for its thumbnail.
        role: Whether it is given or learnt.
    """

    draw: Callable[[], np.ndarray]
    sketch: Sequence[int] | None = ()
    role: Role = Role.GENERATED


@dataclasses.dataclass(frozen=True)
class Sketch:
    """What a sample ends with where it has no picture: the sketch of one, of square form.

    Attributes:
        ids: Text of the sketch.
    """

    ids: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A sample that has its place in a row: texts and pictures in the order of reading.

    Attributes:
        index: Of the example in its bucket.
        parts: Any number of texts and, at least one, pictures, or a sketch as the last. All
            pictures have the size of the bucket.
    """

    index: int
    parts: Sequence[Words | Drawing | Sketch]

    @property
    def drawings(self) -> list[Drawing]:
        """The pictures among the parts."""
        return [part for part in self.parts if isinstance(part, Drawing)]

    @property
    def text_length(self) -> int:
        """Ids of all texts and sketches."""
        texts = [p.sketch if isinstance(p, Drawing) else p.ids for p in self.parts]
        return sum(LENGTH if text is None else len(text) for text in texts)


@dataclasses.dataclass(frozen=True)
class RowBatches(_Course):
    """Local batches of packed rows by number; rows are what is counted as examples."""

    text: TextTokenizer
    token_grid: tuple[int, int]
    encoding: Encoding | None = None
    block: int = 1

    @functools.cached_property
    def examples(self) -> Examples:
        """Where captions and pictures come from."""
        return Examples(self.config, self.encoding)

    def grid(self, size: Size) -> tuple[int, int]:
        """Returns the numbers of rows and columns of the tokens of a picture."""
        rows, cols, side = *self.token_grid, self.config.image_size
        return size.height * rows // side, size.width * cols // side

    @property
    def largest(self) -> tuple[int, int]:
        """The grid of the most tokens."""
        return max(map(self.grid, self.config.sizes), key=lambda grid: grid[0] * grid[1])

    @property
    def specials(self) -> sequence.Specials:
        """The ids of the special tokens."""
        return sequence.Specials(self.text.vocab_size)

    def length(
        self, text_length: int, grid: tuple[int, int] | None = None, *, pictures: int = 1
    ) -> int:
        """Returns the elements of an example whose texts have this many ids.

        The grid is the largest if None.

        Args:
            text_length: Ids of all its texts.
            grid: Of its pictures; the largest if None.
            pictures: How many; 0 for a sketch alone.
        """
        empty = Sample(0, [Drawing(lambda: np.zeros(0))] * pictures or [Sketch(())])
        return text_length + len(self._laid(empty, (), grid or self.largest).token)

    def check(self) -> None:
        """Checks that the longest example fits a row.

        Raises:
            ValueError: If it does not, or the text tokenizer cannot write thumbnails.
        """
        config, encode = self.config, self.text.encode
        if config.thumbnails and any(len(encode(letter)) != 1 for letter in MARK + LETTERS):
            raise ValueError(
                "thumbnails is True; allowed: with a text tokenizer that has an id for each letter"
            )
        sketched = longest_sketch(config)
        longest = self.length(config.max_caption_bytes + sketched)
        if longest > config.row_length:
            raise ValueError(
                f"row_length is {config.row_length}; allowed: at least {longest}, which a caption "
                f"of max_caption_bytes = {config.max_caption_bytes}, {sketched} of a sketch and "
                f"{self.largest} picture tokens need"
            )

    def __call__(self, number: int, since: Place = START) -> Rows:
        """Draws a batch."""
        bucket, start = self._first(number, since)
        return self.of(bucket, start, start + self.batch_size)

    def of(self, bucket: Bucket, start: int, stop: int) -> Rows:
        """Returns rows `start` to `stop - 1` of the examples of a bucket."""
        rows: list[Rows] = []
        for window in range(start // WINDOW_ROWS, (stop - 1) // WINDOW_ROWS + 1):
            packed = self.window(bucket, window)
            first = window * WINDOW_ROWS
            wanted = packed[max(start - first, 0) : stop - first]
            rows += [self.row(row, bucket.size) for row in wanted]
        return stack(rows)

    def window(self, bucket: Bucket, number: int) -> list[list[Sample]]:
        """Returns the contents of each row of a window of the examples of a bucket."""
        config, grid = self.config, self.grid(bucket.size)
        bins = Bins(WINDOW_ROWS, config.row_length, config.images_per_row, config.examples_per_row)
        bare = functools.cache(lambda pictures: self.length(0, grid, pictures=pictures))
        found: list[Sample] = []

        def loads() -> Iterator[Load]:
            for sample in self._samples(bucket, number * bins.rows * bins.count):
                found.append(sample)
                pictures = len(sample.drawings)
                yield Load(bare(pictures) + sample.text_length, pictures)

        return [[found[i] for i in row] for row in bins.fill(loads())]

    def _samples(self, bucket: Bucket, first: int) -> Iterator[Sample]:
        """Yields the examples of a bucket from the first on, each with its readings behind it."""
        readings = self.examples.readings
        count = self.config.readings if readings else 0
        for index in itertools.count(first):
            yield Sample(index, self._parts(bucket.candidate(index)))
            for number in range(index * count, (index + 1) * count):
                assert readings is not None
                with contextlib.suppress(Rejected):  # of a picture whose thumbnail is asked for
                    yield Sample(index, self._read(readings.at(bucket, number)))

    def _parts(self, candidate: Candidate) -> list[Words | Drawing]:
        """Returns what a source's example is as a sample: a caption and its picture.

        Sources that give pictures, or make several turns, say so here; all else takes any parts.
        """
        role = Role.GENERATED if self.config.learn_captions else Role.GIVEN
        sketch = None if candidate.sketch is None else self.text.encode(candidate.sketch)
        return [Words(self.text.encode(candidate.caption), role), Drawing(candidate.draw, sketch)]

    def _read(self, candidate: Candidate) -> list[Words | Sketch]:
        """Returns what a source's example is as a sample without its picture; see `_parts`."""
        role = Role.GENERATED if self.config.learn_captions else Role.GIVEN
        sketch = candidate.sketch
        written = self._written(candidate.draw()) if sketch is None else self.text.encode(sketch)
        return [Words(self.text.encode(candidate.caption), role), Sketch(written)]

    def _written(self, picture: np.ndarray) -> list[int]:
        """Returns the ids of a picture's thumbnail."""
        return [i for c in thumbnail(picture) for i in self.text.encode(c)]

    def row(self, samples: Sequence[Sample], size: Size) -> Rows:
        """Returns a row of samples with its pictures, which it draws.

        Args:
            samples: With as many pictures in all as a row has room for, at most.
            size: Of the pictures.
        """
        pictures, laid, count = self._no_pictures(size), [], 0
        for sample in samples:
            own = pictures[count : count + len(sample.drawings)]
            count += len(own)
            laid.append(self._drawn(sample, own, self.grid(size)))
        row = sequence.pack(laid, self.config.row_length, self.specials.pad)
        if self.block == 1:
            # All rows of a batch have one form, so the setting decides it, not what a row holds.
            # `ungrouped` refuses rows whose mask is another: none is learnt with a wrong mask.
            row = sequence.ungrouped(row)
        if self.encoding:
            return Rows(row, latents=pictures.reshape(-1, self.encoding.latent_dim))
        return Rows(row, image=pictures)

    def _drawn(
        self, sample: Sample, pictures: np.ndarray, grid: tuple[int, int]
    ) -> sequence.Sequence:
        """Draws the pictures of a sample into `pictures`, and lays the sample out."""
        is_whole = True
        for place, drawing in enumerate(sample.drawings):
            try:
                pictures[place] = drawing.draw()
            except Rejected:
                is_whole = False
        laid = self._laid(sample, pictures, grid)
        if is_whole:
            return laid
        # It keeps its place, so that no other example has to move, and nothing is learnt from it.
        return dataclasses.replace(laid, weight=np.zeros_like(laid.weight))

    def _no_pictures(self, size: Size) -> np.ndarray:
        """Returns the room for the pictures of a row, or for their latents."""
        count = self.config.images_per_row
        if self.encoding:
            return np.zeros((count, self.encoding.tokens, self.encoding.latent_dim), np.float16)
        return np.zeros((count, size.height, size.width, 3), np.uint8)

    def _laid(
        self, sample: Sample, pictures: Sequence[np.ndarray] | np.ndarray, grid: tuple[int, int]
    ) -> sequence.Sequence:
        """Returns the layout of a sample whose pictures have been drawn."""
        spans: list[sequence.TextSpan | sequence.ImageSpan] = []
        drawn = iter(pictures)
        dice = Dice("order", self.config.seed, sample.index)
        for part in sample.parts:
            if isinstance(part, Words):
                spans.append(sequence.TextSpan(part.ids, part.role))
                continue
            if isinstance(part, Sketch):
                spans.append(sequence.ImageSpan(*self.token_grid, sketch=part.ids))
                continue
            picture, sketch, order = next(drawn, None), part.sketch, None
            if sketch is None and picture is not None:
                sketch = self._written(picture)
            # Given pictures are in raster order, as prompts have them.
            if self.config.order == Order.RANDOM and part.role == Role.GENERATED:
                order = np.array(sorted(range(grid[0] * grid[1]), key=lambda _: dice.unit()))
            span = sequence.ImageSpan(
                *grid, part.role, order, sketch=sketch or (), block=self.block
            )
            spans.append(span)
        laid = sequence.layout(spans, self.specials, self.text.encode)
        # A sketch ends where its picture would begin, so all before is as if there were one.
        return laid if sample.drawings else sequence.cut(laid, self.specials, sketched=False)


def _check_shard(batch_size: int, shard: DataShard) -> None:
    require("batch_size", batch_size, batch_size >= 1, "at least 1")
    assert 0 <= shard.index < shard.count
