# SPDX-License-Identifier: Apache-2.0
"""The prompts of `wording`, judged by what the model writes before it draws; nothing is drawn.

A sketch costs a small part of a picture, so all prompts are asked on a CPU in minutes, and often
while a model is trained.
"""

import hashlib
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from omnigen import progress
from omnigen.checkpoints import fingerprint
from omnigen.evals import picture_files, results
from omnigen.evals.benchmark import Journal, Record
from omnigen.evals.picture_files import Job
from omnigen.evals.results import Outcome
from omnigen.evals.suites import wording
from omnigen.generation.generate import sketches, written
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.models.omni import Omni
from omnigen.nn.module import Params

NAME = "wording_sketch"

_SAMPLING = Sampling()
_BATCH_SIZES = {"cpu": 16}  # elsewhere 256


class WordingSketch:
    """Judges a model by the sketches that it writes of prompts in many wordings.

    The file `sketches/COLUMN.jsonl`, unless `output` is None, keeps them as they are written; a
    killed run goes on from it.
    """

    name = NAME

    def __init__(
        self,
        omni: Omni,
        *,
        count: int = 1,
        seed: int = 0,
        every: int = 1,
        output: pathlib.Path | None = None,
        column: str = "model",
    ):
        """Judges by `count` sketches a prompt.

        Args:
            omni: Model that writes.
            count: Number of sketches for each prompt.
            seed: Number of the first of them; see `picture_files.seed_of`.
            every: Interval between the prompts asked of each kind.
            output: Folder for files; None keeps none.
            column: Name of the system in names of files.

        Raises:
            ValueError: If the model writes no sketches.
        """
        if not omni.config.sketch_length:
            raise ValueError(f"suite {NAME} needs a model that writes sketches; this one does not")
        self._omni, self._count, self._seed = omni, count, seed
        self._prompts = wording.benchmark(judges=False).part(every).prompts
        self._output, self._column = output, column

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields the metrics, without intervals."""
        outcome = self.judge(params, frozen)
        yield from ((name, results.value(score)) for name, score in outcome.scores.items())

    def judge(self, params: Params, frozen: Params) -> Outcome:
        """Returns all that was found; records name no files, as there are no pictures."""
        weights = {**frozen, **params}
        wanted = picture_files.jobs(self._prompts, self._count, first=self._seed)
        settings = {
            "sketch_temperature": _SAMPLING.sketch_temperature,
            "first_seed": self._seed,
            "dtype": self._omni.config.ar.dtype,
            "batch_size": min(_BATCH_SIZES.get(jax.default_backend(), 256), len(wanted)),
            "weights": fingerprint.shipped(weights) if self._output else "",
        }
        texts = self._written(weights, wanted, settings)
        records = [_record(job, text) for job, text in zip(wanted, texts, strict=True)]
        about = {
            "judge": wording.VERSION,
            "prompts_sha256": results.text_digest([dict(one) for one in self._prompts]),
            "seeds": list(range(self._seed, self._seed + self._count)),
            "settings": settings,
        }
        with progress.work(f"{self._column}, {NAME}: intervals"):
            return Outcome(wording.scores(records), about, records)

    def _written(
        self, weights: Params, wanted: Sequence[Job], settings: dict[str, Any]
    ) -> list[str]:
        """Returns the sketches of all jobs, of which those that are kept are not written again."""
        journal = None
        if self._output is not None:
            journal = Journal(self._output / "sketches" / f"{self._column}.jsonl")
        known = {} if journal is None else journal.verdicts
        keys = [_key(job, settings) for job in wanted]
        size = settings["batch_size"]
        with progress.work(f"{self._column}, {NAME}: writing sketches", len(wanted)) as done:
            for start in range(0, len(wanted), size):
                places = range(start, min(start + size, len(wanted)))
                if not all(keys[place] in known for place in places):
                    batch = [wanted[place] for place in places]
                    texts = self._write(weights, batch + batch[-1:] * (size - len(batch)))
                    found = {
                        keys[p]: {"sketch": text} for p, text in zip(places, texts, strict=False)
                    }
                    known.update(found)
                    if journal is not None:
                        journal.extend(iter(found.items()))
                done.add(len(places))
        return [known[key]["sketch"] for key in keys]

    def _write(self, weights: Params, batch: Sequence[Job]) -> list[str]:
        seeds = jnp.asarray([job.seed for job in batch], jnp.uint32)
        rows = prompt_rows(self._omni, [job.metadata["prompt"] for job in batch])
        keys = jax.vmap(jax.random.key)(seeds)
        return sketches(self._omni, written(self._omni, weights, rows, keys, _SAMPLING))


def _key(job: Job, settings: dict[str, Any]) -> str:
    """Returns a key of what decides a sketch."""
    asked = json.dumps([settings, job.metadata["prompt"], job.sample], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


def _record(job: Job, text: str) -> Record:
    told = wording.judged_sketch(job.metadata, text)
    return {
        "index": job.index,
        "sample": job.sample,
        "tag": job.metadata["tag"],
        "domain": job.metadata["domain"],
        "prompt": job.metadata["prompt"],
        "held_out": bool(job.metadata["held_out"]),
        "correct": told["correct"],
        "atoms": told["atoms"],
        "reasons": [f"not so: {atom['what']}" for atom in told["atoms"] if not atom["met"]],
        "problem": "",
        "sketch": told,
        "picture": None,
    }
