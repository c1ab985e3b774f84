# SPDX-License-Identifier: Apache-2.0
"""The engine with a drawer that needs no model: queue, rows, deadlines, failures, leaks."""

import asyncio
import gc
import os
import pathlib
import random
import re
import threading
import time

import numpy as np
import pytest
from stub_drawer import TOKENS, StubDrawer, picture

from omnigen.generation.sampler import Request
from omnigen.generation.spans import Picture
from omnigen.serve.contract import (
    Finished,
    Full,
    Late,
    Partial,
    Progress,
    Queued,
    Started,
    Stopped,
)
from omnigen.serve.engine import Engine

GIVEN = Picture(np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def start():
    """Starts engines, and ends them after the test."""
    engines = []

    def make(drawer=None, **settings):
        engines.append(Engine(drawer or StubDrawer(), **settings))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close(drain_s=0.0)


async def read(ticket):
    return [event async for event in ticket.events()]


def last(ticket):
    """The last event of a ticket."""
    return asyncio.run(read(ticket))[-1]


def gated(drawer):
    """Lets the drawer take a step at each release of a semaphore."""
    gate = threading.Semaphore(0)

    def wait(rows):
        assert gate.acquire(timeout=20)

    drawer.fail = wait
    return gate


def last_events(ticket):
    return asyncio.run(read(ticket))


def eventually(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_request_is_drawn_and_told(start):
    engine = start(StubDrawer(step_s=0.01))
    assert (engine.native, engine.name, engine.version) == ((4, 4), "stub", "v")
    ticket = engine.submit(Request("ab", seed=7), partials=1)
    found = asyncio.run(read(ticket))
    assert found[:2] == [Queued(0), Started()] and isinstance(found[-1], Finished)
    progress = [event.done for event in found if isinstance(event, Progress)]
    assert progress == sorted(set(progress)) and progress[-1] == TOKENS
    assert {event.total for event in found if isinstance(event, Progress)} == {TOKENS}
    (partial,) = (event for event in found if isinstance(event, Partial))
    assert partial.index == 0
    np.testing.assert_array_equal(partial.pixels, picture(7, TOKENS // 2))
    drawn = found[-1]
    np.testing.assert_array_equal(drawn.drawing.pixels, picture(7))
    assert (drawn.drawing.sketch, drawn.drawing.prompt) == ("sketch of 7", "ab")
    assert (drawn.text_tokens, drawn.image_tokens, drawn.input_tokens) == (TOKENS, TOKENS, 2)
    counted = engine.statistics()
    assert (counted.drawn, counted.busy, counted.queued, counted.rows) == (1, 0, 0, 2)
    assert counted.seconds >= 0.01 * (2 + TOKENS)


@pytest.mark.parametrize(
    ("request_", "settings", "message"),
    [
        (Request("x", num_images=2), {}, "num_images is 2; allowed: 1"),
        (Request("x"), {"partials": 4}, "partials is 4; allowed: 0 ... 3"),
        (Request("x"), {"deadline_s": 0.0}, "deadline_s is 0.0; it must be more than 0"),
        (Request("x"), {"deadline_s": float("nan")}, "deadline_s is nan"),
        (Request([GIVEN, "x"]), {}, "model stub draws from text alone"),
        (Request("refused"), {}, "the prompt is refused"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(start, request_, settings, message):
    engine = start()
    with pytest.raises(ValueError, match=message):
        engine.submit(request_, **settings)
    assert engine.statistics().queued == 0


def test_the_queue_has_room_for_so_many_and_no_more():
    with pytest.raises(ValueError, match="queue is 0; it must be at least 1"):
        Engine(StubDrawer(), queue=0)


def test_a_full_queue_tells_when_to_come_again(start):
    drawer = StubDrawer((2,), picture_s=3.0)
    gate = gated(drawer)
    engine = start(drawer, queue=4)
    tickets = [engine.submit(Request("x", seed=i)) for i in range(6)]
    for busy in (0, 2):  # before and after the first two join
        eventually(lambda busy=busy: engine.statistics().busy >= busy)
        with pytest.raises(Full, match="try again in 6.0 s") as refused:
            engine.submit(Request("x"))
        assert refused.value.retry_after_s == 4 * 3.0 / 2  # four wait for two rows, 3 s a picture
    counted = engine.statistics()
    assert (counted.queued, counted.room, counted.refused) == (4, 4, 2)
    tickets[3].cancel()
    tickets.append(engine.submit(Request("x", seed=9)))
    for _ in range(100):
        gate.release()
    kept = [ticket for i, ticket in enumerate(tickets) if i != 3]
    seeds = [last(ticket).drawing.pixels[0, 0, 0] for ticket in kept]
    assert seeds == [0, 1, 2, 4, 5, 9] and last_events(tickets[3]) == []
    assert engine.statistics().cancelled == 1


def test_those_that_wait_know_their_place(start):
    drawer = StubDrawer((1,))
    gate = gated(drawer)
    engine = start(drawer)
    tickets = [engine.submit(Request("x", seed=i)) for i in range(4)]
    eventually(lambda: engine.statistics().busy == 1)
    assert [ticket.place for ticket in tickets[1:]] == [0, 1, 2]
    tickets[1].cancel()
    assert [ticket.place for ticket in tickets[2:]] == [0, 1]

    async def first(ticket):
        async for event in ticket.events():
            return event

    assert asyncio.run(first(tickets[3])) == Queued(1)
    for _ in range(100):
        gate.release()


def test_kinds_of_rows_do_not_wait_for_each_other(start):
    drawer = StubDrawer((1, 1))
    gate = gated(drawer)
    engine = start(drawer, queue=1)
    long, waiting = (engine.submit(Request(text)) for text in ("long", "long too"))
    with pytest.raises(Full):
        engine.submit(Request("a long one"))
    short = engine.submit(Request("x", seed=5))
    eventually(lambda: engine.statistics().busy == 2)
    for _ in range(100):
        gate.release()
    assert last(short).drawing.pixels[0, 0, 0] == 5
    assert last(long).drawing.prompt == "long" and last(waiting).drawing.prompt == "long too"


@pytest.mark.parametrize("when", ["waits", "draws"])
def test_a_cancel_frees_its_place_within_a_step(start, when):
    drawer = StubDrawer((1,))
    gate = gated(drawer)
    engine = start(drawer)
    first, second = (engine.submit(Request("x", seed=i)) for i in range(2))
    eventually(lambda: engine.statistics().busy == 1)
    (first if when == "draws" else second).cancel()
    gate.release()
    if when == "waits":
        for _ in range(TOKENS + 1):
            gate.release()
        assert last(first).drawing.pixels[0, 0, 0] == 0
        assert engine.statistics().queued == 0 and last_events(second) == []
        return
    # The second joins after the step that the first was in, and needs nine steps.
    for _ in range(TOKENS + 1):
        gate.release()
    assert last(second).drawing.pixels[0, 0, 0] == 1
    assert drawer.steps <= TOKENS + 3 and last_events(first) == []


@pytest.mark.parametrize("seed", range(3))
def test_every_request_gets_its_own_picture_whatever_the_others_do(start, seed):
    """Random joins, cancels and deadlines."""
    dice, engine = random.Random(seed), start(StubDrawer((3, 1)), queue=1000)
    tickets = []

    async def hold(number):
        await asyncio.sleep(dice.random() * 0.05)
        text = "long" if dice.random() < 0.2 else "x" * dice.randint(1, 9)
        partials = dice.randint(0, 3)
        ticket = engine.submit(Request(text, seed=number), partials=partials)
        tickets.append(ticket)
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() * 0.05)
            ticket.cancel()
        found = await read(ticket)
        if not found or not isinstance(found[-1], Finished):
            return
        np.testing.assert_array_equal(found[-1].drawing.pixels, picture(number))
        assert found[-1].drawing.prompt == text
        shown = [event for event in found if isinstance(event, Partial)]
        assert [event.index for event in shown] == list(range(partials))
        for event in shown:
            assert (event.pixels[0, 0, :2] == picture(number)[0, 0, :2]).all()

    async def main():
        await asyncio.gather(*(hold(number) for number in range(200)))

    asyncio.run(main())
    counted = engine.statistics()
    assert counted.drawn + counted.cancelled == 200 and counted.drawn > 100
    assert (counted.busy, counted.queued, counted.failed) == (0, 0, 0)


def test_a_request_is_late_while_it_waits_and_while_it_is_drawn(start):
    drawer = StubDrawer((1,), step_s=0.02)
    engine = start(drawer)
    began = time.monotonic()
    drawn, waiting = (engine.submit(Request("x" * 2000), deadline_s=s) for s in (0.3, 0.15))
    for ticket, seconds in ((waiting, 0.15), (drawn, 0.3)):
        with pytest.raises(Late, match="not finished after"):
            last(ticket)
        assert seconds - 0.01 < time.monotonic() - began < seconds + 1.0
    assert isinstance(last(engine.submit(Request("x"), deadline_s=5)), Finished)
    assert engine.statistics().late == 2


def test_a_step_that_hangs_makes_nobody_wait_beyond_the_deadline(start):
    """The thread is given up later; what comes then is drawn by another."""
    drawer, hang = StubDrawer((1,)), threading.Event()
    drawer.fail = lambda rows: hang.wait(20)
    engine = start(drawer, stuck_s=2.0)
    began = time.monotonic()
    stuck = engine.submit(Request("x"), deadline_s=0.2)
    waiting = engine.submit(Request("y", seed=3))
    with pytest.raises(Late):
        last(stuck)
    assert time.monotonic() - began < 1.5 and drawer.opened == 1
    eventually(lambda: drawer.opened == 2)
    drawer.fail = lambda rows: None
    hang.set()
    # The second may have joined a row whose first step hung, too, before that was put right.
    assert isinstance(last(waiting), Finished)
    assert isinstance(last(engine.submit(Request("x"))), Finished)


def test_an_engine_whose_steps_always_hang_stops(start):
    drawer, hang = StubDrawer((1,)), threading.Event()
    drawer.fail = lambda rows: hang.wait(20)
    engine = start(drawer, stuck_s=0.1)
    tickets = [engine.submit(Request("x")) for _ in range(4)]
    for ticket in tickets[:3]:
        with pytest.raises(RuntimeError, match="a step did not end in 0.1 s"):
            last(ticket)
    with pytest.raises(Stopped, match="has to be started anew"):
        last(tickets[3])
    assert not engine.statistics().is_open
    with pytest.raises(Stopped):
        engine.submit(Request("x"))
    hang.set()


def test_a_step_that_fails_fails_what_it_drew_and_nothing_else(start, caplog):
    drawer, fails = StubDrawer((2,)), threading.Event()
    gate = gated(drawer)
    wait = drawer.fail

    def fail(rows):
        wait(rows)
        if fails.is_set():
            fails.clear()
            raise OverflowError("of the device")

    drawer.fail = fail
    engine = start(drawer)
    first, second, waiting = (engine.submit(Request("x", seed=i)) for i in range(3))
    eventually(lambda: engine.statistics().busy == 2)
    fails.set()
    for _ in range(100):
        gate.release()
    for ticket in (first, second):
        with pytest.raises(RuntimeError, match="drawing failed: OverflowError: of the device"):
            last(ticket)
    assert last(waiting).drawing.pixels[0, 0, 0] == 2
    assert drawer.opened == 2 and engine.statistics().failed == 2
    assert "a step failed, and with it 2 requests" in caplog.text


def test_a_request_that_cannot_be_read_fails_alone(start, caplog):
    drawer = StubDrawer((2,))
    gate = gated(drawer)
    engine = start(drawer)
    good, bad = engine.submit(Request("x", seed=1)), engine.submit(Request("poison"))
    for _ in range(100):
        gate.release()
    with pytest.raises(RuntimeError, match="OverflowError: too much"):
        last(bad)
    assert last(good).drawing.pixels[0, 0, 0] == 1
    assert drawer.opened == 1 and "a request failed" in caplog.text


def test_a_close_finishes_what_was_taken_and_refuses_what_comes(start):
    engine = start(StubDrawer((1,), step_s=0.01))
    tickets = [engine.submit(Request("x", seed=i)) for i in range(3)]
    closing = threading.Thread(target=lambda: engine.close(drain_s=20))
    closing.start()
    eventually(lambda: not engine.statistics().is_open)
    with pytest.raises(Stopped, match="the server is stopping"):
        engine.submit(Request("x"))
    assert [last(ticket).drawing.pixels[0, 0, 0] for ticket in tickets] == [0, 1, 2]
    closing.join(timeout=10)
    assert not closing.is_alive()
    engine.close(drain_s=20)  # again, at once


def test_a_close_stops_what_is_not_finished_in_time(start):
    drawer = StubDrawer((1,))
    gate = gated(drawer)
    engine = start(drawer)
    tickets = [engine.submit(Request("x")) for _ in range(2)]
    began = time.monotonic()
    closing = threading.Thread(target=lambda: engine.close(drain_s=0.2))
    closing.start()
    for ticket in tickets:
        with pytest.raises(Stopped, match="stopped before the picture was finished"):
            last(ticket)
    assert 0.15 < time.monotonic() - began < 2.0
    gate.release()
    closing.join(timeout=10)
    assert not closing.is_alive()


def test_threads_end_with_the_engine(start):
    before = set(threading.enumerate())
    engine = start(StubDrawer())
    last(engine.submit(Request("x")))
    assert len(set(threading.enumerate()) - before) == 2
    engine.close(drain_s=1)
    assert set(threading.enumerate()) <= before


def soak(engine, count):
    """Sends requests, of which some are cancelled, some late and some read by nobody."""
    dice = random.Random(0)

    async def one(number):
        deadline_s = 0.001 if number % 7 == 0 else None
        try:
            ticket = engine.submit(Request("x", seed=number), partials=1, deadline_s=deadline_s)
        except Full:
            await asyncio.sleep(0.001)
            return
        if number % 5 == 0:
            return  # nobody reads it
        if number % 11 == 0:
            ticket.cancel()
        try:
            async for event in ticket.events():
                if isinstance(event, Finished):
                    np.testing.assert_array_equal(event.drawing.pixels, picture(number))
                if dice.random() < 0.01:
                    ticket.cancel()
        except Late:
            assert deadline_s

    async def main():
        for start in range(0, count, 100):
            await asyncio.gather(*(one(start + i) for i in range(min(100, count - start))))

    asyncio.run(main())


def held():
    """Bytes, threads and descriptors of this process."""
    gc.collect()
    told = pathlib.Path("/proc/self/status").read_text()
    memory, threads = (
        int(re.search(rf"{name}:\s+(\d+)", told)[1]) for name in ("VmRSS", "Threads")
    )
    return memory * 1024, threads, len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "count", [2_000, pytest.param(100_000, marks=pytest.mark.slow, id="100000")]
)
def test_nothing_leaks(start, count):
    """1e5 requests take some minutes."""
    engine = start(StubDrawer((8,)), queue=50)
    soak(engine, 1_000)
    before = held()
    soak(engine, count)
    eventually(lambda: engine.statistics().busy + engine.statistics().queued == 0)
    after = held()
    assert after[0] - before[0] < 4e6 + 100 * count  # 1 MB in 1e4 requests, and noise
    # Threads of what ran before may end meanwhile.
    assert after[1] <= before[1] and after[2] <= before[2]
    counted = engine.statistics()
    assert counted.drawn > count / 4 and counted.cancelled > 0 and counted.late > 0
