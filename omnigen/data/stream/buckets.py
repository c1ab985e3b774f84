# SPDX-License-Identifier: Apache-2.0
"""Forms and resolutions of pictures: which of a few sizes a picture is trained at.

All pictures of a batch have one size, so pictures are sorted by the one that fits them best. That
takes the size of every picture before training begins; what finding it out gave is kept in the
cache.
"""

import concurrent.futures
import hashlib
from collections.abc import Sequence

import numpy as np

from omnigen import cli, files, progress
from omnigen.data.corpus import pictures
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import Record, Records, Rejected

_THREADS = 8
_CHUNK = 1024  # records that a thread measures at a time
_ALIKE = 1e-3  # difference of log aspects that cannot be seen


def parse(text: str) -> tuple[Size, ...]:
    """Parses sizes written as HEIGHTxWIDTH, with commas between them.

    Raises:
        ValueError: If it is something else, or names a size twice.
    """
    try:
        found = tuple(Size(*map(int, part.split("x", 1))) for part in text.split(","))
    except (TypeError, ValueError):
        found = ()
    good = found and all(size.height > 0 and size.width > 0 for size in found)
    if not good or len(set(found)) < len(found):
        raise ValueError(
            f"buckets is {text!r}; allowed: different sizes as HEIGHTxWIDTH, such as "
            "'256x256,192x320,320x192'"
        )
    return found


def assign(sizes: np.ndarray, buckets: Sequence[Size]) -> np.ndarray:
    """Returns the bucket of each picture: the nearest form, and as large as the picture fills.

    Among buckets of the nearest ratio of height to width, it is the largest that needs no
    enlarging, or the smallest if all do.

    Args:
        sizes: Height and width of each picture, `[N, 2]`; zeros if it cannot be read.
        buckets: Sizes to choose from.

    Returns:
        Indices into `buckets`, `[N]`; 0 for what cannot be read.
    """
    every = np.array([(b.height, b.width) for b in buckets], np.float64)
    known = sizes.min(axis=1) > 0
    real = np.where(known[:, None], sizes, every[:1])
    off = np.abs(np.log(real[:, :1] / real[:, 1:]) - np.log(every[:, 0] / every[:, 1]))
    is_near = off <= off.min(axis=1, keepdims=True) + _ALIKE
    scale = np.minimum(real[:, :1] / every[:, 0], real[:, 1:] / every[:, 1])
    area = every.prod(axis=1)
    # Large ones first among those that fit, small ones first among those that do not.
    rank = np.where(scale >= 1, area, -area)
    chosen = np.where(is_near, rank, -np.inf).argmax(axis=1)
    return np.where(known, chosen, 0)


def measure(records: Records, split: str) -> np.ndarray:
    """Returns height and width of every picture, int32 `[N, 2]`, zeros for unreadable ones."""
    name = hashlib.sha256(f"{records.digest}/{split}".encode()).hexdigest()[:32]
    folder = cli.cache_folder("sizes")
    cached = folder and folder / f"{name}.npy"
    if cached and cached.exists():
        return np.load(cached)
    sizes = np.zeros((len(records), 2), np.int32)

    def fill(start: int) -> int:
        chunk = range(start, min(start + _CHUNK, len(records)))
        for index in chunk:
            try:
                size = size_of(records[index])
            except Rejected:
                continue
            sizes[index] = size.height, size.width
        return len(chunk)

    what = f"measuring the pictures of {cli.printable(str(records.folder))}"
    with (
        progress.work(what, len(records)) as told,
        concurrent.futures.ThreadPoolExecutor(_THREADS) as pool,
    ):
        for count in pool.map(fill, range(0, len(records), _CHUNK)):
            told.add(count)
    if not cached or not sizes.all():  # what cannot be read today may be there tomorrow
        return sizes
    try:
        with files.replacing(cached) as partial, partial.open("wb") as file:
            np.save(file, sizes)
    except OSError:
        cli.logger(__name__).warning("%s cannot be written", cached)
    return sizes


def size_of(record: Record) -> Size:
    """Returns the size of a record's picture; for a sample of a tar, from the picture's header.

    Raises:
        Rejected: If it is no picture.
    """
    if record.width and record.height:
        return Size(record.height, record.width)
    return pictures.measure(record.image)


class Selection:
    """Some of the records of a corpus."""

    def __init__(self, records: Records, chosen: np.ndarray) -> None:
        """Keeps the records with these indices."""
        self.folder, self._records, self._chosen = records.folder, records, chosen

    @property
    def digest(self) -> str:
        """A digest of the whole corpus."""
        return self._records.digest

    @property
    def held_out(self) -> int:
        """The number of pictures of the whole corpus that are never trained on."""
        return self._records.held_out

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Record:
        """Reads a record."""
        return self._records[int(self._chosen[index])]
