# SPDX-License-Identifier: Apache-2.0
"""A log of how pictures look, which finds one again whose manifest was stripped.

A perceptual hash of signs, as for photographs, sees too little of flat drawings: two posters that
differ by a word have the same. So the look is the picture itself in small, greys finer than
colours, as JPEG keeps them. Two looks are compared by the largest difference anywhere, since
compressing and resizing change every place a little, and another word changes one place much.
docs/provenance.md has what was measured.
"""

import contextlib
import errno
import json
import os
import pathlib
import sqlite3
from collections.abc import Iterator, Mapping

import numpy as np

from omnigen import cli
from omnigen.safety.provenance import certificates

MOST_PICTURES = 100_000  # 50 MB
MOST_DIFFERENT = 20  # of 255, anywhere, of two looks at one picture
MOST_RECORD_BYTES = 4096

_GREYS, _COLORS = 16, 8  # a side
_LOOK_BYTES = _GREYS * _GREYS + 2 * _COLORS * _COLORS
_AT_ONCE = 4096  # looks that are compared together
_WAIT_S = 30.0  # for other processes that write
_NAME = "pictures.sqlite"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS pictures "
    "(id INTEGER PRIMARY KEY AUTOINCREMENT, look BLOB NOT NULL, record TEXT NOT NULL)"
)


class HashLog:
    """A file of looks at pictures, each with a record of what drew it.

    Processes and threads may share a file. A process that dies leaves it whole: a picture is in it
    or is not.
    """

    def __init__(self, path: pathlib.Path, *, most: int = MOST_PICTURES) -> None:
        """Names the file; the first `add` makes it, for its owner alone.

        Args:
            path: Path of the file.
            most: How many pictures it holds; the oldest go first.

        Raises:
            ValueError: If it may hold none.
        """
        if most < 1:
            raise ValueError(f"most is {most}; the log must hold at least 1 picture")
        self._path, self._most = path, most

    @classmethod
    def of_user(cls) -> "HashLog | None":
        """Returns the log beside the self-made certificate; None without a cache folder."""
        folder = cli.cache_folder(certificates.FOLDER)
        return cls(folder / _NAME) if folder else None

    def add(self, pixels: np.ndarray, record: Mapping[str, str]) -> None:
        """Remembers a picture.

        Args:
            pixels: Picture, uint8 `[H, W, 3]`.
            record: What to tell of it when it is found; it is kept as it is, so give no names.

        Raises:
            ValueError: If the picture is of another shape or type, the record has over
                `MOST_RECORD_BYTES`, or the file is no log.
            OSError: If the file cannot be written.
        """
        text = json.dumps(dict(record))
        if len(text) > MOST_RECORD_BYTES:
            raise ValueError(f"the record has {len(text)} bytes; allowed: {MOST_RECORD_BYTES}")
        values = look(pixels).tobytes(), text
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with self._opened() as log:
            log.execute(_TABLE)
            added = log.execute("INSERT INTO pictures (look, record) VALUES (?, ?)", values)
            last = added.lastrowid or 0
            log.execute("DELETE FROM pictures WHERE id <= ?", (last - self._most,))

    def find(self, pixels: np.ndarray) -> dict[str, str] | None:
        """Returns the record of the picture that looks most like this one; None if none does.

        Args:
            pixels: Picture, uint8 `[H, W, 3]`, of any size.

        Raises:
            ValueError: If the picture is of another shape or type, or the file is no log.
            OSError: If the file cannot be read.
        """
        sought = look(pixels)
        if not self._path.exists():
            return None
        best, found = MOST_DIFFERENT + 1, None
        with self._opened() as log:
            log.execute(_TABLE)
            rows = log.execute(
                "SELECT id, look FROM pictures WHERE length(look) = ?", (_LOOK_BYTES,)
            )
            while some := rows.fetchmany(_AT_ONCE):
                looks = np.frombuffer(b"".join(row[1] for row in some), np.uint8)
                looks = looks.reshape(len(some), _LOOK_BYTES)
                off = (np.maximum(looks, sought) - np.minimum(looks, sought)).max(axis=1)
                if off.min() < best:
                    best, found = int(off.min()), some[int(off.argmin())][0]
            if found is None:
                return None
            text = log.execute("SELECT record FROM pictures WHERE id = ?", (found,)).fetchone()
        return json.loads(text[0]) if text else None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Yields the file; what the block changed is kept if it succeeds."""
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as log, log:
                yield log
        except sqlite3.OperationalError as error:
            raise OSError(errno.EIO, str(error), str(self._path)) from None
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self._path} is no log of pictures: {error}") from None


def look(pixels: np.ndarray) -> np.ndarray:
    """Returns a picture in small: 16 x 16 greys, then 8 x 8 of each colour difference of JPEG.

    Args:
        pixels: Picture, uint8 `[H, W, 3]`.

    Returns:
        uint8 `[384]`.

    Raises:
        ValueError: If the picture is of another shape or type.
    """
    from PIL import Image

    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}; allowed: uint8 [H, W, 3]")
    planes = Image.fromarray(np.ascontiguousarray(pixels)).convert("YCbCr").split()
    small = [
        plane.resize((side, side), Image.Resampling.BOX)
        for plane, side in zip(planes, (_GREYS, _COLORS, _COLORS), strict=True)
    ]
    return np.concatenate([np.asarray(plane, np.uint8).ravel() for plane in small])
