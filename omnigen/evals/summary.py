# SPDX-License-Identifier: Apache-2.0
"""Turns `results.json` files into the tables of a Markdown document, so that nobody types a number.

The document's own words stay: what stands between the two marks is replaced, and only that.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from omnigen import cli
from omnigen.evals import results, table

PROGRAM = "omnigen.evals.summary"
USAGE = """
Writes scores, targets and ceilings to a document:
  python -m omnigen.evals.summary --results eval/results.json --output docs/results.md
Give --results again for more systems or suites. A document that is there keeps its words; only what
stands between the lines <!-- scores --> and <!-- end of scores --> is replaced.
"""
START, END = "<!-- scores -->", "<!-- end of scores -->"
TITLE = "# Results"


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        title: what people call it.
        suite: which holds it.
        metric: of the suite.
        target: what the score should reach; None if nothing was promised.
        of_ceiling: whether the target is a share of the score's ceiling.
    """

    title: str
    suite: str
    metric: str
    target: float | None = None
    of_ceiling: bool = False

    def aim(self) -> str:
        """The target in words."""
        if self.target is None:
            return ""
        return f"≥ {self.target:.2f}{' of its ceiling' if self.of_ceiling else ''}"

    def is_met(self, score: float, ceiling: float | None) -> bool:
        """Whether a score reaches the target."""
        if self.target is None or (self.of_ceiling and ceiling is None):
            return False
        return score >= self.target * (ceiling if self.of_ceiling and ceiling is not None else 1)


ROWS = (
    Row("overall", "exact", "overall"),
    Row("overall, nothing else in the picture", "exact", "overall_strict"),
    Row("overall, unseen compositions", "exact", "overall_unseen", 0.95),
    Row("one object", "exact", "single_object"),
    Row("two objects", "exact", "two_object"),
    Row("counting, 2 to 4", "exact", "counting", 0.93),
    Row("colours", "exact", "colors"),
    Row("position", "exact", "position", 0.93),
    Row("colours of two objects", "exact", "color_attr", 0.95),
    *(
        Row(f"counting, {low} to {high}", "exact", f"counting_{low}_{high}")
        for low, high in ((5, 8), (9, 12), (13, 16), (17, 20))
    ),
    *(
        Row(f"scenes of {size}: objects right", "exact", f"scene_{size}_atoms")
        for size in (3, 5, 8, 10, 12, 15, 18)
    ),
    Row("scenes of 20: objects right", "exact", "scene_20_atoms", 0.80),
    Row("landscapes", "exact", "landscape"),
    Row("overall by the second judge", "exact", "overall_second"),
    Row("pictures on which the judges differ", "exact", "judges_differ"),
    Row("the judges' κ over objects", "exact", "judges_kappa"),
    Row("words", "text", "word_accuracy", 0.90),
    Row("words never trained", "text", "word_accuracy_unseen"),
    Row("letters (1 - normalised edit distance)", "text", "ned"),
    Row("pictures with all words right", "text", "exact_all"),
    Row("words of reconstructions", "reconstruction", "word_accuracy", 0.98, of_ceiling=True),
    Row("PSNR of reconstructions, dB", "reconstruction", "psnr_dB"),
    Row("SSIM of reconstructions", "reconstruction", "ssim"),
)
"""What is reported, in order; targets are those of docs/evaluation.md."""


def tables(reports: Sequence[Mapping[str, Any]]) -> str:
    """The table of scores and what each system was, as Markdown.

    Args:
        reports: contents of `results.json` files; systems of one name are one, in several suites.
    """
    columns = _merged(reports)
    names = [_escaped(name) for name in columns]
    heads = ["task", "target", *(head for name in names for head in (name, "its ceiling"))]
    lines = [heads, ["---"] * len(heads)]
    for row in ROWS:
        cells = [cell for column in columns.values() for cell in _cells(row, column)]
        if any(cells):
            lines.append([row.title, row.aim(), *cells])
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n".join(note for column in columns.values() for note in _notes(column))
    return (
        f"{drawn}\n\nScores with their 95 % intervals over prompts; bold ones reach their target. "
        f"They are of the procedural domain, not GenEval's own.\n\n{notes}\n"
    )


def _merged(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Systems by name, with the suites of all reports.

    Raises:
        ValueError: two reports tell the same suite of one name.
    """
    found: dict[str, dict[str, Any]] = {}
    for report in reports:
        for column in report["columns"]:
            known = found.setdefault(column["name"], {**column, "suites": {}})
            for suite, outcome in column["suites"].items():
                if suite in known["suites"]:
                    raise ValueError(f"results: {column['name']} has suite {suite} twice")
                known["suites"][suite] = outcome
            if known.get("digest") != column.get("digest"):
                raise ValueError(f"results: {column['name']} has other weights in another file")
    return found


def _cells(row: Row, column: Mapping[str, Any]) -> tuple[str, str]:
    """Score and ceiling."""
    outcome = column["suites"].get(row.suite, {})
    score = outcome.get("scores", {}).get(row.metric)
    ceiling = outcome.get("ceiling", {}).get(row.metric)
    if score is None:
        return "", ""
    shown = table.text(score)
    is_met = row.is_met(score["value"], ceiling and ceiling["value"])
    return f"**{shown}**" if is_met else shown, table.text(ceiling)


def _notes(column: Mapping[str, Any]) -> Iterator[str]:
    """Where a system's numbers come from, a line a suite."""
    if "model" in column:
        system = f"model `{column['model']}`, step {column['step']}"
    else:
        system = "pictures"
    if column.get("digest"):
        system += f", weights `{column['digest'][:16]}`"
    for suite, outcome in column["suites"].items():
        parts = [f"- {_escaped(column['name'])}, `{suite}`: {system}"]
        if "expected" in outcome:
            seeds = ", ".join(map(str, outcome["seeds"]))
            parts.append(f"{outcome['judged']} pictures, {outcome['unreadable']} unreadable")
            parts.append(f"seeds {seeds}; prompts `{outcome['prompts_sha256'][:16]}`")
            parts.append(f"judge {outcome['judge']}")
        settings = {k: v for k, v in outcome.get("settings", {}).items() if k != "weights"}
        parts += [", ".join(f"{k} {v}" for k, v in sorted(settings.items()))] if settings else []
        yield "; ".join(parts)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def document(before: str | None, shown: str) -> str:
    """The document with new tables.

    Args:
        before: the document, or None if there is none.
        shown: the tables.

    Raises:
        ValueError: the document does not hold the two marks once, in order.
    """
    block = f"{START}\n\n{shown}\n{END}\n"
    if before is None:
        return f"{TITLE}\n\n{block}"
    lines = before.removesuffix("\n").split("\n")
    if lines.count(START) != 1 or lines.count(END) != 1 or lines.index(START) > lines.index(END):
        raise ValueError(f"output: needs the lines {START} and {END} once each")
    head, tail = lines[: lines.index(START)], lines[lines.index(END) + 1 :]
    return "".join(f"{line}\n" for line in head) + block + "".join(f"{line}\n" for line in tail)


def _read(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        assert all("suites" in column and "name" in column for column in report["columns"])
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"--results {path}: no report of omnigen.evaluate: {error}") from None
    return report


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = flags.FlagValues()
    text = "a results.json of omnigen.evaluate, again for several"
    flags.DEFINE_multi_string("results", [], text, flag_values=values)
    text = "the Markdown file to write; the tables alone to the terminal if none"
    flags.DEFINE_string("output", None, text, flag_values=values)
    with cli.bad_input_exits(PROGRAM):
        cli.parse(values, usage=USAGE, argv=argv)
        if not values.results:
            raise ValueError("--results is required")
        cli.check_writable(values, "output")
        shown = tables([_read(pathlib.Path(name)) for name in values.results])
        if values.output is None:
            sys.stdout.write(shown)
            return
        path = pathlib.Path(values.output)
        before = path.read_text(encoding="utf-8") if path.exists() else None
        whole = document(before, shown)
    results.write(whole, path)


if __name__ == "__main__":
    main()
