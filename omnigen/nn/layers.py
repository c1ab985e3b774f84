# SPDX-License-Identifier: Apache-2.0
"""Small layers and featurisers. Parameters are float32; each layer computes in its input's dtype.

Shape legend: B batch, L length, D width, F hidden width, P pixels of a patch, C channels.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from omnigen.nn.module import param

Axes = tuple[str | None, ...]

SMALL_TABLE = 1024  # rows
EPS = 1e-6  # added to a mean square before its root


class Linear(nnx.Module):
    """`x @ w + b` over the last dim; w is normal with variance gain² / in_dim at first."""

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        axes: Axes,
        rngs: nnx.Rngs,
        gain: float = 1.0,
        bias: bool = False,
    ):
        init = (
            nnx.initializers.normal(gain / math.sqrt(in_dim))
            if gain
            else nnx.initializers.zeros_init()
        )
        self.w = param(rngs, (in_dim, out_dim), axes, init)
        self.b = param(rngs, (out_dim,), axes[1:], nnx.initializers.zeros_init()) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer over the last dim."""
        y = x @ self.w[...].astype(x.dtype)
        if self.b is None:
            return y
        return y + jnp.broadcast_to(self.b[...].astype(x.dtype), y.shape)


class RMSNorm(nnx.Module):
    """Root-mean-square normalisation over the last dim, in float32, with a learned scale."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs, eps: float = EPS):
        self.eps = eps
        self.scale = param(rngs, (dim,), ("norm",), nnx.initializers.ones_init())

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer over the last dim."""
        y = normalize(x, self.eps)
        return y * jnp.broadcast_to(self.scale[...].astype(x.dtype), y.shape)


def lookup(table_VD: jax.Array, ids: jax.Array) -> jax.Array:
    """Returns rows of a table, `[..., D]`.

    A small table is multiplied by one-hot ids, not gathered from. The gradient of a gather adds up
    rows with atomics, which wait for each other where few rows take many tokens: 74 of 181 ms of a
    training step with 264 rows on an H100.
    """
    if table_VD.shape[0] > SMALL_TABLE:
        return table_VD[ids]
    # A product of lower precision would round float32 rows, which a gather does not.
    one_hot = jax.nn.one_hot(ids, table_VD.shape[0], dtype=table_VD.dtype)
    return jnp.matmul(one_hot, table_VD, precision="highest")


def normalize(x: jax.Array, eps: float = EPS) -> jax.Array:
    """Divides by the root mean square over the last dim; computed in float32."""
    x32 = x.astype(jnp.float32)
    return (x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)).astype(x.dtype)


class SwiGLU(nnx.Module):
    """`(silu(x w_gate) * x w_up) w_down` (Shazeer 2020, "GLU variants improve transformer")."""

    def __init__(self, dim: int, hidden_dim: int, *, rngs: nnx.Rngs, gain: float = 1.0):
        self.gate = Linear(dim, hidden_dim, axes=("embed", "mlp"), rngs=rngs)
        self.up = Linear(dim, hidden_dim, axes=("embed", "mlp"), rngs=rngs)
        self.down = Linear(hidden_dim, dim, axes=("mlp", "embed"), rngs=rngs, gain=gain)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer over the last dim."""
        return self.down(gated(self.gate(x), self.up(x)))


def gated(gate: jax.Array, up: jax.Array) -> jax.Array:
    """Returns `silu(gate) * up`; of half precision, gradients are computed in float32.

    Both gradients stand in one expression there. XLA makes one kernel of it, which reads each array
    once; of the derivative that it is given otherwise it makes two.
    """
    return _gated_half(gate, up) if gate.dtype.itemsize == 2 else jax.nn.silu(gate) * up


@jax.custom_vjp
def _gated_half(gate: jax.Array, up: jax.Array) -> jax.Array:
    return jax.nn.silu(gate) * up


def _gated_forward(gate: jax.Array, up: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _gated_half(gate, up), (gate, up)


def _gated_backward(
    kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    gate, up, dy = (x.astype(jnp.float32) for x in (*kept, gradient))
    sigmoid = jax.nn.sigmoid(gate)
    d_gate = dy * up * sigmoid * (1.0 + gate * (1.0 - sigmoid))
    return d_gate.astype(gradient.dtype), (dy * gate * sigmoid).astype(gradient.dtype)


_gated_half.defvjp(_gated_forward, _gated_backward)


def modulate(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """Applies adaptive layer norm (Peebles & Xie 2023, "DiT").

    It is `normalize(x) * (1 + scale) + shift`.
    """
    return normalize(x) * (1.0 + scale) + shift


def time_features(t: jax.Array, dim: int) -> jax.Array:
    """Returns sinusoidal features of t in [0, 1], float32 `[..., dim]`.

    Periods go from 2π/1000 to 2π·10.
    """
    angle = t[..., None] * jnp.exp(jnp.linspace(math.log(0.1), math.log(1000.0), dim // 2)).reshape(
        (1,) * t.ndim + (-1,)
    )
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def place_features(place: jax.Array, dim: int) -> jax.Array:
    """Returns sinusoidal features of (row, column), `[..., 2] -> [..., dim]`.

    They are zeros for negative rows.
    """
    frequency = jnp.exp(jnp.linspace(0.0, -math.log(100.0), dim // 4)).reshape(
        (1,) * place.ndim + (-1,)
    )
    angle = place[..., None] * frequency
    features = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    flat = features.reshape(*place.shape[:-1], -1)
    return jnp.where(place[..., :1] >= 0, flat, 0.0)


def patchify(image: jax.Array, patch: int) -> jax.Array:
    """Cuts images into patches in raster order.

    The shapes are `[B, H, W, C] -> [B, H/patch * W/patch, patch * patch * C]`.
    """
    b, h, w, c = image.shape
    x = image.reshape(b, h // patch, patch, w // patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, (h // patch) * (w // patch), patch * patch * c)


def unpatchify(x: jax.Array, patch: int, rows: int, cols: int) -> jax.Array:
    """Inverts `patchify` for a grid of `rows * cols` patches."""
    b, _, width = x.shape
    x = x.reshape(b, rows, cols, patch, patch, width // patch**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, rows * patch, cols * patch, width // patch**2)
