# SPDX-License-Identifier: Apache-2.0
"""Tables of Markdown from reports that are known."""

import json
import pathlib

import pytest

import score_tables


def score(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "prompts": 9}


def report(name: str = "ours", suite: str = "exact", **more) -> dict:
    outcome = {
        "judge": "shapes 9",
        "expected": 12,
        "judged": 12,
        "unreadable": 1,
        "seeds": [0, 1],
        "prompts_sha256": "ab" * 32,
        "settings": {"guidance": 3.0, "weights": "f" * 64},
        "scores": {"overall": score(0.99), "position": score(0.929), "counting": score(0.93)},
        "ceiling": {"position": score(0.98)},
    } | more
    return {"columns": [{"name": name, "digest": "f" * 64, "suites": {suite: outcome}}]}


WORDS = {"suite": "reconstruction", "scores": {"word_accuracy": score(0.9)}}


def rows(shown: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split("|") for line in shown.splitlines() if line.startswith("|")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_scores_targets_and_ceilings() -> None:
    """Bold is what reaches its target; 0.99 has none, 0.929 falls short, 0.93 is enough."""
    found = rows(score_tables.tables([report(), report("b")]))
    assert list(found) == ["task", "---", "overall", "counting, 2 to 4", "position"]
    assert found["task"][:3] == ["target", "ours", "its ceiling"]
    assert found["overall"][:3] == ["", "0.990 [0.980, 1.000]", ""]
    assert found["counting, 2 to 4"][:2] == ["≥ 0.93", "**0.930 [0.920, 0.940]**"]
    assert found["position"][:3] == ["≥ 0.93", "0.929 [0.919, 0.939]", "0.980 [0.970, 0.990]"]
    assert found["task"][3:] == ["b", "its ceiling"]


@pytest.mark.parametrize(("ceiling", "is_met"), [(0.918, True), (0.92, False), (None, False)])
def test_a_target_may_be_a_share_of_the_ceiling(ceiling: float | None, is_met: bool) -> None:
    """0.9 is 98 % of 0.918."""
    ceilings = {} if ceiling is None else {"word_accuracy": score(ceiling)}
    found = rows(score_tables.tables([report(**WORDS, ceiling=ceilings)]))
    target, shown, *_ = found["words of reconstructions"]
    assert target == "≥ 0.98 of its ceiling" and shown.startswith("**") == is_met


def test_suites_of_one_system_come_together() -> None:
    shown = score_tables.tables([report(), report(**WORDS)])
    assert {"overall", "words of reconstructions"} <= rows(shown).keys()
    assert (
        "- ours, `exact`: pictures, weights `ffffffffffffffff`; 12 pictures, 1 unreadable; "
        "seeds 0, 1; prompts `abababababababab`; judge shapes 9; guidance 3.0\n"
    ) in shown
    with pytest.raises(ValueError, match="ours has suite exact twice"):
        score_tables.tables([report(), report()])
    other = report(**WORDS)
    other["columns"][0]["digest"] = "e" * 64
    with pytest.raises(ValueError, match="ours has other weights in another file"):
        score_tables.tables([report(), other])


def test_every_target_is_of_a_metric_that_exists() -> None:
    targets = {row.metric: row.target for row in score_tables.ROWS if row.target is not None}
    assert targets.pop("word_accuracy") == 0.98  # of reconstructions; of the suite text, 0.9
    assert targets == {
        "overall_unseen": 0.95,
        "counting": 0.93,
        "position": 0.93,
        "color_attr": 0.95,
        "scene_20_atoms": 0.8,
        "sketch": 0.92,
        "picture": 0.87,
        **{f"{part}_negation": 0.9 for part in ("sketch", "picture")},
        **{
            f"{part}_{kind}_of_plain": 0.92
            for part in ("sketch", "picture")
            for kind in ("capitals", "typos")
        },
        "picture_special_words": 0.8,
    }


def test_a_document_keeps_its_words(tmp_path: pathlib.Path) -> None:
    """Line ends of other kinds are words, too."""
    source, output = tmp_path / "results.json", tmp_path / "docs.md"
    output.write_text(
        "# Ours\n\na\u2028b\x0cc\n<!-- scores -->\nstale\n<!-- end of scores -->\nMore.\n"
    )
    source.write_text(json.dumps(report(scores={"overall": score(0.5)})))
    for _ in range(2):
        score_tables.main(output, [source])
        text = output.read_text()
        assert text.startswith("# Ours\n\na\u2028b\x0cc\n<!-- scores -->\n\n| task |")
        assert text.endswith("<!-- end of scores -->\nMore.\n") and "stale" not in text
        assert "0.500 [0.490, 0.510]" in text


@pytest.mark.parametrize("text", ["none\n", "<!-- end of scores -->\n<!-- scores -->\n"])
def test_a_document_needs_the_marks(text: str) -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        score_tables.document(text, "new")
