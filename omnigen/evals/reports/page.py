# SPDX-License-Identifier: Apache-2.0
"""One web page of `results.json`: scores, curves, and the worst failures as the judge saw them.

It is self-contained: pictures are inside, there is no script, and none would run. Whatever comes
from files is escaped and cut to a length.
"""

import base64
import io
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omnigen.evals import picture_files, results
from omnigen.evals.benchmark import SPLITS
from omnigen.evals.reports import charts, table
from omnigen.evals.reports.markup import NAME, TEXT, entries, items, number, plain, text

FILE = "report.html"
FAILURES = 24  # shown of each suite
PER_TAG = 3
SIDE = 256  # pixels to which larger pictures are brought

_MAIN = (
    *("overall", "overall_strict", "overall_unseen", "overall_second"),
    *("judges_differ", "judges_kappa", "word_accuracy", "psnr_dB", "sketch", "picture"),
)
_PARTS = ("_strict", *SPLITS, "_second")  # ends of scores' names that unfold; the last of old files
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

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'"

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
    """Writes the page; `output` is the folder that drawn pictures' names are relative to."""
    suites = list({suite: None for c in report["columns"] for suite in c["suites"]})
    body = "".join(_suite(report, suite, output) for suite in suites)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Evaluation</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Evaluation</h1><div class='quiet'>omnigen {text(report['omnigen'])}. "
        "Brackets are 95&#8239;% intervals over prompts; a black tick is the ceiling, the score of "
        "true pictures after the same tokenizer. Scores are of the procedural domain.</div>"
        f"{_systems(report)}{body}</main></body></html>\n"
    )


def _systems(report: Mapping[str, Any]) -> str:
    rows = []
    for place, column in enumerate(report["columns"]):
        what = column.get("checkpoint") or column.get("images")
        version = []
        if "model" in column:
            version.append(f"model {text(column['model'])}, step {text(column.get('step'))}")
        seeds = (items(suite.get("seeds"))[:8] for suite in column["suites"].values())
        named = dict.fromkeys(", ".join(map(text, each)) for each in seeds)
        version += [f"seeds {each}" for each in named if each]
        color = charts.PALETTE[place % len(charts.PALETTE)]
        digest = column.get("digest")
        rows.append(
            f'<tr><td><b style="color:{color}">{text(column["name"])}</b></td>'
            f"<td>{text(what, most=TEXT)}</td><td>{'; '.join(version)}</td>"
            f'<td class="metric">{digest[:16] if results.is_digest(digest) else ""}</td></tr>'
        )
    return f"<h3>Systems</h3>{_wide(''.join(rows))}"


def _wide(rows: str) -> str:
    """Returns a table that scrolls where it is wider than the page."""
    return f'<div class="wide"><table>{rows}</table></div>'


def _suite(report: Mapping[str, Any], suite: str, output: pathlib.Path) -> str:
    columns = [column for column in report["columns"] if suite in column["suites"]]
    about = columns[0]["suites"][suite]
    notes = [f"judge {text(about['judge'])}"] if about.get("judge") else []
    if "expected" in about:
        judged, expected = text(about.get("judged")), text(about["expected"])
        notes.append(f"{judged} pictures judged of {expected}")
        notes.append(f"prompts {text(about.get('prompts_sha256'), most=64)[:12]}")
    for column in columns:
        for kind, files in entries(column["suites"][suite].get("problems")).items():
            what = f"{text(column['name'])}: {len(items(files))} {text(kind)}"
            notes.append(f'<span class="wrong">{what}</span>')
    return (
        f"<h2>{text(suite)}</h2><div class='quiet'>{'; '.join(notes)}</div>"
        f"{_scores(report, suite)}{_curves(report, suite)}{_failures(columns, suite, output)}"
    )


def _cell_of(found: Mapping[str, Any], kind: str, metric: str) -> Mapping[str, Any]:
    """Returns a score or its ceiling, if it is there."""
    return entries(entries(found.get(kind)).get(metric))


def _scores(report: Mapping[str, Any], suite: str) -> str:
    """Returns the table of a suite; scores of parts of the pictures unfold."""
    lines: dict[bool, list[str]] = {False: [], True: []}
    for name, metric, _ in table.rows(report):
        if name != suite:
            continue
        cells = []
        for place, column in enumerate(report["columns"]):
            found = column["suites"].get(suite, {})
            cell, ceiling = (_cell_of(found, kind, metric) for kind in ("scores", "ceiling"))
            cells.append(f"<td>{_score(cell, ceiling, charts.PALETTE[place % 6])}</td>")
        main = ' class="main"' if metric in _MAIN else ""
        line = f'<tr{main}><td class="metric">{text(metric)}</td>{"".join(cells)}</tr>'
        lines[metric.endswith(_PARTS) and metric not in _MAIN].append(line)
    names = "".join(f"<th>{text(c['name'])}</th>" for c in report["columns"])
    head = f"<tr><th>metric</th>{names}</tr>"
    shown = f"<h3>Scores</h3>{_wide(head + ''.join(lines[False]))}"
    if lines[True]:
        rest = _wide(head + "".join(lines[True]))
        shown += f"<details><summary>{len(lines[True])} more</summary>{rest}</details>"
    return shown


def _score(cell: Mapping[str, Any], ceiling: Mapping[str, Any], color: str) -> str:
    if not charts.is_share(cell):
        return table.text(cell)
    best = number(ceiling.get("value"))
    below = f' <span class="between">of {best:.3f}</span>' if ceiling else ""
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
                ("scores", plain(column["name"])),
                ("ceiling", f"{plain(column['name'])} ceiling"),
            ):
                cells = [_cell_of(found, kind, metric) for metric in metrics]
                if any(cells):
                    series[name] = cells
        if series:
            drawn.append(charts.curve(title, labels, series))
    return f'<h3>Curves</h3><div class="curves">{"".join(drawn)}</div>' if drawn else ""


def _failures(columns: Sequence[Mapping[str, Any]], suite: str, output: pathlib.Path) -> str:
    """Returns the contact sheet: the same prompts in all systems, the worst first."""
    places = _worst([_records(column, suite) for column in columns])
    if not places:
        return ""
    cards = []
    for place in places:
        cells = []
        for column in columns:
            records, root = _records(column, suite), _root(column["suites"][suite], output)
            if place < len(records):
                cells.append(_cell(column["name"], records[place], root))
        first = _records(columns[0], suite)[place]
        task = f'<span class="quiet">{text(first.get("tag"))}</span>'
        prompt = text(first.get("prompt"), most=TEXT)
        cards.append(
            f'<div class="card"><p>{prompt} {task}</p><div class="row">{"".join(cells)}</div></div>'
        )
    pair = " pair" if suite == "reconstruction" else ""
    return f'<h3>Worst failures</h3><div class="sheet{pair}">{"".join(cards)}</div>'


def _records(column: Mapping[str, Any], suite: str) -> list[Mapping[str, Any]]:
    """Returns the pictures of a suite."""
    return [entries(record) for record in items(column["suites"][suite].get("pictures"))]


def _root(found: Mapping[str, Any], output: pathlib.Path) -> pathlib.Path:
    """Returns the folder that names of a suite's pictures are relative to."""
    folder = found.get("folder")
    return pathlib.Path(folder) if folder and isinstance(folder, str) else output


def _worst(columns: Sequence[Sequence[Mapping[str, Any]]]) -> list[int]:
    """Returns the places of the pictures that most systems fail most, a few of each task."""
    count = min(map(len, columns), default=0)
    blame = [sum(_blame(records[i]) for records in columns) for i in range(count)]
    ranked = sorted((i for i in range(count) if blame[i] > 0), key=lambda i: (-blame[i], i))
    chosen: list[int] = []
    tags: dict[str, set[str]] = {}
    for i in ranked:
        record = columns[0][i]
        prompts, index = tags.setdefault(text(record.get("tag")), set()), text(record.get("index"))
        if len(prompts) < PER_TAG and index not in prompts:
            prompts.add(index)
            chosen.append(i)
    return chosen[:FAILURES]


def _blame(record: Mapping[str, Any]) -> float:
    """Returns 0 for a right picture, and more the more of its atoms are missed."""
    if record.get("correct"):
        return 0.0
    atoms = items(record.get("atoms"))
    missed = sum(not entries(atom).get("met") for atom in atoms) / max(len(atoms), 1)
    if "mse" in record:  # reconstructions: words first, then pixels
        error = number(record["mse"])
        return missed + (error / 255**2 if error > 0 else 0)
    return 0.1 + missed


def _cell(name: str, record: Mapping[str, Any], root: pathlib.Path) -> str:
    """Returns one system's picture with what the judge saw on it, and what is wrong."""
    right = record.get("correct")
    verdict = "" if right is None else ("right" if right else "wrong")
    atoms = [entries(atom) for atom in items(record.get("atoms"))]
    reasons = [text(reason, most=2 * NAME) for reason in items(record.get("reasons"))]
    if record.get("problem"):
        reasons = [text(record["problem"], most=4 * NAME)]
    elif not reasons:
        reasons = [f"not there: {text(a.get('what'))}" for a in atoms if not a.get("met")]
    if "psnr_dB" in record:
        psnr, ssim = number(record["psnr_dB"]), number(record.get("ssim"))
        reasons = [f"{psnr:.1f} dB, SSIM {ssim:.3f}", *reasons]
    if wrote := entries(record.get("sketch")).get("text"):
        reasons = [f"sketch: {text(wrote, most=TEXT)}", *reasons]
    listed = "".join(f"<li>{reason}</li>" for reason in reasons[:7])
    picture = _picture(root, record.get("file"))
    boxes = "".join(_boxes([entries(thing) for thing in items(record.get("seen"))]))
    overlay = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none">{boxes}</svg>'
    return (
        f'<div class="cell"><div class="seen">{picture}{overlay if picture else ""}</div>'
        f'<div class="name {verdict}">{text(name)}</div><ul>{listed}</ul></div>'
    )


def _boxes(seen: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields what the judge saw, as boxes with names, in percent of the picture."""
    boxed = [(thing, [100 * number(side) for side in items(thing.get("box"))]) for thing in seen]
    things = [(thing, box) for thing, box in boxed if len(box) == 4 and math.isfinite(sum(box))]
    size = 4.6 if len(things) <= 5 else 3.6
    for thing, (left, top, right, bottom) in things:
        words = (thing.get("color"), thing.get("shape"), thing.get("text"))
        name = " ".join(text(word) for word in words if word)
        at_end = left + 0.6 * size * len(name) > 99
        yield (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}"/>'
            f'<text x="{right if at_end else left:.1f}" y="{max(top - 1, size):.1f}" '
            f'font-size="{size}" text-anchor="{"end" if at_end else "start"}">{name}</text>'
        )


def _picture(root: pathlib.Path, name: Any) -> str:
    """Returns a file below `root` as an `img` no larger than `SIDE` that carries it, or nothing."""
    if not (name and isinstance(name, str)):
        return ""
    place = pathlib.PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts:
        return ""
    try:
        image = picture_files.decoded(picture_files.load(root / place))
    except ValueError:
        return ""
    image.thumbnail((2 * SIDE, SIDE))
    data = io.BytesIO()
    image.save(data, format="PNG", optimize=True)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'
