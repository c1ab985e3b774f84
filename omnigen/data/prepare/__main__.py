# SPDX-License-Identifier: Apache-2.0
"""Turns pictures with captions, as people have them, into a corpus to train on."""

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
"""

HELP = {
    "size": "resize larger pictures so that their shorter side has so many pixels; 0: keep files",
    "min_side": "pixels that the shorter side must have",
    "max_aspect": "largest ratio of the longer to the shorter side",
    "max_pixels": "larger pictures are not decoded",
    "min_caption": "characters that a caption must have; 0 also keeps pictures without any",
    "max_caption": "characters that a caption may have",
    "near_duplicates": "most bits, of 64, in which hashes of near duplicates differ; -1: keep",
    "test_fraction": "share of pictures that is never trained on, if the input names none",
    "license": "licence of pictures that do not name their own",
    "shard_bytes": "approximate bytes of a shard",
}


def _flags() -> flags.FlagValues:
    from omnigen.data.prepare.ingest import Settings

    values = flags.FlagValues()
    cli.define_path(values, "input", None, "file or folder")
    cli.define_path(values, "output", None, "folder of the corpus")
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
        cli.require(values, "input", "output")
        from omnigen.data.prepare import ingest

        output = pathlib.Path(values.output)
        settings = ingest.Settings(**{name: getattr(values, name) for name in HELP})
        job = ingest.plan(pathlib.Path(values.input), output, settings)
    with cli.bad_input_exits(PROGRAM, ingest.REFUSALS):
        ingest.run(job, values.workers)
    ingest.summarize(output)


if __name__ == "__main__":
    main()
