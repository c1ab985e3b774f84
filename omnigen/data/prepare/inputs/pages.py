# SPDX-License-Identifier: Apache-2.0
"""What the pages of a parquet file declare, read before the library unpacks any of them.

The library takes the memory that the header of a page asks for, and ends the process if there is
none. The footer tells sums, but nothing holds it to the truth. So the headers themselves are read:
they are structs in Thrift's compact protocol, as parquet-format's `parquet.thrift` has them.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from omnigen import files
from omnigen.data.corpus.records import Reason, Rejected

FREE_BYTES = files.MOST_PICTURE_BYTES + (1 << 20)
"""Bytes that a page may unpack to, however few it has in the file: one picture, or many."""

MOST_GROWTH = 4
"""Times its bytes in the file that a larger page may unpack to; pictures hardly shrink."""

MOST_SUM_GROWTH = 100
"""The same of all pages of a column together, which cost time, not memory."""

_HEADER = 1 << 12  # bytes that are read of a page's header first
_LONGEST_HEADER = 1 << 20
_STOP, _TRUE, _FALSE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 7, 8, 9, 10, 11, 12
_DEEPEST = 16


@dataclasses.dataclass(frozen=True)
class Column:
    """What all pages of a column of a row group declare together.

    Attributes:
        largest: Size in bytes of the largest page, unpacked.
        unpacked: Size in bytes of all pages, unpacked.
        values: Number of values that the pages hold.
    """

    largest: int
    unpacked: int
    values: int


@dataclasses.dataclass(frozen=True)
class Page:
    """What the header of a page says.

    Attributes:
        header: Size of the header in bytes.
        packed: Size in bytes of the page in the file.
        unpacked: Size in bytes of the page in memory.
        values: Number of values that it holds; 0 for a dictionary.
    """

    header: int
    packed: int
    unpacked: int
    values: int


def check_column(file: int, name: str, start: int, size: int) -> Column:
    """Checks the pages of a column of a row group.

    Args:
        file: Descriptor of the parquet file.
        name: Name of the column, for messages.
        start: Where its first page begins, as the footer says.
        size: Size in bytes of all pages, as the footer says.

    Raises:
        Rejected: If the pages do not fit the file, or unpack to too much.
    """
    end = os.fstat(file).st_size
    if not (0 <= start and 0 <= size and start + size <= end):
        text = f"{name}: {size} bytes from byte {start} on, of a file of {end} bytes"
        raise Rejected(Reason.DAMAGED, text)
    largest = unpacked = values = 0
    for page in _pages(file, name, start, start + size):
        most = max(FREE_BYTES, MOST_GROWTH * page.packed)
        if page.values:  # no value is larger than a picture may be
            most = min(most, page.values * FREE_BYTES)
        if page.unpacked > most:
            text = f"{name}: a page of {page.packed} bytes unpacks to {page.unpacked}"
            raise Rejected(Reason.LARGE, f"{text}; allowed: up to {most}")
        largest, unpacked = max(largest, page.unpacked), unpacked + page.unpacked
        values += page.values
    most = max(FREE_BYTES, MOST_SUM_GROWTH * size)
    if unpacked > most:
        text = f"{name}: {size} bytes unpack to {unpacked}; allowed: up to {most}"
        raise Rejected(Reason.LARGE, text)
    return Column(largest, unpacked, values)


def _pages(file: int, name: str, start: int, stop: int) -> Iterator[Page]:
    while start < stop:
        page = None
        for length in (_HEADER, _LONGEST_HEADER):
            data = os.pread(file, min(length, stop - start), start)
            try:
                page = _page(data)
                break
            except IndexError:  # it ends early
                continue
        if page is None or page.packed > stop - start - page.header:
            raise Rejected(Reason.DAMAGED, f"{name}: no page at byte {start}")
        yield page
        start += page.header + page.packed


def _page(data: bytes) -> Page:
    """Reads a PageHeader.

    Raises:
        IndexError: If `data` ends before the header does.
        Rejected: If it is no PageHeader.
    """
    reader = _Thrift(data)
    header = reader.struct(0)
    unpacked, packed = header.get(2), header.get(3)
    if not (isinstance(unpacked, int) and isinstance(packed, int)) or min(unpacked, packed) < 0:
        raise Rejected(Reason.DAMAGED, "the header of a page has no sizes")
    of_data = header.get(5) or header.get(8)
    values = of_data.get(1) if isinstance(of_data, dict) else 0
    return Page(reader.place, packed, unpacked, max(values, 0) if isinstance(values, int) else 0)


class _Thrift:
    """Reads structs of Thrift's compact protocol."""

    def __init__(self, data: bytes) -> None:
        self._data, self.place = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Returns the fields of a struct by number; the value of those not needed is None."""
        fields, number = dict[int, Any](), 0
        while (byte := self._byte()) & 15 != _STOP:
            number = number + (byte >> 4) if byte >> 4 else self._integer()
            fields[number] = self._value(byte & 15, depth)
        return fields

    def _value(self, kind: int, depth: int, *, inside: bool = False) -> Any:
        if depth > _DEEPEST or kind > _STRUCT:
            raise Rejected(Reason.DAMAGED, "the header of a page is none")
        if kind in (_TRUE, _FALSE):
            return self._byte() if inside else None
        if kind == 3:
            return self._byte()
        if kind < _DOUBLE:
            return self._integer()
        if kind == _DOUBLE:
            return self._skip(8)
        if kind == _BINARY:
            return self._skip(self._varint())
        if kind in (_LIST, _SET):
            byte = self._byte()
            count = byte >> 4 if byte >> 4 < 15 else self._varint()
            kinds = [byte & 15] if count else []
        elif kind == _MAP:
            count = self._varint()
            byte = self._byte() if count else 0
            kinds = [byte >> 4, byte & 15]
        else:
            return self.struct(depth + 1)
        if count > len(self._data) - self.place:
            raise IndexError
        for _ in range(count):
            for each in kinds:
                self._value(each, depth + 1, inside=True)
        return None

    def _byte(self) -> int:
        self.place += 1
        return self._data[self.place - 1]

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise Rejected(Reason.DAMAGED, "the header of a page is none")

    def _integer(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)
