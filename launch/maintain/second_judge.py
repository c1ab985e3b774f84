# SPDX-License-Identifier: Apache-2.0
"""A second opinion on the pictures of the suite `exact`: does its judge see what is there?

    python launch/maintain/second_judge.py eval/results.json

`detector` looks at every canvas that `omnigen.evaluate` judged. What follows is printed, for each
column: the tasks' scores by the second judge, the share of pictures that one judge finds right and
the other wrong, Cohen's kappa over the names of all objects that either sees, and the pictures on
which the judges differ, those of differing verdicts first. Kappa (1960) is 1 for judges who always
agree and 0 for those who agree as by chance:

    kappa = (p_o - p_e) / (1 - p_e)

p_o: share of things that both name alike; p_e: that share, had each named at random as often as it
does.
"""

import collections
import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import detector
from omnigen.evals import picture_files
from omnigen.evals.judges import geneval
from omnigen.evals.judges.shapes import Seen
from omnigen.evals.suites import exact_prompts

NOTHING = "nothing"
"""The name of what only the other judge sees."""


@dataclasses.dataclass(frozen=True)
class Opinion:
    """What both judges say of a picture.

    Attributes:
        file: Name of the picture.
        tag: Task of the picture.
        verdicts: Whether the first judge and the second find it right.
        names: Names that the two give each thing.
    """

    file: str
    tag: str
    verdicts: tuple[bool, bool]
    names: tuple[tuple[str, str], ...]

    @property
    def differing(self) -> tuple[tuple[str, str], ...]:
        """The names of those things that the judges name differently."""
        return tuple((one, other) for one, other in self.names if one != other)


def kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Returns Cohen's kappa of pairs of names; 1 if both give everything one and the same name."""
    assert pairs
    total = len(pairs)
    observed = sum(a == b for a, b in pairs) / total
    ours, theirs = (collections.Counter(names) for names in zip(*pairs, strict=True))
    expected = sum(count * theirs[name] for name, count in ours.items()) / total**2
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def names(ours: Sequence[Seen], theirs: Sequence[Seen]) -> list[tuple[str, str]]:
    """Returns both judges' names of each thing in a picture: shape and colour, or `NOTHING`.

    A thing of ours is the nearest of theirs that is left, if its centre lies within the radius.
    """
    pairs, left = [], list(theirs)
    for one in ours:
        near = min(left, key=lambda other: _apart(one, other), default=None)
        if near is None or _apart(one, near) > max(one.radius, near.radius):
            pairs.append((_name(one), NOTHING))
            continue
        left.remove(near)
        pairs.append((_name(one), _name(near)))
    return pairs + [(NOTHING, _name(other)) for other in left]


def _apart(one: Seen, other: Seen) -> float:
    return ((one.x - other.x) ** 2 + (one.y - other.y) ** 2) ** 0.5


def _name(seen: Seen) -> str:
    return f"{seen.color} {seen.shape}"


def opinions(
    judge: detector.Detector, records: Sequence[Mapping[str, Any]], folder: pathlib.Path
) -> Iterator[Opinion]:
    """Yields both judges' opinions of all canvases that could be read.

    Args:
        judge: The second judge.
        records: Pictures of the suite in a `results.json`.
        folder: Folder that their names are relative to.
    """
    asked = {metadata["prompt"]: metadata for metadata in exact_prompts.prompts()}
    for record in records:
        if record["prompt"] not in asked or record["problem"]:
            continue
        ours = [Seen(**{**seen, "box": tuple(seen["box"])}) for seen in record["seen"]]
        theirs = judge.look(picture_files.read(folder / record["file"]))
        found = geneval.judge(asked[record["prompt"]], theirs)
        yield Opinion(
            file=record["file"],
            tag=record["tag"],
            verdicts=(bool(record["correct"]), found.correct),
            names=tuple(names(ours, theirs)),
        )


def scores(found: Sequence[Opinion]) -> dict[str, float]:
    """Returns the metrics, with the mean of GenEval's six tasks as `overall` if all are there."""
    tasks: dict[str, list[bool]] = {}
    for one in found:
        tasks.setdefault(one.tag, []).append(one.verdicts[1])
    shares = {tag: sum(right) / len(right) for tag, right in tasks.items()}
    metrics = {"judges_differ": sum(a != b for a, b in (o.verdicts for o in found)) / len(found)}
    if pairs := [pair for one in found for pair in one.names]:
        metrics["judges_kappa"] = kappa(pairs)
    if set(exact_prompts.TASKS) <= shares.keys():
        metrics["overall"] = sum(shares[tag] for tag in exact_prompts.TASKS) / 6
    return metrics | shares


def main(path: pathlib.Path) -> None:
    """Prints a second opinion on a `results.json`."""
    judge = detector.Detector()
    for column in json.loads(path.read_text(encoding="utf-8"))["columns"]:
        suite = column["suites"].get("exact", {})
        folder = pathlib.Path(suite.get("folder") or path.parent)
        found = list(opinions(judge, suite.get("pictures", ()), folder))
        print(f"{column['name']}: {len(found)} canvases")
        for metric, value in scores(found).items() if found else ():
            print(f"  {metric:20} {value:.4f}")
        differ = [one for one in found if one.differing or one.verdicts[0] != one.verdicts[1]]
        for one in sorted(differ, key=lambda one: one.verdicts[0] == one.verdicts[1]):
            verdicts = ", second: ".join("right" if right else "wrong" for right in one.verdicts)
            things = "; ".join(", second: ".join(pair) for pair in one.differing)
            print(f"  {one.file}: {verdicts}; {things}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
