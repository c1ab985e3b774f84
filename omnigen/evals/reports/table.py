# SPDX-License-Identifier: Apache-2.0
"""The scores of `results.json` on the terminal: a row a metric, a column a system."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from omnigen.evals.reports import markup

Cell = Mapping[str, float]


def rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Cell | None]]]:
    """Yields suite, metric and the score in each column of `names`, None where there is none.

    A system's ceiling, if it has one, is the column after it.
    """
    columns = report["columns"]
    suites = {suite: None for column in columns for suite in column["suites"]}
    for suite in suites:
        found = [column["suites"].get(suite, {}) for column in columns]
        metrics = {name: None for one in found for name in one.get("scores", {})}
        for metric in metrics:
            cells: list[Cell | None] = []
            for column, one in zip(columns, found, strict=True):
                cells.append(one.get("scores", {}).get(metric))
                if has_ceiling(column):
                    cells.append(one.get("ceiling", {}).get(metric))
            yield suite, metric, cells


def names(report: Mapping[str, Any]) -> list[str]:
    """Returns the headings of the columns."""
    found = []
    for column in report["columns"]:
        found += [column["name"], *(["its ceiling"] if has_ceiling(column) else [])]
    return found


def has_ceiling(column: Mapping[str, Any]) -> bool:
    """Returns whether any suite knows the tokenizer's ceiling."""
    return any(suite["ceiling"] for suite in column["suites"].values())


def text(cell: Cell | None) -> str:
    """Formats a score as `0.931 [0.915, 0.944]`."""
    if not cell:
        return ""
    value, low, high = (markup.number(cell.get(name)) for name in ("value", "low", "high"))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if "low" in cell else f"{value:.4g}"


def show(report: Mapping[str, Any]) -> None:
    """Prints all scores with their 95 % intervals, by rich if it is installed."""
    headings = ("suite", "metric", *map(markup.plain, names(report)))
    lines = [
        (markup.plain(suite), markup.plain(metric), *map(text, cells))
        for suite, metric, cells in rows(report)
    ]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        Console = Table = None
    if Console is None or Table is None or not sys.stdout.isatty():
        for line in (headings, *lines):
            print("  ".join(line))
        return
    from rich.markup import escape

    table = Table(*map(escape, headings), title="scores, with 95 % intervals over prompts")
    for before, line in zip([None, *lines], lines, strict=False):
        shown = line if before is None or before[0] != line[0] else ("", *line[1:])
        table.add_row(*shown)
    Console().print(table)
