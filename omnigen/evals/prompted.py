# SPDX-License-Identifier: Apache-2.0
"""Evaluators of prompts: pictures are drawn or found, each is judged alone, and all are counted.

A picture that is missing, damaged or of another size than the rest is wrong, and is listed.
"""

import dataclasses
import functools
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omnigen import progress
from omnigen.checkpoints import fingerprint
from omnigen.evals import benchmark, picture_files, results
from omnigen.evals.benchmark import Benchmark, Record
from omnigen.evals.picture_files import Job, Painted
from omnigen.evals.results import Outcome
from omnigen.generation.generate import drawn, sketches
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.models.omni import Omni, to_pixels, to_uint8
from omnigen.nn.module import Params

CEILING = "-ceiling"
"""What the folder of a suite's true pictures adds to the name of the folder of its pictures."""

_BATCH_SIZES = {"cpu": 16}  # elsewhere 64


def _problems(records: Sequence[Record]) -> dict[str, list[str]]:
    """Returns the files that could not be judged, by what is wrong."""
    found: dict[str, list[str]] = {}
    for record in records:
        if record["problem"]:
            found.setdefault(record["problem"].split(":")[0], []).append(record["file"])
    return found


class Prompted:
    """Judges a model by pictures that it draws, or another's pictures.

    Files, unless `output` is None: `SUITE/prompts.jsonl`, GenEval's metadata; drawn pictures under
    `pictures/COLUMN/SUITE`; `verdicts/COLUMN-SUITE.jsonl`, from which a killed run goes on.
    """

    def __init__(
        self,
        suite: Benchmark,
        *,
        omni: Omni | None = None,
        images: pathlib.Path | None = None,
        ceiling: pathlib.Path | None = None,
        output: pathlib.Path | None = None,
        column: str = "model",
        count: int = 4,
        seed: int = 0,
        workers: int = 1,
        sampling: Sampling = Sampling(),  # noqa: B008  it is frozen
    ):
        """Judges by `count` pictures a prompt.

        Args:
            suite: Prompts, and their judge.
            omni: Model that draws; None if `images` is given.
            images: Folder of pictures that were drawn elsewhere.
            ceiling: Folder of true pictures that went through the encoder elsewhere.
            output: Folder for files; None keeps none.
            column: Name of the system in names of files.
            count: Number of pictures for each prompt.
            seed: Number of the first of them; see `picture_files.seed_of`.
            workers: Number of processes that judge.
            sampling: How to draw.
        """
        assert (omni is None) != (images is None)
        self.name = suite.name
        self._suite, self._omni = suite, omni
        self._images, self._ceiling = images, ceiling
        self._output, self._column = output, column
        self._count, self._seed, self._workers = count, seed, workers
        self._sampling = sampling

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields the metrics, without intervals."""
        with tempfile.TemporaryDirectory() as folder:
            outcome = self._outcome({**frozen, **params}, self._output or pathlib.Path(folder))
        yield from ((name, results.value(score)) for name, score in outcome.scores.items())

    def draw(self, params: Params, frozen: Params) -> None:
        """Draws everything that `judge` would, to be judged elsewhere."""
        assert self._output is not None
        self._drawn_ceiling({**frozen, **params}, self._output)
        self._drawn({**frozen, **params}, self._output)

    def judge(self, params: Params, frozen: Params) -> Outcome:
        """Returns all that was found, with the ceiling if there is an encoder or its pictures."""
        assert self._output is not None
        weights = {**frozen, **params}
        outcome = self._outcome(weights, self._output)
        folder = self._drawn_ceiling(weights, self._output)
        if folder is None:
            return outcome
        wanted, survey = picture_files.jobs(self._suite.prompts, 1), None
        if self._omni is None:
            # A ceiling is the limit of one encoder and decoder. Beside the pictures of other
            # weights it would tell nothing, so it is left out and said to be foreign.
            survey = picture_files.survey(folder, wanted)
            ours, theirs = outcome.about["settings"].get("weights"), survey.settings.get("weights")
            if ours != theirs:
                problems = {**outcome.problems, results.FOREIGN: [folder.name]}
                return dataclasses.replace(outcome, problems=problems)
        ideal = self._judged(folder, wanted, self._output, survey=survey)
        with progress.work(f"{self._column}, {self.name}: intervals of the ceiling"):
            ceiling = self._suite.scores(ideal)
        problems = {**outcome.problems}
        # A bad file of the ceiling is told under its folder's name, apart from the pictures' own.
        for kind, files in _problems(ideal).items():
            problems[kind] = [*problems.get(kind, ()), *(f"{folder.name}/{file}" for file in files)]
        return dataclasses.replace(
            outcome,
            ceiling=ceiling,
            ceiling_pictures=ideal,
            problems=problems,
        )

    def _drawn(self, weights: Params, output: pathlib.Path) -> pathlib.Path:
        """Returns the folder of the pictures, which are there if this is a model's evaluator."""
        if self._images is not None:
            return self._images
        folder = output / "pictures" / self._column / self.name
        wanted = picture_files.jobs(self._suite.prompts, self._count, first=self._seed)
        self._draw(folder, wanted, self._generate, weights)
        return folder

    def _drawn_ceiling(self, weights: Params, output: pathlib.Path) -> pathlib.Path | None:
        """Returns the folder of true pictures that went through the encoder, if there is one."""
        if self._images is not None or self._suite.reference is None or "encoder" not in weights:
            return self._ceiling
        folder = output / "pictures" / self._column / f"{self.name}{CEILING}"
        self._draw(folder, picture_files.jobs(self._suite.prompts, 1), self._rebuild, weights)
        return folder

    def _outcome(self, weights: Params, output: pathlib.Path) -> Outcome:
        prompts = [dict(metadata) for metadata in self._suite.prompts]
        lines = "".join(json.dumps(metadata) + "\n" for metadata in prompts)
        results.write(lines, output / self.name / "prompts.jsonl")
        wanted, survey = picture_files.jobs(prompts, self._count), None
        settings, seed = self._settings() if self._omni else {}, self._seed
        folder = self._drawn(weights, output)
        if self._images is not None:
            survey = picture_files.survey(folder, wanted)
            settings, first = survey.settings, survey.settings.get("first_seed")
            seed = first if type(first) is int and 0 <= first < 2**31 else seed
        records = self._judged(folder, wanted, output, survey=survey)
        assert len(records) == len(prompts) * self._count
        problems = _problems(records)
        if self._images and (extra := picture_files.unexpected(folder, wanted)):
            problems[results.UNEXPECTED] = extra
        about = {
            "judge": self._suite.version,
            "folder": str(self._images or ""),
            "prompts_sha256": results.text_digest(prompts),
            "seeds": list(range(seed, seed + self._count)),
            "settings": settings,
            "expected": len(prompts) * self._count,
            "judged": len(records),
            "unreadable": sum(bool(record["problem"]) for record in records),
        }
        with progress.work(f"{self._column}, {self.name}: intervals"):
            scores = self._suite.scores(records)
        return Outcome(scores, about, records, problems)

    def _judged(
        self,
        folder: pathlib.Path,
        wanted: Sequence[Job],
        output: pathlib.Path,
        *,
        survey: picture_files.Survey | None = None,
    ) -> list[Record]:
        """Returns records whose files are named relative to the folder that they were found in."""
        name = f"{self._column}-{self.name}{CEILING * folder.name.endswith(CEILING)}"
        records = benchmark.judge(
            self._suite,
            folder,
            wanted,
            journal=output / "verdicts" / f"{name}.jsonl",
            problems=survey.problems if survey else (),
            workers=self._workers,
        )
        root = folder if self._images else output
        return [
            {**record, "file": pathlib.Path(record["file"]).relative_to(root).as_posix()}
            for record in records
        ]

    def _settings(self) -> dict[str, Any]:
        assert self._omni is not None
        config = self._omni.config
        return {
            **self._sampling.resolved(config),
            "decoder_noise": config.decoder.noise_scale,
            "first_seed": self._seed,
            "dtype": config.ar.dtype,
            "batch_size": _BATCH_SIZES.get(jax.default_backend(), 64),
        }

    def _draw(
        self,
        folder: pathlib.Path,
        wanted: Sequence[Job],
        paint: Callable[[Params, Sequence[Job]], Painted],
        weights: Params,
    ) -> None:
        settings = self._settings()
        picture_files.draw(
            folder,
            wanted,
            functools.partial(paint, weights),
            settings={**settings, "weights": fingerprint.shipped(weights) if self._output else ""},
            batch_size=min(settings["batch_size"], len(wanted)),
            what=f"{self._column}, {folder.name}",
        )

    def _generate(self, weights: Params, batch: Sequence[Job]) -> Painted:
        """Draws from prompts."""
        assert self._omni is not None
        seeds = jnp.asarray([job.seed for job in batch], jnp.uint32)
        keys = jax.vmap(jax.random.key)(seeds)
        rows = prompt_rows(self._omni, [job.metadata["prompt"] for job in batch])
        pictures = drawn(self._omni, weights, rows, keys, self._sampling)
        written = sketches(self._omni, pictures.ids) if self._omni.config.sketch_length else ()
        return Painted(to_uint8(pictures.images), written)

    def _rebuild(self, weights: Params, batch: Sequence[Job]) -> Painted:
        """Renders true pictures, encodes and decodes them."""
        from omnigen.scenes.render import render

        assert self._omni is not None and self._suite.reference is not None
        size, true = self._omni.config.image_size, self._suite.reference
        images = np.stack([render(true(job.metadata), size) for job in batch])
        keys = jax.random.split(jax.random.key(0), len(batch))
        pixels = self._omni.reconstruct(weights, to_pixels(jnp.asarray(images)), keys)
        return Painted(to_uint8(pixels))
