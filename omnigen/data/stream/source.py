# SPDX-License-Identifier: Apache-2.0
"""What a source of examples is: the procedural world, a prepared corpus and tars are such sources.

To add a kind of source, write a class with the members of `Source` and name it in
`examples.SOURCES`. Then `data.mixture` and `data.reading_mixture` take the names that the class
claims, and batches, previews, buckets, resuming and the place in the data need no further change.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import numpy as np

from omnigen.data.corpus.latents import Encoding

if TYPE_CHECKING:
    from omnigen.data.stream.examples import DataConfig

MOST_SKETCH_BYTES = 127
"""A longer sketch is left out in training; of 400 000 scenes, the longest had 123 bytes."""


@dataclasses.dataclass(frozen=True)
class Captioned:
    """A caption and its picture, uint8 `[S, S, 3]`."""

    caption: str
    image: np.ndarray


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An example of the stream whose picture is still to be made.

    Attributes:
        caption: Caption, short enough for the data's settings.
        sketch: Sketch of the scene or record; empty if there is none, None for the picture's
            thumbnail.
        draw: Makes the picture, uint8 `[H, W, 3]`, or reads its latents, float16 `[N, Z]`; may
            raise `Rejected`.
    """

    caption: str
    sketch: str | None
    draw: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Turn:
    """One turn of a source: the example that it has to make.

    Attributes:
        bucket: Number of the picture's size among `DataConfig.sizes`.
        index: Number of the example among all of the stream; no other example has it.
        ordinal: Number of examples of this bucket that the source made before.
    """

    bucket: int
    index: int
    ordinal: int


class Source(Protocol):
    """Makes examples. Each is a function of the settings and its turn alone.

    Sources are sent to worker processes, so they must be picklable. A class that inherits from this
    one has to define `NAMES`, `name`, `weights`, `candidate` and what it is opened with.

    Attributes:
        NAMES: Names that `takes` allows, for messages.
        PICTURES: Whether it can draw; a source that cannot is for `data.reading_mixture` alone.
        name: Name of this source in messages.
    """

    NAMES: ClassVar[str]
    PICTURES: ClassVar[bool] = True
    name: str

    @classmethod
    def takes(cls, name: str) -> bool:
        """Returns whether a name of `data.mixture` is this kind of source's, by default its own."""
        return name == cls.name

    @classmethod
    def open(
        cls, weights: Mapping[str, float], config: "DataConfig", encoding: Encoding | None
    ) -> Sequence[Self]:
        """Opens the sources of the names that were taken, whose weights are given.

        By default one source is made of weights and config.

        Raises:
            ValueError: If one cannot be read, or lacks the latents of `encoding`.
        """
        return [cls(weights, config)]  # pyright: ignore[reportCallIssue]

    def content(self) -> str:
        """Returns a digest of the files that it reads; empty if it reads none."""
        return ""

    def has_held_out(self) -> bool:
        """Returns whether some of it is never trained on; by default nothing is."""
        return False

    def weights(self) -> Sequence[float]:
        """Returns its weight in each bucket; zeros alone if it is empty."""
        ...

    def picture(self, turn: Turn) -> np.ndarray:
        """Returns the picture of an example, uint8 `[H, W, 3]`; by default the candidate's."""
        return self.candidate(turn).draw()

    def candidate(self, turn: Turn) -> Candidate:
        """Returns an example with its caption, for packing."""
        ...

    def previews(self, count: int) -> Sequence[Captioned]:
        """Returns a few examples to look at, always the same ones, by default the first."""
        first = [self.candidate(Turn(0, number, number)) for number in range(count)]
        return [Captioned(each.caption, each.draw()) for each in first]

    @classmethod
    def check(cls, config: "DataConfig") -> None:
        """Checks that the other settings go with this kind of source; by default all do.

        Raises:
            ValueError: If one does not; the message names the setting, its value and what is
                allowed.
        """

    @classmethod
    def check_extras(cls, config: "DataConfig") -> None:
        """Checks that the packages of this kind of source are installed; by default it has none.

        Raises:
            MissingExtraError: If one is not.
        """
