# SPDX-License-Identifier: Apache-2.0
"""Oracle: XLA's attention with the mask written out, itself compared with numpy.

The kernel runs in Pallas' interpreter; for TPUs it is only lowered, which needs none.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from omnigen import parallel
from omnigen.models.ar import AR, ARConfig
from omnigen.nn import splash
from omnigen.nn.attention import attend
from omnigen.nn.module import Net
from omnigen.nn.stack import Remat
from omnigen.parallel import AXES, MeshConfig
from omnigen.sequence import padding

LENGTH = 200


def tpus(**sizes):
    """A mesh of TPUs that are not here."""
    return AbstractMesh(
        tuple(sizes.get(axis, 1) for axis in AXES),
        AXES,
        (AxisType.Auto,) * len(AXES),
        abstract_device=AbstractDevice(device_kind="TPU v5", num_cores=1, platform="tpu"),
    )


def segments(batch, length):
    """Rows of several samples of different lengths; every second one ends in padding."""
    rows = np.zeros((batch, length), np.int32)
    for row in range(batch):
        cuts = sorted(np.random.default_rng(row).choice(np.arange(1, length), 3, replace=False))
        rows[row] = np.searchsorted(cuts, np.arange(length), side="right") + 1
        if row % 2:
            rows[row, cuts[-1] :] = 0
    return jnp.asarray(rows)


def both(kernel, *, batch, length, heads, kv_heads, head_dim, dtype, segmented):
    """Outputs where there is no padding, and gradients, of XLA in float32 and of `kernel`."""
    rng = np.random.default_rng(length + head_dim)
    q, k, v, weight = (
        jnp.asarray(rng.standard_normal((batch, length, n, head_dim)), dtype)
        for n in (heads, kv_heads, kv_heads, heads)
    )
    segment = segments(batch, length) if segmented else None
    real = jnp.ones((), bool) if segment is None else (segment > 0)[:, :, None, None]

    def run(function, args):
        def loss(q, k, v):
            y = jnp.where(real, function(q, k, v, segment_BT=segment), 0)
            return jnp.vdot(y.astype(jnp.float32), weight.astype(jnp.float32)), y

        (_, y), grads = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*args)
        return [np.asarray(x, np.float32) for x in (y, *grads)]

    xla = functools.partial(attend, causal=kernel.keywords["causal"])
    want = run(xla, [x.astype(jnp.float32) for x in (q, k, v)])
    with jax.numpy_rank_promotion("allow"):  # the kernel's own
        return want, run(kernel, (q, k, v))


def interpreted(causal):
    return functools.partial(splash.splash_attention, causal=causal, interpret=True)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(splash, "LONGEST_BLOCK", 128)


def test_the_kernel_is_attention_over_any_mesh(small_blocks):
    mesh = parallel.make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    with jax.set_mesh(mesh):
        want, got = both(
            interpreted(causal=True),
            batch=4,
            length=LENGTH,
            heads=4,
            kv_heads=2,
            head_dim=64,
            dtype=jnp.float32,
            segmented=True,
        )
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(b, a, atol=3e-6 * np.abs(a).max())


def test_padding_to_blocks_is_not_seen_without_segments(small_blocks):
    want, got = both(
        interpreted(causal=False),
        batch=1,
        length=130,
        heads=1,
        kv_heads=1,
        head_dim=72,
        dtype=jnp.float32,
        segmented=False,
    )
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(b, a, atol=3e-6 * np.abs(a).max())


@pytest.mark.slow
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("segmented", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 3e-6), (jnp.bfloat16, 2e-2)])
@pytest.mark.parametrize("heads, kv_heads, head_dim", [(4, 2, 64), (5, 1, 128), (2, 2, 72)])
@pytest.mark.parametrize("length", [100, 256, 300])
def test_the_kernel_is_attention_in_every_shape(
    small_blocks, causal, segmented, dtype, tolerance, heads, kv_heads, head_dim, length
):
    shape = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "length": length}
    want, got = both(interpreted(causal=causal), batch=2, dtype=dtype, segmented=segmented, **shape)
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(b, a, atol=tolerance * np.abs(a).max())


def lowered(mesh, *, length=1024, dtype="bfloat16", remat=Remat.NONE, causal=True):
    """The gradient of a transformer of two layers, as it would be handed to `mesh`'s compiler."""
    config = ARConfig(
        vocab_size=264, latent_dim=4, embed_dim=64, num_layers=2, num_heads=4, num_kv_heads=2,
        head_dim=64, mlp_dim=96, dtype=dtype, remat=remat,
    )  # fmt: skip
    net = Net(lambda rngs: AR(config, rngs=rngs))
    row = padding(length, 256)
    sequence = row.map(lambda field: np.stack([field] * 4))
    if causal:
        sequence = dataclasses.replace(sequence, group=None)

    def loss(params, sequence, vector):
        return jnp.sum(net.bind(params).hidden(sequence, vector))

    shapes = jax.eval_shape(lambda: (sequence.map(jnp.asarray), jnp.zeros((4, length, 4))))
    with jax.sharding.use_abstract_mesh(mesh), jax.numpy_rank_promotion("allow"):
        traced = jax.jit(jax.grad(loss)).trace(net.shapes(), *shapes)
        return traced.lower(lowering_platforms=(parallel.platform(),)).as_text()


def test_on_tpus_long_rows_take_the_kernel_and_nothing_is_length_squared():
    text = lowered(tpus(data=2, tensor=2))
    assert text.count("tpu_custom_call") == 3 and "1024x1024" not in text


@pytest.mark.parametrize("remat, kernels", [(Remat.DOTS, 3), (Remat.FULL, 4)])
def test_rematerialisation_keeps_what_the_kernel_returned_unless_asked_to_keep_nothing(
    remat, kernels
):
    assert lowered(tpus(data=4), remat=remat).count("tpu_custom_call") == kernels


@pytest.mark.parametrize(
    "mesh, other",
    [
        (tpus(sequence=2), {}),
        (tpus(data=2), {"dtype": "float32"}),
        (tpus(data=2), {"length": 384}),
        (tpus(data=2), {"causal": False}),
    ],
    ids=["split by length", "float32", "short", "mask"],
)
def test_what_the_kernel_is_not_for_takes_xla(mesh, other):
    assert "tpu_custom_call" not in lowered(mesh, **other)


def test_the_platform_is_the_meshs():
    assert parallel.platform() == "cpu" and parallel.ways("batch") == 1
    with jax.sharding.use_abstract_mesh(tpus(data=3, fsdp=2)):
        assert parallel.platform() == "tpu" and parallel.ways("batch") == 6
