# SPDX-License-Identifier: Apache-2.0
"""How near drawn pictures are to real ones as a set: FID, sFID, IS, precision, recall, KID.

All of it is arithmetic over features, in float64; `judges/inception.py` makes the features of the
first five. With mean m and covariance S (divided by n - 1) of real (r) and drawn (d) features:

(1) Frechet distance  |m_r - m_d|^2 + tr S_r + tr S_d - 2 tr (S_r S_d)^1/2   Heusel et al. 2017
    FID: pooled Inception features; sFID (Nash et al. 2021): its spatial features
(2) IS = exp(mean over x of KL(p(y|x) || mean over x of p(y|x)))           Salimans et al. 2016
(3) precision: share of drawn features within the distance of some real feature to its third
    nearest real one; recall: the same with the roles exchanged        Kynkaanniemi et al. 2019
(4) KID = unbiased squared MMD of the kernel (x.y / dim + 1)^3            Binkowski et al. 2018
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.special

from omnigen.evals.networks.inception import Features

NEIGHBOURS = 3
SPLITS = 10
SUBSETS = 100
SUBSET_SIZE = 1000
BLOCK = 1024  # rows of a distance matrix that are made at a time


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Mean `[dim]` and covariance `[dim, dim]` of features, float64."""

    mean: np.ndarray
    covariance: np.ndarray


@dataclasses.dataclass(frozen=True)
class Score:
    """Mean and standard deviation of a score over parts of the pictures."""

    mean: float
    deviation: float


@dataclasses.dataclass(frozen=True)
class Overlap:
    """The share of what was drawn that looks real, and of what is real that was drawn, 0 to 1."""

    precision: float
    recall: float


def gaussian(features_ND: np.ndarray) -> Gaussian:
    """Returns the moments of two or more features."""
    features = features_ND.astype(np.float64)
    assert len(features) > 1
    return Gaussian(features.mean(axis=0), np.cov(features, rowvar=False))


def frechet_distance(real: Gaussian, drawn: Gaussian) -> float:
    """Returns equation (1).

    The trace of the root is the sum of the singular values of S_r^1/2 S_d^1/2. Unlike a matrix root
    of the product, which is not symmetric, this needs no care where a covariance is singular, as
    it is with fewer pictures than dimensions.
    """
    roots = [_root(each.covariance) for each in (real, drawn)]
    cross = np.linalg.norm(roots[0] @ roots[1], "nuc")
    traces = np.trace(real.covariance) + np.trace(drawn.covariance)
    return float(np.square(real.mean - drawn.mean).sum() + traces - 2 * cross)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def inception_score(logits_NC: np.ndarray, *, splits: int = SPLITS, seed: int = 0) -> Score:
    """Returns equation (2) over `splits` equal parts of the shuffled pictures.

    The score of few pictures is too low, and no score reads off a part smaller than the classes.

    Raises:
        ValueError: If there are fewer pictures than parts.
    """
    if len(logits_NC) < splits:
        raise ValueError(f"{len(logits_NC)} pictures; the Inception Score needs {splits} or more")
    order = np.random.default_rng(seed).permutation(len(logits_NC))
    scores = []
    for part in np.array_split(logits_NC[order].astype(np.float64), splits):
        log_p = scipy.special.log_softmax(part, axis=1)
        p = np.exp(log_p)
        log_mean = scipy.special.logsumexp(log_p, axis=0) - np.log(len(part))
        scores.append(np.exp((p * (log_p - log_mean)).sum(axis=1).mean()))
    return Score(float(np.mean(scores)), float(np.std(scores)))


def overlap(real_ND: np.ndarray, drawn_ND: np.ndarray, *, neighbours: int = NEIGHBOURS) -> Overlap:
    """Returns equation (3); memory grows with the number of pictures, not with its square.

    Raises:
        ValueError: If a set has fewer than `neighbours` pictures beside each.
    """
    if min(len(real_ND), len(drawn_ND)) <= neighbours:
        raise ValueError(f"precision and recall need more than {neighbours} pictures a set")
    return Overlap(
        precision=_covered(drawn_ND, by=real_ND, neighbours=neighbours),
        recall=_covered(real_ND, by=drawn_ND, neighbours=neighbours),
    )


def _covered(points: np.ndarray, *, by: np.ndarray, neighbours: int) -> float:
    """Returns the share of points in a ball that reaches from a centre to its n-th neighbour."""
    centres = by.astype(np.float64)
    inside = np.zeros(len(points), bool)
    for start in range(0, len(centres), BLOCK):
        block = centres[start : start + BLOCK]
        own = _squared_distances(block, centres)
        own[np.arange(len(block)), start + np.arange(len(block))] = -1  # itself, exactly first
        radii = np.partition(own, neighbours, axis=1)[:, neighbours]
        inside |= (_squared_distances(block, points) <= radii[:, None]).any(axis=0)
    return float(inside.mean())


def _squared_distances(a_ND: np.ndarray, b_MD: np.ndarray) -> np.ndarray:
    b = b_MD.astype(np.float64)
    squares = np.square(a_ND).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None, :]
    return np.maximum(squares - 2 * a_ND @ b.T, 0)


def kernel_distance(
    real_ND: np.ndarray,
    drawn_ND: np.ndarray,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> Score:
    """Returns equation (4) over random subsets, smaller ones of few pictures.

    It is unbiased: the mean of equal distributions is 0 whatever the number, so it may be negative.
    """
    size = min(subset_size, len(real_ND), len(drawn_ND))
    assert size > 1
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(subsets):
        x, y = (
            features[rng.choice(len(features), size, replace=False)].astype(np.float64)
            for features in (real_ND, drawn_ND)
        )
        within = sum(k.sum() - np.trace(k) for k in (_kernel(x, x), _kernel(y, y)))
        scores.append(within / (size * (size - 1)) - 2 * _kernel(x, y).mean())
    return Score(float(np.mean(scores)), float(np.std(scores)))


def _kernel(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    return (x_ND @ y_MD.T / x_ND.shape[1] + 1) ** 3


def compare(real: Features, drawn: Features) -> dict[str, float]:
    """Returns all metrics of two sets of pictures by name.

    Raises:
        ValueError: If there are fewer pictures than a metric needs.
    """
    if len(drawn.logits) < SPLITS:
        raise ValueError(f"{len(drawn.logits)} pictures; fidelity needs {SPLITS} or more")
    score = inception_score(drawn.logits)
    shares = overlap(real.pool, drawn.pool)
    kernel = kernel_distance(real.pool, drawn.pool)
    return {
        "fid": frechet_distance(gaussian(real.pool), gaussian(drawn.pool)),
        "sfid": frechet_distance(gaussian(real.spatial), gaussian(drawn.spatial)),
        "inception_score": score.mean,
        "inception_score_deviation": score.deviation,
        "precision": shares.precision,
        "recall": shares.recall,
        "kid": kernel.mean,
        "kid_deviation": kernel.deviation,
    }
