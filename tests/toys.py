# SPDX-License-Identifier: Apache-2.0
"""One tiny model, and rows of every kind of span for it to read."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.generation.generate import Driver
from omnigen.generation.state import Phase
from omnigen.models.ar import ARConfig
from omnigen.models.decoder import DecoderConfig
from omnigen.models.encoder import EncoderConfig
from omnigen.models.heads.flow import FlowHeadConfig
from omnigen.models.omni import Omni, OmniConfig
from omnigen.sequence import Specials, layout
from omnigen.text import ByteText

CONFIG = OmniConfig(
    image_size=32,
    encoder=EncoderConfig(
        patch_size=4, merge=2, latent_dim=6, embed_dim=32, num_layers=2, num_heads=2, mlp_dim=48
    ),
    decoder=DecoderConfig(
        patch_size=4,
        embed_dim=32,
        num_layers=2,
        num_heads=2,
        mlp_dim=48,
        num_steps=2,
    ),
    ar=ARConfig(
        embed_dim=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=12,
        mlp_dim=48,
    ),
    head=FlowHeadConfig(embed_dim=24, num_blocks=2, mlp_dim=40, num_steps=3),
)


def random_weights(shapes, seed):
    """Weights in numpy, away from their start, so that what begins at 0 or 1 matters too."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        x = rng.standard_normal(leaf.shape)
        if path[-1].key == "w":
            return (x / np.sqrt(leaf.shape[-2])).astype(np.float32)
        return (0.1 * x + (path[-1].key == "scale")).astype(np.float32)

    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(draw, shapes))


@functools.partial(jax.jit, static_argnums=(0, 3))
def step(omni, weights, now, phase):
    """The state of rows after a step of those in a phase."""
    driver = Driver.of(omni, weights)
    return (driver.write if phase == Phase.TEXT else driver.draw)(now)


def finished(omni, weights, now):
    """The state once every row is done; those that write go first."""
    while (now.phase != Phase.DONE).any():
        now = step(
            omni, weights, now, Phase.TEXT if (now.phase == Phase.TEXT).any() else Phase.IMAGE
        )
    return now


@pytest.fixture(scope="session")
def omni():
    return Omni(CONFIG)


@pytest.fixture(scope="session")
def params(omni):
    return {name: random_weights(net.shapes(), seed=1) for name, net in omni.nets.items()}


@pytest.fixture(scope="session")
def lay():
    """Lays spans out as one numpy sample."""
    return lambda *spans: layout(spans, Specials(256), ByteText().encode)
