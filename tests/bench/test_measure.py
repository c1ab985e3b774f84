# SPDX-License-Identifier: Apache-2.0
"""Oracles: events laid out by hand, and a program whose slow part is known."""

import time

import jax
import jax.numpy as jnp
import pytest

from omnigen.bench import measure
from omnigen.bench.measure import Event


def test_the_median_leaves_the_warm_up_and_one_slow_run_out() -> None:
    pauses = iter([0.3, 0.01, 0.3, 0.02])  # the first is the warm-up
    seconds = measure.median_seconds(lambda: time.sleep(next(pauses)), repeats=3)
    assert 0.02 <= seconds < 0.2


def test_ceilings_are_those_of_a_computer() -> None:
    top = measure.ceilings(repeats=1)
    assert 1e-3 < top.tflops < 1e4 and 0.1 < top.bandwidth < 1e5


def test_what_runs_inside_an_event_is_not_the_events_own() -> None:
    ns = 1e6
    one = [Event("dot", 3 * ns, 6 * ns), Event("while", 0, 10 * ns), Event("add", 6 * ns, 7 * ns)]
    inner = [Event("exp", 4 * ns, 5 * ns)]  # inside the dot, which is inside the loop
    two = [Event("add", 2 * ns, 4 * ns)]  # another stream, at the same time
    found = measure.rows([one + inner, two])
    wanted = {"while": (6.0, 1), "add": (3.0, 2), "dot": (2.0, 1), "exp": (1.0, 1)}
    assert [row.name for row in found] == list(wanted)
    for row in found:
        milliseconds, calls = wanted[row.name]
        assert row.seconds * 1e3 == pytest.approx(milliseconds) and row.calls == calls
        assert row.share == pytest.approx(milliseconds / 12)


def test_the_table_has_ten_lines_that_add_up() -> None:
    events = [Event(f"op{chr(97 + i)}", 100 * i, 100 * i + 12 - i) for i in range(12)]
    lines = measure.table(measure.rows([events])).splitlines()
    assert len(lines) == 10 and lines[0].endswith("1 x opa")
    assert lines[-1].endswith("3 x 3 others") and "7.7%" in lines[-1]  # (3 + 2 + 1) / 78
    assert len(measure.table(measure.rows([events[:4]])).splitlines()) == 4


def test_a_profile_names_the_slow_part_of_a_program(tmp_path) -> None:
    x = jax.random.normal(jax.random.key(0), (50, 2000))

    @jax.jit
    def sorts(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 5, lambda _, x: jnp.sort(x[:, ::-1], axis=1), x) + 1.0

    jax.block_until_ready(sorts(x))
    found = measure.profile(lambda: sorts(x), tmp_path)
    assert found[0].name == "sort" and found[0].share > 0.5
    assert found[0].calls % 5 == 0
    assert sum(row.share for row in found) == pytest.approx(1.0)
    again = measure.profile(lambda: sorts(x), tmp_path)
    assert again[0].name == "sort" and again[0].calls == found[0].calls
