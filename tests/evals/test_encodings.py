# SPDX-License-Identifier: Apache-2.0
"""The same sixteen pictures in ten encodings: the same pixels, scores, and page for all of them."""

import pathlib
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from omnigen.evals import picture_files
from omnigen.evals.networks.inception import Features
from omnigen.evals.prompted import Prompted
from omnigen.evals.reports import page
from omnigen.evals.suites import exact, fidelity

SIDE = 64
COLORS = ("red", "blue", "black", "orange")
COUNT = 4


def circle(index: int, sample: int) -> Image.Image:
    """A circle of few colours on white; another place and size for each."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    left, top = 6 + 3 * sample, 8 + 5 * index
    box = (left, top, left + 26 + 2 * sample, top + 26 + 2 * sample)
    ImageDraw.Draw(image).ellipse(box, fill=COLORS[sample])
    return image


def is_white(image: Image.Image) -> np.ndarray:
    return (np.asarray(image) == 255).all(axis=-1)


def clear(image: Image.Image) -> Image.Image:
    """White is transparent, and what hides there is black, as editors leave it."""
    white = is_white(image)
    colors = np.where(white[..., None], 0, np.asarray(image))
    alpha = np.where(white, 0, 255)[..., None]
    return Image.fromarray(np.concatenate([colors, alpha], axis=-1).astype(np.uint8))


def indexed(image: Image.Image) -> Image.Image:
    """Numbers of colours, of which 0 is white's; its entry in the palette is black."""
    pixels = np.asarray(image).reshape(-1, 3)
    colors, numbers = np.unique(pixels, axis=0, return_inverse=True)
    assert (colors[-1] == 255).all()  # sorted
    order = np.roll(np.arange(len(colors)), 1)  # white's number becomes 0
    found = Image.fromarray(order[numbers].reshape(SIDE, SIDE).astype(np.uint8), "P")
    found.putpalette([0, 0, 0, *colors[:-1].ravel().tolist()])
    return found


def deep(image: Image.Image) -> bytes:
    """A PNG of 16 bits a channel, written by hand: Pillow writes none."""
    samples = (np.asarray(image).astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    color = {3: 2, 4: 6}[samples.shape[-1]]
    header = struct.pack(">IIBBBBB", image.width, image.height, 16, color, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def turned(image: Image.Image, path: pathlib.Path, **options: object) -> None:
    """Lies on its side, and says so."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, **options)


ENCODINGS: dict[str, tuple[str, Callable[[Image.Image, pathlib.Path], object]]] = {
    "rgb": ("png", lambda image, path: image.save(path)),
    "rgba": ("png", lambda image, path: clear(image).save(path)),
    "palette": ("png", lambda image, path: indexed(image).save(path, transparency=b"\0")),
    "deep": ("png", lambda image, path: path.write_bytes(deep(image))),
    "deep_clear": ("png", lambda image, path: path.write_bytes(deep(clear(image)))),
    "turned": ("png", turned),
    "turned_webp": ("webp", lambda image, path: turned(image, path, lossless=True)),
    "webp": ("webp", lambda image, path: clear(image).save(path, lossless=True, exact=True)),
    "bmp": ("BMP", lambda image, path: image.save(path)),
    "gif": ("gif", lambda image, path: indexed(image).save(path, transparency=0)),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """A folder of each encoding, as `--images` takes it."""
    found = {}
    for name, (suffix, save) in ENCODINGS.items():
        found[name] = tmp_path_factory.mktemp(name)
        for index in range(COUNT):
            shelf = found[name] / f"{index:05d}" / "samples"
            shelf.mkdir(parents=True)
            for sample in range(COUNT):
                save(circle(index, sample), shelf / f"{sample:04d}.{suffix}")
    return found


def wanted(folder: pathlib.Path) -> list[pathlib.Path]:
    jobs = picture_files.jobs([{"prompt": str(i)} for i in range(COUNT)], COUNT)
    return picture_files.locate(folder, jobs)


def test_pixels_are_the_same(folders: dict[str, pathlib.Path]) -> None:
    for name, folder in folders.items():
        paths = wanted(folder)
        assert len({path.name for path in paths}) == COUNT
        for number, path in enumerate(paths):
            expected = np.asarray(circle(*divmod(number, COUNT)))
            np.testing.assert_array_equal(picture_files.read(path), expected, err_msg=name)


def test_the_judge_says_the_same(folders: dict[str, pathlib.Path], tmp_path: pathlib.Path) -> None:
    """Of the first four, all but the files' names and digests; one circle of four is red."""
    wants = {"class": "circle", "count": 1, "color": "red"}
    suite = exact.benchmark([{"tag": "colors", "include": [wants], "prompt": "a red circle"}])
    found = {}
    for name, folder in folders.items():
        judge = Prompted(suite, images=folder, output=tmp_path / name)
        found[name] = judge.judge({}, {}).to_json()
        del found[name]["folder"]
        (unexpected,) = found[name].pop("problems").items()
        assert unexpected[0] == "unexpected" and len(unexpected[1]) == 12  # of other prompts
        for record in found[name]["pictures"]:
            assert record.pop("file") and len(record.pop("sha256")) == 64
    assert found["rgb"]["scores"]["colors"]["value"] == 0.25
    assert found["rgb"]["unreadable"] == 0
    for name in folders:
        assert found[name] == found["rgb"], name


class Corners:
    """Features that are pixels, for want of a network."""

    def features(self, images: np.ndarray) -> Features:
        pixels = images.astype(np.float32)
        parts = pixels[:, 20:26, 20:22], pixels[:, 40:43, 30:32], pixels[:, 30:32, 30:34] / 100
        return Features(*(part.reshape(len(images), -1) for part in parts))


class Means:
    def features(self, images: np.ndarray) -> np.ndarray:
        return images.mean((1, 2)) / 255


def test_sets_are_as_far_apart(folders: dict[str, pathlib.Path], tmp_path: pathlib.Path) -> None:
    for number in range(12):
        circle(number % 3, 3 - number // 3).save(tmp_path / f"{number}.png")
    found = {}
    for name, folder in folders.items():
        sets = fidelity.Folders(folder, reference=tmp_path)
        found[name] = dict(fidelity.KidLite0(sets, network=Means()).run({}, {}))
        found[name] |= dict(fidelity.Fidelity(sets, inception=Corners()).run({}, {}))
        assert sets.problems == {}
    assert found["rgb"]["drawn_pictures"] == 16 and found["rgb"]["fid"] > 0
    for name in folders:
        assert found[name] == found["rgb"], name


def test_the_page_shows_the_same(folders: dict[str, pathlib.Path]) -> None:
    shown = {
        name: [page._picture(p.parent, p.name) for p in wanted(folder)]
        for name, folder in folders.items()
    }
    assert len(set(shown["rgb"])) == 16
    for name in folders:
        assert shown[name] == shown["rgb"], name


def test_greys_are_the_same(tmp_path: pathlib.Path) -> None:
    levels = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 256
    grey = Image.fromarray(levels.astype(np.uint8))
    half = Image.merge("LA", [grey.point(lambda v: 0 if v == 255 else v), grey.point(
        lambda v: 0 if v == 255 else 255)])  # fmt: skip
    saved = {
        "grey.png": grey,
        "clear.png": half,
        "deep.png": Image.fromarray((levels * 257).astype(np.uint16)),
        "palette.gif": grey.convert("P"),
        "lossless.webp": grey.convert("RGB"),
        "grey.bmp": grey,
    }
    expected = np.repeat(levels[..., None], 3, axis=-1)
    for name, image in saved.items():
        image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        np.testing.assert_array_equal(picture_files.read(tmp_path / name), expected, err_msg=name)
