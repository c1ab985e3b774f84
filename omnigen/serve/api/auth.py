# SPDX-License-Identifier: Apache-2.0
"""Keys: who may use the server, and whose turns and pictures are whose."""

import base64
import binascii
import hashlib
import hmac
import pathlib
from collections.abc import Sequence

from omnigen import files
from omnigen.serve.api.errors import ApiError

OPEN = ("/health",)  # the only path that needs no key
LEAST_KEY, MOST_FILE = 16, 1 << 16  # characters, bytes


class Keys:
    """The keys of a server; with none, everybody is one tenant.

    Only digests are kept. Each is compared, in a time that does not depend on what was sent.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        """Keeps digests of keys."""
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    @classmethod
    def load(cls, path: pathlib.Path) -> "Keys":
        """Reads a file with a key on each line; empty lines and those with # do not count.

        Raises:
            ValueError: If there is no such file, no key in it, or one that is too short.
        """
        try:
            text = files.read(path, most=MOST_FILE).decode()
        except (OSError, files.UnfitFileError, UnicodeDecodeError) as error:
            raise ValueError(f"--api_key_file {path}: cannot be read: {error}") from None
        lines = [line.strip() for line in text.splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ValueError(f"--api_key_file {path}: has no key; allowed: one on each line")
        if short := [number for number, key in enumerate(keys, 1) if len(key) < LEAST_KEY]:
            least = f"allowed: {LEAST_KEY} characters or more"
            raise ValueError(f"--api_key_file {path}: key {short[0]} is too short; {least}")
        if foreign := [n for n, key in enumerate(keys, 1) if not key.isascii() or " " in key]:
            raise ValueError(f"--api_key_file {path}: key {foreign[0]} is no plain text")
        return cls(keys)

    def tenant(self, authorization: str) -> str:
        """Returns whose a request is.

        Args:
            authorization: Header of that name: "Bearer KEY", or what browsers make of a password.

        Raises:
            ApiError: If there are keys, and none of them was sent.
        """
        if not self._digests:
            return ""
        digest = hashlib.sha256(_key(authorization).encode("utf-8", "replace")).digest()
        matches = [hmac.compare_digest(digest, each) for each in self._digests]
        if not any(matches):
            what = "the key is wrong" if authorization else "a key is needed: Authorization: Bearer"
            asked = {"WWW-Authenticate": 'Bearer, Basic realm="omnigen"'}
            raise ApiError(401, what, code="invalid_api_key", headers=asked)
        return digest.hex()


def _key(authorization: str) -> str:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""
