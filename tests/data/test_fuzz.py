# SPDX-License-Identifier: Apache-2.0
"""Thousands of damaged, disguised and malicious files through the whole of `prepare`."""

import collections
import io
import json
import pathlib
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from omnigen.data.corpus import pictures
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import Corpus, Reason, Rejected
from omnigen.data.prepare import ingest

MAX_PIXELS = 1 << 22
MEMORY = 10 * MAX_PIXELS + (64 << 20)  # bytes; ten for each pixel of the largest picture
FOREIGN = [
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n",
    b"SIMPLE  =                    T / FITS" + b" " * 2000,
    b"%PDF-1.7\n",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"II*\0\x08\0\0\0",
    b"PK\x03\x04",
    b"\x1f\x8b\x08\0",
    b"#!/bin/sh\n",
]


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def sound(dice):
    """A file of one of the many forms that pictures come in."""
    size = (dice.randint(40, 200), dice.randint(40, 150))
    noise = np.random.default_rng(dice.randrange(1 << 30)).integers(0, 256, (6, 6, 4), np.uint8)
    rgba = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    rgb = rgba.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = dice.randint(1, 8)
    grey = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
    forms = [
        lambda: saved(rgb, "JPEG", quality=dice.randint(30, 95), exif=exif),
        lambda: saved(rgb, "JPEG", progressive=True),
        lambda: saved(rgb.convert("CMYK"), "JPEG"),
        lambda: saved(rgb.convert("L"), "JPEG"),
        lambda: saved(rgba, "PNG"),
        lambda: saved(rgb, "PNG"),
        lambda: saved(Image.fromarray(grey), "PNG"),
        lambda: saved(rgb.quantize(16), "PNG", transparency=3),
        lambda: saved(rgb.convert("1"), "PNG"),
        lambda: saved(rgba, "WEBP", quality=80),
        lambda: saved(rgb, "WEBP", lossless=True),
        lambda: saved(rgb, "BMP"),
        lambda: saved(rgb.quantize(64), "GIF"),
    ]
    return dice.choice(forms)()


def flipped(data, dice):
    data = bytearray(data)
    for _ in range(dice.choice([1, 2, 8, 64])):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def zeroed(data, dice):
    start = dice.randrange(len(data))
    length = dice.randrange(1, 400)
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def png(width, height, rows=b""):
    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def bomb(dice):
    """A small file of a picture that would fill the memory."""
    rows = zlib.compress(bytes(3 * 9000 + 1) * 300, 9)
    width, height = dice.choice([(9000, 9000), (65535, 65535), (1 << 20, 2), (2147483647, 1)])
    bmp = bytearray(saved(Image.new("RGB", (8, 8)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    gif = bytearray(saved(Image.new("P", (8, 8)), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    webp = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\0\xff\x3f\0"
    webp = b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp
    jpeg = bytearray(saved(Image.new("RGB", (16, 16)), "JPEG"))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", 60_000, 60_000)
    made = [png(width, height, rows), png(9000, 9000, rows), bytes(bmp), bytes(gif), webp]
    return dice.choice([*made, bytes(jpeg)])


def animated(dice):
    frames = [Image.new("RGB", (50, 50), color) for color in ("red", "lime", "blue")]
    kind = dice.choice(["GIF", "PNG", "WEBP"])
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def fuzzed(number):
    """A file, what was done to it, and the reasons one of which must be given; none may be too."""
    dice = random.Random(number)
    data = sound(dice)
    some = {Reason.DAMAGED, Reason.FORMAT, Reason.PIXELS, Reason.SMALL, Reason.ASPECT}
    some |= {Reason.ANIMATED, Reason.EMPTY}
    kinds = {
        "sound": lambda: (data, {None}),
        "truncated": lambda: (data[: dice.randrange(len(data))], {*some, None}),
        "flipped": lambda: (flipped(data, dice), {*some, None}),
        "zeroed": lambda: (zeroed(data, dice), {*some, None}),
        "disguised": lambda: (dice.choice(FOREIGN) + data, {Reason.FORMAT}),
        "polyglot": lambda: (data + b"PK\x03\x04<script>%PDF-1.7", {None}),
        "bomb": lambda: (bomb(dice), {Reason.PIXELS, Reason.DAMAGED}),
        "animated": lambda: (animated(dice), {Reason.ANIMATED}),
        "empty": lambda: (b"", {Reason.EMPTY}),
        "flat": lambda: (png(*dice.choice([(0, 5), (5, 0), (0, 0)])), {Reason.DAMAGED}),
        "noise": lambda: (dice.randbytes(dice.randrange(1, 3000)), {Reason.FORMAT, Reason.DAMAGED}),
    }
    weights = [3, 6, 8, 4, 2, 1, 1, 1, 1, 1, 1]
    kind = dice.choices(list(kinds), weights)[0]
    return kind, *kinds[kind]()


def prepare_all(folder, count):
    """Writes files, prepares them, and checks what became of each."""
    source, output = folder / "in", folder / "out"
    source.mkdir()
    expected, done = {}, collections.Counter()
    for number in range(count):
        kind, data, reasons = fuzzed(number)
        (source / f"{number:05d}.jpg").write_bytes(data)  # whatever it is
        (source / f"{number:05d}.txt").write_text("a picture")
        expected[f"{number:05d}"] = kind, reasons
        done[kind] += 1
    settings = ingest.Settings(
        min_side=8, max_aspect=8, max_pixels=MAX_PIXELS, near_duplicates=-1, test_fraction=0.0
    )
    ingest.run(ingest.plan(source, output, settings))
    found = dict.fromkeys((record.key for record in Corpus(output)), None)
    for line in (output / ingest.REJECTS).read_text().splitlines():
        row = json.loads(line)
        assert row["key"] not in found
        found[row["key"]] = Reason(row["reason"])
    assert found.keys() == expected.keys()
    table = collections.defaultdict(collections.Counter)
    for key, (kind, reasons) in expected.items():
        reason = found[key]
        assert reason in reasons or reason == Reason.DUPLICATE, (key, kind, reason)
        table[kind]["kept" if reason is None else str(reason)] += 1
    return table


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_few_hundred(tmp_path):
    table = prepare_all(tmp_path, 200)
    assert len(table) == 11
    assert table["sound"]["kept"] == table["sound"].total()


MEASURE = """
import json, pathlib, resource, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import test_fuzz
from omnigen.data.corpus import pictures
pictures.decode(test_fuzz.saved(test_fuzz.Image.new("RGB", (9, 9)), "PNG"))
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = test_fuzz.prepare_all(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"bytes": 1024 * (peak - start), "table": table}))
"""


@pytest.mark.slow
def test_five_thousand_within_bounded_memory(tmp_path):
    here = str(pathlib.Path(__file__).parent)
    command = [sys.executable, "-c", MEASURE, here, str(tmp_path), "5000"]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(json.dumps(result, indent=1))
    assert result["bytes"] < MEMORY


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_refuses_what_prepare_refuses():
    """With the extra `fast`, another library decodes most JPEGs in training."""
    counts = collections.Counter()
    for number in range(5000):
        _, data, _ = fuzzed(number)
        verdicts = []
        for read in (pictures.decode, lambda data: pictures.load(data, Size(24, 20))):
            try:
                read(data)
                verdicts.append(None)
            except Rejected as rejected:
                verdicts.append(rejected.reason)
        assert verdicts[0] == verdicts[1], number
        counts[verdicts[0]] += 1
    print(counts)
    assert counts[None] > 2000
