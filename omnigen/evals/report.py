# SPDX-License-Identifier: Apache-2.0
"""One web page of `results.json`: scores, curves, and the worst failures as the judge saw them.

It is self-contained: pictures are inside, and there is no script.
"""

import base64
import html
import io
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omnigen.evals import charts, pictures, second, table
from omnigen.evals.benchmark import SPLITS

FILE = "report.html"
FAILURES = 24  # shown of each suite
PER_TAG = 3
SIDE = 256  # pixels to which larger pictures are brought

_MAIN = (
    *("overall", "overall_strict", "overall_unseen", f"overall{second.SUFFIX}"),
    *("judges_differ", "judges_kappa", "word_accuracy", "psnr_dB"),
)
_PARTS = ("_strict", *SPLITS, second.SUFFIX)  # ends of scores' names that unfold
# Suite, title, the scale's labels, and the metric at each point.
_CURVES = (
    (
        "exact",
        "Counting: share of pictures with the right number",
        ("2–4", "5–8", "9–12", "13–16", "17–20"),
        ("counting", *(f"counting_{bin}" for bin in ("5_8", "9_12", "13_16", "17_20"))),
    ),
    *(
        ("exact", title, tuple(map(str, sizes)), tuple(f"scene_{k}{suffix}" for k in sizes))
        for sizes in [(3, 5, 8, 10, 12, 15, 18, 20)]
        for title, suffix in (
            ("Scenes of K objects: share of objects right", "_atoms"),
            ("Scenes of K objects: share of pictures all right", ""),
        )
    ),
    (
        "text",
        "Word accuracy by number of words",
        ("1", "2", "3", "4", "5"),
        tuple(f"word_accuracy_words_{n}" for n in range(1, 6)),
    ),
)

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #0f172a; background: #f8fafc; margin: 0 }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 80px }
h1 { font-size: 28px; margin: 0 0 4px } h2 { font-size: 22px; margin: 48px 0 12px }
h3 { font-size: 16px; margin: 28px 0 8px } .quiet { color: #64748b }
table { border-collapse: collapse; background: #fff; border-radius: 10px; overflow: hidden;
  box-shadow: 0 1px 3px #0f172a1f } th, td { padding: 5px 14px; text-align: left;
  border-bottom: 1px solid #e2e8f0; font-variant-numeric: tabular-nums; white-space: nowrap }
th { background: #f1f5f9; font-weight: 600 } td.metric { font-family: ui-monospace, monospace;
  font-size: 13px } tr.main td { font-weight: 600; background: #f8fafc }
svg.interval { vertical-align: middle; margin-right: 8px } .track { stroke: #cbd5e1 }
.tick { stroke: #0f172a; stroke-width: 2 } .grid { stroke: #e2e8f0 } .between { color: #64748b;
  font-size: 12px } .curves, .sheet { display: flex; flex-wrap: wrap; gap: 16px }
.curve { margin: 0; padding: 12px 14px; background: #fff; border-radius: 10px;
  box-shadow: 0 1px 3px #0f172a1f } .curve text { font-size: 11px; fill: #64748b }
figcaption { font-weight: 600; margin-bottom: 6px } .legend { font-size: 13px }
.legend span { margin-right: 14px } .card { background: #fff; border-radius: 10px; padding: 12px;
  box-shadow: 0 1px 3px #0f172a1f; font-size: 13px } .card .row { display: flex; gap: 12px }
.card { width: fit-content; max-width: 100%; box-sizing: border-box }
.card .row, .wide { overflow-x: auto; padding: 1px 1px 4px }
.card p { margin: 0 0 8px; font-weight: 600; width: 0; min-width: 100% }
.cell { width: 258px; flex: none } .pair .cell { width: 328px }
.seen { position: relative; line-height: 0 } .seen:hover svg { visibility: hidden }
.seen img { width: 100%; border-radius: 6px; image-rendering: pixelated;
  box-shadow: 0 0 0 1px #cbd5e1 }
.seen svg { position: absolute; inset: 0; width: 100%; height: 100% }
.seen rect { fill: none; stroke: #f0f; stroke-width: .5 } .seen text { font-family: system-ui;
  font-weight: 600; fill: #86198f; paint-order: stroke; stroke: #fff; stroke-width: .25em }
.name { font-weight: 600; margin-top: 6px } .right { color: #059669 } .wrong { color: #dc2626 }
ul { margin: 2px 0 0; padding-left: 18px } details { margin-top: 12px }
summary { cursor: pointer; color: #2563eb }
"""


def page(report: Mapping[str, Any], output: pathlib.Path) -> str:
    """The page; `output` is the folder that drawn pictures' names are relative to."""
    suites = list({suite: None for c in report["columns"] for suite in c["suites"]})
    body = "".join(_suite(report, suite, output) for suite in suites)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Evaluation</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Evaluation</h1><div class='quiet'>omnigen {html.escape(report['omnigen'])}. "
        "Brackets are 95&#8239;% intervals over prompts; a black tick is the ceiling, the score of "
        "true pictures after the same tokenizer. Scores are of the procedural domain.</div>"
        f"{_systems(report)}{body}</main></body></html>\n"
    )


def _systems(report: Mapping[str, Any]) -> str:
    rows = []
    for number, column in enumerate(report["columns"]):
        what = column.get("checkpoint") or column["images"]
        version = [f"model {column['model']}, step {column['step']}"] if "model" in column else []
        seeds = {tuple(suite.get("seeds", ())) for suite in column["suites"].values()} - {()}
        version += [f"seeds {', '.join(map(str, each))}" for each in sorted(seeds)]
        color = charts.PALETTE[number % len(charts.PALETTE)]
        rows.append(
            f'<tr><td><b style="color:{color}">{html.escape(column["name"])}</b></td>'
            f"<td>{html.escape(what)}</td><td>{'; '.join(version)}</td>"
            f'<td class="metric">{column.get("digest", "")[:16]}</td></tr>'
        )
    return f"<h3>Systems</h3>{_wide(''.join(rows))}"


def _wide(rows: str) -> str:
    """A table that scrolls where it is wider than the page."""
    return f'<div class="wide"><table>{rows}</table></div>'


def _suite(report: Mapping[str, Any], suite: str, output: pathlib.Path) -> str:
    columns = [column for column in report["columns"] if suite in column["suites"]]
    about = columns[0]["suites"][suite]
    notes = [f"judge {about['judge']}"] if about.get("judge") else []
    if "expected" in about:
        notes.append(f"{about['judged']} pictures judged of {about['expected']}")
        notes.append(f"prompts {about['prompts_sha256'][:12]}")
    for column in columns:
        for kind, files in column["suites"][suite]["problems"].items():
            notes.append(
                f'<span class="wrong">{html.escape(column["name"])}: {len(files)} {kind}</span>'
            )
    return (
        f"<h2>{suite}</h2><div class='quiet'>{'; '.join(notes)}</div>"
        f"{_scores(report, suite)}{_curves(report, suite)}{_failures(columns, suite, output)}"
        f"{_disagreements(columns, suite, output)}"
    )


def _scores(report: Mapping[str, Any], suite: str) -> str:
    """The table of a suite; scores of parts of the pictures unfold."""
    lines: dict[bool, list[str]] = {False: [], True: []}
    for name, metric, _ in table.rows(report):
        if name != suite:
            continue
        cells = []
        for number, column in enumerate(report["columns"]):
            found = column["suites"].get(suite, {})
            cell = found.get("scores", {}).get(metric)
            ceiling = found.get("ceiling", {}).get(metric)
            cells.append(f"<td>{_score(cell, ceiling, charts.PALETTE[number % 6])}</td>")
        main = ' class="main"' if metric in _MAIN else ""
        line = f'<tr{main}><td class="metric">{metric}</td>{"".join(cells)}</tr>'
        lines[metric.endswith(_PARTS) and metric not in _MAIN].append(line)
    names = "".join(f"<th>{html.escape(c['name'])}</th>" for c in report["columns"])
    head = f"<tr><th>metric</th>{names}</tr>"
    shown = f"<h3>Scores</h3>{_wide(head + ''.join(lines[False]))}"
    if lines[True]:
        rest = _wide(head + "".join(lines[True]))
        shown += f"<details><summary>{len(lines[True])} more</summary>{rest}</details>"
    return shown


def _score(cell: Mapping[str, float] | None, ceiling: Any, color: str) -> str:
    if cell is None:
        return ""
    if not charts.is_share(cell):
        return table.text(cell)
    below = f' <span class="between">of {ceiling["value"]:.3f}</span>' if ceiling else ""
    between = f'<span class="between">[{cell["low"]:.3f}, {cell["high"]:.3f}]</span>'
    drawn = charts.interval(cell, color=color, ceiling=ceiling)
    return f"{drawn}{cell['value']:.3f} {between}{below}"


def _curves(report: Mapping[str, Any], suite: str) -> str:
    drawn = []
    for owner, title, labels, metrics in _CURVES:
        if owner != suite:
            continue
        series: dict[str, list[Any]] = {}
        for column in report["columns"]:
            found = column["suites"].get(suite, {})
            for kind, name in (
                ("scores", column["name"]),
                ("ceiling", f"{column['name']} ceiling"),
            ):
                cells = [found.get(kind, {}).get(metric) for metric in metrics]
                if any(cells):
                    series[name] = cells
        if series:
            drawn.append(charts.curve(title, labels, series))
    return f'<h3>Curves</h3><div class="curves">{"".join(drawn)}</div>' if drawn else ""


def _failures(columns: Sequence[Mapping[str, Any]], suite: str, output: pathlib.Path) -> str:
    """The contact sheet: the same prompts in all systems, the worst first."""
    places = _worst([column["suites"][suite]["pictures"] for column in columns])
    if not places:
        return ""
    cards = []
    for place in places:
        cells = []
        for column in columns:
            found = column["suites"][suite]
            if place < len(found["pictures"]):
                cells.append(_cell(column["name"], found["pictures"][place], _root(found, output)))
        first = columns[0]["suites"][suite]["pictures"][place]
        task = f'<span class="quiet">{first["tag"]}</span>'
        prompt = html.escape(first["prompt"])
        cards.append(
            f'<div class="card"><p>{prompt} {task}</p><div class="row">{"".join(cells)}</div></div>'
        )
    pair = " pair" if suite == "reconstruction" else ""
    return f'<h3>Worst failures</h3><div class="sheet{pair}">{"".join(cards)}</div>'


def _root(found: Mapping[str, Any], output: pathlib.Path) -> pathlib.Path:
    """The folder that names of a suite's pictures are relative to."""
    return pathlib.Path(found["folder"]) if found.get("folder") else output


def _disagreements(columns: Sequence[Mapping[str, Any]], suite: str, output: pathlib.Path) -> str:
    """Pictures that the two judges see differently, with what the first saw and both names."""
    cards, count = [], 0
    for column in columns:
        found = column["suites"][suite]
        listed = found.get("disagreements", [])
        count += len(listed)
        records = {record["file"]: record for record in found["pictures"]}
        for one in listed[: max(FAILURES // 2 // len(columns), 1)]:
            record = records[one["file"]]
            names = [f"{ours}, second: {theirs}" for ours, theirs in one["differing"]]
            verdicts = {True: "right", False: "wrong"}
            if one["first"] != one["second"]:
                names.insert(0, f"{verdicts[one['first']]}, second: {verdicts[one['second']]}")
            cell = _cell(column["name"], {**record, "reasons": names}, _root(found, output))
            prompt = html.escape(one["prompt"])
            cards.append(f'<div class="card"><p>{prompt}</p><div class="row">{cell}</div></div>')
    if not cards:
        return ""
    title = f"Where the judges disagree ({len(cards)} of {count} pictures)"
    return f'<h3>{title}</h3><div class="sheet">{"".join(cards)}</div>'


def _worst(columns: Sequence[Sequence[Mapping[str, Any]]]) -> list[int]:
    """Places of the pictures that most systems fail most, a few of each task."""
    count = min(map(len, columns), default=0)
    blame = [sum(_blame(records[i]) for records in columns) for i in range(count)]
    ranked = sorted((i for i in range(count) if blame[i] > 0), key=lambda i: (-blame[i], i))
    chosen: list[int] = []
    tags: dict[str, set[int]] = {}
    for i in ranked:
        prompts = tags.setdefault(columns[0][i]["tag"], set())
        if len(prompts) < PER_TAG and columns[0][i]["index"] not in prompts:
            prompts.add(columns[0][i]["index"])
            chosen.append(i)
    return chosen[:FAILURES]


def _blame(record: Mapping[str, Any]) -> float:
    """0 for a right picture, more the more of its atoms are missed."""
    if record.get("correct"):
        return 0.0
    atoms = record.get("atoms") or ()
    missed = sum(not atom["met"] for atom in atoms) / max(len(atoms), 1)
    if "mse" in record:  # reconstructions: words first, then pixels
        return missed + record["mse"] / 255**2
    return 0.1 + missed


def _cell(name: str, record: Mapping[str, Any], root: pathlib.Path) -> str:
    """One system's picture with what the judge saw on it, and what is wrong."""
    right = record.get("correct")
    verdict = "" if right is None else ("right" if right else "wrong")
    missed = [html.escape(a["what"]) for a in record.get("atoms") or () if not a["met"]]
    reasons = [html.escape(reason) for reason in record.get("reasons") or ()]
    if record.get("problem"):
        reasons = [html.escape(record["problem"])]
    elif not reasons:
        reasons = [f"not there: {what}" for what in missed]
    if "psnr_dB" in record:
        reasons = [f"{record['psnr_dB']:.1f} dB, SSIM {record['ssim']:.3f}", *reasons]
    items = "".join(f"<li>{reason}</li>" for reason in reasons[:6])
    picture = _picture(root / record["file"]) if record.get("file") else ""
    boxes = "".join(_boxes(record.get("seen") or ()))
    overlay = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none">{boxes}</svg>'
    return (
        f'<div class="cell"><div class="seen">{picture}{overlay if picture else ""}</div>'
        f'<div class="name {verdict}">{html.escape(name)}</div><ul>{items}</ul></div>'
    )


def _boxes(seen: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the judge saw, as boxes with names, in percent of the picture."""
    things = [thing for thing in seen if thing.get("box") is not None]
    size = 4.6 if len(things) <= 5 else 3.6
    for thing in things:
        left, top, right, bottom = (100 * side for side in thing["box"])
        words = (thing.get("color"), thing.get("shape"), thing.get("text"))
        name = html.escape(" ".join(word for word in words if word))
        at_end = left + 0.6 * size * len(name) > 99
        yield (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}"/>'
            f'<text x="{right if at_end else left:.1f}" y="{max(top - 1, size):.1f}" '
            f'font-size="{size}" text-anchor="{"end" if at_end else "start"}">{name}</text>'
        )


def _picture(path: pathlib.Path) -> str:
    """The file as an `img` that carries it, no larger than `SIDE`; nothing if it is unreadable."""
    try:
        image = pictures.decoded(pictures.load(path))
    except ValueError:
        return ""
    image.thumbnail((2 * SIDE, SIDE))
    data = io.BytesIO()
    image.save(data, format="PNG", optimize=True)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'
