# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures, one per prompt and sample: found, or drawn so that nothing is drawn twice.

Pictures lie where GenEval's scorer looks: prompt 12's second at `00012/samples/0001.png`. A drawn
one carries what decided it; one that is there, whole, and decided by the same is kept.
"""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from omnigen import png
from omnigen.evals import progress

SIDES = (32, 4096)
"""The fewest and the most pixels a side that are judged."""

_CHUNK = "omnigen"  # PNG text that says what decided a picture
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture to draw: of which prompt, with which seed, and its file if not at `place`."""

    index: int
    sample: int
    metadata: Mapping[str, Any]
    file: str = ""

    @property
    def path(self) -> pathlib.PurePosixPath:
        """Where it lies in its folder."""
        return pathlib.PurePosixPath(self.file or place(self.index, self.sample))


Paint = Callable[[Sequence[Job]], np.ndarray]
"""Draws as many jobs as it is given, uint8 `[N, H, W, 3]`."""


def jobs(prompts: Sequence[Mapping[str, Any]], count: int) -> list[Job]:
    """`count` pictures of every prompt, in order."""
    return [Job(i, s, metadata) for i, metadata in enumerate(prompts) for s in range(count)]


def place(index: int, sample: int) -> pathlib.PurePosixPath:
    """Where a picture lies in its folder."""
    return pathlib.PurePosixPath(f"{index:05d}", "samples", f"{sample:04d}.png")


def read(path: pathlib.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a picture, uint8 `[height, width, 3]`.

    Args:
        path: of the file.
        size: width and height that it must have; any within `SIDES` if None.

    Raises:
        ValueError: missing, damaged, or of another size.
    """
    try:
        with Image.open(path) as file:
            if size not in (None, file.size) or not all(
                SIDES[0] <= side <= SIDES[1] for side in file.size
            ):
                raise ValueError("wrong size: {} x {}".format(*file.size))
            return np.asarray(file.convert("RGB"))
    except FileNotFoundError:
        raise ValueError("missing") from None
    except _UNREADABLE as error:
        text = str(error) if str(error).startswith("wrong size") else f"unreadable: {error}"
        raise ValueError(" ".join(text.split()).replace(str(path), path.name)) from None


def usual_size(folder: pathlib.Path, wanted: Sequence[Job]) -> tuple[int, int] | None:
    """Width and height of most pictures of a folder; None if none can be read."""
    sizes: collections.Counter[tuple[int, int]] = collections.Counter()
    for job in wanted:
        try:
            with Image.open(folder / place(job.index, job.sample)) as file:
                sizes[file.size] += 1
        except _UNREADABLE:
            continue
    return sizes.most_common(1)[0][0] if sizes else None


def unexpected(folder: pathlib.Path, wanted: Sequence[Job]) -> list[str]:
    """Files of a folder that no job asks for."""
    expected = {str(place(job.index, job.sample)) for job in wanted}
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return sorted({path.relative_to(folder).as_posix() for path in found} - expected)


def draw(
    folder: pathlib.Path,
    wanted: Sequence[Job],
    paint: Paint,
    *,
    settings: Mapping[str, Any],
    batch_size: int,
    what: str,
) -> None:
    """Draws what the folder lacks.

    Batches are always the same jobs, so that a picture has the same bytes whether or not the work
    was interrupted; of a batch, only what is lacking is written.

    Args:
        folder: of the pictures.
        wanted: the pictures.
        paint: draws a batch of exactly `batch_size`; the last is filled up by its last job.
        settings: what decides the pictures besides prompt and sample, such as the weights.
        batch_size: pictures drawn at a time.
        what: says in the display of progress what is drawn.
    """
    settings = {**settings, "batch_size": batch_size}
    marks = [_mark(job, settings) for job in wanted]
    starts = [
        start
        for start in range(0, len(wanted), batch_size)
        if any(
            not _is_sound(folder, job, mark)
            for job, mark in zip(
                wanted[start : start + batch_size], marks[start : start + batch_size], strict=True
            )
        )
    ]
    for start in progress.track(starts, len(starts), f"{what}: batches of {batch_size}"):
        batch = list(wanted[start : start + batch_size])
        images = paint(batch + batch[-1:] * (batch_size - len(batch)))
        for job, mark, image in zip(batch, marks[start:], images, strict=False):
            if not _is_sound(folder, job, mark):
                path = folder / job.path
                path.parent.mkdir(parents=True, exist_ok=True)
                png.write(image, path, {"prompt": job.metadata["prompt"], _CHUNK: mark})


def _mark(job: Job, settings: Mapping[str, Any]) -> str:
    decided = {**settings, "metadata": dict(job.metadata), "seed": job.sample}
    return json.dumps(decided, sort_keys=True)


def _is_sound(folder: pathlib.Path, job: Job, mark: str) -> bool:
    try:
        with Image.open(folder / job.path, formats=["PNG"]) as file:
            file.load()
            return file.info.get(_CHUNK) == mark
    except _UNREADABLE:
        return False
