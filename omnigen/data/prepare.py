# SPDX-License-Identifier: Apache-2.0
"""Turns pictures with captions, as people have them, into a corpus to train on."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Sequence

from absl import flags

from omnigen import cli

PROGRAM = "omnigen.data.prepare"
USAGE = """
Prepares a corpus:  python -m omnigen.data.prepare --input PATH --output DIR
PATH is a folder of pictures with a .txt of the same name beside each, a folder or file of .jsonl,
.csv or .tsv that names pictures and captions, WebDataset .tar, Hugging Face .parquet, or another
prepared corpus. Run it again if it was interrupted: it goes on, with the same result.
Equal pictures become one, with the captions of all.
With --runner the work is done by Apache Beam, on as many machines as it has.
With --latents the corpus is also encoded by a tokenizer, which data.latents then saves in training.
"""

HELP = {
    "size": "resize larger pictures so that their shorter side has so many pixels; 0: keep files",
    "min_side": "pixels that the shorter side must have",
    "max_aspect": "of the longer to the shorter side",
    "max_pixels": "larger pictures are not decoded",
    "min_caption": "characters that a caption must have; 0 also keeps pictures without any",
    "max_caption": "characters that a caption may have",
    "near_duplicates": "bits of 64 in which hashes of near duplicates differ at most; -1: keep",
    "test_fraction": "share of pictures that is never trained on, if the input names none",
    "license": "of pictures that do not name their own",
    "shard_bytes": "about how large a shard gets",
}


def _flags() -> flags.FlagValues:
    from omnigen.data.ingest import Settings

    values = flags.FlagValues()
    cli.define_path(values, "input", None, "file or folder")
    cli.define_path(values, "output", None, "folder of the corpus")
    text = "encode the corpus too; without --input, one that is there already"
    flags.DEFINE_bool("latents", False, text, flag_values=values)
    text = "whose tokenizer encodes: a workdir or checkpoint folder; the shipped model if not given"
    cli.define_path(values, "checkpoint", None, text)
    text = "runner of Apache Beam, for many machines that see the same paths"
    flags.DEFINE_string("runner", None, text, flag_values=values)
    text = "further options of the Beam pipeline, such as '--flink_master=host:8081'"
    flags.DEFINE_string("runner_options", "", text, flag_values=values)
    for field in dataclasses.fields(Settings):
        define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
        define[type(field.default)](field.name, field.default, HELP[field.name], flag_values=values)
    flags.DEFINE_integer(
        "workers",
        os.cpu_count() or 1,
        "processes; 0 works in this one, but for parquet and ArrayRecord",
        0,
        flag_values=values,
    )
    return values


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    with cli.bad_input_exits(PROGRAM, (*cli.INPUT_ERRORS, OSError)):
        values = _flags()
        cli.parse(values, usage=USAGE, argv=argv)
        if not values.output or not (values.input or values.latents):
            raise ValueError("--input and --output are required")
        from omnigen.data import ingest, records

        output, job, execute = pathlib.Path(values.output), None, None
        settings = ingest.Settings(**{name: getattr(values, name) for name in HELP})
        if values.runner:
            from omnigen.data import beam

            execute = beam.executor(values.runner, values.runner_options, output / ingest.WORK)
        if values.input:
            job = ingest.plan(pathlib.Path(values.input), output, settings)
        else:
            records.Manifest.read(output)
    if job:
        with cli.bad_input_exits(PROGRAM, ingest.REFUSALS):
            ingest.run(job, values.workers, execute)
        ingest.summarize(output)
    if values.latents:
        _encode(output, values.checkpoint)


def _encode(output: pathlib.Path, checkpoint: str | None) -> None:
    """Adds latents to a corpus; of all processes of a run, the first keeps other runs out."""
    with cli.bad_input_exits(PROGRAM):
        import jax

        from omnigen import encode, parallel
        from omnigen.data import ingest
        from omnigen.generation import pretrained

        cli.cache_compilations()
        parallel.initialize()
        is_first = jax.process_index() == 0
        with ingest.claimed(output) if is_first else contextlib.nullcontext():
            encode.encode(output, pretrained.locate(checkpoint or None))


if __name__ == "__main__":
    main()
