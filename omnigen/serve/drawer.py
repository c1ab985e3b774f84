# SPDX-License-Identifier: Apache-2.0
"""What the engine drives: a drawer, whose rows draw pictures side by side.

`painter` has the drawer of a model. Tests have one that draws nothing and needs no accelerator.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from omnigen.generation.sampler import Request

Place = tuple[int, int]  # a kind of rows, and the number of a row among them


@dataclasses.dataclass(frozen=True)
class Plan:
    """A request that was checked, and how it is drawn.

    Attributes:
        kind: Which of the drawer's kinds of rows it takes.
        image_tokens: Number of tokens to draw.
        input_tokens: Number of elements of the prompt.
        input_image_tokens: Number of those that are tokens of given pictures.
        laid_out: Whatever the drawer wants to keep.
    """

    kind: int
    image_tokens: int
    input_tokens: int
    input_image_tokens: int = 0
    laid_out: Any = None


class Rows(Protocol):
    """Rows in which pictures are drawn; one thread calls them."""

    def join(self, place: Place, request: Request, plan: Plan) -> None:
        """Reads the prompt of a request into a row, in place of what was there."""
        ...

    def leave(self, place: Place) -> None:
        """Ends a row early."""
        ...

    def step(self) -> dict[Place, int]:
        """Takes rows a step further; returns how many tokens each has drawn."""
        ...

    def look(self, places: Sequence[Place]) -> list[tuple[np.ndarray, str, int]]:
        """Returns pictures of the tokens so far, and the text of each and its number of tokens."""
        ...


class Drawer(Protocol):
    """What the engine drives.

    Attributes:
        native: Width and height that it draws.
        name: Name of the model.
        version: Version of the model.
        can_edit: Whether it reads pictures.
        rows: Numbers of rows of each kind.
        picture_s: Seconds that a picture takes, as long as none was measured.
    """

    native: tuple[int, int]
    name: str
    version: str
    can_edit: bool
    rows: tuple[int, ...]
    picture_s: float

    def plan(self, request: Request) -> Plan:
        """Checks a request, in any thread and without the accelerator.

        Raises:
            ValueError: If it cannot be drawn.
        """
        ...

    def open(self) -> Rows:
        """Returns rows of which none draws."""
        ...
