# SPDX-License-Identifier: Apache-2.0
"""Runs a stretch of training again and compares: the same numbers, or a chip that miscounts.

Training is a function of checkpoint, data and seed. So what lies between two checkpoints can be
made again on the same kind of devices, and must end in the second one to the bit. If it does not,
some device, or its memory, was silently wrong the first or the second time.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from omnigen import parallel
from omnigen.checkpoints import checksums, manager
from omnigen.training import loop, metrics, optim, state, step
from omnigen.training.changes import NOTHING_KNOWN, Past, Schema
from omnigen.training.stage import Stage, TrainConfig


@dataclasses.dataclass(frozen=True)
class Replay:
    """What a replay found.

    Attributes:
        first: Step of the checkpoint that it began with.
        last: Step of the checkpoint that it was compared with.
        losses: Steps whose loss differs from the one in metrics.jsonl; only lines of one step
            count.
        arrays: Paths of the arrays that differ at the end.
    """

    first: int
    last: int
    losses: list[int]
    arrays: list[str]

    @property
    def line(self) -> str:
        """A line for the user."""
        where = f"steps {self.first + 1} to {self.last}"
        if not self.losses and not self.arrays:
            return f"{where}: every array is the same to the bit"
        since = f"; losses since step {self.losses[0]}" if self.losses else ""
        arrays = f"{len(self.arrays)} arrays differ, such as {self.arrays[0]}{since}"
        return f"{where}: {arrays if self.arrays else f'only losses differ{since}'}"


def replay(
    stage: Stage,
    config: TrainConfig,
    *,
    first: int,
    optimizer: optim.OptimizerConfig,
    mesh: Mesh,
    workdir: pathlib.Path,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    schema: Schema = NOTHING_KNOWN,
    started: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = print,
) -> Replay:
    """Trains from checkpoint `first` to the next one and compares with it; writes nothing.

    A run may go on there meanwhile. `started` is called when there is nothing left that could be
    bad input. `settings` and `schema` are those of `loop.run`; what has changed since is said.

    Raises:
        ValueError: If there is no such checkpoint, none after it, one without digests, or one whose
            weights mean something else with these settings.
    """
    sharding = parallel.sharding(mesh, ("batch",))
    shard = parallel.data_shard(
        sharding, config.global_batch_size, microbatches=config.microbatches
    )
    transformation = loop.prepare_optimizer(stage, config, optimizer)
    target = state.abstract(mesh, stage.init, axes=stage.axes(), optimizer=transformation)
    frozen_target = loop.abstract_frozen(stage, mesh)
    past = Past(settings or {}, schema, parts=[*target["params"], *frozen_target])
    accept = past.accept if settings is not None else None
    last, truth, begin = _ends(
        workdir, first, say=say, state=target, frozen=frozen_target, accept=accept
    )
    for line in past.lines:
        say(line)
    known = _losses(workdir / "metrics.jsonl")
    place = past.place(begin.position)
    feed = loop.open_feed(stage, config, mesh=mesh, shard=shard, position=place)
    now, frozen, wrong = begin.state, begin.frozen, []
    make = step.make_step(stage, config, optimizer=transformation, seed=seed)
    try:
        with jax.set_mesh(mesh):
            item = loop.first_batch(feed, place=place, step=first, say=say)
            started()
            compiled, line = loop.compile_step(make, now, frozen, item.batch, mesh=mesh)
            say(line)
            for number in range(first + 1, last + 1):
                item = feed.get() if number > first + 1 else item
                now, report = compiled(now, frozen, item.batch)
                loss = float(report["loss"])
                if number in known and known[number] != loss:
                    wrong.append(number)
    finally:
        feed.close()
    trees = {"state": now, "frozen": frozen} if frozen else {"state": now}
    differ = checksums.damaged_leaves(truth, checksums.Digester()(trees)())
    return Replay(first=first, last=last, losses=wrong, arrays=differ)


def _ends(
    workdir: pathlib.Path, first: int, *, say: Callable[[str], None], **restored: Any
) -> tuple[int, checksums.Seal, manager.Snapshot]:
    """Returns the step to end at, its checkpoint's seal, and what that of step `first` holds."""
    if not (workdir / "checkpoints").is_dir():
        raise ValueError(f"{workdir}: no checkpoints to replay")
    saved = manager.Checkpoints(workdir, keep=2, read_only=True, warn=say)
    try:
        last = _next(saved.steps, first)
        truth = checksums.read(workdir.absolute() / "checkpoints" / str(last))
        if truth is None:
            raise ValueError(f"checkpoint {last} has no digests to compare with")
        return last, truth, saved.restore(first, **restored)
    finally:
        saved.close()


def _next(steps: list[int], first: int) -> int:
    later = [number for number in steps if number > first]
    if first not in steps or not later:
        raise ValueError(
            f"a replay needs the checkpoint of step {first} and a later one; there are {steps}"
        )
    return later[0]


def _losses(path: pathlib.Path) -> dict[int, float]:
    """Returns the loss of every step that has a line of its own; truncated lines have none."""
    found: dict[int, float] = {}
    for _, line in metrics.read_lines(path) if path.exists() else ():
        if line is not None and line.get("loss") is not None:
            found[line["step"]] = line["loss"]
    return {number: loss for number, loss in found.items() if number - 1 in found}
