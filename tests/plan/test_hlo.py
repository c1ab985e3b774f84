# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import pytest

from omnigen import parallel
from omnigen.plan import hlo
from omnigen.plan.hlo import Collective


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%a = f32[8,4]{1,0} all-gather(%p), dimensions={0}", Collective("all-gather", 128)),
        (
            "%a = (f32[], bf16[10]{0}) all-reduce(%p, %q), to_apply=%add",
            Collective("all-reduce", 48),
        ),
        (
            "%a = (f32[2]{0}, f32[4]{0}) all-reduce(%dynamic-update-slice.3, /*index=1*/%q)",
            Collective("all-reduce", 8 + 2 * 16),
        ),
        (
            "%a = f32[4]{0} all-reduce(%dynamic-update-slice.3), to_apply=%add",
            Collective("all-gather", 16),
        ),
        (
            "%a = f32[2,4]{1,0} reduce-scatter(f32[8,4]{1,0} %p), replica_groups={}",
            Collective("reduce-scatter", 128),
        ),
        (
            "%a = (f32[2,4]{1,0}, f32[8,4]{1,0}) all-gather-start(%p), dimensions={0}",
            Collective("all-gather", 128),
        ),
        ("%a = u8[3]{0} collective-permute(%p)", Collective("collective-permute", 3)),
        ("%a = f32[8,4]{1,0} all-gather-done(%p)", None),
        ("%a = f32[8,4]{1,0} add(%p, %q)", None),
    ],
)
def test_one_line(line, expected):
    assert hlo.collective(line) == expected


PROGRAM = """\
HloModule m

%body (t: (s32[], f32[16])) -> (s32[], f32[16]) {
  %g = f32[64]{0} all-gather(%x), dimensions={0}
  %f = f32[16]{0} fusion(%g), kind=kLoop, calls=%inner
}

%inner (p: f32[64]) -> f32[16] {
  %r = f32[16]{0} all-to-all(%p)
}

%condition (t: (s32[], f32[16])) -> pred[] {
  %n = s32[]{:T(128)} constant(12)
  %c = pred[] compare(%i, %n), direction=LT
}

%add (a: f32[], b: f32[]) -> f32[] {
  %s = f32[] add(%a, %b)
}

%all-reduce-scatter.3 (p: f32[16]) -> f32[2] {
  %r = f32[16]{0} all-reduce(%p), to_apply=%add
  %d = f32[2]{0} dynamic-slice(%r, %i), dynamic_slice_sizes={2}
}

ENTRY %main (p: f32[16]) -> f32[16] {
  %q = f32[2]{0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.3
  %w = (s32[], f32[16]) while(%t), condition=%condition, body=%body
  %s = f32[] all-reduce(%p), to_apply=%add
}
"""


def test_loops_count_as_often_as_they_run():
    assert hlo.traffic(PROGRAM) == {
        "all-gather": 12 * 256,
        "all-to-all": 12 * 64,
        "all-reduce": 2 * 4,
        "reduce-scatter": 64,
        "collective-permute": 0,
    }


def test_a_real_program():
    """Weights sharded over eight devices are gathered once a layer, whatever scan makes of it."""
    layers, width = 5, 64
    mesh = parallel.make_mesh(parallel.MeshConfig(data=1, fsdp=8))
    split = parallel.sharding(mesh, (None, "embed", None))
    whole = parallel.sharding(mesh, ())
    weights = jax.ShapeDtypeStruct((layers, width, width), jnp.float32, sharding=split)
    x = jax.ShapeDtypeStruct((8, width), jnp.float32, sharding=whole)

    def run(weights, x):
        def layer(x, w):
            w = jax.lax.with_sharding_constraint(w, whole)
            return jnp.tanh(x @ w), None

        return jax.lax.scan(layer, x, weights)[0]

    compiled = jax.jit(run, out_shardings=whole).lower(weights, x).compile()
    assert hlo.traffic(compiled.as_text())["all-gather"] == layers * width * width * 4
