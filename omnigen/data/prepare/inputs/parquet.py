# SPDX-License-Identifier: Apache-2.0
"""Parquet files with `image: {bytes, path}`, as on the Hugging Face Hub, or with names of files."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from omnigen import extras, files
from omnigen.data.corpus import fields, names, reading
from omnigen.data.corpus.records import Raw, Reason, Rejected
from omnigen.data.prepare.inputs.pages import check_column
from omnigen.data.prepare.inputs.part import NOTHING, Broken, Lost, Part, stem

MOST_FOOTER_BYTES = 1 << 24
"""Largest footer of a file; in memory it takes many times its size."""

_AT_ONCE = 64  # rows
_HELD = 1 << 27  # bytes that rows which are read at once may take
_BUFFER = 1 << 20
_A_BYTE = 64  # rows or values, at most; more would all be the same
_KEYS = ("key", "__key__")
_WANTED = frozenset((*fields.IMAGE_COLUMNS, *fields.COLUMNS, *_KEYS))


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """The pictures of a row group.

    Attributes:
        path: Path of the file.
        name: Name of the file below the input, without its suffix.
        stamp: Stamp of the file; see `part.stamp`.
        number: Number of the row group in the file.
        first: Number of its first row in the file.
        count: Number of its rows, as the footer says.
        test: "test" if the file is named so.
    """

    path: str
    name: str
    stamp: files.Stamp
    number: int
    first: int
    count: int
    test: str

    def __len__(self) -> int:
        return self.count

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        """Reads the pictures; see `Part.read`."""
        stop, given = min(lost, default=-1), 0
        held: Raw | None = None
        if stop == 0:  # not even its first rows can be read
            yield from self._lose(self.first, lost[stop])
            return
        for row, raw in enumerate(self._read(), self.first):
            if held and isinstance(raw.image, bytes) and raw.image == held.image:
                held = _joined(held, raw)  # as tables of a caption a row have it
                continue
            if held:
                yield held
                given += 1
            held = raw
            if given == stop:  # this row was read before: nothing was given before the next was
                yield held
                yield from self._lose(row + 1, lost[stop])
                return
        if held:
            yield held

    def _lose(self, row: int, why: Rejected) -> Iterator[Raw]:
        """Yields rejects for all rows from one on."""
        for number in range(row, self.first + self.count):
            yield fields.raw(self._key(number), why, ())

    def _read(self) -> Iterator[Raw]:
        import pyarrow

        row, path = self.first, pathlib.Path(self.path)
        try:
            with _open(path) as file:
                lists = _lists(file.metadata)
            with _open(path, lists) as file:
                for raw in self._rows(file):
                    yield raw
                    row += 1
        except (Rejected, OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
            yield from self._lose(row, _blame(error))

    def _rows(self, file: Any) -> Iterator[Raw]:
        columns = {
            column: normal
            for column in file.schema_arrow.names
            if (normal := column.strip().lower()) in _WANTED
        }
        largest = self._check(file, columns)
        at_once = max(min(_HELD // max(largest, 1), _AT_ONCE), 1)
        labels, row = _labels(file.schema_arrow.metadata), self.first
        note = fields.named("columns", file.schema_arrow.names)
        for batch in file.iter_batches(
            at_once, row_groups=[self.number], columns=[*columns], use_threads=False
        ):
            for place in range(batch.num_rows):
                yield self._row(batch.slice(place, 1), row, columns, labels, note)
                row += 1

    def _check(self, file: Any, columns: Mapping[str, str]) -> int:
        """Checks all pages before any is unpacked; returns the bytes of the largest.

        Raises:
            Rejected: As in `check_column`, or if there are more rows than bytes for them.
        """
        group, total, largest = file.metadata.row_group(self.number), 0, 0
        with files.open_regular(pathlib.Path(self.path)) as opened:
            for number in range(group.num_columns):
                chunk = group.column(number)
                name = chunk.path_in_schema
                if not any(name == one or name.startswith(f"{one}.") for one in columns):
                    continue
                starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
                start = min(one for one in starts if one)
                size = chunk.total_compressed_size
                column = check_column(opened.fileno(), name, start, size)
                is_list = file.metadata.schema.column(number).max_repetition_level
                most = _A_BYTE * (size + column.unpacked) + 4 * self.count
                if column.values > most if is_list else column.values != self.count:
                    text = f"{name}: {column.values} values in {self.count} rows"
                    raise Rejected(Reason.DAMAGED, text)
                total, largest = total + size + column.unpacked, max(largest, column.largest)
        if self.count > _A_BYTE * total:
            raise Rejected(Reason.DAMAGED, f"{self.count} rows in {total} bytes")
        return largest

    def _row(
        self,
        one: Any,
        row: int,
        columns: Mapping[str, str],
        labels: Mapping[str, list],
        note: str,
    ) -> Raw:
        """Returns the picture of a one-row batch; a row that Python cannot hold is a reject."""
        try:
            if _size(one) > _HELD:
                raise Rejected(Reason.LARGE, f"a row of more than {_HELD} bytes")
            (held,) = one.to_pylist()
        except (ValueError, OverflowError) as error:
            return fields.raw(self._key(row), Rejected(Reason.DAMAGED, str(error)), ())
        except Rejected as rejected:
            return fields.raw(self._key(row), rejected, ())
        said = {columns[name]: _named(value, labels.get(name)) for name, value in held.items()}
        said = {**_described(said.get("json")), **said}
        key = next((str(said[name]) for name in _KEYS if said.get(name)), "")
        image: bytes | Rejected
        try:
            image, name = self._image(said)
            key = key or name or self._key(row)
            reading.check_start(image, key)
        except Rejected as rejected:
            image = rejected
        return fields.raw(key or self._key(row), image, [said], split=self.test, note=note)

    def _image(self, said: Mapping[str, Any]) -> tuple[bytes, str]:
        """Returns the picture of a row and, if it has one, its name without suffix.

        Raises:
            Rejected: If there is no picture that can be read.
        """
        values = [said[name] for name in fields.IMAGE_COLUMNS if said.get(name) is not None]
        paths = [value.get("path") if isinstance(value, dict) else value for value in values]
        for value, path in zip(values, paths, strict=True):
            held = value.get("bytes") if isinstance(value, dict) else value
            if isinstance(held, bytes):
                if len(held) > (most := files.MOST_PICTURE_BYTES):
                    text = f"a picture of {len(held)} bytes; allowed: up to {most}"
                    raise Rejected(Reason.LARGE, text)
                return held, stem(path) if isinstance(path, str) else ""
        for path in paths:
            if path and isinstance(path, str):
                name = os.path.normpath(os.path.join(os.path.dirname(self.name), path))
                beside = pathlib.Path(self.path).parent / path
                return reading.picture(beside), stem(name)
        raise Rejected(Reason.MISSING, "neither bytes nor a path in the row")

    def _key(self, row: int) -> str:
        return f"{self.name}/{row}"


def _blame(error: Exception) -> Rejected:
    """Returns why rows cannot be read; the library's errors are of many kinds."""
    if isinstance(error, Rejected):
        return error
    gone = isinstance(error, FileNotFoundError | files.UnfitFileError)
    memory = Reason.MEMORY if isinstance(error, MemoryError) else Reason.DAMAGED
    return Rejected(Reason.MISSING if gone else memory, str(error))


def _joined(one: Raw, other: Raw) -> Raw:
    """Returns two rows about the same picture as one."""
    captions = tuple(dict.fromkeys((*one.captions, *other.captions)))
    split = max(one.split, other.split, key=lambda split: (split == "test", split))
    note = "" if captions else one.note
    attributes = {**other.attributes, **one.attributes}
    return dataclasses.replace(
        one, captions=captions, attributes=attributes, split=split, note=note
    )


def _named(value: Any, labels: list | None) -> Any:
    """Returns the label that a number stands for."""
    if labels and isinstance(value, int) and 0 <= value < len(labels):
        return labels[value]
    return value


def _labels(metadata: Mapping[bytes, bytes] | None) -> dict[str, list]:
    """Returns the names of classes that `datasets` writes beside the columns of numbers."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: feature["names"]
            for name, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}


def _described(value: Any) -> dict[str, Any]:
    """Returns the fields in a column of JSON, such as the Hub makes of a tar's `.json`."""
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return fields.normalised(value) if isinstance(value, dict) else {}


def _size(batch: Any) -> int:
    """Returns the bytes that the texts of a batch take as Python strings."""
    return sum(map(_bytes, batch.columns))


def _bytes(array: Any) -> int:
    import pyarrow
    import pyarrow.compute

    kinds, compute = pyarrow.types, cast(Any, pyarrow.compute)
    if kinds.is_list(array.type) or kinds.is_large_list(array.type):
        return _bytes(array.flatten())
    if kinds.is_struct(array.type):
        return sum(map(_bytes, array.flatten()))
    if kinds.is_dictionary(array.type):
        each = compute.binary_length(array.dictionary).take(array.indices)
        return compute.sum(each).as_py() or 0
    return array.nbytes


def _lists(metadata: Any) -> tuple[str, ...]:
    """Returns the columns that hold lists of texts.

    They are read by their dictionaries; otherwise a page of a few bytes could hold a text a million
    times.
    """
    columns = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    kinds = [column.physical_type == "BYTE_ARRAY" for column in columns]
    pairs = zip(columns, kinds, strict=True)
    return tuple(one.path for one, is_text in pairs if is_text and one.max_repetition_level)


def _open(path: pathlib.Path, lists: Sequence[str] = ()) -> Any:
    """Opens a parquet file.

    Args:
        path: Path of the file.
        lists: Columns from `_lists`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no parquet file, or no regular file.
    """
    import pyarrow
    import pyarrow.parquet

    with files.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(os.pread(file.fileno(), 4, max(size - 8, 0)), "little")
    if size >= 12 and length > MOST_FOOTER_BYTES:
        raise ValueError(f"{path}: a footer of {length} bytes; allowed: up to {MOST_FOOTER_BYTES}")
    try:
        return pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER, read_dictionary=lists)
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} is no parquet file ({error})") from error


def require(file: pathlib.Path) -> None:
    """Checks that parquet can be read.

    Raises:
        ValueError: If the library is missing; the message names a file that needs it.
    """
    extras.load("pyarrow.parquet", "parquet", f"{str(file)!r}: a parquet file")


def plan(file: pathlib.Path, name: str, test: str) -> list[Part]:
    """Makes a part of each row group; see `archives.plan`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no parquet file, or has no pictures.
    """
    name, mark = names.split_suffix(name)[0], files.stamp(file)
    with _open(file) as opened:
        metadata, columns = opened.metadata, opened.schema_arrow.names
    if not {column.strip().lower() for column in columns} & {*fields.IMAGE_COLUMNS}:
        raise ValueError(
            f"{str(file)!r} has no pictures: its columns are {', '.join(columns)}; "
            f"allowed: one of {', '.join(fields.IMAGE_COLUMNS)}"
        )
    parts: list[Part] = []
    first, most = 0, _A_BYTE * file.stat().st_size
    for number in range(metadata.num_row_groups):
        count = metadata.row_group(number).num_rows
        if not 0 <= count <= most:
            text = f"row group {number} has {count} rows; the file has room for {most}"
            parts.append(Broken(f"{name}/{first}", Reason.DAMAGED, text))
            continue
        parts.append(RowGroup(str(file), name, mark, number, first, count, test))
        first += count
    return parts
