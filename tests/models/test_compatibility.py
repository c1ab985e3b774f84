# SPDX-License-Identifier: Apache-2.0
"""Every setting of the model is decided on, and shapes show what they are said to show."""

import dataclasses
import enum
import functools
import json

import jax
import pytest
from flax import nnx

from omnigen import config
from omnigen.models import compatibility, heads
from omnigen.models.ar import AR
from omnigen.models.omni import Omni, OmniConfig
from omnigen.nn.layers import Linear
from omnigen.nn.module import Net
from omnigen.training.changes import flat

# Small, and no size equal to another, so that no two settings make up for each other.
SMALL = OmniConfig(
    image_size=32,
    encoder=config.build(
        type(OmniConfig().encoder),
        {"embed_dim": 32, "num_layers": 1, "num_heads": 2, "mlp_dim": 48, "latent_dim": 8},
    ),
    decoder=config.build(
        type(OmniConfig().decoder),
        {"embed_dim": 64, "num_layers": 1, "num_heads": 4, "mlp_dim": 80},
    ),
    ar=config.build(
        type(OmniConfig().ar),
        {"embed_dim": 40, "num_layers": 1, "num_heads": 4, "num_kv_heads": 2, "head_dim": 12,
         "mlp_dim": 56, "vocab_size": 264},
    ),
    head=config.build(
        type(OmniConfig().head),
        {"embed_dim": 24, "num_blocks": 1, "mlp_dim": 72},
    ),
)  # fmt: skip
OTHER = {"image_size": 64, "ar.vocab_size": 264, "ar.num_kv_heads": 4, "decoder.patch_size": 4,
         "decoder.noise_scale": 0.5, "head.kind": "line",
         "ar.text_vocab": 256, "ar.rope.theta": [1e6, 1e6, 1e6],
         "ar.rope.counts": [4, 1, 1]}  # fmt: skip


class Line(nnx.Module):
    """Another head."""

    def __init__(self, config, *, rngs):
        size = config.cond_dim, config.latent_dim
        self.out = Linear(*size, axes=("embed", "latent"), rngs=rngs)


def shapes(model: OmniConfig) -> dict[str, dict]:
    nets = Omni(model).nets
    return {
        part: jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), net.shapes())
        for part, net in nets.items()
    }


def another(key: str) -> OmniConfig:
    """The small model with another value of a setting."""
    values = json.loads(config.to_json(SMALL))
    *groups, last = key.split(".")
    node = values
    for group in groups:
        node = node[group]
    old = node[last]
    kind = type(functools.reduce(getattr, key.split("."), SMALL))
    if key in OTHER:
        node[last] = OTHER[key]
    elif issubclass(kind, enum.Enum):
        node[last] = next(member.value for member in kind if member.value != old)
    elif last == "dtype":
        node[last] = "bfloat16"
    elif kind is bool:
        node[last] = not old
    else:
        node[last] = 2 * old if old else 1
    return config.build(OmniConfig, values)


def test_every_setting_is_decided_on() -> None:
    groups = [set(compatibility.UNSEEN), compatibility.SHAPES, compatibility.FREE]
    assert set.union(*groups) == flat(config.to_dict(OmniConfig())).keys()
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert set(compatibility.UNSEEN.values()) <= Omni(SMALL).nets.keys()


@pytest.mark.parametrize("key", sorted(compatibility.SHAPES - {"ar.vocab_size"}))
def test_shapes_show_what_they_are_said_to_show(key: str, monkeypatch) -> None:
    monkeypatch.setitem(heads.HEADS, "line", f"{__name__}:Line")
    assert shapes(another(key)) != shapes(SMALL)


def test_the_vocabulary_is_a_shape() -> None:
    wider = Net(lambda rngs: AR(dataclasses.replace(SMALL.ar, vocab_size=300), rngs=rngs))
    found = jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), wider.shapes())
    assert found != shapes(SMALL)["ar"]


@pytest.mark.parametrize(
    "key", sorted((compatibility.UNSEEN.keys() | compatibility.FREE) - {"text"})
)
def test_shapes_show_nothing_of_the_others(key: str) -> None:
    assert another(key) != SMALL and shapes(another(key)) == shapes(SMALL)
