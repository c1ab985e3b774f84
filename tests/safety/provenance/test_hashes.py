# SPDX-License-Identifier: Apache-2.0
import io
import os
import pathlib
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
import signed
from PIL import Image

from omnigen.safety.provenance import hashes
from omnigen.safety.provenance.hashes import HashLog

ROOT = pathlib.Path(__file__).resolve().parents[3]
Resampling = Image.Resampling


@pytest.fixture
def log(tmp_path: pathlib.Path) -> HashLog:
    return HashLog(tmp_path / "log.sqlite")


def test_a_picture_is_found_with_its_record(log: HashLog, tmp_path: pathlib.Path) -> None:
    assert log.find(signed.pixels(1)) is None and list(tmp_path.iterdir()) == []
    for seed in (1, 2, 3):
        log.add(signed.pixels(seed), {"model": f"m{seed}", "é": "ü"})
    assert log.find(signed.pixels(2)) == {"model": "m2", "é": "ü"}
    assert log.find(signed.pixels(4)) is None
    assert stat.S_IMODE((tmp_path / "log.sqlite").stat().st_mode) == 0o600


def test_of_pictures_that_look_alike_the_nearest_is_found(log: HashLog, monkeypatch) -> None:
    monkeypatch.setattr(hashes, "_AT_ONCE", 2)
    grey = np.full((64, 64, 3), 100, np.uint8)
    for lighter in (8, 0, 16, 4, 12):
        log.add(grey + np.uint8(lighter), {"lighter": str(lighter)})
    for lighter in (0, 4, 8, 12, 16):
        assert log.find(grey + np.uint8(lighter + 1)) == {"lighter": str(lighter)}
    assert log.find(grey + np.uint8(16 + hashes.MOST_DIFFERENT)) == {"lighter": "16"}
    assert log.find(grey + np.uint8(17 + hashes.MOST_DIFFERENT)) is None


def test_a_look_is_greys_and_colours_of_jpeg() -> None:
    """Of one colour, by the formulas of JPEG (JFIF); of two halves, where they are."""
    red, green, blue = 200, 30, 90
    look = hashes.look(np.full((40, 60, 3), (red, green, blue), np.uint8))
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    assert look.shape == (384,) and look.dtype == np.uint8
    np.testing.assert_allclose(look[:256], grey, atol=1)
    np.testing.assert_allclose(look[256:320], 128 + 0.564 * (blue - grey), atol=1)
    np.testing.assert_allclose(look[320:], 128 + 0.713 * (red - grey), atol=1)
    halves = np.zeros((32, 32, 3), np.uint8)
    halves[:, 16:] = 255
    greys = hashes.look(halves)[:256].reshape(16, 16)
    assert (greys[:, :8] == 0).all() and (greys[:, 8:] == 255).all()


def test_the_oldest_go_first(tmp_path: pathlib.Path) -> None:
    log = HashLog(tmp_path / "log.sqlite", most=3)
    for seed in range(5):
        log.add(signed.pixels(seed), {"seed": str(seed)})
    found = [log.find(signed.pixels(seed)) for seed in range(5)]
    assert found == [None, None, {"seed": "2"}, {"seed": "3"}, {"seed": "4"}]
    size = (tmp_path / "log.sqlite").stat().st_size
    for seed in range(100):
        log.add(signed.pixels(seed), {"seed": str(seed)})
    assert (tmp_path / "log.sqlite").stat().st_size == size


ADD = """
import pathlib, sys
import signed
from omnigen.safety.provenance.hashes import HashLog
log, first = HashLog(pathlib.Path(sys.argv[1])), int(sys.argv[2])
for seed in range(first, first + int(sys.argv[3])):
    log.add(signed.pixels(seed), {"seed": str(seed)})
    print(seed, flush=True)
"""


def adding(path: pathlib.Path, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ADD, str(path), str(first), str(count)]
    tests = str(pathlib.Path(signed.__file__).parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def test_processes_share_it(log: HashLog, tmp_path: pathlib.Path) -> None:
    started = [adding(tmp_path / "log.sqlite", 100 * k, 20) for k in range(3)]
    for process in started:
        process.communicate(timeout=120)
        assert process.returncode == 0
    for k in range(3):
        for seed in range(100 * k, 100 * k + 20):
            assert log.find(signed.pixels(seed)) == {"seed": str(seed)}


def test_a_process_that_is_killed_leaves_what_it_had_added(log: HashLog, tmp_path) -> None:
    for start in (0, 1000, 2000):
        process = adding(tmp_path / "log.sqlite", start, 1000)
        assert process.stdout is not None
        added = [int(process.stdout.readline()) for _ in range(10)]
        process.kill()
        process.communicate()
        assert added == list(range(start, start + 10))
        for seed in added:
            assert log.find(signed.pixels(seed)) == {"seed": str(seed)}
    with sqlite3.connect(tmp_path / "log.sqlite") as table:
        assert table.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    table.close()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_pictures_of_other_shapes_are_refused(pixels: np.ndarray, log: HashLog) -> None:
    for call in (log.find, lambda each: log.add(each, {})):
        with pytest.raises(ValueError, match=r"allowed: uint8 \[H, W, 3\]"):
            call(pixels)


def test_bad_settings_and_files_are_refused(log: HashLog, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="most is 0; the log must hold at least 1"):
        HashLog(tmp_path / "log.sqlite", most=0)
    with pytest.raises(ValueError, match="the record has .* bytes; allowed: 4096"):
        log.add(signed.pixels(1), {"a": "x" * 5000})
    (tmp_path / "log.sqlite").write_bytes(b"no table of pictures, but a text" * 100)
    for call in (log.find, lambda each: log.add(each, {})):
        with pytest.raises(ValueError, match="log.sqlite is no log of pictures"):
            call(signed.pixels(1))
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        HashLog(tmp_path / "folder").add(signed.pixels(1), {})


def as_file(image: Image.Image, kind: str, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return Image.open(file).convert("RGB")


def resized(side: int, method: Resampling) -> Callable[[Image.Image], Image.Image]:
    return lambda image: as_file(image.resize((side, side), method), "JPEG", 75)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 75": lambda image: as_file(image, "JPEG", 75),
    "JPEG 50": lambda image: as_file(image, "JPEG", 50),
    "WebP 75": lambda image: as_file(image, "WEBP", 75),
    "64 x 64, bilinear, JPEG 75": resized(64, Resampling.BILINEAR),
    "96 x 96, bicubic, JPEG 75": resized(96, Resampling.BICUBIC),
    "100 x 100, Lanczos, JPEG 75": resized(100, Resampling.LANCZOS),
    "256 x 256, bicubic, JPEG 75": resized(256, Resampling.BICUBIC),
    "1024 x 1024, bicubic, JPEG 75": resized(1024, Resampling.BICUBIC),
    "5 % darker": lambda image: image.point(lambda value: round(value * 0.95)),
    "2 pixels cut off each side": lambda image: image.crop((2, 2, 126, 126)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}
KEPT = [name for name in CHANGES if "JPEG" in name or "WebP" in name]


def scenes(count: int, *, first: int = 0) -> list[np.ndarray]:
    """Distinct scenes, as many of each kind."""
    pytest.importorskip("skia")
    from omnigen.scenes import compose, render
    from omnigen.scenes.scene import Kind

    seeds = range(first, first + count // len(Kind))
    drawn = [
        render.render(compose.compose(seed, kind, held_out=False), 128)
        for kind in Kind
        for seed in seeds
    ]
    return list({image.tobytes(): image for image in drawn}.values())


def recovered(log: HashLog, images: list[np.ndarray], name: str) -> float:
    """The share of pictures that are found, with their own records, after a change."""
    found = [log.find(np.asarray(CHANGES[name](Image.fromarray(image)))) for image in images]
    return float(np.mean([record == {"number": str(i)} for i, record in enumerate(found)]))


def test_compressed_and_resized_scenes_are_found_and_others_are_not(log: HashLog) -> None:
    images, others = scenes(160), scenes(400, first=10_000)
    for number, image in enumerate(images):
        log.add(image, {"number": str(number)})
    for name in ("JPEG 75", "96 x 96, bicubic, JPEG 75", "256 x 256, bicubic, JPEG 75"):
        assert recovered(log, images, name) >= 0.97, name
    assert recovered(log, images, "mirrored") < 0.1
    assert np.mean([log.find(image) is not None for image in others]) <= 0.01


def drawings() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Emoji, signs and posters as they are, and as the model that ships drew them: 192 of each."""
    true, drawn = [], []
    for name in ("drawings", "drawings_held_out"):
        sheet = np.asarray(Image.open(ROOT / "docs" / f"{name}.png").convert("RGB"))
        for top in range(0, 24 * 205, 205):
            for left in range(0, 1024, 256):
                true.append(sheet[top : top + 128, left : left + 128])
                drawn.append(sheet[top : top + 128, left + 128 : left + 256])
    return true, drawn


@pytest.mark.parametrize("name", KEPT)
def test_drawings_of_the_model_are_found(name: str, log: HashLog) -> None:
    _, drawn = drawings()
    for number, image in enumerate(drawn[::4]):
        log.add(image, {"number": str(number)})
    assert recovered(log, drawn[::4], name) >= 0.95


def test_drawings_are_not_taken_for_others(log: HashLog) -> None:
    """What the model has learnt by heart is found as what it learnt; nothing else is found."""
    true, drawn = drawings()
    for number, image in enumerate(true):
        log.add(image, {"number": str(number)})
    found = [log.find(image) for image in drawn]
    assert all(record in (None, {"number": str(i)}) for i, record in enumerate(found))
    learnt, held_out = found[:96], found[96:]
    assert held_out == [None] * 96 and 0 < sum(record is not None for record in learnt) < 60


@pytest.mark.slow
def test_how_many_scenes_are_found(log: HashLog) -> None:
    """Prints how many of 2 000 are found in a log of 20 000, and of 4 000 others; takes 10 min.

    `pytest -m slow -s -k how_many_scenes tests/safety/provenance/test_hashes.py`
    """
    images, others = scenes(20_000), scenes(4_000, first=100_000)
    seen = {image.tobytes() for image in images}
    others = [image for image in others if image.tobytes() not in seen]
    every, since = len(images) // 2000, time.perf_counter()
    order = [*range(0, len(images), every), *(i for i in range(len(images)) if i % every)]
    for number, index in enumerate(order):
        log.add(images[index], {"number": str(number)})
    added, since = time.perf_counter() - since, time.perf_counter()
    false = [log.find(image) is not None for image in others]
    each = (time.perf_counter() - since) / len(others)
    print(f"{len(images)} scenes; {1000 * added / len(images):.1f} ms to add one, ", end="")
    print(f"{1000 * each:.1f} ms to look for one")
    print(f"others found: {100 * np.mean(false):.2f} % of {len(others)}")
    for name in CHANGES:
        share = recovered(log, [images[index] for index in order[:500]], name)
        print(f"{name}: {100 * share:.1f} % of 500 found")
        assert name not in KEPT or share >= 0.95
    assert np.mean(false) <= 0.01
