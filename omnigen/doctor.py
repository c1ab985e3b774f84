# SPDX-License-Identifier: Apache-2.0
"""Looks at what training and drawing need here, and says how to mend what is missing."""

import dataclasses
import enum
import importlib.metadata
import os
import pathlib
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from omnigen import cli

PROGRAM = "omnigen.doctor"
USAGE = """
Checks this machine:        python -m omnigen.doctor [--workdir DIR] [--config configs/ar.py:3b]
Checks every host of a pod: run it on all of them, as training would be (launch/README.md)
One line for each check; below those that fail, what mends them. Exit code 1 if one fails.
"""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorstore", "numpy")
SLOW_MB_PER_S = 50.0
PROBE_MB = 64
JOIN_S = 60.0


class Mark(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    BAD = "BAD"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        mark: Outcome of the check.
        what: Name of what was looked at.
        found: What there is.
        mend: What to do about it; nothing if it is well.
    """

    mark: Mark
    what: str
    found: str
    mend: str = ""

    @property
    def line(self) -> str:
        """The line to print."""
        text = cli.one_line(f"{self.mark:4} {self.what:12} {self.found}")
        return f"{text}\n     -> {cli.one_line(self.mend)}" if self.mend else text


def versions() -> Iterator[Finding]:
    """Yields the versions installed, and whether jax and jaxlib belong together."""
    found, missing = {}, []
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    python = ".".join(map(str, sys.version_info[:3]))
    shown = " ".join(f"{name} {version}" for name, version in found.items())
    yield Finding(Mark.OK, "versions", f"python {python} {shown}")
    if missing:
        yield Finding(Mark.BAD, "packages", f"missing: {', '.join(missing)}", "pip install -e .")
    jax, jaxlib = (found.get(name, "").split(".")[:2] for name in ("jax", "jaxlib"))
    if jax != jaxlib:
        text = f"jax {found.get('jax')} with jaxlib {found.get('jaxlib')}"
        mend = "install them together: pip install --upgrade jax jaxlib"
        yield Finding(Mark.BAD, "jaxlib", text, mend)


def hosts(env: os._Environ[str] | dict[str, str], *, wait_s: float = JOIN_S) -> Iterator[Finding]:
    """Yields which hosts of a multi-host start are there.

    Every host sends the first one its number and name, over the coordinator's port, before JAX
    takes that port: JAX itself only reports that a barrier timed out.
    """
    address, count = env.get("JAX_COORDINATOR_ADDRESS"), int(env.get("JAX_NUM_PROCESSES") or 1)
    if not address or count == 1:
        yield Finding(Mark.OK, "hosts", "one process, no coordinator in the environment")
        return
    index = int(env.get("JAX_PROCESS_ID") or 0)
    host, _, port = address.rpartition(":")
    if index:
        yield _report_to(host, int(port), index=index, wait_s=wait_s)
    else:
        yield _roll_call(int(port), count=count, wait_s=wait_s)


def _report_to(host: str, port: int, *, index: int, wait_s: float) -> Finding:
    until, error = time.monotonic() + wait_s, OSError("no time")
    while time.monotonic() < until:
        try:
            with socket.create_connection((host, port), timeout=5) as link:
                link.sendall(f"{index} {socket.gethostname()}\n".encode())
                link.settimeout(2 * wait_s)  # process 0 may have begun later
                answer = link.makefile().readline().strip()
            mark = Mark.OK if answer == "all" else Mark.BAD
            mend = "" if mark is Mark.OK else "start the missing ones; see process 0's report"
            return Finding(mark, "hosts", f"process {index}: {answer or 'no answer'}", mend)
        except OSError as reason:
            error = reason
            time.sleep(0.2)
    mend = (
        f"is process 0 running on {host}, and is port {port} open between hosts? On Google Cloud "
        "set JAX_COORDINATOR_PORT=8476, which its firewall rule for TPUs opens"
    )
    return Finding(Mark.BAD, "hosts", f"process {index} cannot reach {host}:{port}: {error}", mend)


def _roll_call(port: int, *, count: int, wait_s: float) -> Finding:
    present, links = {0: socket.gethostname()}, []
    until = time.monotonic() + wait_s
    with socket.create_server(("", port)) as server:
        while len(present) < count and time.monotonic() < until:
            server.settimeout(max(0.05, until - time.monotonic()))
            try:
                link, _ = server.accept()
                number, name = link.makefile().readline().split()
                present[int(number)] = name
                links.append(link)
            except (OSError, ValueError):
                continue
        missing = sorted(set(range(count)) - present.keys())
        answer = f"missing {','.join(map(str, missing))}" if missing else "all"
        for link in links:
            with link:
                link.sendall(f"{answer}\n".encode())
    if not missing:
        return Finding(Mark.OK, "hosts", f"all {count} processes are here")
    names = ", ".join(f"{number} ({name})" for number, name in sorted(present.items()))
    mend = "start the command on every host, with JAX_PROCESS_ID from 0; read their logs"
    text = f"{len(missing)} of {count} did not come: {', '.join(map(str, missing))}; here: {names}"
    return Finding(Mark.BAD, "hosts", text, mend)


def devices() -> Iterator[Finding]:
    """Yields the devices that JAX computes on, and whether they compute right."""
    import jax
    import jax.numpy as jnp

    from omnigen import topologies

    found = jax.devices()
    kind = found[0].device_kind
    chip = topologies.chip_of(kind)
    stats = found[0].memory_stats() or {}
    memory = stats.get("bytes_limit")
    shown = f"{len(found)} x {kind}" + (f", {memory / 2**30:.1f} GiB each" if memory else "")
    yield Finding(Mark.OK, "devices", shown)
    if jax.default_backend() == "cpu":
        mend = "for NVIDIA: pip install 'jax[cuda13]'; on a TPU VM: pip install 'jax[tpu]'"
        has = any(pathlib.Path(p).exists() for p in ("/dev/nvidia0", "/dev/accel0", "/dev/vfio/0"))
        text = "an accelerator is there, but JAX does not see it" if has else "no accelerator"
        yield Finding(Mark.BAD if has else Mark.NOTE, "accelerator", text, mend if has else "")
    elif chip is None:
        mend = "add it to omnigen/topologies.py; until then MFU is not reported"
        yield Finding(Mark.NOTE, "chip", f"{kind!r} is not in the table", mend)
    wrong = []
    for device in jax.local_devices():
        x = jax.device_put(jnp.arange(65_536, dtype=jnp.float32).reshape(256, 256) % 7, device)
        if float((x @ x).sum()) != float((jax.device_get(x) @ jax.device_get(x)).sum()):
            wrong.append(str(device))
    if wrong:
        mend = "drain the host: the chip or its memory is broken"
        yield Finding(Mark.BAD, "arithmetic", f"wrong product on {', '.join(wrong)}", mend)


def mesh(config: str, overrides: Sequence[str]) -> Iterator[Finding]:
    """Yields whether the recipe's mesh fits the devices."""
    from omnigen import parallel
    from omnigen import recipe as recipes

    try:
        recipe = recipes.read(config, overrides)
        made = parallel.make_mesh(recipe.mesh)
        recipe.check_mesh(made.shape)
    except ValueError as error:
        mend = "set --config.mesh.* so that their product is the number of devices"
        yield Finding(Mark.BAD, "mesh", str(error), mend)
        return
    sizes = " ".join(f"{name}={size}" for name, size in made.shape.items())
    yield Finding(Mark.OK, "mesh", sizes)


def cache() -> Iterator[Finding]:
    """Yields whether compiled programs are kept between starts."""
    import jax

    cli.cache_compilations()
    config: Any = jax.config
    folder = config.jax_compilation_cache_dir
    mend = "set OMNIGEN_CACHE to a folder that outlives the job; restarts compile again without it"
    if not folder:
        yield Finding(Mark.NOTE, "cache", "compiled programs are not kept", mend)
    elif "://" not in folder and not os.access(folder, os.W_OK):
        yield Finding(Mark.NOTE, "cache", f"{folder} is not writable", mend)
    else:
        yield Finding(Mark.OK, "cache", folder)


def storage(folder: pathlib.Path) -> Iterator[Finding]:
    """Yields whether the workdir takes files, how fast, and whether they survive."""
    data = os.urandom(2**20) * PROBE_MB
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing) as file:
            since = time.perf_counter()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            wrote = time.perf_counter() - since
            file.seek(0)
            same = file.read() == data
        free = os.statvfs(existing)
    except OSError as error:
        mend = "choose another --workdir, or free some space"
        yield Finding(Mark.BAD, "storage", f"{existing}: {error}", mend)
        return
    speed, room = PROBE_MB / wrote, free.f_bavail * free.f_frsize / 2**30
    text = f"{existing}: writes {speed:,.0f} MB/s, {room:,.0f} GiB free"
    if not same:
        mend = "do not train here: the disk returns other bytes than it was given"
        yield Finding(Mark.BAD, "storage", text, mend)
    elif speed < SLOW_MB_PER_S:
        mend = "use a local or faster disk, or a larger train.checkpoint_every"
        yield Finding(Mark.NOTE, "storage", text, mend)
    else:
        yield Finding(Mark.OK, "storage", text)
    shared = pathlib.Path("/dev/shm")
    if shared.exists() and (small := os.statvfs(shared)).f_blocks * small.f_frsize < 2**30:
        mend = "data workers hand batches over there: mount an in-memory volume at /dev/shm"
        yield Finding(Mark.NOTE, "shared memory", "/dev/shm is smaller than 1 GiB", mend)


def examine(checks: Mapping[str, Callable[[], Iterator[Finding]]]) -> list[Finding]:
    """Runs the checks and prints as it goes; a check that fails itself is a finding, too."""
    found = []
    for name, check in checks.items():
        try:
            for finding in check():
                found.append(finding)
                print(finding.line, flush=True)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            found.append(Finding(Mark.BAD, name, text))
            print(found[-1].line, flush=True)
    return found


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = flags.FlagValues()
    text = "where a run would be written"
    cli.define_path(values, "workdir", ".", text)
    cli.define_recipe(values, "its mesh is checked")
    with cli.bad_input_exits(PROGRAM):
        overrides = cli.parse(values, usage=USAGE, argv=argv)

    def join() -> Iterator[Finding]:
        from omnigen import parallel

        parallel.initialize()
        try:
            yield from devices()
        except (AssertionError, RuntimeError) as error:
            trouble = cli.no_devices(error)
            if trouble is None:
                raise
            mend = "set JAX_PLATFORMS to one of these or unset it; or install what it names"
            yield Finding(Mark.BAD, "devices", trouble, mend)

    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "versions": versions,
        "hosts": lambda: hosts(os.environ),
        "devices": join,
        "cache": cache,
    }
    if values.config:
        checks["mesh"] = lambda: mesh(values.config, overrides)
    checks["storage"] = lambda: storage(pathlib.Path(values.workdir))
    if any(finding.mark is Mark.BAD for finding in examine(checks)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
