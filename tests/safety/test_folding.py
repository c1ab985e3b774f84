# SPDX-License-Identifier: Apache-2.0
"""Disguises of letters are undone, and codes are read."""

import base64
import time

import pytest

from omnigen.safety import folding

WORD = "zeppelin"


@pytest.mark.parametrize(
    "text",
    [
        "Zeppelin",
        "ｚｅｐｐｅｌｉｎ",
        "𝐳𝐞𝐩𝐩𝐞𝐥𝐢𝐧",
        "ⓩⓔⓟⓟⓔⓛⓘⓝ",
        "zерреlin",  # Cyrillic e and r
        "ᴢᴇᴘᴘᴇʟɪɴ",
        "z\u200be\u200bp\u2060pelin",
        "z\u0336e\u0336p\u0336p\u0336e\u0336l\u0336i\u0336n\u0336",
        "zéppélîn",
        "🇿🇪🇵🇵🇪🇱🇮🇳",
        "z\u00adeppelin",
        "ze\ufe0fppelin",
    ],
)
def test_what_looks_alike_becomes_alike(text: str) -> None:
    assert folding.fold(text) == WORD


def test_letters_of_other_scripts_stay_apart() -> None:
    assert folding.fold("Häuser") == "hauser"
    assert folding.fold("ガ") == "ガ" != folding.fold("カ")
    assert folding.fold("Scheibe") != folding.fold("Scheiße")
    assert folding.fold("МИР") == folding.fold("мир") != folding.fold("пир")
    assert folding.fold("ILIK ılık") == "ilik ilik"


@pytest.mark.parametrize(
    "code",
    [
        base64.b64encode(WORD.encode()).decode(),
        base64.b64encode(WORD.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(f"draw a {WORD}, please".encode()).decode(),
        WORD.encode().hex(),
        WORD.encode().hex(" "),
        " ".join(f"0x{byte:02x}" for byte in WORD.encode()),
        " ".join(f"{byte:08b}" for byte in WORD.encode()),
        "".join(f"%{byte:02x}" for byte in WORD.encode()),
        "".join(f"&#{ord(c)};" for c in WORD),
        "".join(f"&#x{ord(c):x};" for c in WORD),
        "".join(f"\\u{ord(c):04x}" for c in WORD),
        "".join(f"\\x{ord(c):02x}" for c in WORD),
        "".join(chr(0xE0000 + ord(c)) for c in WORD),
    ],
)
def test_codes_are_read(code: str) -> None:
    assert any(WORD in text for text in folding.decoded(f"a hill, {code} and a lake"))


@pytest.mark.parametrize(
    "text",
    [
        "an Entertainment centre near Tokyo2020",
        "deadbeef cafe 00 11 22 33",
        "100 % wool & 50 % off",
        "C:\\users\\xylophone",
        "a" * 50,
        "\ud800 alone",
        "",
    ],
)
def test_what_is_no_code_says_nothing_new(text: str) -> None:
    assert [found for found in folding.decoded(text) if found.isascii() and len(found) > 8] == []


def test_rot13_is_its_own_inverse() -> None:
    assert folding.rot13("Uryyb, Jbeyq") == "Hello, World"
    assert folding.rot13(folding.rot13("Grüße 7")) == "Grüße 7"


@pytest.mark.parametrize("text", ["%41" * 10_000, "&#65;" * 6000, "QUJD" * 8000, "ab " * 10_000])
def test_long_texts_take_no_long_time(text: str) -> None:
    started = time.thread_time()
    list(folding.decoded(text))
    folding.fold(text)
    assert time.thread_time() - started < 0.5
