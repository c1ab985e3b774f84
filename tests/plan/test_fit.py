# SPDX-License-Identifier: Apache-2.0
"""The way to train that is chosen, against memories in closed form and every way tried."""

import dataclasses
import math

import pytest

from omnigen import recipe as recipes
from omnigen import topologies
from omnigen.plan import fit, memory, report
from omnigen.plan.program import Program

GIB = 2**30
LOCATION = "configs/ar.py:3b,debug"
OVERRIDES = ["--config.train.global_batch_size=64", "--config.mesh.data=1", "--config.mesh.fsdp=8"]
RECIPE = recipes.read(LOCATION, OVERRIDES)
H100S = topologies.find("h100x8")
KEPT = {"none": 400.0, "dots": 100.0, "full": 40.0}  # GiB of a device, of the whole batch
COST = {"none": 1.0, "dots": 1.1, "full": 4 / 3}
STATE, FLOPS = 10, 1e15


def chips(gib: float) -> topologies.Topology:
    """Eight GPUs on which a program may take so many GiB each."""
    chip = dataclasses.replace(H100S.chip, hbm_GiB=gib / report.GPU_USABLE)
    return dataclasses.replace(H100S, chip=chip)


def remat_of(recipe) -> str:
    return str(next(iter(memory.stacks(recipe).values())).remat)


def takes(remat: str, parts: int) -> float:
    return STATE + KEPT[remat] / parts


def search(gib, *, traffic=lambda parts: 0, estimate=None, recipe=RECIPE):
    """Searches where memory is in closed form; returns what is found and what was compiled."""
    said: list[str] = []

    def compiled(recipe, devices):
        remat, parts = remat_of(recipe), recipe.train.microbatches
        return Program(
            weights=STATE * GIB,
            optimizer=0,
            averages=0,
            temporary=round(KEPT[remat] / parts * GIB),
            needed=round(takes(remat, parts) * GIB),
            traffic={"all-gather": traffic(parts)},
            flops=FLOPS,
            fill=1.0,
            executed_flops=FLOPS * (4 / 3 if remat == "full" else 1),
            images=1.0,
            tokens=1.0,
            parameters=1,
            mesh=dataclasses.asdict(recipe.mesh),
            compile_s=0.0,
        )

    def exact(recipe, devices):
        return memory.Estimate(STATE * GIB, 0, KEPT[remat_of(recipe)] * GIB)

    found = fit.search(
        recipe,
        chips(gib),
        [None] * 8,
        say=said.append,
        compile_training=compiled,
        estimate=estimate or exact,
    )
    return found, said


def fastest(gib: float) -> tuple[str, int] | None:
    """What is fastest of all that fits, by trying everything: eight rows a device."""
    fitting = [
        (COST[remat] * 1.034 ** math.log2(parts), remat, parts)
        for remat in KEPT
        for parts in (1, 2, 4, 8)
        if takes(remat, parts) <= gib
    ]
    return min(fitting)[1:] if fitting else None


@pytest.mark.parametrize(
    ("gib", "remat", "parts"),
    [
        (500, "none", 1),
        (410.5, "none", 1),
        (409.5, "none", 2),
        (209, "none", 4),
        (111, "none", 4),
        (109, "none", 8),
        (60.5, "none", 8),
        (59.5, "dots", 4),
        (30, "dots", 8),
        (20.5, "full", 4),
        (15.5, "full", 8),
    ],
)
def test_what_is_chosen(gib, remat, parts):
    found, said = search(gib)
    assert (str(found.way.remat), found.way.parts) == (remat, parts) == fastest(gib)
    assert report.fits(found.program, chips(gib))
    assert len(said) == 1  # the count was right, and nothing else was compiled


def test_more_memory_is_never_slower():
    costs = []
    for gib in range(15, 420, 5):
        found, _ = search(gib)
        assert (str(found.way.remat), found.way.parts) == fastest(gib)
        costs.append(found.way.cost)
    assert costs == sorted(costs, reverse=True) and costs[-1] == 1.0


def test_a_count_that_is_wrong_is_put_right_by_the_compiler():
    def tenth(recipe, devices):
        return memory.Estimate(STATE * GIB, 0, KEPT[remat_of(recipe)] / 10 * GIB)

    for gib in (15, 30, 109, 300, 500):
        found, said = search(gib, estimate=tenth)
        assert (str(found.way.remat), found.way.parts) == fastest(gib)
        assert len(said) <= fit.MOST_COMPILATIONS and "fits" in said[-1]
    assert len(search(15, estimate=tenth)[1]) < 8  # what one took tells about others


def test_links_that_decide_want_fewer_parts():
    peak = 8 * 989e12
    compute, link = FLOPS / peak, 450e9
    # A part more moves a third of what the links move while one part is computed.
    found, said = search(109, traffic=lambda parts: int(parts * compute / 3 * link))
    # 8 parts without rematerialisation wait 8/3 for links; 1 and 2 do not fit; "dots" 4 parts wait
    # 4/3, "dots" 2 parts compute for 1.1 * 1.034.
    assert (str(found.way.remat), found.way.parts) == ("dots", 2)
    assert found.seconds(chips(109)) == pytest.approx(1.1 * 1.034 * compute)
    assert [line.split(": ")[0] for line in said] == ["60.0 GiB, fits", "60.0 GiB, fits"]


def test_nothing_fits():
    found, said = search(12)
    assert not report.fits(found.program, chips(12))
    # Two devices a row make sixteen rows of eight: 10 + 40 / 16.
    assert (str(found.way.remat), found.way.parts) == ("full", 16)
    assert found.program.needed == 12.5 * GIB
    assert said and all("too much" in line for line in said)


@pytest.mark.parametrize(
    ("location", "overrides", "flags"),
    [
        (LOCATION, OVERRIDES, "--config.train.microbatches=8 --config.model.ar.remat=none"),
        (
            "configs/tokenizer.py:debug",
            ["--config.train.global_batch_size=64"],
            "--config.train.microbatches=8 --config.model.encoder.remat=none "
            "--config.model.decoder.remat=none",
        ),
        (
            "configs/decoder.py:debug",
            ["--config.train.global_batch_size=64"],
            "--config.train.microbatches=8 --config.model.decoder.remat=none",
        ),
        (  # four rows cannot be split eight ways; of two ways that can, the first has a whole head
            "configs/ar.py:debug",
            ["--config.train.global_batch_size=4"],
            "--config.mesh.fsdp=4 --config.mesh.tensor=2 --config.train.microbatches=1 "
            "--config.model.ar.remat=none",
        ),
    ],
)
def test_the_flags_give_the_recipe_that_was_planned(location, overrides, flags):
    recipe = recipes.read(location, overrides)
    found, said = search(60.5 if "global_batch_size=4" not in overrides[0] else 500, recipe=recipe)
    assert found.flags(recipe) == flags and said[-1].endswith(flags)
    assert recipes.read(location, [*overrides, *flags.split()]) == found.recipe


def test_a_batch_that_no_mesh_divides():
    recipe = recipes.read("configs/ar.py:debug", ["--config.train.global_batch_size=3"])
    with pytest.raises(ValueError, match="global_batch_size is 3; no mesh of 64 devices divides"):
        fit.search(recipe, H100S, [None] * 64, say=lambda line: None)
