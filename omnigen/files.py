# SPDX-License-Identifier: Apache-2.0
"""The one door for files that strangers made, and the one way to list, lock and replace files.

A path that a user names may be a pipe that never ends, a device, or a file of 40 GB. So a file is
looked at before it is opened, and its size is known before its bytes are read.
"""

import contextlib
import fcntl
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import BinaryIO

PICTURES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jif",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".dib",
    ".gif",
)
"""Suffixes of the pictures that are read, in small letters."""

FOREIGN_PICTURES = (
    ".apng",
    ".avif",
    ".cr2",
    ".dng",
    ".eps",
    ".exr",
    ".hdr",
    ".heic",
    ".heif",
    ".icns",
    ".ico",
    ".jp2",
    ".jxl",
    ".nef",
    ".pbm",
    ".pcx",
    ".pgm",
    ".ppm",
    ".psd",
    ".qoi",
    ".svg",
    ".tga",
    ".tif",
    ".tiff",
)
"""Suffixes of pictures that are never decoded; a user is told of each such file."""

MOST_PICTURE_BYTES = 1 << 26
"""Largest size of a picture file; with as many pixels as are decoded, it seldom has half of it."""

MOST_TEXT_BYTES = 1 << 22
"""Largest size of a text beside a picture, or of a JSON file of a few settings."""

LOCK = ".lock"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
}

Stamp = tuple[int, int] | None


class UnfitFileError(ValueError):
    """Raised when a path names something that must not be opened or is too large."""


class LargeFileError(UnfitFileError):
    """Raised for a file that is larger than what may be read."""


class LockedError(ValueError):
    """Raised when another process works in the folder."""


def check_regular(path: pathlib.Path, *, follow: bool = True) -> os.stat_result:
    """Returns the status of a regular file without opening it.

    Args:
        path: Path of the file.
        follow: Whether the file may be a symbolic link to a regular file.

    Raises:
        OSError: If there is no such file, or it cannot be reached.
        UnfitFileError: If it is a folder, pipe, socket, device, or a link that is not followed.
    """
    status = path.stat() if follow else path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise UnfitFileError(f"{path} is {kind(status)}; allowed: regular files")
    return status


def kind(status: os.stat_result) -> str:
    """Names the kind of an entry of a folder that is no regular file, such as "a pipe"."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "a special file")


def has_hole(path: pathlib.Path, status: os.stat_result) -> bool:
    """Returns whether a regular file has a hole: zeros that take no room on the disk.

    Disks that compress also give files less room than they have bytes, so that the system is asked
    for the place of a hole. Where it does not know, there is none.

    Args:
        path: Path of the file, which is not followed if it is a link.
        status: Status of the file.

    Raises:
        OSError: If the file cannot be opened.
    """
    if status.st_blocks * 512 >= status.st_size:
        return False
    with open_regular(path, follow=False) as file:
        try:
            return os.lseek(file.fileno(), 0, os.SEEK_HOLE) < status.st_size
        except OSError:
            return False


def stamp(path: pathlib.Path | None) -> Stamp:
    """Returns size and time of a file, which tell whether it changed; None if there is none."""
    try:
        stat = path.stat() if path else None
    except (OSError, ValueError):
        return None
    return stat and (stat.st_size, stat.st_mtime_ns)


def open_regular(path: pathlib.Path, *, most: int | None = None, follow: bool = True) -> BinaryIO:
    """Opens a regular file to read; see `check_regular`.

    Args:
        path: Path of the file.
        most: Largest size in bytes; None for no limit.
        follow: Whether the file may be a symbolic link to a regular file.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        UnfitFileError: If it is no regular file.
        LargeFileError: If it is larger than `most`.
    """
    check_regular(path, follow=follow)
    # It may have been exchanged since: without O_NONBLOCK, opening a pipe would wait for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    file = open(os.open(path, flags), "rb")
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnfitFileError(f"{path} is no longer a regular file")
        if most is not None and status.st_size > most:
            raise LargeFileError(f"{path} has {status.st_size} bytes; allowed: up to {most}")
    except BaseException:
        file.close()
        raise
    return file


def read(path: pathlib.Path, *, most: int, follow: bool = True) -> bytes:
    """Reads the bytes of a regular file of at most `most` bytes; see `open_regular`.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        UnfitFileError: If it is no regular file.
        LargeFileError: If it is larger than `most`, even if it grew only meanwhile.
    """
    with open_regular(path, most=most, follow=follow) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise LargeFileError(f"{path} grew to more than {most} bytes while it was read")
    return data


def is_hidden(name: str) -> bool:
    """Returns whether a name is that of no input, such as `._a.jpg` or `.DS_Store`."""
    return name.startswith(".")


def walk(folder: pathlib.Path, suffixes: tuple[str, ...] = ()) -> list[pathlib.Path]:
    """Returns all files in and under a folder, sorted; hidden ones and hidden folders are left out.

    Linked folders are followed, each real folder once. Entries need not be regular files.

    Args:
        folder: Folder to begin at.
        suffixes: Suffixes in small letters; folders whose names end so are returned, too, since
            they look like files.

    Raises:
        OSError: If a folder cannot be read.
    """
    found, seen = [], set()

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        # Sorted, so that of two ways to a folder the same one is taken on every machine.
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        alike = [name for name in folders if name.lower().endswith(suffixes)] if suffixes else []
        found += [pathlib.Path(place, name) for name in names + alike if not is_hidden(name)]
    return sorted(found)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary name beside `path`, which replaces `path` if the block succeeds.

    The temporary name is short and hidden, so that every name that the disk takes can be written.

    Raises:
        OSError: If the file cannot be written or renamed; the error names `path`, also if the disk
            is full.
    """
    partial = path.with_name(f".{os.getpid()}-{id(path):x}.tmp")
    try:
        with naming(path, partial):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: pathlib.Path, text: str, *, follow: bool = False) -> None:
    """Writes a text file in UTF-8, whole or not at all; see `replacing`.

    Args:
        path: Path of the file.
        text: Whole text of the file.
        follow: Whether a link, pipe or device that is there already is written into, as is right
            where a user names it, such as /dev/stdout. Otherwise a regular file replaces it.

    Raises:
        OSError: If the file cannot be written; the error names `path`.
    """
    if follow and path.exists() and not stat.S_ISREG(path.lstat().st_mode):
        with naming(path):
            path.write_text(text, encoding="utf-8")
        return
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def naming(path: pathlib.Path, *others: pathlib.Path) -> Iterator[None]:
    """Names a file in those OSErrors of the block that name none, such as that of a full disk.

    Args:
        path: Path to name.
        others: Names that mean the same to a user, such as a temporary one.
    """
    try:
        yield
    except OSError as error:
        mine = (None, *map(str, others))
        named = error.filename if error.filename is None else str(error.filename)
        if error.errno is None or named not in mine:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def locked(folder: pathlib.Path, *, work: str) -> Iterator[None]:
    """Keeps other processes out of an existing folder as long as the block lasts.

    The system drops the lock when the process dies, however it dies. Where the disk has no locks
    the block runs without one.

    Args:
        folder: Folder to lock, with a hidden file in it for as long as the block lasts.
        work: What is done there, such as "a run", for the message in other processes.

    Raises:
        LockedError: If another process holds the lock; the message names its process ID.
        OSError: If the folder cannot be written.
    """
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 100, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise LockedError(
                f"{folder}: {work} is at work there already ({holder or 'process unknown'})"
            ) from None
        except OSError:  # a disk without locks
            pass
        try:
            is_ours = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except FileNotFoundError:
            is_ours = False
        if is_ours:
            break
        os.close(descriptor)  # its last holder has removed the file meanwhile
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
