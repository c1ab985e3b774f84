# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint's folder declares, looked at before any of it is believed.

A checkpoint may be a stranger's, and the libraries that read one trust it: they open what a link
or a pipe leads to, unpack what is compressed, and make room for arrays of whatever shape is
declared. So the folder is walked first, and the index of each item is read entry by entry: in
what file each chunk of each array lies, and how long it is. No array is read or made here.

An item is an OCDBT store: `manifest.ocdbt` names the root of a B-tree whose leaves hold, for each
array, `NAME/.zarray` (JSON: shape, dtype, chunk shape) and its chunks. Tree and manifest are
compressed by zstd, whose frames tell how much they unpack to at most without being unpacked.
"""

import dataclasses
import itertools
import json
import math
import os
import pathlib
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes  # registers bfloat16 with numpy
import numpy as np
import tensorstore as ts

from omnigen import files
from omnigen.cli import printable

MOST_FILES = 50_000  # of one checkpoint; thousands of hosts write a few each
MOST_DEPTH = 8  # folders within folders; an honest checkpoint has four
MOST_BYTES = 16 * 2**20  # of a file that holds no arrays
_MOST_METADATA = 4 * 2**20  # of the list of an item's arrays; a hundred bytes each
_MOST_MANIFEST = 2**16
_MOST_INDEX = 4 * 2**20  # bytes that an item's index may unpack to …
_INDEX_SHARE = 256  # … unless its data files are more than so many times larger
_MOST_TIMES = 1000  # bytes of arrays for each byte of their chunks; zeros are compressed well
_SLACK = 16 * 2**20  # bytes of one array that may be all zeros
_BLOCK = 2**17  # bytes that one block of zstd unpacks to at most
_DATA_FOLDERS = {"d", "ocdbt_data", "ocdbt_meta"}
_KINDS = {"jax.Array", "np.ndarray", "scalar", "None"}
_KEY = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
_PLACE = re.compile(r"(?:btreenode|value):([\w./\-]*):([\w./\-]+):(\d{1,18}):(\d{1,18})")
_CHUNK = re.compile(r"\d+(\.\d+)*")
_DTYPES = {
    "bfloat16": ml_dtypes.bfloat16,
    "<f2": np.float16,
    "<f4": np.float32,
    "<f8": np.float64,
    "|b1": np.bool_,
    **{f"<{kind}{width}": f"{kind}{width}" for kind in "iu" for width in (2, 4, 8)},
    **{f"|{kind}1": f"{kind}1" for kind in "iu"},
}


class DamagedError(ValueError):
    """Raised for a checkpoint that has changed since it was written."""


@dataclasses.dataclass(frozen=True)
class Array:
    """What an item declares about an array; `packed` is the size of its chunks on disk in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    packed: int

    @property
    def nbytes(self) -> int:
        """The size of the array in memory, in bytes."""
        return self.dtype.itemsize * math.prod(self.shape)


def check_folder(folder: pathlib.Path) -> dict[str, int]:
    """Checks that a checkpoint's folder holds folders and regular files alone, opening none.

    The folder itself may be a link: it was named by the user, who knows where it leads.

    Returns:
        The size of each file by its path within the folder.

    Raises:
        DamagedError: If the folder cannot be read, or a file has a hole, as after a power cut.
        ValueError: If there is something else than a file or folder, too many of them, or one too
            large.
    """
    sizes: dict[str, int] = {}
    try:
        for path in _walk(folder):
            name = path.relative_to(folder)
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                _refuse(folder, name, files.kind(status))
            if len(sizes) >= MOST_FILES:
                raise ValueError(f"{folder}: refused: more than {MOST_FILES} files")
            is_data = _DATA_FOLDERS & set(name.parts[:-1])
            if not is_data and status.st_size > MOST_BYTES:
                _refuse(folder, name, f"{status.st_size} bytes large; allowed: up to {MOST_BYTES}")
            if files.has_hole(path, status):
                raise DamagedError(f"{folder}: damaged checkpoint: {_shown(name)} has a hole")
            sizes[name.as_posix()] = status.st_size
    except OSError as error:
        raise DamagedError(f"{folder}: cannot be read: {error.strerror}") from error
    return sizes


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields all entries under a folder that are no folders, without following a link.

    Hidden folders, such as `.git`, are left out: nothing in them is ever read.
    """
    waiting = [(folder, 0)]
    count = 0
    while waiting:
        place, depth = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield pathlib.Path(entry.path)
                    continue
                if files.is_hidden(entry.name):
                    continue
                count += 1
                if depth + 1 >= MOST_DEPTH or count > MOST_FILES:
                    raise ValueError(f"{folder}: refused: too many folders in each other or in all")
                waiting.append((pathlib.Path(entry.path), depth + 1))


def _refuse(folder: pathlib.Path, name: pathlib.PurePath, what: str) -> None:
    raise ValueError(f"{folder}: refused: {_shown(name)} is {what}")


def _shown(name: object) -> str:
    return printable(str(name), most=120)


def read_json(path: pathlib.Path, *, most: int = MOST_BYTES) -> Any:
    """Reads a JSON file of a checkpoint.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ValueError: If it is no regular file, too large, not UTF-8, not JSON, too deep, or has a key
            twice.
    """
    return parse(files.read(path, most=most, follow=False))


def parse(data: bytes) -> Any:
    """Parses JSON with the limits of `read_json`."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("JSON that is too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("JSON with a key twice")
    return found


def survey(folder: pathlib.Path, item: str, sizes: Mapping[str, int]) -> dict[str, Array]:
    """Returns what an item of a checkpoint declares, by path such as `ar/norm/scale`.

    Every array has its chunks, each of them lies within a data file of the item, and no chunk is
    larger than the array. What does not hold arrays, such as None, is left out.

    Args:
        folder: Folder of the checkpoint.
        item: Name of the item.
        sizes: Sizes of files, from `check_folder`.

    Raises:
        DamagedError: If something is missing or unreadable.
        ValueError: If the item holds what no honest checkpoint does.
    """
    try:
        described = read_json(folder / item / "_METADATA", most=_MOST_METADATA)
        entries = list(described["tree_metadata"].values())
        keys = [tuple(str(part["key"]) for part in e["key_metadata"]) for e in entries]
        kinds = [str(entry["value_metadata"]["value_type"]) for entry in entries]
        loose = not described.get("use_ocdbt", True) or described.get("use_zarr3", False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"unreadable metadata of {item}: {error}") from error
    odd = [key for path in keys for key in path if not _KEY.fullmatch(key) or set(key) == {"."}]
    odd += sorted(set(kinds) - _KINDS)
    if odd or loose:
        raise ValueError(f"refused: {item} holds {_shown(repr(odd[0])) if odd else 'loose files'}")
    prefix = f"{item}/"
    index = _Index(
        folder / item, {n.removeprefix(prefix): s for n, s in sizes.items() if n.startswith(prefix)}
    )
    found = {}
    for path, kind in zip(keys, kinds, strict=True):
        if kind != "None":
            found["/".join(path)] = index.array(".".join(path))
    return found


def check_ratio(arrays: Mapping[str, Array]) -> None:
    """Refuses arrays that their chunks cannot hold.

    Raises:
        ValueError: If there are any; the message names the largest array.
    """
    large = {p: a for p, a in arrays.items() if a.nbytes > _SLACK + _MOST_TIMES * a.packed}
    held = sum(array.packed for array in arrays.values())
    if large or sum(array.nbytes for array in arrays.values()) > _MOST_TIMES * held:
        large = large or dict(arrays)
        path = max(large, key=lambda path: large[path].nbytes)
        raise ValueError(
            f"refused: {path} of shape {large[path].shape} does not fit chunks of "
            f"{large[path].packed} bytes"
        )


class _Index:
    """The index of an item: where each chunk lies, by array."""

    def __init__(self, folder: pathlib.Path, sizes: Mapping[str, int]):
        """Reads the index; see `survey`."""
        self._folder, self._sizes = folder, sizes
        held = sum(size for name, size in sizes.items() if _DATA_FOLDERS & set(name.split("/")))
        self._room = max(_MOST_INDEX, held // _INDEX_SHARE)
        self._seen: set[str] = set()
        self._zarray: dict[str, bytes] = {}
        self._chunks: dict[str, list[int]] = {}  # their bytes, by array
        self._taken: dict[str, list[tuple[int, int]]] = {}  # start and stop of entries, by file
        self._base = ts.KvStore.open(f"file://{folder}/").result()
        try:
            manifest = files.read(folder / "manifest.ocdbt", most=_MOST_MANIFEST, follow=False)
            self._unpack(manifest)
            root = ts.ocdbt.dump(self._base).result()["versions"][-1]["root"]
            if "location" in root:
                self._visit(root["location"], b"")
            self._refuse_shared()
        except (OSError, LookupError, TypeError) as error:
            raise DamagedError(f"unreadable index of {folder.name}: {error}") from error
        except ValueError as error:
            if "refused" in str(error):
                raise
            raise DamagedError(f"unreadable index of {folder.name}: {error}") from error

    def _unpack(self, data: bytes) -> None:
        """Charges the most that a part of the index unpacks to against what the index may take."""
        self._room -= max(_unpacked(data), 4096)
        if self._room < 0:
            raise ValueError(f"refused: the index of {self._folder.name} unpacks to too much")

    def _find(self, place: str) -> tuple[str, int, int]:
        """Returns the file, offset and length of a place in the index, within the file."""
        match = _PLACE.fullmatch(place)
        name = match[1] + match[2] if match else ""
        if match is None or name not in self._sizes:
            raise DamagedError(f"{self._folder.name} has no data file {_shown(place)}")
        start, length = int(match[3]), int(match[4])
        if start + length > self._sizes[name]:
            raise DamagedError(f"{self._folder.name}/{name} is too short")
        self._taken.setdefault(name, []).append((start, start + length))
        return name, start, length

    def _refuse_shared(self) -> None:
        """Refuses bytes that several entries name, which would count once for each."""
        for name, taken in self._taken.items():
            for (_, stop), (start, _) in itertools.pairwise(sorted(taken)):
                if start < stop:
                    raise ValueError(f"refused: entries overlap in {self._folder.name}/{name}")

    def _read(self, place: str, *, most: int) -> bytes:
        name, start, length = self._find(place)
        if length > most:
            raise ValueError(f"refused: an entry of {length} bytes in {self._folder.name}")
        with files.open_regular(self._folder / name, follow=False) as file:
            return os.pread(file.fileno(), length, start)

    def _visit(self, place: str, prefix: bytes) -> None:
        """Notes what a node of the tree and those below it hold."""
        if place in self._seen:
            raise ValueError(f"refused: the index of {self._folder.name} goes in a circle")
        self._seen.add(place)
        self._unpack(self._read(place, most=self._room))
        for entry in ts.ocdbt.dump(self._base, place).result()["entries"]:
            key = prefix + entry["key"]
            if "location" in entry:
                self._visit(entry["location"], prefix + entry["subtree_common_prefix"])
                continue
            array, _, name = key.decode().rpartition("/")
            inline, indirect = entry.get("inline_value"), entry.get("indirect_value")
            if name == ".zarray":
                self._zarray[array] = inline or self._read(indirect, most=_MOST_MANIFEST)
            elif _CHUNK.fullmatch(name):
                length = self._find(indirect)[2] if indirect else len(inline)
                self._chunks.setdefault(array, []).append(length)

    def array(self, name: str) -> Array:
        """Returns what is declared about an array."""
        try:
            declared = parse(self._zarray[name])
            shape, chunk = (tuple(map(_side, declared[key])) for key in ("shape", "chunks"))
            dtype = np.dtype(_DTYPES[declared["dtype"]])
            plain = declared["zarr_format"] == 2 and declared["filters"] is None
            packing = declared["compressor"]
            plain = plain and (packing is None or packing["id"] == "zstd")
        except (ValueError, TypeError, LookupError) as error:
            raise DamagedError(f"unreadable shape of {_shown(name)}: {error}") from error
        fits = len(shape) == len(chunk) and all(
            0 < c <= max(1, s) for s, c in zip(shape, chunk, strict=False)
        )
        if not plain or not fits or len(shape) > 32:
            raise ValueError(
                f"refused: {name} of shape {_shown(shape)} is in chunks {_shown(chunk)}"
            )
        wanted = math.prod(-(-s // c) for s, c in zip(shape, chunk, strict=True))
        lengths = self._chunks.get(name, [])
        if len(lengths) != wanted:
            raise DamagedError(f"{name} of shape {shape} has {len(lengths)} of {wanted} chunks")
        return Array(shape, dtype, sum(lengths))


def _side(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**48:
        raise ValueError(f"a side of {_shown(value)}")
    return value


def _unpacked(data: bytes) -> int:
    """Returns the most bytes that a manifest or a node of the tree unpacks to.

    Raises:
        ValueError: If it is neither, or is cut off.
    """
    if len(data) < 20 or int.from_bytes(data[4:12], "little") != len(data):
        raise ValueError("a part of it is cut off")
    version, compression = data[12], data[13]
    if version != 0 or compression not in (0, 1):
        raise ValueError("it is of another version")
    return len(data) if compression == 0 else _unpacked_frame(data[14:-4])


def _unpacked_frame(frame: bytes) -> int:
    """Returns the most bytes that a frame of zstd (RFC 8878) unpacks to, summed over its blocks."""
    flags = frame[4]
    single = flags >> 5 & 1
    place = 5 + (not single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    total, last = 0, False
    while not last:
        header = int.from_bytes(frame[place : place + 3], "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        total += _BLOCK if kind == 2 else size
        place += 3 + (1 if kind == 1 else size)
        if kind == 3 or place > len(frame):
            raise ValueError("a part of it is no zstd")
    return total


def read(folder: pathlib.Path, arrays: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """Reads arrays of an item, by path, in their stored dtypes.

    Args:
        folder: Folder of the item.
        arrays: Arrays that are wanted, as `survey` found them.

    Raises:
        ValueError: If a chunk cannot be read.
    """
    context = ts.Context({"cache_pool#ocdbt": {"total_bytes_limit": 10**8}})
    base = {"driver": "ocdbt", "base": f"file://{folder}/", "cache_pool": "cache_pool#ocdbt"}
    opening = {
        path: ts.open(
            {
                "driver": "zarr",
                "kvstore": {**base, "path": path.replace("/", ".") + "/"},
                "fill_missing_data_reads": False,
            },
            open=True,
            read=True,
            context=context,
        )
        for path in arrays
    }
    reading = {path: opened.result().read() for path, opened in opening.items()}
    return {path: np.asarray(array.result()) for path, array in reading.items()}
