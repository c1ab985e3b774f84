# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of fidelity against closed forms, matrix roots, and sums written out."""

import numpy as np
import pytest
import scipy.linalg

from omnigen.evals import frechet
from omnigen.evals.networks.inception import Features


def features(seed: int, number: int, dim: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(number, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)
    ).astype(np.float32)


def test_frechet_distance_of_diagonals() -> None:
    """Independent dims: the sum of (m - m')^2 + (s - s')^2 of standard deviations."""
    a = frechet.Gaussian(np.array([1.0, 0, 2]), np.diag([4.0, 9, 0]))
    b = frechet.Gaussian(np.array([0.0, 0, 5]), np.diag([1.0, 25, 16]))
    assert frechet.frechet_distance(a, b) == pytest.approx(1 + 0 + 9 + 1 + 4 + 16, rel=1e-12)


@pytest.mark.parametrize("number", [200, 7], ids=["full rank", "fewer than dims"])
def test_frechet_distance_is_that_of_the_matrix_root(number: int) -> None:
    x, y = features(0, number, 12).astype(np.float64), features(1, number + 3, 12)
    ours = frechet.frechet_distance(frechet.gaussian(x), frechet.gaussian(y))
    s, t = np.cov(x.T), np.cov(y.T.astype(np.float64))
    offset = 1e-9 * np.eye(12)
    root = np.trace(scipy.linalg.sqrtm((s + offset) @ (t + offset))).real
    gap = np.sum((x.mean(0) - y.astype(np.float64).mean(0)) ** 2)
    assert ours == pytest.approx(gap + np.trace(s) + np.trace(t) - 2 * root, rel=1e-3)
    if number > 12:
        assert ours == pytest.approx(gap + np.trace(s) + np.trace(t) - 2 * root, rel=1e-7)


def test_frechet_distance_to_itself_is_nothing() -> None:
    same = frechet.gaussian(features(2, 20, 50))
    assert abs(frechet.frechet_distance(same, same)) < 1e-9 * np.trace(same.covariance)


def test_inception_score_by_hand() -> None:
    """Sure and evenly spread over 5 classes: 5. One class, or no idea: 1."""
    sure = np.kron(np.eye(5), np.ones((40, 1))) * 1000
    assert frechet.inception_score(sure, splits=1).mean == pytest.approx(5, rel=1e-9)
    assert frechet.inception_score(sure[:40], splits=4).mean == pytest.approx(1, rel=1e-9)
    assert frechet.inception_score(np.zeros((40, 5)), splits=4).mean == pytest.approx(1, rel=1e-9)
    logits = np.log([[0.7, 0.3], [0.2, 0.8]])
    p, q = np.exp(logits), np.array([0.45, 0.55])
    expected = np.exp(np.mean([np.sum(row * np.log(row / q)) for row in p]))
    assert frechet.inception_score(logits, splits=1).mean == pytest.approx(expected, rel=1e-12)
    parts = frechet.inception_score(sure, splits=4)
    assert 3 < parts.mean < 5 and 0 < parts.deviation < 1
    with pytest.raises(ValueError, match="3 pictures; .* needs 10"):
        frechet.inception_score(sure[:3])


def test_overlap_on_a_line() -> None:
    """Real at 0, 1, 2, 3 and 10: third neighbours at 3, 2, 2, 3 and 9, so balls to -3 .. 19."""
    real = np.array([[0.0], [1], [2], [3], [10]])
    drawn = np.array([[-3.0], [-3.01], [19], [19.01], [5], [6]])
    found = frechet.overlap(real, drawn)
    assert found.precision == 4 / 6
    near = np.array([[2.0], [2.1], [2.2], [2.3]])  # balls reach 1.7 .. 2.6
    found = frechet.overlap(real, near)
    assert (found.precision, found.recall) == (1, 1 / 5)
    with pytest.raises(ValueError, match="more than 3"):
        frechet.overlap(real[:3], near)


def test_overlap_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against distances one by one; blocks end unevenly."""
    monkeypatch.setattr(frechet, "BLOCK", 7)
    real, drawn = features(3, 40, 6), features(3, 65, 6)[25:] * 1.2

    def covered(points: np.ndarray, centres: np.ndarray) -> float:
        def distance(a: np.ndarray, b: np.ndarray) -> float:
            return np.linalg.norm(a.astype(np.float64) - b.astype(np.float64))

        radii = [sorted(distance(c, d) for d in centres)[3] for c in centres]
        hits = [
            any(distance(p, c) <= r for c, r in zip(centres, radii, strict=True)) for p in points
        ]
        return float(np.mean(hits))

    found = frechet.overlap(real, drawn)
    assert (found.precision, found.recall) == (covered(drawn, real), covered(real, drawn))
    assert 0 < found.precision < 1


def test_kernel_distance_written_out() -> None:
    x, y = features(4, 9, 3).astype(np.float64), features(5, 9, 3).astype(np.float64)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(a * b) / 3 + 1) ** 3

    pairs = [(i, j) for i in range(9) for j in range(9)]
    within = [np.mean([k(z[i], z[j]) for i, j in pairs if i != j]) for z in (x, y)]
    expected = sum(within) - 2 * np.mean([k(x[i], y[j]) for i, j in pairs])
    found = frechet.kernel_distance(x, y, subsets=3)
    assert found.mean == pytest.approx(expected, rel=1e-9)
    assert found.deviation < 1e-9 * abs(expected)


def test_kernel_distance_is_unbiased() -> None:
    """Halves of one set: nothing within its spread; shifted: far more."""
    x = np.random.default_rng(6).normal(size=(2000, 4))
    same = frechet.kernel_distance(x[:1000], x[1000:], subset_size=200)
    moved = frechet.kernel_distance(x[:1000], x[1000:] + 0.5, subset_size=200)
    assert abs(same.mean) < same.deviation < moved.mean / 10


def test_compare_names_every_metric() -> None:
    def make(seed: int) -> Features:
        rng = np.random.default_rng(seed)
        return Features(*(rng.normal(size=(30, d)).astype(np.float32) for d in (8, 5, 4)))

    a, b = make(0), make(1)
    found = frechet.compare(a, b)
    fid = frechet.frechet_distance(frechet.gaussian(a.pool), frechet.gaussian(b.pool))
    sfid = frechet.frechet_distance(frechet.gaussian(a.spatial), frechet.gaussian(b.spatial))
    assert (found["fid"], found["sfid"]) == (fid, sfid)
    assert found["inception_score"] == frechet.inception_score(b.logits).mean
    assert found["precision"] == frechet.overlap(a.pool, b.pool).precision
    assert found["recall"] == frechet.overlap(a.pool, b.pool).recall
    assert abs(frechet.compare(a, a)["fid"]) < 1e-9
    few = Features(a.pool[:9], a.spatial[:9], a.logits[:9])
    with pytest.raises(ValueError, match="9 pictures; fidelity needs 10"):
        frechet.compare(a, few)
