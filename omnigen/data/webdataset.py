# SPDX-License-Identifier: Apache-2.0
"""Samples of WebDataset tars: files that share their name up to the first dot.

A tar is indexed by its headers alone. What is damaged is passed over, and what follows is found
again, since headers have checksums and lie at multiples of 512 bytes.
"""

import dataclasses
import os
import pathlib
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
    samples: dict[str, dict[str, Member]] = {}
    latest: dict[str, str] = {}
    damage, end = "", 0
    with path.open("rb") as file:
        try:
            with tarfile.open(path, "r:", ignore_zeros=True) as tar:
                while info := _next(tar):
                    damage = damage or _between(file, end, info.offset)
                    end = tar.offset
                    tar.members = []  # type: ignore[attr-defined]  # or it keeps every header
                    if info.isreg():
                        _add(samples, latest, info)
        except tarfile.TarError as error:
            raise ValueError(f"{path} is no tar archive ({error})") from error
        size = os.fstat(file.fileno()).st_size
        damage = damage or _between(file, end, size)
    if damage and not end:
        raise ValueError(f"{path} is no tar archive ({damage})")
    if not damage and end <= size < end + tarfile.BLOCKSIZE:
        damage = f"no end of the archive at byte {end}"
    found = {key: tuple(members.values()) for key, members in samples.items()}
    return Index(found, damage)


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next file, or nothing at the end, also where that is in the middle of a file."""
    try:
        return tar.next()
    except tarfile.ReadError:
        return None


def _add(
    samples: dict[str, dict[str, Member]], latest: dict[str, str], info: tarfile.TarInfo
) -> None:
    folder, _, name = info.name.rpartition("/")
    stem, dot, suffix = name.partition(".")
    if not (stem and dot):
        return
    name = (f"{folder}/{stem}" if folder else stem).removeprefix("./")
    member = Member(f".{suffix.lower()}", info.offset_data, info.size)
    key, number = latest.get(name, name), 1
    while member.suffix in samples.get(key, {}):
        number += 1
        key = f"{name}#{number}"
    latest[name] = key
    samples.setdefault(key, {})[member.suffix] = member


def _between(file: BinaryIO, start: int, stop: int) -> str:
    """What is wrong with the bytes between two files of a tar, which should be zeros."""
    file.seek(start)
    for begin in range(start, stop, _AT_ONCE):
        data = file.read(min(_AT_ONCE, stop - begin))
        if data.strip(b"\0") and not (begin == start and data[_TYPE] == _GLOBAL):
            return f"damaged between bytes {start} and {stop}"
    return ""
