# SPDX-License-Identifier: Apache-2.0
"""What is known of the pictures of a part that passed: beside them in files, for who decides.

    NNNNNN.arrayrecord    the pictures, in the order of the input
    NNNNNN.jsonl          why the others did not pass
    NNNNNN.looks          a closer look at each picture, `pictures.LOOK_BYTES` bytes
    NNNNNN.npz            numbers that decide, and keys; written last

Who decides holds some numbers of every picture, about 100 bytes. Everything else is read when it is
asked for: the keys of what is left out, the looks of what may be a duplicate.
"""

import dataclasses
import functools
import io
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from omnigen import files
from omnigen.data.corpus import pictures, records
from omnigen.data.corpus.records import Record, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.prepare.texts import Texts

SPLITS = ("", *Split)  # that the input may name
_DIGEST = 16  # bytes
_CACHED = 1024  # looks
_OPEN = 64  # parts
_NO_LOOK = pictures.Look(0, np.zeros(48, np.uint8), np.zeros(0, np.uint8))


@dataclasses.dataclass(frozen=True)
class Fact:
    """What is known of one picture.

    Attributes:
        digest: Digest of the file as it was found, 16 bytes.
        look: Look at the picture, see `pictures.look`; None if an earlier one of its part is equal.
        size: Size in bytes of the file that is kept.
        license: Licence that the input names; empty if it names none.
        split: Split that the input names, one of `SPLITS`.
    """

    digest: bytes
    look: pictures.Look | None
    size: int
    license: str
    split: str


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of all pictures that passed, by number; each field is `[N]` unless said.

    Attributes:
        starts: Number of the first picture of each part, and `N`; int64 `[parts + 1]`.
        digest: Digests of the files, uint8 `[N, 16]`.
        bits: Perceptual hashes, uint64; see `pictures.Look`.
        colors: Mean colours, uint8 `[N, 48]`; see `pictures.Look`.
        size: Sizes of the files in bytes, int64.
        rank: Ranks of the keys, float64; see `records.rank`.
        license: Places in `licenses`, int32.
        split: Places in `SPLITS`, uint8.
        licenses: All licences that are named, after an empty one.
    """

    starts: np.ndarray
    digest: np.ndarray
    bits: np.ndarray
    colors: np.ndarray
    size: np.ndarray
    rank: np.ndarray
    license: np.ndarray
    split: np.ndarray
    licenses: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.size)

    def place(self, number: int) -> tuple[int, int]:
        """Returns the part of a picture, and its number there."""
        part = int(np.searchsorted(self.starts, number, "right")) - 1
        return part, number - int(self.starts[part])

    def count(self, part: int) -> int:
        """Returns the number of pictures of a part."""
        return int(self.starts[part + 1] - self.starts[part])


def is_written(path: pathlib.Path) -> bool:
    """Returns whether all files of a part are there; `path` names its pictures."""
    return path.with_suffix(".npz").exists()


class Notes:
    """Writes what is known of a part at the end of a block, unless that fails.

    Each file appears at once or not at all.

    Raises:
        OSError: If a file cannot be written.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Begins with nothing known.

        Args:
            path: Path of the part's pictures.
        """
        self._path = path
        self._keys: list[str] = []
        self._found: list[Fact] = []
        self._rejects: list[str] = []
        self._looks = records.partial(path.with_suffix(".looks"))
        self._file = self._looks.open("wb")

    def add(self, key: str, fact: Fact) -> None:
        """Adds a picture that passed; its closer look is written and not kept."""
        self._keys.append(key)
        fine = np.zeros(pictures.LOOK_BYTES, np.uint8) if fact.look is None else fact.look.fine
        with files.naming(self._path.with_suffix(".looks")):
            self._file.write(fine.tobytes())
        if fact.look:
            look = dataclasses.replace(fact.look, fine=fine[:0])
            fact = dataclasses.replace(fact, look=look)
        self._found.append(fact)

    def reject(self, line: str) -> None:
        """Adds a picture that did not pass; see `reject_line`."""
        self._rejects.append(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        try:
            with files.naming(self._path.with_suffix(".looks"), self._looks):
                self._file.close()
                if kind is None:
                    self._looks.replace(self._path.with_suffix(".looks"))
                    self._finish()
        finally:
            self._looks.unlink(missing_ok=True)

    def _finish(self) -> None:
        found, texts = self._found, Texts.of(self._keys)
        names = sorted({fact.license for fact in found})
        places, licenses = {name: k for k, name in enumerate(names)}, Texts.of(names)
        looks = [fact.look or _NO_LOOK for fact in found]
        content = io.BytesIO()  # an archive on a full disk complains once more when it is forgotten
        np.savez(
            content,
            digest=np.frombuffer(b"".join(f.digest for f in found), np.uint8).reshape(-1, _DIGEST),
            bits=np.array([look.bits for look in looks], np.uint64),
            colors=np.array([look.colors for look in looks], np.uint8).reshape(-1, 48),
            size=np.array([f.size for f in found], np.int64),
            rank=np.array([records.rank(key) for key in self._keys], np.float64),
            license=np.array([places[f.license] for f in found], np.int32),
            split=np.array([SPLITS.index(f.split) for f in found], np.uint8),
            key_blob=texts.blob,
            key_ends=texts.ends,
            license_blob=licenses.blob,
            license_ends=licenses.ends,
        )
        _put(self._path.with_suffix(".jsonl"), "".join(f"{r}\n" for r in self._rejects).encode())
        _put(self._path.with_suffix(".npz"), content.getvalue())


def _put(path: pathlib.Path, data: bytes) -> None:
    partial = records.partial(path)  # another one on every machine
    try:
        with files.naming(path, partial):
            partial.write_bytes(data)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(paths: Sequence[pathlib.Path]) -> Facts:
    """Reads what decides about the pictures of all parts, which `paths` name."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
    places = {"": 0}  # of licences
    for path in paths:
        with np.load(path.with_suffix(".npz")) as arrays:
            for name, column in columns.items():
                column.append(arrays[name])
            named = Texts(arrays["license_blob"], arrays["license_ends"])
        here = np.array([places.setdefault(name, len(places)) for name in named], np.int32)
        columns["license"][-1] = here[columns["license"][-1]]
    starts = np.cumsum([0, *(len(size) for size in columns["size"])])
    joined = {name: np.concatenate(column) for name, column in columns.items()}
    return Facts(starts=starts, licenses=tuple(places), **joined)


_COLUMNS = ("digest", "bits", "colors", "size", "rank", "license", "split")


class Files:
    """Reads what is known of pictures and not held in memory."""

    def __init__(self, paths: Sequence[pathlib.Path], facts: Facts) -> None:
        """Opens nothing yet.

        Args:
            paths: Paths of the pictures of each part.
            facts: What is known of all pictures.
        """
        self._paths, self._facts = paths, facts
        # Caches of their own: another corpus may come to lie where this one was.
        self._look = functools.lru_cache(_CACHED)(self._read_look)
        self._keys = functools.lru_cache(_OPEN)(self._read_keys)
        self._open = functools.lru_cache(_OPEN)(self._open_part)

    def look(self, number: int) -> np.ndarray:
        """Returns a closer look at a picture; see `pictures.Look.fine`."""
        return self._look(number)

    def key(self, number: int) -> str:
        """Returns the key of a picture."""
        part, place = self._facts.place(number)
        return self._keys(part)[place]

    def captions(self, number: int) -> tuple[str, ...]:
        """Returns the captions of a picture; none if it is damaged."""
        part, place = self._facts.place(number)
        try:
            return self._open(part)[place].captions
        except Rejected:
            return ()

    def rejects(self, part: int) -> Iterator[str]:
        """Yields lines about the pictures of a part that did not pass."""
        with self._paths[part].with_suffix(".jsonl").open(encoding="utf-8") as lines:
            yield from (line.rstrip("\n") for line in lines)

    def _read_look(self, number: int) -> np.ndarray:
        part, place = self._facts.place(number)
        with self._paths[part].with_suffix(".looks").open("rb") as file:
            file.seek(place * pictures.LOOK_BYTES)
            return np.frombuffer(file.read(pictures.LOOK_BYTES), np.uint8)

    def _read_keys(self, part: int) -> Texts:
        with np.load(self._paths[part].with_suffix(".npz")) as arrays:
            return Texts(arrays["key_blob"], arrays["key_ends"])

    def _open_part(self, part: int) -> records.ShardReader:
        return records.ShardReader(self._paths[part], self._facts.count(part))


def reject_line(key: str, reason: records.Reason, detail: str) -> str:
    """Returns a line about a rejected picture, in ASCII, as keys may not be valid Unicode."""
    return json.dumps({"key": key, "reason": reason, "detail": detail}, ensure_ascii=True)


def merge(records_: Sequence[Record], license_: str) -> Record:
    """Returns one record of equal pictures: the first, with the captions and attributes of all.

    Args:
        records_: Records in their order; each caption stays once, and an attribute is that of the
            first record which has it.
        license_: Licence if no record has one; "" for none.
    """
    captions = dict.fromkeys(caption for record in records_ for caption in record.captions)
    attributes: dict[str, str] = {}
    for record in records_:
        for name, value in record.attributes.items():
            attributes.setdefault(name, value)
    if license_:
        attributes.setdefault("license", license_)
    return dataclasses.replace(records_[0], captions=tuple(captions), attributes=attributes)
