# SPDX-License-Identifier: Apache-2.0
"""Decoder: continuous tokens to pixels, by rectified flow.

An MMDiT (Esser et al. 2024, "Stable Diffusion 3") over large patches of pixels: latents and noisy
patches are two streams with weights of their own and one joint attention, modulated by the time.
The latents are also added to the patches they cover, which spares attention the alignment. It
predicts clean pixels under a velocity loss ("JiT" 2025), because clean patches lie near a
low-dimensional manifold and noise does not. Tokens that are not known yet are replaced by a learned
one, so that any part of a picture's tokens decodes.

Shape legend: B batch, H W pixels, C channels, P patches, N tokens, D width, M modulations,
Z latent dim.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from omnigen import flow
from omnigen.config import derived
from omnigen.nn.attention import Attention, attend
from omnigen.nn.layers import Linear, SwiGLU, modulate, patchify, time_features, unpatchify
from omnigen.nn.module import check_sizes, param
from omnigen.nn.stack import Remat, Stack
from omnigen.parallel import shard
from omnigen.sequence import places

TIME_DIM = 256
MODULATIONS = 6  # scale, shift and gate, of attention and of the MLP

Pair = tuple[jax.Array, jax.Array]  # of the latents and of the patches


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder.

    Attributes:
        token_size: Side in pixels of what a token stands for; the encoder's.
        latent_dim: Number of dims of a token; the encoder's.
        patch_size: Side in pixels of the noisy patches, which divides `token_size`.
        embed_dim: Width of both streams, which `num_heads` divides.
        num_layers: Number of layers.
        num_heads: Number of attention heads.
        mlp_dim: Hidden width of the SwiGLUs.
        num_steps: Number of Euler steps when sampling.
        noise_scale: Scale of the noise that sampling starts from. At 0 one step draws the mean of
            all that the tokens may stand for, whatever the seed.
        dtype: Data type of the computation.
        remat: What the backward pass keeps.
        unroll: Whether training compiles each layer for itself: faster, longer to compile.
    """

    token_size: int = derived(16)
    latent_dim: int = derived(48)
    patch_size: int = 8
    embed_dim: int = 320
    num_layers: int = 6
    num_heads: int = 5
    mlp_dim: int = 832
    num_steps: int = 4
    noise_scale: float = 1.0
    dtype: str = "float32"
    remat: Remat = Remat.NONE
    unroll: bool = False

    def __post_init__(self) -> None:
        check_sizes("decoder", self)
        if self.embed_dim % (2 * self.num_heads):
            raise ValueError(
                f"decoder embed_dim {self.embed_dim} is not a multiple of twice num_heads, "
                f"{2 * self.num_heads}; rotary positions need pairs"
            )
        if not 0.0 <= self.noise_scale <= 1.0:
            raise ValueError(f"decoder noise_scale is {self.noise_scale}; it must be in [0, 1]")


class Stream(nnx.Module):
    """The weights of one stream in a joint block."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        c = config
        gain = 1.0 / math.sqrt(2 * c.num_layers)
        head_dim = c.embed_dim // c.num_heads
        self.attention = Attention(
            c.embed_dim, c.num_heads, c.num_heads, head_dim, rngs=rngs, gain=gain
        )
        self.mlp = SwiGLU(c.embed_dim, c.mlp_dim, rngs=rngs, gain=gain)
        zeros = nnx.initializers.zeros_init()
        self.modulation = param(rngs, (MODULATIONS, c.embed_dim), ("positions", "norm"), zeros)

    def modulations(self, shared_BMD: jax.Array) -> list[jax.Array]:
        """Adds the block's own offsets to the modulation that all blocks share.

        Returns `[B, 1, D]` for each. Sharing is that of Chen et al. 2023, "PixArt-α".
        """
        m_BMD = shared_BMD + self.modulation[...].astype(shared_BMD.dtype)[None]
        return [m_BMD[:, i : i + 1] for i in range(MODULATIONS)]


class JointBlock(nnx.Module):
    """A block in which both streams attend to both, by projections and MLPs of their own."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        self.latents = Stream(config, rngs=rngs)
        self.patches = Stream(config, rngs=rngs)

    def __call__(self, streams: Pair, positions: Pair, shared: Pair) -> Pair:
        """Runs the block over both streams.

        Args:
            streams: Latents `[B, N, D]` and patches `[B, P, D]`.
            positions: Rows and columns, `[B, N, 2]` and `[B, P, 2]`.
            shared: Modulations of the streams, `[B, 6, D]` each.
        """
        weights = (self.latents, self.patches)
        modulations = [w.modulations(m) for w, m in zip(weights, shared, strict=True)]
        qkv = [
            w.attention.qkv(modulate(x, m[0], m[1]), position)
            for w, x, m, position in zip(weights, streams, modulations, positions, strict=True)
        ]
        y = attend(*(jnp.concatenate(parts, axis=1) for parts in zip(*qkv, strict=True)))
        split = streams[0].shape[1]
        parts = (y[:, :split], y[:, split:])
        outs = []
        for w, x, m, part in zip(weights, streams, modulations, parts, strict=True):
            # Gates start near 1, not at 0 as in DiT: what they scale starts small (see `gain`).
            x = x + (1.0 + m[2]) * w.attention.out(part)
            x = x + (1.0 + m[5]) * w.mlp(modulate(x, m[3], m[4]))
            outs.append(shard(x, "batch", "length", None))
        return outs[0], outs[1]


class Decoder(nnx.Module):
    """Predicts clean pixels from noisy ones and tokens."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        c = config
        self.config = c
        ratio, pixels, dim = c.token_size // c.patch_size, 3 * c.patch_size**2, c.embed_dim
        outs = (2 * MODULATIONS + 2) * dim  # both streams' blocks; scale and shift at the end
        self.latent_in = Linear(c.latent_dim, dim, axes=("latent", "embed"), rngs=rngs)
        self.aligned_in = Linear(c.latent_dim, ratio**2 * dim, axes=("latent", "embed"), rngs=rngs)
        self.unknown = param(rngs, (c.latent_dim,), ("latent",), nnx.initializers.normal(1.0))
        self.patch_in = Linear(pixels, dim, axes=("pixels", "embed"), rngs=rngs)
        self.time_in = Linear(TIME_DIM, dim, axes=("cond", "embed"), rngs=rngs)
        self.modulation = Linear(
            dim, outs, axes=("embed", "modulation"), rngs=rngs, gain=0.1, bias=True
        )
        self.stack = Stack(lambda rngs: JointBlock(c, rngs=rngs), c.num_layers, rngs=rngs)
        self.pixels_out = Linear(dim, pixels, axes=("embed", "pixels"), rngs=rngs)

    def __call__(
        self,
        noisy_BHWC: jax.Array,
        t_B: jax.Array,
        z_BNZ: jax.Array,
        known_BN: jax.Array | None = None,
        *,
        unroll: bool = False,
    ) -> jax.Array:
        """Predicts clean pixels, float32.

        Args:
            noisy_BHWC: Pixels at time t.
            t_B: Times in [0, 1].
            z_BNZ: Tokens on the sphere, in raster order.
            known_BN: Which tokens are known; None for all.
            unroll: Whether to compile each layer for itself, as the config may want in training.
        """
        c = self.config
        batch, height, width, _ = noisy_BHWC.shape
        rows, cols = height // c.patch_size, width // c.patch_size
        ratio = c.token_size // c.patch_size
        assert z_BNZ.shape[1] * ratio**2 == rows * cols, (z_BNZ.shape, noisy_BHWC.shape)
        if known_BN is not None:
            z_BNZ = jnp.where(known_BN[..., None], z_BNZ, self.unknown[...].reshape(1, 1, -1))
        # Latents enter twice: as a stream, and added to the patches that each covers.
        z_BNZ = z_BNZ.astype(c.dtype)
        x_BPD = self.patch_in(patchify(noisy_BHWC.astype(c.dtype), c.patch_size))
        aligned = unpatchify(self.aligned_in(z_BNZ), ratio, rows // ratio, cols // ratio)
        x_BPD = shard(x_BPD + aligned.reshape(x_BPD.shape), "batch", "length", None)
        l_BND = shard(self.latent_in(z_BNZ), "batch", "length", None)

        # Places are in patches for both streams, so that attention sees their distances.
        def position(stride: int) -> jax.Array:
            grid = jnp.asarray(places(rows // stride, cols // stride, stride=stride))
            return jnp.broadcast_to(grid[None], (batch, *grid.shape))

        shared, (scale, shift) = self._modulations(t_B)
        positions = (position(ratio), position(1))

        def call(block: JointBlock, streams: Pair) -> tuple[Pair, None]:
            return block(streams, positions, shared), None

        (_, x_BPD), _ = self.stack((l_BND, x_BPD), call, remat=c.remat, unroll=unroll)
        pixels = self.pixels_out(modulate(x_BPD, scale, shift)).astype(jnp.float32)
        return unpatchify(pixels, c.patch_size, rows, cols)

    def _modulations(self, t_B: jax.Array) -> tuple[Pair, Pair]:
        """Returns the modulations of blocks, `[B, 6, D]`, and of the output, `[B, 1, D]`."""
        c = self.config
        time_BD = jax.nn.silu(self.time_in(time_features(t_B, TIME_DIM).astype(c.dtype)))
        m_BMD = self.modulation(time_BD).reshape(-1, 2 * MODULATIONS + 2, c.embed_dim)
        blocks, output = m_BMD[:, : 2 * MODULATIONS], m_BMD[:, 2 * MODULATIONS :]
        return (blocks[:, :MODULATIONS], blocks[:, MODULATIONS:]), (output[:, :1], output[:, 1:])

    def decode(
        self,
        z_BNZ: jax.Array,
        noise_BHWC: jax.Array,
        *,
        known_BN: jax.Array | None = None,
        num_steps: int | None = None,
    ) -> jax.Array:
        """Draws the pixels of tokens, in [-1, 1].

        Args:
            z_BNZ: Tokens on the sphere.
            noise_BHWC: Noise to start from, before it is scaled by the config's `noise_scale`.
            known_BN: Which tokens are known; None for all.
            num_steps: Number of Euler steps; that of the config if None.
        """
        solver = flow.Solver(num_steps=num_steps or self.config.num_steps)
        start_BHWC = self.config.noise_scale * noise_BHWC

        def velocity(x_t: jax.Array, t: jax.Array) -> jax.Array:
            t_B = jnp.broadcast_to(t, x_t.shape[:1])
            # Training bounds the divisor by `T_MIN`; with that here, the last step would fall short
            # of the clean pixels.
            clean = self(x_t, t_B, z_BNZ, known_BN)
            return flow.to_velocity(clean, x_t, t_B, flow.Prediction.DATA, t_min=flow.T_TINY)

        return jnp.clip(flow.solve(velocity, start_BHWC, solver), -1.0, 1.0)
