# SPDX-License-Identifier: Apache-2.0
"""Rectified flow: path, targets, time densities, solvers, guidance. No parameters.

The only file that knows the convention: t = 0 is data x, t = 1 is noise e ~ N(0, I).

    (1)  x_t = (1 - t) x + t e                      the straight path
    (2)  v = dx_t/dt = e - x                        its velocity
    (3)  x = x_t - t v,    e = x_t + (1 - t) v      both ends from one velocity
    (4)  v = (x_t - x) / max(t, t_min)              velocity of a net that predicts x
    (5)  L = w (output - target)^2                  velocity loss: w = 1 and target = v, or
                                                    w = 1 / max(t, t_min)^2 and target = x
    (6)  t <- s t / (1 + (s - 1) t)                 time shift: s > 1 dwells near the noise

    (7)  grad log p_t(x_t) = -e_hat / t             score, with e_hat = x_t + (1 - t) v
    (8)  x <- x - h (v + e_hat) + sqrt(2 t h) N(0, I)      Euler-Maruyama step from t to t - h
    (9)  v = v_u + s (v_c - v_u)                    guidance
    (10) (t - r) u(z_t, t, r) = int_r^t v(z_q, q) dq       average velocity

A net trained with (5) gives v(x, t) = E[v | x_t = x]; dx/dt = v then has the marginals p_t of (1).
As x_t | x ~ N((1 - t) x, t^2 I), the score is -E[e | x_t] / t, which (3) turns into (7). Backwards
in time, dx = [v - (g^2/2) grad log p_t] dt + g dW has the same p_t for every g(t) >= 0 (in the
Fokker-Planck equation the score term cancels the diffusion). With g^2 = 2t nothing is divided by
t: (8), whose last step is (3), without noise: x <- E[x | x_t].

Times have the shape of the data's leading dimensions: x.shape[:k], a scalar (k = 0) included.
Arithmetic is in float32 or wider. Points and velocities keep the dtype of the first argument;
losses and regression targets stay wide.
"""

import dataclasses
import enum
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

T_MIN = 0.05  # the smallest divisor in (4): bounds the weight of a data prediction near t = 0
T_TINY = 1e-6  # the smallest when solving, where the last step has to end in the data
Shape = tuple[int, ...]
VelocityFn = Callable[[Array, Array], Array]


class _Choice(enum.StrEnum):
    @classmethod
    def _missing_(cls, value: object) -> "_Choice":
        raise ValueError(f"{cls.__name__} {value!r} is unknown; choose from: {', '.join(cls)}")


class Prediction(_Choice):
    """What the output of a net means."""

    VELOCITY, DATA = "velocity", "data"


class Density(_Choice):
    """Family of a TimeDensity."""

    UNIFORM, LOGIT_NORMAL = "uniform", "logit_normal"


class Method(_Choice):
    """Integrator of a Solver."""

    EULER, EULER_MARUYAMA = "euler", "euler_maruyama"


def _wide(x: ArrayLike) -> Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _like(t: ArrayLike, x: Array) -> Array:
    t = jnp.asarray(t, jnp.promote_types(x.dtype, jnp.float32))
    if t.shape != x.shape[: t.ndim]:
        raise ValueError(f"shape {t.shape} is not a leading part of the data's shape {x.shape}")
    return jnp.broadcast_to(t.reshape(t.shape + (1,) * (x.ndim - t.ndim)), x.shape)


def interpolate(x: Array, noise: Array, t: ArrayLike) -> Array:
    """Returns the point x_t of the path at time t, equation (1)."""
    t = _like(t, x)
    return ((1 - t) * _wide(x) + t * _wide(noise)).astype(x.dtype)


def velocity(x: Array, noise: Array) -> Array:
    """Returns the velocity of the path, equation (2)."""
    return (_wide(noise) - _wide(x)).astype(x.dtype)


def to_velocity(
    output: Array, x_t: Array, t: ArrayLike, prediction: str, *, t_min: float = T_MIN
) -> Array:
    """Returns the velocity that a net's `output` at x_t means, equation (4)."""
    if Prediction(prediction) is Prediction.VELOCITY:
        return output
    divisor = jnp.maximum(_like(t, x_t), t_min)
    return ((_wide(x_t) - _wide(output)) / divisor).astype(output.dtype)


def velocity_weight(t: ArrayLike, prediction: str, *, t_min: float = T_MIN) -> Array:
    """Returns the factor w of (5), which makes a net's squared error a velocity loss.

    It has the shape of t.
    """
    velocity = Prediction(prediction) is Prediction.VELOCITY
    return jnp.ones_like(_wide(t)) if velocity else jnp.maximum(_wide(t), t_min) ** -2


def velocity_loss(
    output: Array, x: Array, noise: Array, t: ArrayLike, prediction: str, *, t_min: float = T_MIN
) -> Array:
    """Returns the squared velocity error of each element, equation (5), not reduced.

    It is wide and has the shape of x. Callers reduce, because only they know the global count of
    weighted tokens. It is zero exactly when the output is the target, also below t_min.
    """
    target = _wide(x) if Prediction(prediction) is Prediction.DATA else _wide(noise) - _wide(x)
    weight = _like(velocity_weight(t, prediction, t_min=t_min), x)
    return weight * jnp.square(_wide(output) - target)


def _draw(sample: Callable[..., Array], key: Array, shape: Shape) -> Array:
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != shape[: key.ndim]:
        raise ValueError(
            f"{key.dtype}{key.shape} does not draw {shape}: use jax.random.key keys, in "
            "the shape of a leading part"
        )
    draw = functools.partial(sample, shape=shape[key.ndim :])
    for _ in range(key.ndim):
        draw = jax.vmap(draw)
    return draw(key)


def normal(key: Array, shape: Shape, dtype: DTypeLike = jnp.float32) -> Array:
    """Draws Gaussian noise from one key, or from keys of shape `shape[:k]`.

    With a key an example, what an example draws does not depend on its neighbours in the batch.
    """
    return _draw(functools.partial(jax.random.normal, dtype=dtype), key, shape)


@dataclasses.dataclass(frozen=True)
class TimeDensity:
    """A density of training times: `uniform` on [0, 1], or `logit_normal`: sigmoid(N(mean, std^2)).

    A positive mean leans to the noise. A `uniform_fraction` of the draws is uniform whatever the
    kind, and so visits the ends.
    """

    kind: Density | str = Density.LOGIT_NORMAL
    mean: float = 0.0
    std: float = 1.0
    uniform_fraction: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Density(self.kind))
        if not (self.std > 0 and 0 <= self.uniform_fraction <= 1):
            raise ValueError(f"{self}: std must be positive and uniform_fraction in [0, 1]")

    @property
    def _flat(self) -> float:
        return 1.0 if self.kind is Density.UNIFORM else self.uniform_fraction

    def sample(self, key: Array, shape: Shape) -> Array:
        """Draws times in [0, 1], float32, from one key or from keys of shape `shape[:k]`."""

        def draw(key: Array, shape: Shape) -> Array:
            choice, flat, bell = jax.random.split(key, 3)
            t = jax.nn.sigmoid(self.mean + self.std * jax.random.normal(bell, shape))
            is_flat = jax.random.uniform(choice, shape) < self._flat
            return jnp.where(is_flat, jax.random.uniform(flat, shape), t)

        return _draw(draw, key, shape)


@dataclasses.dataclass(frozen=True)
class Solver:
    """How to integrate from noise to data; hashable, so it may be a static argument.

    `euler` (order 1) and `euler_maruyama` (stochastic, equation (8)) evaluate the net `num_steps`
    times. `shift` is s of (6), over evenly spaced times.
    """

    method: Method | str = Method.EULER
    num_steps: int = 8
    shift: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", Method(self.method))
        if self.num_steps < 1 or self.shift <= 0:
            raise ValueError(f"{self}: num_steps must be at least 1 and shift positive")

    def times(self) -> np.ndarray:
        """Returns the num_steps + 1 times, float64, decreasing from exactly 1 to exactly 0."""
        t = np.linspace(1.0, 0.0, self.num_steps + 1)
        return t / (t + (1 - t) / self.shift)

    def steps(self) -> "Steps":
        """Returns the steps of `euler` as data."""
        times = self.times()
        return Steps(times[:-1].astype(np.float32), (times[:-1] - times[1:]).astype(np.float32))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Steps:
    """Euler steps from t = 1 to t = 0 as arrays, so that others need no compilation.

    Attributes:
        at: Times where the net is evaluated, float32 `[..., S]`.
        size: Length of each step, float32 `[..., S]`.
        count: Number of the S steps that are taken, int32 `[...]`; None for all, a loop of known
            length.
    """

    at: Array | np.ndarray
    size: Array | np.ndarray
    count: Array | np.ndarray | None = None

    def __getitem__(self, index: ArrayLike) -> "Steps":
        """Returns the steps of one token, or whatever the leading dim counts."""
        return jax.tree.map(lambda table: jnp.asarray(table)[index], self)


def annealed(tokens: int, *, first: int, last: int, shift: float = 1.0) -> Steps:
    """Returns steps for each token of a picture, from `first` to `last` in number: `[tokens, S]`.

    The number changes linearly with the tokens drawn, rounded: what a token may be narrows as the
    picture fills, so fewer steps find it (Zhao et al. 2025, "DiSA"). `shift` is s of (6).
    """
    counts = np.rint(np.linspace(first, last, tokens)).astype(np.int32)
    at, size = np.zeros((2, tokens, counts.max()), np.float32)
    for i, count in enumerate(counts):
        steps = Solver(num_steps=int(count), shift=shift).steps()
        at[i, :count], size[i, :count] = steps.at, steps.size
    return Steps(at, size, None if first == last else counts)


def solve(
    velocity_fn: VelocityFn, noise: Array, solver: Solver, *, key: Array | None = None
) -> Array:
    """Carries noise at t = 1 to data at t = 0; returns the shape and dtype of `noise`.

    `velocity_fn(x, t)` gets x in the dtype of `noise` and a scalar float32 t; it is traced once and
    never evaluated at t = 0. The state between steps is wide. Differentiable in both modes.
    `euler_maruyama` needs `key`: one, or an array of them of shape `noise.shape[:k]`.

    Raises:
        ValueError: If `euler_maruyama` has no key.
    """
    if solver.method is not Method.EULER_MARUYAMA:
        key = None
    elif key is None:
        raise ValueError("euler_maruyama is stochastic: solve needs a key")
    times = solver.times()
    at, step = times[:-1], times[:-1] - times[1:]
    churn = np.append(step[:-1], 0.0)
    x = _wide(noise)
    at, step, churn = (jnp.asarray(table, x.dtype) for table in (at, step, churn))

    def body(i: Array, x: Array) -> Array:
        v = velocity_fn(x.astype(noise.dtype), at[i].astype(jnp.float32)).astype(x.dtype)
        x_new = x - step[i] * v
        if key is not None:
            fresh = _draw(lambda k, shape: gaussian(jax.random.fold_in(k, i), shape), key, x.shape)
            e_hat = x + (1 - at[i]) * v
            x_new += jnp.sqrt(2 * at[i] * churn[i]) * fresh - churn[i] * e_hat
        return x_new

    gaussian = functools.partial(jax.random.normal, dtype=x.dtype)
    return jax.lax.fori_loop(0, at.size, body, x).astype(noise.dtype)


def euler(velocity_fn: Callable[[Array, Array, Array], Array], noise: Array, steps: Steps) -> Array:
    """Does what `solve` does, by Euler steps that may be traced.

    `velocity_fn(x, t, i)` also gets the number of the step. The tables of `steps` are `[S]`, or
    `[S, B]` if they differ from row to row of `noise`.
    """
    at, size = (jnp.asarray(table) for table in (steps.at, steps.size))

    def body(i: Array, x: Array) -> Array:
        velocity = velocity_fn(x.astype(noise.dtype), at[i], i).astype(x.dtype)
        return x - _like(size[i], x) * velocity

    count = len(at) if steps.count is None else steps.count
    return jax.lax.fori_loop(0, count, body, _wide(noise)).astype(noise.dtype)


def guide(v_cond: Array, v_uncond: Array, scale: ArrayLike) -> Array:
    """Applies classifier-free guidance, equation (9): exactly `v_cond` at scale 1, `v_uncond` at 0.

    `scale`, of shape v_cond.shape[:k], may be traced: changing it compiles nothing.
    """
    cond, uncond = _wide(v_cond), _wide(v_uncond)
    scale = _like(scale, cond)
    return (scale * cond + (1 - scale) * uncond).astype(v_cond.dtype)


def sphere(z: Array) -> Array:
    """Projects the last axis, of size d, on the sphere of radius sqrt(d): the latent geometry.

    Fixed lengths cannot drift under guidance, and the mean square of a coordinate is 1, as in the
    noise. Computed wide, returned in the dtype of z; finite at 0, gradient included.
    """
    square = jnp.sum(jnp.square(_wide(z)), axis=-1, keepdims=True)
    scale = math.sqrt(z.shape[-1]) * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
    return (scale * _wide(z)).astype(z.dtype)
