# SPDX-License-Identifier: Apache-2.0
"""PNG files that say how they were drawn: written whole or not at all, and read with care."""

import dataclasses
import io
import math
import pathlib
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from omnigen import files

if TYPE_CHECKING:
    import numpy as np

MOST_BYTES = 1 << 24
MOST_PIXELS = 1 << 22  # of one picture; models draw fewer
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_GAP = 2  # pixels between the pictures of a sheet


@dataclasses.dataclass(frozen=True)
class Png:
    """The contents of a file.

    Attributes:
        pixels: Pixels, of any mode.
        texts: Text chunks by name, written by anyone.
    """

    pixels: "np.ndarray"
    texts: Mapping[str, str]


def write(
    image: "np.ndarray",
    path: pathlib.Path,
    chunks: Mapping[str, str],
    *,
    sign: Callable[[bytes], bytes] | None = None,
) -> None:
    """Writes a picture with text chunks, through a temporary file.

    Args:
        image: Picture, uint8 `[height, width, 3]`.
        path: File to write.
        chunks: Texts by name.
        sign: Returns the bytes of the file with a signature in them; None leaves them as they are.
    """
    data = encode(image, chunks)
    data = sign(data) if sign else data
    with files.replacing(path) as partial:
        partial.write_bytes(data)


def encode(image: "np.ndarray", chunks: Mapping[str, str]) -> bytes:
    """Returns a PNG of a uint8 picture `[height, width, 3]` with text chunks."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_itxt(name, text)
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def read(path: pathlib.Path) -> Png:
    """Reads an untrusted PNG of at most `MOST_BYTES` and `MOST_PIXELS`.

    Raises:
        ValueError: If it is no regular file, no PNG, damaged, or too large.
    """
    import numpy as np
    from PIL import Image

    try:
        data = io.BytesIO(files.read(path, most=MOST_BYTES))
    except (OSError, files.UnfitFileError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        reason = (reason or "").removeprefix(f"{path} ")
        raise ValueError(f"{path} cannot be read as PNG: {reason}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(data, formats=["PNG"]) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(
                        f"it has {image.width} x {image.height} pixels; at most {MOST_PIXELS} "
                        "are allowed"
                    )
                image.load()  # text may follow the pixels
                texts = {str(k): str(v) for k, v in image.info.items() if isinstance(v, str)}
                return Png(np.asarray(image), texts)
        except Exception as error:  # decoders raise anything
            reason = "no PNG, or a damaged one" if str(data) in str(error) else error
            raise ValueError(f"{path} cannot be read as PNG: {reason}") from None


def note(data: bytes, name: str, *, most: int) -> str | None:
    """Returns the text that a PNG carries under a name; None if it carries none, or is no PNG.

    Nothing else of the file is read: no pixels, and no other text.

    Args:
        data: Bytes of the file.
        name: Name of the text.
        most: Largest number of bytes of the text.

    Raises:
        ValueError: If the text is longer or damaged.
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
    """Returns the text of a chunk; `rest` is what follows the name."""
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


def sheet(images: "np.ndarray") -> "np.ndarray":
    """Tiles `[N, H, W, 3]` uint8 images, as square as possible, on white with a 2-pixel gap."""
    import numpy as np

    count, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    size = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3)
    canvas = np.full(size, 255, np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * (height + _GAP), column * (width + _GAP)
        canvas[top : top + height, left : left + width] = image
    return canvas
