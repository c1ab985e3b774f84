# SPDX-License-Identifier: Apache-2.0
"""A prepared corpus: captioned pictures in ArrayRecord shards, and a manifest that describes them.

    DIR/manifest.json                 what is in the shards, where it came from, what was left out
    DIR/train-00000.arrayrecord ...   records, in the order of the input
    DIR/test-00000.arrayrecord ...    those that are never trained on

A record is framed by itself: magic, CRC-32 of all that follows, its number in the shard, the
lengths of its two parts; then a JSON header and the encoded picture, byte for byte. ArrayRecord
finds a record in one seek and notices flipped bits, but refuses a file whose end is missing. The
frames make such a file readable: shards hold one uncompressed record a chunk, so that a scan for
frames finds every sound record, and its number says which one it is.
"""

import bisect
import contextlib
import dataclasses
import enum
import errno
import functools
import hashlib
import json
import pathlib
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from omnigen import files
from omnigen.data.corpus import frames
from omnigen.data.corpus.split import Split

T = TypeVar("T")

FORMAT = 1
MANIFEST = "manifest.json"
SUFFIX = ".arrayrecord"
PARTIAL = ".partial"  # of files that are being written, or were when their writer was killed
TEST_FRACTION = 0.01  # of pictures that are never trained on, by default

_OPTIONS = "group_size:1,uncompressed"
_MOST_UNPACKED = 1 << 27  # bytes of a chunk of a stranger
_MOST_MANIFEST = 1 << 26
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
_OPEN_SHARDS = 256  # open at a time, well below the usual limit on open files


class Reason(enum.StrEnum):
    """Why a picture is left out."""

    MISSING = "no such file"
    SPECIAL = "no regular file"
    LARGE = "file too large"
    EMPTY = "empty file"
    FORMAT = "format not allowed"
    ANIMATED = "animated"
    PIXELS = "too many pixels"
    DAMAGED = "damaged picture"
    MEMORY = "not enough memory"
    RECORD = "damaged record"
    SMALL = "too small"
    ASPECT = "too elongated"
    NO_CAPTION = "no caption"
    TEXT = "unreadable text"
    LONG_CAPTION = "caption too long"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near duplicate"


class Rejected(Exception):
    """Raised for a picture or record that cannot be used.

    Attributes:
        reason: Reason under which it is counted.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        """Keeps the reason; the detail is for people."""
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Record:
    """A captioned picture.

    Attributes:
        key: Name of the picture, unique within its corpus.
        image: Bytes of the encoded file.
        width: Width of the upright picture in pixels.
        height: Height of the upright picture in pixels.
        captions: Any number of captions, each of the whole picture.
        attributes: Further facts, such as `license`, `attribution` and `source`.
    """

    key: str
    image: bytes
    width: int
    height: int
    captions: tuple[str, ...] = ()
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def pack(self, number: int) -> bytes:
        """Returns the framed bytes of the record, number `number` of its shard."""
        fields = {
            "key": self.key,
            "width": self.width,
            "height": self.height,
            "captions": list(self.captions),
            "attributes": dict(self.attributes),
        }
        header = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )
        start = frames.FRAME.pack(b"", 0, number, len(header), len(self.image))
        body = start[8:] + header + self.image
        return frames.MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


@dataclasses.dataclass(frozen=True)
class Raw:
    """A picture as it was found in some input.

    Attributes:
        key: Name of the picture, unique within the input.
        image: Bytes of the file, or why it could not be read.
        captions: Captions as they were found, of any length.
        attributes: As in `Record`.
        split: Split that the input names, one of `Split`; empty if it names none.
        note: Where its captions were looked for, if it has none.
    """

    key: str
    image: bytes | Rejected
    captions: tuple[str, ...]
    attributes: Mapping[str, str]
    split: str = ""
    note: str = ""


def unpack(frame: bytes) -> Record:
    """Reads what `Record.pack` wrote.

    Raises:
        Rejected: If it is not a whole and sound frame.
    """
    size = frames.frame_size(frame, 0)
    if not size or size != len(frame):
        raise Rejected(Reason.RECORD, "not a frame")
    begin = frames.FRAME.size + frames.FRAME.unpack_from(frame)[3]
    fields = json.loads(frame[frames.FRAME.size : begin].decode("utf-8", "surrogatepass"))
    captions = tuple(fields.pop("captions"))
    return Record(**fields, captions=captions, image=frame[begin:])


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of records.

    Attributes:
        name: Name of the file in its folder.
        count: Number of records.
        size: Size in bytes.
        sha256: SHA-256 of the file.
    """

    name: str
    count: int
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a corpus holds.

    Attributes:
        splits: Shards of each split.
        rejects: Number of pictures left out, by reason.
        licenses: Number of records, by licence.
        settings: Settings that the corpus was prepared with.
        joined: Number of pictures whose captions went to an equal picture.
        format: Version of this description.
    """

    splits: Mapping[str, tuple[Shard, ...]]
    rejects: Mapping[str, int]
    licenses: Mapping[str, int]
    settings: Mapping[str, Any]
    joined: int = 0
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """A digest of all records: equal for equal corpora, wherever they lie."""
        shards = [[split, s.name, s.sha256] for split, all_ in self.splits.items() for s in all_]
        return hashlib.sha256(json.dumps(sorted(shards)).encode()).hexdigest()

    def count(self, split: str) -> int:
        """Returns the number of records of a split."""
        return sum(shard.count for shard in self.splits.get(split, ()))

    def write(self, folder: pathlib.Path) -> None:
        """Writes the manifest, at once or not at all: a folder with one is a whole corpus."""
        fields = {**dataclasses.asdict(self), "digest": self.digest}
        text = json.dumps(fields, indent=1)  # in ASCII, as paths may be no Unicode
        files.write(folder / MANIFEST, text + "\n")

    @classmethod
    def read(cls, folder: str | pathlib.Path) -> "Manifest":
        """Reads the manifest of a folder.

        Raises:
            ValueError: If there is none, or it is not one of ours.
        """
        path = pathlib.Path(folder) / MANIFEST
        try:
            fields = json.loads(files.read(path, most=_MOST_MANIFEST))
            if fields["format"] != FORMAT:
                raise ValueError(f"format {fields['format']} instead of {FORMAT}")
            fields.pop("digest")
            splits = {
                name: tuple(Shard(**shard) for shard in shards)
                for name, shards in fields.pop("splits").items()
            }
            return cls(splits=splits, **fields)
        except _UNREADABLE as error:
            there = pathlib.Path(folder).is_dir()
            what = f"{type(error).__name__}: {error}" if there else "no such folder"
            raise ValueError(
                f"{str(folder)!r} is no prepared corpus ({what}); "
                "make one with python -m omnigen.data.prepare"
            ) from error


def is_corpus(folder: pathlib.Path) -> bool:
    """Returns whether a folder has a manifest, and one of ours."""
    try:
        fields = json.loads(files.read(folder / MANIFEST, most=_MOST_MANIFEST))
    except _UNREADABLE:
        return False
    return isinstance(fields, dict) and {"format", "splits"} <= set(fields)


def partial(path: pathlib.Path) -> pathlib.Path:
    """Returns a path to write a file at before it appears; each writer has its own."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")


def write_shard(path: pathlib.Path, records: Iterable[Record]) -> Shard:
    """Writes a file of records, at once or not at all; the same records give the same bytes.

    Raises:
        OSError: If the file cannot be written, for lack of room, say.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    partial_ = partial(path)
    try:
        with _told(path):
            writer = ArrayRecordWriter(str(partial_), _OPTIONS)
        count = 0
        for record in records:
            frame = record.pack(count)
            with _told(path):
                writer.write(frame)
            count += 1
        with _told(path):
            writer.close()
        shard = describe_shard(partial_, count)
        partial_.replace(path)
    except Exception:
        partial_.unlink(missing_ok=True)
        raise
    return dataclasses.replace(shard, name=path.name)


@contextlib.contextmanager
def _told(path: pathlib.Path) -> Iterator[None]:
    """Turns what ArrayRecord raises when it cannot write into an OSError."""
    try:
        yield
    except RuntimeError as error:
        why = str(error).partition(";")[0]
        raise OSError(errno.EIO, f"cannot be written: {why}", str(path)) from error


def describe_shard(path: pathlib.Path, count: int) -> Shard:
    """Describes an existing file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Shard(path.name, count, path.stat().st_size, digest)


def count_records(path: pathlib.Path) -> int:
    """Returns the number of records of a stranger's file, or of a damaged one's at least.

    Raises:
        OSError: If the file cannot be read.
        Rejected: If the file unpacks to too much.
    """
    if not are_chunks_sound(path):
        return max(frames.scan(path), default=-1) + 1
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")
    if reader.ok() and reader.num_records():
        return reader.num_records()
    return max(frames.scan(path), default=-1) + 1


def are_chunks_sound(path: pathlib.Path) -> bool:
    """Returns whether the chunks of a file lie end to end.

    Raises:
        OSError: If the file cannot be read.
        Rejected: If a chunk unpacks to more than any of our records would.
    """
    unpacked = frames.unpacked(path)
    if unpacked is not None and unpacked > (most := _MOST_UNPACKED):
        text = f"a chunk of {path.name} unpacks to {unpacked} bytes; allowed: up to {most}"
        raise Rejected(Reason.LARGE, text)
    return unpacked is not None


class ShardReader:
    """Records of one file by number, as many as can still be read."""

    def __init__(self, path: pathlib.Path, count: int, *, of_stranger: bool = False) -> None:
        """Opens the file.

        Args:
            path: Path of the file.
            count: Number of records that it should hold.
            of_stranger: Whether the file is untrusted, so that its sizes are checked first.

        Raises:
            Rejected: If the file is a stranger's and unpacks to too much.
        """
        from array_record.python.array_record_module import ArrayRecordReader

        self._path = path
        self._reader: Any = None
        self._spans: dict[int, range] = {}
        if of_stranger and path.is_file() and not are_chunks_sound(path):
            self._spans = frames.scan(path)
        elif path.is_file():
            reader = ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")
            if reader.ok() and reader.num_records() == count:
                self._reader = reader
            else:
                self._spans = frames.scan(path)

    def __getitem__(self, number: int) -> Record:
        """Reads a record.

        Raises:
            Rejected: If the record is damaged or missing.
        """
        if self._reader is None:
            if number not in self._spans:
                raise Rejected(Reason.RECORD, f"{self._path.name} has lost number {number}")
            return unpack(frames.read(self._path, self._spans[number]))
        try:
            frame = self._reader.read([number])[0]
        except RuntimeError as error:
            raise Rejected(Reason.RECORD, str(error)) from error
        return unpack(frame)


def rank(key: str) -> float:
    """Returns a hash of a key in [0, 1); the pictures that rank lowest are for the test."""
    return (
        int(hashlib.sha256(f"test/{key}".encode("utf-8", "surrogatepass")).hexdigest()[:12], 16)
        / 16**12
    )


class Records(Protocol):
    """Captioned pictures by index, wherever they lie.

    Attributes:
        folder: Name of the place, for people.
    """

    folder: pathlib.Path

    @property
    def digest(self) -> str:
        """A digest that changes with every picture, of this and of other splits."""
        ...

    @property
    def held_out(self) -> int:
        """The number of pictures that are never trained on."""
        ...

    def __len__(self) -> int:
        """Returns the number of pictures of the split."""
        ...

    def __getitem__(self, index: int) -> Record:
        """Reads a record; may raise `Rejected`."""
        ...


def spread(corpus: Records, count: int, use: Callable[[Record], T]) -> list[T]:
    """Returns what `use` makes of records at equal distances.

    Where it rejects a record, the one after it is taken.

    Args:
        corpus: Records to choose from.
        count: Number of results; all records of a corpus that has no more.
        use: Makes a result of a record; may raise `Rejected`.

    Returns:
        At most `count` things; the same ones every time.
    """
    count, found = min(count, len(corpus)), []
    for place in range(count):
        for index in range(place * len(corpus) // count, (place + 1) * len(corpus) // count):
            try:
                found.append(use(corpus[index]))
            except Rejected:
                continue
            break
    return found


class Corpus:
    """The records of one split of a prepared corpus, by index.

    Attributes:
        folder: Folder of the corpus.
        split: Split of the records.
        manifest: Manifest of the whole corpus.
    """

    def __init__(self, folder: str | pathlib.Path, split: Split = Split.TRAIN) -> None:
        """Reads the manifest; files are opened when they are needed.

        Raises:
            ValueError: If the folder is no prepared corpus.
        """
        self.folder, self.split = pathlib.Path(folder), split
        self.manifest = Manifest.read(folder)
        self._shards = list(self.manifest.splits.get(split, ()))
        self._paths = [self.folder / shard.name for shard in self._shards]
        self._starts = [0]
        for shard in self._shards:
            self._starts.append(self._starts[-1] + shard.count)

    @property
    def digest(self) -> str:
        """A digest of all records."""
        return self.manifest.digest

    @property
    def held_out(self) -> int:
        """The number of pictures that are never trained on."""
        return self.manifest.count(Split.TEST)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Record:
        """Reads a record.

        Raises:
            Rejected: If the record is damaged or missing.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect.bisect_right(self._starts, index) - 1
        shard = _open_shard(self._paths[number], self._shards[number])
        return shard[index - self._starts[number]]


@functools.lru_cache(_OPEN_SHARDS)
def _open_shard(path: pathlib.Path, shard: Shard) -> ShardReader:
    return ShardReader(path, shard.count)  # others may have lain there before
