# SPDX-License-Identifier: Apache-2.0
"""How near a set of pictures is to another by learned features: the suites `fidelity`, `kid_lite0`.

They compare held-out scenes with what comes back from the tokens, so that FID and its like say how
the tokenizer changes the set as a whole (often called rFID), or one folder with another.
"""

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from omnigen import files, progress
from omnigen.evals import frechet, picture_files
from omnigen.evals.networks.inception import Features, Inception
from omnigen.evals.networks.lite0 import Lite0
from omnigen.evals.results import Outcome
from omnigen.evals.suites.reconstruction import Reconstruction, scenes
from omnigen.models.omni import Omni
from omnigen.nn.module import Params
from omnigen.scenes.scene import Kind

LEAST = 10  # pictures a set, below which none of the scores means anything

_BLOCK = 256  # pictures in memory at a time


class Sets(Protocol):
    """Two sets of pictures, in blocks of uint8 `[N, H, W, 3]`, each of one size.

    Attributes:
        problems: Files that were left out, by what is wrong with them; known after reading.
        real_count: Number of pictures of the first set, or a few more.
        drawn_count: Number of pictures of the second set, or a few more.
    """

    problems: dict[str, list[str]]
    real_count: int
    drawn_count: int

    def real(self) -> Iterator[np.ndarray]:
        """Yields what is compared with."""
        ...

    def drawn(self, weights: Params) -> Iterator[np.ndarray]:
        """Yields what is judged."""
        ...


class Rebuilt:
    """Held-out scenes of all kinds, and their reconstructions."""

    def __init__(self, omni: Omni, *, count: int = 64):
        """Takes `count` scenes of each kind; published FIDs are of 50 000 in all."""
        self.problems: dict[str, list[str]] = {}
        self._omni, self._count = omni, count
        self.real_count = self.drawn_count = count * len(Kind)

    def real(self) -> Iterator[np.ndarray]:
        """Yields the scenes, a kind at a time."""
        for kind in Kind:
            yield scenes(self._omni, kind, count=self._count)

    def drawn(self, weights: Params) -> Iterator[np.ndarray]:
        """Yields the reconstructions, in the same order."""
        for images in self.real():
            yield Reconstruction(self._omni).reconstruct(weights, images)


class Folders:
    """The pictures in and under two folders."""

    def __init__(self, images: pathlib.Path, *, reference: pathlib.Path):
        """Finds the files.

        Raises:
            ValueError: If a folder does not exist or holds too few pictures.
        """
        self.problems: dict[str, list[str]] = {}
        self._drawn, self._real = _files(images), _files(reference)
        self.drawn_count, self.real_count = len(self._drawn), len(self._real)

    def real(self) -> Iterator[np.ndarray]:
        """Yields the reference."""
        return self._read(self._real)

    def drawn(self, weights: Params) -> Iterator[np.ndarray]:
        """Yields the pictures that are judged; needs no weights."""
        return self._read(self._drawn)

    def _read(self, paths: list[pathlib.Path]) -> Iterator[np.ndarray]:
        block: list[np.ndarray] = []
        for path in paths:
            try:
                image = picture_files.read(path)
            except ValueError as error:
                self.problems.setdefault(str(error).split(":")[0], []).append(str(path))
                continue
            if block and (len(block) == _BLOCK or image.shape != block[0].shape):
                yield np.stack(block)
                block = []
            block.append(image)
        if block:
            yield np.stack(block)


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns files that are named as pictures, even of formats that are not read."""
    if not os.path.isdir(folder):
        raise ValueError(f"{folder}: no such folder")
    suffixes = (*files.PICTURES, *files.FOREIGN_PICTURES)
    try:
        found = [path for path in files.walk(folder) if path.suffix.lower() in suffixes]
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from None
    if len(found) < LEAST:
        raise ValueError(f"{folder}: {len(found)} pictures; at least {LEAST} are needed")
    return found


class TooFewError(ValueError):
    """Raised when too few pictures of a set can be read."""


def _features(
    name: str, sets: Sets, weights: Params, look: Callable[[np.ndarray], Any]
) -> Iterator[list[Any]]:
    """Yields a network's features of the blocks of the real set, then of the one that is judged.

    Raises:
        TooFewError: If too few pictures can be read; the message names the set, and what was wrong.
    """
    for blocks, count, what in (
        (sets.real(), sets.real_count, "reference"),
        (sets.drawn(weights), sets.drawn_count, "pictures to judge"),
    ):
        parts, read = [], 0
        with progress.work(f"{name}: looking at the {what}", count) as done:
            for block in blocks:
                parts.append(look(block))
                read += len(block)
                done.add(len(block))
        if read < LEAST:
            why = (
                f"{len(paths)} {kind}, such as {paths[0]}" for kind, paths in sets.problems.items()
            )
            needed = f"{read} of {count} can be read; at least {LEAST} are needed"
            raise TooFewError("; ".join([f"{name}: of the {what}, {needed}", *why]))
        yield parts


class Fidelity:
    """FID, sFID, IS, precision, recall and KID of one set of pictures against another."""

    name = "fidelity"

    def __init__(self, sets: Sets, *, inception: Inception):
        """Compares the sets by the network's features."""
        self._sets, self._inception = sets, inception

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields the metrics of `frechet.compare`."""
        weights, look = {**frozen, **params}, self._inception.features
        real, drawn = map(self._joined, _features(self.name, self._sets, weights, look))
        with progress.work(f"{self.name}: distances"):
            found = frechet.compare(real, drawn)
        yield from found.items()

    def judge(self, params: Params, frozen: Params) -> Outcome:
        """Returns the same, and which files could not be read."""
        return Outcome(dict(self.run(params, frozen)), problems=self._sets.problems)

    def _joined(self, parts: Sequence[Features]) -> Features:
        pool, spatial, logits = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("pool", "spatial", "logits")
        )
        return Features(pool=pool, spatial=spatial, logits=logits)


class KidLite0:
    """KID over EfficientNet-lite0's features, comparable to no FID and no published KID."""

    name = "kid_lite0"

    def __init__(self, sets: Sets, *, network: Lite0):
        """Compares the sets by the network's features."""
        self._sets, self._network = sets, network

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields `kid_lite0`, its deviation over subsets, and the numbers of pictures."""
        weights, look = {**frozen, **params}, self._network.features
        real, drawn = map(np.concatenate, _features(self.name, self._sets, weights, look))
        score = frechet.kernel_distance(real, drawn)
        yield "kid_lite0", score.mean
        yield "kid_lite0_deviation", score.deviation
        yield "real_pictures", float(len(real))
        yield "drawn_pictures", float(len(drawn))

    def judge(self, params: Params, frozen: Params) -> Outcome:
        """Returns the same, and which files could not be read."""
        return Outcome(dict(self.run(params, frozen)), problems=self._sets.problems)
