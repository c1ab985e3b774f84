# SPDX-License-Identifier: Apache-2.0
"""What is kept of answers for a while: pictures by URL, and turns of conversations."""

import collections
import dataclasses
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class _Entry:
    value: Any
    size: int
    end: float


class Kept:
    """A bounded store that forgets: what is old, and what the largest tenant kept first.

    A tenant sees its own entries alone. One that keeps much takes room from itself, not from the
    others. All methods may be called from any thread.
    """

    def __init__(
        self, prefix: str, *, most: int, seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Starts empty.

        Args:
            prefix: Beginning of all names.
            most: Largest number of bytes, of all tenants.
            seconds: Seconds after which an entry is forgotten.
            now: Clock, in seconds.
        """
        self._prefix, self._most, self._seconds, self._now = prefix, most, seconds, now
        self._tenants: dict[str, collections.OrderedDict[str, _Entry]] = {}
        self._sizes: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def name(self) -> str:
        """Returns a name that nobody can guess, for `put`."""
        return f"{self._prefix}{secrets.token_hex(16)}"

    def put(self, tenant: str, value: Any, size: int, name: str | None = None) -> str:
        """Keeps a value, and returns its name.

        Args:
            tenant: Whose it is.
            value: The value.
            size: Its size in bytes; one that is too large is not kept.
            name: Its name, from `name`; a new one if None.
        """
        name = name or self.name()
        with self._lock:
            mine = self._tenants.setdefault(tenant, collections.OrderedDict())
            mine[name] = _Entry(value, size, self._now() + self._seconds)
            self._sizes[tenant] += size
            self._forget()
        return name

    def get(self, tenant: str, name: str) -> Any:
        """Returns a value of a tenant; None if there is none, or no more."""
        with self._lock:
            self._forget()
            entry = self._tenants.get(tenant, {}).get(name)
        return entry and entry.value

    def drop(self, tenant: str, name: str) -> bool:
        """Forgets a value of a tenant; returns whether there was one."""
        with self._lock:
            self._forget()
            found = name in self._tenants.get(tenant, {})
            if found:
                self._remove(tenant, name)
        return found

    @property
    def size(self) -> int:
        """The number of bytes that are kept."""
        return self._sizes.total()

    def _forget(self) -> None:
        now = self._now()
        for tenant, mine in list(self._tenants.items()):
            while mine and next(iter(mine.values())).end <= now:
                self._remove(tenant, next(iter(mine)))
        while self._sizes.total() > self._most:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            self._remove(largest, next(iter(self._tenants[largest])))

    def _remove(self, tenant: str, name: str) -> None:
        mine = self._tenants[tenant]
        self._sizes[tenant] -= mine.pop(name).size
        if not mine:
            del self._tenants[tenant], self._sizes[tenant]
