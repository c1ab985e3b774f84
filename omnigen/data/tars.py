# SPDX-License-Identifier: Apache-2.0
"""WebDataset tars as they are, to train on without preparing anything.

A tar is a list of headers and files. Its headers are read once, and where every sample's files lie
is kept in the cache; from then on a sample is found and read by its number, at once, so that tars
are shuffled, mixed and resumed like a prepared corpus. Nothing is filtered: what does not decode is
replaced when it comes up, and a sample without a caption has none. The pictures that are held out
are those that `prepare` would hold out.
"""

import bisect
import functools
import hashlib
import logging
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from omnigen import cli
from omnigen.data import records, sources, webdataset
from omnigen.data.records import Corpus, Record, Records, Rejected
from omnigen.data.scenes.scene import Split
from omnigen.data.webdataset import IMAGES, Member

FORMAT = 2  # of the index
_SPANS = ("image", ".txt", ".json")  # files of a sample that are read
_OPEN_TARS = 256  # at a time, well below the usual limit on open files


def open_records(path: str | pathlib.Path, split: Split) -> Records:
    """Opens a prepared corpus, or tars.

    Raises:
        ValueError: it is neither.
    """
    place = pathlib.Path(path)
    is_plain = place.is_dir() and not records.is_corpus(place)
    if place.suffix.lower() == ".tar" or (is_plain and _tars(place)):
        return TarCorpus(path, split)
    return Corpus(path, split)


def _tars(path: pathlib.Path) -> list[pathlib.Path]:
    files = sources.files_in(path)
    return [file for file in files if file.suffix.lower() == ".tar"] if path.is_dir() else files


class TarCorpus:
    """The samples of one tar or of all tars of a folder that have a picture, by index.

    Attributes:
        folder: the tar or the folder.
        split: which samples; those whose keys rank lowest are for the test, one in a hundred.
        held_out: how many of all samples are for the test.
    """

    def __init__(self, path: str | pathlib.Path, split: Split = Split.TRAIN) -> None:
        """Reads the headers of tars that are new or have changed since.

        Raises:
            ValueError: no tar, or no sample with a picture.
        """
        self.folder, self.split = pathlib.Path(path), split
        self._files = _tars(self.folder)
        self._indices = [_index(file) for file in self._files]
        self._starts = [0, *np.cumsum([len(index) for index in self._indices]).tolist()]
        ranks = np.concatenate([index["rank"] for index in self._indices])
        if not len(ranks):
            raise ValueError(
                f"{str(path)!r} holds no pictures; allowed: tars of samples with one of "
                f"{', '.join(IMAGES)}"
            )
        is_test = ranks < records.TEST_FRACTION
        if not is_test.any() and len(ranks) > 1:
            is_test[np.argmin(ranks)] = True
        self.held_out = int(is_test.sum())
        self._chosen = np.flatnonzero(is_test == (split == Split.TEST))

    def __reduce__(self) -> tuple:
        """Worker processes read the index from the cache."""
        return TarCorpus, (self.folder, self.split)

    @property
    def digest(self) -> str:
        """Of all names, sizes and places."""
        digest = hashlib.sha256()
        for file, index in zip(self._files, self._indices, strict=True):
            digest.update(f"{file.name}/{file.stat().st_size}/".encode())
            digest.update(index.tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Record:
        """Reads a sample; its size in pixels is not known before it is decoded, and 0 here.

        Raises:
            Rejected: the tar ends before it does, or is gone.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = int(self._chosen[index])
        number = bisect.bisect_right(self._starts, place) - 1
        row = self._indices[number][place - self._starts[number]]
        spans = zip(_SPANS, row["spans"].tolist(), strict=True)
        members = [
            Member(IMAGES[0] if name == "image" else name, offset, size)
            for name, (offset, size) in spans
            if offset
        ]
        key = bytes(row["key"]).decode("utf-8", "surrogatepass")
        try:
            file = _open(self._files[number])
            raw = webdataset.read_sample(file.descriptor, key, members)
        except OSError as error:
            raise Rejected(records.Reason.MISSING, str(error)) from error
        if isinstance(raw.image, Rejected):
            raise raw.image
        return Record(key, raw.image, 0, 0, raw.captions, raw.attributes)


class _Open:
    """A file that is closed when nobody reads it any more."""

    def __init__(self, path: pathlib.Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


_open = functools.lru_cache(_OPEN_TARS)(_Open)


def _index(path: pathlib.Path) -> np.ndarray:
    """The samples of a tar that have a picture, `[N]` of key, rank and spans; from the cache."""
    if not path.is_file():
        raise ValueError(f"{str(path)!r}: no such tar")
    name = f"{FORMAT}/{path.resolve()}/{sources.stamp(path)}"
    folder = cli.cache_folder("tars")
    if folder is None:
        return _read_headers(path)
    cached = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npy"
    if not cached.exists():
        index = _read_headers(path)
        logging.getLogger(__name__).info("%s: %d samples", path, len(index))
        partial = cached.with_suffix(f".{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                np.save(file, index)
            partial.replace(cached)
        except OSError:
            return index
    return np.load(cached, mmap_mode="r" if cached.stat().st_size > 1 << 12 else None)


def _read_headers(path: pathlib.Path) -> np.ndarray:
    read = webdataset.index_tar(path)
    if read.damage:
        logging.getLogger(__name__).warning("%s: %s", path, read.damage)
    found = [(key, _spans(members)) for key, members in read.samples.items()]
    found = [(key, spans) for key, spans in found if spans[0][0]]
    keys = np.array([key.encode("utf-8", "surrogatepass") for key, _ in found], np.bytes_)
    fields = [("key", keys.dtype), ("rank", "<f8"), ("spans", "<i8", (len(_SPANS), 2))]
    index = np.zeros(len(found), fields)
    index["key"] = keys
    index["rank"] = [records.rank(key) for key, _ in found]
    if found:
        index["spans"] = [spans for _, spans in found]
    return index


def _spans(members: Sequence[Member]) -> list[tuple[int, int]]:
    """Offset and size of the files that are read; zeros for those that are not there."""
    spans: dict[str, tuple[int, int]] = dict.fromkeys(_SPANS, (0, 0))
    for member in members:
        name = "image" if member.suffix in IMAGES else member.suffix
        if name in spans and not spans[name][0]:
            spans[name] = (member.offset, member.size)
    return list(spans.values())
