# SPDX-License-Identifier: Apache-2.0
"""GenEval's six tasks over coloured shapes, judged exactly, for any system's pictures.

    overall = mean over the six tasks of the share of their pictures that are right

Pictures lie where GenEval's own scorer looks: prompt 12's second at `00012/samples/0001.png`. One
that is missing or cannot be read is wrong.
"""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from omnigen.evals import exact_prompts
from omnigen.evals.judges import geneval, shapes
from omnigen.models.omni import Omni, to_uint8
from omnigen.nn.module import Params


class Exact:
    """Draws each prompt with seeds 0, 1, ... and judges what came out.

    Files: `exact/prompts.jsonl`, GenEval's metadata; `exact/verdicts.jsonl`, a line a picture with
    everything that was seen; and the pictures, unless given, under `exact/images`.
    """

    name = "exact"

    def __init__(
        self,
        omni: Omni | None,
        *,
        output: pathlib.Path,
        count: int = 4,
        images: pathlib.Path | None = None,
        prompts: Iterable[Mapping[str, Any]] | None = None,
    ):
        """Judges by `count` pictures a prompt.

        Args:
            omni: draws; None if `images` is given.
            output: the folder for files.
            count: pictures a prompt.
            images: the folder of pictures that another system drew.
            prompts: metadata; `exact_prompts.prompts()` if None.
        """
        assert (omni is None) != (images is None)
        self._omni, self._count, self._images = omni, count, images
        self._folder = output / "exact"
        self._prompts = tuple(exact_prompts.prompts() if prompts is None else prompts)

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields shares of pictures that are right, by task, and how many could not be read."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _write_lines(self._folder / "prompts.jsonl", self._prompts)
        images = self._images
        if images is None:
            images = self._folder / "images"
            for index, metadata in enumerate(self._prompts):
                self._draw({**frozen, **params}, images, index, metadata["prompt"])
        records = []
        for index, metadata in enumerate(self._prompts):
            for sample in range(self._count):
                path = _place(images, index, sample)
                records.append({"index": index, "sample": sample, **_judged(path, metadata)})
        assert len(records) == len(self._prompts) * self._count
        _write_lines(self._folder / "verdicts.jsonl", records)
        yield from scores(records)

    def _draw(self, weights: Params, images: pathlib.Path, index: int, prompt: str) -> None:
        """Draws and writes all pictures of a prompt, in one call."""
        assert self._omni is not None
        keys = jax.vmap(jax.random.key)(jnp.arange(self._count))
        rows = self._omni.prompts([prompt] * self._count)
        for sample, image in enumerate(to_uint8(self._omni.generate(weights, rows, keys))):
            path = _place(images, index, sample)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def scores(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yields the metrics of verdicts: shares in [0, 1], and `unreadable`, a count.

    `TASK` and `TASK_strict` for every tag that occurs, `TASK_held_out` over compositions that
    training never holds, `overall` and `overall_strict` if all six tasks occur.
    """
    groups: dict[str, list[bool]] = collections.defaultdict(list)
    unreadable = 0
    for record in records:
        groups[record["tag"]].append(record["correct"])
        groups[f"{record['tag']}_strict"].append(record["strict"])
        if record["held_out"]:
            groups[f"{record['tag']}_held_out"].append(record["correct"])
        unreadable += record["seen"] is None
    means = {name: float(np.mean(values)) for name, values in groups.items()}
    yield from means.items()
    for suffix in ("", "_strict"):
        tasks = [f"{task}{suffix}" for task in exact_prompts.TASKS]
        if all(task in means for task in tasks):
            yield f"overall{suffix}", float(np.mean([means[task] for task in tasks]))
    yield "unreadable", float(unreadable)


def _place(images: pathlib.Path, index: int, sample: int) -> pathlib.Path:
    return images / f"{index:05d}" / "samples" / f"{sample:04d}.png"


def _judged(path: pathlib.Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The record of one picture; `seen` is None if it could not be read."""
    try:
        with Image.open(path) as file:
            seen = shapes.look(np.asarray(file.convert("RGB")))
        verdict = geneval.judge(metadata, seen)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        seen = None
        verdict = geneval.Verdict(correct=False, strict=False, reasons=(f"unreadable: {error}",))
    return {
        "tag": metadata["tag"],
        "prompt": metadata["prompt"],
        "held_out": metadata.get("held_out", False),
        "file": str(path),
        "judge": shapes.VERSION,
        **dataclasses.asdict(verdict),
        "seen": None if seen is None else [dataclasses.asdict(s) for s in seen],
    }


def _write_lines(path: pathlib.Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
