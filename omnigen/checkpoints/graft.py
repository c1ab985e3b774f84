# SPDX-License-Identifier: Apache-2.0
"""Weights of one model as the start of another."""

from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from omnigen.checkpoints import checksums
from omnigen.checkpoints.manager import LoadedModel


def graft(
    params: dict[str, Any], model: LoadedModel, axes: Any = None, *, added: Collection[str] = ()
) -> dict[str, Any]:
    """Replaces the parts of `params` that `model` has.

    Args:
        params: Arrays or shapes, by part.
        model: Model that weights are taken from.
        axes: Dim names of `params`; if given, stacks of fewer layers are deepened (see `deepen`).
        added: Names of entries of a part that become zero where `model` lacks them.

    Raises:
        ValueError: If no part is in common, or a part has another shape.
    """
    shared = params.keys() & model.params.keys()
    if not shared:
        raise ValueError(f"{model.path} has {sorted(model.params)} but none of {sorted(params)}")
    grafted = dict(params)
    for part in shared:
        absent = params[part].keys() & set(added) - model.params[part].keys()
        zeros = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype), {n: params[part][n] for n in absent}
        )
        given = {**model.params[part], **zeros}
        if axes is not None and jax.tree.structure(given) == jax.tree.structure(params[part]):
            given = jax.tree.map(deepen, given, params[part], axes[part])
        ours, theirs = _shapes(params[part]), _shapes(given)
        wrong = sorted(path for path in ours | theirs if ours.get(path) != theirs.get(path))
        if wrong:
            path = wrong[0]
            raise ValueError(
                f"{model.path} does not fit this model: {part}/{path} is {theirs.get(path)} "
                f"there and {ours.get(path)} here"
            )
        grafted[part] = given
    return grafted


def deepen(given: Any, wanted: Any, axes: tuple[str | None, ...]) -> Any:
    """Returns weights of a deeper stack that computes what the shallower one does.

    New layers are copies of those before them, spread evenly, but what they write to the residual
    stream is zero at first (Wu et al. 2024, "LLaMA Pro").

    Args:
        given: Weight; returned as it is unless it is a stack, `[layers, ...]`.
        wanted: Weight of the deeper stack, of which only the shape counts.
        axes: Dim names of the weight; those of matrices that write to the stream end in "embed".
    """
    if axes[0] != "layers" or given.shape[0] >= wanted.shape[0]:
        return given
    source = np.arange(wanted.shape[0]) * given.shape[0] // wanted.shape[0]
    is_new = np.diff(source, prepend=-1) == 0
    writes = len(axes) > 2 and axes[-1] == "embed"
    return np.where((is_new & writes).reshape(-1, *[1] * (given.ndim - 1)), 0, given[source])


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {path: tuple(leaf.shape) for path, leaf in checksums.paths(tree, "")}
