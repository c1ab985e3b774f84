# SPDX-License-Identifier: Apache-2.0
"""The training loop. There is one, for every stage, and it knows none of their names."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from omnigen import parallel
from omnigen.training import checkpoint, metrics, optim, state
from omnigen.training.feed import Feed
from omnigen.training.metrics import Rates

Params = state.Params
Batch = dict[str, Any]


class Evaluator(Protocol):
    """Judges weights; also used outside of training."""

    name: str

    def run(self, params: Params, frozen: Params) -> Iterable[tuple[str, float]]:
        """Yields metric names and values."""
        ...


class Stage(Protocol):
    """All that differs between training one thing and another.

    `params` are trained and `frozen` are not; both are dicts whose top-level keys are parts of the
    model. A batch is a dict of arrays `[batch, ...]`; `prepare` may add scalars, which are global
    normalisers. `keys_B` holds one random key for each example, the same on any mesh.
    """

    name: str
    frozen: Params

    def init(self, key: jax.Array) -> Params:
        """Returns initial weights; jitted."""
        ...

    def axes(self) -> Any:
        """Returns the tree of dim names of the weights."""
        ...

    def frozen_axes(self) -> Any:
        """Returns the tree of dim names of the frozen weights."""
        ...

    def dataset(self, batch_size: int, shard: parallel.DataShard) -> Any:
        """Returns an iterable of local batches of `batch_size` whose iterators can be resumed."""
        ...

    def prepare(self, params: Params, frozen: Params, batch: Batch, keys_B: jax.Array) -> Batch:
        """Returns what the loss needs; jitted, sees the global batch, has no gradient."""
        ...

    def loss(
        self, params: Params, frozen: Params, batch: Batch, keys_B: jax.Array
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Returns the loss and its parts for some examples of the batch.

        All are normalised by global numbers, so that their sums over the parts of a batch are
        those of the batch.
        """
        ...

    def rates(self, batch: dict[str, np.ndarray]) -> Rates:
        """Returns what a local batch holds and costs."""
        ...

    def evaluators(self) -> Sequence[Evaluator]:
        """Returns the judges to run during training."""
        ...

    def samples(self, params: Params, frozen: Params, seed: int) -> np.ndarray:
        """Returns `[N, H, W, 3]` uint8 images to look at."""
        ...


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of the loop. Counts are in steps; 0 switches samples and evaluation off.

    Attributes:
      steps: the whole run.
      global_batch_size: examples a step, over all hosts.
      microbatches: parts of a batch that are computed one after the other, to save memory.
      log_every: steps between lines.
      checkpoint_every: steps between checkpoints; the last step always has one.
      sample_every: steps between sample grids.
      eval_every: steps between evaluations.
      keep_checkpoints: how many to keep.
      ema_decay: of the average of the weights.
      init_from: checkpoint whose weights the run starts from, or "".
      tokenizer: checkpoint of the frozen parts, or ""; read by whoever builds the stage.
    """

    steps: int = 1000
    global_batch_size: int = 64
    microbatches: int = 1
    log_every: int = 50
    checkpoint_every: int = 1000
    sample_every: int = 1000
    eval_every: int = 0
    keep_checkpoints: int = 2
    ema_decay: float = 0.999
    init_from: str = ""
    tokenizer: str = ""

    def __post_init__(self) -> None:
        for name in (
            "steps", "global_batch_size", "microbatches", "log_every", "keep_checkpoints"
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name}={getattr(self, name)} must be at least 1")
        if self.global_batch_size % self.microbatches:
            raise ValueError(
                f"train.global_batch_size={self.global_batch_size} is not a multiple of "
                f"train.microbatches={self.microbatches}"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay={self.ema_decay} must lie in [0, 1)")


def example_keys(seed: int, step: jax.Array, batch_size: int) -> jax.Array:
    """Returns one key for each example of the global batch, from its index alone."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(batch_size))


def _gradients(loss: Callable[..., Any], params: Params, batch: Batch, keys_B: Any, parts: int):
    """Loss, metrics and gradients of a batch: sums over `parts` slices of its examples.

    Part m holds every `parts`-th example, so that each device keeps its own examples.
    """
    grad = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        return grad(params, batch, keys_B)
    leaves, treedef = jax.tree.flatten((batch, keys_B))
    sliced = [leaf.ndim > 0 for leaf in leaves]

    def split(leaf: jax.Array) -> jax.Array:
        leaf = leaf.reshape(leaf.shape[0] // parts, parts, *leaf.shape[1:]).swapaxes(0, 1)
        return parallel.shard(leaf, None, "batch", *[None] * (leaf.ndim - 2))

    def one(xs: list[jax.Array]) -> Any:
        part = iter(xs)
        merged = [next(part) if cut else leaf for cut, leaf in zip(sliced, leaves, strict=True)]
        return grad(params, *jax.tree.unflatten(treedef, merged))

    def body(total: Any, xs: list[jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, one(xs)), None

    xs = [split(leaf) for cut, leaf in zip(sliced, leaves, strict=True) if cut]
    shapes = jax.eval_shape(one, [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in xs])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(body, zeros, xs)[0]


def make_step(
    stage: Stage,
    config: TrainConfig,
    *,
    optimizer: optax.GradientTransformationExtraArgs,
    seed: int,
) -> Callable[[state.State, Params, Batch], tuple[state.State, dict[str, jax.Array]]]:
    """Returns the pure training step `(state, frozen, batch) -> (state, metrics)`.

    If the loss or a gradient is not finite, weights, optimizer and averages stay as they are and
    `skipped` is 1; the step still counts, so that the next batch is another.
    """

    def train_step(
        old: state.State, frozen: Params, batch: Batch
    ) -> tuple[state.State, dict[str, jax.Array]]:
        params, step = old["params"], old["step"]
        keys_B = example_keys(seed, step, config.global_batch_size)
        prepare_B, loss_B = (
            jax.vmap(lambda k, i=i: jax.random.fold_in(k, i))(keys_B) for i in (0, 1)
        )
        batch = stage.prepare(params, frozen, batch, prepare_B)
        (loss, parts), grads = _gradients(
            lambda p, b, k: stage.loss(p, frozen, b, k), params, batch, loss_B, config.microbatches
        )
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        updates, opt = optimizer.update(grads, old["opt"], params, step=step)
        stepped: Params = jax.tree.map(jnp.add, params, updates)
        ema = state.update_ema(old["ema"], stepped, step=step, decay=config.ema_decay)
        new = {"params": stepped, "opt": opt, "ema": ema}
        kept = {name: old[name] for name in new}
        new = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, kept)
        report = {"loss": loss, **parts, "grad_norm": grad_norm, "skipped": 1.0 - finite}
        return {**new, "step": step + 1}, report

    return train_step


@dataclasses.dataclass(frozen=True)
class _Start:
    """Where a run starts: weights on devices, and the place in the data."""

    state: state.State
    frozen: Params
    position: bytes
    origin: str


def _start(
    stage: Stage,
    config: TrainConfig,
    *,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    saved: checkpoint.Checkpoints,
    seed: int,
) -> _Start:
    """Finds what to start from. The first of these that exists holds.

    1. The newest checkpoint of the workdir: everything, frozen weights and place in the data too.
    2. `config.init_from`: its weights where it has them, the rest as in 3; a fresh optimizer.
    3. `stage.init`.
    """
    target = state.abstract(mesh, stage.init, axes=stage.axes(), optimizer=optimizer)
    frozen_target = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        stage.frozen,
        parallel.tree_sharding(mesh, stage.frozen_axes()),
    )
    if saved.latest_step is not None:
        found = saved.restore(saved.latest_step, state=target, frozen=frozen_target)
        return _Start(found.state, found.frozen, found.position, "the newest checkpoint")
    frozen = jax.tree.map(
        lambda leaf, array: jax.device_put(array, leaf.sharding), frozen_target, stage.frozen
    )
    key = jax.random.key(seed)
    first = state.create(target, stage.init, optimizer=optimizer, key=key)
    if not config.init_from:
        return _Start(first, frozen, b"", "random weights")
    loaded = checkpoint.load_model(config.init_from)
    params = checkpoint.graft(first.pop("params"), loaded)
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


def _judge(judges: Sequence[Evaluator], params: Params, frozen: Params) -> dict[str, float]:
    """The metrics of all evaluators, as `evaluator/metric`."""
    return {
        f"{evaluator.name}/{name}": value
        for evaluator in judges
        for name, value in evaluator.run(params, frozen)
    }


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


def _compile(
    step: Callable[..., Any], begin: _Start, batch: Batch, *, mesh: Mesh
) -> tuple[Callable[..., Any], str]:
    """The step as an executable that reuses the state's memory, and a line about it."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, begin.state)
    jitted = jax.jit(step, out_shardings=(shardings, parallel.sharding(mesh, ())), donate_argnums=0)
    since = time.perf_counter()
    compiled = jitted.lower(begin.state, begin.frozen, batch).compile()
    line = f"compiled the step in {time.perf_counter() - since:.1f} s"
    memory = compiled.memory_analysis()
    if memory is not None:
        held, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
        line += f" | a device holds {held / 2**30:.2f} GiB + {temporary / 2**30:.2f} GiB temporary"
    return compiled, line


def run(
    stage: Stage,
    config: TrainConfig,
    *,
    optimizer: optim.OptimizerConfig,
    mesh: Mesh,
    workdir: str | os.PathLike[str],
    settings: Mapping[str, Any],
    seed: int = 0,
) -> dict[str, float]:
    """Trains a stage, going on from the newest checkpoint of `workdir` if it has one.

    On SIGTERM or SIGINT it saves after the running step and exits with 143 or 130.

    Args:
      stage: what to train.
      config: settings of the loop.
      optimizer: settings of the optimizer.
      mesh: the devices.
      workdir: the run's folder; it receives checkpoints, metrics, logs and samples.
      settings: the resolved config of the run, as JSON; stored in each checkpoint.
      seed: of weights and of everything random in training.

    Returns:
      The values of the last line.

    Raises:
      ValueError: a batch that the mesh does not divide, a rule of the optimizer without a
        parameter, or a checkpoint that does not fit.
      FloatingPointError: ten steps in a row that were not finite.
    """
    batch_sharding = parallel.sharding(mesh, ("batch",))
    shard = parallel.data_shard(
        batch_sharding, config.global_batch_size, microbatches=config.microbatches
    )
    shapes = jax.eval_shape(stage.init, jax.random.key(seed))
    transformation = optim.build(
        optimizer, axes=stage.axes(), shapes=shapes, total_steps=config.steps
    )
    learning_rate = optim.schedule(optimizer, config.steps)
    folder = pathlib.Path(workdir)
    judges = stage.evaluators()
    last_line: dict[str, float] = {}

    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.set_mesh(mesh))
        stop = stack.enter_context(_Stop())
        saved = checkpoint.Checkpoints(folder, keep=config.keep_checkpoints)
        stack.callback(saved.close)
        begin = _start(stage, config, mesh=mesh, optimizer=transformation, saved=saved, seed=seed)
        train_state, frozen, position = begin.state, begin.frozen, begin.position
        start = int(train_state["step"])
        reporter = metrics.Reporter(folder, step=start)
        stack.callback(reporter.close)
        reporter.settings(settings)
        reporter.text(_header(stage, config, begin, mesh=mesh, step=start))
        if start >= config.steps:
            reporter.text(f"nothing to do: step {start} of {config.steps} is done")
            return last_line

        local_batch_size = config.global_batch_size // shard.count
        feed = Feed(
            stage.dataset(local_batch_size, shard),
            position=position,
            rates=stage.rates,
            sharding=batch_sharding,
            local_batch_size=local_batch_size,
            global_batch_size=config.global_batch_size,
        )
        stack.callback(feed.close)
        item = feed.get()
        step_fn = make_step(stage, config, optimizer=transformation, seed=seed)
        train_step, line = _compile(step_fn, begin, item.batch, mesh=mesh)
        del begin
        reporter.text(line)
        window = metrics.Window(
            steps=config.steps,
            log_every=config.log_every,
            start=start,
            devices=mesh.size,
            parts=shard.count,
        )

        def report(*, in_flight: int) -> None:
            for values in window.fetch(in_flight=in_flight):
                values["learning_rate"] = float(learning_rate(values["step"] - 1))
                reporter.metrics(values, steps=config.steps)
                last_line.update(values)

        @contextlib.contextmanager
        def pause() -> Iterator[None]:
            """Time in here is not training time."""
            report(in_flight=0)
            since = time.perf_counter()
            yield
            window.exclude(time.perf_counter() - since)

        for step in range(start + 1, config.steps + 1):
            if step > start + 1:
                since = time.perf_counter()
                item = feed.get()
                window.data_wait += time.perf_counter() - since
            train_state, step_metrics = train_step(train_state, frozen, item.batch)
            window.add(step, step_metrics, item.rates)
            report(in_flight=1)
            last = step == config.steps

            def due(every: int, step: int = step, last: bool = last) -> bool:
                return every > 0 and (last or step % every == 0)

            if due(config.sample_every):
                with pause():
                    images = stage.samples(train_state["ema"], frozen, seed)
                    reporter.images(images, step=step)
            if due(config.eval_every):
                with pause():
                    judged = _judge(judges, train_state["ema"], frozen)
                    reporter.metrics({"step": step, **judged}, steps=config.steps)
                    last_line.update(judged)
            stopped = bool(stop.signum) or saved.preempted(step)
            if last or stopped or due(config.checkpoint_every):
                with pause():
                    snapshot = checkpoint.Snapshot(train_state, frozen, item.position)
                    saved.save(step, snapshot, settings)
            if stopped and not last:
                reporter.text(f"told to stop: saving step {step}")
                raise SystemExit(128 + (stop.signum or signal.SIGTERM))
        report(in_flight=0)
    return last_line
