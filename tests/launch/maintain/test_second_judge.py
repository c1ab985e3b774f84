# SPDX-License-Identifier: Apache-2.0
"""Cohen's kappa by hand, things that are matched by place, and the script on a results.json."""

import dataclasses
import json
import pathlib

import pytest
from PIL import Image

import second_judge
from omnigen.evals.judges.shapes import Seen
from omnigen.evals.suites import exact_prompts
from omnigen.scenes.render import render
from omnigen.scenes.scene import Background, Color, Fill, Kind, Object, Scene, Shape, Size


def seen(shape: str, color: str, x: float, y: float = 0.5, radius: float = 0.1) -> Seen:
    box = (x - radius, y - radius, x + radius, y + radius)
    return Seen(shape, color, x, y, radius, box, residual=0.0)


def test_kappa_by_hand() -> None:
    """Of 50 grants two readers pass 20 and fail 15 together: (0.7 - 0.5) / (1 - 0.5)."""
    votes = [("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15)]
    pairs = [(a, b) for a, b, count in votes for _ in range(count)]
    assert second_judge.kappa(pairs) == pytest.approx(0.4)


def test_kappa_at_its_ends() -> None:
    assert second_judge.kappa([("a", "a"), ("b", "b")]) == 1
    assert second_judge.kappa([("a", "b"), ("b", "a")]) == -1
    assert second_judge.kappa([("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]) == 0
    assert second_judge.kappa([("a", "a"), ("a", "a")]) == 1


def test_things_are_matched_by_place() -> None:
    ours = [seen("star", "red", 0.2), seen("ring", "blue", 0.6), seen("cross", "pink", 0.9)]
    theirs = [seen("ring", "blue", 0.65), seen("heart", "red", 0.22), seen("star", "red", 0.4)]
    assert second_judge.names(ours, theirs) == [
        ("red star", "red heart"),
        ("blue ring", "blue ring"),
        ("pink cross", second_judge.NOTHING),
        (second_judge.NOTHING, "red star"),
    ]
    assert second_judge.names([], []) == []


def test_a_thing_is_matched_once() -> None:
    one = seen("star", "red", 0.5)
    assert second_judge.names([one, one], [one]) == [
        ("red star", "red star"),
        ("red star", second_judge.NOTHING),
    ]


def test_agreement_is_counted() -> None:
    """Of six things four are named alike; by chance (2/6)(1/6) + (4/6)(3/6) would be."""
    ring, alike = ("green ring", "green ring"), ("red star", "red star")
    opinions = [
        second_judge.Opinion("0.png", "colors", (True, True), (alike, ring, ring)),
        second_judge.Opinion(
            "1.png",
            "colors",
            (True, False),
            (("red star", "red heart"), ring, ("green ring", second_judge.NOTHING)),
        ),
    ]
    by_chance = (2 * 1 + 4 * 3) / 36
    assert second_judge.scores(opinions) == {
        "judges_differ": 0.5,
        "judges_kappa": pytest.approx((4 / 6 - by_chance) / (1 - by_chance)),
        "colors": 0.5,
    }
    assert not opinions[0].differing and len(opinions[1].differing) == 2


def test_a_report_gets_a_second_opinion(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A red circle that the first judge calls a star, a lost picture, and a landscape."""
    things = (Object(Shape.CIRCLE, Color.RED, Size.LARGE, x=0.5, y=0.5, radius=0.2),)
    scene = Scene(Kind.SHAPES, Background(Fill.PLAIN, "white"), things)
    Image.fromarray(render(scene, 128)).save(tmp_path / "a.png")
    prompts = exact_prompts.prompts()
    asked = next(
        m
        for m in prompts
        if [i["class"] for i in m["include"]] == ["circle"] and m["tag"] == "single_object"
    )
    look = dataclasses.asdict(seen("star", "red", 0.5))
    record = {"file": "a.png", "tag": asked["tag"], "prompt": asked["prompt"], "problem": ""}
    records = [
        {**record, "correct": False, "seen": [look]},
        {**record, "correct": False, "seen": None, "problem": "missing"},
        {**record, "tag": "landscape", "prompt": "a landscape", "correct": True, "seen": []},
    ]
    columns = [{"name": "ours", "suites": {"exact": {"pictures": records}}}]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"columns": columns}))
    second_judge.main(path)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "ours: 1 canvases",
        "judges_differ 1.0000",
        "judges_kappa 0.0000",
        "single_object 1.0000",
        "a.png: wrong, second: right; red star, second: red circle",
    ]
