# SPDX-License-Identifier: Apache-2.0
"""The optimizer: AdamW or Muon, a warmup-stable-decay schedule, and rules per parameter.

What happens to a weight follows from the names of its dims: hidden matrices may be optimized by
Muon and decay; vectors and embeddings are AdamW's and do not decay. Rules over parameter paths
override that, and may freeze weights or change their learning rate.
"""

import dataclasses
import difflib
import enum
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from omnigen import parallel

# Matrices that read from or write to these are no hidden matrices: AdamW, also under Muon.
_OUTER = {"vocab", "latent", "pixels", "positions"}
# Tables with one row per id or place; they do not decay.
_TABLES = {"vocab", "positions"}
# AdamW's updates have a root mean square of about 0.2; Muon's are scaled to it, so that learning
# rate and weight decay carry over (Liu et al., "Muon is Scalable for LLM Training", 2025).
_MUON_RMS = 0.2
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of x, x³ and x⁵


class Algorithm(enum.StrEnum):
    """How gradients become directions."""

    ADAMW = "adamw"
    MUON = "muon"


class Decay(enum.StrEnum):
    """The shape of the last part of the schedule, with x from 0 to 1: `1 - x` or `1 - sqrt(x)`."""

    LINEAR = "linear"
    SQRT = "sqrt"


@dataclasses.dataclass(frozen=True)
class Rule:
    """Overrides for the parameters whose path contains the regular expression `pattern`.

    Paths look like `decoder/layers/mlp/up`. `weight_decay` and `learning_rate` are multipliers of
    the optimizer's values; a `weight_decay` of None leaves the default for that parameter.
    """

    pattern: str
    weight_decay: float | None = None
    learning_rate: float = 1.0
    freeze: bool = False

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(
                f"pattern {self.pattern!r} is no regular expression: {error}"
            ) from error


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Settings of the optimizer.

    Attributes:
        name: Algorithm that makes directions of gradients.
        learning_rate: Learning rate between warmup and decay, for AdamW and Muon alike.
        warmup_steps: Number of steps of linear warmup.
        decay_fraction: Share of all steps, the last ones, over which the learning rate falls.
        decay: Shape of that fall.
        final_fraction: Learning rate at the end, as a fraction of `learning_rate`.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        eps: Number added to the root of the second moment.
        momentum: Decay of Muon's momentum.
        weight_decay: Decay of weights, multiplied with the learning rate as in AdamW.
        clip_norm: Global norm that larger gradients are scaled down to; 0 never clips.
        rules: Rules for single parameters; the first that matches one holds.
    """

    name: Algorithm = Algorithm.ADAMW
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay_fraction: float = 0.2
    decay: Decay = Decay.LINEAR
    final_fraction: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-8
    momentum: float = 0.95
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        for name in ("decay_fraction", "final_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1]")
        for name in ("learning_rate", "warmup_steps", "weight_decay", "clip_norm"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        for name in ("beta1", "beta2", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1)")


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What the optimizer does to one parameter; `weight_decay` is absolute."""

    path: str
    names: tuple[str | None, ...]
    matrix: bool
    weight_decay: float
    learning_rate: float
    freeze: bool

    @property
    def group(self) -> str:
        """The part of the optimizer that owns the parameter."""
        return "frozen" if self.freeze else "matrix" if self.matrix else "other"


def schedule(config: OptimizerConfig, total_steps: int) -> Callable[[Any], Any]:
    """Returns the learning rate as a function of the step, counted from 0.

    It is computed on the device for a step that is a jax array, and on the host for a number.

    It rises linearly to `learning_rate`, reached at step `warmup_steps - 1`, stays, and falls over
    the last `decay_fraction` of the steps to `final_fraction`, reached at step `total_steps`. In
    runs too short for both, the smaller of the two ramps holds.
    """
    decay_steps = round(config.decay_fraction * total_steps)

    def learning_rate(step: Any) -> Any:
        xp = jnp if isinstance(step, jax.Array) else np
        rise = xp.minimum(1.0, (step + 1) / max(config.warmup_steps, 1))
        x = xp.clip((step - (total_steps - decay_steps)) / max(decay_steps, 1), 0.0, 1.0)
        x = xp.sqrt(x) if config.decay is Decay.SQRT else x
        fall = 1.0 - (1.0 - config.final_fraction) * x
        return config.learning_rate * xp.minimum(rise, fall)

    return learning_rate


def treatments(config: OptimizerConfig, axes: Any, shapes: Any) -> Any:
    """Decides what happens to each parameter.

    Args:
        config: The settings.
        axes: Tree of tuples of dim names, as the weights declare them.
        shapes: The same tree of arrays or shapes.

    Returns:
        The same tree of `Treatment`.

    Raises:
        ValueError: If a rule matches no parameter (the message names the nearest), or names do not
            fit a shape.
    """
    used: set[Rule] = set()

    def treat(path: Any, leaf: Any, names: tuple[str | None, ...]) -> Treatment:
        path = "/".join(str(key.key) for key in path)
        if len(names) != len(leaf.shape):
            raise ValueError(f"parameter {path} of shape {leaf.shape} has dim names {names}")
        dims = tuple(name for name in names if name != "layers")
        decays = len(dims) >= 2 and dims[0] not in _TABLES
        multiplier, rule = float(decays), Rule(pattern="")
        found = [candidate for candidate in config.rules if re.search(candidate.pattern, path)]
        if found:
            rule = found[0]
            multiplier = multiplier if rule.weight_decay is None else rule.weight_decay
        used.update(found)
        muon = config.name is Algorithm.MUON
        return Treatment(
            path=path,
            names=names,
            matrix=muon and len(dims) == 2 and not _OUTER.intersection(dims),
            weight_decay=0.0 if rule.freeze else config.weight_decay * multiplier,
            learning_rate=rule.learning_rate,
            freeze=rule.freeze,
        )

    tree = jax.tree_util.tree_map_with_path(treat, shapes, axes)
    paths = [leaf.path for leaf in jax.tree.leaves(tree)]
    for rule in config.rules:
        if rule not in used:
            near = difflib.get_close_matches(rule.pattern, paths, n=1, cutoff=0.0)
            raise ValueError(
                f"optimizer rule {rule.pattern!r} matches no parameter; nearest: {near[0]}"
            )
    return tree


def _stateless(update: Callable[..., Any]) -> optax.GradientTransformationExtraArgs:
    """Returns a transformation of updates, given updates and params, that has no state."""

    def update_fn(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        return update(updates, params, **extra), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)


def orthogonalize(x: jax.Array) -> jax.Array:
    """Brings the singular values of matrices `[..., M, N]` near 1, from 0.7 to 1.2.

    Takes five Newton-Schulz steps by a quintic polynomial whose slope at 0 is as large as possible
    (Jordan et al. 2024, "Muon").
    """
    # The result need not be exact, so bfloat16 is enough: GPUs and TPUs multiply it several times
    # as fast and move half as much. CPUs have no units for it.
    dtype = jnp.float32 if parallel.platform() == "cpu" else jnp.bfloat16
    a, b, c = _NEWTON_SCHULZ
    is_tall = x.shape[-2] > x.shape[-1]
    # No singular value is larger than this norm, so that all start where the steps converge.
    y = (x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + 1e-8)).astype(dtype)
    for _ in range(5):
        other = y.swapaxes(-1, -2)
        gram = other @ y if is_tall else y @ other  # of the shorter side
        mix = b * gram + c * (gram @ gram)
        y = a * y + (y @ mix if is_tall else mix @ y)
    return y.astype(x.dtype)


def _muon(config: OptimizerConfig) -> optax.GradientTransformationExtraArgs:
    """Returns Muon: momentum of matrices, stacked or not, orthogonalized, with AdamW's RMS.

    On a mesh the matrices of a stack are shared out, each whole on one device, so that
    orthogonalizing them needs no traffic and is not repeated.
    """

    def shared(x: jax.Array) -> jax.Array:
        ways = parallel.ways("matrices")
        if ways == 1 or x.ndim == 2:
            return orthogonalize(x)
        padded = jnp.pad(x, [(0, -len(x) % ways), (0, 0), (0, 0)])
        split = parallel.spec(("matrices", None, None))
        mapped = jax.shard_map(orthogonalize, in_specs=split, out_specs=split, check_vma=False)
        return mapped(padded)[: len(x)]

    def turn(updates: Any, params: Any, **_: Any) -> Any:
        del params
        # An orthogonal M x N matrix has a root mean square of 1 / sqrt(max(M, N)).
        return jax.tree.map(
            lambda u: shared(u) * (_MUON_RMS * math.sqrt(max(u.shape[-2:]))), updates
        )

    return optax.chain(optax.trace(config.momentum, nesterov=True), _stateless(turn))


def build(
    config: OptimizerConfig, *, axes: Any, shapes: Any, total_steps: int
) -> optax.GradientTransformationExtraArgs:
    """Builds the optimizer; `update` needs the argument `step`, from which the schedule follows.

    The learning rate depends on the training step and on nothing in the optimizer's state, so it
    is right after a skipped update, after a resume, and when `total_steps` changes.

    Raises:
        ValueError: As in `treatments`.
    """
    tree = treatments(config, axes, shapes)
    learning_rate = schedule(config, total_steps)
    adam = optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.eps)
    directions = optax.partition(
        {"other": adam, "matrix": _muon(config), "frozen": optax.set_to_zero()},
        jax.tree.map(lambda treatment: treatment.group, tree),
    )

    def drop_frozen(grads: Any, params: Any, **_: Any) -> Any:
        del params
        return jax.tree.map(lambda t, g: jnp.zeros_like(g) if t.freeze else g, tree, grads)

    def finish(updates: Any, params: Any, *, step: Any) -> Any:
        rate = learning_rate(step)

        def one(treatment: Treatment, update: jax.Array, param: jax.Array) -> jax.Array:
            decayed = parallel.shard(update, *treatment.names) + treatment.weight_decay * param
            return -rate * treatment.learning_rate * decayed

        return jax.tree.map(one, tree, updates, params)

    # Frozen weights go first: their gradients must not count in the norm that is clipped.
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(_stateless(drop_frozen), clip, directions, _stateless(finish))
