# SPDX-License-Identifier: Apache-2.0
"""What all forms of input share: parts to read, and what is told of the rest."""

import dataclasses
import os
import pathlib
import types
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from omnigen.cli import counted, printable
from omnigen.data.corpus import fields, names
from omnigen.data.corpus.records import Raw, Reason, Rejected

PART = 512  # pictures
Lost = Mapping[int, Rejected]
"""Why pictures cannot be read, by how many were read before each."""

NOTHING: Lost = types.MappingProxyType({})


class Part(Protocol):
    """Some pictures of the input. Its `repr` tells it from any other, also of changed files."""

    def __len__(self) -> int:
        """Returns the approximate number of pictures."""
        ...

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        """Reads the pictures in their order.

        Args:
            lost: Pictures at which earlier tries ended, by number. Each becomes a reject, and so do
                all after one that cannot be passed over.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Broken:
    """A reject in place of pictures that could not be read."""

    key: str
    reason: Reason
    detail: str

    def __len__(self) -> int:
        return 1

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        """Yields the one reject."""
        del lost
        yield fields.raw(self.key, Rejected(self.reason, self.detail), ())


class Input:
    """A file or folder whose pictures are looked for.

    Attributes:
        path: Path that the user named.
        root: Folder that keys and names are relative to.
        entries: All files in it that are not hidden, or the file that it is.
    """

    def __init__(self, path: pathlib.Path, entries: Sequence[pathlib.Path]) -> None:
        """Begins without notes."""
        self.path, self.entries = path, entries
        self.root = path if path.is_dir() else path.parent
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def name(self, file: pathlib.Path) -> str:
        """Returns a file's name below the root."""
        return file.relative_to(self.root).as_posix()

    def test(self, file: pathlib.Path) -> str:
        """Returns "test" if a file of many pictures is for the test by its name or folder."""
        return "" if file == self.path else names.test_of_file(self.name(file))

    def note(self, what: str, example: str) -> None:
        """Counts something that the user will be informed of.

        Args:
            what: Name of what is counted, singular; see `counted`.
            example: Name of one of them.
        """
        self._counts[what] += 1
        self._examples.setdefault(what, example)

    def notes(self) -> str:
        """Returns one line about everything noted; empty if nothing was."""
        told = [
            f"{counted(count, what)}{', such as' if count > 1 else ':'} "
            f"{printable(self._examples[what])!r}"
            for what, count in self._counts.items()
        ]
        return f"{printable(str(self.path))}: {'; '.join(told)}" if told else ""


def cut(items: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Cuts items into parts."""
    for start in range(0, len(items), PART):
        yield tuple(items[start : start + PART])


def stem(name: str) -> str:
    """Returns a file's name up to its last dot, with the folders before it."""
    path = pathlib.PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name


def below(root: str, path: str) -> str:
    """Returns the name of a path below a folder; empty if it lies elsewhere."""
    inside = os.path.join(root, "")
    return path.removeprefix(inside) if path.startswith(inside) else ""
