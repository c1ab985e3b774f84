# SPDX-License-Identifier: Apache-2.0
"""Which pictures are kept, and how: the filters of `prepare`, for one picture at a time."""

import dataclasses

from omnigen.data.corpus import pictures, records
from omnigen.data.corpus.records import Raw, Reason, Record, Rejected

_WEBP_SIDE = 16383  # the longest of that format
_LOOK_SIDE = 2 * pictures.LOOK_SIDE  # pixels that a look at a picture needs


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is kept, and how.

    Attributes:
        size: Larger pictures are resized so that their shorter side is this; 0 keeps every file as
            it is. Resized JPEGs stay JPEGs, other formats become lossless WebP.
        min_side: Number of pixels that the shorter side must have.
        max_aspect: Largest ratio of the longer side to the shorter.
        max_pixels: Largest number of pixels of a picture that is decoded.
        min_caption: Number of characters that a caption must have; 0 also keeps pictures without
            any.
        max_caption: Number of characters that a caption may have.
        near_duplicates: Largest number of bits, of 64, in which the perceptual hashes of near
            duplicates differ; -1 keeps near duplicates. Equal files are always one picture.
        test_fraction: Share of pictures that is never trained on, chosen by their keys, where the
            input names none for the test.
        license: Licence of pictures that do not name their own.
        shard_bytes: Approximate size of a shard.
    """

    size: int = 0
    min_side: int = 32
    max_aspect: float = 4.0
    max_pixels: int = pictures.MAX_PIXELS
    min_caption: int = 1
    max_caption: int = 2000
    near_duplicates: int = 4
    test_fraction: float = records.TEST_FRACTION
    license: str = ""
    shard_bytes: int = 1 << 28

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            ValueError: If a field is out of range; the message names its value and what is allowed.
        """
        for name, least, most in (
            ("size", 0, 1 << 14),
            ("min_side", 1, 1 << 14),
            ("max_aspect", 1, 1000),
            ("max_pixels", 1, 1 << 28),
            ("min_caption", 0, 1 << 20),
            ("max_caption", 1, 1 << 20),
            ("near_duplicates", -1, 15),
            ("test_fraction", 0, 0.5),
            ("shard_bytes", 1, 1 << 34),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}; allowed: {least} to {most}")
        if self.min_caption > (most := self.max_caption):
            raise ValueError(f"min_caption is {self.min_caption}; allowed: up to {most}")
        longest = self.size * self.max_aspect
        if longest > _WEBP_SIDE:
            text = f"size times max_aspect is {longest:g} pixels; allowed: up to {_WEBP_SIDE}"
            raise ValueError(text)


def check(raw: Raw, settings: Settings) -> tuple[Record, pictures.Look]:
    """Decodes a picture, applies the filters, and resizes it if asked.

    Raises:
        Rejected: If the picture does not pass.
    """
    if isinstance(raw.image, Rejected):
        raise raw.image
    captions = captions_of(raw, settings)
    least = pictures.Size.square(max(settings.size, _LOOK_SIDE))
    picture = pictures.decode(raw.image, max_pixels=settings.max_pixels, least=least)
    least, most = sorted((picture.width, picture.height))
    if least < settings.min_side:
        raise Rejected(Reason.SMALL, f"{picture.width} x {picture.height}")
    if most > settings.max_aspect * least:
        raise Rejected(Reason.ASPECT, f"{picture.width} x {picture.height}")
    data, width, height = raw.image, picture.width, picture.height
    if settings.size and least > settings.size:
        image = pictures.shrink(picture.image, settings.size)
        data = pictures.encode(image, lossless=not pictures.is_jpeg(data))
        width, height = image.size
    if width * height > pictures.MAX_PIXELS:
        raise Rejected(Reason.PIXELS, f"{width} x {height}; size makes them smaller")
    record = Record(raw.key, data, width, height, captions, dict(raw.attributes))
    return record, pictures.look(picture.image)


def captions_of(raw: Raw, settings: Settings) -> tuple[str, ...]:
    """Returns the captions that are neither too short nor too long.

    Raises:
        Rejected: If no caption passes, and there has to be one.
    """
    captions = tuple(c for c in raw.captions if len(c) >= max(settings.min_caption, 1))
    if settings.min_caption and not captions:
        raise Rejected(Reason.NO_CAPTION, raw.note)
    short = tuple(c for c in captions if len(c) <= settings.max_caption)
    if captions and not short:
        raise Rejected(Reason.LONG_CAPTION, f"{min(map(len, captions))} characters")
    return short
