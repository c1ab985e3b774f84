# SPDX-License-Identifier: Apache-2.0
"""Encodes a prepared corpus once, so that training on it need not."""

import contextlib
import pathlib
from collections.abc import Sequence

from absl import flags

from omnigen import cli

PROGRAM = "omnigen.encode"
USAGE = """
Encodes a corpus:  python -m omnigen.encode --corpus DIR [--checkpoint runs/tokenizer]
Training then reads the latents with --config.data.latents=True, and encodes nothing.
Run it again if it was interrupted: it goes on, with the same result.
"""


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    cli.define_path(values, "corpus", None, "a prepared corpus; the latents are written into it")
    text = "the encoder: a workdir or checkpoint folder; the shipped model if not given"
    cli.define_path(values, "checkpoint", None, text)
    text = "pictures at a time on each device"
    flags.DEFINE_integer("batch_size", 64, text, lower_bound=1, flag_values=values)
    return values


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = _flags()
    with cli.bad_input_exits(PROGRAM, (*cli.INPUT_ERRORS, OSError)):
        cli.parse(values, usage=USAGE, argv=argv)
        cli.require(values, "corpus")
        from omnigen.data.corpus import records

        corpus = pathlib.Path(values.corpus)
        records.Manifest.read(corpus)
    with cli.bad_input_exits(PROGRAM):
        import jax

        from omnigen import parallel
        from omnigen.data.prepare import ingest
        from omnigen.generation import encode_corpus, pretrained

        cli.cache_compilations()
        parallel.initialize()
        is_first = jax.process_index() == 0  # of all processes of a run, it keeps other runs out
        with ingest.claimed(corpus) if is_first else contextlib.nullcontext():
            checkpoint = pretrained.locate(values.checkpoint or None)
            encode_corpus.encode(corpus, checkpoint, batch_size=values.batch_size)


if __name__ == "__main__":
    main()
