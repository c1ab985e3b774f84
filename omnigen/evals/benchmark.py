# SPDX-License-Identifier: Apache-2.0
"""Prompts with a judge, and the judging of their pictures by several processes, resumably.

Imports no jax: judging processes start at once.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from omnigen import files, progress
from omnigen.evals import picture_files
from omnigen.evals.picture_files import Job
from omnigen.evals.results import Estimate
from omnigen.scenes.scene import Scene
from omnigen.workers import pool

SPLITS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "_unseen": lambda record: record["held_out"],
    "_seen": lambda record: not record["held_out"],
    "_unseen_template": lambda record: record["template_held_out"],
    "_seen_template": lambda record: not record["template_held_out"],
}
"""Which records a score of one split is of, by what is added to its name: compositions that
training never holds and the others, then templates of prompts of the same two kinds."""

POOLED = 64  # pictures from which on several processes are worth their start

_SIGHT = 2  # how bytes become pixels: 2 is white under what is transparent, and upright
_ALONE = {  # what keeps numpy, XLA and their like to one thread and the CPU
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}

Metadata = Mapping[str, Any]
Record = dict[str, Any]
Verdict = Callable[..., Record]


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Prompts, and a judge of the pictures that they ask for.

    Attributes:
        name: Name of the suite.
        version: Version of the judge.
        prompts: Metadata of the prompts, each with `tag`, `prompt` and what the judge needs.
        verdict: Judges a uint8 picture, or None for one that cannot be judged, by metadata; returns
            plain data with `correct`, `atoms` and `seen`. Other processes call it.
        is_sketched: Whether `verdict` also takes what the model wrote before it drew, None if the
            picture does not say it.
        scores: Returns the metrics of records.
        reference: Returns a scene that the metadata describes, for the tokenizer's ceiling; None if
            the suite has no ceiling.
    """

    name: str
    version: str
    prompts: tuple[Metadata, ...]
    verdict: Verdict
    scores: Callable[[Sequence[Record]], Mapping[str, Estimate | float]]
    reference: Callable[[Metadata], Scene] | None
    is_sketched: bool = False

    def part(self, every: int) -> "Benchmark":
        """Returns a smaller benchmark: each `every`th prompt of each task.

        Held-out prompts and templates keep their shares, as those of each sort are taken in turn.
        """

        def sort(number: int) -> tuple[bool, bool]:
            metadata = self.prompts[number]
            return bool(metadata.get("held_out")), bool(metadata.get("template_held_out"))

        numbers = range(len(self.prompts))
        groups = itertools.groupby(numbers, key=lambda number: self.prompts[number]["tag"])
        chosen = [n for _, group in groups for n in sorted(group, key=sort)[::every]]
        return dataclasses.replace(self, prompts=tuple(self.prompts[n] for n in sorted(chosen)))


def judge(
    benchmark: Benchmark,
    folder: pathlib.Path,
    wanted: Sequence[Job],
    *,
    journal: pathlib.Path,
    problems: Sequence[str] = (),
    workers: int = 1,
) -> list[Record]:
    """Judges pictures.

    Args:
        benchmark: Benchmark with the judge.
        folder: Folder of the pictures.
        wanted: Pictures to judge.
        journal: File that keeps verdicts as they are reached; those in it are not reached again.
        problems: Why each picture cannot be judged, or "" if it can; all can if empty.
        workers: Number of processes.

    Returns:
        A record a picture, in order: which it is, its `problem` or "", and the verdict.
    """
    known, paths = Journal(journal), picture_files.locate(folder, wanted)
    digests, problems = zip(*map(_digest, paths, problems or [""] * len(wanted)), strict=True)
    keys = [
        _key(benchmark.version, job.metadata, problem, digest)
        for job, problem, digest in zip(wanted, problems, digests, strict=True)
    ]
    new = [i for i, key in enumerate(keys) if key not in known.verdicts]
    asked = [(paths[i], wanted[i].metadata, problems[i]) for i in new]
    look = functools.partial(_look, benchmark.verdict, benchmark.is_sketched)
    with (
        _mapping(min(workers, 2 * len(new) // POOLED) or 1) as mapped,
        progress.work(f"{folder.name}: judging pictures", len(new)) as done,
    ):
        verdicts = done.each(mapped(look, asked))
        known.extend((keys[i], verdict) for i, verdict in zip(new, verdicts, strict=True))
    return [
        {
            "index": job.index,
            "sample": job.sample,
            "tag": job.metadata["tag"],
            "prompt": job.metadata["prompt"],
            "held_out": bool(job.metadata.get("held_out")),
            "template_held_out": bool(job.metadata.get("template_held_out")),
            "file": str(path),
            "sha256": digest,
            **known.verdicts[key],
        }
        for job, path, digest, key in zip(wanted, paths, digests, keys, strict=True)
    ]


def _digest(path: pathlib.Path, problem: str) -> tuple[str, str]:
    """Returns a file's digest, "" if it cannot be read, and what is wrong with it, if anything."""
    try:
        return hashlib.sha256(picture_files.load(path)).hexdigest(), problem
    except ValueError as error:
        return "", problem or str(error)


def _key(version: str, metadata: Metadata, problem: str, digest: str) -> str:
    """Returns a key of a verdict: judge and what it sees by, question, and the picture's bytes."""
    asked = json.dumps([_SIGHT, version, dict(metadata), problem, digest], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


def _look(verdict: Verdict, is_sketched: bool, asked: tuple[pathlib.Path, Metadata, str]) -> Record:
    """Judges one file."""
    path, metadata, problem = asked
    image, more = None, (picture_files.read_sketch(path),) if is_sketched else ()
    try:
        image = None if problem else picture_files.read(path)
    except ValueError as error:
        problem = str(error)
    try:
        return {"problem": problem, **verdict(metadata, image, *more)}
    except MemoryError:
        problem = "unreadable: too large to be judged"
        return {"problem": problem, **verdict(metadata, None, *more)}


class Journal:
    """Verdicts by key, one a line; a line that a kill truncated is skipped."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self.verdicts: dict[str, Record] = {}
        if not os.path.lexists(path):
            return
        with files.open_regular(path) as file:
            for line in file:
                with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                    entry = json.loads(line)
                    self.verdicts[entry["key"]] = dict(entry["verdict"])

    def extend(self, verdicts: Iterator[tuple[str, Record]]) -> None:
        """Keeps verdicts as they come."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" if file.tell() else "")  # ends what a kill may have cut off
            for key, verdict in verdicts:
                line = json.dumps({"key": key, "verdict": verdict})
                self.verdicts[key] = json.loads(line)["verdict"]
                file.write(line + "\n")
                file.flush()


@contextlib.contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterator[Record]]]:
    """Yields a `map`: Python's own, or one over several processes, which end with this one.

    Each process keeps to one thread, and off the accelerator that this one may hold.
    """
    if workers == 1:
        yield map
        return
    # Threads and platforms are read once, as numpy and JAX are imported: the new processes must
    # start with them, and this one, which has imported both, does not notice.
    before = dict(os.environ)
    os.environ.update(_ALONE)
    try:
        with pool(workers) as processes:
            yield functools.partial(processes.map, chunksize=4)
    finally:
        os.environ.clear()
        os.environ.update(before)
