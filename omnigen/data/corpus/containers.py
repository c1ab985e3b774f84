# SPDX-License-Identifier: Apache-2.0
"""What a picture's file holds besides the picture, which no decoder needs to see.

Profiles, comments, texts, notes of cameras and previews can be larger than the picture, can unpack
to a thousand times their size, and decoders of many formats trip over them. Here they are cut out
of JPEG, PNG and GIF files by their lengths alone, without unpacking any. One thing is read before:
how the camera was held.
"""

import dataclasses
import re
import struct
import zlib
from collections.abc import Iterable, Iterator

from omnigen.data.corpus.records import Reason, Rejected

_MOST_BLOCKS = 1 << 18  # of a file; one with more would take seconds to walk through
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"} | {b"acTL", b"fcTL", b"fdAT"}
_GIF_EXTENSION, _GIF_IMAGE, _GIF_CONTROL = 0x21, 0x2C, 0xF9
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEG_CUT = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # of APP0 and APP14 decoders learn the colours
_SCAN, _END = 0xDA, 0xD9
_ORIENTATION = 0x0112  # EXIF tag
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_XMP_NAME = b"XML:com.adobe.xmp"
_EXIF_NAME = b"Raw profile type exif"  # of a text that ImageMagick writes
_MOST_UNPACKED = 1 << 20  # bytes of a packed text that may say how the camera was held


@dataclasses.dataclass(frozen=True)
class Bare:
    """A file without what surrounds its picture.

    Attributes:
        data: Bytes of the file; the same bytes if there is nothing to cut.
        turn: How the camera was held, 1 to 8 as in EXIF; 1 is upright.
    """

    data: bytes
    turn: int = 1


@dataclasses.dataclass
class _Notes:
    """The notes that may say how the camera was held."""

    exif: bytes = b""
    xmp: bytes = b""

    @property
    def turn(self) -> int:
        """How the camera was held, from EXIF, else from XMP; 1 if neither says it."""
        found = _exif_turn(self.exif)
        if found is None and (said := _XMP_ORIENTATION.search(self.xmp)):
            found = int(said[1])
        return found if found and found <= 8 else 1


def unwrap(data: bytes) -> Bare:
    """Cuts everything but the picture out of a file of any format.

    From the first damaged place on the file is left as it is, for the decoder to judge.

    Raises:
        Rejected: If the file has more blocks than any sound one.
    """
    for start, walk in (
        (b"\xff\xd8\xff", _jpeg),
        (_PNG, _png),
        (b"GIF8", _gif),
        (b"RIFF", _riff),
    ):
        if data.startswith(start):
            notes = _Notes()
            return Bare(_without(data, walk(data, notes)), notes.turn)
    return Bare(data)


def _without(data: bytes, cuts: Iterable[tuple[int, int]]) -> bytes:
    view, kept, last = memoryview(data), [], 0
    for start, stop in cuts:
        if start > last:
            kept.append(view[last:start])
        last = stop
    return b"".join([*kept, view[last:]]) if last else data


def _check(blocks: int) -> None:
    if blocks > _MOST_BLOCKS:
        raise Rejected(Reason.DAMAGED, f"more than {_MOST_BLOCKS} blocks")


def _jpeg(data: bytes, notes: _Notes) -> Iterator[tuple[int, int]]:
    """Yields the segments before the first scan that are cut: APP1 to 13, APP15, comments.

    The list of pictures that phones write (MPF) is among them: what is left is the first picture.
    """
    start, blocks = 2, 0
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        _check(blocks := blocks + 1)
        if marker == 0xFF or marker in _JPEG_BARE:
            start += 1 if marker == 0xFF else 2
            continue
        if marker in (_SCAN, _END):
            return
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        stop = start + 2 + length
        if length < 2 or stop > len(data):
            return
        if marker in _JPEG_CUT:
            body = data[start + 4 : stop]
            if marker == 0xE1 and body.startswith(b"Exif\0\0"):
                notes.exif = notes.exif or body[6:]
            elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                notes.xmp = notes.xmp or body
            yield start, stop
        start = stop


def _png(data: bytes, notes: _Notes) -> Iterator[tuple[int, int]]:
    """Yields all chunks that neither make the picture nor animate it, and what follows the end."""
    start, blocks = len(_PNG), 0
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        stop = start + 12 + length
        _check(blocks := blocks + 1)
        if stop > len(data) or not kind.isalpha():
            return
        if kind not in _PNG_KEPT and kind[:1].islower():
            _read_chunk(kind, memoryview(data)[start + 8 : stop - 4], notes)
            yield start, stop
        start = stop
        if kind == b"IEND":
            break
    if start < len(data):
        yield start, len(data)


def _read_chunk(kind: bytes, body: memoryview, notes: _Notes) -> None:
    if kind == b"eXIf":
        notes.exif = notes.exif or bytes(body)
    elif kind in (b"iTXt", b"tEXt", b"zTXt"):
        name, _, rest = bytes(body[:80]).partition(b"\0")
        if name not in (_XMP_NAME, _EXIF_NAME):
            return
        text = _png_text(kind, bytes(body[len(name) + 1 :]))
        if name == _XMP_NAME:
            notes.xmp = notes.xmp or text
        else:  # a line for its kind, one for its length, then hexadecimal digits
            try:
                notes.exif = notes.exif or bytes.fromhex(
                    b"".join(text.split(b"\n")[3:]).decode("ascii")
                )
            except ValueError:
                return


def _png_text(kind: bytes, rest: bytes) -> bytes:
    """Returns the text of a chunk after its name; nothing if it is broken or unpacks too far."""
    is_packed = kind == b"zTXt"
    if kind == b"iTXt":
        is_packed = rest[:1] == b"\1"
        rest = rest[:2][1:] + rest[2:].split(b"\0", 2)[-1]
    if kind == b"tEXt" or not is_packed:
        return rest
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(rest[1:], _MOST_UNPACKED)
    except zlib.error:
        return b""
    return text if unpacker.eof else b""


def _gif(data: bytes, notes: _Notes) -> Iterator[tuple[int, int]]:
    """Yields the extensions that are cut: comments, texts and those of other programs."""
    del notes  # there is no way to say it
    if len(data) < 13:
        return
    start, blocks = 13 + _table(data[10]), 0
    while start + 2 <= len(data) and data[start] in (_GIF_EXTENSION, _GIF_IMAGE):
        first, kind, label = start, data[start], data[start + 1]
        if kind == _GIF_EXTENSION:
            start += 2
        elif start + 10 <= len(data):
            start += 11 + _table(data[start + 9])
        while start < len(data) and data[start]:
            start += 1 + data[start]
            _check(blocks := blocks + 1)
        start += 1
        _check(blocks := blocks + 1)
        if kind == _GIF_EXTENSION and label != _GIF_CONTROL and start <= len(data):
            yield first, start


def _table(flags: int) -> int:
    """Returns the bytes of the colour table that a GIF's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _riff(data: bytes, notes: _Notes) -> Iterator[tuple[int, int]]:
    """Reads the notes of a WebP file and cuts nothing; its decoder skips unknown chunks."""
    start, blocks = 12, 0
    while start + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, start)
        _check(blocks := blocks + 1)
        body = memoryview(data)[start + 8 : start + 8 + length]
        if kind == b"EXIF":
            notes.exif = notes.exif or bytes(body)
        elif kind == b"XMP ":
            notes.xmp = notes.xmp or bytes(body)
        start += 8 + length + length % 2
    yield from ()


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Returns width and height that the header of a WebP file announces, else None."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        wide, high = (int.from_bytes(data[k : k + 3], "little") + 1 for k in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        wide, high = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        wide, high = (int.from_bytes(data[k : k + 2], "little") & 0x3FFF for k in (26, 28))
    else:
        return None
    return wide, high


def _exif_turn(exif: bytes) -> int | None:
    """Returns the orientation that EXIF names; None if there is none, or it is broken.

    Only the first list of tags is read, and of it nothing but numbers, so that a list that points
    to the same megabyte a thousand times costs nothing.
    """
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        magic, place = struct.unpack_from(f"{order}HI", exif, 2)
        (count,) = struct.unpack_from(f"{order}H", exif, place)
        if magic != 42:
            return None
        for start in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind, many = struct.unpack_from(f"{order}HHI", exif, start)
            form = {1: "B", 3: "H", 4: "I"}.get(kind)
            if tag == _ORIENTATION and many == 1 and form:
                return struct.unpack_from(order + form, exif, start + 8)[0]
    except struct.error:
        pass
    return None
