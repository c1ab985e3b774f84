# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of the models, counted by formula.

A multiply-add is two operations. Matrix products only: no norms, softmax, embedding lookups,
rematerialisation or padding. Causal attention counts half of the square, also where tokens come in
groups. A forward pass is counted; training costs three times that for what is trained (forward, and
two products for each backward).
"""

import numpy as np

from omnigen.models.ar import PLACE_DIM, ARConfig
from omnigen.models.decoder import MODULATIONS, DecoderConfig
from omnigen.models.decoder import TIME_DIM as DECODER_TIME_DIM
from omnigen.models.encoder import EncoderConfig
from omnigen.models.heads.flow import ADDED, FlowHeadConfig
from omnigen.models.heads.flow import MODULATIONS as HEAD_MODULATIONS
from omnigen.models.heads.flow import TIME_DIM as HEAD_TIME_DIM


def _block(dim: int, *, heads: int, kv_heads: int, head_dim: int, mlp_dim: int) -> int:
    """Returns the number of weights of a transformer block, all of which every token meets."""
    return dim * head_dim * (2 * heads + 2 * kv_heads) + 3 * dim * mlp_dim


def encoder(config: EncoderConfig, height: int, width: int | None = None) -> float:
    """Returns the FLOPs of encoding an image of this size in pixels, square without a width."""
    c = config
    patches = (height // c.patch_size) * ((width or height) // c.patch_size)
    block = _block(
        c.embed_dim,
        heads=c.num_heads,
        kv_heads=c.num_heads,
        head_dim=c.embed_dim // c.num_heads,
        mlp_dim=c.mlp_dim,
    )
    weights = c.num_layers * block + 3 * c.patch_size**2 * c.embed_dim + c.embed_dim * c.latent_dim
    seen = c.merge**2 if c.local else patches
    return 2.0 * weights * patches + 4.0 * c.num_layers * patches * seen * c.embed_dim


def decoder(config: DecoderConfig, height: int, width: int | None = None) -> float:
    """Returns the FLOPs of one evaluation of the decoder for one image, square without a width."""
    c = config
    ratio = c.token_size // c.patch_size
    tokens = (height // c.token_size) * ((width or height) // c.token_size)
    patches = tokens * ratio**2
    block = _block(
        c.embed_dim,
        heads=c.num_heads,
        kv_heads=c.num_heads,
        head_dim=c.embed_dim // c.num_heads,
        mlp_dim=c.mlp_dim,
    )
    both = patches + tokens
    ends = patches * 6 * c.patch_size**2 * c.embed_dim
    ends += tokens * c.latent_dim * c.embed_dim * (1 + ratio**2)
    ends += c.embed_dim * (DECODER_TIME_DIM + (2 * MODULATIONS + 2) * c.embed_dim)
    return 2.0 * (c.num_layers * block * both + ends) + 4.0 * c.num_layers * both**2 * c.embed_dim


def ar(config: ARConfig, lengths: np.ndarray, *, text_tokens: float, image_tokens: float) -> float:
    """Returns the FLOPs of the transformer over samples of these lengths.

    Args:
        config: Sizes of the transformer.
        lengths: Number of elements of each sample.
        text_tokens: Number of elements that are scored against the vocabulary.
        image_tokens: Number of elements that enter as vectors.
    """
    c = config
    block = _block(
        c.embed_dim,
        heads=c.num_heads,
        kv_heads=c.num_kv_heads,
        head_dim=c.head_dim,
        mlp_dim=c.mlp_dim,
    )
    per_token = c.num_layers * block + PLACE_DIM * c.embed_dim
    tokens, squares = float(np.sum(lengths)), float(np.sum(np.square(lengths, dtype=np.float64)))
    ends = c.embed_dim * (text_tokens * c.vocab_size + image_tokens * c.latent_dim)
    attention = 2.0 * c.num_layers * c.num_heads * c.head_dim * squares
    return 2.0 * (per_token * tokens + ends) + attention


def flow_head(config: FlowHeadConfig, tokens: float, *, draws: int) -> float:
    """Returns the FLOPs of the head for hidden states with some draws of time and noise each."""
    c = config
    block = 3 * c.embed_dim * c.mlp_dim
    per_draw = c.num_blocks * block + 2 * c.latent_dim * c.embed_dim
    times = 1 + len(ADDED) * c.average
    per_draw += times * HEAD_TIME_DIM * c.embed_dim + HEAD_MODULATIONS * c.embed_dim**2
    return 2.0 * tokens * (draws * per_draw + c.cond_dim * c.embed_dim)
