# SPDX-License-Identifier: Apache-2.0
"""Preparing a corpus on many machines: the work of `ingest` as Apache Beam pipelines.

What `ingest` calls for every part of the input, and then for every shard, becomes a map over those
on whatever runner is named. Workers must see the same paths as the machine that starts them, on a
shared file system. As files are functions of input and settings and appear at once, a runner may
try work again or twice at a time, and the corpus has the same bytes as one that was made locally.
"""

import dataclasses
import json
import pathlib
import shlex
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from omnigen import extras
from omnigen.data import ingest, records


def executor(runner: str, options: str, folder: pathlib.Path) -> ingest.Execute:
    """What runs the work of `ingest.run` on a runner of Beam.

    Args:
        runner: its name, such as DirectRunner, FlinkRunner, SparkRunner or DataflowRunner.
        options: further options of the pipeline, as on a command line.
        folder: for results, seen by all workers.

    Raises:
        ValueError: Beam is not installed, or knows no such runner.
    """
    purpose = f"runner {runner!r}"
    apache_beam = extras.load("apache_beam", "beam", purpose)
    pipeline_options = extras.load("apache_beam.options.pipeline_options", "beam", purpose)
    try:
        apache_beam.runners.create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise ValueError(f"runner is {runner!r}, which Beam does not have: {error}") from error
    arguments = [f"--runner={runner}", *shlex.split(options)]

    def execute(
        work: Callable[..., Any], tasks: Sequence[tuple], unit: str, sizes: Sequence[int]
    ) -> list:
        del unit, sizes  # runners report in their own way
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as results:
            settings = pipeline_options.PipelineOptions(arguments)
            with apache_beam.Pipeline(options=settings) as pipeline:
                _ = (
                    pipeline
                    | apache_beam.Create(list(enumerate(tasks)))
                    | apache_beam.Reshuffle()
                    | apache_beam.Map(_call, work, results)
                )
            found = [json.loads(_path(results, k).read_text()) for k in range(len(tasks))]
        return [each and records.Shard(**each) for each in found]

    return execute


def _path(results: str, number: int) -> pathlib.Path:
    return pathlib.Path(results, f"{number}.json")


def _call(task: tuple[int, tuple], work: Callable[..., records.Shard | None], results: str) -> None:
    """Does the work and leaves what it returned: nothing pickled is read back."""
    number, arguments = task
    path = _path(results, number)
    partial = records.partial(path)
    found = work(*arguments)
    partial.write_text(json.dumps(found and dataclasses.asdict(found)))
    partial.replace(path)
