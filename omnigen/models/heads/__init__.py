# SPDX-License-Identifier: Apache-2.0
"""Heads: what a hidden state of the transformer becomes. Each head has a file of its own.

Shape legend: N tokens in any leading dims, K draws, C branches, B rows, Z latent dim, H width of
the hidden state.
"""

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import jax

from omnigen import flow

# By `kind` of their config: the module and the class, an `nnx.Module` that is a `Head`.
HEADS = {"flow": "omnigen.models.heads.flow:FlowHead"}


class TokenSampler(Protocol):
    """Draws a token for each row, again and again."""

    def __call__(
        self,
        hidden_CBH: jax.Array,
        noise_BZ: jax.Array,
        *,
        guidance: jax.Array,
        steps: flow.Steps | None = None,
    ) -> jax.Array:
        """Returns tokens on the sphere, float32 `[B, Z]`.

        Args:
            hidden_CBH: Hidden states with the prompt and, if C is 2, also without it.
            noise_BZ: All that is random about the tokens.
            guidance: Classifier-free guidance scale, scalar or `[B]`.
            steps: The steps that a head takes which draws in several; None for its usual ones.
        """
        ...


class Head(Protocol):
    """What training and generation ask of a head. It is made of its config and `rngs`."""

    def loss(
        self, z_NZ: jax.Array, hidden_NH: jax.Array, t_KN: jax.Array, noise_KNZ: jax.Array
    ) -> jax.Array:
        """Returns the loss of each token, float32 `[...]`.

        Args:
            z_NZ: The true tokens.
            hidden_NH: Hidden states that predict them.
            t_KN: K random times for each token, from the stage's density.
            noise_KNZ: As many draws of noise.
        """
        ...

    def sampler(self) -> TokenSampler:
        """Returns the head laid out for drawing many tokens one after another.

        It is a tree to JAX if servers are to keep it from step to step.
        """
        ...


def find(kind: str) -> Callable[..., Any]:
    """Returns the class of a head, whose kind is one of `HEADS`."""
    module, _, name = HEADS[kind].partition(":")
    return getattr(importlib.import_module(module), name)
