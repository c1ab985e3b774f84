# SPDX-License-Identifier: Apache-2.0
"""Oracles: the teacher's walk token by token, and rows that were laid out without captions."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from omnigen import flow
from omnigen.models.heads.flow import ADDED
from omnigen.models.omni import Omni
from omnigen.sequence import (
    ImageSpan,
    Specials,
    TextSpan,
    layout,
    pack,
    slot_places,
    without_prompts,
)
from omnigen.stages.distillation import DistillationObjective, DistillationStage
from omnigen.text import ByteText

STEPS = 4


@pytest.fixture(scope="module")
def stage(config, data, weights):
    head = dataclasses.replace(config.head, average=True)
    shapes = Omni(dataclasses.replace(config, head=head)).head.shapes()
    zeros = {name: jax.tree.map(lambda x: jnp.zeros(x.shape), shapes[name]) for name in ADDED}
    teacher = {**weights, "head": {**weights["head"], **zeros}}
    objective = DistillationObjective(draws=3, teacher_steps=STEPS, text_weight=0.5)
    return DistillationStage(Omni(dataclasses.replace(config, head=head)), objective, data, teacher)


@pytest.fixture(scope="module")
def student(stage):
    """Weights that are not the teacher's, those of the layers that it lacks included."""

    def move(path, leaf):
        rng = np.random.default_rng(len(jax.tree_util.keystr(path)))
        return leaf + 0.02 * jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32)

    given = {part: stage.frozen[part] for part in ("ar", "head")}
    return jax.tree_util.tree_map_with_path(move, given)


@pytest.fixture(scope="module")
def lossy(stage):
    return jax.jit(lambda params, batch, keys_B: stage.loss(params, stage.frozen, batch, keys_B))


def test_spans_are_those_of_samplers_of_one_two_and_four_steps():
    spans = [tuple(span) for span in DistillationObjective(teacher_steps=4).spans.tolist()]
    four = [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert spans == [(0, 4)] * 4 + [(0, 2)] * 2 + [(2, 4)] * 2 + four


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"teacher_steps": 6}, "teacher_steps is 6; it must be a power of two"),
        ({"guidance_max": 0.5}, "guidance_max is 0.5; it must be at least 1"),
        ({"temperature_min": 1.5}, r"temperature_min is 1.5; it must be in \[0, 1\]"),
    ],
)
def test_bad_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        DistillationObjective(**wrong)


def test_sizes_that_take_more_letters_are_refused(stage, data):
    """The teacher's empty prompt keeps as many letters of each size as of the square one."""
    config, given = stage.omni.config, stage.frozen
    other = dataclasses.replace(data, buckets="16x16,80x80", row_length=200)
    with pytest.raises(ValueError, match=r"many text tokens to tell as 2\*2, unlike 10\*10"):
        DistillationStage(Omni(config), stage.objective, other, given)
    same = dataclasses.replace(data, buckets="16x16,24x32", row_length=200)
    assert DistillationStage(Omni(config), stage.objective, same, given).data == same


def test_rows_without_prompts_are_read_like_empty_captions(stage):
    """Captions of two lengths and a sketch, two samples a row; all else stays where it was."""
    specials, encode = Specials(256), ByteText().encode

    def row(captions, sketches):
        samples = [
            layout([TextSpan(caption), ImageSpan(2, 2, sketch=sketch)], specials, encode)
            for caption, sketch in zip(captions, sketches, strict=True)
        ]
        return jax.tree.map(lambda field: field[None], pack(samples, 48, 256))

    given = row([list(b"abc"), list(b"de fgh")], [list(b"ij"), []])
    empty = row([[], []], [[], []])
    emptied = without_prompts(given, specials, len(encode("2*2")))
    z = jax.random.normal(jax.random.key(0), (1, 8, 6))
    ar = stage.omni.ar.bind(stage.frozen["ar"])

    def before(read, slots):
        vectors = jnp.zeros((1, 48, 6)).at[:, np.flatnonzero(slots.slot[0] >= 0)].set(z)
        return stage._before(ar.hidden(read, vectors), slot_places(slots.slot, 8)[0])

    wanted = before(empty, empty)
    np.testing.assert_allclose(before(emptied, given), wanted, rtol=1e-4, atol=1e-4)
    assert np.abs(before(given, given) - wanted).max() > 0.1


def test_loss_is_the_students_error_on_the_teachers_walk(stage, student, lossy, rows, keys):
    batch = stage.prepare({}, stage.frozen, rows(2), None)
    _, parts = lossy(student, batch, keys(2))
    plain, objective = stage.omni, stage.objective
    sequence, total, count = batch.sequence, 0.0, 0
    read = jax.jit(lambda params, row, vectors: plain.ar.bind(params).hidden(row, vectors)[0])
    velocity = jax.jit(lambda params, *given: plain.head.bind(params)(*given))
    uniform = flow.TimeDensity(kind="uniform")
    for b in range(2):
        of_sigma, of_context, of_scale, of_heat, of_noise, of_span = jax.random.split(keys(2)[b], 6)
        z = np.asarray(batch.latents[b])
        sigma = 0.1 * np.asarray(uniform.sample(of_sigma, (8,)))[:, None]
        z = z + sigma * np.asarray(jax.random.normal(of_context, z.shape))
        z *= np.sqrt(6) / np.linalg.norm(z, axis=-1, keepdims=True)
        scale = 1.0 + 4.0 * np.asarray(uniform.sample(of_scale, (8,)))
        heat = 0.5 + 0.5 * np.asarray(uniform.sample(of_heat, (8,)))
        noise = heat[:, None] * np.asarray(jax.random.normal(of_noise, (8, 6)))
        spans = np.asarray(jax.random.randint(of_span, (3, 8), 0, len(objective.spans)))
        one = sequence.map(lambda field, b=b: field[b : b + 1])
        slot = np.asarray(one.slot[0])
        vectors = np.zeros((1, len(slot), 6), np.float32)
        vectors[0, slot >= 0] = z[slot[slot >= 0]]

        unprompted = without_prompts(one, Specials(256), 3)
        with_prompt = read(stage.frozen["ar"], one, vectors)
        without = read(stage.frozen["ar"], unprompted, vectors)
        ours = read(student["ar"], one, vectors)
        teacher, head = (partial(velocity, p["head"]) for p in (stage.frozen, student))
        for i in np.flatnonzero(slot >= 0):
            n, x = slot[i], noise[slot[i]]
            walk = [x]
            for k in range(STEPS):
                v, v_u = (
                    np.asarray(teacher(x, np.float32(1 - k / STEPS), h))
                    for h in (with_prompt[i - 1], without[i - 1])
                )
                x = x - (v_u + scale[n] * (v - v_u)) / STEPS
                walk.append(x)
            for first, last in objective.spans[spans[:, n]]:
                length = (last - first) / STEPS
                wanted = (walk[first] - walk[last]) / length
                said = head(
                    *(walk[first], np.float32(1 - first / STEPS)),
                    *(ours[i - 1], np.float32(length), np.float32(scale[n])),
                )
                total += ((np.asarray(said) - wanted) ** 2).mean() / 3
            count += 1
    assert count == float(batch.image_count) == 12
    np.testing.assert_allclose(parts["average_mse"], total / count, rtol=1e-3)
    wanted = parts["average_mse"] + 0.5 * parts["text_nats"]
    np.testing.assert_allclose(parts["loss"], wanted, rtol=1e-6)


@pytest.mark.slow
def test_one_step_learns_what_guidance_takes_several_for(stage, rows):
    """From the weights of the teacher, which knows neither spans nor guidance."""
    batch = stage.prepare({}, stage.frozen, rows(4), None)
    params = {part: stage.frozen[part] for part in ("ar", "head")}
    optimizer = optax.adam(3e-3)
    learn = jax.value_and_grad(lambda p, k: stage.loss(p, stage.frozen, batch, k)[1]["average_mse"])

    @jax.jit
    def step(params, state, key):
        loss, grads = learn(params, jax.random.split(key, 4))
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    state, losses = optimizer.init(params), []
    for number in range(600):
        params, state, loss = step(params, state, jax.random.key(number))
        losses.append(float(loss))
    assert np.mean(losses[-20:]) < np.mean(losses[:3]) / 3
