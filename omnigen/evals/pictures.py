# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures, one per prompt and sample: found, or drawn so that nothing is drawn twice.

Pictures lie where GenEval's scorer looks: prompt 12's second at `00012/samples/0001.png`. A drawn
one carries what decided it; one that is there, whole, and decided by the same is kept.
"""

import collections
import dataclasses
import hashlib
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
_OWN = ("metadata", "seed", "noise_seed")  # what of it differs from picture to picture
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture to draw.

    Attributes:
        index: of its prompt.
        sample: number among the prompt's pictures.
        metadata: of the prompt.
        file: where it lies, if not at `place`.
        seed: of its noise, if it was decided here.
    """

    index: int
    sample: int
    metadata: Mapping[str, Any]
    file: str = ""
    seed: int | None = None

    @property
    def path(self) -> pathlib.PurePosixPath:
        """Where it lies in its folder."""
        return pathlib.PurePosixPath(self.file or place(self.index, self.sample))


Paint = Callable[[Sequence[Job]], np.ndarray]
"""Draws as many jobs as it is given, uint8 `[N, H, W, 3]`."""


def jobs(
    prompts: Sequence[Mapping[str, Any]], count: int, *, first: int | None = None
) -> list[Job]:
    """`count` pictures of every prompt, in order; with seeds if it is said which is the `first`."""

    def seed(prompt: str, sample: int) -> int | None:
        return None if first is None else seed_of(prompt, first + sample)

    return [
        Job(i, s, metadata, seed=seed(metadata["prompt"], s))
        for i, metadata in enumerate(prompts)
        for s in range(count)
    ]


def seed_of(prompt: str, number: int) -> int:
    """The seed of a prompt's picture, below 2^31.

    Prompts share none: a noise that misleads a model misleads it in many prompts at once, and
    scores would vary more from seed to seed than the prompts' own spread lets one think.
    """
    start = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
    return (start + number) % 2**31


def place(index: int, sample: int) -> pathlib.PurePosixPath:
    """Where a picture lies in its folder."""
    return pathlib.PurePosixPath(f"{index:05d}", "samples", f"{sample:04d}.png")


def read(path: pathlib.Path) -> np.ndarray:
    """Reads a picture, uint8 `[height, width, 3]`.

    Raises:
        ValueError: missing, damaged, or with a side beyond `SIDES`.
    """
    try:
        with Image.open(path) as file:
            if not all(SIDES[0] <= side <= SIDES[1] for side in file.size):
                raise ValueError("wrong size: {} x {}".format(*file.size))
            return np.asarray(file.convert("RGB"))
    except FileNotFoundError:
        raise ValueError("missing") from None
    except _UNREADABLE as error:
        text = str(error) if str(error).startswith("wrong size") else f"unreadable: {error}"
        raise ValueError(" ".join(text.split()).replace(str(path), path.name)) from None


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a folder's pictures say of themselves, before anybody looks at them.

    Attributes:
        problems: for each job, why its picture is not the one that was asked for, or "".
        settings: what decided most of them, as `draw` wrote it; nothing if others drew them.
    """

    problems: tuple[str, ...]
    settings: Mapping[str, Any]


def survey(folder: pathlib.Path, wanted: Sequence[Job]) -> Survey:
    """Holds the size and the mark of each picture against those of most, and against its job."""
    heads = [_head(folder / job.path) for job in wanted]
    readable = [head for head in heads if head is not None]
    sizes = collections.Counter(size for size, _ in readable)
    settings = collections.Counter(_settings(mark) for _, mark in readable)
    usual_size = sizes.most_common(1)[0][0] if readable else None
    usual = settings.most_common(1)[0][0] if readable else "{}"

    def problem(job: Job, head: tuple[tuple[int, int], dict[str, Any]] | None) -> str:
        if head is None:
            return ""  # `read` says what is wrong
        size, mark = head
        if size != usual_size:
            return "wrong size: {} x {}".format(*size)
        if _settings(mark) != usual:
            return "drawn by other weights or settings than most"
        asked = mark.get("metadata", {}).get("prompt"), mark.get("seed")
        if mark and asked != (job.metadata["prompt"], job.sample):
            return f"misplaced: it is picture {asked[1]} of {asked[0]!r}"
        return ""

    problems = tuple(problem(job, head) for job, head in zip(wanted, heads, strict=True))
    return Survey(problems, json.loads(usual))


def _head(path: pathlib.Path) -> tuple[tuple[int, int], dict[str, Any]] | None:
    """Size and mark of a file, without its pixels; None if it is unreadable."""
    try:
        with Image.open(path) as file:
            size, text = file.size, file.info.get(_CHUNK)
    except _UNREADABLE:
        return None
    try:
        mark = json.loads(text or "")
    except (TypeError, ValueError):
        return size, {}
    is_ours = isinstance(mark, dict) and "seed" in mark and isinstance(mark.get("metadata"), dict)
    return size, mark if is_ours else {}


def _settings(mark: Mapping[str, Any]) -> str:
    """A mark without what differs from picture to picture."""
    shared = {key: value for key, value in mark.items() if key not in _OWN}
    return json.dumps(shared, sort_keys=True)


def unexpected(folder: pathlib.Path, wanted: Sequence[Job]) -> list[str]:
    """Files of a folder that no job asks for; hidden ones, such as a kill leaves, aside."""
    expected = {str(place(job.index, job.sample)) for job in wanted}
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    found = (path for path in files if path.suffix != ".jsonl")
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
    if job.seed is not None:
        decided["noise_seed"] = job.seed
    return json.dumps(decided, sort_keys=True)


def _is_sound(folder: pathlib.Path, job: Job, mark: str) -> bool:
    try:
        with Image.open(folder / job.path, formats=["PNG"]) as file:
            file.load()
            return file.info.get(_CHUNK) == mark
    except _UNREADABLE:
        return False
