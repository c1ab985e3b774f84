# SPDX-License-Identifier: Apache-2.0
"""Modules declare parameters and `__call__`; what crosses a `jit` boundary is a plain dict.

The only file that knows NNX's graph API: a `Net` is a module's definition with its parameters
taken out.
"""

import contextvars
import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

Params = dict[str, Any]
M = TypeVar("M", bound=nnx.Module)
Initializer = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]

# Set while only shapes are asked for: tracing the random numbers of all weights takes longer than
# the rest of a small model's construction.
_shapes_only = contextvars.ContextVar("_shapes_only", default=False)

nnx.use_eager_sharding(False)  # shardings are resolved from `axes` by `parallel`, not by NNX


DTYPES = ("float32", "bfloat16", "float16")  # that a computation may have
MOST = {
    "vocab_size": 2**22,
    "latent_dim": 2**14,
    "head_dim": 2**12,
    "num_layers": 2**10,
    "num_blocks": 2**10,
    "num_heads": 2**12,
    "num_kv_heads": 2**12,
    "num_steps": 1000,
    "patch_size": 2**10,
    "token_size": 2**10,
    "merge": 2**6,
    "mlp_dim": 2**20,
}
"""The most that the whole numbers of a config may be, so that a stranger's cannot ask for any
amount of memory and time; several times what the largest models have."""

_MOST_OTHERS = 2**18  # widths
_MOST_NUMBER = 1e6


def check_sizes(part: str, config: Any) -> None:
    """Checks the numbers of a config, and its `dtype`; whole numbers are sizes and counts.

    Raises:
        ValueError: If one is out of range; the message names the part, the field, its value and
            what is allowed.
    """
    for field in dataclasses.fields(config):
        value, most = getattr(config, field.name), MOST.get(field.name, _MOST_OTHERS)
        if field.type in (int, "int") and not 1 <= value <= most:
            wanted = "at least 1" if value < 1 else f"at most {most}"
            raise ValueError(f"{part} {field.name} is {value}; it must be {wanted}")
        if field.type in (float, "float") and not abs(value) <= _MOST_NUMBER:
            raise ValueError(
                f"{part} {field.name} is {value}; it must be a number up to {_MOST_NUMBER:g}"
            )
    if config.dtype not in DTYPES:
        raise ValueError(f"{part} dtype is {config.dtype!r}; choose from: {', '.join(DTYPES)}")


def param(
    rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str | None, ...], init: Initializer
) -> nnx.Param:
    """Declares a float32 parameter with the logical name of each dim (see `parallel.RULES`)."""
    assert len(shape) == len(axes), (shape, axes)
    value = jnp.zeros(shape) if _shapes_only.get() else init(rngs.params(), shape, jnp.float32)
    return nnx.Param(value, axes=axes)


class Net(Generic[M]):
    """The definition of a module: makes its parameters, describes them, binds them for a call."""

    def __init__(self, build: Callable[[nnx.Rngs], M]):
        """Traces `build` without allocating anything."""
        self._build = build
        token = _shapes_only.set(True)
        try:
            module = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
        finally:
            _shapes_only.reset(token)
        self._definition, self._state = nnx.split(module, nnx.Param)

    def init(self, key: jax.Array) -> Params:
        """Initialises the parameters; traceable, so that they can be born sharded."""
        return nnx.to_pure_dict(nnx.state(self._build(nnx.Rngs(key)), nnx.Param))

    def shapes(self) -> Params:
        """Returns the parameters as `jax.ShapeDtypeStruct`."""
        return nnx.to_pure_dict(self._state)

    def axes(self) -> Params:
        """Returns the logical names of each parameter's dims.

        Where layers are stacked, `layers` is the first.
        """

        def names(variable: nnx.Variable) -> tuple[str | None, ...]:
            axes, ndim = variable.get_metadata("axes"), len(variable.shape)
            return ("layers",) * (ndim - len(axes)) + axes

        is_variable = lambda leaf: isinstance(leaf, nnx.Variable)  # noqa: E731
        return _plain(jax.tree.map(names, self._state, is_leaf=is_variable))

    def bind(self, params: Params) -> M:
        """Returns the module with these parameters, to be called inside the same trace."""
        return nnx.merge(self._definition, params)

    def count(self) -> int:
        """Returns the number of parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.shapes()))


def _plain(tree: Any) -> Any:
    return {key: _plain(value) for key, value in tree.items()} if hasattr(tree, "items") else tree
