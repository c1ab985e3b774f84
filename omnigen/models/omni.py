# SPDX-License-Identifier: Apache-2.0
"""The whole model: encoder, transformer, flow head and decoder; `generation` draws with it.

Shape legend: B pictures, N image tokens, Z latent dim.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omnigen import config, flow, parallel
from omnigen.models import heads
from omnigen.models.ar import AR, ARConfig
from omnigen.models.decoder import Decoder, DecoderConfig
from omnigen.models.encoder import Encoder, EncoderConfig
from omnigen.models.heads.flow import FlowHeadConfig
from omnigen.nn.module import Net, Params
from omnigen.sequence import Specials
from omnigen.text import load as load_text

MOST_TOKENS = 2**16  # of a picture: 4096 pixels a side in tokens of 16
MOST_SKETCH = 2**14
MOST_DRAWS = 2**23  # steps of the flow head for all groups of a picture


@dataclasses.dataclass(frozen=True)
class OmniConfig:
    """Sizes of the four parts, and what they have in common.

    Attributes:
        image_size: Side in pixels of the pictures that the model draws.
        text: "bytes", or the path of a `tokenizer.json`.
        sketch_length: Most elements that the model writes before it draws, the one that begins the
            picture included; 0 draws at once.
        block: Number of image tokens that are drawn together, each knowing only the groups before
            its own. 1 is autoregression; with more a step is MAR's, since tokens of a group do not
            know each other's noise.
        reads_pictures: Whether it was trained to read pictures, and so can edit them.
        encoder: Sizes of the encoder.
        decoder: Sizes of the decoder.
        ar: Sizes of the transformer.
        head: Sizes of the head.
    """

    image_size: int = 128
    text: str = "bytes"
    sketch_length: int = 0
    block: int = 1
    reads_pictures: bool = False
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    ar: ARConfig = ARConfig()
    head: FlowHeadConfig = FlowHeadConfig()

    def __post_init__(self) -> None:
        self._derive()
        size = self.encoder.token_size
        if self.image_size < 1 or self.image_size % size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of the token size {size}"
            )
        if not 0 <= self.sketch_length <= MOST_SKETCH:
            raise ValueError(
                f"sketch_length is {self.sketch_length}; it must be in 0 ... {MOST_SKETCH}"
            )
        tokens = math.prod(self.grid)
        if tokens > MOST_TOKENS:
            raise ValueError(
                f"image_size {self.image_size} makes {tokens} tokens a picture; at most "
                f"{MOST_TOKENS} are allowed"
            )
        if self.block < 1 or tokens % self.block:
            raise ValueError(
                f"block is {self.block}; it must divide the {tokens} tokens of a picture"
            )
        if self.groups * self.head.num_steps > MOST_DRAWS:
            raise ValueError(
                f"{self.groups} groups of tokens in {self.head.num_steps} head num_steps each; at "
                f"most {MOST_DRAWS} steps a picture are allowed"
            )
        if size % self.decoder.patch_size:
            raise ValueError(
                f"decoder patch_size is {self.decoder.patch_size}; it must divide the token size "
                f"{size}"
            )

    def _derive(self) -> None:
        """Gives the parts the sizes that are others' (`config.DERIVED`)."""
        dim = self.encoder.latent_dim
        sizes: dict[str, dict[str, int]] = {
            "decoder": {"token_size": self.encoder.token_size, "latent_dim": dim},
            "ar": {"latent_dim": dim},
            "head": {"latent_dim": dim, "cond_dim": self.ar.embed_dim},
        }
        for part, given in sizes.items():
            # Frozen for all others: this is a part of making it.
            object.__setattr__(self, part, dataclasses.replace(getattr(self, part), **given))

    @property
    def grid(self) -> tuple[int, int]:
        """The numbers of rows and columns of tokens."""
        side = self.image_size // self.encoder.token_size
        return side, side

    @property
    def groups(self) -> int:
        """The number of groups in which the tokens of a picture are drawn."""
        return math.prod(self.grid) // self.block

    @property
    def specials(self) -> Specials:
        """The ids of the special tokens."""
        text_vocab = self.ar.text_vocab
        if text_vocab is None:
            text_vocab = self.ar.vocab_size - Specials(0).vocab_size
        return Specials(text_vocab)


DEFAULTS = {"model": config.to_dict(OmniConfig())}  # for what settings of a run leave out


def stored_config(settings: Mapping[str, Any]) -> OmniConfig:
    """Reads the sizes of a model from the settings of a run, as a checkpoint stores them.

    Raises:
        ValueError: If they are those of no model, or beyond all bounds.
    """
    if "model" not in settings:
        raise ValueError("its config has no model")
    return config.build(OmniConfig, config.current(settings, DEFAULTS)["model"], "model")


class Omni:
    """The four parts as nets; parameters are a dict with the keys of `nets`."""

    def __init__(self, config: OmniConfig):
        self.config = config
        self.text = load_text(config.text)
        needed = Specials(self.text.vocab_size).vocab_size
        told = config.ar.text_vocab
        if told is not None and told != self.text.vocab_size:
            raise ValueError(
                f"ar text_vocab is {told}; text tokenizer {config.text!r} has "
                f"{self.text.vocab_size} ids"
            )
        if config.ar.vocab_size < needed or (told is None and config.ar.vocab_size != needed):
            raise ValueError(
                f"ar vocab_size is {config.ar.vocab_size}; text tokenizer {config.text!r} needs "
                f"{needed}"
            )
        self.encoder: Net[Encoder] = Net(lambda rngs: Encoder(config.encoder, rngs=rngs))
        self.decoder: Net[Decoder] = Net(lambda rngs: Decoder(config.decoder, rngs=rngs))
        self.ar: Net[AR] = Net(lambda rngs: AR(config.ar, rngs=rngs))
        head = heads.find(config.head.kind)
        self.head: Net[Any] = Net(lambda rngs: head(config.head, rngs=rngs))

    @property
    def nets(self) -> dict[str, Net[Any]]:
        """The parts, by the names of their parameters."""
        return {"encoder": self.encoder, "decoder": self.decoder, "ar": self.ar, "head": self.head}

    @functools.partial(jax.jit, static_argnums=0, static_argnames="num_steps")
    def decode(
        self,
        params: Params,
        z_BNZ: jax.Array,
        keys: jax.Array,
        *,
        known_BN: jax.Array | None = None,
        num_steps: int | None = None,
    ) -> jax.Array:
        """Decodes tokens to pixels, `[B, H, W, 3]` in [-1, 1].

        Args:
            params: Weights of the decoder.
            z_BNZ: Tokens on the sphere, in raster order.
            keys: Keys, one for each picture, which decide its noise.
            known_BN: Which tokens are known; None for all.
            num_steps: Number of Euler steps; that of the config if None.
        """
        size = self.config.image_size
        noise = flow.normal(keys, (z_BNZ.shape[0], size, size, 3))
        decoder = self.decoder.bind(params)
        return decoder.decode(z_BNZ, noise, known_BN=known_BN, num_steps=num_steps)

    @functools.partial(jax.jit, static_argnums=0)
    def encode(self, params: Params, images: jax.Array) -> jax.Array:
        """Encodes pictures in [-1, 1] as tokens on the sphere, `[B, N, Z]`."""
        return self.encoder.bind(params)(images)

    def reconstruct(
        self,
        params: Mapping[str, Params],
        images: jax.Array,
        keys: jax.Array,
        *,
        num_steps: int | None = None,
    ) -> jax.Array:
        """Encodes pictures and decodes the tokens, which shows what tokens keep."""
        return self.decode(
            params["decoder"], self.encode(params["encoder"], images), keys, num_steps=num_steps
        )


def to_pixels(images: jax.Array) -> jax.Array:
    """Converts uint8 to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> np.ndarray:
    """Converts `[B, H, W, 3]` in [-1, 1] to uint8, rounded; every host gets all pictures."""
    return np.asarray(_levels(images))


@jax.jit
def _levels(images: jax.Array) -> jax.Array:
    levels = jnp.round((jnp.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)
    return parallel.shard(levels, *[None] * levels.ndim)
