# SPDX-License-Identifier: Apache-2.0
"""What keeps a run from being spoilt by a bad step, and what it leaves behind when it gives up.

A step that is not finite, or whose loss is a spike, changes nothing: not the weights, not the
optimizer, not the averages, not the statistics that spikes are judged by. So one bad batch costs
one step. Ten in a row are no accident, and end the run with evidence on disk.
"""

import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from omnigen import files
from omnigen.checkpoints import checksums
from omnigen.training.feed import Item
from omnigen.training.metrics import SkippedError

Params = dict[str, Any]
WINDOW = 64  # steps that the statistics remember, and that must pass before they judge


class Losses(NamedTuple):
    """Running mean and variance of the losses of steps that counted, and how many there were."""

    mean: jax.Array
    variance: jax.Array
    count: jax.Array


class Watched(NamedTuple):
    """An optimizer's state beside statistics of the loss; both are saved and restored together."""

    optimizer: Any
    losses: Losses


def watch(optimizer: optax.GradientTransformationExtraArgs) -> Any:
    """Returns the optimizer with statistics of the loss in its state; see `record`."""

    def init(params: Any) -> Watched:
        zero = jnp.zeros((), jnp.float32)
        return Watched(optimizer.init(params), Losses(zero, zero, jnp.zeros((), jnp.int32)))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        updates, inner = optimizer.update(updates, state.optimizer, params, **extra)
        return updates, state._replace(optimizer=inner)

    return optax.GradientTransformationExtraArgs(init, update)


def record(opt: Any, loss: jax.Array) -> Any:
    """Returns the optimizer's state after a step of this loss."""
    if not isinstance(opt, Watched):
        return opt
    # The first losses count alike, as in a plain mean, until older ones begin to be forgotten.
    mean, variance, count = opt.losses
    rate = jnp.maximum(1.0 / (count + 1), 1.0 / WINDOW)
    away = loss - mean
    mean = mean + rate * away
    variance = (1 - rate) * (variance + rate * away**2)
    return opt._replace(losses=Losses(mean, variance, count + 1))


def is_spike(opt: Any, loss: jax.Array, *, sigmas: float) -> jax.Array:
    """Returns whether the loss lies `sigmas` standard deviations above the mean of those before."""
    if not isinstance(opt, Watched):
        return jnp.zeros((), bool)
    mean, variance, count = opt.losses
    return (count >= WINDOW) & (loss > mean + sigmas * jnp.sqrt(variance))


def layer_statistics(tree: Params) -> dict[str, dict[str, float]]:
    """Returns norm, largest magnitude and number of non-finite values of each array, by path."""

    @jax.jit
    def measure(leaf: jax.Array) -> dict[str, jax.Array]:
        leaf = leaf.astype(jnp.float32)
        return {
            "norm": jnp.linalg.norm(leaf.reshape(-1)),
            "largest": jnp.max(jnp.abs(leaf)),
            "not_finite": jnp.sum(~jnp.isfinite(leaf)),
        }

    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): {
            name: float(value) for name, value in jax.device_get(measure(leaf)).items()
        }
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def local_rows(array: jax.Array) -> np.ndarray:
    """Returns the rows of a batch that this host holds, each once if several devices hold it."""
    parts = {str(shard.index): shard.data for shard in array.addressable_shards}
    return np.concatenate([np.atleast_1d(part) for part in parts.values()])


def leave_evidence(
    folder: pathlib.Path,
    error: SkippedError,
    *,
    item: Item,
    seed: int,
    params: Params,
    grads: Params,
) -> None:
    """Writes why a run gave up: the batch, the source of its randomness, all layers' numbers.

    Args:
        folder: Folder of the run; `evidence-<step>/` in it receives report.json and, from each
            host, its part of the batch as .npz.
        error: Error that holds the last steps' reports.
        item: Last batch that was skipped.
        seed: Seed of the run; with the step it gives all random keys.
        params: Weights that the batch was tried on.
        grads: Gradients of the batch at these weights.
    """
    folder = folder / f"evidence-{error.step}"
    folder.mkdir(parents=True, exist_ok=True)
    layers = {"weights": layer_statistics(params), "gradients": layer_statistics(grads)}
    parts: dict[str, Any] = {
        name: local_rows(array) for name, array in checksums.paths(item.batch, "")
    }
    path = folder / f"batch-{jax.process_index()}.npz"
    with files.replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **parts)
    if jax.process_index() == 0:
        position = item.position.decode()
        facts = {"step": error.step, "seed": seed, "data_position": position}
        text = json.dumps({**facts, "reports": error.reports, "layers": layers}, indent=1)
        files.write(folder / "report.json", text + "\n")
