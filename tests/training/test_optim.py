# SPDX-License-Identifier: Apache-2.0
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from omnigen import parallel
from omnigen.training import optim
from omnigen.training.optim import Algorithm, Decay, OptimizerConfig, Rule

AXES = {
    "ar": {
        "embedding": ("vocab", "embed"),
        "layers": {"up": ("layers", "embed", "mlp"), "scale": ("layers", "embed")},
        "head": ("embed", "vocab"),
        "norm": ("embed",),
        "mix": ("embed", "mlp"),
    }
}
SHAPES = {
    "ar": {
        "embedding": (24, 16),
        "layers": {"up": (3, 16, 32), "scale": (3, 16)},
        "head": (16, 24),
        "norm": (16,),
        "mix": (16, 32),
    }
}


def tree(seed):
    shapes, treedef = jax.tree.flatten(SHAPES, is_leaf=lambda node: isinstance(node, tuple))
    rng = np.random.default_rng(seed)
    return treedef.unflatten([jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes])


def directions(config, grads, params, steps=1):
    """Updates of the last of several steps with the same gradient, divided by -learning rate."""
    transformation = optim.build(config, axes=AXES, shapes=params, total_steps=10)
    state = transformation.init(params)
    for _ in range(steps):
        updates, state = transformation.update(grads, state, params, step=jnp.int32(5))
    rate = float(optim.schedule(config, 10)(5))
    return jax.tree.map(lambda u: np.asarray(u) / -rate, updates)["ar"]


PLAIN = OptimizerConfig(warmup_steps=0, decay_fraction=0.0, weight_decay=0.0, clip_norm=0.0)


def with_(config, **changes):
    return dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
    ("decay", "step", "expected"),
    [
        (Decay.LINEAR, 0, 0.2),
        (Decay.LINEAR, 4, 1.0),
        (Decay.LINEAR, 9, 2.0),
        (Decay.LINEAR, 80, 2.0),
        (Decay.LINEAR, 85, 2.0 * (1 - 0.9 * 0.25)),
        (Decay.LINEAR, 100, 0.2),
        (Decay.LINEAR, 120, 0.2),
        (Decay.SQRT, 80, 2.0),
        (Decay.SQRT, 85, 2.0 * (1 - 0.9 * 0.5)),
        (Decay.SQRT, 100, 0.2),
    ],
)
def test_schedule(decay, step, expected):
    config = OptimizerConfig(
        learning_rate=2.0, warmup_steps=10, decay_fraction=0.2, final_fraction=0.1, decay=decay
    )
    learning_rate = optim.schedule(config, 100)
    assert learning_rate(step) == pytest.approx(expected, rel=1e-12)
    assert float(jax.jit(learning_rate)(step)) == pytest.approx(expected, rel=1e-6)


def test_schedule_of_a_run_shorter_than_its_warmup():
    values = [float(optim.schedule(with_(PLAIN, warmup_steps=8), 4)(s)) for s in range(4)]
    assert values == pytest.approx([1e-3 * n / 8 for n in (1, 2, 3, 4)])


def test_adamw_is_the_textbook_one():
    config = OptimizerConfig(
        learning_rate=0.01,
        warmup_steps=4,
        decay_fraction=0.5,
        beta1=0.8,
        beta2=0.9,
        eps=1e-3,
        weight_decay=0.3,
        clip_norm=2.0,
    )
    params = tree(0)
    transformation = optim.build(config, axes=AXES, shapes=params, total_steps=6)
    state = transformation.init(params)
    w = {
        "head": np.asarray(params["ar"]["head"], np.float64),
        "norm": np.asarray(params["ar"]["norm"], np.float64),
    }
    m, v = ({name: np.zeros_like(x) for name, x in w.items()} for _ in range(2))
    rates = [0.0025, 0.005, 0.0075, 0.01, 0.01 * 2 / 3, 0.01 / 3]
    for step in range(6):
        grads = tree(step + 1)
        norm = np.sqrt(sum((np.asarray(g, np.float64) ** 2).sum() for g in jax.tree.leaves(grads)))
        assert norm > 2.0
        for name in w:
            g = np.asarray(grads["ar"][name], np.float64) * 2.0 / norm
            m[name] = 0.8 * m[name] + 0.2 * g
            v[name] = 0.9 * v[name] + 0.1 * g * g
            mhat, vhat = m[name] / (1 - 0.8 ** (step + 1)), v[name] / (1 - 0.9 ** (step + 1))
            decay = 0.3 if name == "head" else 0.0
            w[name] = w[name] - rates[step] * (mhat / (np.sqrt(vhat) + 1e-3) + decay * w[name])
        updates, state = transformation.update(grads, state, params, step=jnp.int32(step))
        params = jax.tree.map(jnp.add, params, updates)
    for name in w:
        np.testing.assert_allclose(params["ar"][name], w[name], rtol=1e-5, atol=1e-6)


def test_what_decays_by_default():
    plan = optim.treatments(OptimizerConfig(weight_decay=0.5), AXES, tree(0))
    decays = {leaf.path: leaf.weight_decay for leaf in jax.tree.leaves(plan)}
    assert decays == {
        "ar/embedding": 0.0,
        "ar/layers/up": 0.5,
        "ar/layers/scale": 0.0,
        "ar/head": 0.5,
        "ar/norm": 0.0,
        "ar/mix": 0.5,
    }


def test_the_first_matching_rule_holds():
    rules = (
        Rule("layers/", learning_rate=0.25),
        Rule("up$", weight_decay=9.0),
        Rule("^ar/norm$", weight_decay=3.0),
        Rule("emb.*", freeze=True),
    )
    config = with_(PLAIN, weight_decay=0.1, rules=rules)
    params, grads = tree(0), tree(1)
    plan = {leaf.path: leaf for leaf in jax.tree.leaves(optim.treatments(config, AXES, params))}
    assert (plan["ar/layers/up"].learning_rate, plan["ar/layers/up"].weight_decay) == (0.25, 0.1)
    assert plan["ar/norm"].weight_decay == pytest.approx(0.3)
    moved = directions(config, grads, params)
    assert (moved["embedding"] == 0).all()
    first = np.sign(grads["ar"]["layers"]["up"]) + 0.1 * np.asarray(params["ar"]["layers"]["up"])
    np.testing.assert_allclose(moved["layers"]["up"], 0.25 * first, rtol=1e-4)
    norm = np.sign(grads["ar"]["norm"]) + 0.3 * np.asarray(params["ar"]["norm"])
    np.testing.assert_allclose(moved["norm"], norm, rtol=1e-4)


def test_frozen_weights_have_no_moments_and_do_not_clip():
    config = with_(PLAIN, clip_norm=1.0, eps=1.0, rules=(Rule("embedding", freeze=True),))
    params, grads = tree(0), tree(1)
    shapes = [
        x.shape
        for x in jax.tree.leaves(
            optim.build(config, axes=AXES, shapes=params, total_steps=10).init(params)
        )
    ]
    assert (24, 16) not in shapes and shapes.count((16, 24)) == 2
    moved = directions(config, grads, params)
    grads["ar"]["embedding"] = 1e6 * grads["ar"]["embedding"]
    np.testing.assert_array_equal(directions(config, grads, params)["head"], moved["head"])


@pytest.mark.parametrize("pattern", ["ar/embeding", "^layers"])
def test_a_rule_without_parameters(pattern):
    with pytest.raises(ValueError, match="matches no parameter; nearest: ar/(embedding|layers)"):
        optim.treatments(with_(PLAIN, rules=(Rule("head"), Rule(pattern))), AXES, tree(0))


def test_names_must_fit_shapes():
    axes = {"ar": {**AXES["ar"], "norm": ("embed", "mlp")}}
    with pytest.raises(ValueError, match="ar/norm of shape"):
        optim.treatments(PLAIN, axes, tree(0))


@pytest.mark.parametrize(
    "wrong", [dict(decay_fraction=1.5), dict(learning_rate=-1.0), dict(beta2=1.0)]
)
def test_bad_settings(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"{name}={value}"):
        OptimizerConfig(**wrong)


def test_muon_turns_every_stacked_matrix_orthogonal():
    grads = tree(1)
    moved = directions(with_(PLAIN, name=Algorithm.MUON), grads, tree(0))
    for update, gradient in [
        (moved["mix"], grads["ar"]["mix"]),
        *zip(moved["layers"]["up"], grads["ar"]["layers"]["up"], strict=True),
    ]:
        u, _, vt = np.linalg.svd(np.asarray(gradient, np.float64), full_matrices=False)
        polar = u @ vt
        values = np.linalg.svd(update / (0.2 * np.sqrt(32)), compute_uv=False)
        assert values.min() > 0.6 and values.max() < 1.3
        cosine = (update * polar).sum() / np.linalg.norm(update) / np.linalg.norm(polar)
        assert cosine > 0.97  # five Newton-Schulz steps; a raw gradient has 0.92
        assert np.sqrt((update**2).mean()) == pytest.approx(0.2, rel=0.2)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (3, 16, 16)])
@pytest.mark.parametrize(("platform", "dtype"), [("gpu", "bf16"), ("tpu", "bf16"), ("cpu", "f32")])
def test_muon_multiplies_in_bfloat16_on_accelerators(monkeypatch, platform, dtype, shape):
    """Oracle: the singular values go through the polynomial five times, in float64."""
    monkeypatch.setattr(parallel, "platform", lambda: platform)
    gradient = np.random.default_rng(0).normal(size=shape)
    matrices = gradient.reshape(-1, *shape[-2:])
    moved = optim.orthogonalize(jnp.asarray(gradient, jnp.float32))
    assert moved.dtype == jnp.float32
    for got, one in zip(np.asarray(moved).reshape(matrices.shape), matrices, strict=True):
        u, values, vt = np.linalg.svd(one / np.linalg.norm(one), full_matrices=False)
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        wanted = u @ np.diag(values) @ vt
        limit = 2e-5 if dtype == "f32" else 0.1
        assert np.linalg.norm(got - wanted) < limit * np.linalg.norm(wanted)
    program = str(jax.make_jaxpr(lambda x: optim.orthogonalize(x))(moved))  # traced anew
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert len(products) == 15 and all(f":{dtype}[" in line for line in products)


def test_muon_is_that_of_optax():
    """Theirs divides the momentum by its expected scale, which orthogonalizing undoes."""
    dims = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)
    theirs = optax.contrib.scale_by_muon(
        beta=0.95, weight_dimension_numbers=lambda updates: jax.tree.map(lambda _: dims, updates)
    )
    names, shapes = {"mix": ("layers", "embed", "mlp")}, {"mix": jnp.zeros((3, 8, 24))}
    config = with_(PLAIN, name=Algorithm.MUON, momentum=0.95)
    ours = optim.build(config, axes=names, shapes=shapes, total_steps=1000)
    states = ours.init(shapes), theirs.init(shapes)
    for number in range(60):
        grads = {"mix": jax.random.normal(jax.random.key(number), (3, 8, 24))}
        got, first = ours.update(grads, states[0], shapes, step=number)
        want, second = theirs.update(grads, states[1], shapes)
        states = first, second
    got, want = (np.asarray(x["mix"]) for x in (got, want))
    cosine = (got * want).sum() / np.linalg.norm(got) / np.linalg.norm(want)
    assert cosine < -0.999  # a step goes down the direction


def test_muon_leaves_the_rest_to_adamw():
    grads = tree(1)
    muon = directions(with_(PLAIN, name=Algorithm.MUON, weight_decay=0.2), grads, tree(0), steps=3)
    adamw = directions(with_(PLAIN, weight_decay=0.2), grads, tree(0), steps=3)
    for name in ("embedding", "head", "norm"):
        np.testing.assert_array_equal(muon[name], adamw[name])
    np.testing.assert_array_equal(muon["layers"]["scale"], adamw["layers"]["scale"])
    assert not np.allclose(muon["mix"], adamw["mix"], atol=0.1)


def test_muon_on_a_mesh_is_muon_and_each_device_takes_some_matrices():
    """Three layers over four devices (and two that hold halves of each matrix)."""
    config, params, grads = with_(PLAIN, name=Algorithm.MUON), tree(0), tree(1)
    transformation = optim.build(config, axes=AXES, shapes=params, total_steps=10)

    @jax.jit
    def update(grads, state, params):
        return transformation.update(grads, state, params, step=jnp.int32(5))

    mesh = parallel.make_mesh(parallel.MeshConfig(data=2, fsdp=2, tensor=2))
    shardings = parallel.tree_sharding(mesh, AXES)
    state, placed = transformation.init(params), jax.device_put((grads, params), (shardings,) * 2)
    with jax.set_mesh(mesh):
        split = jax.jit(update, out_shardings=(shardings, None))
        program = split.lower(placed[0], state, placed[1]).compile()
        got = program(placed[0], state, placed[1])
    want = update(grads, state, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, want)
    alone = update.lower(grads, state, params).compile().cost_analysis()["flops"]
    mixed = 5 * 2 * (2 * 16 * 16 * 32 + 16**3)  # the one matrix outside the stack is everybody's
    stacked = program.cost_analysis()["flops"] - mixed
    assert stacked < 0.45 * (alone - mixed)
