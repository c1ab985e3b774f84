# SPDX-License-Identifier: Apache-2.0
"""Oracles: the head in numpy, the loss as a loop over tokens and draws, Euler by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen import flow
from omnigen.models.heads.flow import FlowHead
from omnigen.nn.module import Net


def gaussian(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.fixture(scope="module")
def head(omni, params):
    return omni.head.bind(params["head"])


def silu(x):
    return x / (1 + np.exp(-x))


def rms(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def numpy_head(params, z, t, hidden):
    """Velocity of one token."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    angle = t * 0.1 * 10_000.0 ** (np.arange(128) / 127)
    time = np.concatenate([np.cos(angle), np.sin(angle)]) @ p["time_in"]["w"]
    cond = np.asarray(hidden, np.float64) @ p["hidden_in"]["w"]
    shared = silu(cond + time) @ p["modulation"]["w"] + p["modulation"]["b"]
    shared = shared.reshape(3, -1)
    x = np.asarray(z, np.float64) @ p["latent_in"]["w"] + cond
    layers = p["stack"]["layers"]
    for i in range(len(layers["modulation"])):
        scale, shift, gate = shared + layers["modulation"][i]
        y = rms(x) * (1 + scale) + shift
        mlp = {name: layers["mlp"][name]["w"][i] for name in ("gate", "up", "down")}
        x = x + (1 + gate) * ((silu(y @ mlp["gate"]) * (y @ mlp["up"])) @ mlp["down"])
    return rms(x) @ p["latent_out"]["w"]


def test_the_net_is_its_formula(head, params):
    z, t, hidden = gaussian(0, 3, 6), jnp.array([0.0, 0.4, 1.0]), gaussian(1, 3, 32)
    wanted = [numpy_head(params["head"], z[i], float(t[i]), hidden[i]) for i in range(3)]
    np.testing.assert_allclose(jax.jit(head)(z, t, hidden), wanted, atol=2e-4)


@pytest.mark.parametrize("prediction", list(flow.Prediction))
def test_loss_is_the_mean_over_draws_and_dims(omni, params, prediction):
    config = dataclasses.replace(omni.config.head, prediction=prediction)
    net = Net(lambda rngs: FlowHead(config, rngs=rngs))
    z, hidden = gaussian(0, 2, 3, 6), gaussian(1, 2, 3, 32)
    noise = gaussian(2, 4, 2, 3, 6)
    t = jnp.asarray(np.random.default_rng(3).uniform(0, 1, (4, 2, 3)), jnp.float32)
    t = t.at[0, 0, 0].set(0.01)  # below the smallest divisor of a data prediction
    out = jax.jit(lambda p: net.bind(p).loss(z, hidden, t, noise))(params["head"])
    for b in range(2):
        for n in range(3):
            errors = []
            for k in range(4):
                x, e, s = np.asarray(z[b, n]), np.asarray(noise[k, b, n]), float(t[k, b, n])
                x_t = (1 - s) * x + s * e
                got = numpy_head(params["head"], x_t, s, hidden[b, n])
                if prediction == flow.Prediction.DATA:
                    errors.append(((got - x) ** 2).mean() / max(s, 0.05) ** 2)
                else:
                    errors.append(((got - (e - x)) ** 2).mean())
            np.testing.assert_allclose(out[b, n], np.mean(errors), rtol=1e-3)


@pytest.mark.parametrize("prediction", list(flow.Prediction))
@pytest.mark.parametrize("num_steps", [None, 5])
def test_the_sampler_is_euler_on_the_net(omni, params, prediction, num_steps):
    config = dataclasses.replace(omni.config.head, prediction=prediction)
    net = Net(lambda rngs: FlowHead(config, rngs=rngs))
    hidden, noise = gaussian(0, 1, 2, 32), gaussian(1, 2, 6)

    @jax.jit
    def sample(params):
        sampler = net.bind(params).sampler()
        given = num_steps and flow.Solver(num_steps=num_steps).steps()
        return sampler(hidden, noise, guidance=jnp.float32(1.0), steps=given)

    steps = num_steps or 3
    for b in range(2):
        z = np.asarray(noise[b], np.float64)
        for i in range(steps, 0, -1):
            got = numpy_head(params["head"], z, i / steps, hidden[0, b])
            v = got if prediction == flow.Prediction.VELOCITY else (z - got) / (i / steps)
            z = z - v / steps
        z *= np.sqrt(6) / np.linalg.norm(z)
        np.testing.assert_allclose(sample(params["head"])[b], z, atol=1e-3)


def test_the_sampler_is_solve_with_the_scanned_head(head):
    hidden, noise = gaussian(0, 1, 4, 32), gaussian(1, 4, 6)

    @jax.jit
    def both(noise):
        def velocity(z, t):
            return head(z, jnp.broadcast_to(t, (4,)), hidden[0])

        direct = flow.sphere(flow.solve(velocity, noise, flow.Solver(num_steps=3)))
        return direct, head.sampler()(hidden, noise, guidance=jnp.float32(1.0))

    direct, sampled = both(noise)
    np.testing.assert_allclose(sampled, direct, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(sampled, axis=-1), np.sqrt(6), rtol=1e-5)


def test_guidance_extrapolates_between_the_branches(head):
    hidden, noise = gaussian(0, 2, 4, 32), gaussian(1, 4, 6)

    @jax.jit
    def sample(hidden, guidance):
        one = flow.Solver(num_steps=1).steps()
        return head.sampler()(hidden, noise, guidance=guidance, steps=one)

    def raw(branch):
        return np.asarray(noise) - np.asarray(head(noise, jnp.ones(4), hidden[branch]))

    for scale in (0.0, 1.0, 3.0):
        z = raw(1) + scale * (raw(0) - raw(1))
        z *= np.sqrt(6) / np.linalg.norm(z, axis=-1, keepdims=True)
        np.testing.assert_allclose(sample(hidden, jnp.float32(scale)), z, atol=1e-4)
    alone = sample(hidden[:1], jnp.float32(7.0))
    np.testing.assert_allclose(alone, sample(hidden, jnp.float32(1.0)), atol=1e-5)
