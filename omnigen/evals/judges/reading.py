# SPDX-License-Identifier: Apache-2.0
"""Words on pictures: who reads them, and how well what was read is what should be there.

Case, punctuation and spacing are not judged: readers tell `o` from `O` by chance. A word is right
if every letter and digit is, in its place among the words of its line; lines may come in any order.
"""

import dataclasses
import functools
import importlib.metadata
import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from omnigen import extras

SIDE = 512  # readers want letters of 30 pixels and more
MAX_EDITS = 100  # OneIG's cap for English


@dataclasses.dataclass(frozen=True)
class Line:
    """A text in one place; the box is left, top, right, bottom in fractions of the canvas."""

    text: str
    box: tuple[float, float, float, float]


def version() -> str:
    """Returns the readers here, as `RapidOCR 3.10.0, Tesseract 5.3.0`; "" without the first."""
    if not extras.installed("ocr"):
        return ""
    first = f"RapidOCR {importlib.metadata.version('rapidocr')}"
    return f"{first}, Tesseract {_tesseract_version()}" if _tesseract_version() else first


@functools.cache
def _tesseract_version() -> str:
    if shutil.which("tesseract") is None:
        return ""
    done = subprocess.run(["tesseract", "--version"], capture_output=True, check=True, timeout=60)
    return done.stdout.decode().split()[1]


@functools.cache
def _engine() -> Any:
    from rapidocr import RapidOCR  # pyright: ignore[reportMissingImports]

    threads = {"EngineConfig.onnxruntime.intra_op_num_threads": 1}
    return RapidOCR(params={"Global.log_level": "error", **threads})


def rapidocr(image: np.ndarray) -> tuple[Line, ...]:
    """Reads a uint8 picture by RapidOCR, whose wheel has its models; lines are in reading order."""
    large = _enlarged(image)
    height, width, _ = large.shape
    found = _engine()(large[:, :, ::-1])
    lines = []
    texts: Any = found.txts or ()
    for text, corners in zip(texts, found.boxes if texts else texts, strict=True):
        left, top = (corners.min(0) / (width, height)).round(4).tolist()
        right, bottom = (corners.max(0) / (width, height)).round(4).tolist()
        lines.append(Line(str(text), (left, top, right, bottom)))
    return _in_reading_order(lines)


def tesseract(image: np.ndarray) -> str | None:
    """Reads a uint8 picture by the program Tesseract, as scattered words; None without it."""
    if not _tesseract_version():
        return None
    height, width, _ = (large := _enlarged(image)).shape
    header = f"P6 {width} {height} 255\n".encode()
    command = ["tesseract", "stdin", "stdout", "--psm", "11", "--dpi", "150"]
    one = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(
        command,
        input=header + large.tobytes(),
        capture_output=True,
        check=True,
        timeout=60,
        env=one,
    )
    return " ".join(done.stdout.decode(errors="replace").split())


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Returns the picture, its longer side brought to `SIDE` pixels or more by a whole factor."""
    height, width, _ = image.shape
    factor = max(round(SIDE / max(height, width)), 1)
    size = width * factor, height * factor
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _in_reading_order(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Returns rows from the top, each from the left; a line is in the row whose middle it spans."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.box[1] + line.box[3]):
        middle = (rows[-1][0].box[1] + rows[-1][0].box[3]) / 2 if rows else -1.0
        if line.box[1] < middle < line.box[3]:
            rows[-1].append(line)
        else:
            rows.append([line])
    return tuple(line for row in rows for line in sorted(row, key=lambda line: line.box[0]))


def plain(text: str) -> str:
    """Returns the letters and digits of a text in lower case."""
    return "".join(char for char in text.casefold() if char.isalnum())


def words(text: str) -> list[str]:
    """Returns the words of a text, plain."""
    return [word for word in map(plain, text.split()) if word]


def distance(one: str, other: str) -> int:
    """Returns Levenshtein's distance: letters to insert, delete or replace."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def similarity(one: str, other: str) -> float:
    """Returns the likeness of two words: 1 if equal, 0 with nothing in common."""
    return 1 - distance(one, other) / max(len(one), len(other), 1)


@dataclasses.dataclass(frozen=True)
class Reading:
    """How well what was read is what should be there.

    Attributes:
        right: Whether each word that should be there, and has letters, is read.
        similarity: Sum of similarities of words and what was read for them.
        slots: Number of words that should be there or that were read, whichever are more.
        recalled: Number of words read, as a bag (LongText-Bench), among those that should be there.
        edits: Edit distance of the whole texts, at most `MAX_EDITS` (OneIG).
    """

    right: tuple[bool, ...]
    similarity: float
    slots: int
    recalled: int
    edits: int

    @property
    def exact(self) -> bool:
        """Whether all words are right and there is nothing else."""
        return all(self.right) and self.slots == len(self.right)


def compare(lines: Sequence[Sequence[str]], read: str) -> Reading:
    """Compares what was read with the words of each line that should be there."""
    wanted = [words(" ".join(line)) for line in lines]
    flat = list(itertools.chain(*wanted))
    tokens = words(read)
    best: tuple[float, dict[int, int], list[str], int] | None = None
    for order in itertools.permutations(range(len(wanted))):
        target = list(itertools.chain(*(wanted[i] for i in order)))
        spaced = _respaced(tokens, target)
        total, pairs = _aligned(target, spaced)
        edits = distance(" ".join(target), " ".join(spaced))
        if best is None or (total, -edits) > (best[0], -best[3]):
            starts = [sum(len(wanted[j]) for j in range(i)) for i in range(len(wanted))]
            places = [starts[i] + k for i in order for k in range(len(wanted[i]))]
            best = total, {places[a]: b for a, b in pairs.items()}, spaced, edits
    assert best is not None
    total, pairs, spaced, edits = best
    right = tuple(i in pairs and spaced[pairs[i]] == word for i, word in enumerate(flat))
    recalled = sum(min(tokens.count(word), flat.count(word)) for word in set(flat))
    return Reading(right, total, max(len(flat), len(spaced)), recalled, min(edits, MAX_EDITS))


def _respaced(tokens: Sequence[str], target: Sequence[str]) -> list[str]:
    """Returns tokens; runs that equal target words but for the spaces become those words."""
    runs = {
        "".join(target[i:j]): list(target[i:j])
        for i, j in itertools.combinations(range(len(target) + 1), 2)
    }
    result, start = [], 0
    while start < len(tokens):
        for end in range(len(tokens), start, -1):
            if (run := "".join(tokens[start:end])) in runs:
                result += runs[run]
                break
        else:
            end = start + 1
            result.append(tokens[start])
        start = end
    return result


def _aligned(target: Sequence[str], read: Sequence[str]) -> tuple[float, dict[int, int]]:
    """Returns the greatest sum of similarities of words paired in order, and the pairs."""
    rows, columns = len(target), len(read)
    best = np.zeros((rows + 1, columns + 1))
    score = np.array([[similarity(a, b) for b in read] for a in target]).reshape(rows, columns)
    for i, j in np.ndindex(rows, columns):
        best[i + 1, j + 1] = max(best[i, j + 1], best[i + 1, j], best[i, j] + score[i, j])
    pairs, i, j = {}, rows, columns
    while i and j:
        if score[i - 1, j - 1] > 0 and best[i, j] == best[i - 1, j - 1] + score[i - 1, j - 1]:
            i, j = i - 1, j - 1
            pairs[i] = j
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return float(best[-1, -1]), pairs
