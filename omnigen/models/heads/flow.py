# SPDX-License-Identifier: Apache-2.0
"""Flow head: draws one continuous token, given the transformer's hidden state.

A small MLP with adaLN (Li et al. 2024, "Autoregressive image generation without vector
quantization") on the noisy token, modulated by the time and the hidden state, which predicts the
velocity. Its modulation is computed once and shared by its blocks. The number of its steps, not
its size, sets the latency of a picture.

A head of averages (`FlowHeadConfig.average`) predicts what (10) in `flow` calls the average
velocity over a span of time, and that of the field that guidance makes, whose scale it is told. So
it needs one or two steps, and no second branch. It is distilled (`stages/distillation.py`).

Shape legend: N tokens in any leading dims, Z latent dim, D width, H width of the hidden state.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from omnigen import flow
from omnigen.config import derived
from omnigen.models.heads import HEADS
from omnigen.nn.layers import Linear, SwiGLU, modulate, time_features
from omnigen.nn.module import check_sizes, param
from omnigen.nn.stack import Stack
from omnigen.parallel import shard

TIME_DIM = 256
ADDED = ("span_in", "guidance_in")  # what a head of averages has besides
GUIDANCE_UNIT = 10.0  # a guidance scale of so much looks like a time of 1
MODULATIONS = 3  # scale, shift, gate


@dataclasses.dataclass(frozen=True)
class FlowHeadConfig:
    """Sizes of the head.

    Attributes:
        latent_dim: Number of dims of a token; the encoder's.
        cond_dim: Width of the hidden state; the transformer's.
        embed_dim: Width.
        num_blocks: Number of blocks.
        mlp_dim: Hidden width of the SwiGLUs.
        num_steps: Number of Euler steps when sampling.
        prediction: What the net predicts.
        average: Whether it predicts average velocities of guided fields.
        dtype: Data type of the computation.
        kind: Which head it is, one of `heads.HEADS`.
    """

    latent_dim: int = derived(48)
    cond_dim: int = derived(512)
    embed_dim: int = 512
    num_blocks: int = 3
    mlp_dim: int = 768
    num_steps: int = 8
    prediction: flow.Prediction = flow.Prediction.VELOCITY
    average: bool = False
    dtype: str = "float32"
    kind: str = "flow"

    def __post_init__(self) -> None:
        check_sizes("head", self)
        if self.kind not in HEADS:
            raise ValueError(f"head kind is {self.kind!r}; choose one of: {', '.join(HEADS)}")
        if self.average and self.prediction != flow.Prediction.VELOCITY:
            raise ValueError(
                f"head prediction is {str(self.prediction)!r}; a head of averages predicts "
                f"{str(flow.Prediction.VELOCITY)!r}"
            )


class HeadBlock(nnx.Module):
    """A modulated SwiGLU on the residual stream."""

    def __init__(self, config: FlowHeadConfig, *, rngs: nnx.Rngs):
        gain = 1.0 / math.sqrt(config.num_blocks)
        self.mlp = SwiGLU(config.embed_dim, config.mlp_dim, rngs=rngs, gain=gain)
        init = nnx.initializers.zeros_init()
        self.modulation = param(rngs, (MODULATIONS, config.embed_dim), ("positions", "norm"), init)

    def __call__(self, x_ND: jax.Array, shared: list[jax.Array]) -> jax.Array:
        """Runs the block; `shared` are the three modulations of all blocks."""
        own = self.modulation[...].astype(x_ND.dtype)
        scale, shift, gate = (
            s + own[i].reshape((1,) * (s.ndim - 1) + (-1,)) for i, s in enumerate(shared)
        )
        return x_ND + (1.0 + gate) * self.mlp(modulate(x_ND, scale, shift))


class FlowHead(nnx.Module):
    """Predicts the velocity of a noisy token."""

    def __init__(self, config: FlowHeadConfig, *, rngs: nnx.Rngs):
        c = config
        self.config = c
        self.latent_in = Linear(c.latent_dim, c.embed_dim, axes=("latent", "embed"), rngs=rngs)
        self.time_in = Linear(TIME_DIM, c.embed_dim, axes=("cond", "embed"), rngs=rngs)
        self.hidden_in = Linear(c.cond_dim, c.embed_dim, axes=("cond", "embed"), rngs=rngs)
        self.modulation = Linear(
            c.embed_dim,
            MODULATIONS * c.embed_dim,
            axes=("embed", "modulation"),
            rngs=rngs,
            gain=0.5,
            bias=True,
        )
        if c.average:  # they do nothing at first, so that a plain head can become one of averages
            axes, size = ("cond", "embed"), (TIME_DIM, c.embed_dim)
            self.span_in = Linear(*size, axes=axes, rngs=rngs, gain=0.0)
            self.guidance_in = Linear(*size, axes=axes, rngs=rngs, gain=0.0)
        self.stack = Stack(lambda r: HeadBlock(c, rngs=r), c.num_blocks, rngs=rngs)
        self.latent_out = Linear(
            c.embed_dim, c.latent_dim, axes=("embed", "latent"), rngs=rngs, gain=0.1
        )

    def __call__(
        self,
        z_NZ: jax.Array,
        t_N: jax.Array,
        hidden_NH: jax.Array,
        span_N: jax.Array | None = None,
        guidance_N: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the prediction, float32 `[..., Z]`.

        Args:
            z_NZ: Noisy tokens `[..., Z]`.
            t_N: Times `[...]`.
            hidden_NH: Hidden states `[..., H]`, which may broadcast against z.
            span_N: How far back from t to average, `[...]`; for a head of averages alone.
            guidance_N: Scale of the guided field, `[...]`; for a head of averages alone.
        """
        dtype = self.config.dtype
        cond_ND = _pin(self.hidden_in(_pin(hidden_NH.astype(dtype))))
        modulations = self._modulations(t_N, cond_ND, span_N, guidance_N)
        shared = [_pin(modulation) for modulation in modulations]
        x_ND = self.latent_in(_pin(z_NZ).astype(dtype)) + cond_ND
        # Unrolled whatever the config says: the blocks are few, and a scan over them would copy the
        # activations of K draws for every token into stacked arrays.
        x_ND, _ = self.stack(
            _pin(x_ND), lambda block, x: (_pin(block(x, shared)), None), unroll=True
        )
        return self._output(x_ND)

    def _modulations(
        self,
        t_N: jax.Array,
        cond_ND: jax.Array,
        span_N: jax.Array | None = None,
        guidance_N: jax.Array | None = None,
    ) -> list[jax.Array]:
        """Returns scale, shift and gate, which all blocks share."""

        def read(layer: Linear, value: jax.Array) -> jax.Array:
            return layer(time_features(value, TIME_DIM).astype(self.config.dtype))

        time_ND = read(self.time_in, t_N)
        if self.config.average and span_N is not None and guidance_N is not None:
            time_ND += read(self.span_in, span_N)
            time_ND += read(self.guidance_in, guidance_N / GUIDANCE_UNIT)
        return jnp.split(self.modulation(jax.nn.silu(cond_ND + time_ND)), MODULATIONS, axis=-1)

    def _output(self, x_ND: jax.Array) -> jax.Array:
        zero = jnp.zeros((1,) * x_ND.ndim, x_ND.dtype)
        return self.latent_out(modulate(x_ND, zero, zero)).astype(jnp.float32)

    def loss(
        self, z_NZ: jax.Array, hidden_NH: jax.Array, t_KN: jax.Array, noise_KNZ: jax.Array
    ) -> jax.Array:
        """Returns the velocity MSE a dim, float32 `[...]`.

        It is averaged over K draws of time and noise.
        """
        z_KNZ = jnp.broadcast_to(z_NZ[None], noise_KNZ.shape)
        output = self(flow.interpolate(z_KNZ, noise_KNZ, t_KN), t_KN, hidden_NH[None])
        return flow.velocity_loss(output, z_KNZ, noise_KNZ, t_KN, self.config.prediction).mean(
            axis=(0, -1)
        )

    def sampler(self) -> "TokenSampler":
        """Returns the head prepared for drawing many tokens one after another."""
        return TokenSampler(self, self.stack.unstacked())


def _pin(x: jax.Array) -> jax.Array:
    """Lays the rows `[..., B, N, D]` of training out like those of the transformer.

    Without it XLA may gather all rows on every device, since noise and times come from nowhere.
    """
    return x if x.ndim < 3 else shard(x, *[None] * (x.ndim - 3), "batch", "length", None)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenSampler:
    """Draws tokens with weights that are sliced once, outside the token loop."""

    head: FlowHead
    blocks: list[HeadBlock]

    def __call__(
        self,
        hidden_CBH: jax.Array,
        noise_BZ: jax.Array,
        *,
        guidance: jax.Array,
        steps: flow.Steps | None = None,
    ) -> jax.Array:
        """Draws one token for each row, on the sphere: float32 `[B, Z]`.

        The modulations of all steps are one product, so that their weights are read once a token.

        Args:
            hidden_CBH: Hidden states with the prompt and, if C is 2, without it; both go through in
                one batch.
            noise_BZ: Noise to start from.
            guidance: Scale of classifier-free guidance, scalar or `[B]`. It needs two branches, or
                is an input of a head of averages.
            steps: Euler steps, `[S]`, or `[S, B]` if they differ from row to row; None for evenly
                spaced ones, as many as the config says.
        """
        head, dtype = self.head, self.head.config.dtype
        steps = steps or flow.Solver(num_steps=head.config.num_steps).steps()
        cond_CBD = head.hidden_in(hidden_CBH.astype(dtype))
        t_S1B, span_S1B = (jnp.asarray(x).reshape(len(x), 1, -1) for x in (steps.at, steps.size))
        scale_S1B = jnp.broadcast_to(guidance, (len(t_S1B), 1, jnp.size(guidance)))
        shared_SCBD = head._modulations(t_S1B, cond_CBD[None], span_S1B, scale_S1B)

        def velocity(z_BZ: jax.Array, t: jax.Array, i: jax.Array) -> jax.Array:
            x_CBD = head.latent_in(z_BZ.astype(dtype))[None] + cond_CBD
            for block in self.blocks:
                x_CBD = block(x_CBD, [modulation[i] for modulation in shared_SCBD])
            output_CBZ = head._output(x_CBD)
            z_CBZ = jnp.broadcast_to(z_BZ[None], output_CBZ.shape)
            kind = head.config.prediction
            t_CB = jnp.broadcast_to(t, z_CBZ.shape[:2])
            v_CBZ = flow.to_velocity(output_CBZ, z_CBZ, t_CB, kind, t_min=flow.T_TINY)
            return v_CBZ[0] if v_CBZ.shape[0] == 1 else flow.guide(v_CBZ[0], v_CBZ[1], guidance)

        return flow.sphere(flow.euler(velocity, noise_BZ.astype(jnp.float32), steps))
