# SPDX-License-Identifier: Apache-2.0
"""Samples of WebDataset tars: pictures and the texts that go with them by their names.

A tar is indexed by its headers alone. What is damaged, or declares more than the tar has, is passed
over, and what follows is found again, since headers have checksums and lie at multiples of 512
bytes.
"""

import dataclasses
import os
import pathlib
import posixpath
import tarfile
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from omnigen import files
from omnigen.data.corpus import fields, names, reading
from omnigen.data.corpus.records import Raw, Reason, Rejected

_TYPE, _GLOBAL = slice(156, 157), b"g"  # of a header, and what one about the whole tar has there
_AT_ONCE = 1 << 20  # bytes
_MOST_HEADERS = 1 << 20  # bytes of the headers of one file; they hold its name and notes


@dataclasses.dataclass(frozen=True)
class Member:
    """A file inside a tar.

    Attributes:
        name: Name with its folders.
        offset: Offset of its first byte.
        size: Size in bytes.
        wrong: Why it cannot be read; empty if nothing is known against it.
    """

    name: str
    offset: int
    size: int
    wrong: str = ""


@dataclasses.dataclass(frozen=True)
class Sample:
    """A picture of a tar and the texts about it.

    Attributes:
        key: Name of the sample, unique within the tar.
        picture: File of the picture; None if the sample has none.
        text: File of its caption, if there is one.
        json: File of its fields, if there are any.
        is_second: As in `names.Sample`.
        beside: Names of other files of the sample.
    """

    key: str
    picture: Member | None = None
    text: Member | None = None
    json: Member | None = None
    is_second: bool = False
    beside: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Index:
    """The contents of a tar.

    Attributes:
        samples: Files of each sample by key, in their order.
        damage: What is wrong with the tar; empty if nothing is.
    """

    samples: dict[str, tuple[Member, ...]]
    damage: str


def samples_of(index: Index) -> list[Sample]:
    """Returns all pictures of a tar in their order, and the samples without any."""
    return [one for key, members in index.samples.items() for one in _pictures(key, members)]


def _pictures(key: str, members: Sequence[Member]) -> list[Sample]:
    """Returns the pictures of a sample with their texts, or one `Sample` without a picture."""
    by_name = {member.name: member for member in members}
    found = []
    for one in names.choose(list(by_name)):
        own = one.key + _number(key)
        texts = [by_name.get(name) for name in (one.text, one.json)]
        found.append(
            Sample(own, by_name[one.picture], *texts, is_second=one.is_second, beside=one.beside)
        )
    return found or [Sample(key, beside=tuple(by_name))]


def _number(key: str) -> str:
    """Returns the end of a key, made by `_Found`, that tells apart samples of one name."""
    _, mark, number = key.rpartition("#")
    return mark + number if mark and number.isdecimal() else ""


def read_sample(file: int, sample: Sample, split: str = "") -> Raw:
    """Reads a picture of a tar, given by its descriptor, which threads may share.

    Args:
        file: Descriptor of the tar.
        sample: Sample to read.
        split: Split of the picture, unless its JSON names another.
    """
    image: bytes | Rejected
    said: dict[str, Any] = {}
    kinds = ((names.TEXTS[0], sample.text), (names.JSON, sample.json))
    try:
        if sample.picture is None:
            raise Rejected(Reason.MISSING, f"no picture among {', '.join(sample.beside[:9])}")
        if sample.is_second:
            raise _second(sample.picture.name)
        texts = {kind: _read(file, member, is_picture=False) for kind, member in kinds if member}
        said = fields.beside(texts)
        image = _read(file, sample.picture, is_picture=True)
    except Rejected as rejected:
        image = rejected
    note = fields.named("beside it", said or sample.beside)
    return fields.raw(sample.key, image, [said], split=split, note=note)


def _second(name: str) -> Rejected:
    if names.split_suffix(name)[1] in files.FOREIGN_PICTURES:
        return Rejected(Reason.FORMAT, name)
    return Rejected(Reason.DUPLICATE, f"{name}: a second picture of the sample, without a text")


def _read(file: int, member: Member, *, is_picture: bool) -> bytes:
    if member.wrong:
        raise Rejected(Reason.DAMAGED, f"{member.name}: {member.wrong}")
    return reading.span(file, member.name, member.offset, member.size, is_picture=is_picture)


def index_tar(path: pathlib.Path, tell: Callable[[int], None] = lambda _: None) -> Index:
    """Finds the samples of a tar; it may be damaged, or end early.

    A second file of the same name begins another sample, NAME#2.

    Args:
        path: Path of the tar.
        tell: Gets the number of bytes that were passed since its last call.

    Raises:
        OSError: If the tar cannot be read.
        ValueError: If it is no tar, or no regular file.
    """
    found = _Found()
    with files.open_regular(path) as file, files.open_regular(path) as beside:
        size = os.fstat(file.fileno()).st_size
        damage, end = "", 0
        with _open(file, path, size) as tar:
            while info := _next(tar, size):
                damage = damage or _between(beside, end, info.offset)
                wrong = _wrong(info, tar.offset, size)
                found.add(info, wrong)
                if wrong:  # what it declares is not believed: the next header may be anywhere
                    _go_to(tar, min(info.offset_data, size))
                damage = damage or (wrong and f"{info.name}: {wrong}")
                tell(tar.offset - end)
                end = tar.offset
                tar.members = []  # type: ignore[attr-defined]  # or it keeps every header
        damage = damage or _between(beside, end, size)
    if damage and not end:
        raise ValueError(f"{path} is no tar archive ({damage})")
    if not damage and size < end + tarfile.BLOCKSIZE:
        damage = f"no end of the archive at byte {min(end, size)}"
    return Index({key: tuple(one.values()) for key, one in found.samples.items()}, damage)


def _wrong(info: tarfile.TarInfo, end: int, size: int) -> str:
    """Returns what a file's header declares that the tar of `size` bytes cannot hold."""
    if info.issparse():
        return "sparse files in tars are not read"
    declared = info.size if info.isreg() else 0
    if declared < 0 or not info.offset_data <= end:
        return f"its header declares {declared} bytes"
    if info.offset_data + declared > size:
        left = size - info.offset_data
        return f"its header declares {declared} bytes where the tar ends after {left}"
    return ""


class _EndlessError(tarfile.ReadError):
    """Raised when the headers of one file want more memory than honest ones."""


class _Bounded:
    """A tar as `tarfile` sees it, which reads as much as a header declares."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, _MOST_HEADERS
        self.begun: int | None = None  # where the headers of the member at hand begin

    def begin(self, offset: int) -> None:
        """Announces the headers of another member."""
        self._left, self.begun = _MOST_HEADERS, offset

    def read(self, size: int) -> bytes:
        self._left -= size
        if size < 0 or self._left < 0:
            raise _EndlessError(f"headers of more than {_MOST_HEADERS} bytes")
        return self._file.read(size)

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


class _Header(tarfile.TarInfo):
    """Tells the file where the headers of a member begin; those within come by the same way."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> "tarfile.TarInfo":
        bounded: Any = tarfile.fileobj
        if bounded.tell() != tarfile.offset:
            return super().fromtarfile(tarfile)
        bounded.begin(tarfile.offset)
        try:
            return super().fromtarfile(tarfile)
        except _HeaderError as error:  # which `tarfile` takes for one of the first block
            if bounded.tell() > tarfile.offset + _BLOCK:
                raise _SecondError(str(error)) from error
            raise


class _SecondError(tarfile.ReadError):
    """Raised when what follows the first header of a member is wrong."""


_HeaderError, _BLOCK = tarfile.HeaderError, tarfile.BLOCKSIZE
# Whatever one header raises: `tarfile` takes numbers, and lists of them, on trust.
_BROKEN = (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError, OSError)


def _open(file: BinaryIO, path: pathlib.Path, size: int) -> tarfile.TarFile:
    """Opens a tar at the first header that is whole."""
    start, why = 0, ""
    while start < max(size, 1):
        file.seek(start)
        bounded: Any = _Bounded(file)
        try:
            return tarfile.open(fileobj=bounded, mode="r:", ignore_zeros=True, tarinfo=_Header)
        except _BROKEN as error:
            start, why = _after(error, start, file.tell()), str(error)
    raise ValueError(f"{path} is no tar archive ({why})")


def _next(tar: tarfile.TarFile, size: int) -> tarfile.TarInfo | None:
    """Returns the next file whose headers are whole, or None at the end."""
    bounded: Any = tar.fileobj
    while True:
        bounded.begun = None
        try:
            return tar.next()
        except _BROKEN as error:  # of the second header of a file, or the end within a file
            begun = tar.offset if bounded.begun is None else bounded.begun
            after = _after(error, begun, bounded.tell())
            if after >= size:
                return None
            _go_to(tar, after)


def _after(error: Exception, start: int, read: int) -> int:
    """Returns where to look for the next header.

    That is the next block, or the place after headers without an end.
    """
    is_endless = isinstance(error, _EndlessError | RecursionError)
    return max(start + tarfile.BLOCKSIZE, read if is_endless else 0)


def _go_to(tar: tarfile.TarFile, offset: int) -> None:
    assert tar.fileobj is not None
    tar.offset = offset
    tar.fileobj.seek(offset)


class _Found:
    """Samples by key, and the state of finding them."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, Member]] = {}
        self._latest: dict[str, tuple[str, int]] = {}
        self._places: dict[str, tuple[int, int, str]] = {}

    def add(self, info: tarfile.TarInfo, wrong: str) -> None:
        """Adds a file, or a link to one that came before."""
        if info.isreg():
            place = self._places[info.name] = (info.offset_data, max(info.size, 0), wrong)
        elif info.islnk() or info.issym():
            folder = posixpath.dirname(info.name) if info.issym() else ""
            target = posixpath.normpath(posixpath.join(folder, info.linkname))
            place = self._places.get(info.linkname) or self._places.get(target)
        else:
            place = (0, 0, "no regular file") if _is_picture(info.name) else None
        name = names.parse(info.name)
        if not (place and name):
            return
        member = Member(info.name, *place)
        key, number = self._latest.get(name.key, (name.key, 1))
        if info.name in self.samples.get(key, {}):
            number += 1
            key = f"{name.key}#{number}"
        self._latest[name.key] = key, number
        self.samples.setdefault(key, {})[info.name] = member


def _is_picture(name: str) -> bool:
    return names.split_suffix(name)[1] in names.PICTURES


def _between(file: BinaryIO, start: int, stop: int) -> str:
    """Returns what is wrong with the bytes between two files of a tar, which should be zeros."""
    file.seek(start)
    for begin in range(start, stop, _AT_ONCE):
        data = file.read(min(_AT_ONCE, stop - begin))
        zeros = len(data) - len(data.lstrip(b"\0"))
        header = data[zeros // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE :]
        if zeros < len(data) and header[_TYPE] != _GLOBAL:
            return f"damaged between bytes {start} and {stop}"
    return ""
