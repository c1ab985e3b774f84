# SPDX-License-Identifier: Apache-2.0
"""The engine: many requests drawn side by side by one thread, which alone has the accelerator.

Requests wait in a bounded queue, join a row when one is free, and leave it when their picture is
whole, when they are cancelled, or when they are late. All of that happens between two steps, so
nobody waits for a batch to end. What draws is a `Drawer`; `painter` has the one of a model, and
tests have one without a model.

Three kinds of threads meet here. Callers submit and cancel. One thread draws. One watches: it tells
tickets that they are late, also where the thread that draws hangs; after `stuck_s` it gives that
thread up and starts another, with rows of its own.
"""

import collections
import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from omnigen import cli
from omnigen.generation import spans
from omnigen.generation.sampler import Drawing, Request
from omnigen.serve.contract import (
    Finished,
    Full,
    Late,
    Partial,
    Progress,
    Queued,
    Started,
    Statistics,
    Stopped,
)
from omnigen.serve.drawer import Drawer, Place, Rows
from omnigen.serve.ticket import Ticket

T = TypeVar("T")

MOST_PARTIALS = 3
QUEUE = 64  # requests that may wait
STUCK_S = 120.0  # no step takes as long
_LOG = cli.logger(__name__)
_MOST_LOST = 2  # threads that may hang before the engine gives up
_RECENT = 64  # pictures whose times are kept


class _GivenUp(Exception):
    """Raised in a thread whose run the engine gave up."""


class _Run:
    """A thread that draws, and the tickets in its rows: what is lost together if it hangs."""

    def __init__(self) -> None:
        self.tickets: dict[Place, Ticket] = {}
        self.began: dict[Place, float] = {}
        self.since: float | None = None  # when the running call began
        self.thread: threading.Thread | None = None


class Engine:
    """Draws requests; all methods may be called from any thread.

    Attributes:
        native: Width and height that the model draws.
        name: Name of the model.
        version: Version of the model.
        can_edit: Whether the model was trained to read pictures.
        ready_s: Seconds that loading and compiling took.
    """

    def __init__(
        self, drawer: Drawer, *, queue: int = QUEUE, stuck_s: float = STUCK_S, ready_s: float = 0.0
    ) -> None:
        """Starts the threads.

        Args:
            drawer: What draws.
            queue: Number of requests that may wait for a row.
            stuck_s: Seconds after which a step is given up, with what it was drawing.
            ready_s: Seconds that loading and compiling took, if they did.

        Raises:
            ValueError: If the queue has no room.
        """
        if queue < 1:
            raise ValueError(f"queue is {queue}; it must be at least 1")
        self._drawer, self._room, self._stuck_s, self.ready_s = drawer, queue, stuck_s, ready_s
        self.native, self.name, self.version = drawer.native, drawer.name, drawer.version
        self.can_edit = drawer.can_edit
        self._changed = threading.Condition()
        self._queue: list[Ticket] = []
        self._counts: collections.Counter[str] = collections.Counter()
        self._seconds: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._is_open, self._is_closed = True, False
        self._lost: list[threading.Thread] = []
        self._start()
        self._watcher = threading.Thread(target=self._watch, name="engine-watch", daemon=True)
        self._watcher.start()

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        rows: int | None = None,
        queue: int = QUEUE,
        stuck_s: float = STUCK_S,
    ) -> "Engine":
        """Reads a checkpoint, compiles all programs and starts.

        Args:
            checkpoint: Workdir or checkpoint folder; the model that ships if None.
            rows: Number of pictures that are drawn side by side; by the kind of device if None.
            queue: As of the class.
            stuck_s: As of the class.

        Raises:
            ValueError: If there is no checkpoint, it is damaged or foreign, or a number is none.
        """
        from omnigen.serve import painter

        began = time.monotonic()
        drawer = painter.load(checkpoint, rows=rows)
        ready_s = time.monotonic() - began
        return cls(drawer, queue=queue, stuck_s=stuck_s, ready_s=ready_s)

    def submit(
        self, request: Request, *, partials: int = 0, deadline_s: float | None = None
    ) -> Ticket:
        """Takes a request for one picture.

        Args:
            request: What to draw.
            partials: Number of pictures that are wanted of what is drawn so far, 0 to 3.
            deadline_s: Seconds that the request may take, the wait included; None for any.

        Raises:
            ValueError: If it cannot be drawn.
            Full: If too many requests wait.
            Stopped: If the engine stops.
        """
        if request.num_images != 1:
            raise ValueError(f"num_images is {request.num_images}; allowed: 1 for each request")
        if partials not in range(MOST_PARTIALS + 1):
            raise ValueError(f"partials is {partials}; allowed: 0 ... {MOST_PARTIALS}")
        if deadline_s is not None and not deadline_s > 0:
            raise ValueError(f"deadline_s is {deadline_s}; it must be more than 0")
        if spans.pictures(request.prompt) and not self.can_edit:
            raise ValueError(
                f"the prompt has pictures; model {self.name} draws from text alone, because it was "
                "not trained to read pictures"
            )
        plan = self._drawer.plan(request)
        ticket = Ticket(
            request, plan, partials=partials, deadline_s=deadline_s, cancel=self._cancel
        )
        with self._changed:
            if not self._is_open:
                raise Stopped("the server is stopping")
            self._queue.append(ticket)
            if self._waiting() > self._room:
                self._queue.remove(ticket)
                self._counts["refused"] += 1
                raise Full(self._wait_s())
            self._tell_places()
            self._changed.notify_all()
        return ticket

    def statistics(self) -> Statistics:
        """Returns what the engine does now, and how often it did what."""
        with self._changed:
            since = self._run.since
            counted = ("drawn", "cancelled", "late", "failed", "refused")
            return Statistics(
                rows=sum(self._drawer.rows),
                busy=self._busy(),
                queued=len(self._queue),
                room=self._room,
                **{name: self._counts[name] for name in counted},
                seconds=self._picture_s(),
                silent_s=time.monotonic() - since if since else 0.0,
                is_open=self._is_open,
            )

    def close(self, *, drain_s: float) -> None:
        """Refuses new requests, finishes those that it has, and ends.

        Args:
            drain_s: Seconds after which those that are not finished are stopped.
        """
        until = time.monotonic() + drain_s
        with self._changed:
            self._is_open = False
            self._changed.wait_for(
                lambda: self._is_closed or not (self._queue or self._busy()),
                timeout=max(until - time.monotonic(), 0.0),
            )
            self._end_all("the server stopped before the picture was finished")
            self._changed.notify_all()
            threads = [self._watcher, self._run.thread]
        for thread in threads:
            if thread is not None and thread is not threading.current_thread():
                thread.join(timeout=1.0)  # a step that hangs cannot be waited for

    # What follows is called with the lock held.

    def _busy(self) -> int:
        return sum(not ticket.is_over for ticket in self._run.tickets.values())

    def _waiting(self) -> int:
        """Returns how many requests of the queue find no free row."""
        kinds = collections.Counter(ticket.plan.kind for ticket in self._queue)
        taken = collections.Counter(
            kind for (kind, _), ticket in self._run.tickets.items() if not ticket.is_over
        )
        free = {kind: rows - taken[kind] for kind, rows in enumerate(self._drawer.rows)}
        return sum(max(0, count - free[kind]) for kind, count in kinds.items())

    def _picture_s(self) -> float:
        return statistics.median(self._seconds) if self._seconds else self._drawer.picture_s

    def _wait_s(self) -> float:
        """Returns the seconds in which all that wait will have begun."""
        waiting = self._waiting()
        drawing = self._busy() + len(self._queue) - waiting
        return waiting * self._picture_s() / max(drawing, 1)

    def _tell_places(self) -> None:
        for place, ticket in enumerate(self._queue):
            if place != ticket.place:
                ticket.place = place
                ticket.tell(Queued(place))

    def _drop(self, ticket: Ticket, why: str, last: Exception | None) -> None:
        """Ends a ticket before its picture is whole; its row is left before the next step."""
        if ticket.end(last):
            self._counts[why] += 1
        if ticket in self._queue:
            self._queue.remove(ticket)
            self._tell_places()
        self._changed.notify_all()

    def _end_all(self, why: str) -> None:
        self._is_open, self._is_closed = False, True
        for ticket in [*self._queue, *self._run.tickets.values()]:
            self._drop(ticket, "stopped", Stopped(why))

    # What follows takes the lock itself.

    def _cancel(self, ticket: Ticket) -> None:
        with self._changed:
            self._drop(ticket, "cancelled", None)

    def _start(self) -> None:
        self._run = run = _Run()
        run.thread = threading.Thread(target=self._draw, args=[run], name="engine", daemon=True)
        run.thread.start()

    def _draw(self, run: _Run) -> None:
        """Draws until the engine ends, or gives this run up."""
        rows: Rows | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._has_work(run))
                if self._is_closed or run is not self._run:
                    return
                left = [place for place, ticket in run.tickets.items() if ticket.is_over]
                for place in left:
                    del run.tickets[place]
                joined = self._admit(run)
            try:
                if rows is None:
                    rows = self._call(run, self._drawer.open)
                for place in left:
                    self._call(run, rows.leave, place)
                for place, ticket in joined.items():
                    self._join(run, rows, place, ticket)
                if run.tickets:
                    self._step(run, rows)
            except _GivenUp:
                return
            except Exception as error:
                # The rows may hold anything now, so all of them are made anew.
                _LOG.exception("a step failed, and with it %d requests", len(run.tickets))
                with self._changed:
                    for ticket in run.tickets.values():
                        self._drop(ticket, "failed", _failure(error))
                    run.tickets.clear()
                rows = None

    def _has_work(self, run: _Run) -> bool:
        """Returns whether the thread of a run should look what there is to do."""
        if self._is_closed or run is not self._run or run.tickets:
            return True
        return bool(self._queue)

    def _admit(self, run: _Run) -> dict[Place, Ticket]:
        """Gives free rows to the requests that wait for them, in their order."""
        free = {
            kind: [row for row in range(rows) if (kind, row) not in run.tickets]
            for kind, rows in enumerate(self._drawer.rows)
        }
        joined: dict[Place, Ticket] = {}
        for ticket in list(self._queue):
            kind = ticket.plan.kind
            if free[kind]:
                joined[kind, free[kind].pop(0)] = ticket
                self._queue.remove(ticket)
        run.tickets.update(joined)
        if joined:
            self._tell_places()
        return joined

    def _join(self, run: _Run, rows: Rows, place: Place, ticket: Ticket) -> None:
        if ticket.is_over:  # since then; it leaves as one that was drawn
            return
        try:
            self._call(run, rows.join, place, ticket.request, ticket.plan)
        except _GivenUp:
            raise
        except Exception as error:  # of this request alone; if not, the next step fails for all
            _LOG.exception("a request failed")
            with self._changed:
                self._drop(ticket, "failed", _failure(error))
            return
        run.began[place] = time.monotonic()
        ticket.tell(Started())

    def _step(self, run: _Run, rows: Rows) -> None:
        """Takes a step, and tells of it."""
        drawn = self._call(run, rows.step)
        whole: list[Place] = []
        shown: list[Place] = []
        for place, ticket in run.tickets.items():
            if ticket.is_over:
                continue
            done, total = drawn[place], ticket.plan.image_tokens
            if done > ticket.done:
                ticket.done = done
                ticket.tell(Progress(done, total))
            if done == total:
                whole.append(place)
            elif ticket.is_due(done):
                shown.append(place)
        if not whole and not shown:
            return
        seen = self._call(run, rows.look, [*whole, *shown])
        for place, (pixels, text, text_tokens) in zip([*whole, *shown], seen, strict=True):
            ticket = run.tickets[place]
            if place in whole:
                drawing = Drawing(pixels, text, spans.words(ticket.request.prompt))
                self._finish(run, place, drawing, text_tokens)
            else:
                ticket.tell(Partial(ticket.shown, pixels))
                ticket.shown += 1

    def _finish(self, run: _Run, place: Place, drawing: Drawing, text_tokens: int) -> None:
        with self._changed:
            ticket = run.tickets.pop(place)
            plan = ticket.plan
            read = plan.input_tokens, plan.input_image_tokens
            last = Finished(drawing, text_tokens, plan.image_tokens, *read)
            if ticket.end(last):
                self._counts["drawn"] += 1
                self._seconds.append(time.monotonic() - run.began[place])
            self._changed.notify_all()

    def _call(self, run: _Run, method: Callable[..., T], *arguments: Any) -> T:
        """Calls what may hang or fail."""
        run.since = time.monotonic()
        try:
            return method(*arguments)
        finally:
            run.since = None
            if run is not self._run:
                raise _GivenUp

    def _watch(self) -> None:
        """Ends tickets at their deadlines, and runs that hang."""
        with self._changed:
            while not self._is_closed:
                now, run = time.monotonic(), self._run
                for ticket in [*self._queue, *run.tickets.values()]:
                    if ticket.deadline <= now and not ticket.is_over:
                        waited = f"{now - ticket.submitted:.1f} s"
                        self._drop(ticket, "late", Late(f"not finished after {waited}"))
                since = run.since
                if since is not None and now - since > self._stuck_s:
                    self._give_up(run)
                    continue
                self._changed.wait(timeout=self._pause_s(now))

    def _pause_s(self, now: float) -> float | None:
        """Returns the seconds after which the watcher has to look again; None for news alone."""
        alive = [
            ticket.deadline
            for ticket in [*self._queue, *self._run.tickets.values()]
            if not ticket.is_over
        ]
        if not self._queue and not self._run.tickets:
            return None
        return max(min([*alive, now + self._stuck_s / 4]) - now, 0.001)

    def _give_up(self, run: _Run) -> None:
        """Leaves a run whose step hangs to itself, and starts another."""
        why = f"a step did not end in {self._stuck_s:g} s"
        _LOG.error("%s; its thread is left behind", why)
        for ticket in run.tickets.values():
            self._drop(ticket, "failed", RuntimeError(why))
        assert run.thread is not None
        self._lost = [*(thread for thread in self._lost if thread.is_alive()), run.thread]
        if len(self._lost) > _MOST_LOST:
            self._end_all("steps hang again and again; the server has to be started anew")
        else:
            self._start()
        self._changed.notify_all()


def _failure(error: Exception) -> RuntimeError:
    """Returns what readers of a ticket are told of an error, whose traceback goes to the log.

    The error itself would keep the frames where it arose, and with them the rows.
    """
    return RuntimeError(f"drawing failed: {type(error).__name__}: {error}")
