# SPDX-License-Identifier: Apache-2.0
"""How long things take: medians, a machine's own ceilings, and where a program's time goes."""

import collections
import dataclasses
import os
import pathlib
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

_NUMBERS = re.compile(r"([._]\d+)+$")  # what XLA appends to tell operations of one kind apart


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """The most that one device of this machine reaches, in its computing dtype.

    Attributes:
        tflops: Speed of a large matrix product, TFLOP/s.
        bandwidth: Bandwidth of a large copy, bytes read and written, GB/s.
    """

    tflops: float
    bandwidth: float


def median_seconds(run: Callable[[], Any], *, repeats: int, calls: int = 1) -> float:
    """Returns the median time of one call of `run`, after one warm-up.

    Args:
        run: What is measured.
        repeats: Number of measurements.
        calls: Number of calls of a measurement. Only the last is awaited: starting a program and
            waiting for it take up to half a millisecond, which a short one would be charged with.
    """
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        since = time.perf_counter()
        for _ in range(calls - 1):
            run()
        jax.block_until_ready(run())
        times.append((time.perf_counter() - since) / calls)
    return statistics.median(times)


def ceilings(*, repeats: int = 5) -> Ceilings:
    """Measures a matrix product and a copy that are large for the default device."""
    small = jax.default_backend() == "cpu"
    side, dtype, calls = (1024, jnp.float32, 4) if small else (8192, jnp.bfloat16, 20)
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    seconds = median_seconds(lambda: product(a), repeats=repeats, calls=calls)
    x = jax.random.normal(jax.random.key(1), (2**24 if small else 2**30,), jnp.float32)
    copy = jax.jit(lambda x: x + 1.0, donate_argnums=0)

    def run() -> jax.Array:
        nonlocal x
        x = copy(x)
        return x

    copied = median_seconds(run, repeats=repeats, calls=calls)
    return Ceilings(tflops=2 * side**3 / seconds / 1e12, bandwidth=2 * x.nbytes / copied / 1e9)


def seconds_to_host(tree: Any, *, repeats: int) -> float:
    """Returns the median time to copy all arrays of a tree from the devices to the host.

    A CPU's are there already: the time of a copy in memory.
    """
    duplicate = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))
    is_there, times = jax.default_backend() == "cpu", []
    for _ in range(repeats):
        fresh = jax.block_until_ready(duplicate(tree))  # arrays keep what was copied of them once
        since = time.perf_counter()
        copies = jax.device_get(fresh)
        if is_there:
            copies = jax.tree.map(lambda leaf: leaf.copy(), copies)
        times.append(time.perf_counter() - since)
        del fresh, copies
    return statistics.median(times)


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that ran on a device, in nanoseconds.

    Attributes:
        name: Name of the kernel or operation, without the number that distinguishes it.
        start: Time when it began.
        end: Time when it ended.
    """

    name: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True)
class Row:
    """All events of one name.

    Attributes:
        name: Name of the kernel or operation.
        seconds: Their time together, without what ran inside them; of all streams or threads.
        calls: Number of calls.
        share: Share of the time of all rows.
    """

    name: str
    seconds: float
    calls: int
    share: float


def profile(run: Callable[[], Any], folder: str | os.PathLike[str]) -> list[Row]:
    """Runs once more under the profiler; writes the trace, and returns what took longest.

    `run` has been called before, so that nothing is compiled. The trace opens in XProf and, its
    `trace.json.gz`, in Perfetto.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(os.fspath(folder), profiler_options=options):
        jax.block_until_ready(run())
    traces = pathlib.Path(folder).glob("plugins/profile/*/*.xplane.pb")
    return rows(read(max(traces, key=lambda path: path.stat().st_mtime)))


def read(path: pathlib.Path) -> list[list[Event]]:
    """Reads the devices' work from a trace: one list for each stream or thread.

    On GPUs these are the kernels of the streams, on TPUs the operations of the cores, on CPUs those
    of the threads that execute programs.
    """
    with warnings.catch_warnings():
        # Of jaxlib's own types, when Python first makes them.
        warnings.simplefilter("ignore", DeprecationWarning)
        planes = jax.profiler.ProfileData.from_file(os.fspath(path)).planes
        return [events for plane in planes for events in _of_plane(plane) if events]


def _of_plane(plane: Any) -> list[list[Event]]:
    device, lines = plane.name.startswith("/device:"), list(plane.lines)
    if device:
        ops = [line for line in lines if line.name == "XLA Ops"]
        lines = ops or [line for line in lines if line.name.startswith("Stream")]
    return [
        [
            Event(_NUMBERS.sub("", event.name), event.start_ns, event.end_ns)
            for event in line.events
            if device or any(name == "hlo_op" for name, _ in event.stats)
        ]
        for line in lines
    ]


def rows(lines: Iterable[Sequence[Event]]) -> list[Row]:
    """Adds up the events by name, the longest first; what ran inside another is not its own."""
    seconds: dict[str, float] = collections.defaultdict(float)
    calls: dict[str, int] = collections.defaultdict(int)
    for line in lines:
        around: list[Event] = []
        for event in sorted(line, key=lambda event: (event.start, -event.end)):
            while around and around[-1].end <= event.start:
                around.pop()
            length = (event.end - event.start) / 1e9
            seconds[event.name] += length
            calls[event.name] += 1
            if around and event.end <= around[-1].end:
                seconds[around[-1].name] -= length
            around.append(event)
    total = sum(seconds.values())
    names = sorted(seconds, key=lambda name: -seconds[name])
    return [Row(name, seconds[name], calls[name], seconds[name] / total) for name in names]


def table(found: Sequence[Row], *, top: int = 10) -> str:
    """Formats the rows for people: the longest `top - 1`, and the others as one."""
    shown, others = list(found[: top - 1]), found[top - 1 :]
    if others:
        calls, share = sum(row.calls for row in others), sum(row.share for row in others)
        name = f"{len(others)} others"
        shown.append(Row(name, sum(row.seconds for row in others), calls, share))
    return "\n".join(
        f"{row.seconds * 1e3:10.3f} ms {row.share:6.1%} {row.calls:7d} x {row.name}"
        for row in shown
    )
