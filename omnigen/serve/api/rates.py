# SPDX-License-Identifier: Apache-2.0
"""How often a key may ask, and how many pictures it may have, in a minute.

What a key may still do grows steadily up to the limit: at a limit of N, by one in 60 / N seconds.
So a key that rested may spend a whole minute's worth at once, and none is ever let twice that far
by asking just before and just after a minute ends. What is refused is not counted.
"""

import contextvars
import dataclasses
import time
from collections.abc import Callable

from omnigen.serve.api import errors
from omnigen.serve.api.limits import Limits

MINUTE = 60.0  # seconds


@dataclasses.dataclass
class Bucket:
    """What one key may still do, as of `seen`.

    Attributes:
        name: What is counted, as headers call it.
        most: Largest number in a minute.
        left: Number that is left; grows by `most` in a minute.
        seen: Time at which that was so, in seconds.
    """

    name: str
    most: int
    left: float
    seen: float

    def fill(self, now: float) -> None:
        """Adds what the time since `seen` has brought."""
        grown = self.left + (now - self.seen) * self.most / MINUTE
        self.left, self.seen = min(grown, float(self.most)), now

    def check(self, count: int, now: float) -> None:
        """Checks that a number of them may be had now.

        Raises:
            ApiError: If fewer are left, or there are never so many.
        """
        self.fill(now)
        limit = f"the key may have {self.most} {self.name} a minute"
        if count > self.most:
            message = f"{limit}, never {count} at once"
            raise errors.ApiError(400, message, code="invalid_value")
        # What grew in exactly the time that a client was told to wait is enough, rounded or not.
        if self.left < count - 1e-6:
            raise errors.busy((count - self.left) * MINUTE / self.most, limit)

    def headers(self, now: float) -> dict[str, str]:
        """Returns what clients of OpenAI read of a limit."""
        self.fill(now)
        known = {
            "limit": str(self.most),
            "remaining": str(max(int(self.left + 1e-6), 0)),
            "reset": duration((self.most - self.left) * MINUTE / self.most),
        }
        return {f"X-RateLimit-{k.title()}-{self.name.title()}": v for k, v in known.items()}


class Account:
    """The limits of one key; with none, it may do anything."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """Begins with a whole minute's worth."""
        self._clock = clock
        per_minute = {"requests": limits.key_requests, "images": limits.key_pictures}
        self._buckets = {
            name: Bucket(name, most, float(most), clock())
            for name, most in per_minute.items()
            if most is not None
        }

    def check(self, name: str, count: int) -> None:
        """Checks that a number of "requests" or "images" may be had now.

        Raises:
            ApiError: If they may not.
        """
        if name in self._buckets:
            self._buckets[name].check(count, self._clock())

    def take(self, name: str, count: int) -> None:
        """Counts what was checked."""
        if name in self._buckets:
            self._buckets[name].left -= count

    def headers(self) -> dict[str, str]:
        """Returns the headers of all limits there are."""
        now = self._clock()
        return {k: v for each in self._buckets.values() for k, v in each.headers(now).items()}


# Whose request is being answered: orders begin far below where keys are known.
current: contextvars.ContextVar[Account | None] = contextvars.ContextVar("account", default=None)


class Rates:
    """The accounts of all keys."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins with none.

        Args:
            limits: Bounds.
            clock: Returns the time in seconds.
        """
        self._limits, self._clock = limits, clock
        self._accounts: dict[str, Account] = {}  # tenants are keys of the file: few

    def account(self, tenant: str) -> Account:
        """Returns the account of a key."""
        if tenant not in self._accounts:
            self._accounts[tenant] = Account(self._limits, self._clock)
        return self._accounts[tenant]


def duration(seconds: float) -> str:
    """Returns seconds as OpenAI writes them: "250ms", "7s", "1.5s" or "1m0s"."""
    milliseconds = max(round(seconds * 1000), 0)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"
