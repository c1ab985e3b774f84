# SPDX-License-Identifier: Apache-2.0
"""Many requests, for long: what is more than can be drawn is refused at once, and nothing grows.

The short forms run always; the long ones are slow. docs/serving.md has what they showed.
"""

import contextlib
import gc
import http.client
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import fakes
import pytest

BODY = json.dumps({"prompt": "x", "seed": 1}).encode()


class Loop:
    """Clients that ask at a steady rate, whether or not answers come (an open loop)."""

    def __init__(
        self, port: int, bodies: Sequence[bytes] = (BODY,), *, keeps_connections: bool = True
    ) -> None:
        self._port, self._keeps, self._here = port, keeps_connections, threading.local()
        self._bodies = itertools.cycle(bodies)
        self._connections: list[http.client.HTTPConnection] = []
        self.seen: list[tuple[int, float, str]] = []  # status, seconds, Retry-After

    def ask(self) -> None:
        began = time.monotonic()
        connection = getattr(self._here, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
            self._here.connection = connection
            self._connections.append(connection)
        headers = {"content-type": "application/json"}
        try:
            connection.request("POST", "/v1/images/generations", next(self._bodies), headers)
            answer = connection.getresponse()
            answer.read()
            found = answer.status, time.monotonic() - began, answer.getheader("retry-after", "")
        except (OSError, http.client.HTTPException):
            connection.close()
            found = 0, time.monotonic() - began, ""
        if not self._keeps:
            connection.close()
        self.seen.append(found)

    def again(self, *, clients: int, seconds: float) -> float:
        """Asks once more after each answer (a closed loop); returns how long that took."""
        began = time.monotonic()

        def client(_: int) -> None:
            while time.monotonic() - began < seconds:
                self.ask()

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))
        self.close()
        return time.monotonic() - began

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def run(self, *, rate: float, seconds: float) -> float:
        """Asks, and returns how long it took until the last answer."""
        began = time.monotonic()
        with ThreadPoolExecutor(200) as pool:
            for number in range(round(rate * seconds)):
                time.sleep(max(began + number / rate - time.monotonic(), 0))
                pool.submit(self.ask)
        self.close()
        return time.monotonic() - began


def memory(process: int | str = "self") -> float:
    """Resident memory of a process in MB."""
    gc.collect()
    pages = int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def worked(process: int) -> float:
    """Seconds of all cores that a process has used."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


PROGRAM = """
import fakes
from omnigen.serve.api.app import App
from omnigen.serve.api.limits import Limits
from omnigen.serve.api.running import Server, bound
engine, limits = fakes.FakeEngine(queue=8, seconds=0.8), Limits()
opened = bound("127.0.0.1", 0)
Server(App(fakes.services(engine), limits=limits), engine, limits).run_until_told(
    opened, lambda: print(opened.getsockname()[1], flush=True)
)
"""


@contextlib.contextmanager
def alone() -> Iterator[tuple[int, int]]:
    """A server in a process of its own: its port, and the process."""
    root = pathlib.Path(__file__).resolve().parents[3]
    path = os.pathsep.join([str(root), str(root / "tests" / "serve")])
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


def overloaded(seconds: float) -> None:
    """Three times what can be drawn: eight at a time, of 0.8 s each, are 10 a second."""
    capacity = 10.0
    with alone() as (port, process):
        Loop(port).run(rate=20, seconds=1)
        before, loop = memory(process), Loop(port)
        took = loop.run(rate=3 * capacity, seconds=seconds)
        grown = memory(process) - before
        counts = Counter(status for status, _, _ in loop.seen)
        refused = sorted(spent for status, spent, _ in loop.seen if status == 429)
        p99 = refused[round(0.99 * (len(refused) - 1))]
        print(f"{counts}, {counts[200] / took:.1f}/s, 429 p99 {1000 * p99:.0f} ms, {grown:.0f} MB")
        assert counts.keys() == {200, 429}
        assert counts[200] > seconds  # on any machine, however busy
        assert all(after == "3" for status, _, after in loop.seen if status == 429)
        assert grown <= 50
        if seconds >= 60:  # drawing takes 0.8 s and the answer a little more
            assert p99 <= 0.05 and counts[200] / took >= 0.9 * capacity


def test_what_is_too_much_is_refused_at_once() -> None:
    overloaded(3)


@pytest.mark.slow
def test_three_times_too_much_for_a_minute() -> None:
    """Takes 65 s."""
    overloaded(60)


WISHES = (
    "a red circle left of a blue star",
    "two green cats on a table",
    "a yellow heart",
    "a dog",
)
WISHED = [
    json.dumps({"prompt": prompt, "seed": seed}).encode() for seed, prompt in enumerate(WISHES * 10)
]


@contextlib.contextmanager
def shipped() -> Iterator[tuple[int, int]]:
    """The command itself with the model that ships: its port, and the process."""
    root = pathlib.Path(__file__).resolve().parents[3]
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_"))}
    command = [sys.executable, "-m", "omnigen.serve", "--port=0"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**plain, "PYTHONPATH": str(root)}
    )
    with process:
        try:
            assert process.stderr is not None
            said = (re.search(r":([0-9]+): ready", line) for line in process.stderr)
            yield int(next(filter(None, said))[1]), process.pid
        finally:
            process.terminate()


@pytest.mark.slow
def test_three_times_too_much_for_the_model_that_ships() -> None:
    """Takes 3 minutes on two cores."""

    def loop() -> Loop:
        """One whose connections are new, since the server lets go of those that rest for 5 s."""
        return Loop(port, WISHED, keeps_connections=False)

    def rates(ask: Callable[[Loop], float]) -> tuple[float, float, Loop]:
        """Pictures that were drawn, a second and a second of all cores; and what clients saw."""
        asked, began = loop(), worked(process)
        took = ask(asked)
        drawn = sum(status == 200 for status, _, _ in asked.seen)
        return drawn / took, drawn / (worked(process) - began), asked

    def always(asked: Loop) -> float:
        """Half of the clients wait for a row."""
        return asked.again(clients=16, seconds=30)

    with shipped() as (port, process):
        first, *_ = before = rates(always)
        held = memory(process)
        rate, by_cores, asked = rates(lambda asked: asked.run(rate=3 * first, seconds=60))
        grown = memory(process) - held
        after = rates(always)
    counts = Counter(status for status, _, _ in asked.seen)
    refused = sorted(spent for status, spent, _ in asked.seen if status == 429)
    p99 = refused[round(0.99 * (len(refused) - 1))]
    shares = [rate / min(before[0], after[0]), by_cores / min(before[1], after[1])]
    print(f"{counts}, {rate:.2f}/s, {first:.2f} before, {after[0]:.2f} after, shares {shares}")
    print(f"429 p99 {1000 * p99:.0f} ms, {grown:.0f} MB")
    # The less of two, since others may use the machine, too.
    assert counts.keys() == {200, 429} and min(shares) >= 0.95 and grown <= 50


def persistent(seconds: float, clients: int) -> None:
    """Clients of OpenAI that ask again and again, and when refused once more, as they do."""
    openai = pytest.importorskip("openai")
    seen: Counter[str] = Counter()
    with alone() as (port, process):
        until = time.monotonic() + seconds

        def client(_: int) -> None:
            url = f"http://127.0.0.1:{port}/v1"
            with openai.OpenAI(base_url=url, api_key="none", timeout=60) as own:
                while True:
                    try:
                        made = own.images.generate(model="toy", prompt="x")
                        seen["drawn" if made.data[0].b64_json else "empty"] += 1
                    except openai.RateLimitError:
                        seen["refused"] += 1
                    if time.monotonic() > until:
                        return

        before, began = memory(process), time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))  # any other error ends the test
        took, grown = time.monotonic() - began, memory(process) - before
    print(f"{dict(seen)}, {seen['drawn'] / took:.1f}/s, {grown:.0f} MB")
    assert {"drawn"} <= seen.keys() <= {"drawn", "refused"} and grown <= 60
    if seconds >= 60:
        assert seen["drawn"] / seconds >= 9.0
        assert took < seconds + 15  # two retries after three seconds each, and a picture


def test_clients_that_ask_again_are_served_or_refused() -> None:
    persistent(2, 48)


@pytest.mark.slow
def test_clients_that_ask_again_for_a_minute() -> None:
    """Takes 80 s."""
    persistent(60, 64)


def flat(count: int) -> tuple[float, int, int]:
    """Growth of memory, in MB, of threads and of descriptors over so many requests."""

    def state() -> tuple[float, int, int]:
        return memory(), threading.active_count(), len(os.listdir("/proc/self/fd"))

    limits = fakes.Limits(kept_bytes=1 << 20)
    with fakes.running(limits=limits) as server:
        loop = Loop(server.port)

        def some(number: int) -> None:
            for _ in range(number):
                loop.ask()

        def many(number: int) -> None:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(some, [number // 4] * 4))
            loop.close()
            time.sleep(0.3)

        many(400)
        before = state()
        many(count)
        after = state()
        assert {status for status, _, _ in loop.seen} == {200}
    return after[0] - before[0], after[1] - before[1], after[2] - before[2]


def test_nothing_grows() -> None:
    megabytes, threads, descriptors = flat(400)
    assert megabytes < 20 and threads <= 0 and descriptors <= 0


@pytest.mark.slow
def test_nothing_grows_over_a_hundred_thousand() -> None:
    """Takes 2 minutes."""
    megabytes, threads, descriptors = flat(100_000)
    print(f"{megabytes:.1f} MB, {threads} threads, {descriptors} descriptors")
    assert megabytes < 10 and threads <= 0 and descriptors <= 0


@pytest.mark.slow
def test_twenty_thousand_generated_cases(tmp_path: pathlib.Path) -> None:
    """Takes an hour: Schemathesis finds no 5xx, and no answer that the document does not allow."""
    pytest.importorskip("schemathesis")
    # Cases that a schema cannot tell from good ones, such as a prompt of spaces, are refused.
    left_out = "positive_data_acceptance,unsupported_method"
    with fakes.running(provenance=fakes.PROVENANCE) as server:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
        options = ["--max-examples", "700", "--exclude-checks", left_out, "--continue-on-failure"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path)
        print(done.stdout[-2000:])
        assert done.returncode == 0, done.stdout[-5000:]
