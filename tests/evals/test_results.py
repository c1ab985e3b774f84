# SPDX-License-Identifier: Apache-2.0
import itertools
import json

import numpy as np
import pytest

from omnigen.evals import results
from omnigen.evals.results import Estimate


def test_a_ratio_is_of_sums_over_pictures() -> None:
    estimate = results.ratio("key", [0, 0, 1, 2], [1, 0, 3, 2], [2, 1, 3, 4])
    assert estimate.value == pytest.approx(6 / 10)
    assert estimate.prompts == 3
    assert results.ratio("key", [0, 1], [0, 0], [0, 0]).value == 0


def test_resamples_draw_whole_prompts() -> None:
    """Against all 27 resamples of three prompts: the same values, about as often."""
    prompts, right = [0, 0, 1, 1, 2, 2], [1, 1, 1, 0, 0, 0]
    estimate = results.ratio("key", prompts, right)
    shares = {0: 1.0, 1: 0.5, 2: 0.0}
    exact = [np.mean([shares[p] for p in drawn]) for drawn in itertools.product(range(3), repeat=3)]
    for value in sorted(set(exact)):
        expected = np.mean(np.isclose(exact, value))
        assert np.mean(np.isclose(estimate.resampled, value)) == pytest.approx(expected, abs=0.02)
    assert len(estimate.resampled) == results.RESAMPLES == 10_000


def test_the_interval_is_that_of_the_binomial() -> None:
    """With one picture a prompt, 200 of them at 80 %: 1.96 standard errors on either side."""
    interval = results.ratio("key", range(200), [i % 5 > 0 for i in range(200)]).to_json()
    half = 1.96 * np.sqrt(0.8 * 0.2 / 200)
    assert interval["low"] == pytest.approx(0.8 - half, abs=0.008)
    assert interval["high"] == pytest.approx(0.8 + half, abs=0.008)
    assert (interval["value"], interval["prompts"]) == (0.8, 200)


def test_keys_decide_what_is_resampled_together() -> None:
    values = [1, 0, 1, 1, 0, 0, 1, 0]
    one, same, other = (results.ratio(key, range(8), values) for key in ("a", "a", "b"))
    np.testing.assert_array_equal(one.resampled, same.resampled)
    assert abs(np.corrcoef(one.resampled, other.resampled)[0, 1]) < 0.05
    nothing = results.combine(lambda a, b: a - b, one, same)
    assert nothing.value == 0 and not nothing.resampled.any() and nothing.prompts == 8


def test_a_mean_weighs_tasks_alike() -> None:
    small, large = results.ratio("a", range(2), [1, 1]), results.ratio("b", range(8), [0] * 8)
    overall = results.mean([small, large])
    assert (overall.value, overall.prompts) == (0.5, 10)
    assert (overall.resampled == 0.5).all()


def test_an_outcome_is_plain_data() -> None:
    outcome = results.Outcome(
        {"a": Estimate(0.5, np.full(10, 0.5), 3), "b": 2}, {"judge": "x 1"}, [{"index": 0}]
    )
    assert json.loads(json.dumps(outcome.to_json())) == {
        "judge": "x 1",
        "scores": {"a": {"value": 0.5, "low": 0.5, "high": 0.5, "prompts": 3}, "b": {"value": 2.0}},
        "ceiling": {},
        "problems": {},
        "pictures": [{"index": 0}],
        "ceiling_pictures": [],
    }
