# SPDX-License-Identifier: Apache-2.0
"""An engine that draws by arithmetic, and a server with it in a thread of this process."""

import asyncio
import contextlib
import dataclasses
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

from omnigen.generation import spans
from omnigen.generation.sampler import Drawing, Request
from omnigen.serve import contract
from omnigen.serve.api.app import App
from omnigen.serve.api.auth import Keys
from omnigen.serve.api.limits import Limits
from omnigen.serve.api.running import Server, bound
from omnigen.serve.api.services import Origin, Provenance, Safety, Services

NATIVE = (64, 48)
STEPS = 4


def picture(request: Request) -> np.ndarray:
    """The picture that this engine draws of a request: what was asked decides every pixel."""
    given = [each.digest for each in spans.pictures(request.prompt)]
    asked = (spans.words(request.prompt), request.seed, *request.settings().values(), *given)
    seed = int.from_bytes(hashlib.sha256(repr(asked).encode()).digest()[:8], "big")
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


class FakeTicket:
    def __init__(self, engine: "FakeEngine", request: Request, partials: int) -> None:
        self.engine, self.request, self.partials = engine, request, partials
        self.is_over = False

    def cancel(self) -> None:
        if not self.is_over:
            self.is_over = True
            self.engine.waiting.discard(self)
            self.engine.count(cancelled=1)

    async def events(self) -> AsyncIterator[contract.Event]:
        engine, pixels = self.engine, picture(self.request)
        yield contract.Queued(0)
        while not engine.is_open.is_set():
            await asyncio.sleep(0.005)
        yield contract.Started()
        for step in range(1, STEPS + 1):
            await asyncio.sleep(engine.seconds / STEPS)
            if engine.error is not None:
                raise engine.error
            yield contract.Progress(step, STEPS)
            if step <= self.partials:
                yield contract.Partial(step - 1, np.minimum(pixels, 50 * step).astype(np.uint8))
        self.is_over = True
        engine.waiting.discard(self)
        engine.count(drawn=1)
        given = spans.pictures(self.request.prompt)
        words = len(spans.words(self.request.prompt).encode())
        drawing = Drawing(pixels, "", spans.words(self.request.prompt))
        yield contract.Finished(drawing, 3, 48, words + 48 * len(given), 48 * len(given))


class FakeEngine:
    """Draws as many at a time as it has room for; `is_open` holds all back until it is set."""

    def __init__(self, *, queue: int = 16, seconds: float = 0.0, can_edit: bool = True) -> None:
        self.name, self.version, self.native, self.can_edit = "toy", "0123abcd", NATIVE, can_edit
        self.seconds, self.error = seconds, None
        self.waiting: set[FakeTicket] = set()
        self.requests: list[Request] = []
        self.log: list[str] = []
        self.is_open, self.is_closed = threading.Event(), False
        self.is_open.set()
        self._counts, self._lock = contract.Statistics(room=queue, rows=queue), threading.Lock()

    def count(self, **more: int) -> None:
        with self._lock:
            new = {name: getattr(self._counts, name) + value for name, value in more.items()}
            self._counts = dataclasses.replace(self._counts, **new)

    def submit(
        self, request: Request, *, partials: int = 0, deadline_s: float | None = None
    ) -> FakeTicket:
        assert request.num_images == 1
        if self.is_closed:
            raise contract.Stopped
        if len(self.waiting) >= self._counts.room:
            self.count(refused=1)
            raise contract.Full(2.5)
        ticket = FakeTicket(self, request, partials)
        self.waiting.add(ticket)
        self.requests.append(request)
        return ticket

    def statistics(self) -> contract.Statistics:
        return dataclasses.replace(self._counts, queued=len(self.waiting))

    def close(self, *, drain_s: float) -> None:
        self.is_closed = True
        end = time.monotonic() + drain_s
        while self.waiting and time.monotonic() < end:
            time.sleep(0.01)
        self.error = contract.Stopped()


@dataclasses.dataclass(frozen=True)
class Verdict:
    allowed: bool = True
    categories: tuple[str, ...] = ()
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    stage: str = "input"
    policy: str = "toy-1"


def judge_prompt(text: str, level: str, stage: str) -> Verdict:
    """Refuses a word, and another one unless the level is low."""
    found = "gore" in text or "fist" in text and level == "auto"
    scores = {"violence/graphic": 0.9 if found else 0.1}
    return Verdict(not found, ("violence/graphic",) if found else (), scores)


def judge_picture(pixels: np.ndarray, level: str, stage: str) -> Verdict:
    """Refuses pictures whose first pixel is pure green."""
    found = tuple(pixels[0, 0]) == (0, 255, 0)
    return Verdict(not found, ("sexual",) if found else (), {"sexual": float(found)}, "output")


TAIL = b"signed"
PROVENANCE = Provenance(
    sign=lambda data, mime, sources: data + TAIL + str(len(sources)).encode(),
    check=lambda data, mime: Origin("valid" if TAIL in data else "not_present", "me", "toy"),
    remember=lambda pixels, record: None,
    find=lambda pixels: None,
)


def services(engine: FakeEngine, provenance: Provenance | None = None) -> Services:
    safety = Safety(judge_prompt, judge_picture, lambda *told: engine.log.append(told[-1]))
    return Services(engine, safety, provenance, 1_700_000_000)


@dataclasses.dataclass(frozen=True)
class Running:
    """A server on a port of its own."""

    engine: Any
    app: App
    port: int
    server: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (JSON if it is) and headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is not None and not isinstance(body, bytes):
                body, sent = json.dumps(body).encode(), {"content-type": "application/json", **sent}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            data = answer.read()
            known = {name.lower(): value for name, value in answer.getheaders()}
        is_json = known.get("content-type", "").startswith("application/json")
        return answer.status, json.loads(data) if is_json and data else data, known


@contextlib.contextmanager
def running(
    engine: Any = None,
    *,
    limits: Limits | None = None,
    keys: Keys | None = None,
    provenance: Provenance | None = None,
    more: list[Any] | None = None,
    send_buffer: int = 0,
) -> Iterator[Running]:
    engine = engine or FakeEngine()
    limits = limits or Limits()
    app = App(services(engine, provenance), limits=limits, keys=keys, more=more)
    server, opened = Server(app, engine, limits), bound("127.0.0.1", 0)
    if send_buffer:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    thread = threading.Thread(target=server.run_until_told, args=(opened,))
    port = opened.getsockname()[1]
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Running(engine, app, port, server)
    finally:
        server.should_exit = True
        engine.is_open.set()
        thread.join(40)
        assert not thread.is_alive()
