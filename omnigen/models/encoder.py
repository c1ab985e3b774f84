# SPDX-License-Identifier: Apache-2.0
"""The encoder: pixels to continuous tokens on a sphere.

A ViT over patches; each `merge * merge` square of them becomes one token of `latent_dim` numbers,
projected on the sphere of radius √latent_dim. Token norms that differ drift under guidance in
continuous-token autoregression; a norm that is fixed after every sampled token cannot (SphereAR
2025; NextStep-1's layer norm does the same). In training noise is added before the projection, so
that nearby latents mean nearby pictures and the decoder forgives the autoregressive model's errors.
Any size whose sides are multiples of `token_size`.

Tokens of a ViT that sees the whole picture tell of all of it, even those of an empty background. An
autoregressive model that meets the same pictures often learns to recognise them by their first
tokens, not by their captions (docs/decisions.md). Local tokens tell of their own pixels alone.

Shape legend: B batch, H W pixels, C channels, P patches, N tokens, D width, Z latent dim.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from omnigen import flow
from omnigen.nn.block import Block
from omnigen.nn.layers import Linear, RMSNorm, patchify
from omnigen.nn.module import check_sizes
from omnigen.nn.stack import Remat, Stack
from omnigen.parallel import shard
from omnigen.sequence import places


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder.

    Attributes:
        patch_size: Side in pixels of the ViT's patches.
        merge: Number of patches a side that make one token.
        latent_dim: Number of dims of a token.
        embed_dim: Width, which `num_heads` divides.
        num_layers: Number of layers.
        num_heads: Number of attention heads.
        mlp_dim: Hidden width of the SwiGLU.
        local: Whether each token is made from its own pixels alone, not from the whole picture.
        noise_max: Largest σ of the latent noise in training, which is uniform from 0, drawn for
            each image.
        dtype: Data type of the computation.
        remat: What the backward pass keeps.
        unroll: Whether to compile each layer for itself: faster in training, longer to compile.
    """

    patch_size: int = 8
    merge: int = 2
    latent_dim: int = 48
    embed_dim: int = 256
    num_layers: int = 4
    num_heads: int = 4
    mlp_dim: int = 768
    local: bool = False
    noise_max: float = 0.5
    dtype: str = "float32"
    remat: Remat = Remat.NONE
    unroll: bool = False

    def __post_init__(self) -> None:
        check_sizes("encoder", self)
        if self.embed_dim % (2 * self.num_heads):
            raise ValueError(
                f"encoder embed_dim {self.embed_dim} is not a multiple of twice num_heads, "
                f"{2 * self.num_heads}; rotary positions need pairs"
            )
        if self.noise_max < 0:
            raise ValueError(f"encoder noise_max is {self.noise_max}; it must be at least 0")

    @property
    def token_size(self) -> int:
        """The side in pixels of what one token stands for."""
        return self.patch_size * self.merge


class Encoder(nnx.Module):
    """A ViT with a projection to tokens."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        c = config
        self.config = c
        pixels = 3 * c.patch_size**2
        self.patch_in = Linear(pixels, c.embed_dim, axes=("pixels", "embed"), rngs=rngs)

        def block(rngs: nnx.Rngs) -> Block:
            return Block(
                c.embed_dim,
                num_heads=c.num_heads,
                num_kv_heads=c.num_heads,
                head_dim=c.embed_dim // c.num_heads,
                mlp_dim=c.mlp_dim,
                num_layers=c.num_layers,
                rngs=rngs,
            )

        self.stack = Stack(block, c.num_layers, rngs=rngs)
        self.norm = RMSNorm(c.embed_dim, rngs=rngs)
        merged = c.embed_dim * c.merge**2
        self.latent_out = Linear(merged, c.latent_dim, axes=("embed", "latent"), rngs=rngs)

    def __call__(self, image_BHWC: jax.Array) -> jax.Array:
        """Encodes pixels in [-1, 1].

        Returns tokens on the sphere, float32 `[B, N, Z]`, in raster order.
        """
        c = self.config
        height, width = image_BHWC.shape[1:3]
        assert height % c.token_size == 0 and width % c.token_size == 0, image_BHWC.shape
        if c.local:  # each token's pixels are an image of their own, so attention stays in them
            tiles_BNK = patchify(image_BHWC, c.token_size)
            tiles_NHWC = tiles_BNK.reshape(-1, c.token_size, c.token_size, 3)
            return self._tokens(tiles_NHWC).reshape(*tiles_BNK.shape[:2], c.latent_dim)
        return self._tokens(image_BHWC)

    def _tokens(self, image_BHWC: jax.Array) -> jax.Array:
        c = self.config
        batch, height, width, _ = image_BHWC.shape
        rows, cols = height // c.patch_size, width // c.patch_size
        x_BPD = self.patch_in(patchify(image_BHWC.astype(c.dtype), c.patch_size))
        x_BPD = shard(x_BPD, "batch", "length", None)
        grid = jnp.asarray(places(rows, cols))
        position_BPA = jnp.broadcast_to(grid[None], (batch, *grid.shape))

        def call(block: Block, x: jax.Array) -> tuple[jax.Array, None]:
            return block(x, position_BPA)[0], None

        x_BPD, _ = self.stack(x_BPD, call, remat=c.remat, unroll=c.unroll)
        x_BRCD = self.norm(x_BPD).reshape(batch, rows, cols, c.embed_dim)
        # In float32 from here on: rounded to bfloat16, tokens would leave the sphere.
        return flow.sphere(self.latent_out(patchify(x_BRCD, c.merge)).astype(jnp.float32))


def add_noise(z_BNZ: jax.Array, sigma: jax.Array, keys: jax.Array) -> jax.Array:
    """Perturbs tokens and projects them back: `sphere(z + σ ε)`.

    Args:
        z_BNZ: Tokens on the sphere.
        sigma: Standard deviations, `[B]` or `[B, N]`.
        keys: Keys, one for each image.
    """
    # Projected again, as sampled tokens are: otherwise their length would give the noise away.
    noise_BNZ = flow.normal(keys, z_BNZ.shape)
    return flow.sphere(z_BNZ + sigma.reshape(sigma.shape + (1,) * (3 - sigma.ndim)) * noise_BNZ)
