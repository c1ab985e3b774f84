# SPDX-License-Identifier: Apache-2.0
"""What the API uses and does not know the inside of: an engine, a safety policy, provenance."""

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from omnigen.serve.contract import Engine

if TYPE_CHECKING:
    import numpy as np


class Decision(Protocol):
    """What a policy says of a prompt or a picture; see `omnigen.safety`."""

    @property
    def allowed(self) -> bool:
        """Whether it may go on."""
        ...

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that refuse it."""
        ...

    @property
    def scores(self) -> Mapping[str, float]:
        """A score for each category, 0 ... 1."""
        ...


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a file says of where it comes from.

    Attributes:
        state: "trusted", "valid", "invalid" or "not_present".
        issuer: Who signed it.
        model: What made it.
        generated_at: When, as in RFC 3339.
    """

    state: str = "not_present"
    issuer: str | None = None
    model: str | None = None
    generated_at: str | None = None


@dataclasses.dataclass(frozen=True)
class Safety:
    """A safety policy.

    Attributes:
        judge_prompt: Judges a text, at a level and a stage, "input" or "output".
        judge_picture: Judges pixels, uint8 `[H, W, 3]`, at a level and a stage.
        record: Keeps a decision without what was judged, a text or the bytes of pixels; also the
            level, and a digest of who asked.
    """

    judge_prompt: Callable[[str, str, str], Decision]
    judge_picture: Callable[["np.ndarray", str, str], Decision]
    record: Callable[[Decision, str | bytes, str, str], None] = lambda *_: None


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What marks pictures as made by a machine, and recognises them.

    Attributes:
        sign: Returns a signed file, given a file, its media type and the files it was made from.
        check: Returns what a file says of its origin, given its media type.
        remember: Keeps what a picture looks like.
        find: Returns what was kept of a picture that was drawn here, whatever became of its file;
            None if it was not.
    """

    sign: Callable[[bytes, str, Sequence[bytes]], bytes]
    check: Callable[[bytes, str], Origin]
    remember: Callable[["np.ndarray", Mapping[str, Any]], None]
    find: Callable[["np.ndarray"], Mapping[str, Any] | None]


@dataclasses.dataclass(frozen=True)
class Services:
    """All of them.

    Attributes:
        engine: What draws.
        safety: What judges.
        provenance: What signs; None if nothing is signed.
        created: When the server started, in seconds since 1970.
        threads: Threads for pictures, which would keep other clients waiting.
        judges: Threads for texts, which are not to wait for pictures: what there is no room for is
            to be refused at once.
    """

    engine: Engine
    safety: Safety
    provenance: Provenance | None
    created: int
    threads: ThreadPoolExecutor = dataclasses.field(
        default_factory=lambda: ThreadPoolExecutor(2, "pictures")
    )
    judges: ThreadPoolExecutor = dataclasses.field(
        default_factory=lambda: ThreadPoolExecutor(2, "judges")
    )


def rfc3339(seconds: float) -> str:
    """Returns a time in UTC as RFC 3339 writes it."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
