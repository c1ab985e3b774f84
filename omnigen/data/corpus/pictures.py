# SPDX-License-Identifier: Apache-2.0
"""Pictures from strangers: encoded bytes to upright RGB, or a reason why not.

What surrounds the picture in its file is cut out first (see `containers`). The header is read by
one of a few decoders, chosen by the file's first bytes whatever it is called, and what it announces
is checked before a pixel is decoded. Large JPEGs are decoded at the smallest scale that still has
the pixels asked for, which libjpeg does four times as fast.

The extra `fast` has two libraries that are faster still: simplejpeg, whose scales are eighths where
Pillow's are powers of two, and OpenCV, to resize what is then hardly larger than asked for. Only
training uses them (see `load`), so that prepared corpora do not depend on what is installed.
"""

import contextlib
import dataclasses
import enum
import functools
import importlib
import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from omnigen.data.corpus import containers
from omnigen.data.corpus.records import Reason, Rejected

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {"JPEG": "Jpeg", "PNG": "Png", "WEBP": "WebP", "BMP": "Bmp", "GIF": "Gif"}  # decoders
LONGEST_SIDE = 1 << 16
MAX_PIXELS = 1 << 25  # of a picture that is decoded, by default
JPEG_QUALITY = 95

LOOK_SIDE = 64  # of the greys by which near duplicates are compared closely
LOOK_BYTES = LOOK_SIDE * LOOK_SIDE * 3 // 2
_HASH_SIDE, _HASH_KEPT, _NOISE = 32, 8, 2.0
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"} | {
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_SIXTEEN_BIT = 257.0  # 65535 / 255
_PNG_DEPTH = 24  # the byte of a PNG that has the bits of a sample


@dataclasses.dataclass(frozen=True, order=True)
class Size:
    """The size of a picture.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
    """

    height: int
    width: int

    @classmethod
    def square(cls, side: int) -> "Size":
        """Returns a size of equal sides."""
        return cls(side, side)


class Crop(enum.StrEnum):
    """Which part of a picture is used."""

    CENTER = "center"
    RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        image: Upright RGB, possibly smaller than the file.
        width: Width of the whole upright picture in pixels.
        height: Height of the whole upright picture in pixels.
    """

    image: "Image.Image"
    width: int
    height: int


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, least: Size | None = None) -> Picture:
    """Decodes a picture; transparent parts are white.

    Args:
        data: Bytes of the file.
        max_pixels: Largest number of pixels to decode; each costs four bytes of memory.
        least: Size below which JPEGs are not decoded at a smaller scale; None decodes all in full.

    Returns:
        The picture, upright.

    Raises:
        Rejected: If the file is empty, of a foreign format, animated, too large, or damaged.
    """
    with blamed():
        return _decode(_examine(data, max_pixels), least)


@contextlib.contextmanager
def blamed() -> Iterator[None]:
    """Makes whatever is raised in the block a reject of the file at hand.

    Decoders raise anything. A MemoryError keeps its reason.

    Raises:
        Rejected: In place of any exception but those that end the process.
    """
    try:
        yield
    except Rejected:
        raise
    except MemoryError as error:
        raise Rejected(Reason.MEMORY) from error
    except Exception as error:
        raise Rejected(Reason.DAMAGED, f"{type(error).__name__}: {error}") from error


@dataclasses.dataclass(frozen=True)
class _Header:
    """What is known before a pixel is decoded.

    Attributes:
        data: Bytes of the file without what surrounds its picture.
        image: The opened file.
        turn: How the camera was held; see `containers.Bare`.
    """

    data: bytes
    image: Any
    turn: int

    @property
    def is_jpeg(self) -> bool:
        return self.image.format == "JPEG"

    def stored(self, size: Size) -> tuple[int, int]:
        """Returns width and height in the file of what is upright of this size."""
        wide, high = size.width, size.height
        return (high, wide) if self.turn >= 5 else (wide, high)


def _examine(data: bytes, max_pixels: int) -> _Header:
    """Reads the header and refuses what should not be decoded."""
    if not data:
        raise Rejected(Reason.EMPTY)
    bare = containers.unwrap(data)
    if canvas := containers.webp_canvas(bare.data):
        _check_pixels(canvas, max_pixels)  # its decoder takes the memory when it is made
    image = _open(bare.data)
    _check_pixels(image.size, max_pixels)
    if getattr(image, "is_animated", False):
        raise Rejected(Reason.ANIMATED)
    return _Header(bare.data, image, bare.turn)


def _check_pixels(size: tuple[int, int], most: int) -> None:
    width, height = size
    if width * height > most or max(width, height) > LONGEST_SIDE:
        raise Rejected(Reason.PIXELS, f"{width} x {height}")


def measure(data: bytes) -> Size:
    """Returns the size of the upright picture, from the header alone.

    Raises:
        Rejected: As in `decode`.
    """
    with blamed():
        header = _examine(data, MAX_PIXELS)
    width, height = header.image.size[:: -1 if header.turn >= 5 else 1]
    return Size(height, width)


def _decode(header: _Header, least: Size | None) -> Picture:
    from PIL import Image

    image, turn = header.image, header.turn
    width, height = image.size[:: -1 if turn >= 5 else 1]
    if least and header.is_jpeg:
        image.draft(None, header.stored(least))
    image.load()
    _scale_transparency(image, header.data)
    image = to_rgb(image)
    if turn in _TURNS:
        image = image.transpose(Image.Transpose[_TURNS[turn]])
    return Picture(image, width, height)


def _open(data: bytes) -> Any:
    """Opens a picture, reading nothing but its header."""
    for accept, factory in _decoders():
        if accept(data[:16]) is True:
            return factory(io.BytesIO(data), "")
    raise Rejected(Reason.FORMAT)


def is_known(start: bytes) -> bool:
    """Returns whether a file that begins with these 16 bytes is of an allowed format."""
    return any(accept(start) is True for accept, _ in _decoders())


@functools.cache
def _decoders() -> list[tuple[Any, Any]]:
    """Returns tests of the first bytes, each with its decoder; no others of Pillow are loaded."""
    from PIL import Image

    # What is wrong with a picture is a reject; what Pillow warns of beside is of no use to users.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for name in FORMATS.values():
        importlib.import_module(f"PIL.{name}ImagePlugin")
    return [(Image.OPEN[name][1], Image.OPEN[name][0]) for name in FORMATS]


def _scale_transparency(image: Any, data: bytes) -> None:
    """Scales the one transparent colour that a PNG may name to the range of decoded pixels.

    Pillow scales greys of 2 and 4 bits up and colours of 16 bits down, but not this colour.
    """
    named = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("L", "RGB") or isinstance(named, bytes | None):
        return
    most = (1 << data[_PNG_DEPTH]) - 1
    scaled = [
        value >> 8 if most > 255 else value * 255 // most
        for value in (named if isinstance(named, tuple) else (named,))
    ]
    image.info["transparency"] = tuple(scaled) if len(scaled) > 1 else scaled[0]


def to_rgb(image: "Image.Image") -> "Image.Image":
    """Converts any mode of Pillow to RGB.

    16-bit greys keep their range, transparency becomes white.
    """
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float32)
        grey = values / (_SIXTEEN_BIT if image.mode != "F" else 1.0)
        named = image.info.get("transparency")
        if isinstance(named, int):
            grey[values == named] = 255
        return Image.fromarray(grey.clip(0, 255).round().astype(np.uint8), "L").convert("RGB")
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image  # the only way on to RGBA
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def fit(image: "Image.Image", size: Size, *, place: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """Resizes the largest part of a picture that has the form of `size`.

    Args:
        image: Picture in RGB.
        size: Size of the result.
        place: Where the part lies in the room it has, across and down; the middle by default.

    Returns:
        uint8 `[height, width, 3]`.
    """
    from PIL import Image

    scale, box = _cut(Size(image.height, image.width), size, place)
    part = image if box == (0, 0, *image.size) else image.crop(box)
    if part.size != (size.width, size.height):
        # As sharp as bicubic when pictures get smaller, and twice as fast.
        method = Image.Resampling.HAMMING if scale > 1 else Image.Resampling.BICUBIC
        part = part.resize((size.width, size.height), method, reducing_gap=2.0)
    return np.asarray(part)


def _cut(
    whole: Size, size: Size, place: tuple[float, float]
) -> tuple[float, tuple[int, int, int, int]]:
    """Returns the part that `fit` takes: its scale relative to `size`, and its box as in Pillow."""
    scale = min(whole.width / size.width, whole.height / size.height)
    width, height = max(round(size.width * scale), 1), max(round(size.height * scale), 1)
    left, top = round((whole.width - width) * place[0]), round((whole.height - height) * place[1])
    return scale, (left, top, left + width, top + height)


def load(data: bytes, size: Size, *, place: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """Decodes a picture and fits it, by the fastest libraries that are installed.

    Args:
        data: Bytes of the file.
        size: Size of the result.
        place: As in `fit`.

    Returns:
        uint8 `[height, width, 3]`. With the extra `fast`, those of large JPEGs differ a little.

    Raises:
        Rejected: As in `decode`.
    """
    with blamed():
        header = _examine(data, MAX_PIXELS)
        pixels = _load_jpeg(header, size, place) if header.is_jpeg else None
        if pixels is None:
            pixels = fit(_decode(header, size).image, size, place=place)
    return pixels


def _load_jpeg(header: _Header, size: Size, place: tuple[float, float]) -> np.ndarray | None:
    """Loads a JPEG as `load` does, with the libraries of the extra `fast`.

    None without them, for a picture that has to grow or is not RGB or grey, and if there is
    anything to warn of: it is then for Pillow to judge.
    """
    libraries, (wide, high) = _fast(), header.stored(size)
    is_large = header.image.width >= wide and header.image.height >= high
    if not (libraries and is_large and header.image.mode in ("L", "RGB")):
        return None
    simplejpeg, cv2 = libraries
    try:
        pixels = simplejpeg.decode_jpeg(header.data, "RGB", min_width=wide, min_height=high)
    except ValueError:
        return None
    if header.turn in _TURNS:
        from PIL import Image

        turned = Image.fromarray(pixels).transpose(Image.Transpose[_TURNS[header.turn]])
        pixels = np.asarray(turned)
    scale, (left, top, right, bottom) = _cut(Size(*pixels.shape[:2]), size, place)
    part = pixels[top:bottom, left:right]
    if part.shape[:2] == (size.height, size.width):
        return part
    method = cv2.INTER_LINEAR if scale < 2 else cv2.INTER_AREA
    return cv2.resize(part, (size.width, size.height), interpolation=method)


@functools.cache
def _fast() -> tuple[Any, Any] | None:
    """Returns the libraries of the extra `fast`, if they are installed."""
    try:
        cv2, simplejpeg = map(importlib.import_module, ("cv2", "simplejpeg"))
    except ImportError:
        return None
    cv2.setNumThreads(1)  # pictures are loaded side by side; threads of its own are in the way
    return simplejpeg, cv2


def shrink(image: "Image.Image", side: int) -> "Image.Image":
    """Resizes the whole picture so that its shorter side, which must be longer, is `side`."""
    from PIL import Image

    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


def encode(image: "Image.Image", *, lossless: bool) -> bytes:
    """Returns a file of the picture: lossless WebP, or JPEG."""
    file = io.BytesIO()
    if lossless:
        image.save(file, "WEBP", lossless=True, method=2)
    else:
        image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class Look:
    """What near duplicates have in common.

    Attributes:
        bits: Perceptual hash: 64 signs of the lowest frequencies of the greys.
        colors: Picture of 4 x 4 pixels, uint8 `[48]`.
        fine: 64 x 64 greys, then 32 x 32 of each of the two colour differences of JPEG, uint8
            `[LOOK_BYTES]`.
    """

    bits: int
    colors: np.ndarray
    fine: np.ndarray


def look(image: "Image.Image") -> Look:
    """Returns a perceptual hash by DCT, mean colours and a closer look at a picture."""
    from PIL import Image
    from scipy import fft

    grey = image.convert("L").resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BOX)
    waves = np.asarray(fft.dctn(np.asarray(grey, np.float32), norm="ortho"))
    low = waves[:_HASH_KEPT, :_HASH_KEPT].ravel()
    # Half of the frequencies of a symmetric picture are zero: noise must not decide their signs.
    signs = low > np.median(low[1:]) + _NOISE
    colors = np.asarray(image.resize((4, 4), Image.Resampling.BOX), np.uint8).ravel()
    whole = image.resize((LOOK_SIDE, LOOK_SIDE), Image.Resampling.HAMMING, reducing_gap=3.0)
    luma, *chroma = whole.convert("YCbCr").split()
    half = (LOOK_SIDE // 2, LOOK_SIDE // 2)
    planes = [luma, *(plane.resize(half, Image.Resampling.BOX) for plane in chroma)]
    fine = np.concatenate([np.asarray(plane, np.uint8).ravel() for plane in planes])
    return Look(int(np.packbits(signs).view(">u8")[0]), colors, fine)


def is_jpeg(data: bytes) -> bool:
    """Returns whether the first bytes of a file are a JPEG's."""
    return data.startswith(b"\xff\xd8\xff")
