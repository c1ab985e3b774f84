# SPDX-License-Identifier: Apache-2.0
"""That bad steps are skipped, exactly they, and leave no trace in what later ones are judged by."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from omnigen import parallel
from omnigen.training import guard, state, step
from omnigen.training.stage import TrainConfig

CONFIG = TrainConfig(global_batch_size=4, ema_decay=0.9, spike_sigmas=6.0)
SGD = optax.GradientTransformationExtraArgs(*optax.sgd(0.1, momentum=0.9))


class Scripted:
    """A stage whose loss is what the batch says, times a weight."""

    frozen = {}

    def prepare(self, params, frozen, batch, keys_B):
        return batch

    def loss(self, params, frozen, batch, keys_B):
        loss = (batch["loss"] * params["w"]).mean()
        return loss, {}


def play(losses, config=CONFIG):
    """Trains through a script of losses (at a weight that hardly moves); who was skipped, state."""
    optimizer = guard.watch(SGD) if config.spike_sigmas else SGD
    train_step = jax.jit(step.make_step(Scripted(), config, optimizer=optimizer, seed=0))
    now = state.fresh({"w": jnp.ones(())}, optimizer)
    skipped, states = [], []
    for number, loss in enumerate(losses):
        before = now
        rows = jnp.full(4, loss / float(now["params"]["w"]), jnp.float32)
        now, report = train_step(now, {}, {"loss": rows})
        if float(report["skipped"]):
            skipped.append(number)
            for name in ("params", "opt", "ema"):
                jax.tree.map(np.testing.assert_array_equal, now[name], before[name])
        states.append(now)
    return skipped, states[-1]


def script(count, seed=0):
    return list(0.01 * (2.0 + 0.1 * np.random.default_rng(seed).standard_normal(count)))


BAD = {
    "at the start": {0},
    "while warming up": {10, 11, 30},
    "later": {100, 101, 150},
    "one in fifty": {50, 100, 150, 199},
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("when", BAD)
def test_exactly_the_bad_steps_are_skipped(when, value):
    losses = script(200)
    for number in BAD[when]:
        losses[number] = value
    skipped, last = play(losses)
    assert set(skipped) == BAD[when]
    assert int(last["opt"].losses.count) == 200 - len(BAD[when])
    assert np.isfinite(float(last["params"]["w"])) and int(last["step"]) == 200


def test_spikes_are_skipped_and_do_not_count():
    losses = script(200)
    losses[20] = 5.0  # too early to judge
    skipped, _ = play(losses)
    assert skipped == []
    losses = script(200)
    for number in (120, 121, 160):
        losses[number] = 0.01 * (2.0 + 100 * 0.1)
    skipped, last = play(losses)
    assert skipped == [120, 121, 160]
    assert float(last["opt"].losses.mean) == pytest.approx(0.02, rel=0.05)
    assert float(last["opt"].losses.variance) ** 0.5 == pytest.approx(0.001, rel=0.3)


def test_statistics_are_those_of_the_losses():
    """Equal weights until the window is full: then they are numpy's mean and variance."""
    losses = script(guard.WINDOW)
    _, last = play(losses)
    assert float(last["opt"].losses.mean) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(last["opt"].losses.variance) == pytest.approx(np.var(losses), rel=1e-3)


def test_without_the_guard_spikes_count_and_the_state_has_no_statistics():
    losses = script(100)
    losses[80] = 5.0
    skipped, last = play(losses, dataclasses.replace(CONFIG, spike_sigmas=0.0))
    assert skipped == []
    assert not isinstance(last["opt"], guard.Watched)


def test_layer_statistics():
    tree = {"a": {"b": jnp.array([3.0, -4.0])}, "c": jnp.array([[1.0, jnp.nan, jnp.inf]])}
    found = guard.layer_statistics(tree)
    assert found["a/b"] == {"norm": 5.0, "largest": 4.0, "not_finite": 0.0}
    assert found["c"]["not_finite"] == 2.0


@pytest.mark.parametrize(
    "axes", [{"data": 2, "tensor": 4}, {"data": 4, "sequence": 2}, {"data": 8}]
)
def test_rows_of_a_batch_are_kept_once(axes):
    mesh = parallel.make_mesh(parallel.MeshConfig(**axes))
    layout = parallel.sharding(mesh, ("batch",))
    batch = parallel.global_array(layout, np.arange(8), 8)
    np.testing.assert_array_equal(guard.local_rows(batch), np.arange(8))
