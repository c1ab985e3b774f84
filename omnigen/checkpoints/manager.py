# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of a run: saving in the background, and resuming.

A run keeps `WORKDIR/checkpoints/<step>/` with the Orbax items `state` (params, opt, ema, step),
`frozen` (weights that the stage uses but does not train), `data` (each process's place in the data)
and `config` (JSON). Nothing is pickled, and every folder is sealed with digests of its arrays and
files (`seal`), which are compared whenever it is read. For the model alone see `model`.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from omnigen import cli, files, parallel
from omnigen.checkpoints import checksums, data_position, store
from omnigen.checkpoints.model import (
    FOLDER,
    describe,
    explain,
    read_header,
    refuse_damage,
    refuse_link,
)
from omnigen.checkpoints.model import LoadedModel as LoadedModel
from omnigen.checkpoints.model import export_model as export_model
from omnigen.checkpoints.model import load_model as load_model
from omnigen.checkpoints.store import DamagedError

_log = cli.logger(__name__)
Accept = Callable[[dict[str, Any], str], None]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything that a run saves at one step."""

    state: Any
    frozen: Any
    position: bytes


class Checkpoints:
    """The checkpoints of one run; saving happens in the background.

    Args:
        workdir: The run's folder.
        keep: Number of checkpoints to keep, the newest.
        read_only: Whether to make, save and remove nothing, as a run may be saving there.
        warn: Called with a line for each checkpoint that is passed over or has no seal.
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
            "data": data_position.Handler(),
            "config": ocp.JsonCheckpointHandler(),
        }
        self._folder = pathlib.Path(workdir).absolute() / FOLDER
        _check_steps(self._folder)
        self._warn = warn
        self._digester = checksums.Digester()
        self._saving: Callable[[], None] = lambda: None
        self._early: checksums.EarlyFiles | None = None
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
        early = self._early = checksums.EarlyFiles(unnamed)

        def write_seal() -> None:
            early.stop()
            leaves = checksums.leaves(described, digests.result()())
            folder = unnamed() or self._folder / str(step)
            checksums.wait_for_notes(folder)
            checksums.write(folder, step=step, leaves=leaves, describe=early)

        self._saving = write_seal
        items: dict[str, Any] = {
            **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()},
            "data": data_position.Save(snapshot.position),
            "config": ocp.args.JsonSave(describe(config, step=step)),
        }
        self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        try:
            digests.set_result(self._digester(trees))
        except BaseException as error:
            digests.set_exception(error)  # or the thread that writes would wait for ever
            raise

    def check(self) -> None:
        """Raises an error that came up in the background, such as a full disk.

        Orbax's own check would take the error away from the thread that removes old checkpoints,
        which then would do so although the new one was never made.
        """
        if not self._manager.is_saving_in_progress():
            self._manager.wait_until_finished()

    def restore(
        self, step: int, *, state: Any, frozen: Any, accept: Accept | None = None
    ) -> Snapshot:
        """Restores onto the devices that the abstract trees `state` and `frozen` name.

        The devices, and how many processes there are, may be others than when it was saved.

        `accept` gets the stored config and the folder before arrays are read, and may raise.

        Raises:
            DamagedError: If the checkpoint has changed since it was saved; the message names the
                file and the array.
            ValueError: If the checkpoint is of another model.
        """
        folder, trees = self._folder / str(step), _items(state, frozen)
        items = {name: ocp.args.StandardRestore(tree) for name, tree in trees.items()}
        digests: dict[str, str] = {}
        sizes = _check_step(folder)
        found = checksums.read(folder)
        bad = self._bad_files(folder, found, sizes)
        try:
            if found is not None:
                _check_fits(found, trees)
            for item, tree in trees.items():
                _check_shapes(item, tree, store.survey(folder, item, sizes))
            if bad and jax.process_count() > 1:
                raise ValueError("the rest was not read")
            stored = read_header(folder)["config"] if accept is not None and not bad else None
        except Exception as error:
            raise explain(folder, error, bad) from error
        if accept is not None and stored is not None:
            accept(stored, str(folder))
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
            if found is not None:
                digests = self._digester({name: restored[name] for name in trees})()
            place = data_position.read(folder / "data")
        except Exception as error:
            raise explain(folder, error, bad) from error
        if found is None:
            self._warn(f"{folder} has no digests: what it holds cannot be checked")
        else:
            refuse_damage(folder, bad, checksums.damaged_leaves(found, digests))
        return Snapshot(
            state=restored["state"],
            frozen=restored["frozen"] if frozen else {},
            position=place,
        )

    def restore_newest(
        self, *, state: Any, frozen: Any, accept: Accept | None = None
    ) -> Snapshot | None:
        """Restores the newest sound checkpoint, see `restore`; None if there is none at all.

        Damaged ones that are newer are renamed to `<step>.damaged`, with a warning.

        Raises:
            ValueError: As in `restore`, or if all are damaged.
        """
        for step in reversed(steps := self.steps):
            try:
                return self.restore(step, state=state, frozen=frozen, accept=accept)
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

    def _bad_files(
        self, folder: pathlib.Path, found: checksums.Seal | None, sizes: Mapping[str, int]
    ) -> list[str]:
        """Returns damaged files; every host looks at some, and all learn whether any is bad."""
        if found is None:
            return []
        count = jax.process_count()
        bad = checksums.damaged_files(folder, found, sizes, index=jax.process_index(), count=count)
        if count > 1:
            anywhere = multihost_utils.process_allgather(np.bool_(bool(bad)))
            bad = bad or ["a file that another host found"] * bool(np.any(anywhere))
        return bad

    def preempted(self, step: int) -> bool:
        """Returns whether some host of a multi-host run is to stop; all agree on the step."""
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
    """Returns the items of a run's checkpoint that hold arrays."""
    return {"frozen": frozen, "state": state} if frozen else {"state": state}


def _check_fits(found: checksums.Seal, trees: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another model, by the shapes and dtypes in its seal."""
    wanted = {path: leaf for item in trees for path, leaf in checksums.paths(trees[item], item)}
    stored = {path: leaf for path, leaf in found.leaves.items() if path.split("/")[0] in trees}
    for path in sorted(wanted.keys() | stored.keys()):
        ours, theirs = wanted.get(path), stored.get(path)
        there = f"{theirs.dtype} {theirs.shape}" if theirs else "absent"
        here = f"{ours.dtype} {tuple(ours.shape)}" if ours is not None else "absent"
        if there != here:
            raise ValueError(f"of another model: {path} is {there} there and {here} here")


def _check_shapes(item: str, tree: Any, stored: Mapping[str, store.Array]) -> None:
    """Refuses an item that declares an array of another shape than the run has."""
    for path, leaf in checksums.paths(tree, ""):
        if path in stored and stored[path].shape != tuple(leaf.shape):
            raise ValueError(
                f"of another model: {item}/{path} is {stored[path].shape} there and "
                f"{tuple(leaf.shape)} here"
            )


def _check_step(folder: pathlib.Path) -> dict[str, int]:
    """Checks a step's folder, which may be no link, as `store.check_folder` does."""
    refuse_link(folder)
    return store.check_folder(folder)


def _check_steps(folder: pathlib.Path) -> None:
    """Checks a run's `checkpoints` before Orbax opens, renames or removes anything there.

    A link there is refused, too: saving would write, and remove old steps, where it leads.

    Raises:
        ValueError: If something is neither file nor folder; one line names it.
    """
    refuse_link(folder)
    if not folder.is_dir():
        return
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(DamagedError):  # a run may be saving there; `restore` tells
                store.check_folder(pathlib.Path(entry.path))
        elif not entry.is_file(follow_symlinks=False):
            what = files.kind(entry.stat(follow_symlinks=False))
            raise ValueError(f"{folder}: refused: {cli.printable(entry.name)} is {what}")
