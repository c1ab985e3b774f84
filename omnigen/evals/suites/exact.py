# SPDX-License-Identifier: Apache-2.0
"""GenEval's six tasks over coloured shapes, and harder ones of its kind, judged exactly.

    overall = mean over the six tasks of the share of their pictures that are right

Shares come per task (`TASK`), without any object too many (`TASK_strict`), and apart for those
compositions and templates that training never has (`TASK_unseen`, `TASK_unseen_template`) and for
the others (`TASK_seen`, `TASK_seen_template`).
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from omnigen.evals import results
from omnigen.evals.benchmark import SPLITS, Benchmark, Metadata, Record
from omnigen.evals.judges import geneval, landscapes, shapes
from omnigen.evals.judges.shapes import Seen
from omnigen.evals.results import Estimate
from omnigen.evals.suites import exact_prompts, landscape_prompts, references

_REFERENCES = {landscape_prompts.TAG: landscape_prompts.reference}


def all_prompts() -> tuple[Metadata, ...]:
    """Returns the prompts of the whole suite."""
    return (*exact_prompts.prompts(), *landscape_prompts.prompts())


def benchmark(prompts: Sequence[Metadata] | None = None) -> Benchmark:
    """Returns the suite, of all its prompts or of those given."""
    return Benchmark(
        name="exact",
        version=f"shapes {shapes.VERSION}, landscapes {landscapes.VERSION}",
        prompts=all_prompts() if prompts is None else tuple(prompts),
        verdict=verdict,
        scores=scores,
        reference=lambda metadata: _REFERENCES.get(metadata["tag"], references.shapes)(metadata),
    )


def verdict(metadata: Metadata, image: np.ndarray | None) -> Record:
    """Judges a picture; None is wrong in everything."""
    if metadata["tag"] == landscape_prompts.TAG:
        return landscape_prompts.verdict(metadata, image)
    seen = () if image is None else shapes.look(image)
    found = geneval.judge(metadata, seen)
    sound = image is not None
    return {
        "correct": sound and found.correct,
        "strict": sound and found.strict,
        "reasons": list(found.reasons) if sound else [],
        "atoms": [{**atom, "met": sound and atom["met"]} for atom in _atoms(metadata, seen)],
        "seen": [_rounded(dataclasses.asdict(thing)) for thing in seen] if sound else None,
    }


def _atoms(metadata: Metadata, seen: Sequence[Seen]) -> Iterator[dict[str, Any]]:
    """Yields each requirement alone: how many it wants and finds, and whether it is met."""
    include = metadata["include"]
    for wanted in include:
        shape, color = wanted["class"], wanted.get("color")
        matching = [s for s in seen if s.shape == shape and color in (None, s.color)]
        name, asked = f"{color} {shape}" if color else shape, [wanted]
        if "position" in wanted:
            relation, place = wanted["position"]
            asked = [include[place], {**wanted, "position": [relation, 0]}]
            name = f"{name} {relation} {include[place]['class']}"
        unwanted = [e for e in metadata.get("exclude", ()) if e["class"] == shape]
        met = geneval.judge({"include": asked, "exclude": unwanted}, seen).correct
        yield {"what": name, "wanted": wanted["count"], "found": len(matching), "met": met}


def _rounded(thing: Mapping[str, Any]) -> dict[str, Any]:
    """Rounds to four decimals, which is a twentieth of a pixel."""
    return {
        name: [round(float(v), 4) for v in value]
        if isinstance(value, tuple)
        else round(float(value), 4)
        if isinstance(value, float | np.floating)
        else value
        for name, value in thing.items()
    }


def scores(records: Sequence[Mapping[str, Any]]) -> dict[str, Estimate | float]:
    """Returns the metrics: shares in [0, 1].

    `overall`, `overall_strict` and `overall_unseen` are means of the six tasks, if all occur; the
    last takes a task's unseen compositions where the task has any. `scene_K_atoms` and
    `landscape_atoms` are the share of what was named that is there.
    """
    found: dict[str, Estimate] = {}
    by_tag = itertools.groupby(sorted(records, key=_order), key=lambda record: record["tag"])
    for tag, group in by_tag:
        mine = list(group)
        found[tag] = _share(tag, mine, "correct")
        for suffix, belongs in SPLITS.items():
            part = [record for record in mine if belongs(record)]
            if 0 < len(part) < len(mine):
                found[f"{tag}{suffix}"] = _share(f"{tag}{suffix}", part, "correct")
        found[f"{tag}_strict"] = _share(tag, mine, "strict")
        if tag.startswith(("scene_", landscape_prompts.TAG)):
            atoms = [record["atoms"] for record in mine]
            found[f"{tag}_atoms"] = results.ratio(
                tag,
                [record["index"] for record in mine],
                [sum(min(a["found"], a["wanted"]) for a in each) for each in atoms],
                [sum(a["wanted"] for a in each) for each in atoms],
            )
    overall = {}
    if all(task in found for task in exact_prompts.TASKS):
        for suffix in ("", "_strict", "_unseen"):
            names = (f"{task}{suffix}" for task in exact_prompts.TASKS)
            tasks = zip(names, exact_prompts.TASKS, strict=True)
            estimates = [found[name] if name in found else found[task] for name, task in tasks]
            overall[f"overall{suffix}"] = results.mean(estimates)
    return {**overall, **found}


def _order(record: Mapping[str, Any]) -> int:
    """Returns the tasks in the order of their prompts."""
    return record["index"]


def _share(key: str, records: Sequence[Mapping[str, Any]], what: str) -> Estimate:
    return results.ratio(key, [r["index"] for r in records], [r[what] for r in records])
