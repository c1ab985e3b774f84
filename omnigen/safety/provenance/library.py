# SPDX-License-Identifier: Apache-2.0
"""How c2pa-python, of the extra `provenance`, is set up for signing and for reading.

Nothing here reaches the network: manifests that a picture only links to are not fetched, and nobody
is asked whether a certificate was withdrawn.
"""

import functools
from typing import Any

from omnigen import extras

EXTRA = "provenance"

PNG, JPEG, WEBP = MIMES = ("image/png", "image/jpeg", "image/webp")
"""Formats that are signed and read."""

PURPOSES = {
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.36": "documentSigning",
    "1.3.6.1.4.1.62558.2.1": "C2PA claim signing",
}
"""Extended key usages of certificates that may sign pictures."""


def c2pa() -> Any:
    """Returns the module.

    Raises:
        MissingExtraError: If it is not installed, or does not load.
    """
    return extras.load("c2pa", EXTRA, "provenance")


@functools.lru_cache(maxsize=8)
def context(anchors: bytes = b"") -> Any:
    """Returns the settings that signing and reading share; threads may use them side by side.

    Args:
        anchors: Certificates in PEM that are trusted; none by default.
    """
    module, trust = c2pa(), {"trust_config": "\n".join(PURPOSES)}
    settings = {
        "builder": {"thumbnail": {"enabled": False}},
        "trust": trust | ({"trust_anchors": anchors.decode("ascii")} if anchors else {}),
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    }
    return module.Context(module.Settings.from_dict(settings))


def mime_of(data: bytes) -> str:
    """Returns the format of a picture by its first bytes, one of `MIMES`.

    Raises:
        ValueError: If it is another format, or no picture.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    raise ValueError("the file is no picture of an allowed format; allowed: PNG, JPEG, WebP")


def check_mime(data: bytes, mime: str) -> None:
    """Checks that a picture has the format that it is said to have.

    Raises:
        ValueError: If it has not, or the format is none of `MIMES`.
    """
    if mime not in MIMES:
        raise ValueError(f"format {mime!r} cannot be signed; allowed: {', '.join(MIMES)}")
    if (found := mime_of(data)) != mime:
        raise ValueError(f"the picture is {found}, and was said to be {mime}")
