# SPDX-License-Identifier: Apache-2.0
"""Oracles: the loss as a loop over tokens; sums over microbatches; one device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from omnigen import flow, parallel
from omnigen.batch import Rows, stack
from omnigen.evals import registry
from omnigen.generation.generate import Drawn
from omnigen.models import flops
from omnigen.models.omni import Omni
from omnigen.parallel import MeshConfig
from omnigen.scenes.scene import Kind
from omnigen.sequence import (
    ImageSpan,
    Modality,
    Role,
    Specials,
    TextSpan,
    cut,
    gather_slots,
    layout,
    pack,
    ungrouped,
)
from omnigen.stages.ar import ARObjective, ARStage
from omnigen.text import ByteText


@pytest.fixture(scope="module")
def stage(config, data, weights):
    return ARStage(Omni(config), ARObjective(draws=2), data, weights)


@pytest.fixture(scope="module")
def params(weights):
    return {part: weights[part] for part in ("ar", "head")}


@pytest.fixture(scope="module")
def prepare(stage):
    return jax.jit(lambda batch: stage.prepare({}, stage.frozen, batch, None))


@pytest.fixture(scope="module")
def run(stage):
    """Loss, metrics and gradients of a prepared batch."""
    grad = jax.value_and_grad(lambda p, b, k: stage.loss(p, {}, b, k), has_aux=True)
    return jax.jit(grad)


def test_prepare_encodes_the_pictures_and_counts_what_is_learnt(stage, prepare, rows):
    batch = rows(8)
    prepared = prepare(batch)
    image = batch.image.astype(np.float32) / 127.5 - 1.0
    z = stage.omni.encode(stage.frozen["encoder"], jnp.asarray(image.reshape(-1, 16, 16, 3)))
    np.testing.assert_allclose(prepared.latents, z.reshape(8, 8, 6), atol=1e-5)
    # Rows of one and of two samples of four tokens each; every text element but BOS is learnt.
    sequence = batch.sequence
    assert float(prepared.image_count) == 4 * 4 * (1 + 2)
    text = (sequence.modality == Modality.TEXT) & (sequence.token != 257)
    assert float(prepared.text_count) == text.sum()
    added = {"latents", "place", "is_used", "text_count", "image_count"}
    assert set(vars(prepared)) == {"sequence", *added}
    assert jax.tree.structure(prepared.sequence) == jax.tree.structure(sequence)
    jax.tree.map(np.testing.assert_array_equal, prepared.sequence, sequence)
    for row, slots in enumerate(sequence.slot):
        found = {int(slot): place for place, slot in enumerate(slots) if slot >= 0}
        place, is_used = np.asarray(prepared.place)[row], np.asarray(prepared.is_used)[row]
        assert {n: place[n] for n in np.flatnonzero(is_used)} == found


def test_what_stands_in_the_padding_changes_nothing(prepare, run, params, rows, keys):
    batch = rows(8)
    sequence = batch.sequence
    empty = sequence.segment == 0
    assert empty.any()
    filled = dataclasses.replace(
        sequence,
        token=np.where(empty, 7, sequence.token),
        position=np.where(empty[..., None], 3.0, sequence.position).astype(np.float32),
    )
    junk = dataclasses.replace(batch, sequence=filled)
    (loss, _), _ = run(params, prepare(batch), keys(8))
    (again, _), _ = run(params, prepare(junk), keys(8))
    np.testing.assert_allclose(again, loss, rtol=1e-6)
    # Nor does a picture that no element of the row refers to.
    junk = dataclasses.replace(batch, image=batch.image.copy())
    junk.image[0, 1] = 0
    np.testing.assert_allclose(run(params, prepare(junk), keys(8))[0][0], loss, rtol=1e-6)


def test_longer_rows_change_nothing(stage, prepare, run, params, rows, keys):
    batch = rows(8)
    sequence = batch.sequence.map(
        lambda field: np.concatenate([field, np.zeros_like(field[:, :5])], axis=1)
    )
    sequence.slot[:, -5:] = -1
    longer = dataclasses.replace(batch, sequence=sequence)
    (loss, _), _ = run(params, prepare(batch), keys(8))
    again, _ = jax.jit(lambda: stage.loss(params, {}, prepare(longer), keys(8)))()
    np.testing.assert_allclose(again, loss, rtol=1e-5)


def by_hand(stage, params, batch, keys_B):
    """Flow and text loss, token by token."""
    objective, omni = stage.objective, stage.omni
    ar, head = omni.ar.bind(params["ar"]), omni.head.bind(params["head"])
    split = jax.vmap(lambda key: jax.random.split(key, 4))(keys_B)
    z = np.asarray(batch.latents)
    count, slots, dim = z.shape
    density = flow.TimeDensity(mean=objective.time_mean, std=objective.time_std)
    context = np.zeros_like(z)
    flow_sum, text_sum, images, texts = 0.0, 0.0, 0.0, 0.0
    for b in range(count):
        uniform = flow.TimeDensity(kind="uniform").sample(split[b, 0], (slots,))
        moved = z[b] + objective.context_noise * np.asarray(uniform)[:, None] * np.asarray(
            jax.random.normal(split[b, 1], (slots, dim))
        )
        context[b] = np.sqrt(dim) * moved / np.linalg.norm(moved, axis=-1, keepdims=True)
    sequence = batch.sequence
    vectors = gather_slots(jnp.asarray(context), sequence.slot)
    hidden = jax.jit(lambda: ar.hidden(sequence.map(jnp.asarray), vectors))()
    logits = np.asarray(ar.logits(hidden), np.float64)
    velocity = jax.jit(head)
    for b in range(count):
        t = np.asarray(density.sample(split[b, 2], (slots, objective.draws)))
        noise = np.asarray(jax.random.normal(split[b, 3], (slots, objective.draws, dim)))
        for i in range(sequence.token.shape[1]):
            weight = float(sequence.weight[b, i])
            if sequence.modality[b, i] == Modality.TEXT and weight:
                scores = logits[b, i - 1]
                log_sum = np.log(np.exp(scores - scores.max()).sum()) + scores.max()
                text_sum += weight * (log_sum - scores[sequence.token[b, i]])
                texts += weight
            if sequence.modality[b, i] == Modality.IMAGE and weight:
                n = sequence.slot[b, i]
                s = t[n][:, None]
                noisy = (1 - s) * z[b, n] + s * noise[n]
                states = np.stack([hidden[b, i - omni.config.block]] * objective.draws)
                out = np.asarray(velocity(jnp.asarray(noisy), jnp.asarray(t[n]), states))
                flow_sum += weight * ((out - (noise[n] - z[b, n])) ** 2).mean()
                images += weight
    return flow_sum / images, text_sum / texts


@pytest.mark.parametrize("random_order", [False, True])
def test_loss_is_the_mean_over_learnt_tokens(stage, prepare, run, params, rows, keys, random_order):
    batch = rows(8, random_order=random_order)
    # Given elements, fractions of weights: whatever the data says.
    weight = batch.sequence.weight
    share = np.random.default_rng(0).choice([0.0, 0.5, 1.0], weight.shape).astype(np.float32)
    sequence = dataclasses.replace(batch.sequence, weight=weight * share)
    prepared = prepare(dataclasses.replace(batch, sequence=sequence))
    (loss, metrics), grads = run(params, prepared, keys(8))
    flow_mse, text_nats = by_hand(stage, params, prepared, keys(8))
    np.testing.assert_allclose(metrics["flow_mse"], flow_mse, rtol=1e-4)
    np.testing.assert_allclose(metrics["text_nats"], text_nats, rtol=1e-4)
    np.testing.assert_allclose(loss, flow_mse + 0.1 * text_nats, rtol=1e-4)
    np.testing.assert_array_equal(metrics["loss"], loss)
    for path, leaf in jax.tree_util.tree_flatten_with_path(grads)[0]:
        name = jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, name


def test_a_token_of_a_group_is_predicted_from_as_many_places_before(
    config, data, weights, prepare, params, rows, keys
):
    model = dataclasses.replace(config, block=2)
    stage = ARStage(Omni(model), ARObjective(draws=2), data, weights)
    batch = prepare(rows(2, random_order=True, block=2))
    _, metrics = jax.jit(lambda: stage.loss(params, {}, batch, keys(2)))()
    flow_mse, text_nats = by_hand(stage, params, batch, keys(2))
    np.testing.assert_allclose(metrics["flow_mse"], flow_mse, rtol=1e-4)
    np.testing.assert_allclose(metrics["text_nats"], text_nats, rtol=1e-4)


def test_groups_of_tokens_are_learnt(config, data, weights, prepare, params, rows, keys):
    model = dataclasses.replace(config, block=4)
    stage = ARStage(Omni(model), ARObjective(draws=2), data, weights)
    batch, adam = prepare(rows(2, block=4)), optax.adam(3e-3)

    @jax.jit
    def learn(params, state):
        grad = jax.grad(lambda p: stage.loss(p, {}, batch, keys(2)), has_aux=True)
        grads, metrics = grad(params)
        updates, state = adam.update(grads, state)
        return optax.apply_updates(params, updates), state, metrics

    state, seen = adam.init(params), []
    for _ in range(30):
        params, state, metrics = learn(params, state)
        seen.append(metrics)
    assert all(seen[-1][name] < 0.8 * seen[0][name] for name in seen[0]), (seen[0], seen[-1])


def test_settings_weigh_the_parts(config, data, weights, prepare, run, params, rows, keys):
    prepared = prepare(rows(8))
    objective = ARObjective(draws=2, text_weight=2.0, context_noise=0.0)
    stage = ARStage(Omni(config), objective, data, weights)
    loss, clean = jax.jit(lambda: stage.loss(params, {}, prepared, keys(8)))()
    np.testing.assert_allclose(loss, clean["flow_mse"] + 2.0 * clean["text_nats"], rtol=1e-6)
    (_, noisy), _ = run(params, prepared, keys(8))
    for name in ("flow_mse", "text_nats"):
        assert abs(float(clean[name] - noisy[name])) > 1e-5


def test_microbatches_sum_to_the_batch(stage, prepare, run, params, rows, keys):
    prepared, keys_B = prepare(rows(8)), keys(8)
    (_, whole), _ = run(params, prepared, keys_B)
    loss = jax.jit(lambda batch, keys_B: stage.loss(params, {}, batch, keys_B)[1])
    parts = []
    for m in range(2):
        part = jax.tree.map(lambda v, m=m: v[m::2] if v.ndim else v, prepared)
        parts.append(loss(part, keys_B[m::2]))
    for name, value in whole.items():
        np.testing.assert_allclose(sum(part[name] for part in parts), value, rtol=1e-5)


def test_a_reading_loses_what_the_sketch_of_a_drawn_example_does(prepare, run, params, keys):
    """Of the drawn one, all that follows the sketch is left out; pictures are then no matter."""
    specials, rng, drawn, read = Specials(256), np.random.default_rng(4), [], []
    for _ in range(4):
        caption, sketch = (rng.integers(97, 123, size).tolist() for size in (5, 9))
        spans = [TextSpan(caption, Role.GIVEN), ImageSpan(2, 2, sketch=sketch)]
        sample = layout(spans, specials, ByteText().encode)
        end = sample.token.tolist().index(specials.img) + 1
        weight = np.where(np.arange(len(sample.token)) < end, sample.weight, 0)
        drawn.append(pack([dataclasses.replace(sample, weight=weight)], 40, specials.pad))
        read.append(pack([cut(sample, specials, sketched=False)], 40, specials.pad))
    image = rng.integers(0, 256, (4, 2, 16, 16, 3), np.uint8)
    batches = [Rows(ungrouped(stack(rows)), image) for rows in (drawn, read)]
    found = [run(params, prepare(batch), keys(4)) for batch in batches]
    (losses, grads) = zip(*found, strict=True)
    assert float(losses[0][1]["flow_mse"]) == float(losses[1][1]["flow_mse"]) == 0
    assert 4 < float(losses[0][1]["text_nats"]) < 9  # nothing was learnt: about log 264
    np.testing.assert_allclose(losses[1][1]["text_nats"], losses[0][1]["text_nats"], rtol=1e-6)
    for one, other in zip(jax.tree.leaves(grads[0]), jax.tree.leaves(grads[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_readings_beside_pictures_are_weighed_by_their_text(stage, prepare, run, params, keys):
    """Text is a mean over all bytes that are learnt, the flow loss one over pictures alone."""
    specials, read, drawn = Specials(256), [], []
    for k in range(4):
        spans = [TextSpan([97 + k], Role.GIVEN), ImageSpan(2, 2, sketch=list(b"abc"))]
        sample = layout(spans, specials, ByteText().encode)
        drawn.append(sample)
        read.append(cut(sample, specials, sketched=False))
    image = np.random.default_rng(0).integers(0, 256, (4, 2, 16, 16, 3), np.uint8)

    def lost(rows, *, pictures, readings):
        rows = [pack(samples, 40, specials.pad) for samples in rows]
        batch = Rows(ungrouped(stack(rows)), image)
        rates, parts = stage.rates(batch), run(params, prepare(batch), keys(4))[0][1]
        assert (rates.images, rates.readings) == (pictures, readings)
        return {name: float(part) for name, part in parts.items()}

    alone = lost([[one] for one in drawn], pictures=4, readings=0)
    bare = lost([[one] for one in read], pictures=0, readings=4)
    both = lost([*map(list, zip(drawn, read, strict=True))], pictures=4, readings=4)
    assert both["flow_mse"] == pytest.approx(alone["flow_mse"], rel=1e-5)
    counts = 10, 8  # BOI, 2*2, abc and IMG of both; EOI and EOS where there is a picture
    wanted = np.average([alone["text_nats"], bare["text_nats"]], weights=counts)
    assert both["text_nats"] == pytest.approx(wanted, rel=1e-5)


MESHES = {
    "data=8": MeshConfig(),
    "fsdp=8": MeshConfig(data=1, fsdp=8),
    "data=2 fsdp=2 tensor=2": MeshConfig(data=2, fsdp=2, tensor=2),
    "fsdp=2 tensor=2 sequence=2": MeshConfig(data=1, fsdp=2, tensor=2, sequence=2),
}


@pytest.mark.parametrize("name", MESHES)
def test_loss_and_gradients_are_those_of_one_device(
    stage, prepare, run, params, rows, keys, name, assert_close_gradients
):
    batch = rows(8)
    (alone, _), alone_grads = run(params, prepare(batch), keys(8))
    mesh = parallel.make_mesh(MESHES[name])
    placed = jax.device_put(params, parallel.tree_sharding(mesh, stage.axes()))
    frozen = jax.device_put(stage.frozen, parallel.tree_sharding(mesh, stage.frozen_axes()))
    args = jax.device_put((batch, keys(8)), parallel.sharding(mesh, ("batch",)))
    assert args[0].image.sharding.spec == PartitionSpec(parallel.RULES["batch"])

    def loss(params, frozen, batch, keys_B):
        batch = stage.prepare(params, frozen, batch, keys_B)
        return stage.loss(params, frozen, batch, keys_B)[0]

    with jax.set_mesh(mesh):
        if "tensor" not in name:
            np.testing.assert_allclose(jax.jit(loss)(placed, frozen, *args), alone, rtol=1e-5)
            return
        value, grads = jax.jit(jax.value_and_grad(loss))(placed, frozen, *args)
    np.testing.assert_allclose(value, alone, rtol=1e-5)
    assert_close_gradients(grads, alone_grads)


def test_rates_count_elements_without_padding(stage, config, rows):
    batch = rows(3)
    rates = stage.rates(batch)
    segment = batch.sequence.segment
    lengths = [int((segment[b] == s).sum()) for b in range(3) for s in (1, 2) if s == 1 or b == 1]
    assert rates.images == 4.0 and rates.tokens == sum(lengths)
    trained = flops.ar(
        config.ar, np.array(lengths), text_tokens=sum(lengths) - 16, image_tokens=16
    ) + flops.flow_head(config.head, 16, draws=2)
    encoded = 4 * flops.encoder(config.encoder, 16)
    np.testing.assert_allclose(rates.flops, 3 * trained + encoded, rtol=1e-9)
    padding = batch.sequence.segment.size - sum(lengths)
    assert rates.positions == sum(lengths) + padding
    pictures = 3 * stage.data.images_per_row  # places for them, of which four are taken
    executed = (
        3
        * flops.ar(
            config.ar,
            np.array([*lengths, *[1] * padding]),
            text_tokens=rates.positions,
            image_tokens=rates.positions,
        )
        + 3 * flops.flow_head(config.head, 4 * pictures, draws=2)
        + pictures * flops.encoder(config.encoder, 16)
    )
    np.testing.assert_allclose(rates.executed_flops, executed, rtol=1e-9)


def test_samples_are_pictures_of_held_out_captions(stage, params, monkeypatch):
    asked = []

    def eval_examples(data, kind, *, count, start):
        asked.append((kind, count, start))
        return [type("Example", (), {"caption": f"{kind} {i}"}) for i in range(count)]

    monkeypatch.setattr("omnigen.data.stream.world.eval_examples", eval_examples)
    out = stage.samples(params, stage.frozen, seed=3)
    assert asked == [(kind, 4, 0) for kind in Kind]
    assert out.shape == (4 * len(Kind), 16, 16, 3) and out.dtype == np.uint8
    np.testing.assert_array_equal(stage.samples(params, stage.frozen, seed=3), out)
    assert (stage.samples(params, stage.frozen, seed=4) != out).any()


def test_is_judged_by_a_slice_of_the_suite(stage, params, monkeypatch):
    """The command's own evaluator, on fewer prompts; nothing right in pictures of 16 pixels."""
    asked = []
    monkeypatch.setattr(
        "omnigen.evals.prompted.drawn",
        lambda omni, weights, rows, keys, sampling: (
            asked.append((set(weights), len(keys), sampling.guidance))
            or Drawn(np.zeros((len(keys), 16, 16, 3), np.float32), None)
        ),
    )
    held_out, judge = registry.in_training(["held_out", "exact/40"], stage)
    assert (held_out.name, judge.name) == ("held_out", "exact")
    report = dict(judge.run(params, stage.frozen))
    assert {"overall", "counting", "scene_20_atoms", "landscape"} <= report.keys()
    assert set(report.values()) == {0.0}
    assert asked and asked == [({"ar", "head", "encoder", "decoder"}, 16, 3.0)] * len(asked)


def test_trains_the_transformer_and_the_head_on_frozen_parts(config, data, weights, stage):
    assert set(stage.axes()) == {"ar", "head"} and set(stage.frozen) == {"encoder", "decoder"}
    shapes = jax.eval_shape(stage.init, jax.random.key(0))
    assert jax.tree.structure(shapes) == jax.tree.structure(
        stage.axes(), is_leaf=lambda node: isinstance(node, tuple)
    )
    with pytest.raises(ValueError, match="stage ar needs trained weights of decoder"):
        ARStage(Omni(config), ARObjective(), data, {"encoder": weights["encoder"]})
    with pytest.raises(ValueError, match="data.image_size is 32; model.image_size is 16"):
        ARStage(Omni(config), ARObjective(), dataclasses.replace(data, image_size=32), weights)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"draws": 0}, "draws is 0"),
        ({"text_weight": -1.0}, "text_weight -1.0"),
        ({"context_noise": -0.1}, "context_noise -0.1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ARObjective(**settings)
