# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures, one per prompt and sample: found, or drawn so that nothing is drawn twice.

Pictures lie where GenEval's scorer looks: prompt 12's second at `00012/samples/0001.png`. A drawn
one carries what decided it; one that is there, whole, and decided by the same is kept.

All of `evals` sees pictures by `load`, `decoded` and `read`: the same pixels as in training.
"""

import collections
import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from omnigen import cli, files, png, progress
from omnigen.data.corpus.pictures import FORMATS, decode, measure
from omnigen.data.corpus.records import Reason, Rejected

if TYPE_CHECKING:
    from PIL import Image

SIDES = (32, 4096)
"""The fewest and the most pixels a side that are judged."""

_CHUNK = "omnigen"  # PNG text that says what decided a picture
_OWN = ("metadata", "seed", "noise_seed")  # what of it differs from picture to picture
_SKETCH = "sketch"  # PNG text that says what the model wrote before it drew
_MOST_MARK_BYTES = 1 << 18
_MOST_SKETCH_BYTES = 1 << 12
_MOST_SETTINGS, _MOST_NAME, _MOST_TEXT = 32, 64, 200  # of a mark; characters
_MOST_INT = 2**63
_SUFFIXES = (*files.PICTURES, *files.FOREIGN_PICTURES)


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture to draw.

    Attributes:
        index: Number of its prompt.
        sample: Number among the prompt's pictures.
        metadata: Metadata of the prompt.
        file: Name of its file, if it is not at `place`.
        seed: Seed of its noise, if it was decided here.
    """

    index: int
    sample: int
    metadata: Mapping[str, Any]
    file: str = ""
    seed: int | None = None

    @property
    def path(self) -> pathlib.PurePosixPath:
        """Returns its path in its folder."""
        return pathlib.PurePosixPath(self.file or place(self.index, self.sample))


@dataclasses.dataclass(frozen=True)
class Painted:
    """Pictures as they were drawn.

    Attributes:
        images: Pictures, uint8 `[N, H, W, 3]`.
        sketches: What the model wrote before it drew each; none if it writes nothing.
    """

    images: np.ndarray
    sketches: Sequence[str] = ()


Paint = Callable[[Sequence[Job]], Painted]
"""Draws as many jobs as it is given."""


def jobs(
    prompts: Sequence[Mapping[str, Any]], count: int, *, first: int | None = None
) -> list[Job]:
    """Returns jobs for `count` pictures of every prompt, in order; `first` gives them seeds."""

    def seed(prompt: str, sample: int) -> int | None:
        return None if first is None else seed_of(prompt, first + sample)

    return [
        Job(i, s, metadata, seed=seed(metadata["prompt"], s))
        for i, metadata in enumerate(prompts)
        for s in range(count)
    ]


def seed_of(prompt: str, number: int) -> int:
    """Returns the seed of a prompt's picture, below 2^31.

    Prompts share none: a noise that misleads a model misleads it in many prompts at once, and
    scores would vary more from seed to seed than the prompts' own spread lets one think.
    """
    start = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
    return (start + number) % 2**31


def place(index: int, sample: int) -> pathlib.PurePosixPath:
    """Returns the path of a picture in its folder."""
    return pathlib.PurePosixPath(f"{index:05d}", "samples", f"{sample:04d}.png")


def load(path: pathlib.Path) -> bytes:
    """Reads the bytes of a picture's file.

    Raises:
        ValueError: If it is missing, no regular file, too large, or not readable.
    """
    try:
        return files.read(path, most=files.MOST_PICTURE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError("missing") from None
    except OSError as error:
        raise _unreadable(error.strerror or str(error)) from None
    except (ValueError, MemoryError) as error:
        raise _unreadable(str(error).replace(str(path), path.name) or "too large") from None


def decoded(data: bytes, *, sides: tuple[int, int] | None = None) -> "Image.Image":
    """Returns an upright picture in RGB, transparent parts white: what training would see.

    Args:
        data: Bytes of the file.
        sides: The fewest and the most pixels a side, checked before pixels are decoded.

    Raises:
        ValueError: If it is foreign, animated, damaged, too large, or has a side beyond `sides`.
    """
    try:
        size = measure(data)
        if sides and not all(sides[0] <= side <= sides[1] for side in (size.width, size.height)):
            raise Rejected(Reason.PIXELS, f"{size.width} x {size.height}")
        return decode(data).image
    except Rejected as error:
        if error.reason == Reason.PIXELS:
            raise ValueError(f"wrong size: {str(error).split(': ')[-1]}") from None
        raise _unreadable(str(error)) from None
    except MemoryError:
        raise _unreadable("too large") from None


def read(path: pathlib.Path) -> np.ndarray:
    """Reads a picture, uint8 `[height, width, 3]`.

    Raises:
        ValueError: If it is missing, foreign, damaged, or has a side beyond `SIDES`.
    """
    try:
        return np.asarray(decoded(load(path), sides=SIDES))
    except ValueError as error:
        if path.suffix.lower() in files.FOREIGN_PICTURES and str(Reason.FORMAT) in str(error):
            raise ValueError(f"of a foreign format: allowed are {', '.join(FORMATS)}") from None
        raise
    except MemoryError:
        raise _unreadable("too large") from None


def read_sketch(path: pathlib.Path) -> str | None:
    """Returns what a model wrote before it drew a picture; None if the file does not say it."""
    try:
        return png.note(load(path), _SKETCH, most=_MOST_SKETCH_BYTES)
    except ValueError:
        return None


def _unreadable(reason: str) -> ValueError:
    return ValueError(f"unreadable: {cli.printable(' '.join(reason.split()))}")


def locate(folder: pathlib.Path, wanted: Sequence[Job]) -> list[pathlib.Path]:
    """Returns where the pictures lie: at their places or beside them, under another suffix.

    Of several, such as `0000.png` and `0000.jpg`, the one at the place counts.
    """
    shelves: dict[pathlib.Path, dict[str, list[str]]] = {}

    def find(path: pathlib.Path) -> pathlib.Path:
        if path.parent not in shelves:
            shelves[path.parent] = _shelf(path.parent)
        names = shelves[path.parent].get(path.stem, [path.name])
        return path if path.name in names else path.with_name(names[0])

    return [find(folder / job.path) for job in wanted]


def _shelf(folder: pathlib.Path) -> dict[str, list[str]]:
    """Returns the names of pictures in a folder by their stems; usual suffixes come first."""
    found: dict[str, list[str]] = {}
    try:
        names = [name for name in sorted(os.listdir(folder)) if not files.is_hidden(name)]
    except OSError:
        return found
    for allowed in _SUFFIXES:
        for stem, suffix in map(os.path.splitext, names):
            if suffix.lower() == allowed:
                found.setdefault(stem, []).append(stem + suffix)
    return found


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a folder's pictures say of themselves, before any is looked at.

    Attributes:
        problems: For each job, why its picture is not the one that was asked for, or "".
        settings: Settings that decided most of them, as `draw` wrote them; none if others drew
            them.
    """

    problems: tuple[str, ...]
    settings: Mapping[str, Any]


def survey(folder: pathlib.Path, wanted: Sequence[Job]) -> Survey:
    """Compares the size and mark of each picture with those of most, and with its job."""
    with progress.work(f"{folder.name}: looking at files", len(wanted)) as done:
        heads = [_head(path) for path in done.each(locate(folder, wanted))]
    readable = [head for head in heads if head is not None and not head.problem]
    sizes = collections.Counter(head.size for head in readable)
    settings = collections.Counter(_settings(head.mark) for head in readable)
    usual_size = sizes.most_common(1)[0][0] if readable else None
    usual = settings.most_common(1)[0][0] if readable else "{}"

    def problem(job: Job, head: _Head | None) -> str:
        if head is None:
            return ""  # `read` says what is wrong
        if head.problem:
            return head.problem
        if head.size != usual_size:
            return "wrong size: {} x {}".format(*head.size)
        if _settings(head.mark) != usual:
            return "drawn by other weights or settings than most"
        asked = head.mark.get("metadata", {}).get("prompt"), head.mark.get("seed")
        if head.mark and asked != (job.metadata["prompt"], job.sample):
            return f"misplaced: it is picture {asked[1]} of {cli.printable(repr(asked[0]))}"
        return ""

    problems = tuple(problem(job, head) for job, head in zip(wanted, heads, strict=True))
    return Survey(problems, json.loads(usual))


@dataclasses.dataclass(frozen=True)
class _Head:
    """What is known of a readable file without its pixels.

    Attributes:
        size: Width and height.
        mark: Mark that says what decided it; none if others drew it.
        problem: What is wrong with the mark, or "".
    """

    size: tuple[int, int] = (0, 0)
    mark: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problem: str = ""


def _head(path: pathlib.Path) -> _Head | None:
    """Reads what a file says of itself; None if it is unreadable."""
    try:
        data = load(path)
    except ValueError:
        return None
    try:
        mark = _marked(data)
    except (ValueError, RecursionError, MemoryError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else str(error)
        return _Head(problem=f"with an unfit note: {reason}")
    try:
        size = measure(data)
    except (Rejected, MemoryError):
        return None
    return _Head((size.width, size.height), mark)


def _marked(data: bytes) -> Mapping[str, Any]:
    """Returns the mark of a file; nothing if it has none, or what is there is no mark of ours.

    Raises:
        ValueError: If the mark looks like one of ours, but could not be.
        RecursionError: If it is nested too deep.
    """
    try:
        mark = json.loads(png.note(data, _CHUNK, most=_MOST_MARK_BYTES) or "")
    except json.JSONDecodeError:
        return {}
    if not (isinstance(mark, dict) and "seed" in mark and isinstance(mark.get("metadata"), dict)):
        return {}
    shared = {key: value for key, value in mark.items() if key not in _OWN}
    if len(shared) > _MOST_SETTINGS or max(map(len, shared), default=0) > _MOST_NAME:
        raise ValueError("too many settings, or too long names")
    for name, value in {**shared, "seed": mark["seed"]}.items():
        is_sound = (
            isinstance(value, str)
            and len(value) <= _MOST_TEXT
            or isinstance(value, int)
            and abs(value) < _MOST_INT
            or isinstance(value, float)
            and math.isfinite(value)
        )
        if not is_sound:
            kind = f"a {type(value).__name__} that is not allowed"
            raise ValueError(f"{cli.printable(name)} is {kind}")
    return mark


def _settings(mark: Mapping[str, Any]) -> str:
    """Returns a mark without what differs from picture to picture."""
    shared = {key: value for key, value in mark.items() if key not in _OWN}
    return json.dumps(shared, sort_keys=True)


def unexpected(folder: pathlib.Path, wanted: Sequence[Job]) -> list[str]:
    """Returns the files of a folder that no job asks for, except hidden ones as a kill leaves."""
    expected = {path.relative_to(folder).as_posix() for path in locate(folder, wanted)}
    try:
        found = [path for path in files.walk(folder) if path.suffix != ".jsonl"]
    except OSError as error:
        found = [pathlib.Path(error.filename or folder)]
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
        folder: Folder of the pictures.
        wanted: Pictures to draw.
        paint: Draws a batch of exactly `batch_size`; the last is filled up by its last job.
        settings: What decides the pictures besides prompt and sample, such as the weights.
        batch_size: Number of pictures drawn at a time.
        what: Name of what is drawn, for the display of progress.
    """
    settings = {**settings, "batch_size": batch_size}
    marks = [_mark(job, settings) for job in wanted]
    with progress.work(f"{what}: looking for what is there", len(wanted)) as done:
        asked = zip(wanted, marks, strict=True)
        lacking = [not _is_sound(folder, job, mark) for job, mark in done.each(asked)]
    batches = [
        range(start, min(start + batch_size, len(wanted)))
        for start in range(0, len(wanted), batch_size)
        if any(lacking[start : start + batch_size])
    ]
    with progress.work(f"{what}: drawing pictures", sum(map(len, batches))) as done:
        for places in batches:
            batch = [wanted[place] for place in places]
            painted = paint(batch + batch[-1:] * (batch_size - len(batch)))
            for number, place in enumerate(places):
                if lacking[place]:
                    path = folder / wanted[place].path
                    path.parent.mkdir(parents=True, exist_ok=True)
                    text = {"prompt": wanted[place].metadata["prompt"], _CHUNK: marks[place]}
                    if painted.sketches:
                        text[_SKETCH] = painted.sketches[number]
                    png.write(painted.images[number], path, text)
            done.add(len(places))


def _mark(job: Job, settings: Mapping[str, Any]) -> str:
    decided = {**settings, "metadata": dict(job.metadata), "seed": job.sample}
    if job.seed is not None:
        decided["noise_seed"] = job.seed
    return json.dumps(decided, sort_keys=True)


def _is_sound(folder: pathlib.Path, job: Job, mark: str) -> bool:
    try:
        data = load(folder / job.path)
        decoded(data)
        return png.note(data, _CHUNK, most=len(mark.encode())) == mark
    except ValueError:
        return False
