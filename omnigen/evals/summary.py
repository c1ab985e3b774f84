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

from omnigen import cli, files
from omnigen.evals import results
from omnigen.evals.reports import table
from omnigen.evals.reports.markup import entries, items, markdown, number

PROGRAM = "omnigen.evals.summary"
USAGE = """
Writes scores, targets and ceilings to a document:
  python -m omnigen.evals.summary --results eval/results.json --output docs/results.md
Give --results again for more systems or suites. A document that is there keeps its words; only what
stands between the lines <!-- scores --> and <!-- end of scores --> is replaced.
"""
START, END = "<!-- scores -->", "<!-- end of scores -->"
TITLE = "# Results"
MOST_BYTES = 1 << 29  # of a report, which tells of every picture


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
    names = [markdown(name) for name in columns]
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
    score, ceiling = (
        entries(entries(outcome.get(kind)).get(row.metric)) for kind in ("scores", "ceiling")
    )
    if not score:
        return "", ""
    shown = table.text(score)
    best = number(ceiling.get("value")) if ceiling else None
    is_met = row.is_met(number(score.get("value")), best)
    return f"**{shown}**" if is_met else shown, table.text(ceiling)


def _notes(column: Mapping[str, Any]) -> Iterator[str]:
    """Where a system's numbers come from, a line a suite."""
    if "model" in column:
        system = f"model `{markdown(column['model'])}`, step {markdown(column.get('step'))}"
    else:
        system = "pictures"
    if results.is_digest(column.get("digest")):
        system += f", weights `{column['digest'][:16]}`"
    for suite, outcome in column["suites"].items():
        parts = [f"- {markdown(column['name'])}, `{markdown(suite)}`: {system}"]
        if "expected" in outcome:
            seeds = ", ".join(map(markdown, items(outcome.get("seeds"))[:64]))
            judged, unreadable = (
                markdown(outcome.get("judged")),
                markdown(outcome.get("unreadable")),
            )
            prompts = outcome.get("prompts_sha256")
            parts.append(f"{judged} pictures, {unreadable} unreadable")
            parts.append(
                f"seeds {seeds}; prompts `{prompts[:16] if results.is_digest(prompts) else ''}`"
            )
            parts.append(f"judge {markdown(outcome.get('judge'))}")
        settings = {k: v for k, v in entries(outcome.get("settings")).items() if k != "weights"}
        named = (f"{markdown(k)} {markdown(v)}" for k, v in sorted(settings.items())[:64])
        parts += [", ".join(named)] if settings else []
        yield "; ".join(parts)


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


def _text(path: pathlib.Path) -> str:
    try:
        return files.read(path, most=MOST_BYTES).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"--output {path}: not UTF-8: {error}") from None


def _read(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        report = json.loads(files.read(path, most=MOST_BYTES))
        assert all(isinstance(column["name"], str) for column in report["columns"])
        assert all(
            isinstance(suite, dict)
            for column in report["columns"]
            for suite in column["suites"].values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"--results {path}: no report of omnigen.evaluate: {error}") from None
    except RecursionError:
        raise ValueError(f"--results {path}: no report of omnigen.evaluate: too deep") from None
    return report


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = flags.FlagValues()
    text = "a results.json of omnigen.evaluate, again for several"
    cli.define_paths(values, "results", text)
    text = "the Markdown file to write; the tables alone to the terminal if none"
    cli.define_path(values, "output", None, text)
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
        before = _text(path) if path.exists() else None
        whole = document(before, shown)
    files.write(path, whole, follow=True)


if __name__ == "__main__":
    main()
