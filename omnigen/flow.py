# SPDX-License-Identifier: Apache-2.0
"""Rectified flow: path, targets, time densities, solvers, guidance. No parameters.

The only file that knows the convention: t = 0 is data x, t = 1 is noise e ~ N(0, I).

    (1)  x_t = (1 - t) x + t e                         the straight path
    (2)  v   = dx_t/dt = e - x                         its velocity
    (3)  x   = x_t - t v,    e = x_t + (1 - t) v       both ends from one velocity
    (4)  v   = (x_t - x) / max(t, t_min)               velocity of a net that predicts x
    (5)  L   = w (output - target)^2                   velocity loss: w = 1 and target = v, or
                                                       w = 1 / max(t, t_min)^2 and target = x
    (6)  t  <- s t / (1 + (s - 1) t)                   time shift: s > 1 dwells near the noise

A net trained with (5) gives v(x, t) = E[v | x_t = x]; dx/dt = v then carries noise to data with
the marginals p_t of (1). As x_t | x ~ N((1 - t) x, t^2 I), equation (3) gives the score

    (7)  grad log p_t(x_t) = -E[e | x_t] / t = -(x_t + (1 - t) v) / t

Backwards in time, dx = [v - (g^2/2) grad log p_t] dt + g dW keeps the same p_t for every g(t) >= 0
(in the Fokker-Planck equation the score term cancels the diffusion). With g^2 = 2t nothing is
divided by t, and one Euler-Maruyama step of length h from t to t - h is

    (8)  x <- x - h (v + e_hat) + sqrt(2 t h) N(0, I),   e_hat = x + (1 - t) v

The last step is (3), without noise: x <- E[x | x_t].

    (9)  v   = v_u + s (v_c - v_u)                     guidance; s = 1 + (scale - 1) fraction: ramp
    (10) u(z_t, t, r) = 1/(t - r) int_r^t v(z_q, q) dq     average velocity, z_r = z_t - (t - r) u
    (11) u   = v - (t - r) du/dt,  du/dt = v grad_z u + du/dt|_z    MeanFlow: d/dt of (10)

Times have the shape of the data's leading dimensions: x.shape[:k], a scalar (k = 0) included.
Arithmetic is in float32 or wider. Points and velocities keep the dtype of the first argument;
losses and regression targets stay wide.
"""

import dataclasses
import enum
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

T_MIN = 0.05
"""Smallest divisor in (4): bounds the weight of a data prediction near t = 0."""


class _Choice(enum.StrEnum):
    """A string enum whose error names what is allowed."""

    @classmethod
    def _missing_(cls, value: object) -> "_Choice":
        allowed = ", ".join(cls)
        raise ValueError(f"{cls.__name__} {value!r} is unknown; choose one of: {allowed}")


class Prediction(_Choice):
    """What the output of a net means."""

    VELOCITY = "velocity"
    DATA = "data"


class Density(_Choice):
    """Family of a TimeDensity."""

    UNIFORM = "uniform"
    LOGIT_NORMAL = "logit_normal"


class Method(_Choice):
    """Integrator of a Solver."""

    EULER = "euler"
    HEUN = "heun"
    EULER_MARUYAMA = "euler_maruyama"


class GuidanceSchedule(_Choice):
    """How the guidance scale depends on the fraction of the image already drawn."""

    CONSTANT = "constant"
    RAMP = "ramp"

    def at(self, scale: ArrayLike, fraction: ArrayLike) -> jax.Array:
        """Guidance scale when `fraction` in [0, 1] is drawn; both may be traced."""
        if self is GuidanceSchedule.RAMP:
            return ramp(scale, fraction)
        return jnp.asarray(scale, jnp.float32)


def _wide(x: ArrayLike) -> jax.Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _like(t: ArrayLike, x: jax.Array) -> jax.Array:
    """Spreads `t` of shape x.shape[:k] over the trailing dimensions of x."""
    t = jnp.asarray(t)
    if t.shape != x.shape[: t.ndim]:
        raise ValueError(f"time has shape {t.shape}; data of shape {x.shape} needs a leading part")
    t = t.astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.broadcast_to(t.reshape(t.shape + (1,) * (x.ndim - t.ndim)), x.shape)


def interpolate(x: jax.Array, noise: jax.Array, t: ArrayLike) -> jax.Array:
    """Point x_t of the path at time t, equation (1)."""
    t = _like(t, x)
    return ((1 - t) * _wide(x) + t * _wide(noise)).astype(x.dtype)


def velocity(x: jax.Array, noise: jax.Array) -> jax.Array:
    """Velocity of the path, equation (2)."""
    return (_wide(noise) - _wide(x)).astype(x.dtype)


def to_velocity(
    output: jax.Array, x_t: jax.Array, t: ArrayLike, prediction: str, *, t_min: float = T_MIN
) -> jax.Array:
    """Velocity that a net's `output` at x_t means, equation (4)."""
    if Prediction(prediction) is Prediction.VELOCITY:
        return output
    divisor = jnp.maximum(_like(t, x_t), t_min)
    return ((_wide(x_t) - _wide(output)) / divisor).astype(output.dtype)


def to_data(output: jax.Array, x_t: jax.Array, t: ArrayLike, prediction: str) -> jax.Array:
    """Clean data that a net's `output` at x_t means, equation (3)."""
    if Prediction(prediction) is Prediction.DATA:
        return output
    return (_wide(x_t) - _like(t, x_t) * _wide(output)).astype(output.dtype)


def velocity_weight(t: ArrayLike, prediction: str, *, t_min: float = T_MIN) -> jax.Array:
    """Factor w of (5), in the shape of t: turns a net's squared error into a velocity loss."""
    t = _wide(t)
    if Prediction(prediction) is Prediction.VELOCITY:
        return jnp.ones_like(t)
    return 1 / jnp.square(jnp.maximum(t, t_min))


def velocity_loss(
    output: jax.Array,
    x: jax.Array,
    noise: jax.Array,
    t: ArrayLike,
    prediction: str,
    *,
    t_min: float = T_MIN,
) -> jax.Array:
    """Squared velocity error per element, equation (5), wide and unreduced, in the shape of x.

    Callers reduce, because only they know the global count of weighted tokens. Zero exactly when
    the output is the target, also below t_min.
    """
    data = Prediction(prediction) is Prediction.DATA
    target = _wide(x) if data else _wide(noise) - _wide(x)
    weight = _like(velocity_weight(t, prediction, t_min=t_min), x)
    return weight * jnp.square(_wide(output) - target)


def _draw(
    sample: Callable[[jax.Array, tuple[int, ...]], jax.Array],
    key: jax.Array,
    shape: tuple[int, ...],
) -> jax.Array:
    """Draws `shape` from one key, or each leading index of it from that index's own key."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != shape[: key.ndim]:
        raise ValueError(
            f"key has dtype {key.dtype} and shape {key.shape}; a draw of shape {shape} needs a "
            "typed key (jax.random.key), or an array of them in a leading part of the shape"
        )

    def draw(k: jax.Array) -> jax.Array:
        return sample(k, shape[key.ndim :])

    for _ in range(key.ndim):
        draw = jax.vmap(draw)
    return draw(key)


def normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """Gaussian noise from one key, or from keys of shape `shape[:k]`.

    With a key an example, what an example draws does not depend on its neighbours in the batch.
    """
    return _draw(lambda k, s: jax.random.normal(k, s, dtype), key, shape)


@dataclasses.dataclass(frozen=True)
class TimeDensity:
    """Density of training times on [0, 1].

    Attributes:
        kind: `uniform`, or `logit_normal`: t = sigmoid(N(mean, std^2)).
        mean: of logit(t); positive leans to the noise.
        std: of logit(t).
        uniform_fraction: share of draws taken from the uniform density instead, so that the ends
            are visited.
    """

    kind: Density | str = Density.LOGIT_NORMAL
    mean: float = 0.0
    std: float = 1.0
    uniform_fraction: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Density(self.kind))
        if self.std <= 0:
            raise ValueError(f"std is {self.std}; it must be positive")
        if not 0 <= self.uniform_fraction <= 1:
            raise ValueError(f"uniform_fraction is {self.uniform_fraction}; it must be in [0, 1]")

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Times in [0, 1], float32, from one key or from keys of shape `shape[:k]`."""
        return _draw(self._sample, key, shape)

    def _sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        if self.kind is Density.UNIFORM:
            return jax.random.uniform(key, shape)
        choice, flat, bell = jax.random.split(key, 3)
        t = jax.nn.sigmoid(self.mean + self.std * jax.random.normal(bell, shape))
        is_flat = jax.random.uniform(choice, shape) < self.uniform_fraction
        return jnp.where(is_flat, jax.random.uniform(flat, shape), t)

    def pdf(self, t: ArrayLike) -> jax.Array:
        """Density at t in [0, 1]; its limit at both ends."""
        t = _wide(t)
        if self.kind is Density.UNIFORM:
            return jnp.ones_like(t)
        inside = (t > 0) & (t < 1)
        safe = jnp.where(inside, t, 0.5)
        z = (jnp.log(safe) - jnp.log1p(-safe) - self.mean) / self.std
        bell = jnp.exp(-0.5 * z * z) / (self.std * math.sqrt(2 * math.pi) * safe * (1 - safe))
        return self.uniform_fraction + (1 - self.uniform_fraction) * jnp.where(inside, bell, 0.0)


@dataclasses.dataclass(frozen=True)
class Solver:
    """How to integrate from noise to data; hashable, so it may be a static argument.

    Attributes:
        method: `euler` (order 1, num_steps evaluations), `heun` (order 2, 2 num_steps - 1
            evaluations) or `euler_maruyama` (stochastic, equation (8), num_steps evaluations).
        num_steps: intervals between t = 1 and t = 0.
        shift: s of equation (6), applied to evenly spaced times.
    """

    method: Method | str = Method.EULER
    num_steps: int = 8
    shift: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", Method(self.method))
        if self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}; it must be at least 1")
        if self.shift <= 0:
            raise ValueError(f"shift is {self.shift}; it must be positive")

    def times(self) -> np.ndarray:
        """The num_steps + 1 times, float64, decreasing from exactly 1 to exactly 0."""
        t = np.linspace(1.0, 0.0, self.num_steps + 1)
        return self.shift * t / (1 + (self.shift - 1) * t)


VelocityFn = Callable[[jax.Array, jax.Array], jax.Array]


def solve(
    velocity_fn: VelocityFn, noise: jax.Array, solver: Solver, *, key: jax.Array | None = None
) -> jax.Array:
    """Carries noise at t = 1 to data at t = 0; returns data in the shape and dtype of `noise`.

    `velocity_fn(x, t)` gets x in the dtype of `noise` and a scalar float32 t, is traced once and is
    never evaluated at t = 0. The state between steps is float32 or wider. Reverse-differentiable.

    Args:
        key: for `euler_maruyama` only: one key, or keys of shape `noise.shape[:k]`.

    Raises:
        ValueError: `euler_maruyama` without a key.
    """
    times = solver.times()
    if solver.method is Method.EULER_MARUYAMA:
        if key is None:
            raise ValueError("euler_maruyama is stochastic; solve needs a key")
        return _euler_maruyama(velocity_fn, noise, times, key)
    if solver.method is Method.HEUN:
        # Evaluations alternate: predict x - h v, then correct it to x - h (v + v') / 2, which is
        # the predicted point less (h / 2) (v' - v). The last step stays a prediction.
        at = np.repeat(times, 2)[1:-2]
        step = np.repeat(times[:-1] - times[1:], 2)[:-1] * np.resize([1.0, 0.5], at.size)
        previous = np.resize([0.0, 1.0], at.size)
    else:
        at, step, previous = times[:-1], times[:-1] - times[1:], np.zeros(solver.num_steps)
    x = _wide(noise)
    at, step, previous = (jnp.asarray(table, x.dtype) for table in (at, step, previous))

    def body(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, v_previous = carry
        v = _evaluate(velocity_fn, x, at[i], noise.dtype)
        return x - step[i] * (v - previous[i] * v_previous), v

    x, _ = jax.lax.fori_loop(0, at.size, body, (x, jnp.zeros_like(x)))
    return x.astype(noise.dtype)


def _evaluate(f: VelocityFn, x: jax.Array, t: jax.Array, dtype: jnp.dtype) -> jax.Array:
    return f(x.astype(dtype), t.astype(jnp.float32)).astype(x.dtype)


def _euler_maruyama(
    velocity_fn: VelocityFn, noise: jax.Array, times: np.ndarray, key: jax.Array
) -> jax.Array:
    """Equation (8); the last step is (3), without noise."""
    x = _wide(noise)
    steps = times[:-1] - times[1:]
    stochastic = np.arange(steps.size) < steps.size - 1
    deviations = np.sqrt(2 * times[:-1] * steps) * stochastic
    at, step, extra, deviation = (
        jnp.asarray(table, x.dtype) for table in (times[:-1], steps, steps * stochastic, deviations)
    )

    def fold(k: jax.Array, shape: tuple[int, ...], i: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(k, i), shape, x.dtype)

    def body(i: jax.Array, x: jax.Array) -> jax.Array:
        v = _evaluate(velocity_fn, x, at[i], noise.dtype)
        e_hat = x + (1 - at[i]) * v
        fresh = _draw(lambda k, shape: fold(k, shape, i), key, x.shape)
        return x - step[i] * v - extra[i] * e_hat + deviation[i] * fresh

    return jax.lax.fori_loop(0, steps.size, body, x).astype(noise.dtype)


def ramp(scale: ArrayLike, fraction: ArrayLike) -> jax.Array:
    """Guidance scale that grows from 1 to `scale` as `fraction` goes from 0 to 1, equation (9).

    The first tokens fix the layout and need variety; the last ones, with all the rest as context,
    bear strong guidance.
    """
    return 1 + (jnp.asarray(scale, jnp.float32) - 1) * jnp.asarray(fraction, jnp.float32)


def guide(
    v_cond: jax.Array,
    v_uncond: jax.Array,
    scale: ArrayLike,
    *,
    rescale: ArrayLike = 0.0,
    axis: int | tuple[int, ...] = -1,
) -> jax.Array:
    """Classifier-free guidance, equation (9); exactly `v_cond` at scale 1, `v_uncond` at 0.

    Args:
        scale: shape v_cond.shape[:k]; may be traced, so that changing it compiles nothing.
        rescale: in [0, 1]: how far a result longer than v_cond is shrunk to the length of v_cond.
        axis: over which a length is taken: -1 for a token, (-3, -2, -1) for an NHWC image.
    """
    cond, uncond = _wide(v_cond), _wide(v_uncond)
    scale = _like(scale, cond)
    v = scale * cond + (1 - scale) * uncond
    squares = [jnp.sum(jnp.square(u), axis=axis, keepdims=True) for u in (cond, v)]
    shrink = jnp.sqrt(jnp.minimum(1.0, squares[0] / jnp.maximum(squares[1], 1e-12)))
    rescale = jnp.asarray(rescale, v.dtype)
    return (v * (1 - rescale + rescale * shrink)).astype(v_cond.dtype)


def meanflow_target(
    u_fn: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    z_t: jax.Array,
    t: jax.Array,
    r: jax.Array,
    v: jax.Array,
) -> jax.Array:
    """Regression target of an average velocity, equation (11): v - (t - r) du/dt, no gradient.

    The total derivative follows the path, so it is one forward-mode product with tangents
    (v, 1, 0). At r = t the target is v: plain flow matching.

    Args:
        u_fn: u(z, t, r), the average velocity from t back to r <= t.
        z_t: point of the path at t.
        t: shape z_t.shape[:k], floating.
        r: shape and dtype of t.
        v: velocity at z_t, in the shape of z_t.
    """
    tangents = (v.astype(z_t.dtype), jnp.ones_like(t), jnp.zeros_like(r))
    _, du_dt = jax.jvp(u_fn, (z_t, t, r), tangents)
    interval = _like(_wide(t) - _wide(r), z_t)
    return jax.lax.stop_gradient(_wide(v) - interval * _wide(du_dt))


def sphere(z: jax.Array) -> jax.Array:
    """Projects the last axis, of size d, on the sphere of radius sqrt(d): the latent geometry.

    Fixed norms cannot drift under guidance, and each coordinate has mean square 1, as the noise
    has. In float32, whatever the dtype of z, which is returned. Zero stays zero, with a finite
    gradient.
    """
    square = jnp.sum(jnp.square(_wide(z)), axis=-1, keepdims=True)
    unit = _wide(z) * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
    return (math.sqrt(z.shape[-1]) * unit).astype(z.dtype)
