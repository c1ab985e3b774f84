# SPDX-License-Identifier: Apache-2.0
"""Turns `results.json` files into the tables of a Markdown document, so that none is typed by hand.

    python launch/maintain/score_tables.py docs/results.md eval/results.json [MORE ...]

More files add systems, or suites of the same one. The document keeps its words; only what stands
between the lines <!-- scores --> and <!-- end of scores --> is replaced.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omnigen import files
from omnigen.evals.reports import table

START, END = "<!-- scores -->", "<!-- end of scores -->"


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        title: Title for people.
        suite: Name of the suite that holds it.
        metric: Name of the suite's metric.
        target: Score to reach; None if there is no target.
        of_ceiling: Whether the target is a share of the score's ceiling.
    """

    title: str
    suite: str
    metric: str
    target: float | None = None
    of_ceiling: bool = False

    def aim(self) -> str:
        """Returns the target in words."""
        if self.target is None:
            return ""
        return f"≥ {self.target:.2f}{' of its ceiling' if self.of_ceiling else ''}"

    def is_met(self, score: float, ceiling: float | None) -> bool:
        """Returns whether a score reaches the target."""
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
    Row("words", "text", "word_accuracy", 0.90),
    Row("words never trained", "text", "word_accuracy_unseen"),
    Row("letters (1 - normalised edit distance)", "text", "ned"),
    Row("pictures with all words right", "text", "exact_all"),
    Row("wordings: sketches right", "wording", "sketch", 0.92),
    Row("wordings: pictures right", "wording", "picture", 0.87),
    *(
        Row(f"{what} in {kind}", "wording", f"{part}_{name}", target)
        for part, what in (("sketch", "sketches right"), ("picture", "pictures right"))
        for kind, name, target in (
            ("plain words", "plain", None),
            ("negations", "negation", 0.90),
            ("capitals, as a share of plain", "capitals_of_plain", 0.92),
            ("typos, as a share of plain", "typos_of_plain", 0.92),
        )
    ),
    Row("words with special characters", "wording", "picture_special_words", 0.80),
    Row("words of reconstructions", "reconstruction", "word_accuracy", 0.98, of_ceiling=True),
    Row("PSNR of reconstructions, dB", "reconstruction", "psnr_dB"),
    Row("SSIM of reconstructions", "reconstruction", "ssim"),
)
"""What is reported, in order; targets are those of docs/evaluation.md."""


def tables(reports: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table of scores and a description of each system, as Markdown.

    Args:
        reports: Contents of `results.json` files; systems of one name are one, in several suites.
    """
    columns = _merged(reports)
    heads = ["task", "target", *(head for name in columns for head in (name, "its ceiling"))]
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
    """Returns systems by name, with the suites of all reports.

    Raises:
        ValueError: If two reports have the same suite of one name.
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
    """Returns score and ceiling."""
    outcome = column["suites"].get(row.suite, {})
    score, ceiling = (outcome.get(kind, {}).get(row.metric) for kind in ("scores", "ceiling"))
    if not score:
        return "", ""
    shown = table.text(score)
    is_met = row.is_met(score["value"], ceiling["value"] if ceiling else None)
    return f"**{shown}**" if is_met else shown, table.text(ceiling)


def _notes(column: Mapping[str, Any]) -> Iterator[str]:
    """Yields the origin of a system's numbers, a line a suite."""
    system = (
        f"model `{column['model']}`, step {column['step']}" if "model" in column else "pictures"
    )
    if "digest" in column:
        system += f", weights `{column['digest'][:16]}`"
    for suite, outcome in column["suites"].items():
        parts = [f"- {column['name']}, `{suite}`: {system}"]
        if "expected" in outcome:
            parts += [
                f"{outcome['judged']} pictures, {outcome['unreadable']} unreadable",
                f"seeds {', '.join(map(str, outcome['seeds']))}",
                f"prompts `{outcome['prompts_sha256'][:16]}`",
                f"judge {outcome['judge']}",
            ]
        settings = {k: v for k, v in outcome.get("settings", {}).items() if k != "weights"}
        parts += [", ".join(f"{k} {v}" for k, v in sorted(settings.items()))] if settings else []
        yield "; ".join(parts)


def document(before: str, shown: str) -> str:
    """Returns the document with new tables.

    Raises:
        ValueError: If the document does not hold the two marks once, in order.
    """
    lines = before.removesuffix("\n").split("\n")
    if lines.count(START) != 1 or lines.count(END) != 1 or lines.index(START) > lines.index(END):
        raise ValueError(f"needs the lines {START} and {END} once each")
    head, tail = lines[: lines.index(START)], lines[lines.index(END) + 1 :]
    return "\n".join([*head, START, "", shown, END, *tail]) + "\n"


def main(output: pathlib.Path, sources: Sequence[pathlib.Path]) -> None:
    """Writes the tables of `results.json` files to a document."""
    shown = tables([json.loads(source.read_text(encoding="utf-8")) for source in sources])
    files.write(output, document(output.read_text(encoding="utf-8"), shown), follow=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]])
