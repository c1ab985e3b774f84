# SPDX-License-Identifier: Apache-2.0
"""Searches for the fastest way to train a recipe that fits: mesh, rematerialisation, microbatches.

Compiling takes minutes, so candidates are tried in the order of how fast they could be, and how
many parts a batch must be cut into is predicted from what the last compilation took.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omnigen.nn.stack import Remat
from omnigen.parallel import MeshConfig
from omnigen.plan import program, report
from omnigen.recipe import Recipe
from omnigen.topologies import Topology

MOST_COMPILATIONS = 12
# What a step costs relative to one that keeps everything.
_COST = {Remat.NONE: 1.0, Remat.DOTS: 1.1, Remat.FULL: 4 / 3}


@dataclasses.dataclass(frozen=True)
class Found:
    """A way to train, and what it takes."""

    recipe: Recipe
    program: program.Program


def change(recipe: Recipe, *, mesh: MeshConfig, remat: Remat, parts: int) -> Recipe:
    """Returns the recipe trained in another way; what it learns stays the same."""
    models = {
        part: dataclasses.replace(getattr(recipe.model, part), remat=remat)
        for part in ("encoder", "decoder", "ar")
    }
    return dataclasses.replace(
        recipe,
        mesh=mesh,
        model=dataclasses.replace(recipe.model, **models),
        train=dataclasses.replace(recipe.train, microbatches=parts),
    )


def meshes(recipe: Recipe, topology: Topology) -> Iterator[MeshConfig]:
    """Yields meshes that divide model and batch, the recipe's first, then by growing `tensor`."""
    yield recipe.mesh
    tensor = 1
    while tensor <= 8:
        fsdp = topology.devices // tensor
        while fsdp > 1 and recipe.train.global_batch_size % fsdp:
            fsdp //= 2
        yield MeshConfig(data=-1, fsdp=fsdp, tensor=tensor)
        tensor *= 2


def _changed(recipe: Recipe, topology: Topology, **how: Any) -> Recipe | None:
    """Returns the recipe trained in another way, or None if mesh, model and batch do not fit."""
    sizes = dataclasses.asdict(how["mesh"])
    fixed = math.prod(size for size in sizes.values() if size != -1)
    rest = topology.devices // fixed
    sizes = {name: rest if size == -1 else size for name, size in sizes.items()}
    if math.prod(sizes.values()) != topology.devices:
        return None
    try:
        changed = change(recipe, **how)
        changed.check_mesh(sizes)
    except ValueError:
        return None
    return changed


def search(
    recipe: Recipe,
    topology: Topology,
    devices: Sequence[Any],
    *,
    say: Callable[[str], None] = print,
    compile_training: Callable[..., program.Program] = program.compile_training,
) -> Found | None:
    """Returns the fastest way found to fit, or None; `say` gets a line for each trial."""
    best: Found | None = None
    left = MOST_COMPILATIONS
    seen: set[tuple[MeshConfig, Remat, int]] = set()
    for mesh in meshes(recipe, topology):
        for remat in sorted(_COST, key=lambda kind: _COST[kind]):
            parts = 1
            while left:
                candidate = _changed(recipe, topology, mesh=mesh, remat=remat, parts=parts)
                if candidate is None or (mesh, remat, parts) in seen:
                    break
                seen.add((mesh, remat, parts))
                left -= 1
                found = compile_training(candidate, devices)
                fits = report.fits(found, topology)
                say(
                    f"{mesh} remat={remat} microbatches={parts}: {found.needed / 2**30:.1f} GiB, "
                    f"{'fits' if fits else 'too much'}"
                )
                if fits:
                    rank = _seconds(found, topology)
                    if best is None or rank < _seconds(best.program, topology):
                        best = Found(candidate, found)
                    break
                parts = _more_parts(parts, found, topology)
            if best is not None and best.recipe.mesh == mesh:
                break  # more rematerialisation is only slower
    return best


def _seconds(found: program.Program, topology: Topology) -> float:
    line = report.roofline(found, topology)
    return line.compute_s + line.links_s


def _more_parts(parts: int, found: program.Program, topology: Topology) -> int:
    """Returns the next power of two that may fit, if temporaries shrink with the parts."""
    fixed = found.weights + found.optimizer + found.averages
    free = max(report.room(topology) - fixed, 0.05 * report.room(topology))
    over = max((found.needed - fixed) / free, 2.0)
    return parts * 2 ** max(1, math.ceil(math.log2(over)))
