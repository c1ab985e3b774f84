# SPDX-License-Identifier: Apache-2.0
"""A stage small enough to check by hand: a net of two blocks that regresses noisy targets."""

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen import parallel
from omnigen.training.metrics import Rates

FEATURES, WIDTH, HIDDEN, OUTPUTS, LAYERS = 8, 16, 24, 8, 2


def example(index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One row of data; rows have different weights, so that a mean of means is wrong."""
    x = rng.standard_normal(FEATURES).astype(np.float32)
    return {"x": x, "weight": np.float32(1 + index % 3), "index": np.int32(index)}


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Weights of variance 1 / fan in; compiles faster than a normal distribution."""
    return (jax.random.uniform(key, shape) - 0.5) * (12 / shape[-2]) ** 0.5


class ToyStage:
    name = "toy"

    def __init__(self, bad_indices=(), end=None):
        self.added = ()
        self.frozen = {"decoder": {"target": np.eye(FEATURES, OUTPUTS, dtype=np.float32)}}
        self.bad_indices = np.asarray(bad_indices, np.int32)
        self.end = end
        self.seen = []

    def init(self, key):
        keys = jax.random.split(key, 4)
        return {
            "encoder": {
                "in": uniform(keys[0], (FEATURES, WIDTH)),
                "layers": {
                    "up": uniform(keys[1], (LAYERS, WIDTH, HIDDEN)),
                    "bias": jnp.zeros((LAYERS, HIDDEN)),
                    "down": uniform(keys[3], (LAYERS, HIDDEN, WIDTH)),
                },
            },
            "head": {"out": uniform(keys[2], (WIDTH, OUTPUTS))},
        }

    def axes(self):
        return {
            "encoder": {
                "in": ("pixels", "embed"),
                "layers": {
                    "up": ("layers", "embed", "mlp"),
                    "bias": ("layers", "mlp"),
                    "down": ("layers", "mlp", "embed"),
                },
            },
            "head": {"out": ("embed", None)},
        }

    def frozen_axes(self):
        return {"decoder": {"target": ("embed", None)}}

    def dataset(self, batch_size, shard):
        source = grain.MapDataset.range(shard.index, self.end or 960, shard.count).seed(7)
        if self.end is None:
            source = source.shuffle().repeat(None)
        return source.random_map(example).to_iter_dataset().batch(batch_size)

    def prepare(self, params, frozen, batch, keys_B):
        del params
        noise = jax.vmap(lambda key: jax.random.uniform(key, (OUTPUTS,)))(keys_B)
        y = batch["x"] @ frozen["decoder"]["target"] + 0.1 * noise
        bad = (batch["index"][:, None] == self.bad_indices[None, :]).any(-1)
        y = jnp.where(bad[:, None], jnp.nan, y)
        return {**batch, "y": y, "total": batch["weight"].sum()}

    def loss(self, params, frozen, batch, keys_B):
        del frozen
        h = parallel.shard(batch["x"] @ params["encoder"]["in"], "batch", None)
        h = h * jax.vmap(lambda key: jax.random.bernoulli(key, 0.9, (WIDTH,)))(keys_B)

        def block(h, layer):
            hidden = parallel.shard(h @ layer["up"] + layer["bias"][None], "batch", "mlp")
            return parallel.shard(h + jnp.tanh(hidden) @ layer["down"], "batch", None), None

        h, _ = jax.lax.scan(block, h, params["encoder"]["layers"])
        error = ((h @ params["head"]["out"] - batch["y"]) ** 2).mean(-1)
        loss = (error * batch["weight"]).sum() / batch["total"]
        return loss, {"mse": loss, "share": batch["weight"].sum() / batch["total"]}

    def rates(self, batch):
        self.seen.append(batch["index"].copy())
        return Rates(
            images=len(batch["x"]),
            tokens=10 * len(batch["x"]),
            flops=1e9,
            positions=10 * len(batch["x"]),
            executed_flops=1e9,
        )

    def samples(self, params, frozen, seed):
        del frozen
        value = np.uint8(np.clip(np.abs(np.asarray(params["head"]["out"])).max() * 100, 0, 255))
        return np.full((3, 4, 6, 3), value, np.uint8)


@pytest.fixture(scope="session")
def make_stage():
    return ToyStage
