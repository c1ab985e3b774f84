# SPDX-License-Identifier: Apache-2.0
"""Writes a run's model alone, a sixth of its checkpoint, for drawing and to hand on."""

import pathlib
from collections.abc import Sequence

from absl import flags

from omnigen import cli

PROGRAM = "omnigen.export"
USAGE = """
Writes the model of a run:  python -m omnigen.export --checkpoint runs/ar --output models/ar
Its averaged weights and its config, sealed; --checkpoint models/ar then takes it anywhere.
"""
DTYPES = ("bfloat16", "float32", "int8")


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = flags.FlagValues()
    for name, text in (
        ("checkpoint", "a workdir or checkpoint folder, or 'shipped'"),
        ("output", "the folder to write; must not exist"),
    ):
        cli.define_path(values, name, None, text)
    flags.DEFINE_enum(
        "dtype",
        DTYPES[0],
        DTYPES,
        "data type on disk; int8: large matrices in eight bits",
        flag_values=values,
    )
    text = "another model to average in, of which this one was trained on"
    cli.define_path(values, "blend", None, text)
    flags.DEFINE_float("share", 0.1, "weight of --blend in the average", 0, 1, flag_values=values)
    with cli.bad_input_exits(PROGRAM, (*cli.INPUT_ERRORS, OSError)):
        cli.parse(values, usage=USAGE, argv=argv)
        cli.require(values, "checkpoint", "output")
        from omnigen.checkpoints import manager
        from omnigen.checkpoints.model import Blend
        from omnigen.generation.pretrained import check_weights, locate

        output = pathlib.Path(values.output)
        blend = Blend(locate(values.blend), values.share) if values.blend else None
        model = manager.export_model(
            locate(values.checkpoint), output, dtype=values.dtype, check=check_weights, blend=blend
        )
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    cli.say(f"{model.path}: model {model.version} of step {model.step}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
