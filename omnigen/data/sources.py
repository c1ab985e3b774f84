# SPDX-License-Identifier: Apache-2.0
"""What people have: folders, tables, WebDataset tars, parquet, ArrayRecord; cut into parts.

Whatever the form, it becomes a list of parts of some hundred pictures, in an order that depends on
names alone. A part says where its pictures are and is read by itself, by any process.
"""

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from omnigen.data import fields, records, webdataset
from omnigen.data.fields import attributes_of, captions_of
from omnigen.data.records import Raw, Reason, Rejected
from omnigen.data.scenes.scene import Split
from omnigen.data.webdataset import IMAGES, Member

PART = 512  # pictures
TABLES = (".jsonl", ".csv", ".tsv")
SHEETS = tuple(f"contact-{split}.png" for split in Split)  # that `inspect` writes
IMAGE_COLUMNS = ("file_name", "image_path", "image", "path", "file", "filename")
Stamp = tuple[int, int] | None


class Part(Protocol):
    """Some pictures of the input. Its `repr` tells it from any other, also of changed files."""

    def __len__(self) -> int:
        """About how many pictures it has."""
        ...

    def read(self) -> Iterator[Raw]:
        """Reads the pictures in their order."""
        ...


def find(path: pathlib.Path) -> list[Part]:
    """Recognises what a path holds and cuts it into parts.

    Raises:
        ValueError: there is nothing to read, or more than one kind of thing.
    """
    if not path.exists():
        raise ValueError(f"input {str(path)!r}: no such file or folder")
    path = pathlib.Path(os.path.abspath(path))
    if records.is_corpus(path):
        return _corpus(path)
    files = [file for file in files_in(path) if file == path or not _is_beside(file)]
    found: dict[str, list[pathlib.Path]] = {}
    for name, (suffixes, _) in _FORMS.items():
        found[name] = [file for file in files if file.suffix.lower() in suffixes]
    forms = [name for name, chosen in found.items() if chosen]
    if "tables" in forms and "pictures" in forms:
        forms.remove("pictures")  # which the tables name
    if len(forms) > 1:
        counts = ", ".join(f"{len(found[name])} {name}" for name in forms)
        raise ValueError(f"input {str(path)!r} holds {counts}; name the folder or file to read")
    if not forms:
        raise ValueError(
            f"input {str(path)!r} holds nothing to read; allowed: pictures "
            f"({', '.join(IMAGES)}) beside .txt files, a table of them ({', '.join(TABLES)}), "
            f"WebDataset .tar, .parquet, {records.SUFFIX}"
        )
    return _FORMS[forms[0]][1](found[forms[0]], path)


def files_in(path: pathlib.Path) -> list[pathlib.Path]:
    """All files of a folder, also in folders that are linked; or the file that `path` is.

    Raises:
        OSError: a folder cannot be read.
    """
    if not path.is_dir():
        return [path]
    found, seen = [], set()

    def refuse(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(path, followlinks=True, onerror=refuse):
        folders.sort()  # so that of two ways to a folder the same is taken everywhere
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [pathlib.Path(folder, name) for name in names]
    return sorted(found)


def _is_beside(file: pathlib.Path) -> bool:
    """Whether a file tells of pictures beside it, and holds none that are meant.

    Such are the metadata that img2dataset writes beside its tars or folders, and contact sheets.
    """
    if file.name in SHEETS:
        return True
    if file.suffix.lower() != ".parquet" or not file.with_name(f"{file.stem}_stats.json").exists():
        return False
    return file.with_suffix(".tar").is_file() or file.with_suffix("").is_dir()


def stamp(path: pathlib.Path | None) -> Stamp:
    """Size and time of a file, what changes when it does; None if there is none."""
    try:
        stat = path.stat() if path else None
    except (OSError, ValueError):
        return None
    return stat and (stat.st_size, stat.st_mtime_ns)


def _cut(items: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(items), PART):
        yield tuple(items[start : start + PART])


def _stem(name: str) -> str:
    """A file's name up to its last dot, with the folders before it."""
    path = pathlib.PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name


def _read_file(path: pathlib.Path) -> bytes | Rejected:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        return Rejected(Reason.MISSING, str(error))


@dataclasses.dataclass(frozen=True)
class _Broken:
    """What could not be read, in place of pictures."""

    key: str
    reason: Reason
    detail: str

    def __len__(self) -> int:
        return 1

    def read(self) -> Iterator[Raw]:
        yield Raw(self.key, Rejected(self.reason, self.detail), (), {})


@dataclasses.dataclass(frozen=True)
class _Files:
    """Picture files, each with its `fields.SIDECARS`, or "" for those that are not there."""

    root: str
    names: tuple[tuple[str, ...], ...]
    stamps: tuple[tuple[Stamp, ...], ...]

    def __len__(self) -> int:
        return len(self.names)

    def read(self) -> Iterator[Raw]:
        for name, *beside in self.names:
            image, said = _read_file(pathlib.Path(self.root, name)), {}
            named = zip(fields.SIDECARS, beside, strict=True)
            try:
                files = {kind: _require(pathlib.Path(self.root, n)) for kind, n in named if n}
                said = fields.beside(files)
            except Rejected as rejected:
                image = rejected
            yield Raw(_stem(name), image, captions_of(said), attributes_of(said))


def _require(path: pathlib.Path) -> bytes:
    read = _read_file(path)
    if isinstance(read, Rejected):
        raise read
    return read


def _folder(chosen: list[pathlib.Path], root: pathlib.Path) -> list[Part]:
    every = files_in(root) if root.is_dir() else root.parent.iterdir()
    root = root if root.is_dir() else root.parent
    beside = {file.with_suffix(file.suffix.lower()): file for file in every}
    parts: list[Part] = []
    for chunk in _cut(chosen):
        files = [
            (file, *(beside.get(file.with_suffix(kind)) for kind in fields.SIDECARS))
            for file in chunk
        ]
        names = [[file.relative_to(root).as_posix() if file else "" for file in f] for f in files]
        stamps = [tuple(map(stamp, f)) for f in files]
        parts.append(_Files(str(root), tuple(map(tuple, names)), tuple(stamps)))
    return parts


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows of a table, as JSON, that name files beside it."""

    root: str
    rows: tuple[str, ...]
    stamps: tuple[Stamp, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self) -> Iterator[Raw]:
        for row in self.rows:
            said = json.loads(row)
            name = _named(said)
            if not name:
                missing = Rejected(Reason.MISSING, f"no column of {', '.join(IMAGE_COLUMNS)}")
                yield Raw("", missing, captions_of(said), {})
                continue
            image = _read_file(pathlib.Path(self.root, name))
            yield Raw(_stem(name), image, captions_of(said), attributes_of(said))


def _named(row: dict[str, Any]) -> str:
    """The picture that a row names, or nothing."""
    return next((str(row[name]) for name in IMAGE_COLUMNS if row.get(name)), "")


def _tables(files: list[pathlib.Path], root: pathlib.Path) -> list[Part]:
    parts: list[Part] = []
    for file in files:
        rows = list(_rows(file))
        names = [_named(row) for row in rows]
        if rows and not any(names):
            raise ValueError(
                f"{str(file)!r} names no pictures: its columns are {', '.join(rows[0])}; "
                f"allowed: one of {', '.join(IMAGE_COLUMNS)}"
            )
        for chunk in _cut(list(zip(rows, names, strict=True))):
            texts = tuple(json.dumps(row, sort_keys=True) for row, _ in chunk)
            stamps = tuple(stamp(file.parent / name) if name else None for _, name in chunk)
            parts.append(_Rows(str(file.parent), texts, stamps))
    return parts


def _rows(file: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The rows of a table.

    Raises:
        ValueError: names the file, the line and what is wrong there.
    """
    read = _json_rows if file.suffix.lower() == ".jsonl" else _csv_rows
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield from read(file, lines)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: {error}; allowed: UTF-8") from error


def _json_rows(file: pathlib.Path, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{file}, line {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{file}, line {number}: not an object")
            yield row


def _csv_rows(file: pathlib.Path, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{file}, line {reader.line_num + 1}: {error}") from error
        if row is None:
            return
        if None in row:
            raise ValueError(
                f"{file}, line {reader.line_num}: more fields than the header has; "
                f"put quotes around a text with {delimiter!r}"
            )
        yield row


@dataclasses.dataclass(frozen=True)
class _Tar:
    """Samples of a WebDataset tar."""

    path: str
    stamp: Stamp
    samples: tuple[tuple[str, tuple[Member, ...]], ...]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self) -> Iterator[Raw]:
        with open(self.path, "rb") as file:
            for key, members in self.samples:
                yield webdataset.read_sample(file.fileno(), key, members)
                for member in [m for m in members if m.suffix in IMAGES][1:]:
                    second = Rejected(Reason.DUPLICATE, "a second picture of the sample")
                    yield Raw(f"{key}{member.suffix}", second, (), {})


def _tars(files: list[pathlib.Path], root: pathlib.Path) -> list[Part]:
    parts: list[Part] = []
    for file in files:
        index = webdataset.index_tar(file)
        samples = list(index.samples.items())
        parts += [_Tar(str(file), stamp(file), chunk) for chunk in _cut(samples)]
        if index.damage:
            parts.append(_Broken(file.name, Reason.DAMAGED, index.damage))
    return parts


@dataclasses.dataclass(frozen=True)
class _RowGroup:
    """A row group of a parquet file with `image: {bytes, path}`, as on the Hugging Face Hub."""

    path: str
    stamp: Stamp
    number: int
    count: int
    first: int

    def __len__(self) -> int:
        return self.count

    def read(self) -> Iterator[Raw]:
        import pyarrow.parquet

        row = self.first
        try:
            file = pyarrow.parquet.ParquetFile(self.path)
            wanted = {*IMAGE_COLUMNS, *fields.COLUMNS, "key"} & {*file.schema_arrow.names}
            for batch in file.iter_batches(64, row_groups=[self.number], columns=sorted(wanted)):
                for place in range(batch.num_rows):
                    yield self._converted(batch.slice(place, 1), row)
                    row += 1
        except (OSError, pyarrow.ArrowException) as error:
            for lost in range(row, self.first + self.count):
                yield Raw(self._key(lost), Rejected(Reason.DAMAGED, str(error)), (), {})

    def _converted(self, one: Any, row: int) -> Raw:
        """A batch of one row; what Python cannot hold is told."""
        try:
            (said,) = one.to_pylist()
        except (ValueError, OverflowError) as error:
            return Raw(self._key(row), Rejected(Reason.DAMAGED, str(error)), (), {})
        return self._raw(said, row)

    def _key(self, row: int) -> str:
        return f"{pathlib.Path(self.path).stem}/{row}"

    def _raw(self, said: dict[str, Any], row: int) -> Raw:
        key = str(said.get("key") or "")
        image: bytes | Rejected = Rejected(Reason.MISSING, "no bytes in the row")
        for name in IMAGE_COLUMNS:
            value = said.get(name)
            held = value.get("bytes") if isinstance(value, dict) else value
            if isinstance(held, bytes):
                image = held
                if isinstance(value, dict):
                    key = key or _stem(str(value.get("path") or ""))
                break
        return Raw(key or self._key(row), image, captions_of(said), attributes_of(said))


def _parquet(files: list[pathlib.Path], root: pathlib.Path) -> list[Part]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            f"{files[0]}: parquet needs pyarrow: pip install 'omnigen-jax[parquet]'"
        ) from error
    parts: list[Part] = []
    for file in files:
        try:
            opened = pyarrow.parquet.ParquetFile(file)
        except pyarrow.ArrowException as error:
            raise ValueError(f"{file} is no parquet file ({error})") from error
        metadata, columns = opened.metadata, opened.schema_arrow.names
        if not set(columns) & set(IMAGE_COLUMNS):
            raise ValueError(
                f"{str(file)!r} has no pictures: its columns are {', '.join(columns)}; "
                f"allowed: one of {', '.join(IMAGE_COLUMNS)}"
            )
        first = 0
        for number in range(metadata.num_row_groups):
            count = metadata.row_group(number).num_rows
            parts.append(_RowGroup(str(file), stamp(file), number, count, first))
            first += count
    return parts


@dataclasses.dataclass(frozen=True)
class _Records:
    """Records of an ArrayRecord file of ours."""

    path: str
    stamp: Stamp
    start: int
    stop: int
    count: int
    split: str

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self) -> Iterator[Raw]:
        shard = records.ShardReader(pathlib.Path(self.path), self.count)
        for number in range(self.start, self.stop):
            try:
                record = shard[number]
            except Rejected as rejected:
                yield Raw(f"{pathlib.Path(self.path).stem}/{number}", rejected, (), {})
                continue
            said = record.captions, record.attributes
            yield Raw(record.key, record.image, *said, self.split)


def _corpus(path: pathlib.Path) -> list[Part]:
    """The records of a corpus; those that it holds out stay held out."""
    splits = records.Manifest.read(path).splits
    shards = [(shard, split) for split in Split for shard in splits.get(split, ())]
    return [part for s, split in shards for part in _records(path / s.name, s.count, split)]


def _shards(files: list[pathlib.Path], root: pathlib.Path) -> list[Part]:
    parts: list[Part] = []
    for file in files:
        count = records.count_records(file)
        if not count and file.stat().st_size:
            raise ValueError(f"{str(file)!r} holds no record that can be read")
        parts += _records(file, count, "")
    return parts


def _records(file: pathlib.Path, count: int, split: str) -> list[Part]:
    cuts, mark = range(0, count, PART), stamp(file)
    return [_Records(str(file), mark, k, min(k + PART, count), count, split) for k in cuts]


_FORMS: dict[str, tuple[tuple[str, ...], Callable[..., list[Part]]]] = {
    "tars": ((".tar",), _tars),
    "parquet files": ((".parquet",), _parquet),
    "ArrayRecord files": ((records.SUFFIX, ".array_record"), _shards),
    "tables": (TABLES, _tables),
    "pictures": (IMAGES, _folder),
}
