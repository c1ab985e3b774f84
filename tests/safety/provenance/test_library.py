# SPDX-License-Identifier: Apache-2.0
import pytest
import signed

from omnigen.safety.provenance import library


@pytest.mark.parametrize("mime", library.MIMES)
def test_formats_are_told_by_their_first_bytes(mime: str) -> None:
    assert library.mime_of(signed.encoded(signed.pixels(1), mime)) == mime


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"RIFF\0\0\0\0WAVE", b"\x89PN", b"<svg/>"])
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="allowed: PNG, JPEG, WebP"):
        library.mime_of(data)
