# SPDX-License-Identifier: Apache-2.0
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from omnigen.data.corpus import pictures
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import Reason, Rejected


def smooth(height, width):
    """A picture without edges, so that codecs and scaling hardly change it."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return (255 * np.stack([x, y, (x + y) / 2], axis=-1)).astype(np.uint8)


def file_of(image, kind="PNG", **options):
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reason_of(data, **options):
    with pytest.raises(Rejected) as raised:
        pictures.decode(data, **options)
    return raised.value.reason


def pixels(data, **options):
    return np.asarray(pictures.decode(data, **options).image)


@pytest.mark.parametrize(("kind", "most"), [("PNG", 0), ("BMP", 0), ("WEBP", 12), ("JPEG", 12)])
def test_formats(kind, most):
    image = smooth(40, 60)
    got = pictures.decode(file_of(image, kind))
    assert (got.width, got.height, got.image.mode) == (60, 40, "RGB")
    assert np.abs(np.asarray(got.image).astype(int) - image).max() <= most


def test_sixteen_bits_keep_their_range():
    grey = np.array([[0, 257, 32896, 65535]], np.uint16)
    got = pixels(file_of(grey))
    np.testing.assert_array_equal(got[0, :, 0], [0, 1, 128, 255])


def test_transparency_is_white_in_every_mode():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 127)]
    for kind in ("PNG", "WEBP"):
        got = pixels(file_of(rgba, kind, **({"lossless": True} if kind == "WEBP" else {})))
        np.testing.assert_allclose(got[0], [(255, 0, 0), (255, 255, 255), (128,) * 3], atol=1)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    got = pixels(file_of(palette, transparency=1))
    np.testing.assert_array_equal(got[0], [(10, 20, 30), (255, 255, 255)])
    grey = Image.fromarray(np.array([[0, 200]], np.uint8), "L")
    np.testing.assert_array_equal(pixels(file_of(grey, transparency=0))[0, :, 0], [255, 200])


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    np.testing.assert_allclose(pixels(file_of(image, "JPEG"))[8, 8], (255, 0, 0), atol=6)


@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_turned_upright(turn):
    upright = smooth(24, 40)
    stored = {  # by the tag's definition: which sides row 0 and column 0 of the file are
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: upright[:, ::-1].transpose(1, 0, 2),  # right, top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: upright[::-1].transpose(1, 0, 2),  # left, bottom
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    got = pictures.decode(file_of(np.ascontiguousarray(stored), exif=exif))
    assert (got.width, got.height) == (40, 24)
    np.testing.assert_array_equal(np.asarray(got.image), upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_note_does_not_cost_the_picture():
    data = file_of(smooth(8, 8), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert pictures.decode(data).width == 8


def test_foreign_files_are_refused_whatever_they_are_called():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    for data in (eps, b"SIMPLE  =                    T", b"%PDF-1.7", b"MZ", b"II*\0", b"<svg/>"):
        assert reason_of(data) == Reason.FORMAT
    assert reason_of(file_of(smooth(8, 8), "TIFF")) == Reason.FORMAT
    assert reason_of(b"") == Reason.EMPTY


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_are_refused(kind):
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (0, 99, 200)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    assert reason_of(file.getvalue()) == Reason.ANIMATED
    assert pictures.decode(file_of(frames[0], kind)).width == 8


def test_the_first_picture_of_a_phones_pair_is_taken():
    frames = [Image.fromarray(smooth(16, 16)), Image.fromarray(smooth(16, 16))]
    file = io.BytesIO()
    frames[0].save(file, "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(pixels(file.getvalue()).astype(int) - smooth(16, 16)).max() <= 12


def bomb(width, height):
    """A PNG that is small as a file and huge as a picture."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(3 * width + 1)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (("IHDR", header), ("IDAT", rows), ("IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(n.encode(), data) for n, data in parts)


def test_bombs_are_refused_by_their_header():
    import tracemalloc

    data = bomb(9000, 9000)
    assert len(data) < 300_000
    tracemalloc.start()
    assert reason_of(data) == Reason.PIXELS
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()
    assert reason_of(bomb(70_000, 1)) == Reason.PIXELS
    assert reason_of(bomb(40, 25), max_pixels=999) == Reason.PIXELS
    assert pictures.decode(bomb(40, 25), max_pixels=1000).width == 40


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_files_without_their_end_are_refused(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = file_of(noise, kind)
    for cut in (len(data) // 4, len(data) // 2, len(data) - 50):
        assert reason_of(data[:cut]) == Reason.DAMAGED


def test_large_jpegs_come_smaller_and_look_the_same():
    image = smooth(1024, 768)
    data = file_of(image, "JPEG", quality=95)
    small = pictures.decode(data, least=Size.square(128))
    assert (small.width, small.height) == (768, 1024)
    assert small.image.size == (192, 256)  # a quarter: an eighth would be less than asked for
    whole = pictures.fit(pictures.decode(data).image, Size.square(128))
    assert np.abs(pictures.fit(small.image, Size.square(128)).astype(int) - whole).mean() < 1


def test_fit_takes_the_square_asked_for():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 255
    assert (pictures.fit(Image.fromarray(image), Size.square(10)) == 255).all()
    assert (pictures.fit(Image.fromarray(image), Size.square(10), place=(0.0, 0.7)) == 0).all()
    assert (pictures.fit(Image.fromarray(image), Size.square(5), place=(1.0, 0.0)) == 0).all()
    tall = Image.fromarray(image.transpose(1, 0, 2))
    assert pictures.fit(tall, Size.square(64)).shape == (64, 64, 3)
    assert (pictures.fit(tall, Size.square(10)) == 255).all()


def test_shrink_keeps_the_shape():
    assert pictures.shrink(Image.fromarray(smooth(300, 100)), 50).size == (50, 150)
    assert pictures.shrink(Image.fromarray(smooth(64, 97)), 32).size == (48, 32)


def test_looks_of_the_same_picture_are_close_and_of_others_far():
    rng = np.random.default_rng(0)
    scenes = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)) for _ in range(20)]
    scenes = [scene.resize((200, 160), Image.Resampling.BICUBIC) for scene in scenes]
    looks = [pictures.look(scene) for scene in scenes]
    for scene, original in zip(scenes, looks, strict=True):
        data = file_of(scene.resize((120, 96)), "JPEG", quality=60)
        again = pictures.look(pictures.decode(data).image)
        assert (again.bits ^ original.bits).bit_count() <= 4
        assert np.abs(again.colors.astype(int) - original.colors).mean() < 4
    far = [(a.bits ^ b.bits).bit_count() for k, a in enumerate(looks) for b in looks[:k]]
    assert min(far) > 12


def grainy(height, width, seed=0):
    """Like a photograph: soft forms and noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 32 + 1, width // 32 + 1, 3), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return (np.asarray(image) + rng.normal(0, 6, (height, width, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(params=["Pillow alone", "fast"])
def libraries(request, monkeypatch):
    """Runs a test with the extra `fast` and without."""
    if request.param == "fast":
        pytest.importorskip("simplejpeg")
        pytest.importorskip("cv2")
    else:
        monkeypatch.setattr(pictures, "_fast", lambda: None)
    return request.param


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("size", [Size(64, 64), Size(48, 96), Size(128, 64), Size(300, 300)])
def test_pictures_are_loaded_alike_by_all_libraries(libraries, size, turn):
    """The oracle decodes everything and resizes with bicubic."""
    exif = Image.Exif()
    exif[0x0112] = turn
    for height, width in ((192, 256), (384, 512), (768, 512)):
        data = file_of(grainy(height, width), "JPEG", quality=90, exif=exif)
        whole = Image.open(io.BytesIO(data))
        whole = whole.transpose(Image.Transpose.ROTATE_270) if turn == 6 else whole
        scale = min(whole.width / size.width, whole.height / size.height)
        wide, high = size.width * scale, size.height * scale
        left, top = (whole.width - wide) * 0.5, (whole.height - high) * 0.5
        box = (left, top, left + wide, top + high)
        shape = (size.width, size.height)
        expected = np.asarray(whole.resize(shape, Image.Resampling.BICUBIC, box), int)
        got = pictures.load(data, size)
        assert got.shape == (size.height, size.width, 3)
        assert np.abs(got - expected).mean() < 3.0
        assert abs((got - expected).mean()) < 0.5


def test_all_libraries_give_the_same_verdicts(libraries):
    data = file_of(grainy(300, 400), "JPEG")
    size, rng = Size.square(64), np.random.default_rng(0)
    for cut in (100, len(data) // 2, len(data) - 40):
        with pytest.raises(Rejected, match="damaged"):
            pictures.load(data[:cut], size)
    for _ in range(60):
        flipped = bytearray(data)
        for place in rng.integers(600, len(data), 3):
            flipped[place] ^= 1 << rng.integers(8)
        try:
            expected = pictures.decode(bytes(flipped)).image.size
        except Rejected:
            expected = None
        try:
            got = pictures.load(bytes(flipped), size).shape
        except Rejected:
            got = None
        assert (got is None) == (expected is None)
    cmyk = Image.new("CMYK", (160, 160), (0, 255, 255, 0))
    loaded = pictures.load(file_of(cmyk, "JPEG"), size)
    np.testing.assert_allclose(loaded, np.full((64, 64, 3), (255, 0, 0)), atol=6)
    grey = file_of(grainy(300, 400)[..., 0], "JPEG")
    loaded = pictures.load(grey, size)
    assert (loaded == loaded[..., :1]).all() and loaded.std() > 10
    assert reason_of(b"%PDF") == Reason.FORMAT
