# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from omnigen import png

PIXELS = np.arange(12 * 8 * 3, dtype=np.uint8).reshape(12, 8, 3)


def test_sheet() -> None:
    images = np.stack([np.full((2, 3, 3), shade, np.uint8) for shade in (10, 20, 30)])
    tiled = png.sheet(images)
    assert tiled.shape == (2 + 2 + 2, 3 + 2 + 3, 3)
    assert (tiled[:2, :3] == 10).all() and (tiled[:2, 5:] == 20).all()
    assert (
        (tiled[4:, :3] == 30).all() and (tiled[4:, 5:] == 255).all() and (tiled[2:4] == 255).all()
    )


@pytest.mark.parametrize("length", [200, 246, 251])
def test_every_name_that_the_disk_takes_is_written(tmp_path: pathlib.Path, length: int) -> None:
    path = tmp_path / ("a" * length + ".png")
    png.write(PIXELS, path, {"prompt": "two\nlines é"})
    found = png.read(path)
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert found.texts == {"prompt": "two\nlines é"}
    assert list(tmp_path.iterdir()) == [path]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int) -> bytes:
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr


def zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join(parts) + packer.flush()


def test_text_after_the_pixels_is_read(tmp_path: pathlib.Path) -> None:
    rows = zlib.compress(b"\0\5\6" * 2)
    end = chunk(b"tEXt", b"prompt\0a star") + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(header(2, 2) + chunk(b"IDAT", rows) + end)
    found = png.read(tmp_path / "a.png")
    assert found.texts["prompt"] == "a star"
    np.testing.assert_array_equal(found.pixels, [[5, 6], [5, 6]])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, pathlib.Path]]:
    folder = tmp_path_factory.mktemp("hostile")
    bomb, end = zeros(1 << 28), chunk(b"IEND", b"")
    data = {
        "169 megapixels": header(13_000, 13_000) + chunk(b"IDAT", bomb) + end,
        "billions": header(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", bomb) + end,
        "no pixels": header(0, 0) + end,
        "profile": header(8, 8) + chunk(b"iCCP", b"x\0\0" + bomb) + end,
        "text": header(8, 8) + chunk(b"zTXt", b"prompt\0\0" + bomb) + end,
        "unicode": header(8, 8) + chunk(b"iTXt", b"prompt\0\1\0\0\0" + bomb) + end,
        "two headers": header(8, 8) + header(13_000, 13_000)[8:] + chunk(b"IDAT", bomb) + end,
        "words": b"no picture",
        "nothing": b"",
        "gif": b"GIF89a" + bytes(100),
    }
    for name, content in data.items():
        (folder / name).write_bytes(content)
    with (folder / "40 GB").open("wb") as file:
        file.truncate(40 << 30)
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "device").symlink_to("/dev/zero")
    names = [*data, "40 GB", "pipe", "folder", "loop", "device", "absent", "a" * 300]
    yield {name: folder / name for name in names}


def test_files_of_strangers_are_refused_at_once(hostile: dict[str, pathlib.Path]) -> None:
    for name, path in hostile.items():
        since = time.monotonic()
        tracemalloc.start()
        with pytest.raises(ValueError, match="cannot be read as PNG: ") as caught:
            png.read(path)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert str(path) in str(caught.value) and "0x" not in str(caught.value), name
        assert time.monotonic() - since < 2 and most < 64 << 20, name
    assert threading.active_count() < 20


def test_modes_of_others_are_read(tmp_path: pathlib.Path) -> None:
    for mode in ("RGBA", "L", "P", "I;16", "1"):
        Image.new(mode, (4, 4)).save(tmp_path / "a.png")
        assert png.read(tmp_path / "a.png").pixels.shape[:2] == (4, 4)
