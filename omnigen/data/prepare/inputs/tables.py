# SPDX-License-Identifier: Apache-2.0
"""Tables that name pictures and captions: JSON lines, a JSON list, CSV, TSV."""

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, TextIO

from omnigen import files
from omnigen.data.corpus import fields, names, reading
from omnigen.data.corpus.records import Raw, Reason, Rejected
from omnigen.data.prepare.inputs.part import NOTHING, Input, Lost, Part, below, cut, stem

SUFFIXES = (".jsonl", ".csv", ".tsv")
MOST_LIST_BYTES = 1 << 26
"""Largest size of a JSON list, which is parsed as a whole; lines have no such limit."""

_WANTED = frozenset((*fields.IMAGE_COLUMNS, *fields.COLUMNS))


@dataclasses.dataclass(frozen=True)
class _Row:
    """What a table says of one picture.

    Attributes:
        key: Key of the picture.
        path: Path of its file; empty if none is named.
        said: Fields of each row about it, as JSON.
        test: "test" if its folder is named so.
    """

    key: str
    path: str
    said: tuple[str, ...]
    test: str


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Pictures that a table names."""

    rows: tuple[_Row, ...]
    columns: tuple[str, ...]
    stamps: tuple[files.Stamp, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        note = fields.named("columns", self.columns)
        for number, row in enumerate(self.rows):
            image: bytes | Rejected
            try:
                if number in lost:
                    raise lost[number]
                if not row.path:
                    missing = f"no column of {', '.join(fields.IMAGE_COLUMNS)}"
                    raise Rejected(Reason.MISSING, missing)
                image = reading.picture(pathlib.Path(row.path))
            except Rejected as rejected:
                image = rejected
            said = map(json.loads, row.said)
            yield fields.raw(row.key, image, said, split=row.test, note=note)


def picture_of(row: dict[str, Any]) -> str:
    """Returns the picture that a row names, or nothing."""
    return next((str(row[name]) for name in fields.IMAGE_COLUMNS if row.get(name)), "")


def plan(file: pathlib.Path, source: Input, named: set[str]) -> list[Part]:
    """Cuts the pictures that a table names into parts; rows about one picture are joined.

    Args:
        file: Path of the table.
        source: Input that the table is part of.
        named: Set that the paths of its pictures are added to.

    Raises:
        OSError: If the table cannot be read.
        ValueError: If a line is wrong; the message names the file, the line and what is wrong.
    """
    found: dict[str, _Row] = {}
    columns: dict[str, None] = {}
    said: dict[str, list[str]] = {}
    is_named, count = False, 0
    for count, row in enumerate(rows_of(file), 1):
        columns.update(dict.fromkeys(row))
        name = picture_of(row)
        is_named = is_named or bool(name)
        path = os.path.normpath(os.path.join(file.parent, name)) if name.strip("/.") else ""
        inside = below(str(source.root), path)
        if path and not inside:
            source.note("rows with pictures outside of the input", name)
        key = stem(inside or name)
        test = source.test(file) or names.test_of_folders(inside.rpartition("/")[0])
        place = path or f"/{count}"
        found.setdefault(place, _Row(key, path, (), test))
        kept = {column: row[column] for column in row if column in _WANTED}
        said.setdefault(place, []).append(json.dumps(kept, sort_keys=True))
    if count and not is_named:
        raise ValueError(
            f"{str(file)!r} names no pictures: its columns are {', '.join(columns)}; "
            f"allowed: one of {', '.join(fields.IMAGE_COLUMNS)}"
        )
    rows = [dataclasses.replace(row, said=tuple(said[place])) for place, row in found.items()]
    named.update(row.path for row in rows)
    return [
        _Rows(chunk, tuple(columns), tuple(files.stamp(_path(row)) for row in chunk))
        for chunk in cut(rows)
    ]


def _path(row: _Row) -> pathlib.Path | None:
    return pathlib.Path(row.path) if row.path else None


def rows_of(file: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a table, with normalised names of columns.

    Raises:
        OSError: If the table cannot be read.
        ValueError: If a line is wrong; the message names the file, the line and what is wrong.
    """
    suffix = file.suffix.lower()
    read = {".jsonl": _json_rows, ".json": _list_rows}.get(suffix, _csv_rows)
    try:
        with files.open_regular(file) as binary:
            # `open` of a descriptor, so that what was checked is what is read.
            with open(os.dup(binary.fileno()), encoding="utf-8-sig", newline="") as text:
                for row in read(file, _Lines(file, text)):
                    yield fields.normalised(row)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: {error}; allowed: UTF-8") from error


def is_list(file: pathlib.Path) -> bool:
    """Returns whether a `.json` is a table: a list of objects that name pictures."""
    with contextlib.suppress(OSError, ValueError):
        with files.open_regular(file) as text:
            if not text.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                return False
        return bool(picture_of(next(rows_of(file), {})))
    return False


class _Lines:
    """The lines of a table; the size of those of one row together is bounded."""

    def __init__(self, path: pathlib.Path, file: TextIO) -> None:
        self.path, self.file, self.number = path, file, 0
        self.row = 0  # characters of the row so far

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.file.readline(files.MOST_TEXT_BYTES + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.row += len(line)
        if self.row > files.MOST_TEXT_BYTES:
            raise ValueError(
                f"{self.path}, line {self.number}: a row of more than {files.MOST_TEXT_BYTES} "
                f"characters"
            )
        return line


def _json_rows(file: pathlib.Path, lines: _Lines) -> Iterator[dict[str, Any]]:
    for line in lines:
        lines.row = 0
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{file}, line {lines.number}: {error}") from error
            yield _object(row, f"{file}, line {lines.number}")


def _object(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{place}: not an object")
    return row


def _list_rows(file: pathlib.Path, lines: _Lines) -> Iterator[dict[str, Any]]:
    text = lines.file.read(MOST_LIST_BYTES + 1)
    if len(text) > MOST_LIST_BYTES:
        raise ValueError(
            f"{file}: a list of more than {MOST_LIST_BYTES} characters; write a .jsonl instead"
        )
    decoder, place, number = json.JSONDecoder(), _skip(text, text.find("[") + 1), 0
    while text[place : place + 1] not in ("", "]"):
        number += 1
        try:
            row, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file}, row {number}: {error}") from error
        yield _object(row, f"{file}, row {number}")
        place = _skip(text, place)
        if text[place : place + 1] == ",":
            place = _skip(text, place + 1)
        elif text[place : place + 1] != "]":
            raise ValueError(f"{file}, row {number}: no comma after it, and no end of the list")


def _skip(text: str, place: int) -> int:
    """Returns the place of the first character from here on that is not a space."""
    while text[place : place + 1].isspace():
        place += 1
    return place


def _csv_rows(file: pathlib.Path, lines: _Lines) -> Iterator[dict[str, Any]]:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{file}, line {reader.line_num + 1}: {error}") from error
        lines.row = 0
        if row is None:
            return
        if None in row:
            raise ValueError(
                f"{file}, line {reader.line_num}: more fields than the header has; "
                f"put quotes around a text with {delimiter!r}"
            )
        yield row
