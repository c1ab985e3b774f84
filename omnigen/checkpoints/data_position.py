# SPDX-License-Identifier: Apache-2.0
"""The place in the data: the item `data` of a run's checkpoint, a file for each process.

Grain's own handler writes the same files, but lets the caller wait for them.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import future

from omnigen import files
from omnigen.checkpoints import store


class Handler(ocp.AsyncCheckpointHandler):
    """Writes the place in the background."""

    async def async_save(self, directory: epath.Path, args: "Save") -> list[future.Future]:
        """Starts to write; `args.item` is the place, as a data iterator described it."""
        return [future.CommitFutureAwaitingContractedSignals(_write(directory, args.item))]

    def save(self, directory: epath.Path, args: "Save") -> None:
        """Refuses to save synchronously."""
        raise NotImplementedError

    def restore(self, directory: epath.Path, args: Any = None) -> bytes:
        """Reads the place."""
        del args
        return read(pathlib.Path(directory))


@ocp.args.register_with_handler(Handler, for_save=True, for_restore=True)
@dataclasses.dataclass
class Save(ocp.args.CheckpointArgs):
    """The argument of a save: the place."""

    item: bytes


async def _write(folder: epath.Path, place: bytes) -> None:
    (folder / f"process_{jax.process_index()}-of-{jax.process_count()}.json").write_bytes(place)


def read(folder: pathlib.Path) -> bytes:
    """Reads the place, which is the same for all processes, however many there were.

    Raises:
        OSError: If there is none, or it cannot be read.
        ValueError: If it is no regular file, or too large.
    """
    ours = folder / f"process_{jax.process_index()}-of-{jax.process_count()}.json"
    others = [] if ours.exists() else sorted(folder.glob("process_0-of-*.json"))
    return files.read(others[0] if others else ours, most=store.MOST_BYTES, follow=False)


def changes(then: bytes, now: bytes, *, step: int) -> list[str]:
    """Returns a line if the corpora's contents changed since a run was at that step.

    Args:
        then: Place that was stored; empty for a run that begins.
        now: Place later in the same run.
        step: Step of the checkpoint with the first place.
    """
    was, found = (_state(place).get("content") for place in (then, now))
    if not was or not found or was == found:  # of corpora that come or go, settings tell
        return []
    return [
        f"changed since step {step}: the pictures or captions of the corpora in data.mixture; it "
        "goes on at the same place in those of now"
    ]


def with_size(place: bytes, settings: Mapping[str, Any]) -> bytes:
    """Adds the batch size to a place that an older version stored as a number of batches.

    Args:
        place: Place from `read`.
        settings: Settings that were stored with it.
    """
    state = _state(place)
    if "batch" not in state or "examples" in state:
        return place
    train = settings.get("train")
    size = train.get("global_batch_size") if isinstance(train, Mapping) else None
    if not isinstance(size, int) or size < 1:
        return place
    return json.dumps({**state, "size": size}).encode()


def _state(place: bytes) -> dict[str, Any]:
    state = json.loads(place) if place else {}
    return state if isinstance(state, dict) else {}
