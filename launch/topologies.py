# SPDX-License-Identifier: Apache-2.0
"""Prints what Google Cloud and GKE call a TPU topology, as assignments that a shell can read.

    settings="$(python launch/topologies.py v5p-512)" && eval "$settings"

The hardware itself is described in `omnigen.topologies`; here are the clouds' names for it, from
cloud.google.com/tpu/docs/runtimes and XPK's system_characteristics.py, 2026-06. `OMNIGEN_FLAGS`
names groups of flags.py to set besides the usual ones.
"""

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence

import flags
from omnigen import topologies


@dataclasses.dataclass(frozen=True)
class Names:
    """Names of a chip: the label of GKE nodes, their machine type, and the VM's software."""

    label: str
    machine: str
    runtime: str


NAMES = {
    "v4": Names("tpu-v4-podslice", "ct4p-hightpu", "tpu-ubuntu2204-base"),
    "v5e": Names("tpu-v5-lite-podslice", "ct5lp-hightpu", "v2-alpha-tpuv5-lite"),
    "v5p": Names("tpu-v5p-slice", "ct5p-hightpu", "v2-alpha-tpuv5"),
    "v6e": Names("tpu-v6e-slice", "ct6e-standard", "v2-alpha-tpuv6e"),
    "v7x": Names("tpu7x", "tpu7x-standard", ""),  # GKE only
}


def settings(name: str, *, slices: int = 1, asked: Sequence[str] = ()) -> dict[str, str]:
    """Returns the variables that the scripts beside this one use.

    Raises:
        ValueError: If there is no such TPU topology, or flags are not meant for its chip.
    """
    topology = topologies.find(name)
    chip = topology.chip
    if chip.is_gpu:
        raise ValueError(f"{name!r} is not a TPU topology; for GPUs see slurm/")
    if slices < 1:
        raise ValueError(f"{slices} slices; there must be at least 1")
    compiler = flags.environment(chip.name, slices=slices, asked=asked)
    return {
        "ACCELERATOR_TYPE": f"{chip.cloud_name or chip.name}-{topology.chips * chip.counted}",
        "RUNTIME_VERSION": NAMES[chip.name].runtime,
        "GKE_ACCELERATOR": NAMES[chip.name].label,
        "GKE_TOPOLOGY": topology.grid,
        "MACHINE_TYPE": f"{NAMES[chip.name].machine}-{topology.chips_per_host}t",
        "CHIPS_PER_HOST": str(topology.chips_per_host),
        "HOSTS": str(topology.hosts),
        "LIBTPU_INIT_ARGS": compiler["LIBTPU_INIT_ARGS"],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="topologies.py", description="Names of a TPU topology.")
    parser.add_argument("topology", help="such as v5e-256 or v5p-512")
    parser.add_argument("--slices", type=int, default=1)
    options = parser.parse_args(argv)
    asked = os.environ.get("OMNIGEN_FLAGS", "").split()
    try:
        found = settings(options.topology, slices=options.slices, asked=asked)
    except ValueError as error:
        print(f"topologies.py: {error}", file=sys.stderr)
        sys.exit(2)
    for variable, value in found.items():
        print(f"{variable}={shlex.quote(value)}")


if __name__ == "__main__":
    main()
