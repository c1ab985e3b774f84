# SPDX-License-Identifier: Apache-2.0
import collections
import hashlib
import itertools
import json
import re

import numpy as np
import pytest

from omnigen.dice import Dice
from omnigen.evals import results
from omnigen.evals.suites import exact, exact_prompts, references, text, text_prompts
from omnigen.scenes import grammar, splits
from omnigen.scenes.render import render
from omnigen.scenes.scene import Background, Color, Fill, Kind, Object, Scene, Shape, Size

DIGEST = "10791ed1e8b30ccd"  # changes only when everybody is to be asked something else

CROWDS = tuple(f"scene_{size}" for size in exact_prompts.CROWDS)


def test_prompts_never_change() -> None:
    text = json.dumps(exact_prompts.prompts(), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == DIGEST


def test_prompts_cover_every_task() -> None:
    prompts = exact_prompts.prompts()
    assert len({metadata["prompt"] for metadata in prompts}) == len(prompts)
    tags = collections.Counter(metadata["tag"] for metadata in prompts)
    assert tags == {
        "single_object": 24,
        "two_object": 56,
        "counting": 72,
        "colors": 80,
        "position": 100,
        "color_attr": 100,
        **dict.fromkeys(exact_prompts.CURVE, 32),
        **dict.fromkeys(CROWDS, 24),
    }
    held_out = collections.Counter(m["tag"] for m in prompts if m["held_out"])
    assert held_out == {"colors": 4, "color_attr": 50, **dict.fromkeys(CROWDS, 12)}
    for metadata in prompts:
        assert metadata["template_held_out"] == metadata["prompt"].startswith("a photo of ")
        assert len(metadata["prompt"]) <= 200


def test_no_caption_opens_as_a_held_out_template_does() -> None:
    prompts = (*exact.all_prompts(), *text_prompts.prompts())
    held_out = [metadata["prompt"] for metadata in prompts if metadata["template_held_out"]]
    assert {tuple(prompt.split()[:3]) for prompt in held_out} == {
        ("a", "photo", "of"),
        ("a", "painting", "of"),
        ("a", "poster", "that"),
    }
    openings = {grammar.asked(Dice("opening", n)) for n in range(20_000)}
    assert "a picture of " in openings and "draw " in openings
    words = {word for opening in openings for word in opening.split()}
    assert not words & {"photo", "painting", "poster", "photograph"}


def test_media_of_openings_cannot_be_learnt_by_heart() -> None:
    """Else one that is not on the list, as "photo" is not, would be taken for a thing to draw."""
    media = [
        match[1]
        for n in range(20_000)
        if (match := re.fullmatch(r".*?(\S+) (?:of|with) ", grammar.asked(Dice("medium", n))))
    ]
    often = {medium for medium, times in collections.Counter(media).items() if times > 20}
    assert often == set(grammar.MEDIA)
    assert 0.45 < sum(medium not in often for medium in media) / len(media) < 0.55
    assert len(set(media)) > 1500


@pytest.mark.parametrize("metadata", exact_prompts.prompts()[:560:11], ids=lambda m: m["prompt"])
def test_prompts_say_what_is_asked(metadata: dict) -> None:
    words = metadata["prompt"].split()
    for wanted in metadata["include"]:
        names = {wanted["class"], f"{wanted['class']}s", f"{wanted['class']}es"}
        (place,) = [i for i, word in enumerate(words) if word in names]
        if "color" in wanted:
            assert words[place - 1] == wanted["color"]
        if wanted["count"] > 1:
            assert exact_prompts.NUMBERS.index(words[place - 1]) == wanted["count"]
            assert metadata["exclude"] == [{"class": wanted["class"], "count": wanted["count"] + 1}]
    if metadata["tag"] == "position":
        other, placed = metadata["include"]
        assert placed["position"][1] == 0
        relation = f"{placed['class']} {placed['position'][0]} a {other['class']}"
        assert metadata["prompt"].endswith(relation)


def test_crowds_name_all_their_objects() -> None:
    noun = re.compile(r"(\w+) (\w+) (\w+)$")
    for metadata in exact_prompts.prompts()[560:]:
        size = int(metadata["tag"].removeprefix("scene_"))
        assert sum(wanted["count"] for wanted in metadata["include"]) == size
        parts = metadata["prompt"].removeprefix("a picture of ").removeprefix("a photo of ")
        asked = []
        for part in re.split(", | and ", parts):
            number, color, shape = noun.search(part).groups()
            count = 1 if number in ("a", "an") else exact_prompts.NUMBERS.index(number)
            singular = (
                shape if count == 1 else re.sub("es$" if shape == "crosses" else "s$", "", shape)
            )
            asked.append({"class": singular, "count": count, "color": color})
        assert asked == metadata["include"]
        kinds = [splits.index(Color(w["color"]), Shape(w["class"])) for w in metadata["include"]]
        table = splits.tables()
        unseen = any(table.single[kind] for kind in kinds) or any(
            table.pair[a][b] for a, b in itertools.permutations(kinds, 2)
        )
        assert unseen == metadata["held_out"]


@pytest.mark.parametrize("metadata", exact_prompts.prompts()[5::38], ids=lambda m: m["prompt"])
def test_true_pictures_are_right(metadata: dict) -> None:
    found = exact.verdict(metadata, render(references.shapes(metadata), 128))
    assert found["correct"] and found["strict"], found["reasons"]
    assert all(atom["met"] for atom in found["atoms"])


CIRCLE = {"class": "circle", "count": 1}
STAR = {"class": "star", "count": 1}


def canvas(*things: tuple[str, str, float, float]) -> np.ndarray:
    objects = tuple(
        Object(Shape(shape), Color(color), Size.MEDIUM, x, y, 0.1) for shape, color, x, y in things
    )
    return render(Scene(Kind.SHAPES, Background(Fill.PLAIN, "grey"), objects), 128)


SEEN = canvas(("circle", "red", 0.2, 0.5), ("circle", "blue", 0.5, 0.5), ("star", "red", 0.8, 0.5))


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([{**CIRCLE, "color": "red"}], [], ("red circle", 1, 1, True)),
        ([{**CIRCLE, "color": "pink"}], [], ("pink circle", 1, 0, False)),
        ([{**CIRCLE, "count": 2}], [{"class": "circle", "count": 3}], ("circle", 2, 2, True)),
        ([CIRCLE], [{"class": "circle", "count": 2}], ("circle", 1, 2, False)),
        ([CIRCLE, {**STAR, "position": ["right of", 0]}], [], ("star right of circle", 1, 1, True)),
        ([CIRCLE, {**STAR, "position": ["above", 0]}], [], ("star above circle", 1, 1, False)),
    ],
)
def test_atoms_are_judged_alone(include: list, exclude: list, expected: tuple) -> None:
    found = exact.verdict({"tag": "t", "include": [*include], "exclude": exclude}, SEEN)
    assert tuple(found["atoms"][-1].values()) == expected
    assert found["correct"] == expected[-1] and not found["strict"]
    lost = exact.verdict({"tag": "t", "include": [*include], "exclude": exclude}, None)
    assert not lost["correct"] and not lost["strict"] and lost["seen"] is None
    assert not any(atom["met"] for atom in lost["atoms"])


def record(tag: str, index: int, *, correct: bool, strict: bool = False, **more) -> dict:
    atoms = [{"wanted": 3, "found": 2 + correct * 3}]
    flags = {"held_out": False, "template_held_out": False, **more}
    return {
        "tag": tag,
        "index": index,
        "correct": correct,
        "strict": strict,
        "atoms": atoms,
    } | flags


def test_overall_is_the_mean_of_the_six_tasks() -> None:
    right = {"single_object": 4, "two_object": 3, "counting": 2, "colors": 1, "position": 0}
    tags = {**right, "color_attr": 2, "counting_5_8": 4}
    records = [
        record(tag, 10 * k + i, correct=i < n, strict=i < n - 1, held_out=tag == "colors" and i > 5)
        for k, (tag, n) in enumerate(tags.items())
        for i in range(4 if tag != "colors" else 8)
    ]
    report = {name: results.value(score) for name, score in exact.scores(records).items()}
    assert report["overall"] == pytest.approx((4 / 4 + 3 / 4 + 2 / 4 + 1 / 8 + 0 + 2 / 4) / 6)
    assert report["overall_strict"] == pytest.approx((3 / 4 + 2 / 4 + 1 / 4 + 0 + 0 + 1 / 4) / 6)
    assert report["overall_unseen"] == pytest.approx((4 / 4 + 3 / 4 + 2 / 4 + 0 + 0 + 2 / 4) / 6)
    assert (report["colors_unseen"], report["colors_seen"]) == (0, pytest.approx(1 / 6))
    assert "counting_unseen" not in report and report["counting_5_8"] == 1
    assert list(report)[:4] == ["overall", "overall_strict", "overall_unseen", "single_object"]


def test_a_crowd_scores_its_objects() -> None:
    """Of three wanted, two, and then five, which count no more than three."""
    records = [record("scene_3", 0, correct=False), record("scene_3", 1, correct=True)]
    report = {name: results.value(score) for name, score in exact.scores(records).items()}
    assert report == {"scene_3": 0.5, "scene_3_strict": 0.0, "scene_3_atoms": pytest.approx(5 / 6)}


def test_a_slice_takes_from_every_task() -> None:
    prompts = exact.benchmark(exact_prompts.prompts()).part(24).prompts
    assert [m["tag"] for m in prompts].count("position") == 5
    assert [m["tag"] for m in prompts].count("single_object") == 1
    assert len(prompts) == 5 * 2 + 4 + 3 + 3 + 1 + 4 * 2 + 8


@pytest.mark.parametrize("every", [2, 3, 4, 6, 12])
def test_a_slice_keeps_the_shares_of_what_is_held_out(every: int) -> None:
    for whole in (exact.benchmark(exact_prompts.prompts()), text.benchmark(judges=False)):
        part = whole.part(every)
        for name in ("held_out", "template_held_out"):
            for tag in {metadata["tag"] for metadata in whole.prompts}:
                counts = [
                    [bool(m.get(name)) for m in benchmark.prompts if m["tag"] == tag]
                    for benchmark in (whole, part)
                ]
                expected = sum(counts[0]) / every
                assert abs(sum(counts[1]) - expected) <= 2, (tag, name)
                assert bool(sum(counts[1])) == bool(sum(counts[0])) or expected < 2
        places = [whole.prompts.index(metadata) for metadata in part.prompts]
        assert places == sorted(places)
