# SPDX-License-Identifier: Apache-2.0
"""From whatever people have to a prepared corpus: by all cores, and resumable at any instant.

First every part of the input is read by itself: pictures are decoded, checked and, if asked,
resized, and what passes goes to a file of its own beside the facts that decide about duplicates.
Then, with all facts at hand, equal pictures are joined to one that has the captions of all, near
duplicates are left out, the rest is split, and the shards are written, the manifest last. Every
file appears at once and is a function of the input and the settings, so a run that was killed goes
on with the files it finds, and ends with the same bytes.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import pathlib
import shutil
import signal
import types
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from omnigen import cli, files
from omnigen.data.corpus import pictures, records
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import Manifest, Raw, Reason, Record, Rejected, Shard
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import checks, duplicates, inputs, processes
from omnigen.data.prepare import facts as known
from omnigen.data.prepare.checks import Settings
from omnigen.data.prepare.facts import SPLITS, Fact, Facts, Files, merge, reject_line
from omnigen.workers import DiedError, is_child, reach

REJECTS = "rejects.jsonl"
WORK = ".parts"
_OPEN_PARTS = 16  # at a time
_MOST_JOINED = 256  # equal pictures whose captions join those of one
_VERSION = 2  # of the files in `WORK`, and of what is kept of the same input


class NothingKept(ValueError):
    """Raised when no picture of the input passes."""


REFUSALS = (NothingKept, files.LockedError, NotADirectoryError, PermissionError)
"""What `run` raises about its input and output, rather than about the machine."""


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """The records of a shard, each by its part and its number there.

    Attributes:
        places: Places of the pictures, int64 `[N, 2]`.
        joined: Places of the pictures that are joined to one as equal, by its number in the shard.
        counts: Number of records of each part that is read.
    """

    places: np.ndarray
    joined: Mapping[int, np.ndarray]
    counts: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class Job:
    """What `run` has to do.

    Attributes:
        source: Folder or file to read.
        output: Folder of the corpus.
        settings: What is kept, and how.
        parts: Parts of the source.
        plan: Digest of all of these but the output.
        is_done: Whether the corpus is there already.
    """

    source: pathlib.Path
    output: pathlib.Path
    settings: Settings
    parts: Sequence[inputs.Part]
    plan: str
    is_done: bool


def plan(source: pathlib.Path, output: pathlib.Path, settings: Settings) -> Job:
    """Looks at the input and the output, and writes nothing.

    Raises:
        ValueError: If there is nothing to read, or `output` holds something else or lies in the
            input.
    """
    parts, inside = inputs.find(source), source.resolve()
    if source.is_dir() and output.resolve().is_relative_to(inside):
        raise ValueError(f"output {str(output)!r} lies in the input; name a folder outside of it")
    return plan_parts(parts, source, output, settings)


def plan_parts(
    parts: Sequence[inputs.Part], source: pathlib.Path, output: pathlib.Path, settings: Settings
) -> Job:
    """Plans as `plan` does, for parts of any kind; `source` only names them in messages."""
    if not sum(map(len, parts)):
        raise ValueError(f"input {str(source)!r} holds no pictures")
    digest = _digest(repr((settings, records.FORMAT, _VERSION, parts)))
    return Job(source, output, settings, parts, digest, _is_done(output, digest))


def run(job: Job, workers: int = 0) -> None:
    """Prepares a corpus; goes on where an earlier call was interrupted.

    Args:
        job: What to do, from `plan`.
        workers: Number of processes; 0 works in this one, except for reading what may end it.

    Raises:
        NothingKept: If no picture passes; nothing is left behind.
        OSError: If files cannot be written.
    """
    if job.is_done:
        with contextlib.suppress(OSError, files.LockedError), claimed(job.output):
            _clean(job.output)
        return
    with claimed(job.output):
        if not _is_done(job.output, job.plan):  # by another one, since `plan`
            _prepare(job, workers)


@contextlib.contextmanager
def claimed(output: pathlib.Path) -> Iterator[None]:
    """Locks a corpus for the time of the block, whether it is there already or not.

    A folder that is empty in the end is removed.

    Raises:
        files.LockedError: If another process is at work there.
        OSError: If the folder cannot be made or written.
    """
    with contextlib.ExitStack() as stack:
        for left in reversed(range(8)):
            output.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(files.locked(output, work="another prepare"))
                break
            except FileNotFoundError:  # the last one there has removed the folder meanwhile
                if not left:
                    raise
        try:
            yield
        finally:
            stack.close()
            with contextlib.suppress(OSError):  # a link, a disk that is mounted there, or not empty
                output.rmdir()


def _prepare(job: Job, workers: int) -> None:
    """Does what `run` says, in a folder that this process has locked."""
    work, output, settings = job.output / WORK, job.output, job.settings
    work.mkdir(exist_ok=True)
    files.write(work / "plan", job.plan)
    paths = [_part_path(work, number) for number in range(len(job.parts))]
    tasks = [(part, settings, path) for part, path in zip(job.parts, paths, strict=True)]
    lengths = [len(part) for part in job.parts]
    processes.run(workers, _read_part, tasks, "pictures read", lengths)
    facts = known.read(paths)
    beside = Files(paths, facts)
    twins = duplicates.find(
        facts.digest,
        facts.bits,
        facts.colors,
        distance=settings.near_duplicates,
        compare=lambda one, other: duplicates.difference(beside.look(one), beside.look(other)),
    )
    joined = _join(twins)
    rejects = _write_rejects(output, facts, beside, twins, joined)
    if not len(facts):
        example = json.loads((output / REJECTS).read_text("utf-8").partition("\n")[0])
        _abandon(output)
        counts = ", ".join(f"{count} x {reason}" for reason, count in rejects.most_common())
        raise NothingKept(
            f"input {str(job.source)!r}: no picture passes: {counts}; "
            f"such as {example['key']!r}: {example['detail'] or example['reason']}"
        )
    splits = _split(facts, twins, settings.test_fraction)
    shards = _write_shards(output, facts, splits, joined, settings, workers)
    Manifest(
        splits=shards,
        rejects=dict(sorted(rejects.items())),
        licenses=_count_licenses(facts, twins, joined, settings.license),
        settings={**dataclasses.asdict(settings), "input": str(job.source), "plan": job.plan},
        joined=sum(map(len, joined.values())),
    ).write(output)
    _clean(output)


def _clean(output: pathlib.Path) -> None:
    """Removes what this run and killed ones needed on the way."""
    for path in (*output.glob(f"*{records.PARTIAL}"), *output.glob(".*.tmp")):
        path.unlink()
    shutil.rmtree(output / WORK, ignore_errors=True)


def _abandon(output: pathlib.Path) -> None:
    """Removes what was begun, so that a run killed meanwhile begins anew."""
    work = output / WORK
    for path in (output / REJECTS, *sorted(work.glob("*.npz"))):
        path.unlink()
    shutil.rmtree(work)


def summarize(output: pathlib.Path) -> None:
    """Prints how much a corpus holds and what was left out."""
    manifest = Manifest.read(output)
    for split in manifest.splits:
        cli.say(f"{split}: {manifest.count(split)} pictures")
    if manifest.joined:
        cli.say(f"joined to an equal picture, with their captions: {manifest.joined}")
    for reason, count in manifest.rejects.items():
        cli.say(f"left out, {reason}: {count}")


def _is_done(output: pathlib.Path, digest: str) -> bool:
    """Returns whether the folder holds the result; refuses one that holds anything else."""
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
    elif output.exists() and (
        not output.is_dir() or {p.name for p in output.iterdir()} - {WORK, files.LOCK}
    ):
        raise ValueError(f"output {str(output)!r} is not an empty folder")
    return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _part_path(work: pathlib.Path, number: int) -> pathlib.Path:
    return work / f"{number:06d}{records.SUFFIX}"


def _read_part(
    part: inputs.Part,
    settings: Settings,
    path: pathlib.Path,
    deaths: processes.Deaths = types.MappingProxyType({}),
) -> None:
    """Writes the pictures of a part that pass, what is known of them, and why the others do not.

    Of pictures that come again in the part, as with a row for each caption, the file is neither
    decoded nor written again. A place that is reached is twice the number of the picture that is
    being read, and one more while it is looked at.
    """
    if known.is_written(path):
        return
    if inputs.may_abort(part) and not is_child():
        return processes.alone(_read_part, part, settings, path)
    fatal = {place // 2: _fatal(death) for place, death in deaths.items() if place % 2}
    unread = {place // 2: _fatal(death) for place, death in deaths.items() if not place % 2}
    seen: dict[bytes, Size] = {}
    with known.Notes(path) as notes:

        def passing() -> Iterator[Record]:
            for number, raw in _places(_raws(part, unread)):
                try:
                    if number in fatal:
                        raise fatal[number]
                    record, fact = _examine(raw, settings, seen)
                except Rejected as rejected:
                    notes.reject(reject_line(raw.key, rejected.reason, str(rejected)))
                    continue
                notes.add(record.key, fact)
                yield record

        records.write_shard(path, passing())


def _fatal(death: DiedError) -> Rejected:
    """Returns why a picture that ended its process is rejected; SIGKILL mostly means no memory."""
    is_memory = death.code == -signal.SIGKILL
    return Rejected(Reason.MEMORY if is_memory else Reason.DAMAGED, f"ended its reader: {death}")


def _places(raws: Iterator[Raw]) -> Iterator[tuple[int, Raw]]:
    """Yields pictures with their numbers and reports the places reached; see `_read_part`."""
    reach(0)
    for number, raw in enumerate(raws):
        reach(2 * number + 1)
        yield number, raw
        reach(2 * number + 2)


def _raws(part: inputs.Part, unread: inputs.Lost) -> Iterator[Raw]:
    """Yields the pictures of a part; one that does not fit in memory is passed over."""
    lost, given = {**unread}, 0
    while True:
        try:
            for raw in itertools.islice(part.read(lost), given, None):
                given += 1
                yield raw
            return
        except MemoryError:
            if given in lost:
                raise
            lost[given] = Rejected(Reason.MEMORY)


def _examine(raw: inputs.Raw, settings: Settings, seen: dict[bytes, Size]) -> tuple[Record, Fact]:
    """Returns a record and what is known of it.

    A picture that was seen already comes without file and look; a new one is added to `seen`.

    Raises:
        Rejected: If the picture does not pass.
    """
    with pictures.blamed():
        if isinstance(raw.image, Rejected):
            raise raw.image
        digest = hashlib.sha256(raw.image).digest()[:16]
        look, size = None, seen.get(digest)
        if size:
            said = checks.captions_of(raw, settings), dict(raw.attributes)
            record = Record(raw.key, b"", size.width, size.height, *said)
        else:
            record, look = checks.check(raw, settings)
            seen[digest] = Size(record.height, record.width)
    attributes = record.attributes
    named = raw.split or attributes.get("split", "")
    license_ = attributes.get("license", "")
    split = named if named in SPLITS else ""
    return record, Fact(digest, look, len(record.image), license_, split)


def _join(twins: duplicates.Twins) -> dict[int, list[int]]:
    """Returns the pictures to join to each that stays, equal to it, in their order."""
    joined: dict[int, list[int]] = defaultdict(list)
    for number in np.flatnonzero(~twins.stays).tolist():
        first = int(twins.of[number])
        if number not in twins.differences and len(joined[first]) < _MOST_JOINED:
            joined[first].append(number)
    return {first: numbers for first, numbers in joined.items() if numbers}


def _split(facts: Facts, twins: duplicates.Twins, fraction: float) -> np.ndarray:
    """Returns the split of each picture, uint8 `[N]`, as places in `SPLITS`.

    It is 0 for pictures that do not stay. What the input names is kept. A picture is for the test
    if any that is equal or nearly the same is: otherwise the test would be trained on. If the input
    names none for the test, those of the others whose key hashes lowest are: at least one if there
    is a choice, so that a small corpus can be judged too.
    """
    train, test = (SPLITS.index(split) for split in (Split.TRAIN, Split.TEST))
    splits = np.zeros(len(facts), np.uint8)
    for split in (train, test):
        splits[twins.of[facts.split == split]] = split
    free = np.flatnonzero(twins.stays & (splits == 0))
    if fraction and len(free) and not (splits == test).any():
        low = facts.rank[free] < fraction
        if not low.any() and len(free) > 1:
            low[np.argmin(facts.rank[free])] = True
        splits[free[low]] = test
    splits[twins.stays & (splits == 0)] = train
    return splits


def _count_licenses(
    facts: Facts, twins: duplicates.Twins, joined: Mapping[int, list[int]], default: str
) -> dict[str, int]:
    """Returns the number of staying pictures of each licence."""
    licenses = facts.license.copy()
    for first, numbers in joined.items():
        named = [licenses[k] for k in (first, *numbers) if licenses[k]]
        licenses[first] = named[0] if named else 0
    places, counts = np.unique(licenses[twins.stays], return_counts=True)
    found: Counter[str] = Counter()
    for place, count in zip(places.tolist(), counts.tolist(), strict=True):
        found[facts.licenses[place] or default or "unknown"] += count
    return dict(sorted(found.items()))


def _write_rejects(
    output: pathlib.Path,
    facts: Facts,
    beside: Files,
    twins: duplicates.Twins,
    joined: Mapping[int, list[int]],
) -> Counter[str]:
    """Writes and counts every picture that is left out, part by part."""
    counts: Counter[str] = Counter()
    left_out = ~twins.stays
    left_out[[number for numbers in joined.values() for number in numbers]] = False
    with files.replacing(output / REJECTS) as partial, partial.open("w", encoding="utf-8") as file:
        for part in range(len(facts.starts) - 1):
            for line in beside.rejects(part):
                counts[json.loads(line)["reason"]] += 1
                file.write(f"{line}\n")
            start, stop = facts.starts[part : part + 2].tolist()
            for number in (start + np.flatnonzero(left_out[start:stop])).tolist():
                reason, detail = _why(number, twins, beside)
                counts[reason] += 1
                file.write(f"{reject_line(beside.key(number), reason, detail)}\n")
    return counts


def _why(number: int, twins: duplicates.Twins, beside: Files) -> tuple[Reason, str]:
    """Returns why a picture that passed is left out, and in place of which other one."""
    twin = int(twins.of[number])
    if number not in twins.differences:
        return Reason.DUPLICATE, f"of {beside.key(twin)!r}, which {_MOST_JOINED} are joined to"
    differ = set(beside.captions(number)) != set(beside.captions(twin))
    said = "; their captions differ" if differ else ""
    off = f"the largest difference is {twins.differences[number]:.1f} of 255"
    return Reason.NEAR_DUPLICATE, f"of {beside.key(twin)!r}: {off}{said}"


def _write_shards(
    output: pathlib.Path,
    facts: Facts,
    splits: np.ndarray,
    joined: Mapping[int, list[int]],
    settings: Settings,
    workers: int,
) -> dict[str, tuple[Shard, ...]]:
    """Cuts what is kept into shards and writes them."""
    tasks = []
    for split in Split:
        numbers = np.flatnonzero(splits == SPLITS.index(split))
        for place, chosen in enumerate(_cut(numbers, facts.size, settings.shard_bytes)):
            path = output / f"{split}-{place:05d}{records.SUFFIX}"
            tasks.append((path, _choose(chosen, facts, joined), settings.license))
    sizes = [len(chosen.places) for _, chosen, _ in tasks]
    written = processes.run(workers, _write_shard, tasks, "pictures written", sizes)
    shards: dict[str, tuple[Shard, ...]] = {split.value: () for split in Split}
    for shard in written:
        shards[shard.name.split("-")[0]] += (shard,)
    return shards


def _cut(numbers: np.ndarray, size: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yields numbers of pictures, cut where their files would exceed so many bytes together."""
    start, held = 0, 0
    for place, number in enumerate(numbers.tolist()):
        if place > start and held + size[number] > most:
            yield numbers[start:place]
            start, held = place, 0
        held += int(size[number])
    if len(numbers):
        yield numbers[start:]


def _choose(numbers: np.ndarray, facts: Facts, joined: Mapping[int, list[int]]) -> _Chosen:
    def places(of: Sequence[int]) -> np.ndarray:
        return np.array([facts.place(number) for number in of], np.int64).reshape(-1, 2)

    each = numbers.tolist()
    more = {place: places(joined[k]) for place, k in enumerate(each) if k in joined}
    parts = np.unique(np.concatenate([places(each), *more.values()])[:, 0]).tolist()
    return _Chosen(places(each), more, {part: facts.count(part) for part in parts})


def _write_shard(path: pathlib.Path, chosen: _Chosen, license_: str) -> Shard:
    if path.exists():
        return records.describe_shard(path, len(chosen.places))
    work = path.parent / WORK

    @functools.lru_cache(_OPEN_PARTS)
    def part(number: int) -> records.ShardReader:
        return records.ShardReader(_part_path(work, number), chosen.counts[number])

    def read() -> Iterator[Record]:
        for place, first in enumerate(chosen.places.tolist()):
            more = chosen.joined.get(place, np.empty((0, 2))).tolist()
            yield merge([part(number)[k] for number, k in (first, *more)], license_)

    return records.write_shard(path, read())
