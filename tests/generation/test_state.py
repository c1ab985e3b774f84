# SPDX-License-Identifier: Apache-2.0
"""Rows join, leave and go on side by side; what each becomes is what it becomes alone."""

import dataclasses
import functools
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from omnigen.generation import generate, state
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.generation.state import Dials, Phase
from omnigen.models.omni import Omni

TEXTS = ["a red dot", "", "two blue squares", "x", "a longer prompt than the others"]
ROOM = 128 + 9 + 16
SAMPLINGS = [
    Sampling(),
    Sampling(guidance=5.0, temperature=0.5),
    Sampling(sketch_temperature=1.0),
    Sampling(guidance=2.0, temperature=1.0, sketch_temperature=0.7),
    Sampling(head_shift=2.0),
]


@pytest.fixture(scope="module", params=[1, 4], ids=["tokens", "groups"])
def model(request, omni, params):
    """A model that sketches, ends its sketches at different places, and draws in groups or not."""
    config = dataclasses.replace(omni.config, sketch_length=9, block=request.param)
    sketching, img = Omni(config), config.specials.img
    w = params["ar"]["logits_out"]["w"].at[:, img].mul(12.0)
    ar = {**params["ar"], "logits_out": {"w": w}}
    return sketching, {"ar": ar, "head": params["head"]}


@pytest.fixture(scope="module")
def begun(model):
    """The state of one row after its prompt, in two branches, ready to join others."""
    omni, weights = model

    @jax.jit
    def begin(rows, keys, dials):
        ar = omni.ar.bind(weights["ar"])
        one = functools.partial(state.begin, guided=True, room=ROOM)
        return state.branch_apart(one(omni, ar, rows, keys, dials))

    def of(number):
        dials = Dials.of(omni.config, SAMPLINGS[number], 1)
        keys = jax.random.split(jax.random.key(number), 1)
        return begin(prompt_rows(omni, [TEXTS[number]]), keys, dials)

    return of


def finished(omni, weights, now):
    """Tokens and ids once every row is done."""
    now = toys.finished(omni, weights, now)
    return np.asarray(now.tokens()), np.asarray(now.ids)


@pytest.fixture(scope="module")
def alone(model, begun):
    """What each row becomes in a state of three rows of which the others are idle."""
    omni, weights = model
    found = []
    for number in range(len(TEXTS)):
        now = state.insert(state.idle(begun(number), 3), jnp.int32(1), begun(number))
        tokens, ids = finished(omni, weights, now)
        found.append((tokens[1], ids[1]))
    return found


def test_sketches_end_at_different_places(model, alone):
    lengths = {int(np.argmax(ids == model[0].config.specials.img)) for _, ids in alone}
    assert len(lengths) > 2, lengths


def test_rows_join_and_leave_and_become_what_they_become_alone(model, begun, alone):
    """Five rows pass through three places, one of them after a row that was given up.

    Those that write and those that draw take steps in any order.
    """
    omni, weights = model
    waiting, places, chance = [0, 1, 2, 3, 4], {}, random.Random(0)
    now, found, phases = state.idle(begun(0), 3), {}, set()
    now = state.insert(now, jnp.int32(2), begun(4))
    for _ in range(3):
        now = toys.step(omni, weights, now, Phase.TEXT)
    now = state.release(now, jnp.int32(2))
    for step in range(400):
        done = np.flatnonzero(np.asarray(now.phase) == Phase.DONE).tolist()
        for place in done:
            if place in places:
                number = places.pop(place)
                found[number] = np.asarray(now.tokens()[place]), np.asarray(now.ids[place])
            if waiting and step % 3 == 0:
                places[place] = waiting.pop(0)
                now = state.insert(now, jnp.int32(place), begun(places[place]))
        if len(found) == len(TEXTS):
            break
        phases.add(tuple(sorted(set(np.asarray(now.phase).tolist()))))
        now = toys.step(omni, weights, now, chance.choice([Phase.TEXT, Phase.IMAGE]))
    assert (Phase.TEXT, Phase.IMAGE) in phases, phases  # side by side
    for number, (tokens, ids) in enumerate(alone):
        np.testing.assert_array_equal(found[number][1], ids, str(number))
        np.testing.assert_array_equal(found[number][0], tokens, str(number))


def test_stepping_is_drawing(model, alone):
    """`draw` is the loop over the same steps."""
    omni, weights = model
    for number, (tokens, ids) in enumerate(alone):
        dials = Dials.of(omni.config, SAMPLINGS[number], 1)
        rows = prompt_rows(omni, [TEXTS[number]])
        keys = jax.random.split(jax.random.key(number), 1)
        drawn, written = generate.draw(omni, weights, rows, keys, dials)
        np.testing.assert_array_equal(written[0], ids)
        # Rounding errors grow from token to token; those of another prompt differ by about 1.
        np.testing.assert_allclose(drawn[0], tokens, atol=1e-2)


def test_rows_may_have_steps_of_their_own(model, begun):
    """Those that a row does not take are of no size; the row is what it is alone."""
    omni, weights = model
    few, more = (Dials.of(omni.config, Sampling(head_steps=n), 1) for n in (2, 3))
    padded = jax.tree.map(lambda table: np.pad(table, ((0, 0), (0, 0), (0, 1))), few.steps)
    now = state.idle(begun(0), 2)
    for place, dials in enumerate([dataclasses.replace(few, steps=padded), more]):
        now = state.insert(now, jnp.int32(place), dataclasses.replace(begun(0), dials=dials))
    together, _ = finished(omni, weights, now)
    rows, keys = prompt_rows(omni, TEXTS[:1]), jax.random.split(jax.random.key(0), 1)
    for drawn, dials in zip(together, (few, more), strict=True):
        alone, _ = generate.draw(omni, weights, rows, keys, dials)
        np.testing.assert_allclose(drawn, alone[0], atol=1e-2)
    assert np.abs(together[0] - together[1]).max() > 1e-1


def test_a_longer_prompt_needs_room(model):
    omni, weights = model
    with pytest.raises(AssertionError):
        state.begin(
            omni,
            omni.ar.bind(weights["ar"]),
            prompt_rows(omni, ["x" * 300]),
            jax.random.split(jax.random.key(0), 1),
            Dials.of(omni.config, Sampling(), 1),
            guided=True,
            room=ROOM,
        )


def test_the_second_branch_has_no_room_for_text(begun):
    assert [cache.segment.shape for cache in begun(0).caches] == [(1, ROOM), (1, ROOM - 9)]
