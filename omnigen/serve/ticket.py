# SPDX-License-Identifier: Apache-2.0
"""What a request becomes in the engine: a ticket, and the events that whoever holds it reads.

Threads of the engine write events, and one coroutine reads them. News that replaces older news,
such as progress, takes its place, so that a ticket which nobody reads stays small.
"""

import asyncio
import collections
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable

from omnigen.generation.sampler import Request
from omnigen.serve.contract import Event, Progress, Queued
from omnigen.serve.drawer import Plan

_REPLACED = (Queued, Progress)  # by newer ones of their kind


class Ticket:
    """A request in the engine's hands; `Engine.submit` makes it.

    Attributes:
        request: What is drawn.
        plan: How.
        partials: Number of partial pictures that are wanted.
        deadline: When it is late, in seconds of `time.monotonic`; infinite if never.
        submitted: When it was made.
        place: Number of tickets that wait before it, as it was last told; -1 before.
        done: Number of tokens drawn.
        shown: Number of partial pictures so far.
    """

    def __init__(
        self,
        request: Request,
        plan: Plan,
        *,
        partials: int,
        deadline_s: float | None,
        cancel: "Callable[[Ticket], None]",
    ) -> None:
        self.request, self.plan, self.partials = request, plan, partials
        self.submitted = time.monotonic()
        self.deadline = self.submitted + deadline_s if deadline_s else float("inf")
        self.place, self.done, self.shown = -1, 0, 0
        self._cancel = cancel
        self._lock = threading.Lock()
        self._events: collections.deque[Event] = collections.deque()
        self._error: Exception | None = None
        self._over = False
        self._wake: Callable[[], None] | None = None  # of a reader that is not called yet

    @property
    def is_over(self) -> bool:
        """Whether no more events will come."""
        return self._over

    def is_due(self, done: int) -> bool:
        """Returns whether a partial picture is wanted when `done` tokens are drawn."""
        wanted, total = self.partials, self.plan.image_tokens
        return self.shown < wanted and total > done >= total * (self.shown + 1) / (wanted + 1)

    def tell(self, event: Event) -> None:
        """Adds an event, unless the ticket is over."""
        with self._lock:
            if self._over:
                return
            if (
                isinstance(event, _REPLACED)
                and self._events
                and type(self._events[-1]) is type(event)
            ):
                self._events.pop()
            self._events.append(event)
            self._call()

    def end(self, last: Event | Exception | None) -> bool:
        """Ends the ticket; returns whether it was not over before.

        Args:
            last: Its last event, or what reading raises, or None if nobody wants to know.
        """
        with self._lock:
            if self._over:
                return False
            self._over = True
            if last is None:
                self._events.clear()
            elif isinstance(last, Exception):
                self._error = last
            else:
                self._events.append(last)
            self._call()
            return True

    def cancel(self) -> None:
        """Gives the request up; its place in the queue, or its row, is free at once."""
        self._cancel(self)

    def _call(self) -> None:
        if self._wake is not None:
            self._wake()
            self._wake = None

    async def events(self) -> AsyncIterator[Event]:
        """Yields what happens, up to `Finished`; after `cancel` it ends. There is one reader.

        Raises:
            Late: If the deadline passed.
            Stopped: If the engine stopped.
            RuntimeError: If drawing failed.
        """
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and so nobody reads
                loop.call_soon_threadsafe(news.set)

        try:
            while True:
                news.clear()
                with self._lock:
                    found, over = list(self._events), self._over
                    self._events.clear()
                    self._wake = wake
                for event in found:
                    yield event
                if over:
                    break
                await news.wait()
        finally:
            with self._lock:
                self._wake = None
        if self._error is not None:
            raise self._error
