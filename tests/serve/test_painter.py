# SPDX-License-Identifier: Apache-2.0
"""Pictures of a toy through the engine: what each becomes is what it becomes alone, to the bit."""

import asyncio
import dataclasses
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import omni, params  # noqa: F401  fixtures

from omnigen.generation import pretrained
from omnigen.generation.sampler import Request, Sampler
from omnigen.generation.spans import Picture
from omnigen.models.omni import Omni
from omnigen.serve import painter
from omnigen.serve.contract import Finished, Partial
from omnigen.serve.engine import Engine
from omnigen.serve.painter import Painter

dice = np.random.default_rng(0)
GIVEN = [Picture(dice.integers(0, 256, (32, 32, 3), np.uint8), sketch) for sketch in ("", "ab")]
TEXTS = [
    *("a red dot", "two blue squares", "x", "y" * 90, "z" * 150),
    [GIVEN[0], "at night"],
    [GIVEN[1], "as one with ", GIVEN[0], "a" * 40],
]
SETTINGS = [
    {},
    {"guidance": 1.0},
    {"guidance": 5.0, "temperature": 0.5, "sketch_temperature": 1.0},
    {"head_steps": 2},
    {"last_head_steps": 1, "head_shift": 2.0},
]
REQUESTS = [
    Request(text, seed=10 * i + j, **settings)
    for i, text in enumerate(TEXTS)
    for j, settings in enumerate(SETTINGS)
    if (i + j) % 2 == 0
]


def toy(omni, params, block):  # noqa: F811
    """A toy that reads pictures, ends its sketches at different places, and draws in groups."""
    config = dataclasses.replace(omni.config, sketch_length=9, block=block, reads_pictures=True)
    w = params["ar"]["logits_out"]["w"].at[:, config.specials.img].mul(12.0)
    ar = {**params["ar"], "logits_out": {"w": w}}
    return pretrained.Pretrained(Omni(config), {**params, "ar": ar}, "v", 0, "somewhere")


@pytest.fixture(scope="module")
def model(omni, params):  # noqa: F811
    return toy(omni, params, 1)


@pytest.fixture(scope="module")
def drawer(model):
    return Painter(model, name="toy", rows=3, rooms=(128, 512))


@pytest.fixture(scope="module")
def engine(drawer):
    found = Engine(drawer)
    yield found
    found.close(drain_s=0.0)


async def read(ticket):
    return [event async for event in ticket.events()]


def seen(events):
    """What a client gets: pictures, text and numbers."""
    *parts, whole = (event for event in events if isinstance(event, Partial | Finished))
    counts = (
        *(whole.text_tokens, whole.image_tokens),
        *(whole.input_tokens, whole.input_image_tokens),
    )
    pictures = [part.pixels for part in parts]
    return [*pictures, whole.drawing.pixels], whole.drawing.sketch, counts


@pytest.fixture(scope="module")
def alone(engine):
    """What each request becomes when nothing else is drawn."""
    return [seen(asyncio.run(read(engine.submit(r, partials=2)))) for r in REQUESTS]


def equal(found, wanted):
    assert found[1:] == wanted[1:]
    for one, other in zip(found[0], wanted[0], strict=True):
        np.testing.assert_array_equal(one, other)


async def under_load(engine, requests, alone, chance):
    """Joins and cancels at random; each request is drawn once, and half as many are given up."""

    async def one(number, given_up):
        await asyncio.sleep(chance.random() * 0.3)
        ticket = engine.submit(requests[number], partials=2)
        if given_up:
            await asyncio.sleep(chance.random() * 0.3)
            ticket.cancel()
        events = await read(ticket)
        if events and isinstance(events[-1], Finished):
            equal(seen(events), alone[number])
            return 1
        return 0

    numbers = [(i, False) for i in range(len(requests))]
    numbers += [(chance.randrange(len(requests)), True) for _ in range(len(requests) // 2)]
    chance.shuffle(numbers)
    return sum(await asyncio.gather(*(one(*number) for number in numbers)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_requests_become_under_load_what_they_become_alone(engine, alone, seed):
    drawn = asyncio.run(under_load(engine, REQUESTS, alone, random.Random(seed)))
    assert drawn >= len(REQUESTS) and engine.statistics().failed == 0


def test_so_they_do_where_tokens_are_drawn_in_groups(omni, params):  # noqa: F811
    grouped = toy(omni, params, 4)
    requests = [r for r in REQUESTS if isinstance(r.prompt, str) and len(r.prompt) < 100]
    engine = Engine(Painter(grouped, name="toy", rows=3, rooms=(128,)))
    try:
        alone = [seen(asyncio.run(read(engine.submit(r, partials=2)))) for r in requests]
        assert {len(pictures) for pictures, _, _ in alone} == {3}
        drawn = asyncio.run(under_load(engine, requests, alone, random.Random(0)))
        assert drawn >= len(requests)
    finally:
        engine.close(drain_s=0.0)


@pytest.mark.parametrize("number", [2, 3, 15], ids=["annealed", "unguided", "edit"])
def test_pictures_are_those_of_the_sampler(model, alone, number):
    """Programs of other shapes round otherwise, so some levels differ."""
    (wanted,) = Sampler(model).drawings(REQUESTS[number])
    pictures, sketch, _ = alone[number]
    assert sketch == wanted.sketch
    apart = np.abs(pictures[-1].astype(int) - wanted.pixels)
    assert apart.mean() < 0.2 and np.quantile(apart, 0.99) <= 3, apart.mean()


def test_usage_counts_what_is_read_and_written(alone):
    """[BOS] text [BOI] "4*4", and so for each picture, with its sketch, [IMG], tokens and [EOI]."""
    picture = 1 + 3 + 1 + 16 + 1
    sizes = [1 + len(text) + 4 for text in TEXTS[:5]]
    sizes += [1 + picture + 8 + 4, 1 + 2 + picture + 12 + picture + 40 + 4]
    for request, (_, sketch, counts) in zip(REQUESTS, alone, strict=True):
        text = request.seed // 10
        assert counts[1:] == (16, sizes[text], 16 * max(text - 4, 0))
        assert counts[0] == len(sketch) <= 8 or "\ufffd" in sketch


def test_guidance_and_given_pictures_matter(alone):
    by_seed = {r.seed: pictures[-1] for r, (pictures, _, _) in zip(REQUESTS, alone, strict=True)}
    assert len({pixels.tobytes() for pixels in by_seed.values()}) == len(REQUESTS)


def test_partial_pictures_are_decoded_with_the_rest_unknown(model, drawer, alone):
    """The prefix of the tokens, by hand."""
    request = REQUESTS[0]
    rows, plan = drawer.open(), drawer.plan(request)
    rows.join((0, 1), request, plan)
    decoder = model.omni.decoder.bind(model.params["decoder"])
    decode = jax.jit(lambda z, noise, known: decoder.decode(z, noise, known_BN=known))
    key = jax.random.split(jax.random.key(jnp.uint32(request.seed)))[1]
    noise = jax.random.normal(key, (1, 32, 32, 3))
    seen_at, done = {}, 0
    while done < 16:
        done = rows.step()[0, 1]
        seen_at[done] = rows.look([(0, 1)])[0][0]
    z = rows._states[0].tokens()[1:2]
    for count, pixels in seen_at.items():
        wanted = decode(z, noise, jnp.arange(16)[None] < count)[0]
        np.testing.assert_allclose(pixels / 127.5 - 1, wanted, atol=1.1 / 127.5)
    assert {0, 4, 16} <= seen_at.keys()
    np.testing.assert_array_equal(seen_at[16], alone[0][0][-1])
    assert np.abs(seen_at[0].astype(int) - seen_at[16]).mean() > 5


def test_nothing_compiles_once_it_is_ready(engine, alone, caplog):
    with jax.log_compiles(), caplog.at_level("WARNING"):
        for request in (REQUESTS[1], Request("another", seed=5, guidance=1.5), REQUESTS[-1]):
            asyncio.run(read(engine.submit(request, partials=3)))
    assert not [line for line in caplog.messages if "XLA compilation" in line]


def test_after_a_step_that_failed_pictures_are_the_same(engine, alone, monkeypatch, caplog):
    step, calls = painter._step, []

    def fail(driver, now, phase):
        calls.append(1)
        if len(calls) == 5:
            jax.tree.map(lambda leaf: leaf.delete(), now)
            raise RuntimeError("the device is gone")
        return step(driver, now, phase)

    monkeypatch.setattr(painter, "_step", fail)
    with pytest.raises(RuntimeError, match="drawing failed: RuntimeError: the device is gone"):
        asyncio.run(read(engine.submit(REQUESTS[0], partials=2)))
    equal(seen(asyncio.run(read(engine.submit(REQUESTS[0], partials=2)))), alone[0])
    assert "a step failed" in caplog.text


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request("x", head_steps=4), "head_steps is 4; allowed: 1 ... 3 on this server"),
        (Request("x", last_head_steps=5), "last_head_steps is 5; allowed: 1 ... 3"),
        (Request("x", decoder_steps=3), "decoder_steps is 3; allowed on this server: 2"),
        (Request("x" * 520), r"a prompt with its pictures has 5\d\d elements; allowed: up to 512"),
        (
            Request([Picture(np.zeros((32, 48, 3), np.uint8)), "x"]),
            "a picture has 48 x 32 pixels; allowed on this server: 32 x 32",
        ),
    ],
)
def test_what_programs_are_not_made_for_is_refused(engine, request_, message):
    with pytest.raises(ValueError, match=message):
        engine.submit(request_)


def test_the_steps_that_the_model_takes_may_be_named(engine, alone):
    named = dataclasses.replace(REQUESTS[0], head_steps=3, decoder_steps=2)
    equal(seen(asyncio.run(read(engine.submit(named, partials=2)))), alone[0])


def test_there_are_rows(model):
    with pytest.raises(ValueError, match="rows is 0; it must be at least 1"):
        Painter(model, name="toy", rows=0)


def test_longer_prompts_have_fewer_rows_and_lengths_between(drawer):
    room = 9 + 16
    assert drawer.rows == (3, max(1, 3 * (128 + room) // (512 + room)))
    assert painter._lengths((128, 512, 4096)) == [64, 128, 512, 2048, 4096]
    assert painter._lengths((128, 512)) == drawer.lengths == [64, 128, 512]


def test_a_checkpoint_is_served_by_its_folders_name(untrained, monkeypatch):
    monkeypatch.setattr(painter, "_rooms", lambda _: [128])
    engine = Engine.load(untrained, rows=1)
    try:
        assert engine.name == untrained.name and not engine.can_edit and engine.ready_s > 0
        last = asyncio.run(read(engine.submit(Request("a dot", head_steps=1))))[-1]
        assert last.drawing.pixels.shape == (*engine.native, 3)
        with pytest.raises(ValueError, match="was not trained to read pictures"):
            engine.submit(Request([GIVEN[0], "x"]))
    finally:
        engine.close(drain_s=1)
