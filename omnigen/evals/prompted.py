# SPDX-License-Identifier: Apache-2.0
"""Evaluators of prompts: pictures are drawn or found, each is judged alone, and all are counted.

A picture that is missing, damaged or of another size than the rest is wrong, and is listed.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from omnigen.evals import benchmark, pictures, results
from omnigen.evals.benchmark import Benchmark, Record
from omnigen.evals.pictures import Job
from omnigen.evals.results import Outcome
from omnigen.models.omni import GUIDANCE, TEMPERATURE, Omni, to_pixels, to_uint8
from omnigen.nn.module import Params

_BATCH_SIZES = {"cpu": 16}  # elsewhere 64


def digest(params: Params) -> str:
    """SHA-256 over names, shapes and values of weights; the values as bfloat16, as they ship."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        values = np.asarray(leaf).astype(ml_dtypes.bfloat16)
        total.update(f"{jax.tree_util.keystr(path)} {values.shape} ".encode())
        total.update(values.tobytes())
    return total.hexdigest()


class Prompted:
    """Judges a model by pictures that it draws with seeds `seed`, ..., or another's pictures.

    Files, unless `output` is None: `SUITE/prompts.jsonl`, GenEval's metadata; drawn pictures under
    `pictures/COLUMN/SUITE`; `verdicts/COLUMN-SUITE.jsonl`, from which a killed run goes on.
    """

    def __init__(
        self,
        suite: Benchmark,
        *,
        omni: Omni | None = None,
        images: pathlib.Path | None = None,
        output: pathlib.Path | None = None,
        column: str = "model",
        count: int = 4,
        seed: int = 0,
        workers: int = 1,
    ):
        """Judges by `count` pictures a prompt.

        Args:
            suite: what is asked and how it is judged.
            omni: draws; None if `images` is given.
            images: the folder of pictures that another system drew.
            output: the folder for files; None keeps none.
            column: names the system in the names of files.
            count: pictures a prompt.
            seed: of the first of them.
            workers: processes that judge.
        """
        assert (omni is None) != (images is None)
        self.name = suite.name
        self._suite, self._omni, self._images = suite, omni, images
        self._output, self._column = output, column
        self._count, self._seed, self._workers = count, seed, workers

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields the metrics, without intervals."""
        with tempfile.TemporaryDirectory() as folder:
            outcome = self._outcome({**frozen, **params}, self._output or pathlib.Path(folder))
        yield from ((name, results.value(score)) for name, score in outcome.scores.items())

    def judge(self, params: Params, frozen: Params) -> Outcome:
        """All that was found and, if there is an encoder, the tokenizer's ceiling."""
        assert self._output is not None
        weights = {**frozen, **params}
        outcome = self._outcome(weights, self._output)
        if self._omni is None or "encoder" not in weights:
            return outcome
        folder = self._output / "pictures" / self._column / f"{self.name}-ceiling"
        wanted = pictures.jobs(self._suite.prompts, 1)
        self._draw(folder, wanted, self._rebuild, weights)
        ideal = self._judged(folder, wanted, self._output)
        scores = self._suite.scores(ideal)
        return dataclasses.replace(outcome, ceiling=scores, ceiling_pictures=ideal)

    def _outcome(self, weights: Params, output: pathlib.Path) -> Outcome:
        prompts = [dict(metadata) for metadata in self._suite.prompts]
        lines = "".join(json.dumps(metadata) + "\n" for metadata in prompts)
        results.write(lines, output / self.name / "prompts.jsonl")
        wanted = pictures.jobs(prompts, self._count)
        problems: dict[str, list[str]] = {}
        if self._images is None:
            folder, size = output / "pictures" / self._column / self.name, None
            self._draw(folder, wanted, self._generate, weights)
        else:
            folder, size = self._images, pictures.usual_size(self._images, wanted)
        records = self._judged(folder, wanted, output, size=size)
        assert len(records) == len(prompts) * self._count
        for record in records:
            if record["problem"]:
                kind = record["problem"].split(":")[0]
                problems.setdefault(kind, []).append(record["file"])
        if self._images and (extra := pictures.unexpected(folder, wanted)):
            problems["unexpected"] = extra
        about = {
            "judge": self._suite.version,
            "folder": str(self._images or ""),
            "prompts_sha256": results.text_digest(prompts),
            "seeds": list(range(self._seed, self._seed + self._count)),
            "settings": self._settings() if self._omni else {},
            "expected": len(prompts) * self._count,
            "judged": len(records),
            "unreadable": sum(bool(record["problem"]) for record in records),
        }
        return Outcome(self._suite.scores(records), about, records, problems)

    def _judged(
        self,
        folder: pathlib.Path,
        wanted: Sequence[Job],
        output: pathlib.Path,
        *,
        size: tuple[int, int] | None = None,
    ) -> list[Record]:
        """Records whose files are named relative to the folder that they were found in."""
        name = f"{self._column}-{self.name}{'-ceiling' * folder.name.endswith('-ceiling')}"
        records = benchmark.judge(
            self._suite,
            folder,
            wanted,
            journal=output / "verdicts" / f"{name}.jsonl",
            size=size,
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
            "guidance": GUIDANCE,
            "temperature": TEMPERATURE,
            "head_steps": config.head.num_steps,
            "decoder_steps": config.decoder.num_steps,
            "first_seed": self._seed,
            "dtype": config.ar.dtype,
            "batch_size": _BATCH_SIZES.get(jax.default_backend(), 64),
        }

    def _draw(
        self,
        folder: pathlib.Path,
        wanted: Sequence[Job],
        paint: Callable[[Params, Sequence[Job]], np.ndarray],
        weights: Params,
    ) -> None:
        settings = self._settings()
        pictures.draw(
            folder,
            wanted,
            functools.partial(paint, weights),
            settings={**settings, "weights": digest(weights) if self._output else ""},
            batch_size=min(settings["batch_size"], len(wanted)),
            what=f"{self._column}, {folder.name}",
        )

    def _generate(self, weights: Params, batch: Sequence[Job]) -> np.ndarray:
        """Draws from prompts."""
        assert self._omni is not None
        seeds = jnp.asarray([self._seed + job.sample for job in batch], jnp.uint32)
        keys = jax.vmap(jax.random.key)(seeds)
        rows = self._omni.prompts([job.metadata["prompt"] for job in batch])
        return to_uint8(self._omni.generate(weights, rows, keys, guidance=GUIDANCE))

    def _rebuild(self, weights: Params, batch: Sequence[Job]) -> np.ndarray:
        """Renders true pictures, encodes and decodes them."""
        from omnigen.data.scenes.render import render

        assert self._omni is not None
        size = self._omni.config.image_size
        images = np.stack([render(self._suite.truth(job.metadata), size) for job in batch])
        keys = jax.random.split(jax.random.key(0), len(batch))
        return to_uint8(self._omni.reconstruct(weights, to_pixels(jnp.asarray(images)), keys))
