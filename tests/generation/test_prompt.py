# SPDX-License-Identifier: Apache-2.0
"""Given pictures: what training reads at once, a prompt and steps read one after another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from omnigen.generation import generate, state
from omnigen.generation.generate import Driver
from omnigen.generation.prompt import BUCKET, prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.generation.spans import Picture
from omnigen.generation.state import Dials, Phase
from omnigen.models.omni import Omni, to_pixels
from omnigen.sequence import (
    ImageSpan,
    Role,
    Specials,
    TextSpan,
    gather_slots,
    pack,
    ungrouped,
    without_prompts,
)

LENGTH = 144  # of the rows of training here
ROOM = 2 * BUCKET + 9 + 16


def picture(seed, height=32, width=32, sketch=""):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Picture(pixels, sketch)


SMALL = picture(1, 16, 24)  # 2 x 3 tokens, of which the last group is short where groups are of 4
WHOLE = picture(2)
PROMPTS = [["ab", WHOLE, "c"], "a red dot", [SMALL, "de", WHOLE], [WHOLE, WHOLE]]


def batched(*samples):
    return jax.tree.map(lambda *fields: np.stack(fields), *samples)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def encoded(omni, params, given):
    return np.asarray(omni.encode(params["encoder"], to_pixels(jnp.asarray(given.pixels)[None])))[0]


def spans_of(prompt, block):
    """The spans of a prompt and of the picture that follows, by hand."""
    for span in [prompt] if isinstance(prompt, str) else prompt:
        if isinstance(span, str):
            yield TextSpan(list(span.encode()), Role.GIVEN)
        else:
            height, width, _ = span.pixels.shape
            sketch = list(span.sketch.encode())
            yield ImageSpan(height // 8, width // 8, Role.GIVEN, sketch=sketch, block=block)
    yield ImageSpan(4, 4, block=block)


def pictures_of(prompt):
    return [span for span in prompt if isinstance(span, Picture)]


@pytest.fixture(scope="module", params=[1, 4], ids=["tokens", "groups"])
def model(request, omni):
    """A model that draws in groups or not."""
    return Omni(dataclasses.replace(omni.config, block=request.param))


def test_training_is_prefill_and_steps(model, params, lay):
    """Of rows text, image, text, image; of both branches; of every row of a mixed batch."""
    block, count = model.config.block, len(PROMPTS)
    drawn = np.random.default_rng(3).standard_normal((count, 16, 6)).astype(np.float32)
    prompts = prompt_rows(model, PROMPTS, params)

    @jax.jit
    def stepped(prompts, drawn):
        """Hidden states of what is read ahead, and of the steps `[G, C R K, D]`."""
        ar, seen = model.ar.bind(params["ar"]), []
        ahead = prompts.ahead.map(jnp.asarray)
        first, _ = ar.prefill(ahead, jnp.asarray(prompts.vectors), cache_length=ROOM)
        dials = Dials.of(model.config, Sampling(temperature=1.0), count)
        now = state.branch(state.begin(model, ar, prompts, keys(count), dials, guided=True))
        now = dataclasses.replace(now, noise=drawn.reshape(now.noise.shape))

        def head(hidden, noise, **_):  # what it draws was decided before
            seen.append(hidden)
            return noise

        driver = Driver(model, ar.stepper(), head)
        _, later = jax.lax.scan(
            lambda now, _: (driver.draw(now), seen.pop()), now, None, length=16 // block
        )
        return first, later

    @jax.jit
    def whole(row, latents):
        ar = model.ar.bind(params["ar"])
        return ar.hidden(row, gather_slots(latents, row.slot))[0]

    first, later = stepped(prompts, drawn)
    later = np.asarray(later).reshape(16 // block, 2, count, block, -1)
    for i, prompt in enumerate(PROMPTS):
        given = [encoded(model, params, span) for span in pictures_of(prompt)]
        latents = np.concatenate([*given, drawn[i], np.zeros((32, 6), np.float32)])[None, :48]
        for branch, words in enumerate([prompt, pictures_of(prompt)]):
            sample = lay(*spans_of(words, block))
            row = pack([sample], LENGTH, 256)
            row = batched(ungrouped(row) if block == 1 else row).map(jnp.asarray)
            wanted = np.asarray(whole(row, latents))
            place = int(np.flatnonzero(sample.slot == sample.slot.max() - 15)[0])
            size = place - block  # of what is read ahead
            of_branch = prompts.ahead.segment[i] == branch + 1
            assert of_branch.sum() == size
            np.testing.assert_allclose(first[i, of_branch], wanted[:size], atol=1e-5)
            ours = later[:, branch, i].reshape(16, -1)
            np.testing.assert_allclose(ours, wanted[size : size + 16], atol=1e-5)


def test_rows_hold_the_spans_and_what_guidance_reads(omni, params, lay):
    """The second branch is what `without_prompts` leaves of a row of training."""
    prompts = prompt_rows(omni, PROMPTS, params)
    assert prompts.ahead.token.shape == (4, BUCKET) and prompts.rows == 4
    for i, prompt in enumerate(PROMPTS):
        sample = lay(*spans_of(prompt, 1))
        place = int(np.flatnonzero(sample.slot == sample.slot.max() - 15)[0]) - 1
        own, second = (prompts.ahead.segment[i] == branch for branch in (1, 2))
        rest = without_prompts(batched(sample), Specials(256), 3)
        kept = np.flatnonzero(rest.segment[0, :place])
        for name, field in vars(prompts.ahead).items():
            ours, wanted = field[i], getattr(sample, name)
            last = getattr(prompts.last, name)
            if name != "segment":
                np.testing.assert_array_equal(ours[own], wanted[:place], name)
                np.testing.assert_array_equal(last[i, 0], wanted[place], name)
            if name not in ("segment", "group"):  # groups are counted on in other steps
                wanted = np.asarray(getattr(rest, name))[0]
                np.testing.assert_array_equal(ours[second], wanted[kept], name)
                np.testing.assert_array_equal(last[4 + i, 0], wanted[place], name)
        given = [encoded(omni, params, span) for span in pictures_of(prompt)]
        tokens = np.concatenate([np.zeros((0, 6), np.float32), *given])
        is_image = prompts.ahead.slot[i] >= 0
        np.testing.assert_array_equal(prompts.vectors[i, is_image], np.tile(tokens, (2, 1)))
        assert not prompts.vectors[i, ~is_image].any()
        assert not prompts.ahead.weight[i, is_image].any()  # what is given is not learnt


def test_a_string_is_a_prompt_of_one_text(omni):
    alone, listed = prompt_rows(omni, ["ab"]), prompt_rows(omni, [["a", "b"]])
    jax.tree.map(np.testing.assert_array_equal, alone, listed)
    assert alone.vectors is None


def test_pictures_that_cannot_be_read_are_named(omni, params):
    with pytest.raises(ValueError, match="32 x 20 pixels; allowed: sides .* multiples of 8"):
        prompt_rows(omni, [[picture(0, 20, 32)]], params)
    with pytest.raises(ValueError, match="makes 65792 tokens; allowed: up to 65536"):
        prompt_rows(omni, [[Picture(np.zeros((8 * 256, 8 * 257, 3), np.uint8))]], params)
    for weights in (None, {"ar": params["ar"]}):
        with pytest.raises(ValueError, match="allowed: with weights of the encoder"):
            prompt_rows(omni, [[WHOLE]], weights)


def test_a_drawn_picture_and_the_same_one_given_are_the_same_in_the_cache(model, params):
    """With what the model wrote before it drew: keys and values agree element by element."""
    writing = Omni(dataclasses.replace(model.config, sketch_length=5))
    w = params["ar"]["logits_out"]["w"].at[:, 128:256].set(0.0)  # it writes ASCII
    weights = {"ar": {**params["ar"], "logits_out": {"w": w}}, "head": params["head"]}
    dials = Dials.of(writing.config, Sampling(sketch_temperature=0.0), 1)

    @jax.jit
    def begin(prompts):
        ar = writing.ar.bind(weights["ar"])
        return state.begin(writing, ar, prompts, keys(1), dials, guided=False, room=ROOM)

    now = begin(prompt_rows(writing, ["ab"]))
    ahead = int((now.caches[0].segment > 0).sum())
    now = toys.finished(writing, weights, now)
    written = now.ids[0].tolist()
    sketch = bytes(written[: written.index(260)]).decode("ascii")
    assert len(sketch) == 4

    class Drawn(Omni):
        """Finds the tokens that were drawn in any picture."""

        def encode(self, params, images):
            return now.tokens()

    given = ["ab", dataclasses.replace(WHOLE, sketch=sketch)]
    again = begin(prompt_rows(Drawn(writing.config), [given], {"encoder": {}}))
    # The drawn picture's last group is not in the cache: it waits to be read.
    count = ahead + 1 + len(sketch) + 16
    assert int((now.caches[0].segment > 0).sum()) == count
    drawn_at, given_at = (np.flatnonzero(s.caches[0].segment[0])[:count] for s in (now, again))
    for drawn, read in zip(now.caches[0].layers, again.caches[0].layers, strict=True):
        np.testing.assert_allclose(drawn.k[0, :, drawn_at], read.k[0, :, given_at], atol=1e-5)
        np.testing.assert_allclose(drawn.v[0, :, drawn_at], read.v[0, :, given_at], atol=1e-5)


@pytest.fixture(scope="module")
def drawn(omni, params):
    """Pictures of prompts, each from its own key."""

    def run(prompts, numbers):
        rows = prompt_rows(omni, prompts, params)
        return generate.generate(omni, params, rows, keys(8)[np.array(numbers)])

    return run


def test_what_is_given_decides_what_is_drawn(drawn):
    other = Picture(255 - WHOLE.pixels)
    asked = [["a", WHOLE], ["a", other], ["a"], ["a", WHOLE, SMALL], [WHOLE, "a"], ["b", WHOLE]]
    found = np.asarray(drawn([*asked, asked[0]], [0] * 7))
    np.testing.assert_array_equal(found[6], found[0])
    for i in range(6):
        for j in range(i):
            assert np.abs(found[i] - found[j]).max() > 1e-2, (asked[i], asked[j])
    # Neighbours change nothing but rounding, nor do pictures that others are given.
    alone = np.asarray(drawn([["a"]], [0]))
    np.testing.assert_allclose(alone[0], found[2], atol=1e-3)
    alone = np.asarray(drawn([["a", WHOLE]], [0]))
    np.testing.assert_allclose(alone[0], found[0], atol=1e-3)


def test_rows_with_pictures_join_rows_without(model, params):
    """Each becomes what it becomes beside idle rows, to the bit; one takes a place of another."""
    weights = {part: params[part] for part in ("ar", "head")}
    dials = Dials.of(model.config, Sampling(), 1)

    @jax.jit
    def begin(prompts, keys):
        ar = model.ar.bind(params["ar"])
        one = state.begin(model, ar, prompts, keys, dials, guided=True, room=ROOM)
        return state.branch(one)

    begun = [
        begin(prompt_rows(model, [prompt], params), keys(1, seed=i))
        for i, prompt in enumerate(PROMPTS)
    ]

    def alone(i):
        now = state.insert(state.idle(begun[i], 3), jnp.int32(1), begun[i])
        return np.asarray(toys.finished(model, weights, now).tokens()[1])

    now = state.idle(begun[0], 3)
    for i in (0, 1, 2):
        now = toys.step(model, weights, state.insert(now, jnp.int32(i), begun[i]), Phase.IMAGE)
    now = state.insert(state.release(now, jnp.int32(1)), jnp.int32(1), begun[3])
    tokens = np.asarray(toys.finished(model, weights, now).tokens())
    for place, i in enumerate((0, 3, 2)):
        np.testing.assert_array_equal(tokens[place], alone(i), str(i))
