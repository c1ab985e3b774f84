# SPDX-License-Identifier: Apache-2.0
"""PNG files that say how they were drawn: written whole or not at all."""

import pathlib
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from omnigen import files

if TYPE_CHECKING:
    import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def write(image: "np.ndarray", path: pathlib.Path, chunks: Mapping[str, str]) -> None:
    """Writes a uint8 picture `[height, width, 3]` with text chunks, through a temporary file."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_itxt(name, text)
    with files.replacing(path) as partial:
        Image.fromarray(image).save(partial, format="PNG", pnginfo=info)


def note(data: bytes, name: str, *, most: int) -> str | None:
    """Returns the text that a PNG carries under a name; None if it carries none, or is no PNG.

    Nothing else of the file is read: no pixels, and no other text.

    Args:
        data: the file.
        name: of the text.
        most: bytes that the text may have.

    Raises:
        ValueError: the text is longer or damaged.
    """
    if not data.startswith(_SIGNATURE):
        return None
    start = len(_SIGNATURE)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if kind in _TEXTS and data.startswith(name.encode("latin-1") + b"\0", start + 8):
            return _text(kind, data[start + 9 + len(name) : end], most)
        start = end + 4  # its check sum
    return None


def _text(kind: bytes, rest: bytes, most: int) -> str:
    """The text of a chunk, of which `rest` follows the name."""
    is_packed, encoding = kind == b"zTXt", "latin-1"
    if kind == b"iTXt":
        parts = rest[2:].split(b"\0", 2)  # language, name in that language, text
        is_packed, encoding = rest[:1] == b"\1", "utf-8"
        rest = b"\0" + parts[2] if len(parts) == 3 else b"\0"
    text = rest[kind != b"tEXt" :]
    if is_packed:
        try:
            text = zlib.decompressobj().decompress(text, most + 1)
        except zlib.error as error:
            raise ValueError(f"damaged text: {error}") from None
    if len(text) > most:
        raise ValueError(f"text of more than {most} bytes")
    return text.decode(encoding)  # UnicodeDecodeError is a ValueError
