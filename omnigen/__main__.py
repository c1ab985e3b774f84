# SPDX-License-Identifier: Apache-2.0
"""Lists the commands: `python -m omnigen`; `python -m omnigen NAME ...` runs one."""

import importlib
import sys
from collections.abc import Sequence

from omnigen import cli

PROGRAM = "omnigen"
COMMANDS = {
    "sample": ("omnigen.sample", "draws pictures from a prompt"),
    "serve": ("omnigen.serve.__main__", "draws for many: OpenAI's API, and a page for people"),
    "train": ("omnigen.train", "trains a model, or goes on where it stopped"),
    "evaluate": ("omnigen.evaluate", "judges models, or folders of pictures"),
    "data.prepare": ("omnigen.data.prepare.__main__", "turns pictures with captions into a corpus"),
    "data.inspect": ("omnigen.data.inspect", "says what a corpus holds, and shows some of it"),
    "data.corpora": ("omnigen.data.corpora.__main__", "builds a corpus of emoji, icons and flags"),
    "encode": ("omnigen.encode", "encodes a corpus once, so that training need not"),
    "provenance": ("omnigen.provenance", "says who made a picture, and whether that holds"),
    "export": ("omnigen.export", "writes the model of a run alone, to hand on"),
    "plan": ("omnigen.plan.__main__", "plans training or drawing on chips that are not here"),
    "bench": ("omnigen.bench.__main__", "measures this machine against its own ceilings"),
    "doctor": ("omnigen.doctor", "says what this machine lacks, and how to mend it"),
}


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Lists the commands, or runs the one that is named."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0].removeprefix("omnigen.") if arguments else "--help"
    if name in ("--help", "-help", "-h", "help"):
        print("Usage: python -m omnigen.NAME --help\n")
        for name, (_, text) in COMMANDS.items():
            print(f"  {name:14}{text}")
        return
    with cli.bad_input_exits(PROGRAM):
        if name not in COMMANDS:
            near = cli.nearest(name, COMMANDS)
            raise ValueError(f"unknown command {name!r}; did you mean {near}?")
    module, _ = COMMANDS[name]
    sys.argv = [module, *arguments[1:]]
    importlib.import_module(module).main()


if __name__ == "__main__":
    main()
