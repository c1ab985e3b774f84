# SPDX-License-Identifier: Apache-2.0
import hashlib

import numpy as np
import pytest

from omnigen.generation.spans import Picture, pictures, spans, words

PIXELS = np.arange(2 * 1 * 3, dtype=np.uint8).reshape(2, 1, 3)


def test_spans_are_read_in_order():
    given = Picture(PIXELS)
    assert spans("ab") == ("ab",) and spans(given) == (given,) and spans([]) == ()
    assert spans(["a", given, "b"]) == ("a", given, "b")
    assert words(["a", given, " b"]) == "a b" and words("ab") == "ab"
    assert pictures(["a", given, given]) == [given, given] and pictures("ab") == []


def test_what_is_no_picture_is_named():
    for pixels, told in (
        (PIXELS.tolist(), "pixels are of type list; allowed: a numpy array, uint8"),
        (PIXELS.astype(float), r"pixels are float64 \[2, 1, 3\]; allowed: uint8 \[H, W, 3\]"),
        (PIXELS[..., 0], r"pixels are uint8 \[2, 1\]"),
        (PIXELS.repeat(2, axis=2), r"pixels are uint8 \[2, 1, 6\]"),
        (PIXELS[:0], r"pixels are uint8 \[0, 1, 3\]"),
    ):
        with pytest.raises(ValueError, match=told):
            Picture(pixels)
    with pytest.raises(ValueError, match="sketch is 3; allowed: text"):
        Picture(PIXELS, 3)
    with pytest.raises(ValueError, match="span of type ndarray; allowed: str and Picture"):
        spans(["a", PIXELS])
    with pytest.raises(ValueError, match="prompt is of type ndarray; allowed: str, or a list"):
        spans(PIXELS)


def test_a_digest_tells_pixels_and_their_shape():
    raw = bytes(range(6))
    assert Picture(PIXELS).digest == hashlib.sha256(b"2x1x3 " + raw).hexdigest()
    assert Picture(PIXELS.reshape(1, 2, 3)).digest == hashlib.sha256(b"1x2x3 " + raw).hexdigest()
