# SPDX-License-Identifier: Apache-2.0
"""What a compiled program means in time and money: roofline, days, chip-hours."""

import dataclasses

from omnigen.plan.memory import stacks
from omnigen.plan.program import Program
from omnigen.recipe import Recipe
from omnigen.topologies import Topology

USUAL_MFU = 0.40  # what well-tuned training of dense transformers reaches
GPU_USABLE = 0.92  # of a GPU's memory, after the driver and NCCL


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The least seconds of a step that each resource allows, and what follows."""

    compute_s: float
    memory_s: float
    links_s: float

    @property
    def step_s(self) -> float:
        """The seconds of a step if everything overlapped."""
        return max(self.compute_s, self.memory_s, self.links_s)

    @property
    def bound(self) -> str:
        """The resource that decides."""
        return max(("compute", "memory", "links"), key=lambda name: getattr(self, f"{name}_s"))


def roofline(program: Program, topology: Topology) -> Roofline:
    """Returns bounds of a step: peak FLOP/s, memory read and written once, and the links."""
    chip = topology.chip
    device_bytes = 1e9 / chip.devices
    return Roofline(
        compute_s=program.executed_flops / (topology.devices * chip.device_tflops * 1e12),
        memory_s=2 * program.needed / (chip.hbm_GB_per_s * device_bytes),
        links_s=sum(program.traffic.values()) / (chip.link_GB_per_s * device_bytes),
    )


def room(topology: Topology) -> float:
    """Returns the bytes that a program may take on a device."""
    chip = topology.chip
    return chip.hbm_GiB * 2**30 / chip.devices * (GPU_USABLE if chip.is_gpu else 1.0)


def fits(program: Program, topology: Topology) -> bool:
    """Returns whether the program fits the memory."""
    return program.temporary is not None and program.needed <= room(topology)


def mfu(program: Program, topology: Topology, step_s: float) -> float:
    """Returns the share of the chips' peak that the model's FLOPs reach."""
    return program.flops / step_s / (topology.devices * topology.chip.device_tflops * 1e12)


def text(program: Program, topology: Topology, *, steps: int) -> str:
    """Formats the plan for people."""
    gib = 2**30
    mesh = " ".join(f"{name}={size}" for name, size in program.mesh.items() if size > 1) or "1"
    moved = ", ".join(f"{kind} {size / gib:.2f}" for kind, size in program.traffic.items() if size)
    lines = [
        f"{topology.name}: {topology.chips} chips, {topology.hosts} hosts, mesh {mesh}",
        f"parameters       {program.parameters / 1e6:,.1f} M trained",
        "memory of a device, GiB",
        f"  weights        {program.weights / gib:.2f}",
        f"  optimizer      {program.optimizer / gib:.2f}",
        f"  averages       {program.averages / gib:.2f}",
    ]
    if program.temporary is not None:
        lines.append(f"  temporary      {program.temporary / gib:.2f}   activations, gradients")
    verdict = "fits" if fits(program, topology) else "DOES NOT FIT"
    lines.append(
        f"  all            {program.needed / gib:.2f} of {room(topology) / gib:.2f}: {verdict}"
    )
    if fits(program, topology):
        lines += [
            f"collectives      {moved or 'none'} GiB a device and step",
            *_times(program, topology, steps),
        ]
    return "\n".join([*lines, f"compiled in {program.compile_s:.0f} s"])


def _times(program: Program, topology: Topology, steps: int) -> list[str]:
    line = roofline(program, topology)
    usual = max(line.step_s, program.flops / program_peak(topology) / USUAL_MFU)
    bound = mfu(program, topology, line.step_s)
    found = [
        f"FLOPs            {program.flops:.3g} a step by formula, "
        f"{program.executed_flops:.3g} with padding and rematerialisation",
        f"fill             {program.fill:.2f} of the positions of a batch hold something",
        f"step at least    {1e3 * line.step_s:,.0f} ms: compute {1e3 * line.compute_s:,.0f}, "
        f"memory {1e3 * line.memory_s:,.0f}, links {1e3 * line.links_s:,.0f}; "
        f"MFU at most {100 * bound:.0f} % ({line.bound})",
    ]
    for name, step_s in (("at the bound", line.step_s), (f"at {100 * USUAL_MFU:.0f} % MFU", usual)):
        days = steps * step_s / 86_400
        found.append(
            f"{name:16} {program.images / step_s:,.0f} images/s, "
            f"{program.tokens / step_s:,.0f} tokens/s; {steps:,} steps take {days:,.2f} days, "
            f"{days * 24 * topology.chips:,.0f} chip-hours"
        )
    return found


def program_peak(topology: Topology) -> float:
    """Returns the FLOP/s of all chips together."""
    return topology.chips * topology.chip.bf16_tflops * 1e12


COLUMNS = (
    "recipe", "topology", "mesh", "fill", "parts", "remat", "state, GiB", "temporary, GiB", "of",
    "links, GiB", "step ≥, ms", "MFU ≤", "images/s at 40 %", "days at 40 %", "chip-hours",
)  # fmt: skip


def row(program: Program, topology: Topology, recipe: Recipe, *, name: str) -> str:
    """Formats the plan as one row of a Markdown table with the columns `COLUMNS`."""
    gib = 2**30
    mesh = " ".join(f"{axis} {size}" for axis, size in program.mesh.items() if size > 1) or "1"
    state = (program.weights + program.optimizer + program.averages) / gib
    remat = " ".join(sorted({str(part.remat) for part in stacks(recipe).values()}))
    cells = [name, topology.name, mesh, f"{program.fill:.2f}", f"{recipe.train.microbatches}"]
    cells += [remat, f"{state:.2f}"]
    if program.temporary is None or not fits(program, topology):
        cells += [f"over ({program.needed / gib:,.0f})", f"{room(topology) / gib:.0f}", *["—"] * 6]
        return f"| {' | '.join(cells)} |"
    line = roofline(program, topology)
    usual = max(line.step_s, program.flops / program_peak(topology) / USUAL_MFU)
    days = recipe.train.steps * usual / 86_400
    cells += [
        f"{program.temporary / gib:.2f}",
        f"{room(topology) / gib:.0f}",
        f"{sum(program.traffic.values()) / gib:.1f}",
        f"{1e3 * line.step_s:,.0f}",
        f"{100 * mfu(program, topology, line.step_s):.0f} %",
        f"{program.images / usual:,.0f}",
        f"{days:,.1f}",
        f"{days * 24 * topology.chips:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"
