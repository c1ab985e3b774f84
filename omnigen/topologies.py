# SPDX-License-Identifier: Apache-2.0
"""Accelerators and the shapes they come in: what a chip has, and what a name such as v5p-512 means.

Pure data, the only such table: MFU is a share of these peaks, and the scripts in launch/ ask here
how many hosts a slice has. TPU names count what the cloud counts: chips of v5e and v6e, TensorCores
of v4, v5p and v7x, which have two a chip. Sources: cloud.google.com/tpu/docs (v4, v5e, v5p, v6e and
tpu7x pages) and NVIDIA's data sheets of the SXM boards, dense rates, as of 2026-11.
"""

import dataclasses
import difflib
import math
import re


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator.

    Args:
        name: Name, with which those of topologies begin.
        kinds: Possible beginnings of jax's `device_kind` of it.
        bf16_tflops: Dense bfloat16 peak, TFLOP/s.
        hbm_GiB: Memory size.
        hbm_GB_per_s: Memory bandwidth.
        link_GB_per_s: Bandwidth of all links to other chips of the slice, or of NVLink, each way.
        shapes: Shapes of its slices, chips along each axis of the torus; for GPUs, their numbers.
        per_host: Number of chips of one host of a slice that has several.
        counted: Number that one chip adds to that in a topology's name.
        devices: Number of JAX devices of one chip.
        cloud_name: Name in Google Cloud's accelerator types, if it is not `name`.
    """

    name: str
    kinds: tuple[str, ...]
    bf16_tflops: float
    hbm_GiB: float
    hbm_GB_per_s: float
    link_GB_per_s: float
    shapes: tuple[tuple[int, ...], ...]
    per_host: int = 4
    counted: int = 1
    devices: int = 1
    cloud_name: str = ""

    @property
    def is_gpu(self) -> bool:
        """Whether hosts of it are joined by NCCL rather than by a torus."""
        return len(self.shapes[0]) == 1

    @property
    def device_tflops(self) -> float:
        """The bfloat16 peak of one JAX device, TFLOP/s."""
        return self.bf16_tflops / self.devices


@dataclasses.dataclass(frozen=True)
class Topology:
    """One slice of TPUs, or some GPUs on hosts of eight."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its usual name, `v5p-512` or `h100x8`."""
        return f"{self.chip.name}{'x' if self.chip.is_gpu else '-'}{self.chips * self.chip.counted}"

    @property
    def chips(self) -> int:
        """The number of its chips."""
        return math.prod(self.shape)

    @property
    def devices(self) -> int:
        """The number of devices that JAX sees, which is the product of the mesh axes."""
        return self.chips * self.chip.devices

    @property
    def chips_per_host(self) -> int:
        """The number of chips that each of its hosts has."""
        return min(self.chips, self.chip.per_host)

    @property
    def hosts(self) -> int:
        """The number of its hosts, each of which runs the program."""
        return self.chips // self.chips_per_host

    @property
    def grid(self) -> str:
        """The shape as GKE and the compiler write it, `4x8x8`."""
        return "x".join(map(str, self.shape))


def _shapes(text: str) -> tuple[tuple[int, ...], ...]:
    """Parses `2x2x1 2x2x2 ...`."""
    return tuple(tuple(int(side) for side in shape.split("x")) for shape in text.split())


_FLAT = _shapes("1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16")
_CUBES = "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x12 8x8x16 8x16x16"
_BIG_CUBES = "4x4x12 4x4x20 4x8x12 8x12x16 12x16x16 16x16x16"
_GPUS = _shapes("1 2 4 8 16 32 64 128 256 512 1024")

CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", ("TPU v4",), 275, 32, 1200, 150, _shapes(_CUBES), counted=2),
        Chip("v5e", ("TPU v5 lite", "TPU v5e"), 197, 16, 819, 100, _FLAT, cloud_name="v5litepod"),
        Chip(
            "v5p",
            ("TPU v5",),
            459,
            95,
            2765,
            300,
            _shapes(f"{_CUBES} {_BIG_CUBES} 16x16x24"),
            counted=2,
        ),
        Chip("v6e", ("TPU v6",), 918, 32, 1638, 224, _FLAT),
        Chip(
            "v7x",
            ("TPU7", "TPU v7"),
            2307,
            192,
            7380,
            600,
            _shapes(f"{_CUBES} {_BIG_CUBES} 16x16x32"),
            counted=2,
            devices=2,
            cloud_name="tpu7x",
        ),
        Chip("h100", ("NVIDIA H100",), 989, 79.6, 3350, 450, _GPUS, per_host=8),
        Chip("h200", ("NVIDIA H200",), 989, 140.4, 4800, 450, _GPUS, per_host=8),
        Chip("a100", ("NVIDIA A100",), 312, 80, 2039, 300, _GPUS, per_host=8),
    )
}


def of(chip: Chip) -> dict[str, Topology]:
    """Returns the topologies of a chip by name, the smallest first."""
    found = [Topology(chip, shape) for shape in chip.shapes]
    return {topology.name: topology for topology in sorted(found, key=lambda t: t.chips)}


def find(name: str) -> Topology:
    """Returns the topology that a name stands for.

    Raises:
        ValueError: If there is none; the message has the nearest valid one.
    """
    topologies = {key: value for chip in CHIPS.values() for key, value in of(chip).items()}
    if name in topologies:
        return topologies[name]
    near = difflib.get_close_matches(name, topologies, n=1, cutoff=0.0)[0]
    spelled = re.fullmatch(r"(.+)[-x](\d+)", name)
    for chip in CHIPS.values():
        if spelled and spelled[1] in (chip.name, chip.cloud_name):
            wanted = int(spelled[2]) / chip.counted
            near = min(of(chip).values(), key=lambda t: abs(t.chips - wanted)).name
    same = ", ".join(of(topologies[near].chip))
    raise ValueError(f"no topology {name!r}; the nearest is {near!r} (of {same})")


def chip_of(device_kind: str) -> Chip | None:
    """Returns the chip that a jax `device_kind` belongs to, None if it is not in the table."""
    starts = {kind: chip for chip in CHIPS.values() for kind in chip.kinds}
    matching = [kind for kind in starts if device_kind.startswith(kind)]
    return starts[max(matching, key=len)] if matching else None
