# SPDX-License-Identifier: Apache-2.0
"""One file of a stranger: looked at before it is read, and whatever is wrong with it is a reject.

A picture is a regular file, or a span of a tar, of bounded size that begins as one of the allowed
formats does; nothing else of it is read otherwise.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from omnigen import files
from omnigen.data.corpus import pictures
from omnigen.data.corpus.records import Reason, Rejected

_START = 16  # bytes by which formats are told
_LARGE = 1 << 16  # bytes; of a larger span the start is read first


@contextlib.contextmanager
def blamed(name: str) -> Iterator[None]:
    """Makes an error in the block a reject of one file.

    Args:
        name: Name of the file, for errors that do not name it.

    Raises:
        Rejected: Instead of an OSError, MemoryError or ValueError of the block.
    """
    try:
        yield
    except MemoryError as error:
        raise Rejected(Reason.MEMORY, name) from error
    except files.LargeFileError as error:
        raise Rejected(Reason.LARGE, str(error)) from error
    except files.UnfitFileError as error:
        raise Rejected(Reason.SPECIAL, str(error)) from error
    except (OSError, ValueError) as error:  # ValueError: of a name with a NUL
        raise Rejected(Reason.MISSING, str(error)) from error


def picture(path: pathlib.Path) -> bytes:
    """Reads the bytes of a picture's file.

    Raises:
        Rejected: If it is no regular file, too large, or begins like no allowed format.
    """
    with blamed(str(path)), files.open_regular(path, most=files.MOST_PICTURE_BYTES) as file:
        check_start(file.read(_START), path.name)
        file.seek(0)
        return _whole(file, path, files.MOST_PICTURE_BYTES)


def _whole(file: BinaryIO, path: pathlib.Path, most: int) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise files.LargeFileError(f"{path} grew to more than {most} bytes while it was read")
    return data


def text(path: pathlib.Path) -> bytes:
    """Reads the bytes of a text beside a picture.

    Raises:
        Rejected: If it is no regular file, or too large.
    """
    with blamed(str(path)):
        return files.read(path, most=files.MOST_TEXT_BYTES)


def check_start(data: bytes, name: str) -> None:
    """Refuses a picture by its first bytes; an empty one is for the decoder to judge.

    Raises:
        Rejected: If the picture begins like no allowed format.
    """
    if data and not pictures.is_known(data[:_START]):
        raise Rejected(Reason.FORMAT, name)


def span(file: int, name: str, offset: int, size: int, *, is_picture: bool) -> bytes:
    """Reads a file inside another one, such as a tar, given by its descriptor.

    Args:
        file: Descriptor, which threads may share.
        name: Name of the inner file, for messages.
        offset: First byte of the inner file.
        size: Number of bytes.
        is_picture: Whether the limits for pictures apply, rather than those for texts.

    Raises:
        Rejected: If the file is too large, not all there, or begins like no allowed format.
    """
    most = files.MOST_PICTURE_BYTES if is_picture else files.MOST_TEXT_BYTES
    if size > most:
        raise Rejected(Reason.LARGE, f"{name} has {size} bytes; allowed: up to {most}")
    with blamed(name):
        if is_picture and size > _LARGE:
            check_start(os.pread(file, _START, offset), name)
        data = os.pread(file, size, offset)
    if len(data) < size:
        raise Rejected(Reason.DAMAGED, f"{name}: the tar ends early")
    if is_picture:
        check_start(data, name)
    return data
