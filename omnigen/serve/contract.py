# SPDX-License-Identifier: Apache-2.0
"""What the HTTP API asks of an engine, and what an engine tells while it draws.

One ticket is one picture. Its events come in this order: `Queued` whenever its place changes,
`Started` once, `Progress` and `Partial` in between, `Finished` last.
"""

import dataclasses
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from omnigen.generation.sampler import Drawing, Request

if TYPE_CHECKING:
    import numpy as np


class Full(Exception):
    """Raised where the queue has no room.

    Attributes:
        retry_after_s: Seconds after which there may be room.
    """

    def __init__(self, retry_after_s: float) -> None:
        """Keeps the time."""
        super().__init__(f"the queue is full; try again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class Late(Exception):
    """Raised for a picture that was not drawn before its deadline."""


class Stopped(Exception):
    """Raised where the engine takes, or finishes, nothing more."""


@dataclasses.dataclass(frozen=True)
class Queued:
    """The picture waits.

    Attributes:
        place: Number of pictures that start before it.
    """

    place: int


@dataclasses.dataclass(frozen=True)
class Started:
    """The picture has a row of its own."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the picture is.

    Attributes:
        done: Number of steps that are done.
        total: Number of all steps.
    """

    done: int
    total: int


@dataclasses.dataclass(frozen=True)
class Partial:
    """What the tokens so far show.

    Attributes:
        index: Number of this preview, from 0.
        pixels: Picture, uint8 `[H, W, 3]`.
    """

    index: int
    pixels: "np.ndarray"


@dataclasses.dataclass(frozen=True)
class Finished:
    """The picture is drawn.

    Attributes:
        drawing: The picture, and what the model wrote of it.
        text_tokens: Number of text tokens that the model wrote.
        image_tokens: Number of picture tokens that the model drew.
        input_tokens: Number of tokens that the model read, of texts and of given pictures.
        input_image_tokens: Number of those that are of given pictures.
    """

    drawing: Drawing
    text_tokens: int
    image_tokens: int
    input_tokens: int
    input_image_tokens: int = 0


Event = Queued | Started | Progress | Partial | Finished


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What an engine does, and did since its start.

    Attributes:
        rows: Number of rows, each of which draws a picture.
        busy: Number of rows that draw.
        queued: Number of requests that wait.
        room: Number of requests that may wait.
        drawn: Number of pictures that were finished.
        cancelled: Number of requests that were given up.
        late: Number of requests whose deadline passed.
        failed: Number of requests whose drawing failed.
        refused: Number of requests that found the queue full.
        seconds: Median time of recent pictures from the first step to the last.
        silent_s: Seconds since the running step began; 0 between steps.
        is_open: Whether new requests are taken.
    """

    rows: int = 0
    busy: int = 0
    queued: int = 0
    room: int = 0
    drawn: int = 0
    cancelled: int = 0
    late: int = 0
    failed: int = 0
    refused: int = 0
    seconds: float = 0.0
    silent_s: float = 0.0
    is_open: bool = True


class Ticket(Protocol):
    """A picture that was asked for."""

    def events(self) -> AsyncIterator[Event]:
        """Yields what happens to the picture; ends after `Finished`.

        Raises:
            Late: If the deadline passed.
            Stopped: If the engine stopped first.
            RuntimeError: If the picture could not be drawn.
        """
        ...

    def cancel(self) -> None:
        """Frees the place of the picture at once, in the queue or among the rows."""
        ...


class Engine(Protocol):
    """What draws pictures for many; its methods may be called from any thread.

    Attributes:
        name: Name of the model.
        version: Version of the model.
        native: Width and height of the pictures that it draws.
        can_edit: Whether the model has learnt to read pictures.
    """

    name: str
    version: str
    native: tuple[int, int]
    can_edit: bool

    def submit(
        self, request: Request, *, partials: int = 0, deadline_s: float | None = None
    ) -> Ticket:
        """Asks for one picture, with the pixels of `native`.

        Args:
            request: What to draw; `num_images` is 1.
            partials: Number of previews.
            deadline_s: Seconds until it must be done; None for no limit.

        Raises:
            Full: If the queue has no room.
            Stopped: If the engine takes nothing more.
            ValueError: If the model cannot draw it.
        """
        ...

    def statistics(self) -> Statistics:
        """Returns what the engine has counted so far."""
        ...

    def close(self, *, drain_s: float) -> None:
        """Takes nothing more, finishes what it can in that time, and stops the rest."""
        ...
