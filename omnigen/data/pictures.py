# SPDX-License-Identifier: Apache-2.0
"""Pictures from strangers: encoded bytes to upright RGB, or a reason why not.

The header is read by one of a few decoders, chosen by the file's first bytes whatever it is
called, and what it announces is checked before a pixel is decoded. Large JPEGs are decoded at the
smallest scale that still has the pixels asked for, which libjpeg does four times as fast.
"""

import dataclasses
import enum
import functools
import importlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from omnigen.data.records import Reason, Rejected

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {"JPEG": "Jpeg", "PNG": "Png", "WEBP": "WebP", "BMP": "Bmp", "GIF": "Gif"}  # decoders
LONGEST_SIDE = 1 << 16
JPEG_QUALITY = 95

_HASH_SIDE, _HASH_KEPT = 32, 8
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"} | {
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_ORIENTATION = 0x0112  # EXIF tag
_SIXTEEN_BIT = 257.0  # 65535 / 255


class Crop(enum.StrEnum):
    """Which square of a picture is used."""

    CENTER = "center"
    RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Picture:
    """What `decode` gives.

    Attributes:
        image: upright RGB, possibly smaller than the file.
        width: of the whole upright picture in pixels.
        height: likewise.
    """

    image: "Image.Image"
    width: int
    height: int


def decode(data: bytes, *, max_pixels: int = 1 << 25, side: int = 0) -> Picture:
    """Decodes a picture; transparent parts are white.

    Args:
        data: the file.
        max_pixels: of a picture that is decoded; four bytes each is what it may cost in memory.
        side: if given, JPEGs may come smaller, with sides of at least this.

    Returns:
        The picture, upright.

    Raises:
        Rejected: it is empty, of a foreign format, animated, too large, or damaged.
    """
    if not data:
        raise Rejected(Reason.EMPTY)
    try:
        image = _open(data)
        width, height = image.size
        if width * height > max_pixels or max(width, height) > LONGEST_SIDE:
            raise Rejected(Reason.PIXELS, f"{width} x {height}")
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise Rejected(Reason.ANIMATED)
        turn = _orientation(image)
        if side and image.format in ("JPEG", "MPO"):
            image.draft(None, (side, side))
        image.load()
        image = to_rgb(image)
        if turn in _TURNS:
            from PIL import Image

            image = image.transpose(Image.Transpose[_TURNS[turn]])
    except Rejected:
        raise
    except Exception as error:  # decoders raise anything; whatever it is, the file is to blame
        raise Rejected(Reason.DAMAGED, f"{type(error).__name__}: {error}") from error
    return Picture(image, *((height, width) if turn >= 5 else (width, height)))


def _open(data: bytes) -> Any:
    """Reads the header."""
    for accept, factory in _decoders():
        if accept(data[:16]) is True:
            return factory(io.BytesIO(data), "")
    raise Rejected(Reason.FORMAT)


@functools.cache
def _decoders() -> list[tuple[Any, Any]]:
    """Which first bytes each decoder takes, and the decoder; no others of Pillow are loaded."""
    from PIL import Image

    for name in FORMATS.values():
        importlib.import_module(f"PIL.{name}ImagePlugin")
    return [(Image.OPEN[name][1], Image.OPEN[name][0]) for name in FORMATS]


def _orientation(image: Any) -> int:
    """How the camera was held, 1 to 8; 1 if that is not said or not readable."""
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken note about a sound picture
        return 1
    return turn if turn in _TURNS else 1


def to_rgb(image: "Image.Image") -> "Image.Image":
    """Any mode of Pillow to RGB: 16-bit greys keep their range, transparency becomes white."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image, np.float32) / (_SIXTEEN_BIT if image.mode != "F" else 1.0)
        return Image.fromarray(grey.clip(0, 255).round().astype(np.uint8), "L").convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def fit(image: "Image.Image", size: int, *, place: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """The largest square of a picture, resized.

    Args:
        image: RGB.
        size: of the result.
        place: where the square lies in the room it has, across and down; the middle by default.

    Returns:
        uint8 `[size, size, 3]`.
    """
    from PIL import Image

    width, height = image.size
    side = min(width, height)
    left, top = round((width - side) * place[0]), round((height - side) * place[1])
    box = (left, top, left + side, top + side)
    square = image if width == height else image.crop(box)
    if side != size:
        # As sharp as bicubic when pictures get smaller, and twice as fast.
        method = Image.Resampling.HAMMING if side > size else Image.Resampling.BICUBIC
        square = square.resize((size, size), method, reducing_gap=2.0)
    return np.asarray(square)


def shrink(image: "Image.Image", side: int) -> "Image.Image":
    """The whole picture, its shorter side resized to `side`; it must be longer."""
    from PIL import Image

    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


def encode(image: "Image.Image", *, lossless: bool) -> bytes:
    """A file of the picture: WebP without loss, or JPEG."""
    file = io.BytesIO()
    if lossless:
        image.save(file, "WEBP", lossless=True, method=2)
    else:
        image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class Look:
    """What near duplicates share.

    Attributes:
        bits: 64 signs of the lowest frequencies of the greys.
        colors: uint8 `[48]`, a picture of 4 x 4 pixels.
    """

    bits: int
    colors: np.ndarray


def look(image: "Image.Image") -> Look:
    """How a picture looks from afar: a perceptual hash by DCT, and its colours."""
    from PIL import Image
    from scipy import fft

    grey = image.convert("L").resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BOX)
    waves = np.asarray(fft.dctn(np.asarray(grey, np.float32), norm="ortho"))
    low = waves[:_HASH_KEPT, :_HASH_KEPT].ravel()
    signs = low > np.median(low[1:])
    colors = image.resize((4, 4), Image.Resampling.BOX)
    return Look(int(np.packbits(signs).view(">u8")[0]), np.asarray(colors, np.uint8).ravel())


def is_jpeg(data: bytes) -> bool:
    """Whether a file says that it is a JPEG."""
    return data.startswith(b"\xff\xd8\xff")
