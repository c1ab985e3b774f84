# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: saving and resuming a run, and loading a model from whatever a path points at.

A run keeps `WORKDIR/checkpoints/<step>/` with the Orbax items `state` (params, opt, ema, step),
`frozen` (weights that the stage uses but does not train), `data` (each process's place in the data)
and `config` (JSON). A model-only checkpoint is a folder with `model` and `config`. Either way the
model is a dict with the top-level keys encoder, decoder, ar, head, or some of them; that of a run
is its frozen weights and the averages of those it trains. Nothing is pickled, and every folder is
sealed with digests of its arrays and files (`seal`), which are compared whenever it is read.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import pathlib
import shutil
import zlib
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes  # also registers bfloat16 with numpy
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from omnigen import parallel
from omnigen.training import position, seal
from omnigen.training.seal import DamagedError

FORMAT = 1
_FOLDER = "checkpoints"
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """All of a run at one step."""

    state: Any
    frozen: Any
    position: bytes


class Checkpoints:
    """The checkpoints of one run; saving happens in the background.

    Args:
      workdir: the run's folder.
      keep: how many checkpoints to keep, the newest.
      read_only: makes, saves and removes nothing; a run may be saving there meanwhile.
      warn: gets a line for each checkpoint that had to be passed over, or has no seal.
    """

    def __init__(
        self,
        workdir: str | pathlib.Path,
        *,
        keep: int,
        read_only: bool = False,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        handlers: dict[str, Any] = {
            "state": ocp.StandardCheckpointHandler(),
            "frozen": ocp.StandardCheckpointHandler(),
            "data": position.Handler(),
            "config": ocp.JsonCheckpointHandler(),
        }
        self._folder = pathlib.Path(workdir).absolute() / _FOLDER
        self._warn = warn
        self._digester = seal.Digester()
        self._saving: Callable[[], None] = lambda: None
        self._early: seal.EarlyFiles | None = None
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                save_interval_steps=1,
                create=not read_only,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
                async_options=ocp.AsyncOptions(
                    post_finalization_callback=lambda: self._saving(),
                    # else Orbax waits for five minutes for a folder that cannot be made
                    create_directories_asynchronously=False,
                ),
            ),
            item_handlers=handlers,
        )

    @property
    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, the oldest first."""
        return sorted(self._manager.all_steps())

    def prepare(self, *, state: Any, frozen: Any) -> None:
        """Compiles, in the background, what the first save of such trees needs."""
        self._digester.compile(_items(state, frozen))

    def save(self, step: int, snapshot: Snapshot, config: Mapping[str, Any]) -> None:
        """Saves in the background; the state may be donated as soon as this returns.

        The seal is the last file that is written before the folder takes its name, so that there
        is no complete checkpoint without one.
        """
        if step == self.latest_step:
            return
        self._manager.wait_until_finished()
        trees = _items(snapshot.state, snapshot.frozen)
        digests: futures.Future[Callable[[], dict[str, str]]] = futures.Future()
        described = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), trees)

        def unnamed() -> pathlib.Path | None:
            return next(self._folder.glob(f"{step}.orbax-checkpoint-tmp*"), None)

        if self._early is not None:
            self._early.stop()
        early = self._early = seal.EarlyFiles(unnamed)

        def write_seal() -> None:
            early.stop()
            leaves = seal.leaves(described, digests.result()())
            folder = unnamed() or self._folder / str(step)
            seal.write(folder, step=step, leaves=leaves, describe=early)

        self._saving = write_seal
        items: dict[str, Any] = {
            **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()},
            "data": position.Save(snapshot.position),
            "config": ocp.args.JsonSave(_describe(config, step=step)),
        }
        self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        try:
            digests.set_result(self._digester(trees))
        except BaseException as error:
            digests.set_exception(error)  # or the thread that writes would wait for ever
            raise

    def check(self) -> None:
        """Raises what went wrong in the background, such as a full disk.

        Orbax's own check would take the error away from the thread that removes old checkpoints,
        which then would do so although the new one was never made.
        """
        if not self._manager.is_saving_in_progress():
            self._manager.wait_until_finished()

    def restore(self, step: int, *, state: Any, frozen: Any) -> Snapshot:
        """Restores onto the devices that the abstract trees `state` and `frozen` name.

        The devices, and how many processes there are, may be others than when it was saved.

        Raises:
          DamagedError: it is not what was saved; names the file and the array.
          ValueError: the checkpoint is of another model.
        """
        folder, trees = self._folder / str(step), _items(state, frozen)
        items = {name: ocp.args.StandardRestore(tree) for name, tree in trees.items()}
        digests: dict[str, str] = {}
        seal.refuse_links(folder)
        found = seal.read(folder)
        bad = self._bad_files(folder, found)
        try:
            if found is not None:
                _check_fits(found, trees)
            seal.distrust(folder, tuple(trees))
            if bad and jax.process_count() > 1:
                raise ValueError("the rest was not read")
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
            if found is not None:
                digests = self._digester({name: restored[name] for name in trees})()
            place = position.read(folder / "data")
        except Exception as error:
            raise _explain(folder, error, bad) from error
        if found is None:
            self._warn(f"{folder} has no digests: what it holds cannot be checked")
        else:
            _refuse_damage(folder, bad, seal.damaged_leaves(found, digests))
        return Snapshot(
            state=restored["state"],
            frozen=restored["frozen"] if frozen else {},
            position=place,
        )

    def restore_newest(self, *, state: Any, frozen: Any) -> Snapshot | None:
        """Restores the newest sound checkpoint; None if there is none at all.

        Damaged ones that are newer are renamed to `<step>.damaged`, with a warning.

        Raises:
          ValueError: see `restore`; or all are damaged.
        """
        for step in reversed(steps := self.steps):
            try:
                return self.restore(step, state=state, frozen=frozen)
            except DamagedError as error:
                if step == steps[0]:
                    raise
                self._warn(f"{error}; going on from step {steps[steps.index(step) - 1]}")
                self._set_aside(step)
        return None

    def _set_aside(self, step: int) -> None:
        """Takes a checkpoint out of the list, so that its step can be saved again."""
        if jax.process_index() == 0:
            aside = self._folder / f"{step}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (self._folder / str(step)).rename(aside)
        parallel.meet(f"set aside {step}")
        self._manager.reload()

    def _bad_files(self, folder: pathlib.Path, found: seal.Seal | None) -> list[str]:
        """The damaged files; every host looks at some, and all know whether there are any."""
        if found is None:
            return []
        count = jax.process_count()
        bad = seal.damaged_files(folder, found, index=jax.process_index(), count=count)
        if count > 1:
            anywhere = multihost_utils.process_allgather(np.bool_(bool(bad)))
            bad = bad or ["a file that another host found"] * bool(np.any(anywhere))
        return bad

    def preempted(self, step: int) -> bool:
        """Whether some host of a multi-host run was told to stop; all agree on the step."""
        return jax.process_count() > 1 and self._manager.reached_preemption(step)

    def close(self) -> None:
        """Waits until everything is on disk."""
        try:
            self._manager.wait_until_finished()
            self._manager.close()
        finally:
            if self._early is not None:
                self._early.stop()


def _items(state: Any, frozen: Any) -> dict[str, Any]:
    """The items of a run's checkpoint that hold arrays."""
    return {"frozen": frozen, "state": state} if frozen else {"state": state}


def _check_fits(found: seal.Seal, trees: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another model, by the shapes and dtypes in its seal."""
    wanted = {path: leaf for item in trees for path, leaf in seal.paths(trees[item], item)}
    stored = {path: leaf for path, leaf in found.leaves.items() if path.split("/")[0] in trees}
    for path in sorted(wanted.keys() | stored.keys()):
        ours, theirs = wanted.get(path), stored.get(path)
        there = f"{theirs.dtype} {theirs.shape}" if theirs else "absent"
        here = f"{ours.dtype} {tuple(ours.shape)}" if ours is not None else "absent"
        if there != here:
            raise ValueError(f"of another model: {path} is {there} there and {here} here")


def _explain(folder: pathlib.Path, error: Exception, bad: list[str]) -> ValueError:
    """What to raise when reading fails: damage if a file is known to be, else what it was."""
    if bad:
        return DamagedError(f"{folder}: damaged checkpoint: file {bad[0]}: {_one_line(error)}")
    kind = DamagedError if isinstance(error, DamagedError) else ValueError
    return kind(f"{folder}: cannot be read: {_one_line(error)}")


def _refuse_damage(folder: pathlib.Path, files: list[str], leaves: list[str]) -> None:
    """Raises a `DamagedError` that names the first of each, if there are any."""
    if files or leaves:
        names = [f"file {name}" for name in files[:1]] + [f"array {name}" for name in leaves[:1]]
        raise DamagedError(f"{folder}: damaged checkpoint: wrong digest of {', '.join(names)}")


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model from a checkpoint: its run's config and its weights as numpy arrays."""

    config: dict[str, Any]
    params: dict[str, Any]
    step: int
    path: str

    @property
    def version(self) -> str:
        """Twelve hex digits that name the model: its config and its weights as bfloat16.

        So a model keeps its version when it is exported or loaded in another dtype.
        """
        stored = ml_dtypes.bfloat16
        params = jax.tree.map(lambda leaf: leaf.astype(stored, copy=False), self.params)
        described = json.dumps([self.config["model"], _checksums(params)], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()[:12]


def load_model(path: str | pathlib.Path, *, dtype: str | None = "float32") -> LoadedModel:
    """Loads a model from a workdir, a `checkpoints/<step>` folder or a model-only checkpoint.

    The devices of the training run need not exist: weights arrive as numpy arrays, of the dtypes
    that were stored if `dtype` is None. Those of a run are its averages, with what it kept frozen.

    Raises:
      ValueError: nothing there, truncated, damaged, or not a checkpoint of omnigen; one line.
    """
    folders = _locate(pathlib.Path(path).absolute())
    for folder in folders:
        try:
            return _load(folder, dtype=dtype)
        except DamagedError as error:
            if folder == folders[-1]:
                raise
            _log.warning("%s; taking an older one", error)
    raise AssertionError("there is always a folder")


def peek(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns the config that `load_model` will most likely find, before anything is checked.

    It is another's if the newest checkpoint turns out to be damaged and an older one is taken.

    Raises:
      ValueError: nothing there, or unreadable.
    """
    return _header(_locate(pathlib.Path(path).absolute())[0])["config"]


def _load(folder: pathlib.Path, *, dtype: str | None) -> LoadedModel:
    """Loads the model of one checkpoint folder."""
    items = _items_in(folder)
    seal.refuse_links(folder)
    found = seal.read(folder)
    bad = [] if found is None else seal.damaged_files(folder, found)
    params: dict[str, Any] = {}
    digests: dict[str, str] = {}
    try:
        header = _header(folder)
        seal.distrust(folder, items)
        for item in items:
            subtree = "ema" if item == "state" else None
            tree = _read(folder / item, subtree=subtree)
            params |= tree
            if found is not None:
                digests |= seal.on_host({f"{item}/{subtree}" if subtree else item: tree})
    except Exception as error:
        raise _explain(folder, error, bad) from error
    if found is None:
        _log.warning("%s has no digests: what it holds cannot be checked", folder)
    else:
        _refuse_damage(folder, bad, seal.damaged_leaves(found, digests))
    if dtype is not None:
        wanted = jnp.dtype(dtype)
        params = jax.tree.map(lambda leaf: leaf.astype(wanted, copy=False), params)
    return LoadedModel(header["config"], params, int(header["step"]), path=str(folder))


def _header(folder: pathlib.Path) -> dict[str, Any]:
    """What `_describe` wrote.

    Raises:
      ValueError: unreadable, or of a format of the future.
    """
    try:
        header = json.loads((folder / "config" / "metadata").read_text())
        version, _, _ = header["omnigen_format"], int(header["step"]), dict(header["config"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError("not a checkpoint of omnigen: unreadable config") from error
    if version != FORMAT:
        raise ValueError(f"checkpoint format {version}, but this omnigen reads {FORMAT}")
    return header


def export_model(
    path: str | pathlib.Path, output: str | pathlib.Path, *, dtype: str = "bfloat16"
) -> LoadedModel:
    """Writes the model of a checkpoint as a model-only checkpoint, sealed; all of it or nothing.

    Raises:
      ValueError: see `load_model`; or `output` exists.
    """
    output = pathlib.Path(output).absolute()
    if output.exists():
        raise ValueError(f"{output}: already exists")
    model = load_model(path, dtype=dtype)
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    handler = ocp.CompositeCheckpointHandler(
        model=ocp.StandardCheckpointHandler(), config=ocp.JsonCheckpointHandler()
    )
    header = _describe(model.config, step=model.step)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(
            partial,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model.params), config=ocp.args.JsonSave(header)
            ),
        )
    trees = {"model": model.params}
    seal.write(partial, step=model.step, leaves=seal.leaves(trees, seal.on_host(trees)))
    partial.rename(output)
    return dataclasses.replace(model, path=str(output))


def _describe(config: Mapping[str, Any], *, step: int) -> dict[str, Any]:
    """The JSON item: what is needed to use the weights, and what made them."""
    packages = ("omnigen", "jax", "flax", "optax", "orbax-checkpoint")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "omnigen_format": FORMAT,
        "step": step,
        "config": json.loads(json.dumps(config)),
        "versions": versions,
    }


def _locate(path: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoint folders that `path` may mean, the best first."""
    if not path.is_dir():
        raise ValueError(f"{path}: no such checkpoint folder")
    for parent in (path / _FOLDER, path):
        steps = [int(p.name) for p in parent.glob("*") if p.name.isdigit() and p.is_dir()]
        if steps:
            return [parent / str(step) for step in sorted(steps, reverse=True)]
    return [path]


def _items_in(path: pathlib.Path) -> tuple[str, ...]:
    """The items with weights in a checkpoint folder."""
    if (path / "model").is_dir():
        return ("model",)
    if (path / "state").is_dir():
        return ("frozen", "state") if (path / "frozen").is_dir() else ("state",)
    entries = sorted(entry.name for entry in path.iterdir())[:6]
    raise ValueError(
        f"{path}: no checkpoint here (looked for checkpoints/<step>, state or model; "
        f"found {', '.join(entries) or 'an empty folder'})"
    )


def _read(folder: pathlib.Path, *, subtree: str | None) -> dict[str, Any]:
    """Reads one item, or one top-level part of it, as numpy arrays in their stored dtypes."""
    handler = ocp.PyTreeCheckpointHandler()
    try:
        stored = handler.metadata(epath.Path(folder)).tree
        stored = {subtree: stored[subtree]} if subtree else stored
        sizes = {path: (leaf.shape, leaf.dtype.itemsize) for path, leaf in seal.paths(stored, "")}
        seal.check_size(folder, sizes)
        target = jax.tree.map(lambda leaf: np.empty((), leaf.dtype), stored)
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), stored)
        arguments = ocp.args.PyTreeRestore(item=target, restore_args=how, partial_restore=True)
        restored = handler.restore(epath.Path(folder), args=arguments)
    except Exception as error:
        raise DamagedError(f"damaged item {folder.name}: {_one_line(error)}") from error
    return restored[subtree] if subtree else restored


def _checksums(params: Any) -> dict[str, int]:
    """CRC-32 of each array's bytes, by path."""
    return {path: zlib.crc32(_bytes(leaf)) for path, leaf in seal.paths(params, "")}


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array, which numpy does not lend for bfloat16."""
    return np.ascontiguousarray(array).ravel().view(np.uint8).data


def _one_line(error: Exception) -> str:
    """The start of an error message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"
