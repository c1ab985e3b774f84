# SPDX-License-Identifier: Apache-2.0
"""Drawing a picture equals reading it back: the row laid out as in training is the oracle."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen import flow
from omnigen.generation import generate as generation
from omnigen.generation.generate import generate
from omnigen.generation.prompt import BUCKET, prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.generation.state import Dials
from omnigen.models.omni import Omni
from omnigen.sequence import ImageSpan, Role, TextSpan, gather_slots, pack

GUIDANCE, TEMPERATURE = Sampling.guidance, Sampling.temperature
TEXTS = ["a red dot", "", "two blue squares"]
ROOM = BUCKET - 2 * 5  # bytes, beside the empty prompt and what a prompt has but its text


def batched(*samples):
    return jax.tree.map(lambda *fields: np.stack(fields), *samples)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def drawn(omni, params, texts, keys, **settings):
    """Pictures of texts."""
    return generate(omni, params, prompt_rows(omni, texts), keys, Sampling(**settings))


def steps_of(dials):
    """The steps of one row."""
    return jax.tree.map(lambda table: table[0], dials.steps)


@pytest.fixture(scope="module")
def draw(omni, params):
    """The tokens of pictures, as `generate` draws them."""

    def run(texts, keys, guidance=GUIDANCE, order=None, steps=None, guided=True):
        weights = {part: params[part] for part in ("ar", "head")}
        sampling = Sampling(guidance=guidance, sketch_temperature=1.0)
        dials = Dials.of(omni.config, sampling, len(texts), order=order)
        if steps is not None:
            dials = dataclasses.replace(dials, steps=jax.tree.map(lambda t: t[None], steps))
        rows = prompt_rows(omni, texts)
        return generation.draw(omni, weights, rows, keys, dials, guided=guided)[0]

    return run


@pytest.fixture(scope="module")
def pictures(omni, params):
    return np.asarray(drawn(omni, params, TEXTS, keys(3)))


def test_prompts_are_the_layout_up_to_the_image(omni, lay):
    prompts = prompt_rows(omni, TEXTS)
    assert prompts.ahead.token.shape == (3, BUCKET) and prompts.vectors is None
    empty = lay(ImageSpan(4, 4)).map(lambda field: field[:6])
    for i, text in enumerate(TEXTS):
        sample = lay(TextSpan(list(text.encode()), Role.GIVEN), ImageSpan(4, 4))
        start = int(np.argmax(sample.slot >= 0))
        for name, field in vars(prompts.ahead).items():
            wanted, last = getattr(sample, name), getattr(prompts.last, name)
            np.testing.assert_array_equal(field[i, 1 - start :], wanted[: start - 1], name)
            np.testing.assert_array_equal(last[i, 0], wanted[start - 1], name)
            wanted = 2 * empty.segment if name == "segment" else getattr(empty, name)
            np.testing.assert_array_equal(field[i, :5], wanted[:5], name)
            np.testing.assert_array_equal(last[3 + i, 0], wanted[5], name)
        assert (prompts.ahead.segment[i, 5 : 1 - start] == 0).all()
        assert (prompts.ahead.token[i, 5 : 1 - start] == 256).all()
    assert prompt_rows(omni, ["x" * ROOM]).ahead.token.shape == (1, BUCKET)
    assert prompt_rows(omni, ["x" * (ROOM + 1)]).ahead.token.shape == (1, 2 * BUCKET)


@pytest.fixture(scope="module")
def read(omni, params, lay):
    """Hidden states before each of a picture's tokens, by one pass over the training layout."""
    hidden = jax.jit(lambda *args: omni.ar.bind(params["ar"]).hidden(*args))

    def run(text, z, order=None, sketch=()):
        image = ImageSpan(4, 4, order=order, sketch=sketch)
        sample = lay(TextSpan(list(text.encode())), image)
        rows = batched(pack([sample], BUCKET + 16, omni.config.specials.pad))
        start = int(np.argmax(rows.slot[0] >= 0))
        states = hidden(rows.map(jnp.asarray), gather_slots(z[None], rows.slot))
        return states[0, start - 1 : start + 15]

    return run


@pytest.mark.parametrize(
    ("guided", "texts", "order", "steps"),
    [
        (True, TEXTS, None, None),
        (False, TEXTS, None, None),
        (True, TEXTS, np.random.default_rng(0).permutation(16), None),
        (True, ["x" * ROOM, "y", ""], None, None),  # a full row
        (True, TEXTS, None, flow.annealed(16, first=4, last=1, shift=2.0)),
    ],
)
def test_every_token_is_what_the_head_says_after_those_before(
    omni, params, read, draw, guided, texts, order, steps
):
    z = draw(texts, keys(3), guided=guided, order=order, steps=steps)
    assert z.shape == (3, 16, 6)
    head = omni.head.bind(params["head"])

    @jax.jit
    def sample(hidden, noise):
        def one(branches, noise, steps):
            return head.sampler()(branches, noise[None], guidance=GUIDANCE, steps=steps)[0]

        return jax.vmap(one)(hidden, noise, steps)

    for i, text in enumerate(texts):
        prompts = (text, "") if guided else (text,)
        hidden = [read(prompt, z[i], order) for prompt in prompts]
        noise = TEMPERATURE * jax.random.normal(keys(3)[i], (16, 6))
        wanted = sample(jnp.stack(hidden, axis=1)[:, :, None], noise)
        drawn = z[i] if order is None else z[i][order]
        np.testing.assert_allclose(drawn, wanted, atol=1e-4)


@pytest.mark.parametrize("guided", [True, False])
def test_a_sketch_is_written_first_and_then_drawn(omni, params, lay, guided):
    """Rows whose sketches end at different times; one ends because there is no more room."""
    config = dataclasses.replace(omni.config, sketch_length=9)
    sketching, img, count = Omni(config), config.specials.img, 6
    w = params["ar"]["logits_out"]["w"]
    eager = w.at[:, img].mul(12.0)  # so that some end early
    weights = {**params, "ar": {**params["ar"], "logits_out": {"w": eager}}}
    texts = ["a red dot", "", "two blue squares", "x", "yy", "a longer prompt than the others"]
    prompts = prompt_rows(sketching, texts)
    assert [*prompts.ahead.token[0, -2:], *prompts.last.token[0]] == list(b"4*4")
    sampling = Sampling(head_steps=3, sketch_temperature=0.7)
    dials = Dials.of(config, sampling, count)
    few = {part: weights[part] for part in ("ar", "head")}
    z, ids = generation.draw(sketching, few, prompts, keys(count), dials, guided=guided)
    alone = generation.write(sketching, few, prompts, keys(count), dials)
    np.testing.assert_array_equal(alone, ids)
    told = [bytes(map(int, row[row < 256])).decode(errors="replace") for row in np.asarray(ids)]
    assert generation.sketches(sketching, ids) == told
    lengths = [int(np.argmax(row == img)) for row in np.asarray(ids)]
    assert len(set(lengths)) > 2 and 8 in lengths, lengths
    ar, head = sketching.ar.bind(weights["ar"]), sketching.head.bind(weights["head"])
    scale = jnp.float32(GUIDANCE)
    sample = jax.jit(
        lambda hidden, noise, steps: head.sampler()(hidden, noise, guidance=scale, steps=steps)
    )
    hidden = jax.jit(lambda *args: ar.hidden(*args))

    def states(text, sketch, z):
        row = lay(TextSpan(list(text.encode())), ImageSpan(4, 4, sketch=sketch))
        row = batched(pack([row], BUCKET + 16, config.specials.pad))
        return hidden(row.map(jnp.asarray), gather_slots(z[None], row.slot))[0], row

    for i, text in enumerate(texts):
        assert (ids[i, lengths[i] + 1 :] == config.specials.pad).all()
        sketch = np.asarray(ids)[i, : lengths[i]].tolist()
        h_LD, row = states(text, sketch, z[i])
        first = int(np.argmax(row.slot[0] >= 0))
        begin = first - 2 - len(sketch)  # what comes before the sketch
        for j, written in enumerate([*sketch, img][:8]):
            scores = ar.logits(h_LD[None, begin + j])[0] / 0.7
            scores = jnp.where((jnp.arange(264) < 256) | (jnp.arange(264) == img), scores, -jnp.inf)
            assert jax.random.categorical(jax.random.fold_in(keys(count)[i], j), scores) == written
        branches = [h_LD[first - 1 : first + 15]]
        if guided:
            empty_LD, row = states("", (), z[i])
            first = int(np.argmax(row.slot[0] >= 0))
            branches.append(empty_LD[first - 1 : first + 15])
        noise = TEMPERATURE * jax.random.normal(keys(count)[i], (16, 6))
        for n in range(16):
            wanted = sample(
                jnp.stack([b[None, n] for b in branches]), noise[None, n], steps_of(dials)[n]
            )
            np.testing.assert_allclose(z[i, n], wanted[0], atol=1e-4)


@pytest.mark.parametrize(
    ("block", "length", "guided", "order"),
    [(4, 5, True, np.random.default_rng(0).permutation(16)), (16, 0, False, None)],
)
def test_groups_are_drawn_as_they_are_read(omni, params, lay, block, length, guided, order):
    """Each token on its own, from what the training layout says before it."""
    model = Omni(dataclasses.replace(omni.config, block=block, sketch_length=length))
    sampling = Sampling(last_head_steps=2, sketch_temperature=0.0)
    dials = Dials.of(model.config, sampling, 2, order=order)
    assert dials.steps.at.shape == (1, 16 // block, 3)
    weights = {part: params[part] for part in ("ar", "head")}
    z, ids = generation.draw(
        model, weights, prompt_rows(model, TEXTS[:2]), keys(2), dials, guided=guided
    )
    ar, head = model.ar.bind(params["ar"]), model.head.bind(params["head"])
    hidden = jax.jit(lambda *args: ar.hidden(*args))
    sample = jax.jit(lambda *args: head.sampler()(*args[:2], guidance=GUIDANCE, steps=args[2]))
    for i, text in enumerate(TEXTS[:2]):
        sketch = [int(token) for token in ids[i] if token < 256]
        states = []
        for words, written in [(text, sketch), ("", ())][: 1 + guided]:
            image = ImageSpan(4, 4, order=order, sketch=written, block=block)
            row = pack([lay(TextSpan(list(words.encode())), image)], 64, 256)
            first, rows = int(np.argmax(row.slot >= 0)), batched(row).map(jnp.asarray)
            h_LD = hidden(rows, gather_slots(z[i : i + 1], rows.slot))[0]
            states.append(h_LD[first - block : first - block + 16])
        noise = TEMPERATURE * jax.random.normal(keys(2)[i], (16, 6))  # whatever the block is
        for n in range(16):
            branches = jnp.stack([h[None, n] for h in states])
            wanted = sample(branches, noise[None, n], steps_of(dials)[n // block])[0]
            drawn = z[i, n if order is None else order[n]]
            np.testing.assert_allclose(drawn, wanted, atol=1e-4)


def test_steps_that_do_not_change_are_the_plain_ones(draw, omni, params, pictures):
    plain, most = draw(TEXTS, keys(3)), flow.annealed(16, first=5, last=3)
    same = flow.annealed(16, first=3, last=3)
    padded = [np.pad(table, ((0, 0), (0, 2))) for table in (same.at, same.size)]
    counted = flow.Steps(*padded, np.full(16, 3, np.int32))
    assert counted.at.shape == most.at.shape
    np.testing.assert_array_equal(draw(TEXTS, keys(3), steps=counted), plain)
    assert np.abs(draw(TEXTS, keys(3), steps=most) - plain).max() > 1e-3
    again = drawn(omni, params, TEXTS, keys(3), head_steps=3, last_head_steps=3)
    np.testing.assert_array_equal(again, pictures)


def test_what_was_compiled_before_there_were_weights_is_found(omni, params, caplog):
    settings = {"guidance": 2.0, "head_steps": 2, "decoder_steps": 3}
    drawn(omni, params, ["x"], keys(1))  # what is no part of either program
    generation.compile(omni, prompt_rows(omni, ["x"]), Sampling(**settings))
    with jax.log_compiles(), caplog.at_level("WARNING"):
        drawn(omni, params, ["x"], keys(1), **settings)
    assert not [line for line in caplog.messages if "XLA compilation" in line]


def test_an_order_is_a_permutation(omni, params):
    with pytest.raises(ValueError, match="permutation of 0..15"):
        generate(omni, params, prompt_rows(omni, TEXTS), keys(3), order=np.zeros(16, int))


def test_guidance_of_one_needs_no_second_branch(draw):
    np.testing.assert_allclose(
        draw(TEXTS, keys(3), guidance=1.0), draw(TEXTS, keys(3), guided=False), atol=1e-4
    )


def test_a_head_of_averages_is_told_the_guidance_and_needs_no_second_branch(omni, params):
    """As long as it ignores span and guidance, it draws what a plain head does without guidance."""
    head = dataclasses.replace(omni.config.head, average=True)
    other = Omni(dataclasses.replace(omni.config, head=head))
    added = other.head.shapes().keys() - params["head"].keys()
    assert added == {"span_in", "guidance_in"}
    shapes = {name: other.head.shapes()[name] for name in added}
    rng = np.random.default_rng(0)
    random = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes)

    def draw(omni, added, guidance):
        weights = {**params, "head": {**params["head"], **added}}
        return drawn(omni, weights, ["ab"], keys(1), guidance=guidance)

    silent = draw(other, jax.tree.map(jnp.zeros_like, random), 3.0)
    np.testing.assert_allclose(silent, draw(omni, {}, 1.0), atol=3e-4)
    told = [draw(other, random, guidance) for guidance in (2.0, 3.0)]
    assert np.abs(told[0] - silent).max() > 1e-3 and np.abs(told[0] - told[1]).max() > 1e-4


def test_pictures_are_the_decoded_tokens(omni, params, draw, pictures):
    both = jax.vmap(jax.random.split)(keys(3))
    z = draw(TEXTS, both[:, 0])
    noise = jnp.stack([jax.random.normal(key, (32, 32, 3)) for key in both[:, 1]])
    decoder = omni.decoder.bind(params["decoder"])
    np.testing.assert_allclose(pictures, jax.jit(decoder.decode)(z, noise), atol=1e-5)
    assert pictures.dtype == np.float32 and np.abs(pictures).max() <= 1.0


def test_same_keys_same_bytes_and_nothing_compiles_again(omni, params, pictures):
    compiled = generation.draw._cache_size(), Omni.decode._cache_size()
    again = drawn(omni, params, TEXTS, keys(3))
    np.testing.assert_array_equal(again, pictures)
    other = drawn(omni, params, ["x", "y", "z"], keys(3, seed=1), guidance=7.5)
    assert np.abs(other - pictures).max() > 1e-2
    assert (generation.draw._cache_size(), Omni.decode._cache_size()) == compiled


def test_a_picture_does_not_depend_on_its_batch(omni, params, pictures):
    alone = drawn(omni, params, TEXTS[2:], keys(3)[2:])
    np.testing.assert_allclose(alone[0], pictures[2], atol=1e-3)  # a uint8 step is 8e-3


def test_the_prompt_the_key_and_the_guidance_decide_the_picture(omni, params, pictures):
    texts = ["a red dog", "", "two blue squares"]
    changed = drawn(omni, params, texts, keys(3))
    assert np.abs(changed[0] - pictures[0]).max() > 1e-3
    np.testing.assert_allclose(changed[1:], pictures[1:], atol=1e-4)
    stronger = drawn(omni, params, TEXTS, keys(3), guidance=8.0)
    assert np.abs(stronger[0] - pictures[0]).max() > 1e-3
    cooler = drawn(omni, params, TEXTS, keys(3), temperature=0.5)
    assert np.abs(cooler - pictures).max(axis=(1, 2, 3)).min() > 1e-3
    # The second prompt is the empty one, so that both branches agree whatever the scale.
    np.testing.assert_allclose(stronger[1], pictures[1], atol=1e-4)


def test_drawing_stays_on_the_device(omni, params):
    weights = {part: params[part] for part in ("ar", "head")}
    dials = Dials.of(omni.config, Sampling(last_head_steps=1), 1)
    arguments = (omni, weights, prompt_rows(omni, ["x"]), keys(1), dials)
    text = generation.draw.lower(*arguments, guided=False).as_text()
    assert "stablehlo.while" in text
    assert "callback" not in text and "outfeed" not in text and "stablehlo.send" not in text


def test_steps_are_choices_of_the_call(omni, params):
    run = lambda **steps: jax.make_jaxpr(  # noqa: E731
        lambda p: drawn(omni, p, ["x"], keys(1), guidance=1.0, **steps)
    )(params)
    assert str(run()) == str(run(head_steps=3, decoder_steps=2))
    assert str(run()) != str(run(head_steps=4)) and str(run()) != str(run(decoder_steps=1))
