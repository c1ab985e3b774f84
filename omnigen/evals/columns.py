# SPDX-License-Identifier: Apache-2.0
"""The systems that are judged side by side: checkpoints, and folders of others' pictures."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from omnigen import cli
from omnigen.evals.registry import Subject, Suite, Use

if TYPE_CHECKING:
    from omnigen.nn.module import Params
    from omnigen.training.stage import Evaluator

MOST_NAME = 48  # characters of a column's name, of which a disk takes 255 bytes and more


@dataclasses.dataclass(frozen=True)
class Column:
    """One system: a checkpoint (the shipped one if "") or a folder of pictures."""

    name: str
    checkpoint: str | None = None
    images: pathlib.Path | None = None

    def use(self, suite: Suite, *, reference: bool, draws: bool = False) -> Use | None:
        """Returns how a suite judges the system; None if it cannot.

        Args:
            suite: Suite that judges.
            reference: Whether there are pictures to compare a folder with.
            draws: Whether a model only draws, to be judged elsewhere.
        """
        if self.images is None:
            wanted = (Use.DRAWING if draws else Use.MODEL,)
        else:
            wanted = (Use.PICTURES, Use.PAIR) if reference else (Use.PICTURES,)
        return next((use for use in wanted if use in suite.uses), None)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A system that is ready to be judged.

    Attributes:
        about: What is known of it, for the report.
        weights: Weights of the model; empty if pictures are judged.
        evaluators: Evaluators by suite; those of a folder can do without a model.
    """

    about: dict[str, Any]
    weights: "Params"
    evaluators: "dict[str, Evaluator]"


def named(checkpoints: Iterable[str], images: Iterable[str]) -> list[Column]:
    """Returns a column for each path, named after its last folder; the names differ."""
    columns: list[Column] = []

    def add(path: str, **source: Any) -> None:
        name = _short(os.path.basename(os.path.abspath(path)) or "root") if path else "shipped"
        taken = {column.name for column in columns}
        names = itertools.chain([name], (f"{name}~{number}" for number in itertools.count(2)))
        columns.append(Column(next(one for one in names if one not in taken), **source))

    for path in checkpoints:
        add(path, checkpoint=path)
    for path in images:
        add(path, images=pathlib.Path(path))
    return columns


def _short(name: str) -> str:
    """Returns a folder's name for use in others: printable, and short enough for any disk."""
    return cli.printable(name, most=MOST_NAME).replace("\\", "_")


def load(
    column: Column, suites: Sequence[Suite], subject: Subject, *, draws: bool = False
) -> Loaded:
    """Loads a model, if the column has one, and makes the evaluators.

    Args:
        column: System to load.
        suites: Suites that are asked for.
        subject: Settings that hold for all columns and suites.
        draws: Whether a model only draws, to be judged elsewhere.

    Raises:
        ValueError: If there is no such checkpoint, or what a suite needs is missing.
    """
    from omnigen.checkpoints import fingerprint
    from omnigen.generation import pretrained

    model = None
    about: dict[str, Any] = {"name": column.name, "images": str(column.images)}
    if column.images is None:
        parts = {part for suite in suites for part in suite.weights}
        model = pretrained.load(column.checkpoint or None, needed=parts)
        about = {"name": column.name, "checkpoint": model.path, "model": model.version}
        about |= {"step": model.step, "digest": fingerprint.shipped(model.params)}
    uses = {s: column.use(s, reference=subject.reference is not None, draws=draws) for s in suites}
    evaluators = {
        suite.name: suite.evaluator(
            dataclasses.replace(
                subject,
                use=use,
                name=column.name,
                omni=model and model.omni,
                images=column.images,
            )
        )
        for suite, use in uses.items()
        if use is not None
    }
    return Loaded(about, model.params if model else {}, evaluators)
