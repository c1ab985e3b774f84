# SPDX-License-Identifier: Apache-2.0
"""Searches for the fastest way to train a recipe that fits: microbatches and rematerialisation.

A mesh that the recipe does not name is tried only if its own does not divide or fit. Compiling
takes minutes, so ways are compiled in the order of how fast they are, and those that cannot fit by
`memory`'s count are passed over.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omnigen.nn.stack import Remat
from omnigen.parallel import MeshConfig
from omnigen.plan import memory, program, report
from omnigen.recipe import Recipe
from omnigen.topologies import Topology

MOST_COMPILATIONS = 12
# What a step computes relative to one that keeps everything. "full" is a forward pass more; what
# "dots" computes again is elementwise, an eighth to a quarter of a measured step in both passes.
_REMAT = {Remat.NONE: 1.0, Remat.DOTS: 1.1, Remat.FULL: 4 / 3}
_IN_FLOPS = {Remat.NONE: 1.0, Remat.DOTS: 1.0, Remat.FULL: 4 / 3}  # of it, in `executed_flops`
# Twice as many parts: 600, 620 and 641 ms with 1, 2 and 4 (docs/performance.md, 1.2B).
_TWICE = 1.034
# The TPU compiler needs at least this share of what is counted: it computes some of it again.
_LEAST = 0.7


@dataclasses.dataclass(frozen=True)
class Way:
    """How to train: the mesh, what the backward pass keeps, the parts of a batch."""

    mesh: MeshConfig
    remat: Remat
    parts: int

    @property
    def cost(self) -> float:
        """The time of a step's arithmetic relative to one part that keeps everything."""
        return _REMAT[self.remat] * _TWICE ** math.log2(self.parts)

    def of(self, recipe: Recipe) -> Recipe:
        """Returns the recipe trained so; what it learns stays the same.

        Raises:
            ValueError: If the batch cannot be cut into so many parts.
        """
        train = dataclasses.replace(recipe.train, microbatches=self.parts)
        recipe = memory.rematerialized(recipe, self.remat)
        return dataclasses.replace(recipe, mesh=self.mesh, train=train)


@dataclasses.dataclass(frozen=True)
class Found:
    """A way to train, and what it takes."""

    way: Way
    recipe: Recipe
    program: program.Program

    def flags(self, recipe: Recipe) -> str:
        """Returns what to put on the command line after a recipe, to train it so."""
        mesh, old = dataclasses.asdict(self.way.mesh), dataclasses.asdict(recipe.mesh)
        words = [f"mesh.{axis}={size}" for axis, size in mesh.items() if size != old[axis]]
        words.append(f"train.microbatches={self.way.parts}")
        words += [f"model.{part}.remat={self.way.remat}" for part in memory.stacks(recipe)]
        return " ".join(f"--config.{word}" for word in words)

    def seconds(self, topology: Topology) -> float:
        """Returns the time of a step if arithmetic and links overlap."""
        line = report.roofline(self.program, topology)
        compute = line.compute_s * self.way.cost / _IN_FLOPS[self.way.remat]
        return max(compute, line.links_s)


def meshes(recipe: Recipe, devices: int) -> Iterator[MeshConfig]:
    """Yields meshes that divide model and batch, the recipe's first, then by growing `tensor`."""
    if _rows(recipe, recipe.mesh, devices):
        yield recipe.mesh
    for tensor in (1, 2, 4, 8):
        fsdp = devices // recipe.mesh.slice // tensor
        while fsdp:
            mesh = MeshConfig(slice=recipe.mesh.slice, data=-1, fsdp=fsdp, tensor=tensor)
            if _rows(recipe, mesh, devices):
                if mesh != recipe.mesh:
                    yield mesh
                break
            fsdp //= 2


def _rows(recipe: Recipe, mesh: MeshConfig, devices: int) -> int:
    """Returns how many rows or pictures of a batch are computed together, 0 if it cannot be."""
    sizes = dataclasses.asdict(mesh)
    rest = devices // math.prod(size for size in sizes.values() if size != -1)
    sizes = {name: rest if size == -1 else size for name, size in sizes.items()}
    if math.prod(sizes.values()) != devices:
        return 0
    train = dataclasses.replace(recipe.train, microbatches=1)
    try:
        dataclasses.replace(recipe, mesh=MeshConfig(), train=train).check_mesh(sizes)
    except ValueError:
        return 0
    return train.global_batch_size // (sizes["slice"] * sizes["data"] * sizes["fsdp"])


def ways(recipe: Recipe, mesh: MeshConfig, devices: int) -> list[Way]:
    """Returns the ways to train on a mesh, the fastest first."""
    rows = _rows(recipe, mesh, devices)
    parts = [count for count in range(1, rows + 1) if rows % count == 0]
    found = [Way(mesh, remat, count) for remat in Remat for count in parts]
    return sorted(found, key=lambda way: way.cost)


def search(
    recipe: Recipe,
    topology: Topology,
    devices: Sequence[Any],
    *,
    say: Callable[[str], None] = print,
    compile_training: Callable[..., program.Program] = program.compile_training,
    estimate: Callable[..., memory.Estimate] = memory.estimate,
) -> Found:
    """Returns the fastest way found that fits, or that which needs least if none does.

    Args:
        recipe: Recipe to train; its own microbatches and rematerialisation do not matter.
        topology: Chips to train on.
        devices: Devices of them, to compile for.
        say: Gets a line for each compilation.
        compile_training: Compiles a recipe for devices.
        estimate: Counts what a recipe keeps on devices.

    Raises:
        ValueError: If no mesh divides the model and the batch.
    """
    tried: list[Found] = []
    for mesh in meshes(recipe, len(devices)):
        search_mesh = _Search(recipe, topology, devices, say, compile_training, estimate, tried)
        best = search_mesh.run(ways(recipe, mesh, len(devices)))
        if best is not None:
            return best
    if not tried:
        raise ValueError(
            f"train.global_batch_size is {recipe.train.global_batch_size}; no mesh of "
            f"{len(devices)} devices divides it and the model"
        )
    return min(tried, key=lambda found: found.program.needed)


@dataclasses.dataclass(frozen=True)
class _Search:
    """The search on one mesh; `tried` grows."""

    recipe: Recipe
    topology: Topology
    devices: Sequence[Any]
    say: Callable[[str], None]
    compile_training: Callable[..., program.Program]
    estimate: Callable[..., memory.Estimate]
    tried: list[Found]

    def run(self, choices: Sequence[Way]) -> Found | None:
        """Returns the fastest of some ways that fits."""
        counted = {
            way.remat: self.estimate(way.of(self.recipe), self.devices)
            for way in choices
            if way.parts == 1
        }
        share = dict.fromkeys(counted, 1.0 if self.topology.chip.is_gpu else _LEAST)
        least = min(choices, key=lambda way: counted[way.remat].needed(way.parts))
        best: Found | None = None
        for way in choices:
            count = counted[way.remat]
            needed = count.state + share[way.remat] * count.temporary(way.parts)
            hopeless = needed > report.room(self.topology) and way != least
            if hopeless or (best is not None and not self._may_win(way, best)):
                continue
            if len(self.tried) == MOST_COMPILATIONS:
                break
            found = self._compile(way)
            if report.fits(found.program, self.topology):
                if best is None or found.seconds(self.topology) < best.seconds(self.topology):
                    best = found
            else:
                took = (found.program.needed - count.state) / max(count.temporary(way.parts), 1)
                share[way.remat] = max(share[way.remat], 0.9 * took)
        return best

    def _may_win(self, way: Way, best: Found) -> bool:
        """Whether a slower way may still win: by fewer parts, which move less, if links decide."""
        compute = report.roofline(best.program, self.topology).compute_s
        compute *= way.cost / _IN_FLOPS[best.way.remat]
        return way.parts < best.way.parts and compute < best.seconds(self.topology)

    def _compile(self, way: Way) -> Found:
        recipe = way.of(self.recipe)
        found = Found(way, recipe, self.compile_training(recipe, self.devices))
        self.tried.append(found)
        fits = report.fits(found.program, self.topology)
        self.say(
            f"{found.program.needed / 2**30:.1f} GiB, {'fits' if fits else 'too much'}: "
            f"{found.flags(self.recipe)}"
        )
        return found
