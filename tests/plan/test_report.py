# SPDX-License-Identifier: Apache-2.0
"""Time and money from what the compiler said, by hand."""

import dataclasses

import pytest

from omnigen import recipe as recipes
from omnigen import topologies
from omnigen.plan import report
from omnigen.plan.program import Program

GIB = 2**30
V5P = topologies.find("v5p-512")
PROGRAM = Program(
    weights=1 * GIB,
    optimizer=1 * GIB,
    averages=1 * GIB,
    temporary=40 * GIB,
    needed=43 * GIB,
    traffic={"all-gather": 30 * 10**9, "all-reduce": 0},
    flops=3e17,
    fill=0.9,
    executed_flops=4e17,
    images=2048.0,
    tokens=8e6,
    parameters=14 * 10**9,
    mesh={"fsdp": 64, "tensor": 4, "data": 1},
    compile_s=100.0,
)


def test_the_roofline():
    line = report.roofline(PROGRAM, V5P)
    assert line.compute_s == pytest.approx(4e17 / (256 * 459e12))
    assert line.memory_s == pytest.approx(2 * 43 * GIB / 2765e9)
    assert line.links_s == pytest.approx(30e9 / 300e9)
    assert (line.step_s, line.bound) == (line.compute_s, "compute")
    assert report.mfu(PROGRAM, V5P, line.step_s) == pytest.approx(0.75)
    slow = dataclasses.replace(PROGRAM, traffic={"all-gather": 3 * 10**12})
    assert report.roofline(slow, V5P).bound == "links"


def test_chips_of_two_devices_are_shared():
    v7x = topologies.find("v7x-8")
    assert report.room(v7x) == 192 * GIB / 2
    assert report.roofline(PROGRAM, v7x).links_s == pytest.approx(30e9 / (600e9 / 2))


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"needed": 96 * GIB}, False),
        ({"temporary": None, "needed": 1000 * GIB}, False),
    ],
)
def test_what_fits(changes, fits):
    program = dataclasses.replace(PROGRAM, **changes)
    assert report.fits(program, V5P) is fits
    assert ("DOES NOT FIT" in report.text(program, V5P, steps=10)) is not fits


def test_the_text():
    text = report.text(PROGRAM, V5P, steps=500_000)
    step = 3e17 / (256 * 459e12) / 0.4
    days = 500_000 * step / 86_400
    assert "v5p-512: 256 chips, 64 hosts, mesh fsdp=64 tensor=4" in text
    assert f"{days:,.2f} days, {days * 24 * 256:,.0f} chip-hours" in text
    assert "43.00 of 95.00: fits" in text and "all-gather 27.94 GiB" in text
    assert "MFU at most 75 % (compute)" in text


def test_rows_have_the_columns():
    recipe = recipes.read("configs/ar.py:14b", ["--config.train.microbatches=32"])
    for program in (PROGRAM, dataclasses.replace(PROGRAM, temporary=None)):
        row = report.row(program, V5P, recipe, name="ar 14b")
        assert row.count("|") == len(report.COLUMNS) + 1
        assert row.startswith("| ar 14b | v5p-512 | fsdp 64 tensor 4 | 0.90 | 32 | full | 3.00 |")
