# SPDX-License-Identifier: Apache-2.0
"""Where the records of a shard lie, found without its library; see `records`.

ArrayRecord files are Riegeli files: a payload with a header in front of every 64 KiB. The payload
is chunks, each with a header that says how many bytes it has and unpacks to. In shards of ours a
chunk holds one frame, which begins with a magic and the CRC-32 of all that follows.
"""

import os
import pathlib
import struct
import zlib
from typing import BinaryIO

from omnigen import files

FRAME = struct.Struct("<4sIIII")
"""Magic, CRC-32, number, header bytes, picture bytes."""

MAGIC = b"OmRc"
_MOST_FRAME = 1 << 28
_BLOCK, _BLOCK_HEADER = 1 << 16, 24
_PAYLOAD = _BLOCK - _BLOCK_HEADER
_CHUNK_HEADER = struct.Struct("<QQQQQ")  # the 2nd is bytes of the chunk, the 5th those unpacked


def frame_size(buffer: bytes, start: int) -> int:
    """Returns the bytes of the sound frame that begins at `start`; 0 if none does."""
    if len(buffer) - start < FRAME.size:
        return 0
    magic, crc, _, header, image = FRAME.unpack_from(buffer, start)
    stop = start + FRAME.size + header + image
    if magic != MAGIC or stop > len(buffer):
        return 0
    return stop - start if zlib.crc32(memoryview(buffer)[start + 8 : stop]) == crc else 0


def scan(path: pathlib.Path) -> dict[int, range]:
    """Returns the places of the sound frames in the payload of a file, by number."""
    spans: dict[int, range] = {}
    with files.open_regular(path) as file:
        start, end = 0, _payload_size(file)
        while start < end:
            window = _read_payload(file, range(start, min(start + _BLOCK, end)))
            place = window.find(MAGIC)
            if place < 0:
                start += max(len(window) - len(MAGIC) + 1, 1)
                continue
            start += place
            header = _read_payload(file, range(start, min(start + FRAME.size, end)))
            size = 0
            if len(header) == FRAME.size:
                _, _, number, *sizes = FRAME.unpack(header)
                stop = start + FRAME.size + sum(sizes)
                if stop <= end and stop - start <= _MOST_FRAME:
                    size = frame_size(_read_payload(file, range(start, stop)), 0)
                if size:
                    spans.setdefault(number, range(start, stop))
            start += max(size, 1)
    return spans


def unpacked(path: pathlib.Path) -> int | None:
    """Returns the bytes that the largest chunk of a file unpacks to, as its header says.

    None if the chunks do not lie end to end; the library may then take anything for a chunk.

    Raises:
        OSError: If the file cannot be read.
    """
    with files.open_regular(path) as file:
        place, end, most = 0, _payload_size(file), 0
        while place < end:
            header = _read_payload(file, range(place, place + _CHUNK_HEADER.size))
            if len(header) < _CHUNK_HEADER.size:
                return None
            _, size, _, _, declared = _CHUNK_HEADER.unpack(header)
            most = max(most, declared)
            place += _CHUNK_HEADER.size + size
    return most if place == end else None


def read(path: pathlib.Path, span: range) -> bytes:
    """Reads bytes of the payload of a file.

    Raises:
        OSError: If the file cannot be read.
    """
    with files.open_regular(path) as file:
        return _read_payload(file, span)


def _payload_size(file: BinaryIO) -> int:
    """Returns the bytes of a file without its block headers."""
    blocks, rest = divmod(os.fstat(file.fileno()).st_size, _BLOCK)
    return blocks * _PAYLOAD + max(rest - _BLOCK_HEADER, 0)


def _read_payload(file: BinaryIO, span: range) -> bytes:
    """Reads bytes of a file without its block headers."""
    first = span.start // _PAYLOAD
    pieces = []
    for block in range(first, max(span.stop - 1, span.start) // _PAYLOAD + 1):
        pieces.append(os.pread(file.fileno(), _BLOCK, block * _BLOCK)[_BLOCK_HEADER:])
    offset = first * _PAYLOAD
    return b"".join(pieces)[span.start - offset : span.stop - offset]
