# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.data.corpus.split import Split
from omnigen.data.stream.pipeline import DataConfig
from omnigen.evals.suites import held_out
from omnigen.parallel import DataShard


class Known:
    """Its loss is the mean of the batch times a weight, and a draw of the keys."""

    data = DataConfig()

    def dataset(self, batch_size, shard, split):
        assert (shard, split) == (DataShard(), Split.TEST)
        return ({"x": np.full(batch_size, number, np.float32)} for number in (1, 2, 6, 100))

    def prepare(self, params, frozen, batch, keys):
        return {**batch, "count": jnp.float32(batch["x"].shape[0])}

    def loss(self, params, frozen, batch, keys):
        mean = params * frozen * batch["x"].sum() / batch["count"]
        return mean, {"mean": mean, "draw": jax.random.uniform(keys[0])}


def test_held_out_loss_is_the_mean_over_batches_with_the_same_noise_every_time():
    judge = held_out.HeldOut(Known(), batches=3, batch_size=4)
    first, second = dict(judge.run(2.0, 5.0)), dict(judge.run(1.0, 1.0))
    assert first["mean"] == pytest.approx(30.0) and second["mean"] == pytest.approx(3.0)
    assert first["draw"] == second["draw"] and 0 < first["draw"] < 1
