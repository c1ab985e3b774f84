# SPDX-License-Identifier: Apache-2.0
"""Progress of long work on stderr: rich's bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

EVERY_S = 20.0


def track(things: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yields the things, and says how many of `total` are done."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import track as bar
        except ImportError:
            pass
        else:
            yield from bar(things, what, total=total, console=Console(stderr=True))
            return
    said = time.monotonic()
    for done, thing in enumerate(things, 1):
        yield thing
        if time.monotonic() - said > EVERY_S:
            said = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)
