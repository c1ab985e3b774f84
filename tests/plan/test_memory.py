# SPDX-License-Identifier: Apache-2.0
"""What is counted without a compiler, against closed forms and against compilers."""

import functools

import jax
import pytest

from omnigen import recipe as recipes
from omnigen.plan import memory

GIB = 2**30
BASE = "configs/ar.py:base"


def ar(*overrides):
    return recipes.read(
        "configs/ar.py:debug",
        ["--config.model.ar.unroll=False", *(f"--config.{word}" for word in overrides)],
    )


@functools.cache
def kept(*overrides, tensor=1):
    return memory.kept_by_row(ar(*overrides), tensor=tensor)


NONE, DOTS, FULL = (f"model.ar.remat={remat}" for remat in ("none", "dots", "full"))
DEEP = "model.ar.num_layers=4"  # twice as many


def test_rematerialised_layers_keep_their_input_alone():
    recipe = ar()
    assert recipe.model.ar.num_layers == 2
    inputs = 2 * recipe.data.row_length * recipe.model.ar.embed_dim * 4  # bytes of float32
    assert kept(FULL, DEEP) - kept(FULL) == inputs
    assert kept(NONE) > kept(DOTS) > kept(FULL)


def test_unrolled_layers_keep_what_products_gave():
    # Layers more leave out what the head keeps, which is unrolled in any case.
    unrolled = kept("model.ar.unroll=True", DEEP) - kept("model.ar.unroll=True")
    assert unrolled == pytest.approx(1.65 * (kept(DOTS, DEEP) - kept(DOTS)), rel=0.02)


def test_what_a_device_needs():
    recipe = ar("train.global_batch_size=8", FULL)
    found = memory.estimate(recipe, jax.devices()[:1])
    stage = recipes.build(recipe, recipes.as_shapes)
    trained = jax.eval_shape(stage.init, jax.random.key(0))
    weights = 4 * sum(leaf.size for leaf in jax.tree.leaves(trained))
    assert found.gradients == weights
    one_of_two = (kept(NONE) - kept(FULL)) / 2
    assert found.kept == pytest.approx(8 * (kept(FULL) + one_of_two))
    sums = [found.temporary(parts) - found.kept / parts for parts in (1, 2, 4)]
    assert sums == pytest.approx([weights, 2 * weights, 2 * weights], abs=1)
    assert found.needed(2) == found.state + found.temporary(2)


def test_tensor_splits_heads_and_hidden_widths():
    width = "model.ar.embed_dim=48"  # that of no hidden layer, nor of its heads together
    length, heads = ar().data.row_length, ar().model.ar.num_heads
    # Layers that keep everything keep the probabilities of attention, one a head, and their inputs.
    split, whole = 2 * heads * length * length * 4, 2 * length * 48 * 4
    one, two = kept(width), kept(width, tensor=2)
    assert one / 2 + whole / 2 <= two <= one - split / 2


# Temporary memory that XLA's compiler for an H200 planned, in GiB, without a GPU
# (`get_topology_desc` with a `target_config`, jax 0.10.2), fused attention replaced by elementwise
# operations that keep as much.
ADAMW = ["optimizer.name=adamw"]
LARGE = [
    *ADAMW, "model.ar.embed_dim=2048", "model.ar.num_layers=22", "model.ar.head_dim=128",
    "model.ar.mlp_dim=5632", "model.head.num_blocks=6", "model.ar.remat=none",
    "model.ar.unroll=True", "train.global_batch_size=32",
]  # fmt: skip
SMALL = [*ADAMW, "model.ar.remat=none", "model.ar.unroll=True", "train.global_batch_size=64"]
WHOLE = [f"model.{part}.{how}" for part in ("encoder", "decoder") for how in
         ("remat=none", "unroll=True")]  # fmt: skip
DECODER = [
    *ADAMW, *WHOLE, "train.global_batch_size=64", "model.decoder.embed_dim=1536",
    "model.decoder.num_layers=24", "model.decoder.num_heads=24", "model.decoder.mlp_dim=4096",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("location", "overrides", "planned"),
    [
        (BASE, LARGE, {1: 76.5}),
        (BASE, SMALL, {1: 90.7, 2: 46.6}),
        ("configs/tokenizer.py:base", [*ADAMW, *WHOLE, "train.global_batch_size=128"],
         {1: 75.8, 2: 39.0}),
        ("configs/decoder.py:base", DECODER, {2: 64.7}),
    ],
)  # fmt: skip
def test_what_the_compiler_for_gpus_planned(location, overrides, planned):
    recipe = recipes.read(location, [f"--config.{word}" for word in overrides])
    found = memory.estimate(recipe, jax.devices()[:1])
    for parts, gib in planned.items():
        assert found.temporary(parts) / GIB == pytest.approx(gib, rel=0.08)
