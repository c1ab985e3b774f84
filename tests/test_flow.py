# SPDX-License-Identifier: Apache-2.0
"""Oracles: Gaussian data N(MU, S^2), whose exact velocity and flow map are known; float64 numpy.

With sigma_t^2 = (1 - t)^2 S^2 + t^2, x_t ~ N((1 - t) MU, sigma_t^2); regressing e - x on x_t gives
the velocity, and the flow keeps (x_t - (1 - t) MU) / sigma_t, so noise e lands on MU + S e.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen import flow

MU, S = 0.7, 0.5


def exact_velocity(x, t):
    slope = (t - (1 - t) * S**2) / ((1 - t) ** 2 * S**2 + t**2)
    return slope * (x - (1 - t) * MU) - MU


def affine_velocity(t):
    """(slope, intercept) in x of the exact velocity, float64."""
    intercept = exact_velocity(0.0, t)
    return exact_velocity(1.0, t) - intercept, intercept


def gaussian(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_path_and_velocity_match_numpy_for_every_shape_of_time():
    x, e = gaussian(0, 2, 3, 4), gaussian(1, 2, 3, 4)
    for t in (0.25, np.array([0.0, 0.3]), np.linspace(0, 1, 6).reshape(2, 3)):
        spread = np.reshape(t, np.shape(t) + (1,) * (3 - np.ndim(t)))
        x_t = flow.interpolate(jnp.asarray(x), jnp.asarray(e), t)
        np.testing.assert_allclose(x_t, (1 - spread) * x + spread * e, atol=1e-6)
    np.testing.assert_array_equal(flow.velocity(jnp.asarray(x), jnp.asarray(e)), e - x)
    np.testing.assert_array_equal(flow.interpolate(jnp.asarray(x), jnp.asarray(e), 0.0), x)
    np.testing.assert_array_equal(flow.interpolate(jnp.asarray(x), jnp.asarray(e), 1.0), e)


def test_time_of_another_shape_is_refused():
    x = jnp.zeros((2, 3, 4))
    for shape in ((3,), (2, 4), (2, 1), (2, 3, 4, 1)):
        with pytest.raises(ValueError, match="leading part"):
            flow.interpolate(x, x, jnp.zeros(shape))


def test_both_predictions_mean_the_velocity():
    x, e = jnp.asarray(gaussian(0, 3, 5)), jnp.asarray(gaussian(1, 3, 5))
    t = jnp.array([0.05, 0.4, 1.0])
    x_t = flow.interpolate(x, e, t)
    np.testing.assert_allclose(flow.to_velocity(x, x_t, t, "data"), e - x, atol=1e-5)
    assert flow.to_velocity(x, x_t, t, "velocity") is x
    near = flow.to_velocity(x, x_t, jnp.full(3, 0.01), "data")
    np.testing.assert_allclose(near, (np.asarray(x_t) - np.asarray(x)) / 0.05, rtol=1e-5)
    other = flow.to_velocity(x, x_t, jnp.full(3, 0.01), "data", t_min=0.01)
    np.testing.assert_allclose(other, (np.asarray(x_t) - np.asarray(x)) / 0.01, rtol=1e-5)


def test_both_predictions_have_the_same_loss_when_their_outputs_correspond():
    x, e, v = (jnp.asarray(gaussian(i, 4, 6)) for i in range(3))
    t = jnp.array([0.05, 0.2, 0.7, 1.0])
    data = flow.interpolate(x, e, t) - t[:, None] * v  # equation (3)
    by_velocity = flow.velocity_loss(v, x, e, t, "velocity")
    assert by_velocity.shape == x.shape
    np.testing.assert_allclose(by_velocity, (np.asarray(v) - np.asarray(e - x)) ** 2, rtol=1e-5)
    by_data = flow.velocity_loss(data, x, e, t, "data")
    np.testing.assert_allclose(by_data, by_velocity, rtol=1e-3, atol=1e-4)


def test_data_loss_is_bounded_near_the_data_and_zero_at_the_target():
    x, e = jnp.asarray(gaussian(0, 2, 6)), jnp.asarray(gaussian(1, 2, 6))
    t = jnp.array([0.0, 0.01])
    np.testing.assert_allclose(flow.velocity_loss(x + 0.1, x, e, t, "data"), 4.0, rtol=1e-4)
    np.testing.assert_array_equal(flow.velocity_loss(x, x, e, t, "data"), 0.0)
    weight = flow.velocity_weight(jnp.array([0.01, 0.5, 1.0]), "data", t_min=0.1)
    np.testing.assert_allclose(weight, [100.0, 4.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(flow.velocity_weight(t, "velocity"), [1.0, 1.0])


def test_training_on_the_loss_finds_the_exact_velocity():
    """The best affine fit under each loss at one time is the conditional expectation."""
    n, t = 50_000, 0.3
    x, e = MU + S * gaussian(0, n), gaussian(1, n)
    x_t = flow.interpolate(jnp.asarray(x), jnp.asarray(e), t)
    design = jnp.stack([x_t, jnp.ones_like(x_t)])

    def loss(w, prediction):
        output = jnp.einsum("kn,k->n", design, w)
        return jnp.mean(flow.velocity_loss(output, jnp.asarray(x), jnp.asarray(e), t, prediction))

    for prediction in ("velocity", "data"):
        zero = jnp.zeros(2)
        hessian = jax.hessian(loss)(zero, prediction)
        w = -jnp.linalg.solve(hessian, jax.grad(loss)(zero, prediction))
        points = jnp.array([-0.5, 0.0, 1.5])
        fitted = flow.to_velocity(w[0] * points + w[1], points, t, prediction)
        np.testing.assert_allclose(fitted, exact_velocity(np.asarray(points), t), atol=0.05)


def test_bfloat16_goes_in_and_out_and_losses_are_wide():
    x, e = (jnp.asarray(gaussian(i, 4, 64), jnp.bfloat16) for i in range(2))
    t = jnp.array([0.1, 0.3, 0.6, 0.9])
    x64, e64, t64 = np.asarray(x, float), np.asarray(e, float), np.asarray(t, float)[:, None]
    x_t = flow.interpolate(x, e, t)
    outputs = [x_t, flow.velocity(x, e), flow.to_velocity(x, x_t, t, "data")]
    outputs += [flow.guide(x, e, 2.0), flow.sphere(x)]
    assert {a.dtype for a in outputs} == {jnp.dtype(jnp.bfloat16)}
    expected = (1 - t64) * x64 + t64 * e64
    np.testing.assert_allclose(np.asarray(x_t, float), expected, rtol=2**-8, atol=1e-6)
    loss = flow.velocity_loss(x_t, x, e, t, "velocity")
    assert loss.dtype == jnp.float32
    expected = (np.asarray(x_t, float) - (e64 - x64)) ** 2
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def test_jit_and_vmap_agree_with_the_batch():
    x, e = jnp.asarray(gaussian(0, 4, 6)), jnp.asarray(gaussian(1, 4, 6))
    t = jnp.array([0.1, 0.3, 0.6, 0.9])
    loss = jax.jit(lambda x, e, t: flow.velocity_loss(x * e, x, e, t, "data"))
    np.testing.assert_allclose(jax.vmap(loss)(x, e, t), loss(x, e, t), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("prediction", list(flow.Prediction))
def test_both_ends_of_time_are_finite_with_their_gradients(dtype, prediction):
    x, e = jnp.asarray(gaussian(0, 2, 6), dtype), jnp.asarray(gaussian(1, 2, 6), dtype)
    t = jnp.array([0.0, 1.0])

    def total(x, t):
        x_t = flow.interpolate(x, e, t)
        output = flow.to_velocity(x_t * x, x_t, t, prediction)
        v = flow.to_velocity(output, x_t, t, prediction)
        return jnp.sum(v.astype(jnp.float32) + flow.velocity_loss(output, x, e, t, prediction))

    value, gradients = jax.value_and_grad(total, argnums=(0, 1))(x, t)
    assert all(bool(jnp.isfinite(a).all()) for a in (value, *gradients))


DENSITIES = [
    flow.TimeDensity("uniform"),
    flow.TimeDensity("logit_normal", mean=0.4, std=0.8),
    flow.TimeDensity("logit_normal", mean=-1.0, std=1.5, uniform_fraction=0.3),
]


def cdf(density, t):
    if density.kind == "uniform":
        return t
    z = (np.log(t / (1 - t)) - density.mean) / density.std
    bell = np.array([0.5 * (1 + math.erf(a / math.sqrt(2))) for a in z])
    return (1 - density.uniform_fraction) * bell + density.uniform_fraction * t


@pytest.mark.parametrize("density", DENSITIES, ids=str)
def test_times_follow_their_density(density):
    n = 20_000
    t = np.sort(np.asarray(density.sample(jax.random.key(0), (n,)), float))
    assert 0 <= t[0] and t[-1] <= 1
    inner = t[(t > 0) & (t < 1)]
    distance = np.abs(cdf(density, inner) - np.arange(1, inner.size + 1) / n).max()
    assert distance < 1.63 / math.sqrt(n)  # Kolmogorov-Smirnov, 1 %


def test_a_key_an_example_draws_the_same_in_any_batch():
    keys = jax.random.split(jax.random.key(3), 6)
    density = flow.TimeDensity()
    some = keys[jnp.array([4, 1])]
    whole = density.sample(keys, (6, 2))
    np.testing.assert_array_equal(density.sample(some, (2, 2)), whole[jnp.array([4, 1])])
    draws = flow.normal(keys, (6, 3), jnp.bfloat16)
    assert draws.dtype == jnp.bfloat16
    assert np.unique(np.asarray(draws, float), axis=0).shape == (6, 3)
    np.testing.assert_array_equal(flow.normal(some, (2, 3), jnp.bfloat16)[0], draws[4])
    grid = flow.normal(keys.reshape(2, 3), (2, 3, 500))
    np.testing.assert_array_equal(grid.reshape(6, 500), flow.normal(keys, (6, 500)))
    assert abs(float(grid.mean())) < 0.08 and abs(float(grid.std()) - 1) < 0.06
    for key, shape in ((jax.random.PRNGKey(0), (2,)), (keys, (5, 3)), (keys, ())):
        with pytest.raises(ValueError, match="leading part"):
            flow.normal(key, shape)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: flow.Prediction("epsilon"), "'epsilon'.*velocity, data"),
        (lambda: flow.TimeDensity("cosine"), "'cosine'.*uniform, logit_normal"),
        (lambda: flow.TimeDensity(std=0.0), "std=0.0"),
        (lambda: flow.TimeDensity(uniform_fraction=1.5), "uniform_fraction=1.5"),
        (lambda: flow.Solver("rk4"), "'rk4'.*euler, euler_maruyama"),
        (lambda: flow.Solver(num_steps=0), "num_steps=0"),
        (lambda: flow.Solver(shift=0.0), "shift=0.0"),
    ],
)
def test_wrong_settings_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_solver_times_and_shift():
    np.testing.assert_allclose(flow.Solver(num_steps=4).times(), [1, 0.75, 0.5, 0.25, 0])
    shifted = flow.Solver(num_steps=4, shift=3.0).times()
    np.testing.assert_allclose(shifted, [1, 0.9, 0.75, 0.5, 0], rtol=1e-12)
    for steps in (1, 7, 100):
        times = flow.Solver(num_steps=steps, shift=0.3).times()
        assert times.shape == (steps + 1,) and times[0] == 1 and times[-1] == 0
        assert (np.diff(times) < 0).all()


@pytest.mark.parametrize("method", list(flow.Method))
def test_the_net_is_traced_once_and_evaluated_where_it_should_be(method):
    seen, traces = [], []

    def velocity_fn(x, t):
        assert t.shape == () and t.dtype == jnp.float32
        traces.append(x.dtype)
        jax.debug.callback(lambda t: seen.append(float(t)), t)
        return jnp.zeros_like(x)

    solver = flow.Solver(method, num_steps=4)
    noise = jnp.zeros(3, jnp.bfloat16)
    assert flow.solve(velocity_fn, noise, solver, key=jax.random.key(0)).dtype == jnp.bfloat16
    jax.effects_barrier()
    assert sorted(seen, reverse=True) == [1, 0.75, 0.5, 0.25]
    assert set(traces) == {jnp.dtype(jnp.bfloat16)} and len(traces) == 1


@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_solver_takes_the_textbook_steps(shift):
    solver = flow.Solver(num_steps=5, shift=shift)
    x = expected = gaussian(0, 7).astype(float)
    for t, t_next in zip(solver.times()[:-1], solver.times()[1:], strict=True):
        expected = expected + (t_next - t) * exact_velocity(expected, t)
    got = flow.solve(exact_velocity, jnp.asarray(x, jnp.float32), solver)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_solver_carries_noise_to_the_data_with_order_one():
    noise = jnp.linspace(-3, 3, 13)
    errors = {}
    for steps in (32, 64, 128):
        solve = jax.jit(lambda e, n=steps: flow.solve(exact_velocity, e, flow.Solver(num_steps=n)))
        errors[steps] = float(jnp.abs(solve(noise) - (MU + S * noise)).max())
    assert errors[128] < 0.05
    for steps in (32, 64):
        assert math.log2(errors[steps] / errors[2 * steps]) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_takes_the_steps_of_solve_and_only_those_that_count(shift):
    noise = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)), jnp.float32)
    solver = flow.Solver(num_steps=4, shift=shift)
    steps = solver.steps()
    wanted = jax.jit(lambda e: flow.solve(exact_velocity, e, solver))(noise)
    run = jax.jit(lambda e, s: flow.euler(lambda x, t, i: exact_velocity(x, t), e, s))
    np.testing.assert_allclose(run(noise, steps), wanted, atol=1e-6)
    tables = [
        np.pad(table, (0, 3), constant_values=9.0)
        for table in (solver.steps().at, solver.steps().size)
    ]
    np.testing.assert_allclose(run(noise, flow.Steps(*tables, np.int32(4))), wanted, atol=1e-6)


def test_annealed_steps_change_linearly_and_each_row_reaches_the_data():
    steps = flow.annealed(5, first=6, last=2, shift=2.0)
    assert steps.count.tolist() == [6, 5, 4, 3, 2] and steps.at.shape == (5, 6)
    np.testing.assert_allclose(steps.size.sum(-1), 1.0, atol=1e-6)
    for i, count in enumerate(steps.count):
        times = flow.Solver(num_steps=int(count), shift=2.0).times()
        np.testing.assert_allclose(steps.at[i, :count], times[:-1], atol=1e-7)
        np.testing.assert_allclose(steps.size[i, :count], -np.diff(times), atol=1e-7)
        assert (steps.size[i, count:] == 0).all()
    constant = flow.annealed(3, first=4, last=4)
    assert constant.count is None
    np.testing.assert_array_equal(constant.size, np.full((3, 4), 0.25, np.float32))


def test_solver_accumulates_in_float32():
    """A bfloat16 state would stay at 1: each of the 100 steps is below half its resolution."""
    noise = jnp.ones(4, jnp.bfloat16)
    out = flow.solve(lambda x, t: jnp.full_like(x, 0.1), noise, flow.Solver(num_steps=100))
    np.testing.assert_allclose(np.asarray(out, float), 0.9, rtol=2**-8)


def test_solver_is_differentiable():
    """On an affine velocity an Euler step multiplies the derivative by 1 - h slope."""
    solver = flow.Solver(num_steps=6)
    factors = [1 - affine_velocity(t)[0] / 6 for t in solver.times()[:-1]]
    slope = jax.grad(lambda e: flow.solve(exact_velocity, e, solver))(jnp.float32(0.3))
    assert float(slope) == pytest.approx(np.prod(factors), rel=1e-5)


def euler_maruyama_moments(steps):
    """Mean and variance of the discrete chain: affine steps of a Gaussian stay Gaussian."""
    mean, variance = 0.0, 1.0
    times = flow.Solver(num_steps=steps).times()
    for i, t in enumerate(times[:-1]):
        h = t - times[i + 1]
        a, b = affine_velocity(t)
        if i == steps - 1:
            return (1 - h * a) * mean - h * b, (1 - h * a) ** 2 * variance
        score_a, score_b = -(1 + (1 - t) * a) / t, -(1 - t) * b / t
        drift_a, drift_b = a - t * score_a, b - t * score_b
        mean = (1 - h * drift_a) * mean - h * drift_b
        variance = (1 - h * drift_a) ** 2 * variance + 2 * t * h
    raise AssertionError


@pytest.mark.parametrize("steps", [5, 100])
def test_euler_maruyama_has_the_marginals_of_the_data(steps):
    n = 40_000
    noise = jax.random.normal(jax.random.key(0), (n,))
    solver = flow.Solver("euler_maruyama", steps)
    x = np.asarray(flow.solve(exact_velocity, noise, solver, key=jax.random.key(1)), float)
    mean, variance = euler_maruyama_moments(steps)
    mean_error, variance_error = math.sqrt(variance / n), variance * math.sqrt(2 / n)
    assert x.mean() == pytest.approx(mean, abs=4 * mean_error)
    assert x.var() == pytest.approx(variance, abs=4 * variance_error)
    if steps == 100:
        assert x.mean() == pytest.approx(MU, abs=4 * mean_error)
        assert x.var() == pytest.approx(S**2, rel=0.02, abs=4 * variance_error)
        assert abs(np.corrcoef(x, noise)[0, 1]) < 0.9  # stochastic: the ODE has correlation 1


def test_the_reverse_sde_converges_to_the_data():
    errors = [abs(euler_maruyama_moments(n)[1] - S**2) for n in (50, 100, 200, 400)]
    assert errors[-1] < 2e-3
    assert all(fine < 0.62 * coarse for coarse, fine in zip(errors, errors[1:], strict=False))
    assert euler_maruyama_moments(400)[0] == pytest.approx(MU, abs=2e-3)


def test_euler_maruyama_keys():
    noise = jnp.asarray(gaussian(0, 4, 3))
    keys = jax.random.split(jax.random.key(2), 4)
    solver = flow.Solver("euler_maruyama", 6)
    whole = flow.solve(exact_velocity, noise, solver, key=keys)
    np.testing.assert_array_equal(whole, flow.solve(exact_velocity, noise, solver, key=keys))
    part = flow.solve(exact_velocity, noise[1:3], solver, key=keys[1:3])
    np.testing.assert_allclose(part, whole[1:3], rtol=1e-5)
    other = flow.solve(exact_velocity, noise, solver, key=keys[::-1])
    assert float(jnp.abs(other - whole).min()) > 1e-4
    last = flow.solve(exact_velocity, noise, flow.Solver("euler_maruyama", 1), key=keys)
    np.testing.assert_allclose(last, noise - exact_velocity(noise, 1.0), rtol=1e-5)  # no noise
    with pytest.raises(ValueError, match="key"):
        flow.solve(exact_velocity, noise, solver)


def test_guidance_extrapolates_and_is_exact_at_zero_and_one():
    cond, uncond = jnp.asarray(gaussian(0, 3, 5)), jnp.asarray(gaussian(1, 3, 5))
    np.testing.assert_array_equal(flow.guide(cond, uncond, 1.0), cond)
    np.testing.assert_array_equal(flow.guide(cond, uncond, 0.0), uncond)
    scale = jnp.array([1.0, 2.0, 5.0])
    expected = np.asarray(uncond) + np.asarray(scale)[:, None] * np.asarray(cond - uncond)
    np.testing.assert_allclose(flow.guide(cond, uncond, scale), expected, rtol=1e-4, atol=1e-5)


def test_guidance_scale_never_recompiles():
    traces = []

    @jax.jit
    def guided(v, scale):
        traces.append(scale)
        return flow.guide(v, -v, scale)

    v = jnp.ones((2, 3))
    for scale, expected in ((1.0, 1.0), (4.0, 7.0), (2.0, 3.0)):
        np.testing.assert_allclose(guided(v, scale), expected, rtol=1e-6)
    assert len(traces) == 1


def test_sphere_keeps_direction_and_fixes_length():
    z = gaussian(0, 2, 3, 16) * np.array([1e-3, 1.0, 1e3], np.float32)[:, None]
    out = np.asarray(flow.sphere(jnp.asarray(z)), float)
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), 4.0, rtol=1e-6)
    expected = 4 * z / np.linalg.norm(z, axis=-1, keepdims=True)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    low = flow.sphere(jnp.asarray(z, jnp.bfloat16))
    np.testing.assert_allclose(np.asarray(low, float), expected, rtol=0.02, atol=0.02)


def test_sphere_is_finite_at_zero():
    value, gradient = jax.value_and_grad(lambda z: flow.sphere(z).sum())(jnp.zeros(4))
    assert float(value) == 0.0
    np.testing.assert_allclose(gradient, 2e6, rtol=1e-5)  # sqrt(4) / 1e-6
