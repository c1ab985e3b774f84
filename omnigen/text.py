# SPDX-License-Identifier: Apache-2.0
"""Text to ids and back: bytes, which need no file, or a `tokenizer.json` of Hugging Face."""

import pathlib
from collections.abc import Sequence
from typing import Protocol

from omnigen import extras, files
from omnigen.cli import printable

MOST_BYTES = 1 << 27
"""Largest size of a `tokenizer.json`; those of 256 000 words have 35 MB."""


class TextTokenizer(Protocol):
    """The text tokenizer of a model.

    Attributes:
        vocab_size: Number of text ids, 0 .. vocab_size - 1; the special tokens of a sequence follow
            them.
    """

    @property
    def vocab_size(self) -> int:
        """The number of text ids."""
        ...

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without special tokens."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids."""
        ...


class ByteText:
    """UTF-8 bytes: no vocabulary to ship, and a model sees every letter that it is to draw."""

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        """Returns one id a byte; lone surrogates are kept, so that every `str` survives."""
        return list(text.encode("utf-8", "surrogatepass"))

    def decode(self, ids: Sequence[int]) -> str:
        """Inverts `encode`; bytes that are not UTF-8 (a model may write anything) become U+FFFD.

        Raises:
            ValueError: If an id is no byte.
        """
        raw = bytes(map(int, ids))
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return raw.decode("utf-8", "replace")


class FileText:
    """A `tokenizer.json`, read by the `tokenizers` library.

    Attributes:
        path: Path of the file.
        vocab_size: Number of ids of the file, added tokens included.
    """

    def __init__(self, path: str) -> None:
        """Reads the file.

        Args:
            path: Path of a `tokenizer.json`.

        Raises:
            ValueError: If the library is not installed, or the file is missing or no tokenizer.
        """
        try:  # the path may be from a stranger's config
            data = files.read(pathlib.Path(path), most=MOST_BYTES)
        except FileNotFoundError:
            raise ValueError(
                f"text tokenizer {printable(path)!r} is no file; allowed: 'bytes' or a "
                "tokenizer.json"
            ) from None
        except (OSError, ValueError) as error:
            raise ValueError(f"text tokenizer {printable(path)!r}: {error}") from None
        tokenizers = extras.load("tokenizers", "hf", f"text tokenizer {printable(path)!r}")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(data)
        except Exception as error:  # the library raises bare exceptions
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path!r} is not a tokenizer.json ({reason})") from error
        self.path = path
        self.vocab_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without the special tokens that the file may add.

        Lone surrogates, halves of a character that was cut, become U+FFFD.
        """
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self._tokenizer.encode(whole, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, as the file's decoder joins it."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


def load(spec: str) -> TextTokenizer:
    """Makes the tokenizer that a model was built with.

    Args:
        spec: "bytes" or the path of a `tokenizer.json`.

    Raises:
        ValueError: As in `FileText`.
    """
    return ByteText() if spec == "bytes" else FileText(spec)
