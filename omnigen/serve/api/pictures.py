# SPDX-License-Identifier: Apache-2.0
"""Pictures on their way in and out: decoding, masks, sizes and file formats.

What comes in is refused by its header before a pixel is decoded. What goes out has the size that
was asked for: it is the model's own picture, resampled; where the form differs its borders go on.
"""

import base64
import binascii
import dataclasses
import io
import re
from typing import TYPE_CHECKING, Any

from omnigen.generation import sampler
from omnigen.serve.api.errors import ApiError, bad
from omnigen.serve.api.limits import Limits

if TYPE_CHECKING:
    import numpy as np

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_STARTS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
_DATA_URL = re.compile(r"data:image/(?:png|jpeg|jpg|webp);base64,", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Format:
    """How a picture is written.

    Attributes:
        name: "png", "jpeg" or "webp".
        quality: Quality of JPEG and WebP, 0 ... 100.
    """

    name: str = "png"
    quality: int = 100

    @property
    def mime(self) -> str:
        """The media type."""
        return FORMATS[self.name]


@dataclasses.dataclass(frozen=True)
class Given:
    """A picture that a client sent, or that was drawn for it before.

    Attributes:
        pixels: Pixels of the model's own size, uint8 `[H, W, 3]`.
        size: Width and height of the file.
        data: The file, for the record of where a picture comes from.
        sketch: What the model wrote of it, if it drew it.
    """

    pixels: "np.ndarray"
    size: tuple[int, int]
    data: bytes
    sketch: str = ""


def from_text(param: str, text: Any, limits: Limits) -> bytes:
    """Returns the file of a data URL, or of bare base64; no other URL is ever opened.

    Raises:
        ApiError: If it is something else, or too large.
    """
    if not isinstance(text, str):
        raise bad(param, "must be a data URL with a picture in base64")
    start = _DATA_URL.match(text[:64])
    if start is None and ":" in text[:64]:
        raise bad(param, "only data URLs are read: data:image/png;base64,...", "invalid_image_url")
    body = text[start.end() if start else 0 :]
    if len(body) > limits.data_url_bytes:
        raise bad(param, f"has more than {limits.data_url_bytes} bytes", "file_too_large")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise bad(param, "is not base64", "invalid_image_url") from None


def mime(data: bytes) -> str:
    """Returns the media type of a file that `decode` takes."""
    return FORMATS[next(name for start, name in _STARTS.items() if data.startswith(start))]


def decode(param: str, data: bytes, native: tuple[int, int], limits: Limits) -> Given:
    """Decodes a PNG, JPEG or WebP, and fits it into the model's own size.

    Args:
        param: Name of the field, for errors.
        data: The file.
        native: Width and height that the model reads.
        limits: Bounds.

    Raises:
        ApiError: If it is of another format, too large, animated or damaged.
    """
    from omnigen.data.corpus import pictures
    from omnigen.data.corpus.records import Reason, Rejected

    if not data:
        raise bad(param, "is empty", "invalid_image")
    if not any(data.startswith(start) for start in _STARTS):
        raise bad(param, "is no picture; allowed: PNG, JPEG, WebP", "invalid_image_format")
    size = pictures.Size(native[1], native[0])
    try:
        found = pictures.decode(data, max_pixels=limits.pixels, least=size)
    except Rejected as rejected:
        what = str(rejected) if rejected.reason is not Reason.DAMAGED else "damaged picture"
        limit = f"; allowed: up to {limits.pixels}" if rejected.reason is Reason.PIXELS else ""
        raise bad(param, f"is refused: {what}{limit}", "invalid_image") from None
    pixels = pictures.fit(found.image, size)
    return Given(pixels, (found.width, found.height), data)


def decode_mask(
    param: str, data: bytes, given: Given, native: tuple[int, int], limits: Limits
) -> "np.ndarray":
    """Returns where a picture may change, bool `[H, W]` of the model's own size.

    Args:
        param: Name of the field, for errors.
        data: PNG with an alpha channel, which is 0 where the picture may change.
        given: Picture that the mask belongs to.
        native: Width and height that the model reads.
        limits: Bounds.

    Raises:
        ApiError: If it is no such PNG, or not of the picture's size.
    """
    import numpy as np
    from PIL import Image

    from omnigen.data.corpus import pictures

    if len(data) > limits.mask_bytes:
        message = f"{param}: has more than {limits.mask_bytes} bytes"
        raise ApiError(413, message, param=param, code="file_too_large")
    if not data.startswith(b"\x89PNG"):
        raise bad(param, "is no PNG", "invalid_image_format")
    decode(param, data, native, limits)  # what is damaged or too large is refused there
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.size != given.size:
            sizes = "{}x{}, the picture {}x{}".format(*image.size, *given.size)
            raise bad(param, f"must have the size of the first picture; it has {sizes}")
        if not image.has_transparency_data:
            raise bad(param, "has no alpha channel", "invalid_mask")
        alpha = image.convert("RGBA").getchannel("A").convert("RGB")
    return np.asarray(pictures.fit(alpha, pictures.Size(native[1], native[0])))[..., 0] < 128


def compose(drawn: "np.ndarray", given: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
    """Returns what was drawn where the mask lets it, and the given picture elsewhere."""
    import numpy as np

    return np.where(mask[..., None], drawn, given)


def resample(pixels: "np.ndarray", size: tuple[int, int]) -> "np.ndarray":
    """Returns the whole picture at another size; where the form differs its borders go on.

    Args:
        pixels: Picture, uint8 `[H, W, 3]`.
        size: Width and height.
    """
    import numpy as np
    from PIL import Image

    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    scale = min(size[0] / width, size[1] / height)
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    image = Image.fromarray(pixels).resize(inner, Image.Resampling.BICUBIC)
    across, down = size[0] - inner[0], size[1] - inner[1]
    room = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
    return np.pad(np.asarray(image), room, mode="edge")


def encode(
    pixels: "np.ndarray", form: Format, request: sampler.Request, *, version: str, sketch: str
) -> bytes:
    """Returns a file; a PNG says how it was drawn, as those of the command `sample` do.

    Args:
        pixels: Picture, uint8 `[H, W, 3]`.
        form: Format of the file.
        request: What was drawn.
        version: Version of the model.
        sketch: What the model wrote.
    """
    if form.name == "png":
        return sampler.encode(pixels, request, version=version, sketch=sketch)
    from PIL import Image

    file = io.BytesIO()
    options: dict[str, Any] = {"quality": max(form.quality, 1)}
    if form.name == "jpeg":
        options |= {"subsampling": 0 if form.quality >= 90 else 2, "optimize": True}
    Image.fromarray(pixels).save(file, form.name.upper(), **options)
    return file.getvalue()


def written(size: tuple[int, int]) -> str:
    """Returns a size as "WxH"."""
    return f"{size[0]}x{size[1]}"
