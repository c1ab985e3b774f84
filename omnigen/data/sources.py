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
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from omnigen.data import records
from omnigen.data.records import Reason, Rejected
from omnigen.data.scenes.scene import Split

PART = 512  # pictures
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
TABLES = (".jsonl", ".csv", ".tsv")
IMAGE_COLUMNS = ("file_name", "image_path", "image", "path", "file", "filename")
CAPTION_COLUMNS = ("captions", "caption", "text", "prompt", "description", "label")
ATTRIBUTES = ("license", "attribution", "source")


@dataclasses.dataclass(frozen=True)
class Raw:
    """A picture as it was found.

    Attributes:
        key: names it within the input.
        image: the file, or why it could not be read.
        captions: as they are, of any length.
        attributes: see `records.Record`.
    """

    key: str
    image: bytes | Rejected
    captions: tuple[str, ...]
    attributes: Mapping[str, str]


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
        ValueError: there is nothing to read.
    """
    if not path.exists():
        raise ValueError(f"input {str(path)!r}: no such file or folder")
    if path.is_dir() and (path / records.MANIFEST).is_file():
        return _corpus(path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for suffixes, make in (
        ((".tar",), _tars),
        ((".parquet",), _parquet),
        ((records.SUFFIX, ".array_record"), _shards),
        (TABLES, _tables),
        (IMAGES, _folder),
    ):
        chosen = [file for file in files if file.suffix.lower() in suffixes]
        if chosen:
            return make(chosen, path)
    raise ValueError(
        f"input {str(path)!r} holds nothing to read; allowed: pictures "
        f"({', '.join(IMAGES)}) beside .txt files, a table of them ({', '.join(TABLES)}), "
        f"WebDataset .tar, .parquet, {records.SUFFIX}"
    )


def stamp(path: pathlib.Path) -> tuple[int, int]:
    """Size and time of a file: what changes when it does."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _cut(items: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(items), PART):
        yield tuple(items[start : start + PART])


def captions_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The captions that a row of any table gives, spaces normalised."""
    for name in CAPTION_COLUMNS:
        value = fields.get(name)
        if value is not None and value != "":
            values = value if isinstance(value, list | tuple) else [value]
            captions = [" ".join(str(one).split()) for one in values]
            return tuple(caption for caption in captions if caption)
    return ()


def attributes_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """What is kept of a row besides picture and captions."""
    kept = {name: fields[name] for name in ATTRIBUTES if fields.get(name)}
    if isinstance(fields.get("attributes"), Mapping):
        kept |= fields["attributes"]
    return {name: str(value) for name, value in kept.items()}


def _stem(name: str) -> str:
    """A file's name up to its last dot, with the folders before it."""
    return str(pathlib.PurePosixPath(name).with_suffix("")) if name else ""


def _read_file(path: pathlib.Path) -> bytes | Rejected:
    try:
        return path.read_bytes()
    except OSError as error:
        return Rejected(Reason.MISSING, str(error))


@dataclasses.dataclass(frozen=True)
class _Files:
    """Picture files, each with a .txt or .json of the same name beside it."""

    root: str
    names: tuple[str, ...]
    stamps: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.names)

    def read(self) -> Iterator[Raw]:
        for name in self.names:
            path = pathlib.Path(self.root, name)
            fields: dict[str, Any] = {}
            for suffix in (".txt", ".json"):
                beside = path.with_suffix(suffix)
                if beside.is_file():
                    fields |= _sidecar(suffix, beside.read_bytes())
            yield Raw(_stem(name), _read_file(path), captions_of(fields), attributes_of(fields))


def _sidecar(suffix: str, data: bytes) -> dict[str, Any]:
    """The fields that a text or JSON file about a picture gives; none if it is unreadable."""
    text = data.decode("utf-8", "replace")
    if suffix == ".txt":
        return {"captions": text}
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _folder(files: list[pathlib.Path], root: pathlib.Path) -> list[Part]:
    root = root if root.is_dir() else root.parent
    parts: list[Part] = []
    for chunk in _cut(files):
        names = tuple(file.relative_to(root).as_posix() for file in chunk)
        parts.append(_Files(str(root), names, tuple(map(stamp, chunk))))
    return parts


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows of a table, as JSON, that name files beside it."""

    root: str
    rows: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self) -> Iterator[Raw]:
        for row in self.rows:
            fields = json.loads(row)
            column = next((name for name in IMAGE_COLUMNS if fields.get(name)), None)
            if column is None:
                missing = Rejected(Reason.MISSING, f"no column of {', '.join(IMAGE_COLUMNS)}")
                yield Raw("", missing, captions_of(fields), {})
                continue
            name = str(fields.pop(column))
            image = _read_file(pathlib.Path(self.root, name))
            yield Raw(_stem(name), image, captions_of(fields), attributes_of(fields))


def _tables(files: list[pathlib.Path], root: pathlib.Path) -> list[Part]:
    parts: list[Part] = []
    for file in files:
        rows = [json.dumps(row, sort_keys=True) for row in _rows(file)]
        parts += [_Rows(str(file.parent), chunk) for chunk in _cut(rows)]
    return parts


def _rows(file: pathlib.Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if file.suffix.lower() == ".jsonl":
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        row = json.loads(line)
                    except ValueError as error:
                        raise ValueError(f"{file}, line {number}: {error}") from error
                    if not isinstance(row, dict):
                        raise ValueError(f"{file}, line {number}: not an object")
                    yield row
        else:
            delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
            for row in csv.DictReader(lines, delimiter=delimiter):
                yield {name: value for name, value in row.items() if name}


@dataclasses.dataclass(frozen=True)
class Member:
    """A file inside a tar."""

    suffix: str
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class _Tar:
    """Samples of a WebDataset tar: files that share their name up to the first dot."""

    path: str
    stamp: tuple[int, int]
    samples: tuple[tuple[str, tuple[Member, ...]], ...]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self) -> Iterator[Raw]:
        with open(self.path, "rb") as file:
            for key, members in self.samples:
                yield read_sample(file.fileno(), key, members)


def read_sample(file: int, key: str, members: Sequence[Member]) -> Raw:
    """Reads a sample of a tar, given by its descriptor, which threads may share."""
    fields: dict[str, Any] = {}
    image: bytes | Rejected = Rejected(Reason.MISSING, "no picture in the sample")
    for member in sorted(members, key=lambda m: m.suffix == ".txt"):
        data = os.pread(file, member.size, member.offset)
        if member.suffix in IMAGES:
            whole = len(data) == member.size
            image = data if whole else Rejected(Reason.DAMAGED, "the tar ends early")
        elif member.suffix in (".txt", ".json"):
            fields |= _sidecar(member.suffix, data)
    return Raw(key, image, captions_of(fields), attributes_of(fields))


def index_tar(path: pathlib.Path) -> dict[str, tuple[Member, ...]]:
    """The samples of a tar by key, found by its headers alone; a tar may end early.

    Raises:
        ValueError: it is no tar.
    """
    try:
        return _index_tar(path)
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no tar archive ({error})") from error


def _index_tar(path: pathlib.Path) -> dict[str, tuple[Member, ...]]:
    samples: dict[str, list[Member]] = {}
    with tarfile.open(path, "r:") as tar:
        while True:
            try:
                info = tar.next()
            except tarfile.ReadError:
                break
            if info is None:
                break
            folder, _, name = info.name.rpartition("/")
            stem, dot, suffix = name.partition(".")
            if info.isreg() and dot and stem:
                key = f"{folder}/{stem}" if folder else stem
                member = Member(f".{suffix.lower()}", info.offset_data, info.size)
                samples.setdefault(key.removeprefix("./"), []).append(member)
            tar.members = []  # type: ignore[attr-defined]  # or it keeps every header in memory
    return {key: tuple(members) for key, members in samples.items()}


def _tars(files: list[pathlib.Path], root: pathlib.Path) -> list[Part]:
    parts: list[Part] = []
    for file in files:
        samples = index_tar(file)
        parts += [_Tar(str(file), stamp(file), chunk) for chunk in _cut(list(samples.items()))]
    return parts


@dataclasses.dataclass(frozen=True)
class _RowGroup:
    """A row group of a parquet file with `image: {bytes, path}`, as on the Hugging Face Hub."""

    path: str
    stamp: tuple[int, int]
    number: int
    count: int
    first: int

    def __len__(self) -> int:
        return self.count

    def read(self) -> Iterator[Raw]:
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(self.path)
        row = self.first
        for batch in file.iter_batches(batch_size=64, row_groups=[self.number]):
            for fields in batch.to_pylist():
                yield self._raw(fields, row)
                row += 1

    def _raw(self, fields: dict[str, Any], row: int) -> Raw:
        value = next((fields[name] for name in IMAGE_COLUMNS if fields.get(name)), None)
        key = str(fields.get("key") or "")
        image: bytes | Rejected = Rejected(Reason.MISSING, "no bytes in the row")
        if isinstance(value, dict):
            key = key or _stem(value.get("path") or "")
            value = value.get("bytes")
        if isinstance(value, bytes):
            image = value
        key = key or f"{pathlib.Path(self.path).stem}/{row}"
        return Raw(key, image, captions_of(fields), attributes_of(fields))


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
            metadata = pyarrow.parquet.ParquetFile(file).metadata
        except pyarrow.ArrowException as error:
            raise ValueError(f"{file} is no parquet file ({error})") from error
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
    stamp: tuple[int, int]
    start: int
    stop: int
    count: int

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
            yield Raw(record.key, record.image, record.captions, record.attributes)


def _corpus(path: pathlib.Path) -> list[Part]:
    manifest = records.Manifest.read(path)
    shards = [shard for split in Split for shard in manifest.splits.get(split, ())]
    return [part for s in shards for part in _records(path / s.name, s.count)]


def _shards(files: list[pathlib.Path], root: pathlib.Path) -> list[Part]:
    from array_record.python.array_record_module import ArrayRecordReader

    parts: list[Part] = []
    for file in files:
        count = ArrayRecordReader(str(file), "readahead_buffer_size:0").num_records()
        parts += _records(file, count)
    return parts


def _records(file: pathlib.Path, count: int) -> list[Part]:
    cuts = range(0, count, PART)
    return [_Records(str(file), stamp(file), k, min(k + PART, count), count) for k in cuts]
