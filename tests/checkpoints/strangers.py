# SPDX-License-Identifier: Apache-2.0
"""Crafted checkpoints: what a stranger could hand on, each with the words it is refused with.

Each is made from an honest model-only checkpoint, whose seal is taken away first: whoever can write
a checkpoint can also write a seal that fits it.
"""

import json
import os
import pathlib
import shutil
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorstore as ts

Craft = Callable[[pathlib.Path], object]
MIB = 2**20


def _put(name: str, make: Callable[[pathlib.Path], object]) -> Craft:
    """Puts something made by `make` in the place of a file or folder."""

    def craft(folder: pathlib.Path) -> None:
        path = _data_file(folder) if name == "data" else folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)

    return craft


def _data_file(folder: pathlib.Path) -> pathlib.Path:
    """The largest data file."""
    return max(folder.glob("model/ocdbt.process_0/d/*"), key=lambda path: path.stat().st_size)


def _socket(path: pathlib.Path) -> None:
    place = os.open(path.parent, os.O_RDONLY)  # names of sockets are at most 108 bytes long
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{place}/{path.name}")
    os.close(place)


def _link(aim: str) -> Callable[[pathlib.Path], object]:
    return lambda path: path.symlink_to(aim)


def _hole(size: int) -> Callable[[pathlib.Path], object]:
    """A file of `size` bytes that takes no room on the disk."""

    def make(path: pathlib.Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def _grown(folder: pathlib.Path) -> None:
    with _data_file(folder).open("r+b") as file:
        file.truncate(2**40)


def _bytes(content: bytes) -> Callable[[pathlib.Path], object]:
    return lambda path: path.write_bytes(content)


def _header(change: Callable[[dict[str, Any]], object]) -> Craft:
    """Changes `config/metadata`."""

    def craft(folder: pathlib.Path) -> None:
        path = folder / "config/metadata"
        header = json.loads(path.read_text())
        change(header)
        path.write_text(json.dumps(header))

    return craft


def _step(value: Any) -> Craft:
    return _header(lambda header: header.update(step=value))


def set_model(path: str, value: Any) -> Craft:
    """Sets a key of the model's config, such as `ar.num_layers`."""
    *groups, name = path.split(".")

    def change(header: dict[str, Any]) -> None:
        node = header["config"]["model"]
        for group in groups:
            node = node[group]
        node[name] = value

    return _header(change)


def _replaced(old: str, new: bytes) -> Craft:
    """Replaces text of `config/metadata` by what `json` would not write."""

    def craft(folder: pathlib.Path) -> None:
        path = folder / "config/metadata"
        content = path.read_bytes()
        assert content.count(old.encode()) >= 1
        path.write_bytes(content.replace(old.encode(), new, 1))

    return craft


def _listed(change: Callable[[dict[str, Any]], object]) -> Craft:
    """Changes `model/_METADATA`, the list of arrays."""

    def craft(folder: pathlib.Path) -> None:
        path = folder / "model/_METADATA"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return craft


def _entry(*keys: str) -> dict[str, Any]:
    """How `_METADATA` lists an array."""
    return {
        "key_metadata": [{"key": key, "key_type": 2} for key in keys],
        "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
    }


def _many(values: dict[str, Any]) -> None:
    values["tree_metadata"] |= {f"('ar', 'x{i}')": _entry("ar", f"x{i}") for i in range(40_000)}


def store(folder: pathlib.Path) -> ts.KvStore:
    """The item `model` as a store to write to."""
    spec = {"driver": "ocdbt", "base": f"file://{folder}/model/"}
    return ts.KvStore.open(spec).result()


def _declared(name: str, **changes: Any) -> Craft:
    """Changes what the store declares of an array."""

    def craft(folder: pathlib.Path) -> None:
        kept = store(folder)
        key = f"{name}/.zarray"
        kept[key] = json.dumps(json.loads(kept[key]) | changes).encode()

    return craft


def _without(key: str) -> Craft:
    def craft(folder: pathlib.Path) -> None:
        kept = store(folder)
        assert kept.read(key).result().state == "value"
        kept.delete_range(ts.KvStore.KeyRange(key, key + "\0")).result()

    return craft


def add_zeros(folder: pathlib.Path, *, keys: tuple[str, ...], shape: tuple[int, ...]) -> None:
    """Writes an array of zeros: a thousandth of its bytes on the disk, or less."""
    _listed(lambda values: values["tree_metadata"].update({str(keys): _entry(*keys)}))(folder)
    spec = {
        "driver": "zarr",
        "kvstore": {
            "driver": "ocdbt",
            "base": f"file://{folder}/model/",
            "path": f"{'.'.join(keys)}/",
        },
        "metadata": {
            "shape": shape,
            "chunks": shape,
            "dtype": "<f4",
            "compressor": {"id": "zstd", "level": 1},
            "fill_value": None,
        },
        "store_data_equal_to_fill_value": True,
    }
    array = ts.open(spec, create=True, delete_existing=True).result()
    array.write(np.broadcast_to(np.float32(0), shape)).result()


def _zeros(*keys: str, shape: tuple[int, ...] = (2**13, 2**13), pad: int = 0) -> Craft:
    def craft(folder: pathlib.Path) -> None:
        add_zeros(folder, keys=keys, shape=shape)
        if pad:
            (folder / "model/d/pad").write_bytes(np.random.default_rng(0).bytes(pad))

    return craft


def _bomb(size: int, room: int) -> bytes:
    """A part of an index, of `room` bytes, whose zstd frame unpacks to `size` bytes of zeros."""
    blocks = size // 2**17
    zeros = [(2**17 << 3 | 1 << 1 | (i == blocks - 1)).to_bytes(3, "little") for i in range(blocks)]
    frame = b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(block + b"\0" for block in zeros)
    body = b"\x00\x01" + frame
    assert 12 + len(body) + 4 <= room
    return b"\x0c\xdb\x3a\x2a" + room.to_bytes(8, "little") + body + bytes(room - 12 - len(body))


def _node_bomb(folder: pathlib.Path) -> None:
    """Puts a bomb in the place of the root of the tree."""
    base = ts.KvStore.open(f"file://{folder}/model/").result()
    place = ts.ocdbt.dump(base).result()["versions"][-1]["root"]["location"]
    _, process, name, start, length = place.split(":")
    with (folder / "model" / process / name).open("r+b") as file:
        file.seek(int(start))
        file.write(_bomb(100 * MIB, int(length)))


def _deep(folder: pathlib.Path) -> None:
    (folder / "/".join(["model", *"abcdefgh"])).mkdir(parents=True)


def _text(make: Callable[[pathlib.Path], object]) -> Craft:
    """A tokenizer that a config names by its path."""

    def craft(folder: pathlib.Path) -> None:
        path = folder.parent / "tokenizer.json"
        make(path)
        set_model("text", str(path))(folder)

    return craft


_LONG = 10**4000
FILES = ("digests.json", "config/metadata", "model/_METADATA", "model/manifest.ocdbt", "data")
STRANGERS: dict[str, tuple[str, Craft]] = {
    # what is no file
    **{f"a pipe as {name}": ("is a pipe", _put(name, os.mkfifo)) for name in FILES},
    "a pipe as _CHECKPOINT_METADATA": ("is a pipe", _put("_CHECKPOINT_METADATA", os.mkfifo)),
    "a pipe deep in a folder": ("is a pipe", _put("model/a/b/c", os.mkfifo)),
    "a socket": ("is a socket", _put("config/socket", _socket)),
    **{
        f"a link to a device as {name}": ("is a symbolic link", _put(name, _link("/dev/zero")))
        for name in FILES
    },
    "a folder that is a link": ("is a symbolic link", _put("model/d", _link("/"))),
    "an item that is a link": ("is a symbolic link", _put("model", _link("/tmp"))),
    "a link to nothing": ("is a symbolic link", _put("config/more", _link("nowhere"))),
    "a folder for a file": ("unreadable config", _put("config/metadata", pathlib.Path.mkdir)),
    "folders in folders": ("too many folders", _deep),
    # sizes
    "a seal with a hole": ("bytes large", _put("digests.json", _hole(30 * 2**30))),
    "a small seal with a hole": ("has a hole", _put("digests.json", _hole(MIB))),
    "a config with a hole": ("bytes large", _put("config/metadata", _hole(30 * 2**30))),
    "a list with a hole": ("has a hole", _put("model/_METADATA", _hole(5 * MIB))),
    "a manifest with a hole": ("has a hole", _put("model/manifest.ocdbt", _hole(MIB))),
    "a data file with a hole": ("has a hole", _grown),
    "a pad with a hole": ("has a hole", _put("model/d/pad", _hole(2**40))),
    "a long seal": ("digests.json cannot be trusted", _put("digests.json", _bytes(b" " * 9 * MIB))),
    "a long config": ("allowed: up to", _put("config/metadata", _bytes(b" " * 2 * MIB))),
    "a long list": ("allowed: up to", _put("model/_METADATA", _bytes(b" " * 5 * MIB))),
    "a long manifest": ("allowed: up to", _put("model/manifest.ocdbt", _bytes(b" " * MIB))),
    # arrays
    "zeros": ("does not fit chunks", _zeros("ar", "x")),
    "zeros beside noise": ("does not fit chunks", _zeros("ar", "x", pad=2 * MIB)),
    "a part of no model": ("weights of extra, which", _zeros("extra", "x", shape=(64, 64))),
    "an array of no model": ("ar/x is .* but absent", _zeros("ar", "x", shape=(64, 64))),
    "an array that is larger": ("does not fit chunks", _zeros("ar", "token", shape=(2**14, 2**12))),
    "an array of another shape": ("ar/token is .* by its", _zeros("ar", "token", shape=(264, 32))),
    "many arrays": ("allowed: up to", _listed(_many)),
    "an array that is not there": (
        "unreadable shape",
        _listed(lambda values: values["tree_metadata"].update(x=_entry("ar", "x"))),
    ),
    "a huge chunk": ("in chunks", _declared("ar.token", chunks=[2**20, 2**20])),
    "a huge shape": ("chunks", _declared("ar.token", shape=[2**30, 2**30])),
    "tiny chunks": ("of .* chunks", _declared("ar.token", chunks=[1, 1])),
    "a shape below zero": ("a side of -1", _declared("ar.token", shape=[-1, 64])),
    "a shape of fractions": ("a side of 2.5", _declared("ar.token", shape=[2.5, 64])),
    "a shape of nothing": ("unreadable shape", _declared("ar.token", shape=None)),
    "objects": ("unreadable shape", _declared("ar.token", dtype="|O")),
    "long texts": ("unreadable shape", _declared("ar.token", dtype="<U99999999")),
    "a filter": ("refused", _declared("ar.token", filters=[{"id": "delta"}])),
    "another compressor": ("refused", _declared("ar.token", compressor={"id": "blosc"})),
    "a chunk that is missing": ("0 of 1 chunks", _without("ar.token/0.0")),
    "a shape that is missing": ("unreadable shape", _without("ar.token/.zarray")),
    "zarr3": ("loose files", _listed(lambda values: values.update(use_zarr3=True))),
    "a bomb as manifest": (
        "unpacks to too much",
        _put("model/manifest.ocdbt", _bytes(_bomb(100 * MIB, 2**13))),
    ),
    "a bomb in the tree": ("unpacks to too much", _node_bomb),
    "a tree without its file": ("no data file", lambda f: shutil.rmtree(f / "model/d")),
    # configs
    **{
        f"{path} {str(value)[:20]}": (words, set_model(path, value))
        for path, value, words in (
            ("image_size", 2**20, "tokens a picture"),
            ("image_size", 0, "image_size 0"),
            ("image_size", _LONG, "more than 18 digits"),
            ("image_size", True, "must be int"),
            ("image_size", "128", "must be int"),
            ("image_size", float("inf"), "must be int"),
            ("ar.num_layers", 10**7, "at most 1024"),
            ("ar.num_layers", 1000, "by its config"),
            ("ar.embed_dim", 2**40, "at most"),
            ("ar.embed_dim", -1, "at least 1"),
            ("ar.vocab_size", 2**40, "at most"),
            ("decoder.num_steps", 10**9, "at most 1000"),
            ("head.num_blocks", 10**9, "at most 1024"),
            ("head.prediction", "nonsense", "allowed"),
            ("head.prediction", [], "allowed"),
            ("head.prediction", {}, "allowed"),
            ("sketch_length", 10**9, "sketch_length is"),
            ("encoder.noise_max", float("nan"), "noise_max is nan"),
            ("encoder", 3, "must be a group"),
            ("unknown", 1, "unknown config key model.unknown"),
            ("x" * 10**5, 1, "unknown config key model.xxx"),
            ("text", "/dev/zero", "is a device"),
            ("text", "x" * 5000, "text tokenizer"),
            ("text", "a\0b", "text tokenizer"),
        )
    },
    "a tokenizer that is a pipe": ("is a pipe", _text(os.mkfifo)),
    "a tokenizer of 40 GB": ("allowed: up to", _text(_hole(40 * 2**30))),
    **{
        f"step {value}"[:30]: ("step is", _step(value))
        for value in (float("inf"), float("nan"), -1, 10**30, "1", True, 1.5, None, [1])
    },
    "no model": ("its config has no model", _header(lambda h: h.update(config={}))),
    "a list for a config": ("no group of keys", _header(lambda h: h.update(config=[1]))),
    "a format of nonsense": (
        "checkpoint format",
        _header(lambda h: h.update(omnigen_format="\x1b[31m" * 1000)),
    ),
    "many keys": ("unknown config key", set_model("many", {str(i): i for i in range(50_000)})),
    "deep JSON": ("unreadable config", _put("config/metadata", _bytes(b"[" * 10**6))),
    "a deep config": ("refused|unreadable|must be", _replaced('"bytes"', b"[" * 900 + b"]" * 900)),
    "a key twice": ("a key twice", _replaced('"step"', b'"step": 1, "step"')),
    "no UTF-8": ("unreadable config", _replaced("bytes", b"\xff\xfe")),
    "a number without end": ("unreadable config", _replaced('"bytes"', b"1" * 10**5)),
}
