# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: saving and resuming a run, and loading a model from whatever a path points at.

A run keeps `WORKDIR/checkpoints/<step>/` with the Orbax items `state` (params, opt, ema, step),
`frozen` (weights that the stage uses but does not train), `data` (each process's place in the data)
and `config` (JSON). A model-only checkpoint is a folder with `model` and `config`. Either way the
model is a dict with the top-level keys encoder, decoder, ar, head, or some of them; that of a run
is its frozen weights and the averages of those it trains. Nothing is pickled.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes  # also registers bfloat16 with numpy
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

FORMAT = 1
_FOLDER = "checkpoints"


@dataclasses.dataclass
class Position:
    """The place of a data iterator, as bytes; what the `data` item stores for each process."""

    state: bytes = b""

    def get_state(self) -> bytes:
        """Returns what to store."""
        return self.state

    def set_state(self, state: bytes) -> None:
        """Takes what was stored."""
        self.state = state

    def start_prefetch(self) -> None:
        """Part of the protocol of Grain's checkpoint handler; there is nothing to fetch here."""


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
    """

    def __init__(self, workdir: str | pathlib.Path, *, keep: int) -> None:
        import grain

        handlers: dict[str, Any] = {
            "state": ocp.StandardCheckpointHandler(),
            "frozen": ocp.StandardCheckpointHandler(),
            "data": grain.checkpoint.CheckpointHandler(),
            "config": ocp.JsonCheckpointHandler(),
        }
        self._folder = pathlib.Path(workdir).absolute() / _FOLDER
        self._grain = grain.checkpoint
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, save_interval_steps=1, cleanup_tmp_directories=True
            ),
            item_handlers=handlers,
        )

    @property
    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, snapshot: Snapshot, config: Mapping[str, Any]) -> None:
        """Saves in the background; the state may be donated as soon as this returns."""
        if step == self.latest_step:
            return
        items: dict[str, Any] = {
            "state": ocp.args.StandardSave(snapshot.state),
            "data": self._grain.CheckpointSave(Position(snapshot.position)),
            "config": ocp.args.JsonSave(_describe(config, step=step)),
        }
        if snapshot.frozen:
            items["frozen"] = ocp.args.StandardSave(snapshot.frozen)
        self._manager.save(step, args=ocp.args.Composite(**items), force=True)

    def restore(self, step: int, *, state: Any, frozen: Any) -> Snapshot:
        """Restores onto the devices that the abstract trees `state` and `frozen` name.

        Raises:
          ValueError: the checkpoint is of another model, damaged, or of another number of
            processes.
        """
        position = Position()
        items: dict[str, Any] = {
            "state": ocp.args.StandardRestore(state),
            "data": self._grain.CheckpointRestore(position),
        }
        if frozen:
            items["frozen"] = ocp.args.StandardRestore(frozen)
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:
            raise ValueError(
                f"{self._folder / str(step)}: cannot resume: {_one_line(error)}"
            ) from error
        return Snapshot(
            state=restored["state"],
            frozen=restored["frozen"] if frozen else {},
            position=position.state,
        )

    def preempted(self, step: int) -> bool:
        """Whether some host of a multi-host run was told to stop; all agree on the step."""
        return jax.process_count() > 1 and self._manager.reached_preemption(step)

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


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
        params = jax.tree.map(lambda leaf: leaf.astype(ml_dtypes.bfloat16), self.params)
        described = json.dumps([self.config["model"], _checksums(params)], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()[:12]


def load_model(path: str | pathlib.Path, *, dtype: str = "float32") -> LoadedModel:
    """Loads a model from a workdir, a `checkpoints/<step>` folder or a model-only checkpoint.

    The devices of the training run need not exist: weights arrive as numpy arrays. Those of a
    run are its averages, with what it kept frozen.

    Raises:
      ValueError: nothing there, truncated, damaged, or not a checkpoint of omnigen; one line.
    """
    folder, items = _locate(pathlib.Path(path).absolute())
    try:
        header = json.loads((folder / "config" / "metadata").read_text())
        found, step, config = header["omnigen_format"], int(header["step"]), header["config"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder}: not a checkpoint of omnigen: unreadable config") from error
    if found != FORMAT:
        raise ValueError(f"{folder}: checkpoint format {found}, but this omnigen reads {FORMAT}")
    params: dict[str, Any] = {}
    for item in items:
        tree = _read(folder / item, subtree="ema" if item == "state" else None)
        _verify(folder / item, tree, header.get("checksums"))
        params |= tree
    wanted = jnp.dtype(dtype)
    params = jax.tree.map(lambda leaf: leaf.astype(wanted, copy=False), params)
    return LoadedModel(config=config, params=params, step=step, path=str(folder))


def graft(params: dict[str, Any], model: LoadedModel) -> dict[str, Any]:
    """Returns `params` with those top-level parts replaced that `model` has.

    Raises:
      ValueError: no part in common, or a part of another shape.
    """
    shared = params.keys() & model.params.keys()
    if not shared:
        raise ValueError(f"{model.path} has {sorted(model.params)} but none of {sorted(params)}")
    for part in shared:
        ours, theirs = _shapes(params[part]), _shapes(model.params[part])
        wrong = sorted(path for path in ours | theirs if ours.get(path) != theirs.get(path))
        if wrong:
            path = wrong[0]
            raise ValueError(
                f"{model.path} does not fit this model: {part}/{path} is {theirs.get(path)} "
                f"there and {ours.get(path)} here"
            )
    return {part: model.params[part] if part in shared else params[part] for part in params}


def export_model(
    path: str | pathlib.Path, output: str | pathlib.Path, *, dtype: str = "bfloat16"
) -> LoadedModel:
    """Writes the model of a checkpoint as a model-only checkpoint, with checksums.

    Raises:
      ValueError: see `load_model`; or `output` exists.
    """
    output = pathlib.Path(output).absolute()
    if output.exists():
        raise ValueError(f"{output}: already exists")
    model = load_model(path, dtype=dtype)
    header = _describe(model.config, step=model.step)
    header["checksums"] = _checksums(model.params)
    handler = ocp.CompositeCheckpointHandler(
        model=ocp.StandardCheckpointHandler(), config=ocp.JsonCheckpointHandler()
    )
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(
            output,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model.params), config=ocp.args.JsonSave(header)
            ),
        )
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


def _locate(path: pathlib.Path) -> tuple[pathlib.Path, tuple[str, ...]]:
    """The checkpoint folder that `path` means, and its items with weights."""
    if not path.is_dir():
        raise ValueError(f"{path}: no such checkpoint folder")
    for parent in (path / _FOLDER, path):
        steps = [int(p.name) for p in parent.glob("*") if p.name.isdigit() and p.is_dir()]
        if steps:
            path = parent / str(max(steps))
            break
    if (path / "model").is_dir():
        return path, ("model",)
    if (path / "state").is_dir():
        return path, ("frozen", "state") if (path / "frozen").is_dir() else ("state",)
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
        target = jax.tree.map(lambda leaf: np.empty((), leaf.dtype), stored)
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), stored)
        arguments = ocp.args.PyTreeRestore(item=target, restore_args=how, partial_restore=True)
        restored = handler.restore(epath.Path(folder), args=arguments)
    except Exception as error:
        raise ValueError(f"{folder}: damaged checkpoint: {_one_line(error)}") from error
    return restored[subtree] if subtree else restored


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every leaf with its path, such as `layers/mlp/up`."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {path: tuple(leaf.shape) for path, leaf in _leaves(tree)}


def _checksums(params: Any) -> dict[str, int]:
    """CRC-32 of each array's bytes, by path."""
    return {path: zlib.crc32(_bytes(leaf)) for path, leaf in _leaves(params)}


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array, which numpy does not lend for bfloat16."""
    return np.ascontiguousarray(array).ravel().view(np.uint8).data


def _verify(folder: pathlib.Path, params: Any, expected: Mapping[str, int] | None) -> None:
    """Compares the arrays with the checksums of a model-only checkpoint; Orbax has none."""
    if expected is None:
        return
    found = _checksums(params)
    wrong = sorted(
        path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path)
    )
    if wrong:
        raise ValueError(f"{folder}: damaged checkpoint: wrong checksum of {wrong[0]}")


def _one_line(error: Exception) -> str:
    """The start of an error message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"
