# SPDX-License-Identifier: Apache-2.0
"""Samples of WebDataset tars: files that share their name up to the first dot.

A tar is indexed by its headers alone. What is damaged is passed over, and what follows is found
again, since headers have checksums and lie at multiples of 512 bytes.
"""

import dataclasses
import os
import pathlib
import posixpath
import tarfile
from collections.abc import Sequence
from typing import Any, BinaryIO

from omnigen.data import fields
from omnigen.data.records import Raw, Reason, Rejected

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
_TYPE, _GLOBAL = slice(156, 157), b"g"  # of a header, and what one about the whole tar has there
_AT_ONCE = 1 << 20  # bytes


@dataclasses.dataclass(frozen=True)
class Member:
    """A file inside a tar."""

    suffix: str
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class Index:
    """What is in a tar.

    Attributes:
        samples: the files of each sample by key, in their order.
        damage: what is wrong with the tar; empty if nothing is.
    """

    samples: dict[str, tuple[Member, ...]]
    damage: str


def read_sample(file: int, key: str, members: Sequence[Member]) -> Raw:
    """Reads a sample of a tar, given by its descriptor, which threads may share.

    Its picture is the first that it has.
    """
    image: bytes | Rejected = Rejected(Reason.MISSING, "no picture in the sample")
    said: dict[str, Any] = {}
    chosen = {".image" if m.suffix in IMAGES else m.suffix: m for m in reversed(members)}
    try:
        read = {
            kind: _read(file, chosen[kind])
            for kind in (".image", *fields.SIDECARS)
            if kind in chosen
        }
        image = read.pop(".image", image)
        said = fields.beside(read)
    except Rejected as rejected:
        image = rejected
    return Raw(key, image, fields.captions_of(said), fields.attributes_of(said))


def _read(file: int, member: Member) -> bytes:
    data = os.pread(file, member.size, member.offset)
    if len(data) < member.size:
        raise Rejected(Reason.DAMAGED, "the tar ends early")
    return data


def index_tar(path: pathlib.Path) -> Index:
    """Finds the samples of a tar; it may be damaged, or end early.

    A second file of the same name begins another sample, NAME#2.

    Raises:
        ValueError: it is no tar.
    """
    found = _Found()
    damage, end, size = "", 0, path.stat().st_size
    with path.open("rb") as file, path.open("rb") as beside:
        with _open(file, path, size) as tar:
            while info := _next(tar, size):
                damage = damage or _between(beside, end, info.offset)
                end = tar.offset
                tar.members = []  # type: ignore[attr-defined]  # or it keeps every header
                found.add(info)
        damage = damage or _between(beside, end, size)
    if damage and not end:
        raise ValueError(f"{path} is no tar archive ({damage})")
    if not damage and size < end + tarfile.BLOCKSIZE:
        damage = f"no end of the archive at byte {min(end, size)}"
    return Index({key: tuple(one.values()) for key, one in found.samples.items()}, damage)


def _open(file: BinaryIO, path: pathlib.Path, size: int) -> tarfile.TarFile:
    """Opens a tar at the first header that is whole."""
    for start in range(0, max(size, 1), tarfile.BLOCKSIZE):
        file.seek(start)
        try:
            return tarfile.open(fileobj=file, mode="r:", ignore_zeros=True)
        except tarfile.TarError as error:
            why = error
    raise ValueError(f"{path} is no tar archive ({why})")


def _next(tar: tarfile.TarFile, size: int) -> tarfile.TarInfo | None:
    """The next file whose headers are whole; nothing at the end."""
    while True:
        try:
            return tar.next()
        except tarfile.ReadError:  # of the second header of a file, or the end within a file
            if tar.offset + tarfile.BLOCKSIZE >= size:
                return None
            tar.offset += tarfile.BLOCKSIZE
            assert tar.fileobj is not None
            tar.fileobj.seek(tar.offset)


class _Found:
    """Samples by key, and what is needed to go on."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, Member]] = {}
        self._latest: dict[str, tuple[str, int]] = {}
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, info: tarfile.TarInfo) -> None:
        """Adds a file, or a link to one that came before."""
        if info.isreg():
            place = self._places[info.name] = (info.offset_data, info.size)
        elif info.islnk() or info.issym():
            folder = posixpath.dirname(info.name) if info.issym() else ""
            target = posixpath.normpath(posixpath.join(folder, info.linkname))
            place = self._places.get(info.linkname) or self._places.get(target)
        else:
            place = None
        folder, _, name = info.name.rpartition("/")
        stem, dot, suffix = name.partition(".")
        if not (place and stem and dot):
            return
        name = (f"{folder}/{stem}" if folder else stem).removeprefix("./")
        member = Member(f".{suffix.lower()}", *place)
        key, number = self._latest.get(name, (name, 1))
        if member.suffix in self.samples.get(key, {}):
            number += 1
            key = f"{name}#{number}"
        self._latest[name] = key, number
        self.samples.setdefault(key, {})[member.suffix] = member


def _between(file: BinaryIO, start: int, stop: int) -> str:
    """What is wrong with the bytes between two files of a tar, which should be zeros."""
    file.seek(start)
    for begin in range(start, stop, _AT_ONCE):
        data = file.read(min(_AT_ONCE, stop - begin))
        zeros = len(data) - len(data.lstrip(b"\0"))
        header = data[zeros // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE :]
        if zeros < len(data) and header[_TYPE] != _GLOBAL:
            return f"damaged between bytes {start} and {stop}"
    return ""
