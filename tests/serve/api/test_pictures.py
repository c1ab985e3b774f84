# SPDX-License-Identifier: Apache-2.0
import base64
import io

import numpy as np
import pytest
from PIL import Image

from omnigen.serve.api import forms, pictures
from omnigen.serve.api.errors import ApiError
from omnigen.serve.api.limits import Limits

PIXELS = np.arange(8 * 4 * 3, dtype=np.uint8).reshape(8, 4, 3)


def test_what_has_its_size_stays_as_it_is() -> None:
    assert pictures.resample(PIXELS, (4, 8)) is PIXELS


def test_the_whole_picture_is_resampled_and_its_borders_go_on() -> None:
    wide = pictures.resample(PIXELS, (16, 8))
    assert wide.shape == (8, 16, 3)
    np.testing.assert_array_equal(wide[:, 6:10], PIXELS)
    for column in range(6):
        np.testing.assert_array_equal(wide[:, column], PIXELS[:, 0])
        np.testing.assert_array_equal(wide[:, 10 + column], PIXELS[:, -1])
    high = pictures.resample(PIXELS, (8, 24))
    inner = np.asarray(Image.fromarray(PIXELS).resize((8, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(high[4:20], inner)
    np.testing.assert_array_equal(high[:4], np.repeat(inner[:1], 4, axis=0))


def test_masks_choose() -> None:
    mask = np.zeros((8, 4), bool)
    mask[2, 3] = True
    found = pictures.compose(PIXELS, np.zeros_like(PIXELS), mask)
    assert (found[2, 3] == PIXELS[2, 3]).all() and found.sum() == PIXELS[2, 3].sum()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_masks_are_scaled_with_their_picture() -> None:
    """A mask over the left half of a large picture is the left half of the model's."""
    given = pictures.decode("image", png(Image.new("RGB", (80, 40), "red")), (20, 10), Limits())
    assert given.size == (80, 40) and given.pixels.shape == (10, 20, 3)
    mask = Image.new("RGBA", (80, 40), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 40, 40))
    found = pictures.decode_mask("mask", png(mask), given, (20, 10), Limits())
    assert found[:, :10].all() and not found[:, 10:].any()


def test_data_urls_and_bare_base64_are_read() -> None:
    text = base64.b64encode(b"abc").decode()
    for given in (text, f"data:image/png;base64,{text}", f"DATA:image/JPEG;base64,{text}"):
        assert pictures.from_text("p", given, Limits()) == b"abc"
    with pytest.raises(ApiError, match="more than 2 bytes"):
        pictures.from_text("p", text, Limits(data_url_bytes=2))


def test_json_of_the_allowed_depth_is_read() -> None:
    assert forms.parse_json(b'{"a": [[1]]}', 3) == {"a": [[1]]}
    assert forms.parse_json(b'{"a": "[[[[\\"{{{"}', 2) == {"a": '[[[["{{{'}
    with pytest.raises(ApiError, match="more than 2 deep"):
        forms.parse_json(b'{"a": [[1]]}', 2)
