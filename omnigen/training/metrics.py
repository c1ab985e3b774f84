# SPDX-License-Identifier: Apache-2.0
"""What a run reports: metrics.jsonl, log.txt, TensorBoard events and the line on the terminal.

A disk that takes no more lines ends the run, as it would take no checkpoint either. A terminal or a
pipe that takes none does not: the lines go on in log.txt.

Keys carry their units (`memory_GiB`, `step_ms`); those without are losses, norms and counts.
"""

import collections
import contextlib
import dataclasses
import json
import math
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from omnigen import cli, extras, files, png, topologies

# Shown first, in this form, and left out of the list of losses.
_LINE = {
    "grad_norm": "grad norm {:.3g}",
    "learning_rate": "lr {:.2e}",
    "skipped": "skipped {:.0f}",
    "images_per_s": "{:,.0f} images/s",
    "readings_per_s": "{:,.0f} readings/s",
    "tokens_per_s": "{:,.0f} tokens/s",
    "fill": "fill {:.2f}",
    "tflops_per_s_per_device": "{:.3g} TFLOP/s",
    "executed_tflops_per_s_per_device": "{:.3g} executed",
    "mfu_percent": "{:.1f}% MFU",
    "step_ms": "{:.0f} ms",
    "data_wait_percent": "data wait {:.1f}%",
    "memory_GiB": "{:.1f} GiB",
}
_EVERY = {*_LINE, "step", "eta_s"}

MAX_SKIPPED = 10
LONG_S = 10.0  # until there is another line about what is being done
MOST_LINE_BYTES = 1 << 20  # of metrics.jsonl
_FILES = ("metrics.jsonl", "log.txt", "config.json", "goodput.json", "stacks-*.txt")
_FOLDERS = ("checkpoints", "samples")


class SkippedError(FloatingPointError):
    """Raised when so many steps in a row were skipped that the run gives up.

    Attributes:
        step: Last of these steps.
        reports: Reports of these steps, by step.
    """

    def __init__(self, step: int, reports: dict[int, dict[str, float]]) -> None:
        super().__init__(
            f"loss or gradients were not finite, or spiked, in {len(reports)} steps in a row, up "
            f"to step {step}: lower the learning rate, or look at the data"
        )
        self.step, self.reports = step, reports


@dataclasses.dataclass(frozen=True)
class Rates:
    """What one local batch holds and what a training step on it costs, by formula.

    Attributes:
        images: Number of images.
        tokens: Number of positions that hold something.
        flops: FLOPs of the model.
        positions: Number of positions, padding included.
        executed_flops: FLOPs with those of padding and of what the backward pass computes again.
        readings: Number of captions with sketches that have no image.
    """

    images: float
    tokens: float
    flops: float
    positions: float
    executed_flops: float
    readings: float = 0.0

    def __mul__(self, times: float) -> "Rates":
        """Returns what so many such batches hold and cost."""
        return Rates(*(times * getattr(self, f.name) for f in dataclasses.fields(self)))


def total(batches: Iterable[Rates]) -> Rates:
    """Returns what several batches hold and cost together."""
    return Rates(*map(sum, zip(*map(dataclasses.astuple, batches), strict=True)))


def rates(
    *,
    batches: Rates,
    steps: int,
    seconds: float,
    data_wait: float,
    devices: int,
) -> dict[str, float]:
    """Returns the speed over some steps.

    Args:
        batches: What all those steps took, over all hosts.
        steps: Number of steps.
        seconds: Wall time of the steps.
        data_wait: Seconds of it in which no batch was ready.
        devices: Number of devices that computed them.
    """
    device = jax.local_devices()[0]
    tflops = batches.flops / seconds / devices / 1e12
    values = {
        "images_per_s": batches.images / seconds,
        **({"readings_per_s": batches.readings / seconds} if batches.readings else {}),
        "tokens_per_s": batches.tokens / seconds,
        "fill": batches.tokens / batches.positions,
        "tflops_per_s_per_device": tflops,
        "executed_tflops_per_s_per_device": batches.executed_flops / seconds / devices / 1e12,
        "step_ms": 1e3 * seconds / steps,
        "data_wait_percent": 100 * data_wait / seconds,
    }
    chip = topologies.chip_of(device.device_kind)
    if chip is not None:
        values["mfu_percent"] = 100 * tflops / chip.device_tflops
    memory = (device.memory_stats() or {}).get("peak_bytes_in_use")
    if memory is not None:
        values["memory_GiB"] = memory / 2**30
    return values


class Window:
    """Collects the steps since the last line.

    Metrics of a step are fetched once the next step is under way, so the devices never wait for
    the host.

    Args:
        steps: Number of steps of the whole run.
        log_every: Number of steps between lines.
        start: Step from which the run goes on.
        devices: Number of devices that compute.
        parts: Number of parts of the global batch; each host has one.
    """

    def __init__(self, *, steps: int, log_every: int, start: int, devices: int, parts: int) -> None:
        self._steps, self._log_every, self._start = steps, log_every, start
        self._devices, self._parts = devices, parts
        self._pending: collections.deque[tuple[int, Any, Rates]] = collections.deque()
        self._skipped: dict[int, dict[str, float]] = {}
        self._clear(time.perf_counter())

    def _clear(self, now: float) -> None:
        self._reports: list[dict[str, float]] = []
        self._rates: list[Rates] = []
        self._since = now
        self.data_wait = 0.0

    def exclude(self, seconds: float) -> None:
        """Takes a pause out of the time of this window."""
        self._since += seconds

    def add(self, step: int, report: Any, rates: Rates) -> None:
        """Takes the metrics of a step that was just dispatched."""
        self._pending.append((step, report, rates))

    def fetch(self, *, in_flight: int) -> Iterator[dict[str, float]]:
        """Waits for all but the newest `in_flight` steps; yields the values of each line due."""
        while len(self._pending) > in_flight:
            step, report, batch_rates = self._pending.popleft()
            report = {name: float(value) for name, value in jax.device_get(report).items()}
            self._reports.append(report)
            self._rates.append(batch_rates)
            self._skipped = {**self._skipped, step: report} if report["skipped"] else {}
            if len(self._skipped) >= MAX_SKIPPED:
                raise SkippedError(step, self._skipped)
            if step % self._log_every == 0 or step in (self._start + 1, self._steps):
                yield self._summary(step)

    def _summary(self, step: int) -> dict[str, float]:
        now = time.perf_counter()
        seconds, count = now - self._since, len(self._reports)
        good = [report for report in self._reports if not report["skipped"]]
        means = {
            name: sum(report[name] for report in good) / len(good) if good else math.nan
            for name in sorted(self._reports[-1], key=lambda name: (name != "loss", name in _LINE))
        }
        values = {
            "step": step,
            **means,
            "skipped": sum(report["skipped"] for report in self._reports),
            **rates(
                batches=total(self._rates) * self._parts,
                steps=count,
                seconds=seconds,
                data_wait=self.data_wait,
                devices=self._devices,
            ),
            "eta_s": (self._steps - step) * seconds / count,
        }
        self._clear(now)
        return values


def step_line(values: Mapping[str, float], *, steps: int) -> str:
    """Formats one line: progress, every loss, then rates; only what `values` has."""
    step = int(values["step"])
    losses = [f"{name} {values[name]:.4f}" for name in values if name not in _EVERY]
    shown = [form.format(values[name]) for name, form in _LINE.items() if name in values]
    if not values.get("skipped"):
        shown = [part for part in shown if not part.startswith("skipped")]
    parts = [f"step {step}/{steps} {100 * step / steps:.1f}%", " ".join(losses), *shown]
    if "eta_s" in values:
        parts.append(f"ETA {duration(values['eta_s'])}")
    return " | ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Formats a time as `3d04h`, `2h05m`, `3m07s` or `8s`."""
    minutes, s = divmod(max(0, round(seconds)), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d{h:02d}h"
    if hours:
        return f"{h}h{m:02d}m"
    return f"{m}m{s:02d}s" if minutes else f"{s}s"


@contextlib.contextmanager
def timed(say: Callable[[str], None], doing: str) -> Iterator[None]:
    """Says what is being done, and afterwards how long it took.

    Long work does not go silent: there is a line after `LONG_S`, and another each time the time has
    doubled.
    """
    say(f"{doing} ...")
    since, over = time.perf_counter(), threading.Event()

    def tick() -> None:
        passed = LONG_S
        while not over.wait(since + passed - time.perf_counter()):
            with contextlib.suppress(OSError):  # a full disk ends the main thread's next line, too
                say(f"{doing} ... {duration(passed)} so far")
            passed *= 2

    ticker = threading.Thread(target=tick, name="timed", daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
    say(f"{doing} took {time.perf_counter() - since:.1f} s")


def check_files(folder: pathlib.Path) -> None:
    """Refuses what a run would hang or fail on when it writes into its folder.

    Raises:
        ValueError: If one of its files is a pipe, a folder or a device, or one of its folders is no
            folder.
    """
    for name in _FILES:
        for path in folder.glob(name):
            files.check_regular(path)
    for name in _FOLDERS:
        if (folder / name).exists() and not (folder / name).is_dir():
            raise ValueError(f"{folder / name} is not a folder")


def read_lines(path: pathlib.Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Yields the lines of a metrics.jsonl with their values, or None for other lines.

    Lines that are too long are skipped, unread.
    """
    with files.open_regular(path) as file:
        while line := file.readline(MOST_LINE_BYTES):
            whole = line.endswith(b"\n") or len(line) < MOST_LINE_BYTES
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(MOST_LINE_BYTES)
            yield line.rstrip(b"\n") + b"\n", _values(line) if whole else None


def _values(line: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    step = values.get("step") if isinstance(values, dict) else None
    if isinstance(step, bool) or not isinstance(step, int | float) or not math.isfinite(step):
        return None
    return values


class Terminal:
    """Standard output, as long as it can be written; silent on all hosts but the first.

    Attributes:
        said: Lines that were said, with their times, for a log that is opened later.
    """

    def __init__(self) -> None:
        self._active = self._is_read = jax.process_index() == 0
        self._console = _console()
        self.lock = threading.RLock()  # of a line: several threads have something to say
        self.said: list[str] = []

    def say(self, line: str) -> None:
        """Prints a line, which may hold untrusted text."""
        if not self._active:
            return
        with self.lock:
            self._say(cli.one_line(line))

    def _say(self, line: str) -> None:
        self.said.append(_stamped(line))
        if not self._is_read:
            return
        try:
            self._print(line)
        except (OSError, ValueError):  # a closed pipe or terminal, or a full disk behind it
            self._is_read = False
            self.said.append(_stamped("standard output takes no more lines: they go on here alone"))
            cli.drop(sys.stdout)  # or Python would fail when it ends

    def _print(self, line: str) -> None:
        if self._console is not None:
            self._console.print(line, soft_wrap=True)
        else:
            cli.say(line)


def _stamped(line: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n"


class Reporter:
    """Writes what a run reports into its workdir; silent on all hosts but the first.

    Args:
        workdir: Folder of the run.
        step: Step from which the run goes on; what was reported after it is dropped, so that
            metrics.jsonl has each step once.
        terminal: Terminal to show lines on; what was said there already is logged.
    """

    def __init__(
        self, workdir: str | pathlib.Path, *, step: int = 0, terminal: Terminal | None = None
    ) -> None:
        self._active = jax.process_index() == 0
        self._folder = pathlib.Path(workdir)
        if not self._active:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        junk = self._keep_until(step)
        self._metrics = (self._folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._log = (self._folder / "log.txt").open(
            "a", encoding="utf-8", errors="backslashreplace"
        )
        self._terminal = terminal or Terminal()
        self._write_log()
        self._events = _event_writer(self._folder)
        if junk:
            self.text(
                f"metrics.jsonl: dropped {junk} lines that are not of this program, or cut off"
            )
        if self._events is None:
            self.text(f"TensorBoard events are off; they need {extras.command('tensorboard')}")

    def _keep_until(self, step: int) -> int:
        """Drops what comes after a step; returns the number of lines that are not metrics."""
        path, junk = self._folder / "metrics.jsonl", 0
        if not path.exists():
            return 0
        with files.replacing(path) as partial, partial.open("wb") as file:
            for line, values in read_lines(path):
                junk += values is None
                if values is not None and values["step"] <= step:
                    file.write(line)
        return junk

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Writes config.json."""
        if self._active:
            files.write(self._folder / "config.json", json.dumps(settings, indent=2) + "\n")

    def text(self, line: str) -> None:
        """Reports a line of text."""
        if not self._active:
            return
        self._terminal.say(line)
        self._write_log()

    def _write_log(self) -> None:
        with self._terminal.lock:
            self._log.writelines(self._terminal.said)
            self._log.flush()
            self._terminal.said.clear()

    def metrics(self, values: Mapping[str, float], *, steps: int) -> None:
        """Reports the metrics of one step; `values` has `step`, and None stands for NaN in JSON."""
        if not self._active:
            return
        plain = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self._metrics.write(json.dumps(plain, allow_nan=False) + "\n")
        self._metrics.flush()
        self.text(step_line(values, steps=steps))
        if self._events is not None:
            self._events.scalars({k: v for k, v in values.items() if k != "step"}, values["step"])

    def images(self, images: np.ndarray, *, step: int) -> None:
        """Writes `[N, H, W, 3]` uint8 images as one PNG grid, samples/step_00000100.png."""
        if not self._active:
            return
        from PIL import Image

        folder = self._folder / "samples"
        folder.mkdir(exist_ok=True)
        with files.replacing(folder / f"step_{step:08d}.png") as partial:
            Image.fromarray(png.sheet(images)).save(partial, "PNG")

    def close(self) -> None:
        """Closes the files."""
        if not self._active:
            return
        self._metrics.close()
        self._log.close()
        if self._events is not None:
            self._events.close()


def _console() -> Any:
    """Returns a rich console on a terminal that has one; None means plain print."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(highlight=True, markup=False)


class _Events:
    """TensorBoard event files, through the `tensorboard` package alone."""

    def __init__(self, folder: pathlib.Path) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event: Any = getattr(event_pb2, "Event")  # noqa: B009  generated at run time
        self._summary: Any = getattr(summary_pb2, "Summary")  # noqa: B009
        self._writer = EventFileWriter(str(folder))

    def scalars(self, values: Mapping[str, float], step: float) -> None:
        entries = [self._summary.Value(tag=k, simple_value=v) for k, v in values.items()]
        self._writer.add_event(
            self._event(wall_time=time.time(), step=int(step), summary=self._summary(value=entries))
        )

    def close(self) -> None:
        self._writer.close()


def _event_writer(folder: pathlib.Path) -> _Events | None:
    try:
        return _Events(folder)
    except ImportError:
        return None
