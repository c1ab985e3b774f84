# SPDX-License-Identifier: Apache-2.0
"""The training state: one plain dict, sharded from birth, and its moving average.

`{"params", "opt", "ema", "step"}`: weights, the optimizer's state, float32 averages of the weights,
and the number of steps taken. Nothing else changes while training, so it is all that a checkpoint
needs beside the place in the data.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from omnigen import parallel

State = dict[str, Any]
Params = dict[str, Any]


def fresh(params: Params, optimizer: optax.GradientTransformation) -> State:
    """Returns the state at step 0 of weights `params`."""
    return {
        "params": params,
        "opt": optimizer.init(params),
        "ema": jax.tree.map(lambda p: jnp.array(p, jnp.float32, copy=True), params),
        "step": jnp.zeros((), jnp.int32),
    }


def abstract(
    mesh: Mesh,
    init: Callable[[jax.Array], Params],
    *,
    axes: Any,
    optimizer: optax.GradientTransformation,
) -> State:
    """Returns the shapes, dtypes and shardings of the state, without making it.

    Averages and every leaf of the optimizer that belongs to a parameter (same path, same shape) lie
    on the mesh as the parameter does; counters are replicated.
    """
    shapes = jax.eval_shape(lambda key: fresh(init(key), optimizer), jax.random.key(0))
    shardings = parallel.tree_sharding(mesh, axes)
    replicated = parallel.sharding(mesh, ())
    of_path = {
        _names(path): (leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_leaves_with_path(shapes["params"]),
            jax.tree.leaves(shardings),
            strict=True,
        )
    }

    def place(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        names = _names(path)
        sharding: NamedSharding = replicated
        for start in range(len(names)):
            shape, candidate = of_path.get(names[start:], (None, replicated))
            if shape == leaf.shape:
                sharding = candidate
                break
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree_util.tree_map_with_path(place, shapes)


def _names(path: Any) -> tuple[str, ...]:
    """Returns the keys of a path through dicts, named tuples and sequences."""
    return tuple(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", "")))) for k in path)


def create(
    target: State,
    init: Callable[[jax.Array], Params],
    *,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
) -> State:
    """Makes the state at step 0 in one jit, each shard on its device; `abstract` gives `target`."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, target)
    return jax.jit(lambda key: fresh(init(key), optimizer), out_shardings=shardings)(key)


def adopt(target: State, params: Params, *, optimizer: optax.GradientTransformation) -> State:
    """Makes the state at step 0 of given weights, for instance those of a checkpoint."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, target)
    placed = jax.tree.map(
        lambda leaf, p: jax.device_put(p.astype(leaf.dtype), leaf.sharding),
        target["params"],
        params,
    )
    make = jax.jit(lambda p: fresh(p, optimizer), out_shardings=shardings, donate_argnums=0)
    return make(placed)


def update_ema(ema: Params, params: Params, *, step: jax.Array, decay: float) -> Params:
    """Moves the averages towards the weights after step number `step`, counted from 0.

    The decay is `min(decay, (1 + step) / (10 + step))`, so that the random initial weights are
    forgotten fast.
    """
    # Averages are float32 whatever the weights are: a step moves them by a ten thousandth or so of
    # the difference, which is less than bfloat16 resolves.
    step = step.astype(jnp.float32)
    rate = 1.0 - jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: e + rate * (p.astype(jnp.float32) - e), ema, params)
