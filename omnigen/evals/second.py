# SPDX-License-Identifier: Apache-2.0
"""The second judge's opinion of the suite `exact`, and how far both judges agree.

TASK_second    share of pictures that the second judge finds right
judges_differ  share of pictures that one judge finds right and the other wrong
judges_kappa   Cohen's kappa over the names of all objects that either judge sees
"""

import collections
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from omnigen.evals import results
from omnigen.evals.benchmark import Metadata, Record
from omnigen.evals.judges import agreement, geneval
from omnigen.evals.judges.shapes import Seen
from omnigen.evals.results import Estimate

if TYPE_CHECKING:
    from omnigen.evals.judges.detector import Detector

VERSION = "1"  # of the detector's weights and rules
SUFFIX = "_second"


@functools.cache
def _detector() -> "Detector":
    from omnigen.evals.judges.detector import Detector

    return Detector()


def opinion(metadata: Metadata, image: np.ndarray | None, seen: Sequence[Seen]) -> Record:
    """What the second judge says of a picture in which the first saw `seen`.

    Returns:
        `correct`, `strict`, and under `differing` what the judges call those things that they name
        differently, the first judge's name first.
    """
    theirs = () if image is None else _detector().look(image)
    found = geneval.judge(metadata, theirs)
    pairs = agreement.names(seen, theirs)
    return {
        "correct": image is not None and found.correct,
        "strict": image is not None and found.strict,
        "differing": [[one, other] for one, other in pairs if one != other],
    }


def scores(
    tags: Sequence[str], records: Sequence[Mapping[str, Any]]
) -> dict[str, Estimate | float]:
    """The metrics, with the mean of the tasks `tags` as `overall_second` if all are there."""
    mine = [record for record in records if "detector" in record]
    if not mine:
        return {}
    found: dict[str, Estimate | float] = {}
    tasks: dict[str, Estimate] = {}
    for tag in dict.fromkeys(record["tag"] for record in mine):
        part = [record for record in mine if record["tag"] == tag]
        right = [record["detector"]["correct"] for record in part]
        tasks[tag] = results.ratio(tag, [record["index"] for record in part], right)
    if set(tags) <= tasks.keys():
        found[f"overall{SUFFIX}"] = results.mean([tasks[tag] for tag in tags])
    differ = [record["correct"] != record["detector"]["correct"] for record in mine]
    indices = [record["index"] for record in mine]
    found["judges_differ"] = results.ratio("judges", indices, differ)
    if pairs := [pair for record in mine for pair in _pairs(record)]:
        found["judges_kappa"] = agreement.kappa(pairs)
    return found | {f"{tag}{SUFFIX}": estimate for tag, estimate in tasks.items()}


def _pairs(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What both judges call each thing of a picture."""
    differing = [(one, other) for one, other in record["detector"]["differing"]]
    ours = collections.Counter(f"{s['color']} {s['shape']}" for s in record["seen"] or ())
    ours -= collections.Counter(one for one, _ in differing)
    return [(name, name) for name in ours.elements()] + differing


def disagreements(records: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Pictures on whose things or verdict the judges differ; those of differing verdicts first."""
    found = [
        {
            "file": record["file"],
            "prompt": record["prompt"],
            "first": record["correct"],
            "second": record["detector"]["correct"],
            "differing": record["detector"]["differing"],
        }
        for record in records
        if "detector" in record
        and (record["detector"]["differing"] or record["correct"] != record["detector"]["correct"])
    ]
    return sorted(found, key=lambda one: one["first"] == one["second"])
