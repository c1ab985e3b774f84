# SPDX-License-Identifier: Apache-2.0
"""The seal of a checkpoint: a digest of every array and of every file, written last.

Orbax notices a truncated file, not a flipped bit. So each checkpoint folder gets `digests.json`,
the last file to be written before the folder takes its name: a checkpoint without it was made
before there were seals, or by another program. What is read is compared with it twice: files, which
name the damaged one, and arrays, which are what matters.

Digests are not secret, so a seal proves nothing about who wrote a checkpoint. What a stranger could
put in one is refused by `store`, before arrays are read.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from omnigen import files
from omnigen.checkpoints import digest, store
from omnigen.checkpoints.store import DamagedError

NAME = "digests.json"
_MOST = 8 * 2**20  # bytes of a seal; a file or an array takes a hundred
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError)
_NOTES = "_CHECKPOINT_METADATA"
_PAUSE = 0.02  # seconds between two looks at what has been written

_Identity = tuple[int, int, int]  # inode, size, time of the last change


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Shape, data type and digest of an array."""

    shape: tuple[int, ...]
    dtype: str
    digest: str


@dataclasses.dataclass(frozen=True)
class Seal:
    """The arrays and files of a checkpoint as they were when it was written.

    Attributes:
        step: Step of the run.
        leaves: Description of each array by its path, such as `state/params/ar/scale`.
        files: Size and digest by path within the folder; only the size of other hosts' files.
    """

    step: int
    leaves: Mapping[str, Leaf]
    files: Mapping[str, tuple[int, str]]

    @property
    def digest(self) -> str:
        """Sixteen hex digits for all arrays together."""
        described = json.dumps([(path, leaf.digest) for path, leaf in sorted(self.leaves.items())])
        return hashlib.sha256(described.encode()).hexdigest()[:16]


def paths(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yields every leaf of a tree with its path, such as `state/params/layers/up`."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        yield "/".join(part for part in (prefix, name) if part), leaf


def leaves(items: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Leaf]:
    """Describes the arrays of `items`, trees by name of item, whose digests are known."""
    return {
        path: Leaf(tuple(np.shape(leaf)), str(leaf.dtype), digests[path])
        for item, tree in items.items()
        for path, leaf in paths(tree, item)
    }


def on_host(items: Mapping[str, Any]) -> dict[str, str]:
    """Returns the digests of trees of numpy arrays, by path."""
    named = (pair for item, tree in items.items() for pair in paths(tree, item))
    return {path: digest.of_array(np.asarray(leaf)) for path, leaf in named}


class Digester:
    """Computes digests of trees of arrays, by path, without keeping the caller waiting.

    Those of device arrays are one program, compiled once for trees of one form.
    """

    def __init__(self) -> None:
        self._compiling: threading.Thread | None = None
        self._compiled: dict[Any, Any] = {}

    def compile(self, trees: Mapping[str, Any]) -> None:
        """Starts to compile, in a thread, what abstract trees need; they are named by item."""

        def work() -> None:
            self._compiled[_form(trees)] = _jitted(trees).lower(trees).compile()

        self._compiling = threading.Thread(target=work, name="digests", daemon=True)
        self._compiling.start()

    def __call__(self, trees: Mapping[str, Any]) -> Callable[[], dict[str, str]]:
        """Starts to compute; calling the result waits. Device arrays may be donated meanwhile."""
        if not all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(trees)):
            return lambda: on_host(trees)
        if self._compiling is not None:
            self._compiling.join()
        pairs = (self._compiled.get(_form(trees)) or _jitted(trees))(trees)
        names = [path for item in sorted(trees) for path, _ in paths(trees[item], item)]
        return lambda: dict(zip(names, map(digest.text, np.asarray(pairs)), strict=True))


def _form(trees: Any) -> Any:
    """Returns what the compiled program for some trees depends on."""
    found, treedef = jax.tree.flatten(trees)
    return treedef, tuple((leaf.shape, str(leaf.dtype), leaf.sharding) for leaf in found)


def _jitted(trees: Any) -> Any:
    """Returns `digest.of_tree`, jitted so that every host has its result."""
    lies = jax.tree.leaves(trees)[0].sharding
    whole = NamedSharding(lies.mesh, PartitionSpec()) if isinstance(lies, NamedSharding) else None
    return jax.jit(digest.of_tree, out_shardings=whole)


class EarlyFiles:
    """Digests the data files of a checkpoint in a thread while others are being written.

    So the seal has to wait for the last of them alone. Data files grow, and are then never touched
    again: one that did not grow between two looks counts as whole, and is digested again if it has
    changed when the seal asks.
    """

    def __init__(self, find: Callable[[], pathlib.Path | None]):
        """Starts; `find` returns the checkpoint's folder once there is one."""
        self._find = find
        self._found: dict[_Identity, tuple[int, str]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="early digests", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        seen: set[_Identity] = set()
        with contextlib.suppress(OSError):  # the seal will meet it too, and report it
            while not self._stopped.wait(_PAUSE):
                if (folder := self._find()) is None:
                    continue
                for path in folder.glob("*/ocdbt.process_*/d/*"):
                    identity = _identity(path)
                    ours = _is_ours(path.relative_to(folder).as_posix())
                    is_whole = identity in seen and identity not in self._found
                    if ours and is_whole and not self._stopped.is_set():
                        self._found[identity] = _describe(path)
                    seen.add(identity)

    def stop(self) -> None:
        """Waits for the file in hand, and begins no other."""
        self._stopped.set()
        self._thread.join()

    def __call__(self, path: pathlib.Path) -> tuple[int, str]:
        """Returns size and digest of a file; call it after `stop`."""
        return self._found.get(_identity(path)) or _describe(path)


def _identity(path: pathlib.Path) -> _Identity:
    """Returns what stays when a file is renamed, as by Orbax, but changes when it grows."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def wait_for_notes(folder: pathlib.Path, *, seconds: float = 10.0) -> None:
    """Waits until Orbax has noted the items' handlers, which a thread of its own does.

    Else the file could change after it was digested, and a sound checkpoint be taken for damaged.

    Args:
        folder: Folder of the checkpoint, which has no seal yet.
        seconds: Longest time to wait.
    """
    path, end = folder / _NOTES, time.monotonic() + seconds
    while path.exists() and b'"item_handlers": {' not in path.read_bytes():
        if time.monotonic() > end:
            return
        time.sleep(_PAUSE)


def write(
    folder: pathlib.Path,
    *,
    step: int,
    leaves: Mapping[str, Leaf],
    describe: Callable[[pathlib.Path], tuple[int, str]] | None = None,
) -> Seal:
    """Seals a checkpoint whose files are all there; `describe` gives a file's size and digest."""
    describe, described = describe or _describe, {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (NAME, "commit_success.txt"):
            described[name] = describe(path) if _is_ours(name) else (path.stat().st_size, "")
    seal = Seal(step=step, leaves=leaves, files=described)
    body = json.dumps(dataclasses.asdict(seal), sort_keys=True)
    files.write(folder / NAME, json.dumps({"sha256": _sha256(body), "seal": body}) + "\n")
    return seal


def read(folder: pathlib.Path) -> Seal | None:
    """Returns the seal of a checkpoint, None if it has none.

    Raises:
        DamagedError: If the seal is unreadable or that of another step.
    """
    path = folder / NAME
    if not os.path.lexists(path):
        return None
    try:
        outer = store.read_json(path, most=_MOST)
        body = outer["seal"]
        if _sha256(body) != outer["sha256"]:
            raise ValueError("it was changed")
        values = store.parse(body.encode())
        if max(len(values["leaves"]), len(values["files"])) > store.MOST_FILES:
            raise ValueError("it is too long")
        seal = Seal(
            step=int(values["step"]),
            leaves={
                name: Leaf(
                    tuple(int(side) for side in leaf["shape"]),
                    str(leaf["dtype"]),
                    str(leaf["digest"]),
                )
                for name, leaf in values["leaves"].items()
            },
            files={
                name: (int(size), str(found)) for name, (size, found) in values["files"].items()
            },
        )
    except _UNREADABLE as error:
        raise DamagedError(f"{folder}: damaged checkpoint: {NAME} cannot be trusted") from error
    if folder.name.isdigit() and int(folder.name) != seal.step:
        raise DamagedError(f"{folder}: damaged checkpoint: it holds step {seal.step}")
    return seal


def damaged_files(
    folder: pathlib.Path,
    seal: Seal,
    sizes: Mapping[str, int],
    *,
    index: int = 0,
    count: int = 1,
    most: int | None = None,
) -> list[str]:
    """Returns the files that have changed since they were written.

    Args:
        folder: Folder of the checkpoint.
        seal: Its seal.
        sizes: Its files, from `store.check_folder`; no other is opened, whatever the seal names.
        index: Number of this host, which looks at its share alone.
        count: Number of hosts.
        most: Size in bytes above which a file's digest is not compared; None compares all.
    """
    found = []
    for name, (size, wanted) in sorted(seal.files.items())[index::count]:
        path = folder / name
        if name not in sizes:
            found.append(name)
        elif most is not None and sizes[name] > most:
            continue
        elif (_describe(path) if wanted else (sizes[name], "")) != (size, wanted):
            found.append(name)
    return found


def damaged_leaves(seal: Seal, digests: Mapping[str, str]) -> list[str]:
    """Returns the arrays that differ from what was saved, or were not saved."""
    absent = Leaf((), "", "")
    return [
        path for path in sorted(digests) if seal.leaves.get(path, absent).digest != digests[path]
    ]


def _describe(path: pathlib.Path) -> tuple[int, str]:
    """Returns size and digest of a file, without the number that Orbax writes after the seal."""
    if path.name != _NOTES:
        return path.stat().st_size, digest.of_file(path)
    kept = re.sub(rb'"commit_timestamp_nsecs": (null|\d{1,20})', b"", path.read_bytes())
    return len(kept), hashlib.sha256(kept).hexdigest()[:16]


def _is_ours(name: str) -> bool:
    """Returns whether this host wrote the file; other hosts write in folders of their own."""
    hosts = re.findall(r"process_(\d+)/", name)
    return not hosts or int(hosts[0]) == jax.process_index()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
