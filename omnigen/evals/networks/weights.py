# SPDX-License-Identifier: Apache-2.0
"""Reads other people's weights, and runs nothing of what is in their files.

A pickle is a program. Here its opcodes are interpreted by a machine that knows dicts, lists,
tuples, numbers, strings and, by name, the few constructors that tensors need; anything else is
refused, unlooked at.
Three kinds of file are told apart by their first bytes:

  safetensors   a JSON header, then the tensors
  torch         `torch.save`'s zip archive (since 1.6), or the row of pickles that it wrote before
  pickle        nested dicts of numpy arrays
"""

import dataclasses
import io
import json
import math
import pathlib
import pickletools
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

Weights = dict[str, np.ndarray]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # what old torch checkpoints pickle first
SAFETENSORS_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
STORAGE_TYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
MAX_DEPTH = 32  # of nested dicts


def read(path: str | pathlib.Path) -> Weights:
    """Reads the arrays of a weights file by name; names of nested dicts are joined by "/".

    Raises:
        ValueError: If there is no such file, or it is of no known format, damaged, or a pickle that
            asks for more than tensors.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"weights {path}: no such file")
    try:
        with path.open("rb") as file:
            start = file.read(16)
            file.seek(0)
            if start[:4] == b"PK\x03\x04":
                return _read_zip(file)
            if start[8:9] == b"{":
                return _read_safetensors(file)
            if start[:1] == b"\x80":
                return _read_pickles(file)
            raise ValueError("neither safetensors nor a torch checkpoint")
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"weights {path}: {error}") from error
    except (zipfile.BadZipFile, struct.error, EOFError, RuntimeError) as error:
        raise ValueError(f"weights {path}: damaged: {error}") from error


def _flatten(tree: Any, prefix: str = "", depth: int = 0) -> list[tuple[str, np.ndarray]]:
    """Returns the arrays of nested dicts, without other entries such as a step or a name."""
    if depth > MAX_DEPTH:
        raise ValueError(f"dicts nested deeper than {MAX_DEPTH}")
    if isinstance(tree, _Array | _Tensor):
        return [(prefix, tree.value())]
    if not isinstance(tree, dict):
        return []
    pairs = []
    for key, value in tree.items():
        pairs += _flatten(value, f"{prefix}/{key}" if prefix else str(key), depth + 1)
    return pairs


def _read_safetensors(file: BinaryIO) -> Weights:
    header = _take(file, *struct.unpack("<Q", file.read(8)))
    data = file.read()
    arrays = {}
    for name, entry in json.loads(header).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in SAFETENSORS_TYPES:
            raise ValueError(f"{name} has the unknown dtype {entry['dtype']}")
        dtype, (begin, end) = np.dtype(SAFETENSORS_TYPES[entry["dtype"]]), entry["data_offsets"]
        size = math.prod(entry["shape"]) * dtype.itemsize
        if not 0 <= begin <= end <= len(data) or end - begin != size:
            raise ValueError(f"damaged: {name} lies at bytes {begin} to {end} of {len(data)}")
        arrays[name] = np.frombuffer(data[begin:end], dtype).reshape(entry["shape"])
    return arrays


def _read_zip(file: BinaryIO) -> Weights:
    """Reads an archive of `torch.save`: NAME/data.pkl, and NAME/data/KEY for every storage."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip archive, but not of torch.save")
        root = pickles[0].removesuffix("data.pkl")
        order = root + "byteorder"
        if order in names and archive.read(order) != b"little":
            raise ValueError("big-endian checkpoints are not read")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("compressed entries, which torch.save never writes")
        machine = _Machine(lambda key: archive.read(f"{root}data/{key}"))
        return dict(_flatten(machine.run(io.BytesIO(archive.read(pickles[0])))))


def _read_pickles(file: BinaryIO) -> Weights:
    """Reads one pickle of numpy arrays, or torch's sequence of pickles.

    That is a magic number, the version, the platform, the state and a list of keys.
    """
    storages: dict[str, bytes] = {}
    machine = _Machine(storages.__getitem__)
    first = machine.run(file)
    if first != LEGACY_MAGIC:
        return dict(_flatten(first))
    machine.run(file)
    if not machine.run(file)["little_endian"]:
        raise ValueError("big-endian checkpoints are not read")
    state = machine.run(file)
    sizes = machine.item_sizes
    for key in machine.run(file):
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = _take(file, count * sizes[key])
    return dict(_flatten(state))


def _take(file: BinaryIO, count: int) -> bytes:
    """Reads exactly `count` bytes, and asks for no more memory than the file has bytes."""
    here = file.tell()
    left = file.seek(0, io.SEEK_END) - here
    file.seek(here)
    if not 0 <= count <= left:
        raise ValueError(f"damaged: {count} bytes wanted of {left}")
    return file.read(count)


@dataclasses.dataclass(frozen=True)
class _Name:
    """A pickle's name of a global, which is never looked up, only compared."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    load: Callable[[str], bytes]


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A strided view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def value(self) -> np.ndarray:
        flat = np.frombuffer(self.storage.load(self.storage.key), self.storage.dtype)
        counts = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or any(n < 0 for n in counts):
            raise ValueError(f"damaged: a tensor of shape {self.shape}, strides {self.strides}")
        if math.prod(self.shape) == 0:
            return np.zeros(self.shape, flat.dtype)
        reach = [(n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)]
        if math.prod(self.shape) > len(flat) or self.offset + sum(reach) >= len(flat):
            raise ValueError(f"damaged: a tensor of shape {self.shape} in {len(flat)} numbers")
        strides = [step * flat.itemsize for step in self.strides]
        view = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides)
        return np.array(view)


@dataclasses.dataclass
class _Array:
    """A numpy array in the making: made empty, then given its state."""

    state: tuple[Any, ...] = ()

    def value(self) -> np.ndarray:
        _, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise ValueError("an array of objects, not of numbers")
        order = "F" if fortran else "C"
        return np.frombuffer(data, np.dtype(dtype.code)).reshape(shape, order=order)


@dataclasses.dataclass(frozen=True)
class _Dtype:
    code: str


def _dtype(code: str, *_: object) -> _Dtype:
    if not isinstance(code, str) or code not in ("f2", "f4", "f8", "i4", "i8", "u1", "b1"):
        raise ValueError(f"numpy's dtype {code!r} is not read")
    return _Dtype(code)


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: object) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    return {key: value for key, value in pairs}


MAKERS: dict[_Name, Callable[..., Any]] = {
    _Name("collections", "OrderedDict"): _ordered_dict,
    _Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    _Name("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    _Name("numpy", "dtype"): _dtype,
    _Name("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    _Name("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The part of the pickle machine that holds weights.

    Attributes:
        item_sizes: Size of an element in bytes, by key of the storages that were named.
    """

    def __init__(self, load: Callable[[str], bytes]):
        self._load = load
        self.item_sizes: dict[str, int] = {}

    def run(self, file: BinaryIO) -> Any:
        """Interprets one pickle and leaves the file behind its end."""
        self._stack: list[Any] = []
        self._marks: list[int] = []
        memo: dict[Any, Any] = {}
        for opcode, argument, _ in pickletools.genops(file):
            name = opcode.name
            if name in ("PROTO", "FRAME", "STOP"):
                continue
            if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if argument is None else argument] = self._stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self._stack.append(memo[argument])
            else:
                self._step(name, argument)
        (result,) = self._stack
        return result

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in ("TUPLE", *_TUPLES):
            items = self._since_mark() if name == "TUPLE" else self._pop(_TUPLES[name])
            stack.append(tuple(items))
        elif name in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if name == "SETITEMS" else self._pop(2)
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("APPEND", "APPENDS"):
            items = self._since_mark() if name == "APPENDS" else self._pop(1)
            stack[-1].extend(items)
        elif name == "GLOBAL":
            stack.append(_Name(*argument.split(" ")))
        elif name == "STACK_GLOBAL":
            stack.append(_Name(*self._pop(2)))
        elif name == "BINPERSID":
            stack.append(self._storage(*self._pop(1)[0]))
        elif name == "REDUCE":
            maker, arguments = self._pop(2)
            if not isinstance(maker, _Name) or maker not in MAKERS:
                raise ValueError(f"refused: the pickle wants to call {_spelled(maker)}")
            stack.append(MAKERS[maker](*arguments))
        elif name == "BUILD":
            self._build(*self._pop(1))
        else:
            raise ValueError(f"refused: pickle opcode {name}, which weights do not need")

    def _build(self, state: Any) -> None:
        """Gives an array its content, and drops what else is attached, as modules' metadata."""
        target = self._stack[-1]
        if isinstance(target, _Array):
            target.state = state
        elif isinstance(target, _Dtype):
            if state[1] == ">":
                raise ValueError("big-endian arrays are not read")
        elif not isinstance(target, dict):
            raise ValueError("refused: the pickle sets attributes")

    def _storage(self, kind: str, dtype: Any, key: str, _: object, __: int, *view: Any) -> _Storage:
        name = dtype.name if isinstance(dtype, _Name) and dtype.module == "torch" else None
        if kind != "storage" or name not in STORAGE_TYPES or any(view):
            raise ValueError(f"refused: a storage of {_spelled(dtype)}")
        storage = _Storage(key, np.dtype(STORAGE_TYPES[name]), self._load)
        self.item_sizes[key] = storage.dtype.itemsize
        return storage

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("damaged: the pickle takes more than it has")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items


def _spelled(value: object) -> str:
    return f"{value.module}.{value.name}" if isinstance(value, _Name) else repr(value)
