# SPDX-License-Identifier: Apache-2.0
"""One training step: keys, gradients in parts, and what happens to a step that went wrong."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from omnigen import parallel
from omnigen.training import guard, state
from omnigen.training.stage import Batch, Params, Stage, TrainConfig


def example_keys(seed: int, step: jax.Array, batch_size: int) -> jax.Array:
    """Returns one key for each example of the global batch, from its index alone."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    keys_B = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(batch_size))
    return parallel.shard(keys_B, "batch")


def _gradients(loss: Callable[..., Any], params: Params, batch: Batch, keys_B: Any, parts: int):
    """Returns the loss, metrics and gradients of a batch, summed over `parts` slices of it.

    Part m holds every `parts`-th example, so that each device keeps its own examples.
    """
    grad = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        return grad(params, batch, keys_B)
    # Scalars in the batch are normalisers counted over all of it, and every slice gets them. So the
    # losses and gradients of slices add up to those of the batch, and are not averaged.
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


def make_gradients(stage: Stage, config: TrainConfig, *, seed: int) -> Callable[..., Any]:
    """Returns a pure function, `(params, frozen, batch, step) -> ((loss, metrics), gradients)`."""

    def gradients(params: Params, frozen: Params, batch: Batch, step: jax.Array) -> Any:
        keys_B = example_keys(seed, step, config.global_batch_size)
        prepare_B, loss_B = (
            jax.vmap(lambda k, i=i: jax.random.fold_in(k, i))(keys_B) for i in (0, 1)
        )
        batch = stage.prepare(params, frozen, batch, prepare_B)
        return _gradients(
            lambda p, b, k: stage.loss(p, frozen, b, k), params, batch, loss_B, config.microbatches
        )

    return gradients


def make_step(
    stage: Stage,
    config: TrainConfig,
    *,
    optimizer: optax.GradientTransformationExtraArgs,
    seed: int,
) -> Callable[[state.State, Params, Batch], tuple[state.State, dict[str, jax.Array]]]:
    """Returns the pure training step `(state, frozen, batch) -> (state, metrics)`.

    If the loss or a gradient is not finite, or the loss is a spike (`guard`), then weights,
    optimizer and averages stay as they are and `skipped` is 1; the step still counts, so that the
    next batch is another.
    """
    gradients = make_gradients(stage, config, seed=seed)

    def train_step(
        old: state.State, frozen: Params, batch: Batch
    ) -> tuple[state.State, dict[str, jax.Array]]:
        params, step = old["params"], old["step"]
        (loss, parts), grads = gradients(params, frozen, batch, step)
        grad_norm = optax.tree.norm(grads)
        spike = guard.is_spike(old["opt"], loss, sigmas=config.spike_sigmas)
        good = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & ~spike
        updates, opt = optimizer.update(grads, old["opt"], params, step=step)
        stepped: Params = jax.tree.map(jnp.add, params, updates)
        ema = state.update_ema(old["ema"], stepped, step=step, decay=config.ema_decay)
        new = {"params": stepped, "opt": guard.record(opt, loss), "ema": ema}
        # Selected element by element: a bad update times zero would still be NaN.
        kept = {name: old[name] for name in new}
        new = jax.tree.map(lambda n, o: jnp.where(good, n, o), new, kept)
        report = {"loss": loss, **parts, "grad_norm": grad_norm, "skipped": 1.0 - good}
        return {**new, "step": step + 1}, report

    return train_step
