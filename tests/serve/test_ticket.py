# SPDX-License-Identifier: Apache-2.0
"""What a reader of a ticket sees, however late it looks."""

import asyncio
import threading

import numpy as np
import pytest

from omnigen.generation.sampler import Drawing, Request
from omnigen.serve.contract import Finished, Late, Partial, Progress, Queued, Started
from omnigen.serve.drawer import Plan
from omnigen.serve.ticket import Ticket

PIXELS = np.zeros((1, 1, 3), np.uint8)
LAST = Finished(Drawing(PIXELS, ""), 0, 8, 1)


def make(partials=0, cancel=lambda ticket: None):
    return Ticket(Request("x"), Plan(0, 8, 1), partials=partials, deadline_s=None, cancel=cancel)


async def read(ticket):
    return [event async for event in ticket.events()]


def test_news_takes_the_place_of_older_news_of_its_kind():
    ticket = make()
    for place in range(9, 0, -1):
        ticket.tell(Queued(place))
    ticket.tell(Started())
    for done in range(5):
        ticket.tell(Progress(done, 8))
    ticket.tell(Partial(0, PIXELS))
    for done in range(5, 9):
        ticket.tell(Progress(done, 8))
    assert ticket.end(LAST) and not ticket.end(Late("no"))
    ticket.tell(Progress(0, 8))  # nobody sees it any more
    found = asyncio.run(read(ticket))
    assert found[:3] == [Queued(1), Started(), Progress(4, 8)]
    assert found[3].index == 0 and found[4:] == [Progress(8, 8), LAST]


def test_a_reader_waits_for_what_other_threads_tell():
    ticket, seen, may_go_on = make(), [], threading.Semaphore(0)

    def tell():
        for event in (Queued(0), Started(), Progress(1, 8), Progress(2, 8)):
            assert may_go_on.acquire(timeout=10)
            ticket.tell(event)
        assert may_go_on.acquire(timeout=10)
        ticket.end(LAST)

    async def main():
        may_go_on.release()
        async for event in ticket.events():
            seen.append(event)
            may_go_on.release()

    thread = threading.Thread(target=tell)
    thread.start()
    asyncio.run(main())
    thread.join()
    assert seen == [Queued(0), Started(), Progress(1, 8), Progress(2, 8), LAST]


def test_errors_are_raised_after_what_came_before():
    ticket, seen = make(), []
    ticket.tell(Queued(0))
    ticket.end(Late("after 1 s"))

    async def main():
        async for event in ticket.events():
            seen.append(event)

    with pytest.raises(Late, match="after 1 s"):
        asyncio.run(main())
    assert seen == [Queued(0)]


def test_after_a_cancel_there_is_nothing():
    ticket = make(cancel=lambda ticket: ticket.end(None))
    ticket.tell(Queued(0))
    ticket.cancel()
    assert ticket.is_over and asyncio.run(read(ticket)) == []


def test_telling_one_whose_loop_is_closed_hurts_nobody():
    ticket = make()

    async def main():
        events = ticket.events()
        ticket.tell(Queued(0))
        return events, await anext(events)

    loop = asyncio.new_event_loop()
    events, event = loop.run_until_complete(main())
    loop.close()
    assert event == Queued(0)
    ticket.tell(Started())
    assert ticket.end(LAST)
    del events


@pytest.mark.parametrize(("partials", "wanted"), [(0, []), (1, [4]), (2, [3, 6]), (3, [2, 4, 6])])
def test_partial_pictures_are_due_at_even_distances_and_not_at_the_end(partials, wanted):
    ticket, due = make(partials), []
    for done in range(9):
        if ticket.is_due(done):
            due.append(done)
            ticket.shown += 1
    assert due == wanted


def test_a_model_that_draws_all_at_once_shows_no_part():
    ticket = make(3)
    assert not ticket.is_due(0) and not ticket.is_due(8)
