# SPDX-License-Identifier: Apache-2.0
"""Undoes disguises of letters: what looks like a letter becomes it, what is coded is decoded.

Words of the policy are folded like words of prompts, so that a fold may lose what it likes as long
as it does not make two words alike that should differ. Russian, for example, becomes a mixture of
Latin and Cyrillic letters on both sides.
"""

import base64
import binascii
import codecs
import functools
import html
import pathlib
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator

CONFUSABLES = pathlib.Path(__file__).parent / "data" / "confusables.tsv"

_DROPPED = (
    *range(0x0300, 0x0370),  # accents, as of Zalgo text
    *range(0x200B, 0x2010),  # zero-width spaces and joiners, marks of direction
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),  # variation selectors
    *range(0x1F3FB, 0x1F400),  # skin tones
    *range(0xE0000, 0xE1000),  # tags; `decoded` reads them
    *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x180E, 0x3164, 0xFEFF, 0xFFA0, 0x20E3),
)
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_HEX = re.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s,:]*){4,}")
_BINARY = re.compile(r"(?:[01]{8}\s*){3,}")
_ESCAPES = re.compile(r"\\u\{?([0-9a-fA-F]{4,5})\}?|\\x([0-9a-fA-F]{2})|U\+([0-9a-fA-F]{4,5})\s?")
_MOST = 100_000  # characters of a text that are decoded


@functools.cache
def _table() -> dict[int, str | None]:
    """Returns what `str.translate` replaces, by code point."""
    table: dict[int, str | None] = dict.fromkeys(_DROPPED)
    for line in CONFUSABLES.read_text(encoding="utf-8").splitlines():
        letter, _, alike = line.partition("\t")
        table |= {ord(char): letter for char in alike if not line.startswith("#")}
    for i in range(26):  # flags of countries are spelt with letters, and there are letters in boxes
        for first in (0x1F1E6, 0x1F130, 0x1F150, 0x1F170):
            table[first + i] = chr(ord("a") + i)
    return table


def fold(text: str) -> str:
    """Returns a text in small letters, without accents, invisible characters and look-alikes.

    Full-width and mathematical letters, Cyrillic, Greek and other letters that look like Latin ones
    become Latin ones. Spaces and punctuation stay.
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", text).translate(_table()).casefold()
    return unicodedata.normalize("NFC", text.translate(_table()))


def decoded(text: str) -> Iterator[str]:
    """Yields what parts of a text say that are coded, as far as they look like text.

    Codes are base64, hexadecimal and binary bytes, percent signs, HTML's and Unicode's escapes, and
    Unicode's invisible tags.
    """
    text = text[:_MOST]
    if "%" in text and (plain := urllib.parse.unquote(text)) != text:
        yield plain
    if "&" in text and (plain := html.unescape(text)) != text:
        yield plain
    if ("\\" in text or "U+" in text) and (plain := _ESCAPES.sub(_character, text)) != text:
        yield plain
    if not text.isascii():
        for found in _TAGS.finditer(text):
            yield "".join(chr(ord(char) - 0xE0000) for char in found[0])
    for found in _BASE64.finditer(text):
        # A word of a language is no code: codes have capitals, digits or signs among small letters.
        if re.search(r"[A-Z0-9+/=]", found[0][1:]):
            code = found[0].rstrip("=").replace("-", "+").replace("_", "/")
            try:
                yield from _readable(base64.b64decode(code + "=" * (-len(code) % 4)))
            except binascii.Error:
                pass
    for found in _HEX.finditer(text):
        digits = re.sub(r"0x|\\x|[\s,:]", "", found[0])
        yield from _readable(bytes.fromhex(digits))
    for found in _BINARY.finditer(text):
        bits = re.sub(r"\s", "", found[0])
        yield from _readable(bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)))


def rot13(text: str) -> str:
    """Returns a text with each Latin letter replaced by the one 13 places on."""
    return codecs.encode(text, "rot13")


def _character(found: re.Match[str]) -> str:
    code = int(next(filter(None, found.groups())), 16)
    return chr(code) if code <= 0x10FFFF else found[0]


def _readable(data: bytes) -> Iterator[str]:
    """Yields bytes as text, if they are UTF-8 and mostly letters and digits."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    letters = sum(char.isalnum() or char.isspace() for char in text)
    if len(text) >= 3 and text.replace("\n", " ").isprintable() and letters >= 0.75 * len(text):
        yield text
