# SPDX-License-Identifier: Apache-2.0
"""Small drawings of scores as SVG, for `report`: intervals in a row, curves over a scale."""

from collections.abc import Mapping, Sequence

from omnigen.evals.reports.markup import number, text

Cell = Mapping[str, float]

PALETTE = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#475569")


def is_share(cell: Cell | None) -> bool:
    """Returns whether a score has an interval, in [0, 1]."""
    if not cell:
        return False
    low, value, high = (number(cell.get(name)) for name in ("low", "value", "high"))
    return 0 <= low <= high <= 1 and 0 <= value <= 1  # false of NaN


def interval(cell: Cell, *, color: str, ceiling: Cell | None = None) -> str:
    """Draws a score on the line from 0 to 1: its interval as a bar, and a tick for the ceiling."""
    low, high, value = (4 + 112 * cell[name] for name in ("low", "high", "value"))
    tick = ""
    if ceiling and 0 <= number(ceiling.get("value")) <= 1:
        x = 4 + 112 * ceiling["value"]
        tick = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="1" y2="15" class="tick"/>'
    return (
        '<svg class="interval" width="120" height="16" viewBox="0 0 120 16">'
        '<line x1="4" x2="116" y1="8" y2="8" class="track"/>'
        f'<rect x="{low:.1f}" y="5" width="{max(high - low, 1):.1f}" height="6" rx="3" '
        f'fill="{color}" opacity=".35"/>{tick}'
        f'<circle cx="{value:.1f}" cy="8" r="4" fill="{color}"/></svg>'
    )


def curve(title: str, labels: Sequence[str], series: Mapping[str, Sequence[Cell | None]]) -> str:
    """Draws lines of scores over a scale, with intervals; the line `ceiling` is dashed.

    Args:
        title: Title above it.
        labels: Labels of the scale's points.
        series: Score of each line at each point; None breaks the line.
    """
    width, height, left, top = 440, 250, 40, 14
    step = (width - left - 36) / max(len(labels) - 1, 1)

    def at(i: int, value: float) -> tuple[float, float]:
        return left + 12 + i * step, top + (height - top - 34) * (1 - value)

    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        _, y = at(0, share)
        parts.append(f'<line x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{share:g}</text>')
    for i, label in enumerate(labels):
        x, _ = at(i, 0)
        parts.append(
            f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle">{text(label)}</text>'
        )
    solid = [name for name in series if name.removesuffix(" ceiling") not in {*series} - {name}]
    legend = []
    for name, cells in series.items():
        owner = name if name in solid else name.removesuffix(" ceiling")
        color = PALETTE[solid.index(owner) % len(PALETTE)]
        dashes = "none" if name in solid else "4 4"
        style = f'stroke="{color}" stroke-dasharray="{dashes}"'
        points = [(*at(i, c["value"]), c, i) for i, c in enumerate(cells) if is_share(c) and c]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke-width="2" {style}/>')
        for x, y, cell, i in points if name in solid else ():
            (_, y0), (_, y1) = at(i, cell["low"]), at(i, cell["high"])
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y0:.1f}" y2="{y1:.1f}" {style} '
                'stroke-width="6" opacity=".25"/>'
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>'
            )
        mark = "- -" if name not in solid else "&#9679;"
        legend.append(f'<span style="color:{color}">{mark} {text(name)}</span>')
    return (
        f'<figure class="curve"><figcaption>{text(title)}</figcaption>'
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'{"".join(parts)}</svg><div class="legend">{" ".join(legend)}</div></figure>'
    )
