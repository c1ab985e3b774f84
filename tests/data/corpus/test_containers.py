# SPDX-License-Identifier: Apache-2.0
"""Sound pictures among large, broken or malicious notes. Oracles are files made byte by byte."""

import io
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from omnigen.data.corpus import containers, pictures
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import Reason, Rejected

BIG = b"\0" * (3 << 20)
SIZES = {"PNG": {}, "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}


def smooth(height=24, width=40):
    y, x = np.mgrid[:height, :width] / max(height, width)
    return (255 * np.stack([x, y, (x + y) / 2], axis=-1)).astype(np.uint8)


def file_of(image, kind, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **{**SIZES.get(kind, {}), **options})
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(samples, depth, kind, *before, after=()):
    """A PNG of integer samples `[H, W, C]`; the file format's own words, by hand."""
    height, width, _ = samples.shape
    bits = samples.reshape(height, -1, 1) >> np.arange(depth)[::-1] & 1
    rows = np.packbits(bits.astype(np.uint8).reshape(height, -1), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(raw)), *after]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def pixels(data):
    picture = pictures.decode(data)
    assert pictures.measure(data) == Size(picture.height, picture.width)
    return np.asarray(picture.image)


def exif(turn, order="<", kind=3, prefix=b"", fill=0):
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    value = struct.pack(order + {1: "B", 3: "H", 4: "I"}[kind], turn).ljust(4, b"\0")
    tags = struct.pack(f"{order}HHII", 0x010F, 2, 2, 0) + struct.pack(
        f"{order}HHI", 0x0112, kind, 1
    )
    return prefix + head + struct.pack(f"{order}H", 2) + tags + value + bytes(4 + fill)


def xmp(turn):
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{turn}"/></x:xmpmeta>'.encode()


def jpeg_with(data, *segments):
    cut = b"".join(struct.pack(">BBH", 0xFF, m, len(b) + 2) + b for m, b in segments)
    return data[:2] + cut + data[2:]


def png_with(data, *chunks, after=False):
    place = data.index(b"IEND") - 4 if after else 33
    return data[:place] + b"".join(chunks) + data[place:]


def webp_with(data, kind, body):
    """As a VP8X file, which has room for more chunks."""
    image = data[12:]
    width, height = Image.open(io.BytesIO(data)).size
    flags = {b"EXIF": 8, b"XMP ": 4, b"ICCP": 32}[kind]
    head = struct.pack("<I", flags) + (width - 1).to_bytes(3, "little")
    head += (height - 1).to_bytes(3, "little")
    more = kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    parts = [more, image] if kind == b"ICCP" else [image, more]
    content = b"WEBPVP8X" + struct.pack("<I", 10) + head + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def gif_with(data, *blocks):
    place = 13 + (3 << (data[10] & 7) + 1)
    return data[:place] + b"".join(blocks) + data[place:]


def stored(upright, turn):
    """What lies in a file of this orientation: which sides its row 0 and column 0 are."""
    across = upright.transpose(1, 0, 2)
    return np.ascontiguousarray({
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: across, 6: upright[:, ::-1].transpose(1, 0, 2),
        7: upright[::-1, ::-1].transpose(1, 0, 2), 8: upright[::-1].transpose(1, 0, 2),
    }[turn])  # fmt: skip


def hexed(data):
    return f"\nexif\n{len(data):8d}\n{data.hex()}\n".encode()


NOTED = {
    "JPEG": lambda d, t: jpeg_with(d, (0xE1, b"Exif\0\0" + exif(t, ">"))),
    "JPEG, after much": lambda d, t: jpeg_with(
        d, *[(0xE2, b"ICC_PROFILE\0" + bytes(60_000))] * 40, (0xE1, exif(t, prefix=b"Exif\0\0"))
    ),
    "JPEG, XMP": lambda d, t: jpeg_with(d, (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(t))),
    "PNG": lambda d, t: png_with(d, chunk(b"eXIf", exif(t))),
    "PNG, after the pixels": lambda d, t: png_with(d, chunk(b"eXIf", exif(t, ">")), after=True),
    "PNG, XMP": lambda d, t: png_with(d, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(t))),
    "PNG, packed XMP": lambda d, t: png_with(
        d, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(t))), after=True
    ),
    "PNG, ImageMagick": lambda d, t: png_with(
        d, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hexed(exif(t))))
    ),
    "WEBP": lambda d, t: webp_with(d, b"EXIF", exif(t, kind=4)),
    "WEBP, prefix": lambda d, t: webp_with(d, b"EXIF", exif(t, prefix=b"Exif\0\0")),
    "WEBP, XMP": lambda d, t: webp_with(d, b"XMP ", xmp(t)),
}  # fmt: skip


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", NOTED)
def test_every_note_of_a_turn_is_heeded(name, turn):
    upright, kind = smooth(), name.partition(",")[0]
    data = NOTED[name](file_of(stored(upright, turn), kind), turn)
    got = pixels(data)
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).max() <= (6 if kind == "JPEG" else 0)
    loaded = pictures.load(data, Size(24, 40))
    assert np.abs(loaded.astype(int) - upright).max() <= (6 if kind == "JPEG" else 0)


def test_exif_goes_before_xmp_and_nonsense_is_upright():
    data = file_of(smooth(), "PNG")
    both = chunk(b"eXIf", exif(3)), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6))
    assert containers.unwrap(png_with(data, *both)).turn == 3
    for note in (exif(9), exif(0), exif(6)[:20], b"", b"II*\0\xff\xff\xff\xff", b"MM" + bytes(90)):
        assert containers.unwrap(png_with(data, chunk(b"eXIf", note))).turn == 1


SURROUNDED = {
    "iCCP": ("PNG", lambda d: png_with(d, chunk(b"iCCP", b"p\0\0" + zlib.compress(BIG)))),
    "zTXt": ("PNG", lambda d: png_with(d, chunk(b"zTXt", b"k\0\0" + zlib.compress(BIG)))),
    "iTXt": ("PNG", lambda d: png_with(d, chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(BIG)))),
    "tEXt": ("PNG", lambda d: png_with(d, chunk(b"tEXt", b"k\0" + BIG))),
    "zTXt after the pixels": (
        "PNG",
        lambda d: png_with(d, chunk(b"zTXt", b"k\0\0" + zlib.compress(BIG)), after=True),
    ),
    "XMP bomb": (
        "PNG",
        lambda d: png_with(
            d, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(1 << 28)))
        ),
    ),
    "many texts": ("PNG", lambda d: png_with(d, *[chunk(b"tEXt", b"k\0" + bytes(9))] * 50_000)),
    "broken texts": (
        "PNG",
        lambda d: png_with(
            d, *(chunk(k, b"\xff" * 9) for k in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA"))
        ),
    ),
    "wrong CRC": ("PNG", lambda d: png_with(d, chunk(b"tEXt", b"a\0b")[:-4] + b"nope")),
    "own chunk": ("PNG", lambda d: png_with(d, chunk(b"prVt", BIG))),
    "after the end": ("PNG", lambda d: d + BIG),
    "segments": ("JPEG", lambda d: jpeg_with(d, *[(0xE2, b"ICC_PROFILE\0" + bytes(65_000))] * 300)),
    "EXIF in parts": (
        "JPEG",
        lambda d: jpeg_with(d, *[(0xE1, exif(1, prefix=b"Exif\0\0", fill=65_000))] * 300),
    ),
    "comments": ("JPEG", lambda d: jpeg_with(d, *[(0xFE, bytes(65_000))] * 300)),
    "profile": ("WEBP", lambda d: webp_with(d, b"ICCP", BIG)),
    "XMP": ("WEBP", lambda d: webp_with(d, b"XMP ", BIG)),
    "comment": ("GIF", lambda d: gif_with(d, b"!\xfe" + (b"\xff" + b"x" * 255) * 9000 + b"\0")),
    "application": ("GIF", lambda d: gif_with(d, b"!\xff\x0bABCDEFGHIJK" + b"\1x" * 9000 + b"\0")),
}


@pytest.mark.parametrize("name", SURROUNDED)
def test_what_surrounds_a_picture_costs_nothing(name):
    kind, surround = SURROUNDED[name]
    plain = file_of(smooth(), kind)
    data = surround(plain)
    expected = pixels(plain)
    tracemalloc.start()
    start = time.process_time()
    got = pixels(data)
    assert time.process_time() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 5 * len(data) + (8 << 20)
    tracemalloc.stop()
    np.testing.assert_array_equal(got, expected)


def test_notes_that_point_to_one_place_many_times_take_no_memory():
    """Each of 40 000 tags names the same megabyte."""
    tags = b"".join(struct.pack("<HHII", k + 0x200, 7, 1 << 20, 8) for k in range(40_000))
    note = b"II*\0\x08\0\0\0" + struct.pack("<H", 40_000) + tags + bytes(1 << 20)
    data = png_with(file_of(smooth(), "PNG"), chunk(b"eXIf", note))
    tracemalloc.start()
    np.testing.assert_array_equal(pixels(data), smooth())
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_files_of_blocks_without_end_are_rejects():
    many = 300_000
    for data in (
        png_with(file_of(smooth(), "PNG"), chunk(b"IDAT", b"") * many),
        b"\xff\xd8" + b"\xff\xfe\0\2" * many,
        gif_with(file_of(smooth(), "GIF"), b"!\xfe\0" * many),
        b"RIFF\0\0\0\0WEBP" + b"JUNK\0\0\0\0" * many,
    ):
        with pytest.raises(Rejected, match="more than 262144 blocks"):
            pictures.decode(data)


def test_a_canvas_is_checked_before_memory_is_taken():
    data = bytearray(webp_with(file_of(smooth(), "WEBP"), b"XMP ", b"x"))
    data[24:30] = b"\xff\x3f\x00" * 2  # 16 384 x 16 384
    with pytest.raises(Rejected) as raised:
        pictures.decode(bytes(data))
    assert raised.value.reason == Reason.PIXELS
    for options in ({}, {"lossless": False}, {"exif": exif(1)}):
        assert containers.webp_canvas(file_of(smooth(), "WEBP", **options)) == (40, 24)


def test_the_first_of_a_phones_pictures_is_a_plain_jpeg():
    frames = [Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])]
    file = io.BytesIO()
    frames[0].save(file, "MPO", save_all=True, append_images=frames[1:], quality=95)
    assert np.abs(pixels(file.getvalue()).astype(int) - smooth()).max() <= 12


GREYS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0)]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("depth", "kind"), [*GREYS, (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)]
)
def test_every_png_is_what_the_format_says(depth, kind, named):
    """Samples are scaled to 0 .. 255; alpha, or a colour that is named, lets white through."""
    channels, most = {0: 1, 2: 3, 4: 2, 6: 4}[kind], (1 << depth) - 1
    samples = np.random.default_rng(depth + kind).integers(0, most, (6, 9, channels), endpoint=True)
    samples[0, 0] = samples[5, 8] = most // 2 + (depth == 16)
    before, alpha = [], np.ones((6, 9, 1))
    if kind in (4, 6):
        alpha = samples[..., -1:] / most
    elif named:
        before = [chunk(b"tRNS", struct.pack(f">{channels}H", *samples[0, 0]))]
        alpha = (samples != samples[0, 0]).any(-1, keepdims=True).astype(float)
    color = samples[..., :3] if kind in (2, 6) else samples[..., :1].repeat(3, -1)
    expected = color / most * 255 * alpha + 255 * (1 - alpha)
    got = pixels(png(samples, depth, kind, *before))
    assert np.abs(got - expected).max() < (2 if alpha.min() < 1 else 1.01)  # low bytes are dropped


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_of_every_depth_may_be_transparent(depth):
    rng, count = np.random.default_rng(depth), 1 << depth
    colors, samples = rng.integers(0, 256, (count, 3)), rng.integers(0, count, (6, 9, 1))
    alphas = rng.integers(0, 256, count // 2)  # fewer than colours: the others are opaque
    palette = chunk(b"PLTE", bytes(colors.astype(np.uint8)))
    data = png(samples, depth, 3, palette, chunk(b"tRNS", bytes(alphas.astype(np.uint8))))
    alpha = np.concatenate([alphas, np.full(count - len(alphas), 255)])[samples] / 255
    expected = colors[samples[..., 0]] * alpha + 255 * (1 - alpha)
    assert np.abs(pixels(data) - expected).max() <= 1


MODES = "1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV LAB I F I;16 I;16B"


@pytest.mark.parametrize("mode", MODES.split())
def test_every_mode_becomes_rgb(mode):
    assert pictures.to_rgb(Image.new(mode, (3, 2))).mode == "RGB"


def test_premultiplied_pictures_lie_on_white():
    for half in (Image.new("LA", (1, 1), (40, 128)), Image.new("RGBA", (1, 1), (40, 40, 40, 128))):
        got = pictures.to_rgb(half.convert(half.mode[:-1] + "a"))
        np.testing.assert_allclose(np.asarray(got)[0, 0], (40 * 128 + 255 * 127) / 255, atol=1)
    pairs = Image.frombytes("PA", (2, 1), b"\0\xff\1\0")
    pairs.putpalette([10, 20, 30, 40, 50, 60])
    got = np.asarray(pictures.to_rgb(pairs))
    np.testing.assert_array_equal(got[0], [(10, 20, 30), (255, 255, 255)])


@pytest.mark.parametrize("transform", [0, 2])
def test_inverted_inks_are_turned_back(transform):
    """Adobe stores 255 for no ink. The oracle inverts and multiplies by hand."""
    inks = np.array([[(0, 200, 100, 30), (255, 0, 0, 0)]], np.uint8).repeat(16, 0).repeat(16, 1)
    data = file_of_cmyk(inks)
    place = data.index(b"Adobe")
    assert data[place + 11] == 0
    c, m, y, k = (255 - inks.astype(float)).transpose(2, 0, 1)
    expected = np.stack([c, m, y], -1) * k[..., None] / 255
    if transform:  # luminance and colours in place of the first three; the samples are inverted
        ycc = np.asarray(Image.fromarray(inks[..., :3]).convert("YCbCr"))
        data = file_of_cmyk(np.dstack([255 - ycc, inks[..., 3]]))
        place = data.index(b"Adobe")
        data = data[: place + 11] + b"\2" + data[place + 12 :]
    got = pixels(data).astype(float)
    assert np.abs(got - expected).max() <= 8


def file_of_cmyk(inks):
    file = io.BytesIO()
    Image.fromarray(inks, "CMYK").save(file, "JPEG", quality=100, subsampling=0)
    return file.getvalue()


def test_what_pillow_warns_of_does_not_reach_users(tmp_path):
    """An animation's header that tells of no frames is a warning there."""
    path = tmp_path / "a.png"
    path.write_bytes(png_with(file_of(smooth(), "PNG"), chunk(b"acTL", bytes(8))))
    code = (
        "import pathlib, sys; from omnigen.data.corpus import pictures\n"
        "print(pictures.decode(pathlib.Path(sys.argv[1]).read_bytes()).image.size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "(40, 24)\n" and not done.stderr


def test_lack_of_memory_is_told_as_such(monkeypatch):
    def starve(image):
        raise MemoryError

    monkeypatch.setattr(pictures, "to_rgb", starve)
    with pytest.raises(Rejected) as raised:
        pictures.decode(file_of(smooth(), "PNG"))
    assert raised.value.reason == Reason.MEMORY
