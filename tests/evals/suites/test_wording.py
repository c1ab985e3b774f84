# SPDX-License-Identifier: Apache-2.0
"""The suite `wording`: its prompts, its judges on true pictures and sketches, and its scores."""

import dataclasses
import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.evals import prompted, results
from omnigen.evals.judges import reading
from omnigen.evals.prompted import Prompted
from omnigen.evals.suites import references, wording, wording_sketch
from omnigen.evals.suites.wording_sketch import WordingSketch
from omnigen.generation.generate import Drawn
from omnigen.models.omni import OmniConfig, to_pixels
from omnigen.scenes.render import render
from omnigen.scenes.scene import (
    Background,
    Color,
    Fill,
    Kind,
    Object,
    Scene,
    Shape,
    Size,
)
from omnigen.scenes.sketch import sketch

DIGEST = "906c45285519966c1092069161a4d65d140b83b4b178e154ae58b415f18135f3"
RING = {"class": "ring", "count": 1, "color": "red"}
STAR = {"class": "star", "count": 1, "color": "blue"}


def metadata(**more) -> dict:
    empty = {"tag": "plain", "domain": "shapes", "prompt": "p", "relations": [], "exclude": []}
    return {**empty, "text": [], "include": [], "held_out": False, **more}


def test_the_prompts_are_pinned() -> None:
    assert results.text_digest([dict(prompt) for prompt in wording.prompts()]) == DIGEST


def test_true_pictures_and_their_sketches_are_right() -> None:
    """Of prompts whose scenes the package can compose: shapes in relations, and words."""
    count = 0
    for prompt in wording.prompts():
        shapes = prompt["domain"] in ("shapes", "relations") and not prompt.get("background")
        if not shapes or prompt["tag"] not in ("plain", "clauses", "chatty"):
            continue
        count += 1
        if count % 6:
            continue
        include = [dict(one) for one in prompt["include"]]
        for name, one, other in prompt["relations"]:
            include[one]["position"] = [name, other]
        if prompt["relations"]:  # what a relation refers to comes first there
            include = [include[1], {**include[0], "position": [include[0]["position"][0], 0]}]
        scene = references.shapes({**prompt, "include": include})
        found = wording.verdict(prompt, render(scene, 128), sketch(scene))
        assert found["picture"]["correct"] and found["sketch"]["strict"], found
        wrong = wording.verdict(prompt, np.full((128, 128, 3), 255, np.uint8), "pw")
        assert not wrong["picture"]["correct"] and not wrong["sketch"]["correct"]
    assert count > 40


@pytest.mark.parametrize(
    ("relation", "places"),
    [
        ("inside", ((0.5, 0.5, 0.07), (0.5, 0.5, 0.25))),
        ("next to", ((0.3, 0.5, 0.1), (0.55, 0.5, 0.1))),
        ("between", ((0.5, 0.5, 0.1), (0.2, 0.5, 0.1), (0.8, 0.5, 0.1))),
        ("in a row", ((0.2, 0.5, 0.1), (0.5, 0.5, 0.1), (0.8, 0.5, 0.1))),
        ("in a column", ((0.5, 0.2, 0.1), (0.5, 0.5, 0.1), (0.5, 0.8, 0.1))),
    ],
)
def test_arrangements_sizes_and_backgrounds_are_seen_in_pictures(relation, places) -> None:
    kinds = ((Shape.STAR, Color.RED), (Shape.CIRCLE, Color.WHITE), (Shape.SQUARE, Color.BLACK))
    things = list(zip(kinds, places, strict=False))
    objects = [Object(*kind, Size.MEDIUM, *place) for kind, place in things]
    ground = Background(Fill.PLAIN, "blue")
    image = render(Scene(Kind.SHAPES, ground, tuple(reversed(objects))), 128)
    include = [{"class": str(s), "color": str(c), "count": 1} for (s, c), _ in things]
    size = {"size": "small"} if relation == "inside" else {}
    asked = metadata(include=[{**include[0], **size}, *include[1:]], background="blue")
    asked["relations"] = [[relation, *range(len(include))]]
    found, _ = wording.judged_picture(asked, image)
    assert found["correct"], found
    for wrong in ({"background": "green"}, {"relations": [["left of", 1, 0], ["above", 1, 0]]}):
        found, _ = wording.judged_picture({**asked, **wrong}, image)
        assert not found["correct"]
    if size:
        large = [{**include[0], "size": "large"}, *include[1:]]
        assert not wording.judged_picture({**asked, "include": large}, image)[0]["correct"]


def test_words_of_pictures_are_judged_with_their_marks() -> None:
    asked = metadata(domain="words", text=[{"string": "50% off"}, {"string": "Café"}])

    def read(*texts: str) -> list[bool]:
        lines = [reading.Line(text, (0, 0, 1, 1)) for text in texts]
        return [atom["met"] for atom in wording.read_words(asked, lines)]

    assert read("50% OFF", "cafe") == [True, True, True, True]
    assert read("CAFÉ", "50 %off") == [True, True, True, True]
    assert read("50 off", "Café") == [False, True, True, True]
    assert read("50% of", "Café") == [True, False, True, False]
    assert read("50% off", "Café", "too") == [True, True, True, False]
    assert read() == [False] * 4


def test_drawings_are_judged_by_their_sketch_alone() -> None:
    asked = metadata(domain="things", include=[{"class": "red apple", "count": 1}])
    blank = np.full((128, 128, 3), 255, np.uint8)
    found = wording.verdict(asked, blank, "~Twemojipw<red apple>gge")
    assert found["picture"] is None and found["correct"] and found["reasons"] == []
    found = wording.verdict(asked, blank, "~Twemojipw<cute red apple>gge")
    assert not found["correct"] and found["reasons"] == ["sketch, not so: 1 red apple"]
    assert wording.verdict(asked, blank, None)["sketch"] is None


def test_the_background_and_letters_among_shapes() -> None:
    scene = references.words([["OX"]], seed="x")
    image = render(
        dataclasses.replace(scene, background=dataclasses.replace(scene.background, color="blue")),
        128,
    )
    assert wording._background(image) == "blue"
    asked = metadata(domain="mixtures", text=[{"string": "OX"}], exclude=[{"class": "ring"}])
    letters = wording.look(asked, render(scene, 128), [reading.Line("OX", (0, 0, 1, 1))])
    assert letters.things == ()
    asked = metadata(domain="mixtures", include=[RING], text=[{"string": "No X"}])
    read = {text: reading.Line(text, (0, 0, 1, 1)) for text in ("O", "x", "No", "OOO")}
    taken = [text for text, line in read.items() if wording._is_object(asked, line)]
    assert taken == ["O"]  # a ring; the others are words that are asked for, or too long
    assert not wording._is_object(metadata(text=[{"string": "No"}]), read["O"])


def record(index: int, tag: str, sketch: bool | None, picture: bool | None, **more) -> dict:
    def part(correct):
        return None if correct is None else {"correct": correct, "strict": correct, "atoms": []}

    return {
        "index": index,
        "tag": tag,
        "domain": "shapes",
        "held_out": False,
        "sketch": part(sketch),
        "picture": part(picture),
        **more,
    }


def test_scores_by_hand() -> None:
    plain = [record(i, "plain", i != 0, i > 1) for i in range(4)]  # 3/4 and 2/4
    loud = [record(i + 4, "capitals", i == 3, False) for i in range(4)]  # 1/4 and 0
    words = [{"met": met, "is_word": True} for met in (True, True, False)]
    special = record(8, "special", False, None, domain="words", held_out=True)
    special["sketch"]["atoms"] = [*words, {"met": True}]
    found = wording.scores([*plain, *loud, special])
    values = {name: results.value(score) for name, score in found.items()}
    assert values == {
        "sketch": pytest.approx(4 / 9),
        "sketch_strict": pytest.approx(4 / 9),
        "sketch_plain": 0.75,
        "sketch_capitals": 0.25,
        "sketch_special": 0,
        "sketch_capitals_of_plain": pytest.approx(1 / 3),
        "sketch_special_words": pytest.approx(2 / 3),
        "sketch_of_shapes": 0.5,
        "sketch_of_words": 0,
        "sketch_unseen": 0,
        "sketch_seen": 0.5,
        "picture": 0.25,
        "picture_plain": 0.5,
        "picture_capitals": 0,
        "picture_capitals_of_plain": 0,
        "picture_of_shapes": 0.25,
        "picture_seen": 0.25,
        "picture_of_right_sketch": 0.5,
    }
    low, high = (found["sketch_capitals_of_plain"].to_json()[end] for end in ("low", "high"))
    assert 0 <= low < 1 / 3 < high  # resampled together, prompt by prompt


def test_a_lost_picture_is_wrong_in_its_sketch_as_well() -> None:
    lost = record(1, "plain", None, False)
    found = wording.scores([record(0, "plain", True, True), lost])
    assert results.value(found["sketch"]) == results.value(found["picture"]) == 0.5
    others = wording.scores([record(0, "plain", None, True)])  # pictures of another system
    assert "sketch" not in others and results.value(others["picture"]) == 1


class Writer:
    """Stands in for a model: writes a red ring for short prompts, and nothing for others."""

    config = OmniConfig(sketch_length=16)

    def __init__(self) -> None:
        self.asked: list[str] = []


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    model = Writer()

    def texts(prompts: list[str]) -> list[str]:
        model.asked += prompts
        return ["pw1rRgg8" if len(prompt) < 20 else "pw" for prompt in prompts]

    prompts = (metadata(prompt="a red ring", include=[RING]),)
    prompts += (metadata(prompt="a red ring, please, for me", include=[RING], tag="chatty"),)
    prompts += (metadata(prompt="a blue star", include=[STAR], tag="negation"),)
    monkeypatch.setattr(wording, "prompts", lambda: prompts)
    monkeypatch.setattr(wording_sketch, "prompt_rows", lambda omni, asked: asked)
    monkeypatch.setattr(wording_sketch, "written", lambda omni, w, rows, keys, s: texts(rows))
    monkeypatch.setattr(wording_sketch, "sketches", lambda omni, ids: ids)
    monkeypatch.setattr(wording_sketch, "_BATCH_SIZES", {"cpu": 2})
    return model


def test_sketches_alone_are_judged_and_kept(writer: Writer, tmp_path: pathlib.Path) -> None:
    weights = {"ar": {"w": jnp.zeros(2)}}
    evaluator = WordingSketch(writer, output=tmp_path, column="ours")
    outcome = evaluator.judge({}, weights)
    values = {name: results.value(score) for name, score in outcome.scores.items()}
    assert values["sketch"] == pytest.approx(1 / 3) and values["sketch_plain"] == 1
    assert [r["correct"] for r in outcome.pictures] == [True, False, False]
    assert outcome.pictures[2]["reasons"] == ["not so: 1 blue star"]
    assert len(writer.asked) == 4  # the last batch is filled up
    again = WordingSketch(writer, output=tmp_path, column="ours").judge({}, weights)
    assert len(writer.asked) == 4
    assert json.dumps(again.to_json()) == json.dumps(outcome.to_json())
    kept = tmp_path / "sketches/ours.jsonl"
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join(lines[:2]) + "\n" + lines[2][:20])  # killed while it wrote
    again = WordingSketch(writer, output=tmp_path, column="ours").judge({}, weights)
    assert len(writer.asked) == 6
    assert json.dumps(again.to_json()) == json.dumps(outcome.to_json())
    assert dict(WordingSketch(writer, every=2).run({}, weights)) == values  # one of each kind


def test_a_model_without_sketches_is_refused() -> None:
    mute = Writer()
    mute.config = OmniConfig()
    with pytest.raises(ValueError, match="suite wording_sketch needs a model that writes sketches"):
        WordingSketch(mute)


class Painter(Writer):
    """Draws what it wrote."""

    def draw(self, weights, prompts, keys, sampling):
        ring = references.shapes(metadata(include=[RING]))
        images = [
            render(ring, 128) if len(p) < 20 else np.zeros((128, 128, 3), np.uint8) for p in prompts
        ]
        return Drawn(jnp.stack([to_pixels(jnp.asarray(image)) for image in images]), prompts)


def test_sketches_travel_with_the_pictures(
    writer: Writer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompted, "prompt_rows", lambda omni, asked: asked)
    monkeypatch.setattr(prompted, "drawn", lambda omni, *rest: omni.draw(*rest))
    monkeypatch.setattr(
        prompted, "sketches", lambda omni, ids: ["pw1rRgg8" if len(p) < 20 else "pw" for p in ids]
    )
    suite = wording.benchmark(judges=False)
    weights = {"ar": {"w": jnp.zeros(2)}, "encoder": {"w": jnp.zeros(2)}}
    here = Prompted(suite, omni=Painter(), output=tmp_path / "here", count=1)
    outcome = here.judge({}, weights)
    assert [r["sketch"]["text"] for r in outcome.pictures] == ["pw1rRgg8", "pw", "pw1rRgg8"]
    assert [r["picture"]["correct"] for r in outcome.pictures] == [True, False, False]
    assert not outcome.ceiling and results.value(outcome.scores["sketch"]) == pytest.approx(1 / 3)
    there = Prompted(
        suite, images=tmp_path / "here/pictures/model/wording", output=tmp_path / "there", count=1
    )
    again = there.judge({}, {})
    assert {n: results.value(s) for n, s in again.scores.items()} == {
        n: results.value(s) for n, s in outcome.scores.items()
    }
