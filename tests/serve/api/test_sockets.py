# SPDX-License-Identifier: Apache-2.0
"""Clients that are slow, silent or gone, on bare sockets: they end in time and hurt nobody else."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import fakes
import pytest

LIMITS = fakes.Limits(header_s=0.4, body_s=0.6, write_s=0.6, linger_s=0.4, ping_s=0.1)


@pytest.fixture(scope="module")
def quick() -> Iterator[fakes.Running]:
    with fakes.running(limits=LIMITS) as server:
        yield server


@contextlib.contextmanager
def connected(server: fakes.Running) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as opened:
        yield opened


def post(body: dict, path: str = "/v1/images/generations", more: str = "") -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def rest(opened: socket.socket) -> tuple[bytes, float]:
    """All that comes until the server closes, and how long that took."""
    began, data = time.monotonic(), b""
    while True:
        try:
            chunk = opened.recv(1 << 16)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            return data, time.monotonic() - began
        data += chunk


def error(data: bytes) -> dict:
    head, _, body = data.partition(b"\r\n\r\n")
    found = json.loads(body)["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    assert b"content-type: application/json" in head.lower()
    return found


@pytest.mark.parametrize("sent", [b"", b"POST", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
def test_half_headers_end_in_time(quick: fakes.Running, sent: bytes) -> None:
    with connected(quick) as opened:
        opened.sendall(sent)
        data, seconds = rest(opened)
    assert data.startswith(b"HTTP/1.1 408") and error(data)["code"] == "request_timeout"
    assert 0.3 < seconds < 1.0


def test_headers_that_drip_end_in_time(quick: fakes.Running) -> None:
    with connected(quick) as opened:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in b"GET /health HTTP/1.1\r\nX: " + b"y" * 1000:
                opened.sendall(bytes([byte]))
                time.sleep(0.02)
        assert time.monotonic() - began < 1.5


def test_half_headers_of_a_second_request_end_in_time(quick: fakes.Running) -> None:
    with connected(quick) as opened:
        opened.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert whole(opened).startswith(b"HTTP/1.1 200")
        opened.sendall(b"GET /hea")
        data, seconds = rest(opened)
    assert b"HTTP/1.1 408" in data and seconds < 1.0


@pytest.mark.parametrize("drips", [False, True])
def test_half_bodies_end_in_time(quick: fakes.Running, drips: bool) -> None:
    with connected(quick) as opened:
        sent = post({"prompt": "x", "user": " " * 500})
        opened.sendall(sent[:-400])
        for byte in sent[-400:-350] if drips else b"":
            with contextlib.suppress(OSError):
                opened.sendall(bytes([byte]))
                time.sleep(0.02)
        data, seconds = rest(opened)
    assert data.startswith(b"HTTP/1.1 408") and error(data)["code"] == "request_timeout"
    assert seconds < 2.0


def test_bodies_in_chunks_are_counted(quick: fakes.Running) -> None:
    head = "POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with connected(quick) as opened:
        opened.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            for _ in range(40):
                opened.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        data, seconds = rest(opened)
    assert data.startswith(b"HTTP/1.1 413") and error(data)["code"] == "request_too_large"
    assert seconds < 2.0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_http_is_refused_in_our_form(quick, sent: bytes, status: int) -> None:
    with connected(quick) as opened:
        opened.sendall(sent)
        data, seconds = rest(opened)
    assert data.startswith(f"HTTP/1.1 {status}".encode()) and error(data) and seconds < 2


def test_a_refusal_reaches_a_client_that_still_sends(quick: fakes.Running) -> None:
    """And a body that nobody wants does not keep the connection."""
    with connected(quick) as opened:
        head = "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        opened.sendall(head.encode() + bytes(1000))
        answer = whole(opened)
        assert answer.startswith(b"HTTP/1.1 404") and error(answer)
        data, seconds = rest(opened)
        assert data == b"" and seconds < 1.5


def wait(condition, seconds: float = 2.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.005)


PHASES = ["queued", "streaming", "drawing"]


@pytest.mark.parametrize("phase", PHASES)
def test_who_leaves_frees_the_place_and_hurts_nobody(phase: str) -> None:
    engine = fakes.FakeEngine(seconds=2.4)
    sent = {"prompt": "x", "seed": 1, "n": 2}
    body = post(sent | ({"stream": True, "partial_images": 3} if phase == "streaming" else {}))
    with fakes.running(engine, limits=LIMITS) as server:
        if phase == "queued":
            engine.is_open.clear()
        others: list = []
        ask = lambda: others.append(  # noqa: E731
            server.ask("POST", "/v1/images/generations", {"prompt": "y", "seed": 2})
        )
        other = threading.Thread(target=ask)
        with connected(server) as opened:
            opened.sendall(body)
            wait(lambda: len(engine.waiting) == 2)
            other.start()
            wait(lambda: len(engine.waiting) == 3)
            if phase == "streaming":
                data = b""
                while b"partial_image" not in data:
                    data += opened.recv(1 << 16)
        wait(lambda: engine.statistics().cancelled == 2, 1.0)
        assert len(engine.waiting) == 1 and engine.statistics().drawn == 0
        engine.seconds = 0.0
        engine.is_open.set()
        other.join()
        ((status, answer, _),) = others
        assert status == 200
        _, again, _ = server.ask("POST", "/v1/images/generations", {"prompt": "y", "seed": 2})
        assert again["data"][0]["b64_json"] == answer["data"][0]["b64_json"]
        assert engine.statistics().drawn == 2


def test_a_stream_gives_signs_of_life() -> None:
    engine = fakes.FakeEngine()
    engine.is_open.clear()
    with fakes.running(engine, limits=LIMITS) as server, connected(server) as opened:
        opened.sendall(post({"prompt": "x", "stream": True}))
        time.sleep(0.45)
        data = opened.recv(1 << 16)
        assert data.count(b": ping\n\n") in (3, 4) and b": queued 0\n\n" in data
        assert b"x-accel-buffering: no" in data and b"text/event-stream" in data
        engine.is_open.set()
        while b"image_generation.completed" not in data:
            data += opened.recv(1 << 16)
        assert b": started\n\n" in data and data.count(b": progress ") == fakes.STEPS


def test_who_does_not_read_is_let_go() -> None:
    """Neither a stream nor a large answer stays in memory for a client that does not read it."""
    engine = fakes.FakeEngine()
    sent = {"prompt": "x", "size": "512x384", "n": 2, "stream": True, "partial_images": 3}
    with fakes.running(engine, limits=LIMITS, send_buffer=4096) as server:
        other = {**sent, "stream": False, "partial_images": 0}
        for count, body in ((2, sent), (4, other)):
            with socket.socket() as opened:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                opened.connect(("127.0.0.1", server.port))
                opened.sendall(post(body))
                wait(lambda: len(engine.requests) == count)  # noqa: B023
                time.sleep(0.2)
                connections = server.server.server_state.connections
                assert connections
                wait(lambda: not engine.waiting and not connections, 8)  # noqa: B023
        assert server.ask("GET", "/health")[0] == 200


def test_idle_connections_do_not_hold_health_up() -> None:
    with fakes.running(limits=fakes.Limits(header_s=1.5)) as server:
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(connected(server)).sendall(b"GET /")
            times = []
            for _ in range(20):
                began = time.monotonic()
                assert server.ask("GET", "/health")[0] == 200
                times.append(time.monotonic() - began)
            assert sorted(times)[-2] < 0.1
        wait(lambda: not server.server.server_state.connections, 4)


def test_the_end_lets_pictures_finish() -> None:
    """What draws is finished, what comes then is told to go elsewhere."""
    engine = fakes.FakeEngine(seconds=0.6)
    with fakes.running(engine) as server, connected(server) as opened, connected(server) as late:
        late.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        assert whole(late).startswith(b"HTTP/1.1 200")
        opened.sendall(post({"prompt": "x"}))
        wait(lambda: engine.waiting)
        server.server.drain()
        late.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = whole(late)
        assert answer.startswith(b"HTTP/1.1 503") and error(answer)["code"] == "shutting_down"
        late.sendall(post({"prompt": "y"}))
        answer = whole(late)
        assert answer.startswith(b"HTTP/1.1 503") and b"retry-after: 5" in answer
        server.server.should_exit = True
        data, seconds = rest(opened)
        assert data.startswith(b"HTTP/1.1 200") and b"b64_json" in data and seconds < 3


PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
import fakes
from omnigen.serve.api.app import App
from omnigen.serve.api.limits import Limits
from omnigen.serve.api.running import Server, bound, url
engine = fakes.FakeEngine(seconds={seconds})
limits = Limits(drain_s={drain})
opened = bound("127.0.0.1", 0)
Server(App(fakes.services(engine), limits=limits), engine, limits).run_until_told(
    opened, lambda: print(url(opened), flush=True)
)
print("over", engine.statistics().drawn, flush=True)
"""


@pytest.mark.parametrize(
    ("seconds", "drain", "status", "drawn"), [(0.8, 5, 200, 1), (60.0, 0.5, 503, 0)]
)
def test_sigterm_drains(seconds: float, drain: float, status: int, drawn: int) -> None:
    folder = os.path.dirname(fakes.__file__)
    code = PROGRAM.format(folder=folder, seconds=seconds, drain=drain)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        found: list = []
        server = fakes.Running(None, None, port, None)  # type: ignore[arg-type]
        ask = lambda: found.append(  # noqa: E731
            server.ask("POST", "/v1/images/generations", {"prompt": "x"})
        )
        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.4)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        thread.join(20)
        assert process.wait(20) == 0
        assert time.monotonic() - began < drain + 4
        assert process.stdout.read() == f"over {drawn}\n"
        assert found[0][0] == status
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_what_is_sent_comes_back_whole(quick: fakes.Running) -> None:
    """Requests one after the other on one connection, as proxies send them."""
    with connected(quick) as opened:
        for seed in range(3):
            opened.sendall(post({"prompt": "x", "seed": seed}))
            data = whole(opened)
            answer = json.loads(data.partition(b"\r\n\r\n")[2])
            assert answer["data"][0]["seed"] == seed
            assert base64.b64decode(answer["data"][0]["b64_json"]).startswith(b"\x89PNG")


def whole(opened: socket.socket) -> bytes:
    """One answer."""
    data = b""
    while b"\r\n\r\n" not in data or len(data) < wanted(data):
        data += opened.recv(1 << 16)
    return data


def wanted(data: bytes) -> int:
    head = data.partition(b"\r\n\r\n")[0]
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return len(head) + 4 + size
