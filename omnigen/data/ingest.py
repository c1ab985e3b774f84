# SPDX-License-Identifier: Apache-2.0
"""From whatever people have to a prepared corpus: by all cores, and resumable at any instant.

First every part of the input is read by itself: pictures are decoded, checked and, if asked,
resized, and what passes goes to a file of its own beside the facts that decide about duplicates.
Then, with all facts at hand, duplicates are left out, the rest is split, and the shards are
written, the manifest last. Every file appears at once and is a function of the input and the
settings, so a run that was killed goes on with the files it finds, and ends with the same bytes.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from omnigen.data import duplicates, pictures, records, sources
from omnigen.data.records import Manifest, Reason, Record, Rejected, Shard
from omnigen.data.scenes.scene import Split
from omnigen.workers import pool

Execute = Callable[[Callable[..., Any], Sequence[tuple], str, Sequence[int]], list]
"""Calls what it is given for every tuple of arguments, anywhere and in any order; what the calls
are and how much each counts are to report. Returns their results in order."""

REJECTS = "rejects.jsonl"
WORK = ".parts"
_WEBP_SIDE = 16383  # the longest of that format
_LOOK_SIDE = 64  # pixels that a perceptual hash needs
_REPORT_S = 5.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is kept, and how.

    Attributes:
        size: larger pictures are resized so that their shorter side is this; 0 keeps every file as
            it is. Resized JPEGs stay JPEGs, other formats become lossless WebP.
        min_side: pixels that the shorter side must have.
        max_aspect: of the longer to the shorter side.
        max_pixels: larger pictures are not decoded.
        min_caption: characters that a caption must have; 0 also keeps pictures without any.
        max_caption: characters that it may have.
        near_duplicates: bits of 64 in which the perceptual hashes of near duplicates differ at
            most; -1 keeps them. Equal files are always left out.
        test_fraction: share of pictures that is never trained on, chosen by their keys.
        license: of pictures that do not name their own.
        shard_bytes: about how large a shard gets.
    """

    size: int = 0
    min_side: int = 32
    max_aspect: float = 4.0
    max_pixels: int = pictures.MAX_PIXELS
    min_caption: int = 1
    max_caption: int = 2000
    near_duplicates: int = 4
    test_fraction: float = records.TEST_FRACTION
    license: str = ""
    shard_bytes: int = 1 << 28

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            ValueError: names the field, its value and what is allowed.
        """
        for name, least, most in (
            ("size", 0, 1 << 14),
            ("min_side", 1, 1 << 14),
            ("max_aspect", 1, 1000),
            ("max_pixels", 1, 1 << 28),
            ("min_caption", 0, 1 << 20),
            ("max_caption", 1, 1 << 20),
            ("near_duplicates", -1, 15),
            ("test_fraction", 0, 0.5),
            ("shard_bytes", 1, 1 << 34),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}; allowed: {least} to {most}")
        if self.min_caption > (most := self.max_caption):
            raise ValueError(f"min_caption is {self.min_caption}; allowed: up to {most}")
        longest = self.size * self.max_aspect
        if longest > _WEBP_SIDE:
            text = f"size times max_aspect is {longest:g} pixels; allowed: up to {_WEBP_SIDE}"
            raise ValueError(text)


class NothingKept(ValueError):
    """No picture of the input passes."""


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What has to be known of the pictures of a part that passed, each `[N, ...]`."""

    digest: np.ndarray
    bits: np.ndarray
    colors: np.ndarray
    size: np.ndarray
    key: np.ndarray
    license: np.ndarray
    split: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """A record by part and number in it."""

    part: int
    number: int
    size: int


@dataclasses.dataclass(frozen=True)
class Job:
    """What `run` has to do.

    Attributes:
        source: what to read.
        output: folder of the corpus.
        settings: what is kept.
        parts: of the source.
        plan: digest of all of these but the output.
        is_done: whether the corpus is there already.
    """

    source: pathlib.Path
    output: pathlib.Path
    settings: Settings
    parts: Sequence[sources.Part]
    plan: str
    is_done: bool


def plan(source: pathlib.Path, output: pathlib.Path, settings: Settings) -> Job:
    """Looks at the input and the output; writes nothing.

    Raises:
        ValueError: nothing to read, or `output` holds something else or lies in the input.
    """
    parts, inside = sources.find(source), source.resolve()
    if source.is_dir() and output.resolve().is_relative_to(inside):
        raise ValueError(f"output {str(output)!r} lies in the input; name a folder outside of it")
    return plan_parts(parts, source, output, settings)


def plan_parts(
    parts: Sequence[sources.Part], source: pathlib.Path, output: pathlib.Path, settings: Settings
) -> Job:
    """The same for parts of any other kind; `source` only names them."""
    if not sum(map(len, parts)):
        raise ValueError(f"input {str(source)!r} holds no pictures")
    digest = _digest(repr((settings, records.FORMAT, parts)))
    return Job(source, output, settings, parts, digest, _is_done(output, digest))


def run(job: Job, workers: int = 0, execute: Execute | None = None) -> None:
    """Prepares a corpus; goes on where an earlier call was interrupted.

    Args:
        job: see `plan`.
        workers: processes; 0 works in this one.
        execute: what does the work instead.

    Raises:
        NothingKept: no picture passes; nothing is left behind.
        OSError: files cannot be written.
    """
    execute = execute or functools.partial(_run, workers)
    work, output, settings = job.output / WORK, job.output, job.settings
    if job.is_done:
        shutil.rmtree(work, ignore_errors=True)
        return
    work.mkdir(parents=True, exist_ok=True)
    begun = records.partial(work / "plan")
    begun.write_text(job.plan)
    begun.replace(work / "plan")
    paths = [_part_path(work, number) for number in range(len(job.parts))]
    tasks = [(part, settings, path) for part, path in zip(job.parts, paths, strict=True)]
    execute(_read_part, tasks, "pictures read", [len(part) for part in job.parts])
    facts = [_load_facts(path) for path in paths]
    every = _concatenate(facts)
    found = duplicates.find(
        every.digest, every.bits, every.colors, distance=settings.near_duplicates
    )
    splits = _split(every, found, settings.test_fraction)
    rejects = _write_rejects(work, output, facts, found)
    if not any(splits):
        example = json.loads((output / REJECTS).read_text("utf-8").partition("\n")[0])
        _abandon(output)
        counts = ", ".join(f"{count} x {reason}" for reason, count in rejects.most_common())
        raise NothingKept(
            f"input {str(job.source)!r}: no picture passes: {counts}; "
            f"such as {example['key']!r}: {example['detail'] or example['reason']}"
        )
    shards = _write_shards(output, facts, splits, settings, execute)
    kept = [str(name) for name, split in zip(every.license, splits, strict=True) if split]
    Manifest(
        splits=shards,
        rejects=dict(sorted(rejects.items())),
        licenses=dict(sorted(Counter(kept).items())),
        settings={**dataclasses.asdict(settings), "input": str(job.source), "plan": job.plan},
    ).write(output)
    for path in output.glob(f"*{records.PARTIAL}"):  # of runs that were killed
        path.unlink()
    shutil.rmtree(work)


def _abandon(output: pathlib.Path) -> None:
    """Removes what was begun; a run that is killed meanwhile begins anew."""
    work = output / WORK
    for path in (output / REJECTS, *sorted(work.glob("*.npz"))):
        path.unlink()
    shutil.rmtree(work)
    with contextlib.suppress(OSError):  # a link, or the place where a disk is mounted
        output.rmdir()


def summarize(output: pathlib.Path) -> None:
    """Prints how much a corpus holds and what was left out."""
    manifest = Manifest.read(output)
    for split in manifest.splits:
        print(f"{split}: {manifest.count(split)} pictures")
    for reason, count in manifest.rejects.items():
        print(f"left out, {reason}: {count}")


def _is_done(output: pathlib.Path, digest: str) -> bool:
    """Whether the folder holds the result; refuses one that holds anything else."""
    if (output / records.MANIFEST).is_file():
        if Manifest.read(output).settings.get("plan") == digest:
            return True
        raise ValueError(f"output {str(output)!r} holds another corpus; name a new folder")
    begun = output / WORK / "plan"
    if begun.is_file():
        if begun.read_text() != digest:
            raise ValueError(
                f"output {str(output)!r} holds the beginnings of another corpus, or the input "
                f"has changed since; remove it or name a new folder"
            )
    elif output.exists() and (not output.is_dir() or any(p.name != WORK for p in output.iterdir())):
        raise ValueError(f"output {str(output)!r} is not an empty folder")
    return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _part_path(work: pathlib.Path, number: int) -> pathlib.Path:
    return work / f"{number:06d}{records.SUFFIX}"


def _read_part(part: sources.Part, settings: Settings, path: pathlib.Path) -> None:
    """Writes the pictures of a part that pass, then their facts, then why the others do not."""
    done = path.with_suffix(".npz")
    if done.exists():
        return
    rows: list[tuple] = []
    rejects: list[str] = []

    def passing() -> Iterator[Record]:
        for raw in part.read():
            try:
                record, look = check(raw, settings)
            except Rejected as rejected:
                rejects.append(_reject_line(raw.key, rejected.reason, str(rejected)))
                continue
            assert isinstance(raw.image, bytes)
            digest = np.frombuffer(hashlib.sha256(raw.image).digest()[:16], np.uint8)
            attributes = record.attributes
            rows.append((
                digest, look.bits, look.colors, len(record.image), record.key,
                attributes.get("license", "unknown"), raw.split or attributes.get("split", ""),
            ))  # fmt: skip
            yield record

    records.write_shard(path, passing())
    digest, bits, colors, size, key, license_, split = zip(*rows, strict=True) if rows else [()] * 7
    log, facts = path.with_suffix(".jsonl"), records.partial(done)
    lines = records.partial(log)
    lines.write_text("".join(f"{line}\n" for line in rejects), "utf-8")
    lines.replace(log)
    arrays: dict[str, Any] = dict(
        digest=np.array(digest, np.uint8).reshape(-1, 16),
        bits=np.array(bits, np.uint64),
        colors=np.array(colors, np.uint8).reshape(-1, 48),
        size=np.array(size, np.int64),
        key=np.array(key, np.str_),
        license=np.array(license_, np.str_),
        split=np.array(split, np.str_),
    )
    with facts.open("wb") as file:
        np.savez(file, **arrays)
    facts.replace(done)


def check(raw: sources.Raw, settings: Settings) -> tuple[Record, pictures.Look]:
    """Decodes a picture, applies the filters, and resizes it if asked.

    Raises:
        Rejected: it does not pass.
    """
    if isinstance(raw.image, Rejected):
        raise raw.image
    captions = tuple(c for c in raw.captions if len(c) >= max(settings.min_caption, 1))
    if settings.min_caption and not captions:
        raise Rejected(Reason.NO_CAPTION, raw.note)
    short = tuple(c for c in captions if len(c) <= settings.max_caption)
    if captions and not short:
        raise Rejected(Reason.LONG_CAPTION, f"{min(map(len, captions))} characters")
    least = pictures.Size.square(max(settings.size, _LOOK_SIDE))
    picture = pictures.decode(raw.image, max_pixels=settings.max_pixels, least=least)
    least, most = sorted((picture.width, picture.height))
    if least < settings.min_side:
        raise Rejected(Reason.SMALL, f"{picture.width} x {picture.height}")
    if most > settings.max_aspect * least:
        raise Rejected(Reason.ASPECT, f"{picture.width} x {picture.height}")
    data, width, height = raw.image, picture.width, picture.height
    if settings.size and least > settings.size:
        image = pictures.shrink(picture.image, settings.size)
        data = pictures.encode(image, lossless=not pictures.is_jpeg(data))
        width, height = image.size
    if width * height > pictures.MAX_PIXELS:
        raise Rejected(Reason.PIXELS, f"{width} x {height}; size makes them smaller")
    attributes = dict(raw.attributes)
    if settings.license:
        attributes.setdefault("license", settings.license)
    return Record(raw.key, data, width, height, short, attributes), pictures.look(picture.image)


def _load_facts(path: pathlib.Path) -> _Facts:
    with np.load(path.with_suffix(".npz")) as arrays:
        return _Facts(**arrays)


def _concatenate(facts: Sequence[_Facts]) -> _Facts:
    names = [field.name for field in dataclasses.fields(_Facts)]
    return _Facts(**{name: np.concatenate([getattr(f, name) for f in facts]) for name in names})


def _split(every: _Facts, found: Sequence[Reason | None], fraction: float) -> list[str]:
    """The split of each picture; "" for those that are left out.

    A split that the input names is kept, if it is one of ours. Of the others, those whose key
    hashes lowest are for the test: at least one if there is a choice, so that a small corpus can
    be judged too.
    """
    kept = [k for k, reason in enumerate(found) if reason is None]
    free = [k for k in kept if every.split[k] not in list(Split)]
    ranks = {k: records.rank(str(every.key[k])) for k in free}
    test = {k for k in free if ranks[k] < fraction}
    if fraction and not test and len(free) > 1:
        test = {min(free, key=lambda k: (ranks[k], k))}
    splits = [""] * len(found)
    for k in kept:
        named = str(every.split[k])
        splits[k] = Split.TEST if k in test else named if named in list(Split) else Split.TRAIN
    return splits


def _reject_line(key: str, reason: Reason, detail: str) -> str:
    line = {"key": key, "reason": reason, "detail": detail}
    return json.dumps(line, ensure_ascii=True)


def _write_rejects(
    work: pathlib.Path,
    output: pathlib.Path,
    facts: Sequence[_Facts],
    found: Sequence[Reason | None],
) -> Counter[str]:
    """Writes and counts every picture that is left out, part by part."""
    partial, start, counts = output / f"{REJECTS}.partial", 0, Counter()
    with partial.open("w", encoding="utf-8") as file:
        for number, part in enumerate(facts):
            lines = _part_path(work, number).with_suffix(".jsonl").read_text("utf-8").splitlines()
            reasons = zip(part.key, found[start : start + len(part.key)], strict=True)
            lines += [_reject_line(str(key), reason, "") for key, reason in reasons if reason]
            counts.update(json.loads(line)["reason"] for line in lines)
            file.writelines(f"{line}\n" for line in lines)
            start += len(part.key)
    partial.replace(output / REJECTS)
    return counts


def _write_shards(
    output: pathlib.Path,
    facts: Sequence[_Facts],
    splits: Sequence[str],
    settings: Settings,
    execute: Execute,
) -> dict[str, tuple[Shard, ...]]:
    """Cuts what is kept into shards and writes them."""
    tasks = []
    for split in Split:
        start, shard, held = 0, [], 0
        plans = [shard]
        for part, facts_ in enumerate(facts):
            for number, size in enumerate(facts_.size):
                if splits[start + number] == split:
                    if held and held + size > settings.shard_bytes:
                        plans.append(shard := [])
                        held = 0
                    shard.append(_Chosen(part, number, len(facts_.size)))
                    held += int(size)
            start += len(facts_.size)
        for number, plan in enumerate(plans):
            if plan:
                tasks.append((output / f"{split}-{number:05d}{records.SUFFIX}", plan))
    written = execute(_write_shard, tasks, "pictures written", [len(t[1]) for t in tasks])
    shards: dict[str, tuple[Shard, ...]] = {split.value: () for split in Split}
    for shard in written:
        shards[shard.name.split("-")[0]] += (shard,)
    return shards


def _write_shard(path: pathlib.Path, chosen: Sequence[_Chosen]) -> Shard:
    if path.exists():
        return records.describe_shard(path, len(chosen))
    work = path.parent / WORK

    def read() -> Iterator[Record]:
        part, reader = -1, None
        for one in chosen:
            if one.part != part or reader is None:
                part, reader = one.part, records.ShardReader(_part_path(work, one.part), one.size)
            yield reader[one.number]

    return records.write_shard(path, read())


def _run(
    workers: int, work: Callable[..., Any], tasks: Sequence[tuple], unit: str, sizes: Sequence[int]
) -> list:
    """Calls `work` for every task, in processes, and reports how it goes."""
    report = _Report(unit, sum(sizes))
    if not workers:
        results = []
        for task, size in zip(tasks, sizes, strict=True):
            results.append(work(*task))
            report.add(size)
        return results
    with pool(workers) as processes:
        pending = {
            processes.submit(work, *task): size for task, size in zip(tasks, sizes, strict=True)
        }
        for future in concurrent.futures.as_completed(pending):
            future.result()
            report.add(pending[future])
    return [future.result() for future in pending]


class _Report:
    """Lines on stderr about how far the work is."""

    def __init__(self, unit: str, total: int) -> None:
        self._unit, self._total, self._done = unit, total, 0
        self._since = self._said = time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said < _REPORT_S and self._done < self._total:
            return
        self._said = now
        rate = self._done / max(now - self._since, 1e-9)
        left = (self._total - self._done) / max(rate, 1e-9)
        text = f"{self._done}/{self._total} {self._unit}, {rate:.0f}/s, {left:.0f} s left"
        print(text, file=sys.stderr, flush=True)
