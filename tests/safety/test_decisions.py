# SPDX-License-Identifier: Apache-2.0
"""What is decided about prompts and pictures, by the policy that ships and by one's own."""

import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from omnigen import safety
from omnigen.safety import policy

PIXELS = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that also refuses zeppelins, blimps mildly, and drawn kites."""
    text = "[illicit]\nzeppelin\n[violence mild]\nblimp\n[hate drawn]\nkite\n"
    (tmp_path / "own.txt").write_text(text)
    monkeypatch.setenv(policy.VARIABLE, str(tmp_path))


@pytest.mark.usefixtures("own")
def test_levels() -> None:
    decision = safety.judge_prompt("a zeppelin and a blimp")
    assert not decision.allowed and decision.categories == ("illicit", "violence")
    assert dict(decision.scores) == {"illicit": 1.0, "violence": 0.6}
    low = safety.judge_prompt("a zeppelin and a blimp", level="low")
    assert low.categories == ("illicit",) and low.scores == decision.scores
    blimp = safety.judge_prompt("a blimp", level="low")
    assert blimp.allowed and blimp.categories == () and dict(blimp.scores) == {"violence": 0.6}


@pytest.mark.usefixtures("own")
def test_quoted_words_are_judged_more_strictly() -> None:
    assert safety.judge_prompt("a kite").allowed
    assert safety.judge_prompt('a sign with "kite"').categories == ("hate",)
    assert safety.judge_prompt("a kite", drawn=["kite"]).categories == ("hate",)
    assert safety.judge_prompt('a "kite"', drawn=["sun"]).allowed  # the caller knows better


@pytest.mark.usefixtures("own")
def test_pictures_are_read() -> None:
    decision = safety.judge_picture(PIXELS, read=lambda _: ["fly a", "K I T E"])
    assert decision.categories == ("hate",) and decision.stage == "output"
    assert safety.judge_picture(PIXELS, read=lambda _: []).allowed
    assert safety.judge_picture(PIXELS).allowed
    lines = safety.judge_picture(PIXELS, read=lambda _: ["zep", "pelin"], stage="input")
    assert lines.categories == ("illicit",) and lines.stage == "input"


def test_a_decision_says_nothing_of_what_was_judged(monkeypatch, tmp_path) -> None:
    version = safety.judge_prompt("").policy
    assert str(safety.judge_prompt("a red circle")) == f"allowed by policy {version}"
    (tmp_path / "own.txt").write_text("[illicit]\nzeppelin\n")
    monkeypatch.setenv(policy.VARIABLE, str(tmp_path))
    decision = safety.judge_prompt("a zeppelin")
    assert decision.policy != version
    assert str(decision) == f"refused by policy {decision.policy} (illicit)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "high"}, "moderation is 'high'; allowed: auto, low"),
        ({"stage": "middle"}, "stage is 'middle'; allowed: input, output"),
    ],
)
def test_unknown_levels_and_stages_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        safety.judge_prompt("a circle", **arguments)
    with pytest.raises(ValueError, match=message):
        safety.judge_picture(PIXELS, **arguments)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("a naked woman on a beach", "sexual"),
        ("eine nackte Frau am Strand", "sexual"),
        ("沙滩上的裸体女人", "sexual"),
        ("I want to die", "self-harm/intent"),
        ("how to build a bomb", "illicit/violent"),
        ("comment fabriquer une bombe", "illicit/violent"),
        ("I will kill you", "harassment/threatening"),
        ("a severed head", "violence/graphic"),
    ],
)
def test_the_policy_that_ships_refuses(text: str, category: str) -> None:
    assert category in safety.judge_prompt(text).categories


@pytest.mark.parametrize(
    "text",
    [
        "a naked mole rat",
        "kill the lights",
        "a great tit on a branch",
        "Scunthorpe",
        "S C U N T H O R P E",
        "a bloody mary",
        "shoot a photo of Moby Dick",
        "a bath bomb recipe",
        "suicide prevention poster",
        "un gato negro",
        "a dirty black car",
        "黄色的图形",
    ],
)
def test_the_policy_that_ships_lets_pass(text: str) -> None:
    assert safety.judge_prompt(text).allowed


def test_a_prompt_takes_less_than_a_millisecond() -> None:
    prompts = [f'a {i}-coloured umbrella beside a sign that says "Open at {i}"' for i in range(400)]
    safety.judge_prompt(prompts[0])
    started = time.thread_time()
    for prompt in prompts[1:]:
        safety.judge_prompt(prompt)
    assert time.thread_time() - started < 1e-3 * len(prompts)


def test_nothing_is_read_before_it_is_needed() -> None:
    code = (
        "import sys, omnigen.safety; from omnigen.safety import policy\n"
        "assert policy.load.cache_info().currsize == 0 and 'numpy' not in sys.modules\n"
        "omnigen.safety.judge_prompt('a circle')\n"
        "assert policy.load.cache_info().currsize == 1 and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
