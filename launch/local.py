# SPDX-License-Identifier: Apache-2.0
"""Runs a program as several processes of this machine, the way a pod runs it on several hosts.

    python launch/local.py -n 4 -- python -m omnigen.train --config configs/ar.py:debug ...

The processes find each other over loopback and train one model together, on the CPU unless
`JAX_PLATFORMS` says otherwise; `JAX_NUM_CPU_DEVICES=2` gives each of them two devices. Lines of
output begin with the number of their process. SIGTERM and SIGINT are passed on. If a process fails
the others are killed, since they would wait for it forever, and its exit code is the result. If the
launcher itself is killed, or its terminal is closed, so are they, with the processes they started.
"""

import argparse
import contextlib
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, Any

GRACE_S = 30  # from a signal to the kill, as on Kubernetes
POLL_S = 0.5  # a signal that comes just before a wait does not end it
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Leads the group of all processes of a run, and ends the group with the launcher, whose pipe it
# reads: the kernel closes that, however the launcher dies.
WATCH = ("sh", "-c", "read _; kill -KILL 0")


def free_port() -> int:
    """Returns a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(index: int, *, processes: int, port: int) -> dict[str, str]:
    """Returns the variables that give process `index` its place, as `initialize` reads them."""
    return {
        "JAX_PLATFORMS": "cpu",
        **os.environ,
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(index),
        "PYTHONUNBUFFERED": "1",
    }


def _copy_lines(source: IO[bytes], label: str) -> None:
    for line in source:
        try:
            sys.stdout.buffer.write(f"[{label}] ".encode() + line.rstrip(b"\n") + b"\n")
            sys.stdout.buffer.flush()
        except OSError:  # its reader has gone, but the run goes on and must not wait for it
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _listen() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class Group:
    """The processes of one run, to which SIGTERM and SIGINT are passed on.

    Those signals wait until all processes are there, and reach the main thread alone. All are one
    process group, with whatever they start, so that nothing of a run outlives it.

    Args:
        command: Command that each of them executes.
        processes: Number of processes.
    """

    def __init__(self, command: Sequence[str], *, processes: int) -> None:
        port = free_port()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._deadline = math.inf  # of processes that were told to stop
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._watcher = subprocess.Popen(WATCH, stdin=subprocess.PIPE, process_group=0)
        self._children = [
            subprocess.Popen(
                command,
                env=environment(index, processes=processes, port=port),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=self._watcher.pid,
                preexec_fn=_listen,  # there are no threads yet
            )
            for index in range(processes)
        ]
        self._readers = []
        for index, child in enumerate(self._children):
            assert child.stdout is not None
            reader = threading.Thread(
                target=_copy_lines, args=(child.stdout, str(index)), daemon=True
            )
            waiter = threading.Thread(target=lambda c=child: self._ended.put(c.wait()), daemon=True)
            reader.start()
            waiter.start()
            self._readers.append(reader)
        for signum in SIGNALS:
            signal.signal(signum, self.forward)
        _listen()

    def forward(self, signum: int, frame: Any = None) -> None:
        """Passes a signal on; processes that are still there `GRACE_S` later are killed."""
        del frame
        self._deadline = min(self._deadline, time.monotonic() + GRACE_S)
        for child in self._children:
            child.send_signal(signum)

    def kill(self) -> None:
        """Kills what is left, with the data workers of each process."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all are gone
            os.killpg(self._watcher.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Returns 0 once all have succeeded, or the code of the first that failed."""
        failed = 0
        for _ in self._children:
            code = self._next_end()
            if code and not failed:
                failed = 128 - code if code < 0 else code
                if self._deadline == math.inf:
                    self.kill()
        self.kill()
        self._watcher.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        return failed

    def _next_end(self) -> int:
        """Waits for the next process to end; returns its code."""
        while True:
            try:
                return self._ended.get(timeout=POLL_S)
            except queue.Empty:
                if time.monotonic() > self._deadline:
                    self.kill()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; see the module's docstring."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="local.py",
        usage="%(prog)s -n N -- COMMAND",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("-n", type=int, required=True, metavar="N", help="how many processes")
    options = parser.parse_args(arguments[:cut])
    command = arguments[cut + 1 :]
    if not command:
        parser.error("write the command after --")
    if options.n < 1:
        parser.error(f"-n {options.n}: it must be at least 1")
    return Group(command, processes=options.n).wait()


if __name__ == "__main__":
    sys.exit(main())
