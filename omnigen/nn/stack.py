# SPDX-License-Identifier: Apache-2.0
"""Layers of one kind stacked: built by `vmap`, run by `scan`, rematerialised if asked."""

import enum
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from omnigen.nn import splash


class Remat(enum.StrEnum):
    """What the backward pass keeps of a layer's activations."""

    NONE = "none"  # all of them
    DOTS = "dots"  # results of matrix products without a batch dim and of fused attention
    FULL = "full"  # the layer's input alone


def _is_fused_attention(primitive: Any, *_: Any, **params: Any) -> bool:
    if primitive.name == "name":
        return params["name"] == splash.RESIDUALS
    return primitive.name.startswith("dot_product_attention_fwd")


def policy(remat: Remat) -> Callable[..., Any]:
    """Returns what `jax.checkpoint` may keep, for all but `Remat.NONE`."""
    policies = jax.checkpoint_policies
    if remat == Remat.FULL:
        return policies.nothing_saveable
    return policies.save_from_both_policies(
        policies.dots_with_no_batch_dims_saveable, _is_fused_attention
    )


class Stack(nnx.Module):
    """`num_layers` copies of one module, each leaf with a leading layer dim.

    Scanning them compiles one layer however many there are, and their parameters cannot be
    permuted by a checkpoint's string keys.
    """

    def __init__(self, build: Callable[[nnx.Rngs], nnx.Module], num_layers: int, *, rngs: nnx.Rngs):
        self.num_layers = num_layers

        @nnx.split_rngs(splits=num_layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def make(layer_rngs: nnx.Rngs) -> nnx.Module:
            return build(layer_rngs)

        self.layers = make(rngs)

    def __call__(
        self,
        x: Any,
        call: Callable[[Any, Any], tuple[Any, Any]],
        *,
        remat: Remat = Remat.NONE,
        unroll: bool = False,
    ) -> tuple[Any, Any]:
        """Runs `x, y = call(layer, x)` layer by layer; returns the last x and the stacked ys.

        Args:
            x: Input of the first layer.
            call: Runs one layer.
            remat: What the backward pass keeps.
            unroll: Whether to compile each layer for itself. Nothing is then copied into and out of
                stacked activations, but compilation takes time in proportion to the depth.
        """
        definition, state = nnx.split(self.layers)

        def body(x: Any, layer: Any) -> tuple[Any, Any]:
            return call(nnx.merge(definition, layer), x)

        if remat != Remat.NONE:
            # Unrolled, the recomputation would be merged with the first computation, unless a
            # barrier keeps them apart. Around a scanned body there is nothing to merge with.
            body = jax.checkpoint(body, prevent_cse=unroll, policy=policy(remat))
        return jax.lax.scan(body, x, state, unroll=self.num_layers if unroll else 1)

    def unstacked(self) -> list[Any]:
        """Returns the layers one by one, as slices taken once.

        A decoding loop over these reads each weight in place; scanning inside it would copy every
        layer's slice at every token, which doubles the memory traffic that bounds it.
        """
        definition, state = nnx.split(self.layers)
        return [
            nnx.merge(definition, jax.tree.map(lambda leaf, i=i: leaf[i], state))
            for i in range(self.num_layers)
        ]
