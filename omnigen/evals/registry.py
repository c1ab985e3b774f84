# SPDX-License-Identifier: Apache-2.0
"""The one table of suites: what each can judge, what it needs, and how its evaluator is made.

A new suite is a module in `suites/` and an entry here. Commands and recipes read the table before
anything heavy is imported, so a suite's module is imported where its evaluator is made. What an
evaluator is, `training.stage.Evaluator` says.
"""

import dataclasses
import enum
import pathlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from omnigen import cli, extras
from omnigen.generation.settings import Sampling

if TYPE_CHECKING:
    from omnigen.evals.benchmark import Benchmark
    from omnigen.evals.suites.fidelity import Sets
    from omnigen.evals.suites.held_out import Stage
    from omnigen.evals.suites.samples import Reader
    from omnigen.models.omni import Omni
    from omnigen.training.stage import Evaluator


class Use(enum.Enum):
    """What a suite is asked to do."""

    MODEL = "judges a model"
    DRAWING = "only draws with a model, so that the pictures can be judged elsewhere"
    PICTURES = "judges a folder of pictures"
    PAIR = "judges a folder of pictures against a reference"
    TRAINING = "judges a stage while it is trained"


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is judged, how much of it, and where files go.

    Attributes:
        use: What the suite is asked to do.
        name: Name of the system that is judged, in names of files.
        omni: The model; None if pictures are judged.
        stage: What is trained; None outside of training.
        images: Folder of pictures; None if a model is judged.
        reference: Folder that `images` is compared with.
        corpus: A prepared corpus or tars, whose captions are drawn.
        inception_weights: File of FID's network.
        count: Number of pictures of each kind or each prompt; 0 for the suite's own.
        seed: Number of the first picture of each prompt.
        every: Interval between the prompts asked: each `every`th of each task.
        output: Folder for files; None keeps none.
        is_alone: Whether no other system's files go there.
        workers: Processes that judge.
        sampling: How pictures of prompts are drawn.
    """

    use: Use = Use.MODEL
    name: str = "model"
    omni: "Omni | None" = None
    stage: "Stage | None" = None
    images: pathlib.Path | None = None
    reference: pathlib.Path | None = None
    corpus: str = ""
    inception_weights: str | None = None
    count: int = 0
    seed: int = 0
    every: int = 1
    output: pathlib.Path | None = None
    is_alone: bool = True
    workers: int = 1
    sampling: Sampling = Sampling()  # noqa: RUF009  it is frozen

    @property
    def model(self) -> "Omni":
        """Returns the model, which is there unless pictures are judged."""
        assert self.omni is not None
        return self.omni

    @property
    def folder(self) -> pathlib.Path:
        """Returns the folder for what each system has one of."""
        assert self.output is not None
        return self.output if self.is_alone else self.output / self.name


@dataclasses.dataclass(frozen=True, eq=False)
class Suite:
    """A suite, and what it needs.

    Attributes:
        name: Name that users write; metrics are logged as `name/metric`.
        weights: Parts of the model that it uses.
        count: Number of pictures that it judges by, unless asked otherwise.
        uses: Its possible uses, with the extras that each takes.
        make: Makes the evaluator.
        reads: Whether it also reads words, if the extra `ocr` is installed.
        input: Name of the flag without which it cannot judge, or "".
        has_prompts: Whether it judges what each prompt gives alone.
    """

    name: str
    weights: tuple[str, ...]
    count: int
    uses: Mapping[Use, tuple[str, ...]]
    make: "Callable[[Subject], Evaluator]"
    reads: bool = False
    input: str = ""
    has_prompts: bool = False

    def evaluator(self, subject: Subject) -> "Evaluator":
        """Returns an evaluator of a subject whose `use` is among `uses`.

        Raises:
            ValueError: If what it needs, such as a folder or a file, is missing or of no use.
        """
        assert subject.use in self.uses
        return self.make(dataclasses.replace(subject, count=subject.count or self.count))

    def check_extras(self, use: Use, asked: str) -> None:
        """Checks that what a use takes is installed, before anything is loaded.

        Args:
            use: What the suite is asked to do.
            asked: Words of the user, as the subject of a sentence.

        Raises:
            MissingExtraError: If it is not.
        """
        for extra in self.uses[use]:
            if extra == "scenes":  # skia is quick to load, and often there without its libraries
                extras.load("skia", extra, f"{asked} draws scenes, which")
            else:
                extras.require(extra, asked)


def able(*uses: Use) -> tuple[str, ...]:
    """Returns the names of the suites that can do one of these."""
    return tuple(name for name, suite in SUITES.items() if not suite.uses.keys().isdisjoint(uses))


def find(name: str, allowed: Collection[str], *, where: str) -> Suite:
    """Finds a suite.

    Args:
        name: Name as the user wrote it.
        allowed: Names that are known there.
        where: Name of the flag or key, for the message.

    Raises:
        ValueError: If the name is unknown; the message has the nearest and all that are allowed.
    """
    if name not in allowed:
        nearest, known = cli.nearest(name[:100], allowed), ", ".join(allowed)
        raise ValueError(f"{where} {cli.printable(name)}: did you mean {nearest}? allowed: {known}")
    return SUITES[name]


def listed(entry: str) -> tuple[Suite, int]:
    """Returns the suite of an entry of a recipe's `evals`, and every how many prompts it asks.

    An entry is a name, or `NAME/N` for every Nth prompt.

    Raises:
        ValueError: If no such suite for training, or a part of one that cannot be taken apart.
    """
    name, slash, every = entry.partition("/")
    suite = find(name, able(Use.TRAINING), where="evals")
    if not slash:
        return suite, 1
    if not suite.has_prompts:
        having = (one for one in able(Use.TRAINING) if SUITES[one].has_prompts)
        allowed = ", ".join(f"{name}/N" for name in having)
        raise ValueError(f"evals {cli.printable(entry)}: {name} has no prompts; allowed: {allowed}")
    if not re.fullmatch("[1-9][0-9]?|100", every):
        allowed = f"{name}/N, which asks every Nth prompt, N from 1 to 100"
        raise ValueError(f"evals {cli.printable(entry)}: allowed: {allowed}")
    return suite, int(every)


def check(entries: Sequence[str], *, stage: str, parts: Collection[str]) -> None:
    """Checks a recipe's `evals`.

    Args:
        entries: See `listed`.
        stage: Name of what is trained.
        parts: Those of the model that the stage has.

    Raises:
        ValueError: Names an entry that no evaluator could be made of.
    """
    seen: set[str] = set()
    for entry in entries:
        suite, _ = listed(entry)
        if lacking := [part for part in suite.weights if part not in parts]:
            raise ValueError(
                f"evals {suite.name} needs {', '.join(lacking)}; stage {stage} has "
                f"{', '.join(sorted(parts))}"
            )
        if suite.name in seen:
            raise ValueError(f"evals names {suite.name} twice")
        seen.add(suite.name)


def in_training(entries: Sequence[str], stage: "Stage") -> "list[Evaluator]":
    """Returns the evaluators of a run: suites of prompts judge by one picture a prompt."""
    found = []
    for entry in entries:
        suite, every = listed(entry)
        count = 1 if suite.has_prompts else suite.count
        subject = Subject(use=Use.TRAINING, omni=stage.omni, stage=stage, count=count, every=every)
        found.append(suite.evaluator(subject))
    return found


def _held_out(subject: Subject) -> "Evaluator":
    from omnigen.evals.suites.held_out import HeldOut

    assert subject.stage is not None
    return HeldOut(subject.stage)


def _reader() -> "Reader | None":
    from omnigen.evals.judges import reading

    return reading.rapidocr if reading.version() else None


def _reconstruction(subject: Subject) -> "Evaluator":
    from omnigen.evals.suites.reconstruction import Reconstruction

    return Reconstruction(
        subject.model,
        count=subject.count,
        reader=_reader() if subject.use == Use.MODEL else None,  # it is too slow for training
        output=subject.output,
        column=subject.name,
    )


def _samples(subject: Subject) -> "Evaluator":
    from omnigen.evals.suites.samples import Samples

    return Samples(subject.model, count=subject.count, output=subject.folder)


def _corpus(subject: Subject) -> "Evaluator":
    from omnigen.evals.suites.corpus import Corpus

    return Corpus(subject.model, folder=subject.corpus, count=subject.count, output=subject.folder)


def _exact(subject: Subject) -> "Evaluator":
    from omnigen.evals.suites import exact

    return _prompted(exact.benchmark(), subject)


def _text(subject: Subject) -> "Evaluator":
    from omnigen.evals.suites import text

    return _prompted(text.benchmark(judges=subject.use != Use.DRAWING), subject)


def _wording(subject: Subject) -> "Evaluator":
    from omnigen.evals.suites import wording

    return _prompted(wording.benchmark(judges=subject.use != Use.DRAWING), subject)


def _wording_sketch(subject: Subject) -> "Evaluator":
    from omnigen.evals.suites.wording_sketch import WordingSketch

    return WordingSketch(
        subject.model,
        count=subject.count,
        seed=subject.seed,
        every=subject.every,
        output=subject.output,
        column=subject.name,
    )


def _prompted(benchmark: "Benchmark", subject: Subject) -> "Evaluator":
    """Judges a model's pictures, or those of a folder, which may hold some of several suites."""
    from omnigen.evals.prompted import CEILING, Prompted

    # `--nojudge` leaves `SUITE` and `SUITE-ceiling` side by side; others bring one suite's
    # pictures without a folder for the suite.
    images = ceiling = subject.images
    if images is not None and any((images / name).is_dir() for name in able(Use.PICTURES)):
        images = images / benchmark.name
    if ceiling is not None:
        ceiling = ceiling / f"{benchmark.name}{CEILING}"
    return Prompted(
        benchmark.part(subject.every),
        omni=subject.omni,
        images=images,
        ceiling=ceiling if ceiling and ceiling.is_dir() else None,
        output=subject.output,
        column=subject.name,
        count=subject.count,
        seed=subject.seed,
        workers=subject.workers,
        sampling=subject.sampling,
    )


def _sets(subject: Subject) -> "Sets":
    """Returns the two sets of pictures that a measure of whole sets compares."""
    from omnigen.evals.suites.fidelity import Folders, Rebuilt

    if subject.images is None:
        return Rebuilt(subject.model, count=subject.count)
    assert subject.reference is not None
    return Folders(subject.images, reference=subject.reference)


def _fidelity(subject: Subject) -> "Evaluator":
    from omnigen.evals.networks.inception import Inception
    from omnigen.evals.suites.fidelity import Fidelity

    return Fidelity(_sets(subject), inception=Inception(subject.inception_weights))


def _kid_lite0(subject: Subject) -> "Evaluator":
    from omnigen.evals.networks.lite0 import Lite0
    from omnigen.evals.suites.fidelity import KidLite0

    return KidLite0(_sets(subject), network=Lite0())


def _lpips(subject: Subject) -> "Evaluator":
    from omnigen.evals.suites.lpips import Perceptual

    return Perceptual(subject.model, count=subject.count)


_TOKENIZER = ("encoder", "decoder")
_GENERATOR = ("decoder", "ar", "head")
_TABLE = (
    Suite("held_out", (), 0, {Use.TRAINING: ()}, _held_out),
    Suite(
        "reconstruction",
        _TOKENIZER,
        64,
        {Use.MODEL: ("scenes",), Use.TRAINING: ("scenes",)},
        _reconstruction,
        reads=True,
    ),
    Suite("samples", _GENERATOR, 64, {Use.MODEL: ("scenes",)}, _samples, reads=True),
    Suite("corpus", _GENERATOR, 64, {Use.MODEL: ()}, _corpus, reads=True, input="corpus"),
    Suite(
        "exact",
        _GENERATOR,
        4,
        {Use.MODEL: ("scenes",), Use.DRAWING: ("scenes",), Use.PICTURES: (), Use.TRAINING: ()},
        _exact,
        has_prompts=True,
    ),
    Suite(
        "text",
        _GENERATOR,
        4,
        {
            Use.MODEL: ("ocr", "scenes"),
            Use.DRAWING: ("scenes",),
            Use.PICTURES: ("ocr",),
            Use.TRAINING: ("ocr",),
        },
        _text,
        has_prompts=True,
    ),
    Suite(
        "wording",
        _GENERATOR,
        1,
        {
            Use.MODEL: ("ocr",),
            Use.DRAWING: (),
            Use.PICTURES: ("ocr",),
            Use.TRAINING: ("ocr",),
        },
        _wording,
        has_prompts=True,
    ),
    Suite(
        "wording_sketch",
        ("ar", "head"),
        1,
        {Use.MODEL: (), Use.TRAINING: ()},
        _wording_sketch,
        has_prompts=True,
    ),
    Suite("fidelity", _TOKENIZER, 64, {Use.MODEL: ("scenes",), Use.PAIR: ()}, _fidelity),
    Suite(
        "kid_lite0",
        _TOKENIZER,
        64,
        {
            Use.MODEL: ("fidelity", "scenes"),
            Use.PAIR: ("fidelity",),
            Use.TRAINING: ("fidelity", "scenes"),
        },
        _kid_lite0,
    ),
    Suite(
        "lpips",
        _TOKENIZER,
        64,
        {Use.MODEL: ("fidelity", "scenes"), Use.TRAINING: ("fidelity", "scenes")},
        _lpips,
    ),
)
SUITES = {suite.name: suite for suite in _TABLE}
"""All suites by name, in the order in which users see them."""
