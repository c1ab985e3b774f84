# SPDX-License-Identifier: Apache-2.0
"""Bodies of strangers as values: JSON, and forms with files. Both are refused where they are odd.

A name that comes twice is refused, since readers of JSON disagree on which value counts; so is what
is nested deeper than any request of ours. Files of forms lie on disk unless they are small.
"""

import contextlib
import dataclasses
import json
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from typing import IO, Any

from omnigen import extras
from omnigen.serve.api.errors import ApiError, bad, shown
from omnigen.serve.api.fields import FormText
from omnigen.serve.api.limits import Limits

_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_IN_MEMORY = 1 << 20  # bytes of a file that is not on disk


def parse_json(data: bytes, depth: int) -> dict[str, Any]:
    """Reads an object of JSON.

    Args:
        data: Body of a request.
        depth: Largest nesting.

    Raises:
        ApiError: If it is no JSON, no object, too deep, or has a name twice.
    """
    _check_depth(data, depth)
    try:
        found = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise bad(None, "the body is not JSON in UTF-8", "invalid_json") from None
    if not isinstance(found, dict):
        raise bad(None, "the body is JSON, but no object", "invalid_json")
    return found


def _check_depth(data: bytes, most: int) -> None:
    if data.count(b"[") + data.count(b"{") <= most:
        return
    depth = 0
    for token in _TOKENS.finditer(data):
        first = data[token.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth > most:
            raise bad(None, f"the body is nested more than {most} deep", "invalid_json")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise bad(twice[:60], "is there twice", "duplicate_parameter")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and the infinities are no JSON


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a form.

    Attributes:
        data: Where its bytes are.
        size: Number of bytes.
    """

    data: IO[bytes]
    size: int

    def read(self) -> bytes:
        """Returns the bytes."""
        self.data.seek(0)
        return self.data.read()


Form = Mapping[str, list["FormText | File"]]


class _Reader:
    """Collects what the parser of a form finds."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._headers = limits, {}
        self._name, self._header, self._value = b"", b"", b""
        self._text, self._file, self._size = b"", None, 0
        self.parts: dict[str, list[FormText | File]] = {}
        self.files, self._count, self.is_whole = contextlib.ExitStack(), 0, False

    def part_begin(self) -> None:
        self._count += 1
        if self._count > self._limits.parts:
            raise bad(None, f"the form has more than {self._limits.parts} parts", "too_many_parts")
        self._headers, self._text, self._file, self._size = {}, b"", None, 0

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise bad(None, "a part of the form has no name", "invalid_form")
        self._name = options[b"name"]
        if b"filename" in options:
            spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)
            self._file = self.files.enter_context(spool)

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        name = self._name.decode("utf-8", "replace")
        if self._file is None:
            if self._size > self._limits.text_bytes:
                raise bad(name, f"has more than {self._limits.text_bytes} bytes", "too_long")
            self._text += data[start:end]
        else:
            if self._size > self._limits.picture_bytes:
                message = f"has more than {self._limits.picture_bytes} bytes"
                raise ApiError(413, f"{name}: {message}", param=name, code="file_too_large")
            self._file.write(data[start:end])

    def part_end(self) -> None:
        try:
            name = self._name.decode()
            value = File(self._file, self._size) if self._file else FormText(self._text.decode())
        except UnicodeDecodeError:
            raise bad(None, f"{shown(self._name)} is not in UTF-8", "invalid_form") from None
        self.parts.setdefault(name, []).append(value)

    def end(self) -> None:
        self.is_whole = True


@contextlib.asynccontextmanager
async def parse_form(
    chunks: AsyncIterator[bytes], content_type: str, limits: Limits
) -> AsyncIterator[Form]:
    """Reads a form as it comes in; its files are gone after the block.

    Args:
        chunks: Body of a request.
        content_type: Its content type, which has the boundary.
        limits: Bounds of its parts.

    Raises:
        ApiError: If it is no form, is cut off, or goes beyond a bound.
    """
    multipart = extras.load("python_multipart.multipart", "serve", "reading forms")
    _, options = multipart.parse_options_header(content_type)
    reader = _Reader(limits)
    names = "part_begin part_data part_end header_field header_value header_end headers_finished"
    callbacks = {f"on_{name}": getattr(reader, name) for name in [*names.split(), "end"]}
    with reader.files:
        try:
            parser = multipart.MultipartParser(options.get(b"boundary", b""), callbacks)
            async for chunk in chunks:
                parser.write(chunk)
        except multipart.FormParserError:
            raise bad(None, "the body is not a form", "invalid_form") from None
        if not reader.is_whole:
            raise bad(None, "the form is cut off", "invalid_form")
        yield reader.parts
