# SPDX-License-Identifier: Apache-2.0
import pathlib
import subprocess
import sys

import pytest

from omnigen.evals import registry
from omnigen.evals.registry import SUITES, Subject, Use


def test_only_what_is_asked_for_is_imported() -> None:
    """A recipe and `--help` read the table; neither waits for JAX, numpy or a judge."""
    code = "import sys; from omnigen.evals import registry; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"jax", "numpy", "PIL", "skia"}
    assert {name for name in loaded if name.startswith("omnigen.evals")} == {
        "omnigen.evals",
        "omnigen.evals.registry",
    }


def test_what_suites_can_judge() -> None:
    prompted = ("exact", "text", "wording")
    assert registry.able(Use.PICTURES) == registry.able(Use.DRAWING) == prompted
    assert registry.able(Use.PAIR) == ("fidelity", "kid_lite0")
    assert registry.able(Use.PICTURES, Use.PAIR) == (*prompted, "fidelity", "kid_lite0")
    having = [name for name, suite in SUITES.items() if suite.has_prompts]
    assert having == [*prompted, "wording_sketch"]


def test_recipes_list_suites_that_need_nothing_but_the_stage() -> None:
    assert registry.able(Use.TRAINING) == (
        *("held_out", "reconstruction", "exact", "text", "wording", "wording_sketch"),
        *("kid_lite0", "lpips"),
    )
    assert registry.listed("exact") == (SUITES["exact"], 1)
    assert registry.listed("text/12") == (SUITES["text"], 12)
    for entry in ("text/", "text/0", "text/101", "text/x", "text/1/2", "text/-1", "text/²"):
        with pytest.raises(ValueError, match="allowed: text/N, which asks every Nth prompt"):
            registry.listed(entry)
    with pytest.raises(ValueError, match=r"^evals fid\\x1blity: did you mean"):
        registry.listed("fid\x1blity")


def test_an_unknown_suite_names_the_nearest() -> None:
    assert registry.find("text", SUITES, where="--suites") is SUITES["text"]
    with pytest.raises(
        ValueError, match="^--suites exat: did you mean exact[?] allowed: exact, te"
    ):
        registry.find("exat", ("exact", "text"), where="--suites")


def test_evaluators_of_pictures_take_them_as_they_lie(tmp_path: pathlib.Path) -> None:
    """A folder holds the pictures of one suite, or a folder for each."""
    subject = Subject(use=Use.PICTURES, images=tmp_path, output=tmp_path, every=100)
    evaluator = SUITES["exact"].evaluator(subject)
    assert evaluator._images == tmp_path and evaluator._ceiling is None
    assert evaluator._count == 4 and len(evaluator._suite.prompts) == 19
    (tmp_path / "exact").mkdir()
    (tmp_path / "exact-ceiling").mkdir()
    evaluator = SUITES["exact"].evaluator(subject)
    assert evaluator._images == tmp_path / "exact"
    assert evaluator._ceiling == tmp_path / "exact-ceiling"


def test_systems_side_by_side_have_folders_of_their_own(tmp_path: pathlib.Path) -> None:
    alone = Subject(name="a", output=tmp_path)
    assert alone.folder == tmp_path
    assert Subject(name="a", output=tmp_path, is_alone=False).folder == tmp_path / "a"
