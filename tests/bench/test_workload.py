# SPDX-License-Identifier: Apache-2.0
"""Costs that are given are the oracle of the sweep; one program is measured for real."""

import pathlib

import jax
import numpy as np
import pytest

from omnigen import recipe as recipes
from omnigen.bench import workload
from omnigen.bench.workload import Cost, Point
from omnigen.models.omni import Omni

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recipe() -> recipes.Recipe:
    return recipes.read(f"{ROOT}/configs/ar.py:debug", [])


def test_one_size_is_changed_at_a_time(recipe) -> None:
    base = workload.grown(recipe, "batch", 1)
    assert base.train.global_batch_size == 1 and base.model == recipe.model
    tokens = workload.grown(base, "tokens", 1024)
    assert tokens.model.grid == (32, 32) and tokens.data.image_size == tokens.model.image_size
    assert tokens.train == base.train and tokens.model.ar == base.model.ar
    layers = workload.grown(base, "layers", 8)
    assert layers.model.ar.num_layers == 8 and layers.model.image_size == base.model.image_size


def test_rows_hold_a_caption_and_a_picture(recipe) -> None:
    omni = Omni(workload.grown(recipe, "tokens", 64).model)
    rows = workload._rows(omni, 3)
    assert rows.image.shape == (3, 1, 128, 128, 3) and rows.image.dtype == np.uint8
    assert rows.sequence.token.shape[0] == 3 and rows.sequence.token.shape[1] % 64 == 0
    assert (rows.sequence.slot >= 0).sum() == 3 * 64
    words = rows.sequence.token[0][rows.sequence.modality[0] == 1]
    assert bytes(words[1:][: len(workload.PROMPT)].astype(np.uint8)).decode() == workload.PROMPT


def test_an_axis_ends_where_a_call_takes_too_long_or_does_not_fit(recipe, monkeypatch) -> None:
    def train(changed, repeats):
        if changed.train.global_batch_size > 16:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        tokens = changed.model.grid[0] * changed.model.grid[1]
        return Cost(tokens / 1000, 1.0)

    def draw(changed, repeats):
        return Cost(float(changed.model.ar.num_layers), 0.5)

    monkeypatch.setattr(workload, "_train_cost", train)
    monkeypatch.setattr(workload, "_draw_cost", draw)
    told: list[Point] = []
    points = workload.grow(recipe, repeats=1, longest=4.0, tell=told.append)
    assert points == told
    trained = [(p.axis, p.value) for p in points if p.train]
    assert trained == [
        *[("tokens", value) for value in (64, 256, 1024, 4096)],
        *[("batch", value) for value in (1, 4, 16)],
        *[("layers", value) for value in (2, 4, 8, 16, 32)],
    ]
    drawn = [p.value for p in points if p.draw and p.axis == "layers"]
    assert drawn == [2, 4, 8]  # 8 took longer than 4 s
    lines = workload.table(points).splitlines()
    assert len(lines) == 2 + len(points)
    assert lines[3] == "| tokens 256 | 256 | 256 ms (4.0) | 1 GiB | 2000 ms (1.0) | 0.5 GiB |"
    assert lines[-1] == "| layers 32 | 32 | 4 ms (1.0) | 1 GiB |  |  |"


def test_another_error_is_not_taken_for_a_lack_of_memory(recipe, monkeypatch) -> None:
    def fails(changed, repeats):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    monkeypatch.setattr(workload, "_train_cost", fails)
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        workload.grow(recipe, repeats=1, longest=1.0, tell=print)


def test_drawing_holds_at_least_its_weights_and_its_cache(recipe) -> None:
    base = workload.grown(recipe, "batch", 2)
    cost = workload._draw_cost(base, repeats=1)
    ar, nets = base.model.ar, Omni(base.model).nets
    weights = 4 * (nets["ar"].count() + nets["head"].count())
    cache = 4 * 2 * ar.num_layers * 4 * (128 + 4) * ar.num_kv_heads * ar.head_dim
    assert cost.seconds > 0
    assert weights + cache < cost.gib * 2**30 < 3 * (weights + cache)
