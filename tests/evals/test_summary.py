# SPDX-License-Identifier: Apache-2.0
"""Tables of Markdown from reports that are known."""

import json
import os
import pathlib
import re

import pytest

from omnigen.evals import summary


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
    found = rows(summary.tables([report(), report("b|c")]))
    assert list(found) == ["task", "---", "overall", "counting, 2 to 4", "position"]
    assert found["task"][:3] == ["target", "ours", "its ceiling"]
    assert found["overall"][:3] == ["", "0.990 [0.980, 1.000]", ""]
    assert found["counting, 2 to 4"][:2] == ["≥ 0.93", "**0.930 [0.920, 0.940]**"]
    assert found["position"][:3] == ["≥ 0.93", "0.929 [0.919, 0.939]", "0.980 [0.970, 0.990]"]
    assert "| b\\|c |" in summary.tables([report("b|c")])


@pytest.mark.parametrize(
    "hostile",
    [
        "a|b\n<!-- scores -->\n| c | [d](x) `e` <script>alert(1)</script> ![f](g) **h** \x1b[2J",
        ["<script>"],
        {"|": "\n"},
        10**5000,
        "x" * 100_000,
        float("nan"),
        "half \ud83d",
    ],
    ids=map(str, range(7)),
)
def test_nothing_of_strangers_changes_a_table(hostile: object) -> None:
    """A table keeps its rows and columns, and no name becomes markup."""
    plain = summary.tables([report()])
    settings = {"guidance": hostile, "temperature": 1.0}
    more = {"judge": hostile, "seeds": [hostile], "prompts_sha256": hostile, "settings": settings}
    more |= {"expected": hostile, "judged": hostile, "unreadable": hostile}
    found = report(**more)
    (column,) = found["columns"]
    column |= {
        "name": hostile if isinstance(hostile, str) else "a",
        "model": hostile,
        "step": hostile,
    }
    column["digest"] = hostile if hostile == hostile else "f"
    column["suites"]["exact"]["scores"]["overall"] = {**score(0.5), "value": hostile}
    shown = summary.tables([found])
    assert shown.count("\n") == plain.count("\n") and len(shown) < 5000
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in shown.splitlines()]
    assert bars == [len(re.findall(r"(?<!\\)\|", line)) for line in plain.splitlines()]
    assert "<" not in shown and not re.search(r"(?<!\\)\[[a-z]+\]\(", shown)
    assert not set(shown) & set("\0\x1b\ud83d") and shown.encode()


@pytest.mark.parametrize(("ceiling", "is_met"), [(0.918, True), (0.92, False), (None, False)])
def test_a_target_may_be_a_share_of_the_ceiling(ceiling: float | None, is_met: bool) -> None:
    """0.9 is 98 % of 0.918."""
    ceilings = {} if ceiling is None else {"word_accuracy": score(ceiling)}
    found = rows(summary.tables([report(**WORDS, ceiling=ceilings)]))
    target, shown, *_ = found["words of reconstructions"]
    assert target == "≥ 0.98 of its ceiling" and shown.startswith("**") == is_met


def test_suites_of_one_system_come_together() -> None:
    shown = summary.tables([report(), report(**WORDS)])
    assert {"overall", "words of reconstructions"} <= rows(shown).keys()
    assert (
        "- ours, `exact`: pictures, weights `ffffffffffffffff`; 12 pictures, 1 unreadable; "
        "seeds 0, 1; prompts `abababababababab`; judge shapes 9; guidance 3.0\n"
    ) in shown
    with pytest.raises(ValueError, match="ours has suite exact twice"):
        summary.tables([report(), report()])
    other = report(**WORDS)
    other["columns"][0]["digest"] = "e" * 64
    with pytest.raises(ValueError, match="ours has other weights in another file"):
        summary.tables([report(), other])


def test_every_target_is_of_a_metric_that_exists() -> None:
    targets = {row.metric: row.target for row in summary.ROWS if row.target is not None}
    assert targets.pop("word_accuracy") == 0.98  # of reconstructions; of the suite text, 0.9
    assert targets == {
        "overall_unseen": 0.95,
        "counting": 0.93,
        "position": 0.93,
        "color_attr": 0.95,
        "scene_20_atoms": 0.8,
    }


def test_other_line_ends_are_words_too() -> None:
    before = f"a\u2028b\x0cc\n{summary.START}\nold\n{summary.END}\nend\n"
    after = summary.document(before, "new")
    assert after.startswith("a\u2028b\x0cc\n") and after.endswith(f"{summary.END}\nend\n")


def test_a_document_keeps_its_words(tmp_path: pathlib.Path) -> None:
    source, output = tmp_path / "results.json", tmp_path / "docs.md"
    source.write_text(json.dumps(report()))
    argv = ["--results", str(source), "--output", str(output)]
    summary.main(argv)
    first = output.read_text()
    assert first.startswith("# Results\n\n<!-- scores -->\n\n| task |")
    output.write_text(first.replace("# Results", "# Ours\n\nWords.") + "\nMore.\n")
    source.write_text(json.dumps(report(scores={"overall": score(0.5)})))
    summary.main(argv)
    second = output.read_text()
    assert second.startswith("# Ours\n\nWords.\n\n<!-- scores -->\n\n| task |")
    assert second.endswith("<!-- end of scores -->\n\nMore.\n")
    assert "0.500 [0.490, 0.510]" in second and "0.990" not in second
    summary.main(argv)
    assert output.read_text() == second


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--results is required"),
        (["--results=absent"], "--results absent: no report of omnigen.evaluate: "),
        (["--results=list"], "--results list: no report of omnigen.evaluate: "),
        (["--results=deep"], "--results deep: no report of omnigen.evaluate: too deep"),
        (["--results=pipe"], "--results pipe: no report of omnigen.evaluate: pipe is a pipe; allo"),
        (
            ["--results=/dev/zero"],
            "--results /dev/zero: no report of omnigen.evaluate: ",
        ),
        (["--results=" + "a" * 300], "--results aaaa"),
        (["--results=good", "--output=pipe"], "pipe is a pipe; allowed: regular files"),
        (["--results=good", "--output=plain"], "output: needs the lines <!-- scores --> and"),
    ],
)
def test_bad_input_is_one_line(
    argv: list[str], message: str, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_text("[]")
    (tmp_path / "good").write_text(json.dumps(report()))
    (tmp_path / "plain").write_text("no marks\n")
    (tmp_path / "deep").write_text("[" * 200_000)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SystemExit) as caught:
        summary.main(argv)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"omnigen.evals.summary: {message}") and error.count("\n") == 1
    assert (tmp_path / "plain").read_text() == "no marks\n"
