# SPDX-License-Identifier: Apache-2.0
"""WebDataset tars as they are, to train on without preparing anything.

A tar is a list of headers and files. Its headers are read once, and where every sample's files lie
is kept in the cache; from then on a sample is found and read by its number, at once, so that tars
are shuffled, mixed and resumed like a prepared corpus. Nothing is filtered: what does not decode is
replaced when it comes up, and a sample without a caption has none. The pictures that are held out
are those that `prepare` would hold out: by the names of tars and of folders in them, or, if none is
named so, by their keys.
"""

import bisect
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from omnigen import cli, files, progress
from omnigen.data.corpus import names, reading, records, webdataset
from omnigen.data.corpus.records import Corpus, Record, Records, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.corpus.webdataset import Member, Sample
from omnigen.progress import Unit

FORMAT = 3  # of the index
_SPANS = 3  # files of a sample that are read: its picture, its text, its JSON
_MOST_KEY = 240  # bytes of a key that is kept; every key takes as much as the longest of its tar
_WRONG = "its header is wrong"
_OPEN_TARS = 256  # at a time, well below the usual limit on open files


def open_records(path: str | pathlib.Path, split: Split) -> Records:
    """Opens a prepared corpus, or tars.

    Raises:
        ValueError: If it is neither.
    """
    path = cli.expand(str(path))
    place = pathlib.Path(path)
    is_plain = place.is_dir() and not records.is_corpus(place)
    if place.suffix.lower() == ".tar" or (is_plain and _tars(place)):
        return TarCorpus(path, split)
    return Corpus(path, split)


def _tars(path: pathlib.Path) -> list[pathlib.Path]:
    if not path.is_dir():
        return [path]
    return [file for file in files.walk(path) if file.suffix.lower() == ".tar"]


class TarCorpus:
    """The samples of one tar or of all tars of a folder that have a picture, by index.

    Attributes:
        folder: Path of the tar or the folder.
        split: Split of the samples. If names of tars or folders tell which are for the test, those
            are; otherwise those whose keys rank lowest, one in a hundred.
        held_out: Number of all samples that are for the test.
    """

    def __init__(self, path: str | pathlib.Path, split: Split = Split.TRAIN) -> None:
        """Reads the headers of tars that are new or have changed since.

        Raises:
            ValueError: If there is no tar, or no sample with a picture.
        """
        self.folder, self.split = pathlib.Path(path), split
        self._files, self._indices = _open_all(self.folder)
        self._starts = [0, *np.cumsum([len(index) for index in self._indices]).tolist()]
        ranks = np.concatenate([index["rank"] for index in self._indices])
        if not len(ranks):
            raise ValueError(
                f"{str(path)!r} holds no pictures; allowed: tars of samples with one of "
                f"{', '.join(files.PICTURES)}"
            )
        is_test = np.concatenate([
            index["test"] | bool(file != self.folder and _test(file, self.folder))
            for file, index in zip(self._files, self._indices, strict=True)
        ])  # fmt: skip
        if not is_test.any():
            is_test = ranks < records.TEST_FRACTION
        if not is_test.any() and len(ranks) > 1:
            is_test[np.argmin(ranks)] = True
        self.held_out = int(is_test.sum())
        self._chosen = np.flatnonzero(is_test == (split == Split.TEST))

    def __reduce__(self) -> tuple:
        """Pickles the arguments alone: worker processes read the index from the cache."""
        return TarCorpus, (self.folder, self.split)

    @property
    def digest(self) -> str:
        """A digest of all names, sizes and places."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        digest, what = hashlib.sha256(), f"digesting the index of {cli.printable(str(self.folder))}"
        with progress.work(what, sum(i.nbytes for i in self._indices), unit=Unit.BYTE) as told:
            for file, index in zip(self._files, self._indices, strict=True):
                digest.update(f"{file.name}/{file.stat().st_size}/".encode())
                digest.update(index.tobytes())
                told.add(index.nbytes)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Record:
        """Reads a sample; its size in pixels is not known before it is decoded, and 0 here.

        Raises:
            Rejected: If the tar ends before it does, or is gone.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = int(self._chosen[index])
        number = bisect.bisect_right(self._starts, place) - 1
        row = self._indices[number][place - self._starts[number]]
        key = bytes(row["key"]).decode("utf-8", "surrogatepass")
        # Names are not kept: the key says which picture it is.
        image, text, json_ = (
            Member(key, offset, max(size, 0), _WRONG if size < 0 else "") if offset else None
            for offset, size in row["spans"].tolist()
        )
        with reading.blamed(str(self._files[number])):
            # Held as long as it is read: of two threads that open a tar at once, the cache keeps
            # the file of one, and that of the other is closed as soon as it is forgotten.
            opened = _open(self._files[number])
            raw = webdataset.read_sample(opened.file.fileno(), Sample(key, image, text, json_))
        if isinstance(raw.image, Rejected):
            raise raw.image
        return Record(key, raw.image, 0, 0, raw.captions, raw.attributes)


class _Open:
    """A file that is closed when the last reference to it goes."""

    def __init__(self, path: pathlib.Path) -> None:
        self.file = files.open_regular(path)

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


_open = functools.lru_cache(_OPEN_TARS)(_Open)


def _test(file: pathlib.Path, folder: pathlib.Path) -> bool:
    """Returns whether a tar of a folder is for the test by its name."""
    return bool(names.test_of_file(file.relative_to(folder).as_posix()))


def _open_all(path: pathlib.Path) -> tuple[list[pathlib.Path], list[np.ndarray]]:
    """Opens the tars that can be read, with their indices; warns of others if there are any.

    Raises:
        ValueError: If there is no such tar, or none can be read.
    """
    found, broken, notes = {}, list[str](), Counter[str]()
    every = _tars(path)
    what, size = f"reading the headers of {cli.printable(str(path))}", sum(map(_unread, every))
    with progress.work(what, size, unit=Unit.BYTE) as told:
        for file in every:
            try:
                index, counts = _index(file, told.add)
            except (OSError, ValueError) as error:
                if len(every) == 1:
                    raise ValueError(f"{str(path)!r}: {error}") from error
                broken.append(str(error))
                continue
            found[file] = index
            notes.update(counts)
    if not found:
        raise ValueError(f"{str(path)!r}: none of {len(every)} tars can be read: {broken[0]}")
    told = [cli.counted(count, what) for what, count in sorted(notes.items())]
    if broken:
        such = ", such as" if len(broken) > 1 else ""
        unread = cli.counted(len(broken), "tars that cannot be read")
        told.append(f"{unread}{such}: {cli.printable(broken[0])}")
    if told:
        _tell(f"{cli.printable(str(path))}: left out: {'; '.join(told)}")
    return [*found], [*found.values()]


@functools.lru_cache
def _tell(text: str) -> None:
    """Warns, once; workers leave it to the process that started them."""
    if multiprocessing.parent_process() is None:
        cli.logger(__name__).warning("%s", text)


def _cache_of(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the path where the index of a tar as it is now is kept, if anywhere."""
    name = f"{FORMAT}/{path.resolve()}/{files.stamp(path)}"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    folder = cli.cache_folder("tars")
    return folder and folder / f"{digest}.npy"


def _unread(path: pathlib.Path) -> int:
    """Returns the bytes of a tar that must be read; 0 if the cache has it, or it is unreadable."""
    try:
        cached = _cache_of(path)
        return 0 if cached and cached.exists() else path.stat().st_size
    except OSError:
        return 0


def _index(path: pathlib.Path, tell: Callable[[int], None]) -> tuple[np.ndarray, dict[str, int]]:
    """Returns the samples of a tar that have a picture, from the cache, and counts of the rest.

    Args:
        path: Path of the tar.
        tell: Callback, as for `webdataset.index_tar`.

    Returns:
        `[N]` of key, rank, test and spans; and the counts by what they are of.

    Raises:
        OSError: If the tar cannot be read.
        ValueError: If it is no tar.
    """
    if not os.path.lexists(path):
        raise ValueError(f"{str(path)!r}: no such tar")
    files.check_regular(path)
    cached = _cache_of(path)
    if cached is None:
        return _read_headers(path, tell)
    notes = cached.with_suffix(".json")
    if not cached.exists():
        index, counts = _read_headers(path, tell)
        try:
            files.write(notes, json.dumps(counts))
            with files.replacing(cached) as partial, partial.open("wb") as file:
                np.save(file, index)
        except OSError:
            return index, counts
    is_large = cached.stat().st_size > 1 << 12
    return np.load(cached, mmap_mode="r" if is_large else None), json.loads(notes.read_text())


def _read_headers(
    path: pathlib.Path, tell: Callable[[int], None]
) -> tuple[np.ndarray, dict[str, int]]:
    read = webdataset.index_tar(path, tell)
    if read.damage:
        cli.logger(__name__).warning("%s: %s", path, cli.printable(read.damage))
    counts = Counter[str]()
    found = list[Sample]()
    for sample in webdataset.samples_of(read):
        if sample.picture is None:
            counts["samples without a picture"] += 1
        elif sample.is_second:
            counts["second pictures of samples"] += 1
        elif names.split_suffix(sample.picture.name)[1] in files.FOREIGN_PICTURES:
            counts["pictures of formats that are not read"] += 1
        else:
            found.append(sample)
    keys = np.array([_short(sample.key) for sample in found], np.bytes_)
    fields: Any = [("key", keys.dtype), ("rank", "<f8"), ("test", "?")]
    index = np.zeros(len(found), [*fields, ("spans", "<i8", (_SPANS, 2))])
    index["key"] = keys
    index["rank"] = [records.rank(sample.key) for sample in found]
    index["test"] = [bool(names.test_of_folders(sample.key.rpartition("/")[0])) for sample in found]
    if found:
        index["spans"] = [_spans(sample) for sample in found]
    return index, dict(counts)


def _short(key: str) -> bytes:
    """Shortens a long key to its beginning and a hash."""
    whole = key.encode("utf-8", "surrogatepass")
    if len(whole) <= _MOST_KEY:
        return whole
    return f"{key[: _MOST_KEY // 8]}-{hashlib.sha256(whole).hexdigest()}".encode(
        "utf-8", "surrogatepass"
    )


def _spans(sample: Sample) -> list[tuple[int, int]]:
    """Returns offset and size of the files that are read, zeros for absent ones.

    The size of one that cannot be read is -1.
    """
    members = (sample.picture, sample.text, sample.json)
    spans = [(m.offset, m.size) if m else (0, 0) for m in members]
    return [(1, -1) if m and m.wrong else span for m, span in zip(members, spans, strict=True)]
