# SPDX-License-Identifier: Apache-2.0
"""The training loop. There is one, for every stage, and it knows none of their names."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from omnigen import files, parallel
from omnigen.checkpoints import data_position, manager
from omnigen.checkpoints.graft import graft
from omnigen.checkpoints.model import Check
from omnigen.training import guard, metrics, optim, state
from omnigen.training.changes import NOTHING_KNOWN, Changes, Past, Schema
from omnigen.training.feed import Feed, Item
from omnigen.training.goodput import Activity, Ledger
from omnigen.training.stage import Batch, Evaluator, Params, Stage, TrainConfig
from omnigen.training.step import make_gradients, make_step
from omnigen.training.watchdog import Watchdog

_COMPILING = (
    "compiling the step, which takes seconds for small models and minutes for large ones ..."
)
_WEIGHTS = (1 << 32) - 1  # the key of random weights: that of a step which never comes


@dataclasses.dataclass(frozen=True)
class _Start:
    """Where a run starts: weights on devices, and the place in the data."""

    state: state.State
    frozen: Params
    position: bytes
    origin: str


def abstract_frozen(stage: Stage, mesh: Mesh) -> Params:
    """Returns shapes, dtypes and shardings of the frozen weights."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        stage.frozen,
        parallel.tree_sharding(mesh, stage.frozen_axes()),
    )


def _start(
    stage: Stage,
    config: TrainConfig,
    mesh: Mesh,
    saved: manager.Checkpoints,
    check: Check | None,
    *,
    optimizer: optax.GradientTransformation,
    seed: int,
    settings: Mapping[str, Any],
    schema: Schema,
    say: Callable[[str], None],
) -> _Start:
    """Finds what to start from: the first of these that exists.

    1. The newest sound checkpoint of the workdir: everything, frozen weights and place in the data
       too. Settings that have changed since are told, or refused (see `changes`).
    2. `config.init_from`: its weights where it has them, with fewer layers too (see
       `graft.deepen`), the rest as in 3; a fresh optimizer.
    3. `stage.init`.
    """
    target = state.abstract(mesh, stage.init, axes=stage.axes(), optimizer=optimizer)
    frozen_target = abstract_frozen(stage, mesh)
    saved.prepare(state=target, frozen=frozen_target)
    if saved.steps:
        past = Past(settings, schema, parts=[*target["params"], *frozen_target])
        with metrics.timed(say, f"restoring step {saved.steps[-1]}"):
            found = saved.restore_newest(state=target, frozen=frozen_target, accept=past.accept)
        assert found is not None
        for line in past.lines:
            say(line)
        place = past.place(found.position)
        return _Start(found.state, found.frozen, place, "the newest checkpoint")
    loaded = None
    if config.init_from:
        loaded = manager.load_model(config.init_from, check=check)
        for line in Changes(loaded.config, settings, schema).refuse(
            target["params"].keys() & loaded.params.keys(),
            path=loaded.path,
            learning=config.relearnt,
            hint="; train.relearn={key} lets it learn anew",
        ):
            say(line)
    frozen = jax.tree.map(
        lambda leaf, array: jax.device_put(array, leaf.sharding), frozen_target, stage.frozen
    )
    key = jax.random.fold_in(jax.random.key(seed), _WEIGHTS)
    with metrics.timed(say, "making random weights"):
        first = state.create(target, stage.init, optimizer=optimizer, key=key)
        jax.block_until_ready(first)
    if loaded is None:
        return _Start(first, frozen, b"", "random weights")
    params = graft(first.pop("params"), loaded, stage.axes(), added=stage.added)
    del first
    first = state.adopt(target, params, optimizer=optimizer)
    return _Start(first, frozen, b"", f"the weights of {loaded.path}")


class _Stop:
    """Remembers the first SIGTERM or SIGINT; a second one acts as usual.

    With several hosts it leaves signals alone: all must stop at the same step, which is what
    `Checkpoints.preempted` finds out.
    """

    signum: int = 0

    def __enter__(self) -> "_Stop":
        self._before = {}
        alone = jax.process_count() == 1
        if alone and threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._before[signum] = signal.signal(signum, self._remember)
        return self

    def _remember(self, signum: int, frame: Any) -> None:
        del frame
        self.signum = signum
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def __exit__(self, *_: Any) -> None:
        self._restore()


def _judge(
    evaluators: Sequence[Evaluator], params: Params, frozen: Params, *, beat: Callable[[], None]
) -> dict[str, float]:
    """Runs all evaluators, with `beat` after each metric; returns metrics as `name/metric`."""
    found = {}
    for evaluator in evaluators:
        for name, value in evaluator.run(params, frozen):
            found[f"{evaluator.name}/{name}"] = value
            beat()
    return found


def _header(stage: Stage, config: TrainConfig, begin: _Start, *, mesh: Mesh, step: int) -> str:
    trained, fixed = (
        sum(leaf.size for leaf in jax.tree.leaves(tree)) / 1e6
        for tree in (begin.state["params"], begin.frozen)
    )
    axes = " ".join(f"{name}={size}" for name, size in mesh.shape.items() if size > 1)
    kind = mesh.devices.flat[0].device_kind
    return (
        f"stage {stage.name}: {trained:.1f} M weights to train, {fixed:.1f} M frozen | "
        f"{mesh.size} x {kind} ({axes or 'one device'}), {jax.process_count()} hosts | "
        f"global batch {config.global_batch_size} in {config.microbatches} parts | "
        f"step {step} of {config.steps}, from {begin.origin}"
    )


def compile_step(
    step: Callable[..., Any], train_state: Any, frozen: Any, batch: Batch, *, mesh: Mesh
) -> tuple[Callable[..., Any], str]:
    """Returns the step as an executable that reuses the state's memory, and a line about it.

    Arrays may be abstract.
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, train_state)
    jitted = jax.jit(step, out_shardings=(shardings, parallel.sharding(mesh, ())), donate_argnums=0)
    since = time.perf_counter()
    compiled = jitted.lower(train_state, frozen, batch).compile()
    line = f"compiled the step in {time.perf_counter() - since:.1f} s"
    memory = compiled.memory_analysis()
    if memory is not None:
        held, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
        line += f" | a device holds {held / 2**30:.2f} GiB + {temporary / 2**30:.2f} GiB temporary"
    return compiled, line


def _shapes(batch: Batch) -> tuple[Any, tuple[tuple[int, ...], ...]]:
    """Returns the shapes that decide which program takes a batch."""
    leaves, structure = jax.tree.flatten(batch)
    return structure, tuple(leaf.shape for leaf in leaves)


def prepare_optimizer(
    stage: Stage, config: TrainConfig, optimizer: optim.OptimizerConfig
) -> optax.GradientTransformationExtraArgs:
    """Returns the optimizer of a run, with the guard against spikes if it is on."""
    shapes = jax.eval_shape(stage.init, jax.random.key(0))
    built = optim.build(optimizer, axes=stage.axes(), shapes=shapes, total_steps=config.steps)
    return guard.watch(built) if config.spike_sigmas else built


def open_feed(
    stage: Stage, config: TrainConfig, *, mesh: Mesh, shard: parallel.DataShard, position: bytes
) -> Feed:
    """Returns this process's stream of batches, going on at `position`."""
    local_batch_size = config.global_batch_size // shard.count
    return Feed(
        stage.dataset(local_batch_size, shard),
        position=position,
        rates=stage.rates,
        sharding=parallel.sharding(mesh, ("batch",)),
        local_batch_size=local_batch_size,
        global_batch_size=config.global_batch_size,
    )


def first_batch(feed: Feed, *, place: bytes, step: int, say: Callable[[str], None]) -> Item:
    """Waits for the first batch of a run, and says if the corpora have changed."""
    item = feed.get()
    for line in data_position.changes(place, item.position, step=step):
        say(line)
    return item


def _window(
    config: TrainConfig, *, start: int, mesh: Mesh, shard: parallel.DataShard
) -> metrics.Window:
    """Returns the collector of the steps between two lines."""
    return metrics.Window(
        steps=config.steps,
        log_every=config.log_every,
        start=start,
        devices=mesh.size,
        parts=shard.count,
    )


def _missing(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders on the way to a folder that do not exist, with itself as the last."""
    return [path for path in (*reversed(folder.parents), folder) if not path.exists()]


@contextlib.contextmanager
def _occupied(folder: pathlib.Path) -> Iterator[None]:
    """Makes the run's folder and keeps other runs out of it.

    Raises:
        ValueError: If another run is there, or something that this one cannot write to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder, work="a run"):
        metrics.check_files(folder)
        yield


def _remove_empty(*folders: pathlib.Path) -> None:
    """Removes folders from the last to the first, as long as nothing is in them."""
    with contextlib.suppress(OSError):
        for folder in reversed(folders):
            folder.rmdir()


def run(
    stage: Stage,
    config: TrainConfig,
    *,
    optimizer: optim.OptimizerConfig,
    mesh: Mesh,
    workdir: str | os.PathLike[str],
    settings: Mapping[str, Any],
    schema: Schema = NOTHING_KNOWN,
    seed: int = 0,
    evaluators: Sequence[Evaluator] = (),
    began: float | None = None,
    started: Callable[[], None] = lambda: None,
    check: Check | None = None,
) -> dict[str, float]:
    """Trains a stage, going on from the newest sound checkpoint of `workdir` if it has one.

    On SIGTERM or SIGINT it saves after the running step and exits with 143 or 130.

    Args:
        stage: Stage to train.
        config: Settings of the loop.
        optimizer: Settings of the optimizer.
        mesh: Mesh of the devices.
        workdir: Folder of the run; it receives checkpoints, metrics, logs and samples.
        settings: Resolved config of the run, as JSON; stored in each checkpoint, and compared with
            what is stored there.
        schema: Knowledge about the keys of the settings.
        seed: Seed of weights and of everything random in training.
        evaluators: Judges of the averaged weights, every `config.eval_every` steps.
        began: Time when the process began, by `time.time()`, for the ledger; now by default.
        started: Called once no bad input can come up any more; until then nothing is written.
        check: Check of the checkpoint in `config.init_from`; see `model.load_model`.

    Returns:
        The values of the last line.

    Raises:
        ValueError: If the mesh does not divide a batch, a rule of the optimizer matches no
            parameter, a checkpoint does not fit, or another run is in the workdir.
        FloatingPointError: If ten steps in a row were skipped; see `guard`.
    """
    shard = parallel.data_shard(
        parallel.sharding(mesh, ("batch",)),
        config.global_batch_size,
        microbatches=config.microbatches,
    )
    transformation = prepare_optimizer(stage, config, optimizer)
    learning_rate = optim.schedule(optimizer, config.steps)
    folder = pathlib.Path(workdir)
    last_line, terminal = dict[str, float](), metrics.Terminal()
    say = terminal.say
    first_host = jax.process_index() == 0

    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(_Stop())
        stack.callback(_remove_empty, *_missing(folder), folder / "checkpoints")
        if first_host:
            stack.enter_context(_occupied(folder))
        stack.enter_context(jax.set_mesh(mesh))
        ledger = Ledger(folder if first_host else None, began=began or time.time(), warn=say)
        saved = manager.Checkpoints(folder, keep=config.keep_checkpoints, warn=say)
        stack.callback(saved.close)
        with ledger.into(Activity.CHECKPOINT_RESTORE if saved.steps else Activity.TRAINING_PREP):
            given: Any = {"settings": settings, "schema": schema, "say": say, "seed": seed}
            begin = _start(stage, config, mesh, saved, check, optimizer=transformation, **given)
        train_state, frozen, place = begin.state, begin.frozen, begin.position
        start = int(train_state["step"])
        ledger.resume(start)
        say(_header(stage, config, begin, mesh=mesh, step=start))
        if start >= config.steps:
            say(f"nothing to do: step {start} of {config.steps} is done")
            metrics.Reporter(folder, step=start, terminal=terminal).close()
            return last_line

        with metrics.timed(say, "opening the data and making the first batch"):
            feed = open_feed(stage, config, mesh=mesh, shard=shard, position=place)
            stack.callback(feed.close)
            item = first_batch(feed, place=place, step=start, say=say)
        started()
        reporter = metrics.Reporter(folder, step=start, terminal=terminal)
        stack.callback(reporter.close)
        reporter.settings(settings)
        reporter.text(_COMPILING)
        with ledger.into(Activity.PROGRAM_STARTUP):
            step_fn = make_step(stage, config, optimizer=transformation, seed=seed)
            program, line = compile_step(step_fn, train_state, frozen, item.batch, mesh=mesh)
        programs = {_shapes(item.batch): program}
        del begin
        reporter.text(line)
        window = _window(config, start=start, mesh=mesh, shard=shard)
        dog = Watchdog(folder / f"stacks-{jax.process_index()}.txt", exit_s=config.hang_exit_s)
        stack.callback(dog.close)
        recent: collections.OrderedDict[int, Item] = collections.OrderedDict()

        def report(*, in_flight: int) -> None:
            for values in window.fetch(in_flight=in_flight):
                values["learning_rate"] = float(learning_rate(values["step"] - 1))
                reporter.metrics(values, steps=config.steps)
                last_line.update(values)
                ledger.write(int(values["step"]))

        @contextlib.contextmanager
        def pause(activity: Activity) -> Iterator[None]:
            """Excludes the time of the block from training time."""
            report(in_flight=0)
            since = time.perf_counter()
            with dog.pause(), ledger.into(activity):
                yield
            window.exclude(time.perf_counter() - since)

        def train(step: int) -> None:
            nonlocal item, train_state
            if step > start + 1:
                since = time.perf_counter()
                with ledger.into(Activity.DATA_LOADING_SYNC):
                    item = feed.get()
                window.data_wait += time.perf_counter() - since
            shapes = _shapes(item.batch)
            if shapes not in programs:  # pictures of another size
                reporter.text(_COMPILING)
                with pause(Activity.PROGRAM_STARTUP):
                    programs[shapes], line = compile_step(
                        step_fn, train_state, frozen, item.batch, mesh=mesh
                    )
                reporter.text(line)
            train_state, step_metrics = programs[shapes](train_state, frozen, item.batch)
            window.add(step, step_metrics, item.rates)
            recent[step] = item  # kept for evidence: metrics are known one step late
            report(in_flight=1)
            saved.check()
            dog.beat()
            while len(recent) > 2:
                recent.popitem(last=False)

        def finish() -> None:
            doing = metrics.timed(reporter.text, f"writing the checkpoint of step {step}")
            with ledger.into(Activity.CHECKPOINT_SAVE), doing:
                saved.close()
            ledger.write(step)
            reporter.text(ledger.line())

        ledger.enter(Activity.PRODUCTIVE)
        try:
            for step in range(start + 1, config.steps + 1):
                train(step)
                last = step == config.steps

                def due(every: int, step: int = step, last: bool = last) -> bool:
                    return every > 0 and (last or step % every == 0)

                if due(config.sample_every):
                    doing = metrics.timed(reporter.text, f"drawing samples of step {step}")
                    with pause(Activity.CUSTOM), doing:
                        images = stage.samples(train_state["ema"], frozen, seed)
                        reporter.images(images, step=step)
                if due(config.eval_every):
                    doing = metrics.timed(reporter.text, f"judging step {step}")
                    with pause(Activity.CUSTOM), doing:
                        judged = _judge(evaluators, train_state["ema"], frozen, beat=dog.beat)
                        reporter.metrics({"step": step, **judged}, steps=config.steps)
                        last_line.update(judged)
                stopped = bool(stop.signum) or saved.preempted(step)
                if last or stopped or due(config.checkpoint_every):
                    with pause(Activity.CHECKPOINT_SAVE):
                        snapshot = manager.Snapshot(train_state, frozen, item.position)
                        saved.save(step, snapshot, settings)
                if stopped and not last:
                    reporter.text(f"told to stop: saving step {step}")
                    finish()
                    raise SystemExit(128 + (stop.signum or signal.SIGTERM))
            report(in_flight=0)
            finish()
        except metrics.SkippedError as error:
            gradients = jax.jit(make_gradients(stage, config, seed=seed))
            params, item = train_state["params"], recent[error.step]
            _, grads = gradients(params, frozen, item.batch, error.step - 1)
            guard.leave_evidence(folder, error, item=item, seed=seed, params=params, grads=grads)
            raise
    return last_line
