# SPDX-License-Identifier: Apache-2.0
"""Compiler flags by name, date and chip: the one place where they are written.

    python launch/flags.py v5p [GROUP ...]

Prints `NAME=value` lines. Groups that are wanted always or for several slices come by themselves;
others are asked for by name. The TPU flags are those that MaxText ships in its benchmarks (its
xla_flags_library.py of the date given), and libtpu 0.0.42.1 knows them all; whether one helps this
model has to be measured, and a group that does not is to be deleted. No flag is in two groups of
one chip.
"""

import argparse
import dataclasses
import enum
import sys
from collections.abc import Sequence

from omnigen import topologies


class When(enum.Enum):
    """When a group of flags is set."""

    ALWAYS = "always"
    SLICES = "several slices"
    ASKED = "asked for by name"


@dataclasses.dataclass(frozen=True)
class Group:
    """Flags that belong together.

    Args:
        purpose: Purpose of the flags.
        date: Year and month in which they were last found in use.
        chips: Chips that they are meant for.
        when: When they are set.
        flags: Names and values, without the dashes.
        variable: Environment variable that carries them.
    """

    purpose: str
    date: str
    chips: tuple[str, ...]
    when: When
    flags: dict[str, str]
    variable: str = "LIBTPU_INIT_ARGS"


_TPUS = ("v4", "v5e", "v5p", "v6e", "v7x")
_GPUS = ("h100", "h200", "a100")

GROUPS = {
    "fusion": Group(
        "hides the all-gathers of fsdp behind compute",
        "2026-08",
        ("v4", "v5e", "v5p", "v6e"),
        When.ALWAYS,
        {
            "xla_tpu_enable_async_collective_fusion": "true",
            "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
            "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
            "xla_tpu_overlap_compute_collective_tc": "true",
            "xla_enable_async_all_gather": "true",
        },
    ),
    "sparsecore": Group(
        "moves collectives to the SparseCores; takes the place of fusion",
        "2026-08",
        ("v7x",),
        When.ALWAYS,
        {
            "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "false",
            "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": "false",
            "xla_tpu_enable_async_collective_fusion_fuse_reduce_scatter": "false",
            "xla_tpu_enable_sparse_core_collective_offload_all_gather": "true",
            "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter": "true",
            "xla_tpu_enable_sparse_core_collective_offload_all_reduce": "true",
            "xla_tpu_enable_all_gather_offload_tracing": "true",
            "xla_tpu_enable_reduce_scatter_offload_tracing": "true",
            "xla_tpu_enable_all_reduce_offload_tracing": "true",
            "xla_tpu_use_tc_device_shape_on_sc": "true",
            "xla_sc_enable_instruction_fusion": "false",
            "xla_sc_disjoint_spmem": "false",
            "xla_sc_disable_megacore_partitioning": "true",
        },
    ),
    "slices": Group(
        "hides the all-reduce of gradients between slices behind the backward pass",
        "2026-08",
        _TPUS,
        When.SLICES,
        {
            "xla_tpu_enable_data_parallel_all_reduce_opt": "true",
            "xla_tpu_data_parallel_opt_different_sized_ops": "true",
        },
    ),
    "vmem": Group(
        "gives large matrix products more of the on-chip memory",
        "2026-08",
        ("v6e",),
        When.ASKED,
        {"xla_tpu_scoped_vmem_limit_kib": "98304"},
    ),
    "layout": Group(
        "lays weights out for reduce-scatter",
        "2026-08",
        ("v4", "v5e", "v5p", "v6e"),
        When.ASKED,
        {
            "xla_tpu_use_minor_sharding_for_major_trivial_input": "true",
            "xla_tpu_relayout_group_size_threshold_for_reduce_scatter": "1",
            "xla_tpu_assign_all_reduce_scatter_layout": "true",
        },
    ),
    "sdc": Group(
        "repeats work to find a chip that computes wrong; slow",
        "2026-08",
        _TPUS,
        When.ASKED,
        {
            "xla_tpu_enable_sdc_checker": "true",
            "xla_tpu_sdc_check_halt_on_detection": "true",
            "xla_tpu_sdc_replicate_llo": "true",
            "xla_tpu_sdc_check_repeat_count": "5",
        },
    ),
    "overlap": Group(
        "hides NCCL behind compute",
        "2026-08",
        _GPUS,
        When.ALWAYS,
        {"xla_gpu_enable_latency_hiding_scheduler": "true"},
        variable="XLA_FLAGS",
    ),
}


def environment(chip: str, *, slices: int = 1, asked: Sequence[str] = ()) -> dict[str, str]:
    """Returns the variables that carry the flags of a chip.

    Raises:
        ValueError: If there is no such chip, or a group is not meant for it.
    """
    if chip not in topologies.CHIPS:
        raise ValueError(f"no chip {chip!r}; there are {', '.join(topologies.CHIPS)}")
    meant = {name: group for name, group in GROUPS.items() if chip in group.chips}
    for name in asked:
        if name not in meant:
            raise ValueError(f"no flags {name!r} for {chip}; there are {', '.join(meant)}")
    found: dict[str, list[str]] = {}
    for name, group in meant.items():
        by_itself = group.when is When.ALWAYS or (group.when is When.SLICES and slices > 1)
        if by_itself or name in asked:
            words = [f"--{flag}={value}" for flag, value in group.flags.items()]
            found.setdefault(group.variable, []).extend(words)
    return {variable: " ".join(words) for variable, words in found.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="flags.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("chip", help=", ".join(topologies.CHIPS))
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    options = parser.parse_args(argv)
    try:
        found = environment(options.chip, slices=options.slices, asked=options.groups)
    except ValueError as error:
        parser.error(str(error))
    for variable, value in found.items():
        print(f"{variable}={value}")


if __name__ == "__main__":
    main(sys.argv[1:])
