# SPDX-License-Identifier: Apache-2.0
"""Oracles: the loss picture by picture; sums over microbatches; a batch learnt by heart."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from omnigen import flow, parallel
from omnigen.batch import Pictures
from omnigen.models import flops
from omnigen.models.omni import Omni, to_uint8
from omnigen.parallel import MeshConfig
from omnigen.scenes.scene import Kind
from omnigen.stages.tokenizer import DecoderStage, TokenizerObjective, TokenizerStage, contrast

HALF_SHORT = TokenizerObjective(truncate=0.5, regress=0.5, detail=0.25)


@pytest.fixture(scope="module")
def stage(config, data):
    return TokenizerStage(Omni(config), HALF_SHORT, data, {})


@pytest.fixture(scope="module")
def params(weights):
    return {part: weights[part] for part in ("encoder", "decoder")}


@pytest.fixture(scope="module")
def run(stage):
    """Loss, metrics and gradients of a prepared batch."""
    return jax.jit(jax.value_and_grad(lambda p, b, k: stage.loss(p, {}, b, k), has_aux=True))


def contrast_by_hand(image):
    """Of one picture `[H, W, C]`, pixel by pixel."""
    height, width, _ = image.shape
    deviation = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            near = image[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].reshape(-1, 3)
            deviation[y, x] = np.sqrt(near.var(axis=0).sum() + 0.02**2)
    return deviation / deviation.mean()


def by_hand(stage, params, image, keys_B):
    """Velocity and pixel MSE, picture by picture."""
    encode = jax.jit(stage.omni.encoder.bind(params["encoder"]))
    decode = jax.jit(stage.omni.decoder.bind(params["decoder"]))
    velocity, pixel = [], []
    for b, key in enumerate(keys_B):
        of_sigma, of_noise, of_known, of_time, of_pixels, of_mean = jax.random.split(key, 6)
        z = np.asarray(encode(image[b : b + 1]))[0]
        sigma = 0.5 * float(flow.TimeDensity(kind="uniform").sample(of_sigma, ()))
        z = z + sigma * np.asarray(jax.random.normal(of_noise, z.shape))
        z *= np.sqrt(6) / np.linalg.norm(z, axis=-1, keepdims=True)
        is_short, length = jax.random.split(of_known)
        cut = len(z)
        if jax.random.bernoulli(is_short, 0.5):
            cut = int(jax.random.randint(length, (), 0, len(z)))
        density = flow.TimeDensity(mean=0.8, std=0.8, uniform_fraction=0.1)
        t = float(density.sample(of_time, ()))
        noise = np.asarray(jax.random.normal(of_pixels, image.shape[1:]))
        if jax.random.bernoulli(of_mean, 0.5):  # no noise, and nothing of the picture
            t, noise = 1.0, 0.0 * noise
        noisy = (1 - t) * image[b] + t * noise
        known = jnp.arange(len(z))[None] < cut
        out = decode(noisy[None], jnp.array([t], jnp.float32), jnp.asarray(z)[None], known)
        errors = (np.asarray(out)[0] - image[b]) ** 2
        pixel.append(errors.mean())
        weights = 0.75 + 0.25 * contrast_by_hand(image[b])[..., None]
        velocity.append((weights * errors).mean() / max(t, 0.05) ** 2)
    return np.mean(velocity), np.mean(pixel)


def test_loss_is_the_mean_velocity_error(stage, run, params, pictures, keys):
    batch = stage.prepare(params, {}, pictures(8), keys(8))
    wanted_pixels = pictures(8).image.astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(batch.image, wanted_pixels, atol=1e-6)
    (loss, metrics), grads = run(params, batch, keys(8))
    velocity, pixel = by_hand(stage, params, np.asarray(batch.image), keys(8))
    np.testing.assert_allclose(loss, velocity, rtol=1e-4)
    np.testing.assert_allclose(metrics["velocity_mse"], velocity, rtol=1e-4)
    np.testing.assert_allclose(metrics["pixel_mse"], pixel, rtol=1e-4)
    moved = jax.tree.map(lambda g: bool(np.isfinite(g).all() and np.abs(g).max() > 0), grads)
    assert all(jax.tree.leaves(moved["encoder"]))


def test_contrast_is_that_of_the_neighbours_and_one_on_average(pictures):
    images = pictures(2).image.astype(np.float32) / 127.5 - 1
    images[1] = images[1, 0, 0]  # one colour
    images[0, :, 8:] = 0.5
    weights = np.asarray(contrast(jnp.asarray(images)))[..., 0]
    np.testing.assert_allclose(weights[0], contrast_by_hand(images[0]), rtol=2e-4)
    np.testing.assert_allclose(weights[1], 1.0, rtol=3e-3)
    assert weights[0, :, :8].min() > 5 * weights[0, :, 11:].max()


def test_pictures_need_not_be_square(config, stage, run, params, pictures, keys):
    batch = stage.prepare(params, {}, pictures(4, width=24), keys(4))
    (loss, _), _ = run(params, batch, keys(4))
    velocity, _ = by_hand(stage, params, np.asarray(batch.image), keys(4))
    np.testing.assert_allclose(loss, velocity, rtol=1e-4)
    rates = stage.rates(pictures(4, width=24))
    encode, decode = flops.encoder(config.encoder, 16, 24), flops.decoder(config.decoder, 16, 24)
    assert (rates.images, rates.tokens) == (4.0, 24.0)
    np.testing.assert_allclose(rates.flops, 4 * (3 * encode + 3 * decode))


def test_unrolled_layers_learn_the_same(config, data, pictures, keys, assert_close_gradients):
    depths = {"encoder": 2, "decoder": 3}

    def of(**fields):
        parts = {
            name: dataclasses.replace(getattr(config, name), num_layers=depth, **fields)
            for name, depth in depths.items()
        }
        return TokenizerStage(Omni(dataclasses.replace(config, **parts)), HALF_SHORT, data, {})

    scanned, unrolled = of(), of(unroll=True)
    params = scanned.init(jax.random.key(0))
    batch, keys_B = scanned.prepare(params, {}, pictures(4), keys(4)), keys(4)
    learn, wanted = (
        jax.jit(jax.value_and_grad(lambda p, stage=stage: stage.loss(p, {}, batch, keys_B)[0]))
        for stage in (unrolled, scanned)
    )
    for depth in depths.values():
        assert f"unroll={depth}\n" in str(jax.make_jaxpr(learn)(params))
        assert f"unroll={depth}\n" not in str(jax.make_jaxpr(wanted)(params))
    np.testing.assert_allclose(learn(params)[0], wanted(params)[0], rtol=1e-5)
    assert_close_gradients(learn(params)[1], wanted(params)[1])


def test_sides_are_multiples_of_the_tokens(config, data):
    bad = dataclasses.replace(data, buckets="16x16,16x20")
    with pytest.raises(ValueError, match="'16x16,16x20'; allowed: .* multiples of .* 8 pixels"):
        TokenizerStage(Omni(config), HALF_SHORT, bad, {})


def test_microbatches_sum_to_the_batch(stage, run, params, pictures, keys):
    batch, keys_B = stage.prepare(params, {}, pictures(8), keys(8)), keys(8)
    (_, whole), _ = run(params, batch, keys_B)
    loss = jax.jit(lambda batch, keys_B: stage.loss(params, {}, batch, keys_B))
    halves = [dataclasses.replace(batch, image=batch.image[m::2]) for m in range(2)]
    parts = [loss(half, keys_B[m::2])[1] for m, half in enumerate(halves)]
    for name, value in whole.items():
        np.testing.assert_allclose(sum(part[name] for part in parts), value, rtol=1e-5)


def test_loss_and_gradients_on_a_mesh_are_those_of_one_device(
    stage, run, params, pictures, keys, assert_close_gradients
):
    (alone, _), alone_grads = run(params, stage.prepare(params, {}, pictures(8), keys(8)), keys(8))
    mesh = parallel.make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    placed = jax.device_put(params, parallel.tree_sharding(mesh, stage.axes()))
    with jax.set_mesh(mesh):

        def loss(params, batch, keys_B):
            batch = stage.prepare(params, {}, batch, keys_B)
            return stage.loss(params, {}, batch, keys_B)[0]

        args = jax.device_put((pictures(8), keys(8)), parallel.sharding(mesh, ("batch",)))
        value, grads = jax.jit(jax.value_and_grad(loss))(placed, *args)
    np.testing.assert_allclose(value, alone, rtol=1e-5)
    assert_close_gradients(grads, alone_grads)


@pytest.mark.parametrize("truncate", [0.0, 0.5, 1.0])
def test_known_tokens_are_all_or_a_prefix_of_uniform_length(config, data, keys, truncate):
    stage = TokenizerStage(Omni(config), TokenizerObjective(truncate=truncate), data, {})
    known = np.asarray(stage._known(keys(2000), 4))
    lengths = known.sum(axis=1)
    np.testing.assert_array_equal(known, np.arange(4)[None] < lengths[:, None])
    shares = np.bincount(lengths, minlength=5) / 2000
    wanted = np.array([truncate / 4] * 4 + [1 - truncate])
    assert np.abs(shares - wanted).max() < 4 * 0.5 / np.sqrt(2000)
    assert (shares[wanted == 0] == 0).all()


def test_one_batch_is_learnt_by_heart(config, data, params, keys):
    stage = TokenizerStage(Omni(config), TokenizerObjective(truncate=0.0), data, {})
    flat = np.random.default_rng(0).integers(0, 256, (4, 1, 1, 3), np.uint8)  # one colour each
    batch = stage.prepare({}, {}, Pictures(np.broadcast_to(flat, (4, 16, 16, 3))), keys(4))
    optimizer = optax.adamw(1e-2)

    @jax.jit
    def step(params, opt, keys_B):
        grad = jax.value_and_grad(lambda p: stage.loss(p, {}, batch, keys_B), has_aux=True)
        (loss, metrics), grads = grad(params)
        updates, opt = optimizer.update(grads, opt, params)
        return optax.apply_updates(params, updates), opt, metrics["pixel_mse"]

    opt, errors = jax.jit(optimizer.init)(params), []
    for number in range(40):
        keys_B = jax.random.split(jax.random.key(number % 13), 4)  # the last are the first again
        params, opt, error = step(params, opt, keys_B)
        errors.append(float(error))
    assert errors[39] < 0.3 * errors[0], errors


def test_decoder_stage_learns_the_decoder_alone(config, data, weights, pictures, keys):
    stage = DecoderStage(Omni(config), HALF_SHORT, data, weights)
    assert set(stage.frozen) == set(stage.frozen_axes()) == {"encoder"}
    assert set(stage.axes()) == {"decoder"}
    assert set(jax.eval_shape(stage.init, jax.random.key(0))) == {"decoder"}
    batch = stage.prepare({}, {}, pictures(8), keys(8))
    both = TokenizerStage(Omni(config), HALF_SHORT, data, {})

    @jax.jit
    def run(params, frozen):
        of = jax.value_and_grad(lambda p, f: stage.loss(p, f, batch, keys(8))[0], argnums=(0, 1))(
            params, frozen
        )
        return of, both.loss({**params, **frozen}, {}, batch, keys(8))[0]

    params = {"decoder": weights["decoder"]}
    (loss, (of_params, of_frozen)), joint = run(params, stage.frozen)
    np.testing.assert_allclose(loss, joint, rtol=1e-6)
    assert all(float(jnp.abs(g).max()) == 0 for g in jax.tree.leaves(of_frozen))
    assert float(jnp.abs(of_params["decoder"]["pixels_out"]["w"]).max()) > 0
    with pytest.raises(ValueError, match="stage decoder needs trained weights of encoder"):
        DecoderStage(Omni(config), HALF_SHORT, data, {"decoder": weights["decoder"]})


@pytest.mark.parametrize("cls, encoder_times", [(TokenizerStage, 3), (DecoderStage, 1)])
def test_rates(config, data, weights, pictures, cls, encoder_times):
    rates = cls(Omni(config), HALF_SHORT, data, weights).rates(pictures(5))
    assert (rates.images, rates.tokens) == (5.0, 20.0)
    encode, decode = flops.encoder(config.encoder, 16), flops.decoder(config.decoder, 16)
    np.testing.assert_allclose(rates.flops, 5 * (encoder_times * encode + 3 * decode))


def test_samples_stand_beside_their_originals(stage, params, pictures, monkeypatch):
    images = pictures(4 * len(Kind)).image

    def eval_examples(data, kind, *, count, start):
        assert (count, start) == (4, 0)
        chosen = images[4 * list(Kind).index(kind) :][:count]
        return [type("Example", (), {"image": image}) for image in chosen]

    monkeypatch.setattr("omnigen.data.stream.world.eval_examples", eval_examples)
    grid = stage.samples(params, {}, seed=3)
    np.testing.assert_array_equal(grid[0::2], images)
    keys = jax.random.split(jax.random.key(3), len(images))
    reconstruct = functools.partial(stage.omni.reconstruct, params)
    decoded = reconstruct(jnp.asarray(images.astype(np.float32) / 127.5 - 1.0), keys)
    assert np.abs(grid[1::2].astype(int) - to_uint8(decoded)).max() <= 1


@pytest.mark.parametrize("name", ["truncate", "regress", "detail"])
def test_impossible_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 1.5; it must be in"):
        TokenizerObjective(**{name: 1.5})
