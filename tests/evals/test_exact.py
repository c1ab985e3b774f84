# SPDX-License-Identifier: Apache-2.0
import collections
import hashlib
import json
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from omnigen import evaluate
from omnigen.evals import exact, exact_prompts

DIGEST = "797c25246066b806"  # changes only when everybody is to be asked something else


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
    }
    held_out = collections.Counter(m["tag"] for m in prompts if m["held_out"])
    assert held_out == {"colors": 4, "color_attr": 50}


@pytest.mark.parametrize("metadata", exact_prompts.prompts()[::11], ids=lambda m: m["prompt"])
def test_prompts_say_what_is_asked(metadata: dict) -> None:
    words = metadata["prompt"].split()
    for wanted in metadata["include"]:
        names = {wanted["class"], f"{wanted['class']}s", f"{wanted['class']}es"}
        (place,) = [i for i, word in enumerate(words) if word in names]
        if "color" in wanted:
            assert words[place - 1] == wanted["color"]
        if wanted["count"] > 1:
            assert exact_prompts._NUMBERS.index(words[place - 1]) == wanted["count"]
            assert metadata["exclude"] == [{"class": wanted["class"], "count": wanted["count"] + 1}]
    if metadata["tag"] == "position":
        other, placed = metadata["include"]
        assert placed["position"][1] == 0
        relation = f"{placed['class']} {placed['position'][0]} a {other['class']}"
        assert metadata["prompt"].endswith(relation)


def prompt(tag: str, *include: dict, held_out: bool = False) -> dict:
    text = " and ".join(f"{i['count']} {i['class']}" for i in include)
    return {"tag": tag, "include": list(include), "prompt": text, "held_out": held_out}


CIRCLE = {"class": "circle", "count": 1}
RED_CIRCLE = {**CIRCLE, "color": "red"}
PROMPTS = [prompt("single_object", CIRCLE), prompt("colors", RED_CIRCLE, held_out=True)]


def circles(*colors: str) -> Image.Image:
    image = Image.new("RGB", (128, 128), "white")
    for i, color in enumerate(colors):
        ImageDraw.Draw(image).ellipse((10 + 40 * i, 50, 40 + 40 * i, 80), fill=color)
    return image


def test_pictures_of_others_are_judged(tmp_path: pathlib.Path) -> None:
    """Of eight: one right, one with too much, one truncated, the wrong colour, the rest missing."""
    images = tmp_path / "images"
    for index in (0, 1):
        (images / f"{index:05d}" / "samples").mkdir(parents=True)
    circles("blue").save(images / "00000/samples/0000.png")
    circles("red", "red").save(images / "00000/samples/0001.png")
    circles("red").save(images / "00000/samples/0002.png")
    damaged = images / "00000/samples/0002.png"
    damaged.write_bytes(damaged.read_bytes()[:150])
    circles("red").save(images / "00001/samples/0000.png")
    circles("blue").save(images / "00001/samples/0003.png")
    judge = exact.Exact(None, output=tmp_path, images=images, prompts=PROMPTS)
    assert dict(judge.run({}, {})) == {
        "single_object": 0.5,
        "single_object_strict": 0.25,
        "colors": 0.25,
        "colors_strict": 0.25,
        "colors_held_out": 0.25,
        "unreadable": 4.0,
    }
    lines = (tmp_path / "exact/verdicts.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [(r["index"], r["sample"]) for r in records] == [
        (i, s) for i in (0, 1) for s in range(4)
    ]
    assert records[1]["reasons"] == ["2 objects, expected 1"]
    assert records[2]["seen"] is None and "unreadable" in records[2]["reasons"][0]
    assert records[7]["reasons"] == ["circle: blue, expected red"]
    assert records[0]["seen"][0]["shape"] == "circle"


class Painter:
    """Stands in for a model: the prompt's length decides between a red circle and nothing."""

    def prompts(self, texts):
        return texts

    def generate(self, weights, prompts, keys):
        assert len(prompts) == len(keys) == weights["count"]
        drawn = circles("red") if len(prompts[0]) == weights["length"] else circles()
        return np.stack([np.asarray(drawn) / np.float32(127.5) - 1] * len(prompts))


def test_a_model_is_judged_like_its_pictures(tmp_path: pathlib.Path) -> None:
    prompts = [*PROMPTS, prompt("two_object", CIRCLE, {"class": "star", "count": 1})]
    judge = exact.Exact(Painter(), output=tmp_path, count=2, prompts=prompts)
    report = dict(judge.run({"length": len(PROMPTS[0]["prompt"])}, {"count": 2}))
    assert (report["single_object"], report["colors"], report["two_object"]) == (1, 1, 0)
    images = tmp_path / "exact/images"
    again = exact.Exact(None, output=tmp_path / "again", count=2, images=images, prompts=prompts)
    assert dict(again.run({}, {})) == report


def test_overall_is_the_mean_of_the_six_tasks() -> None:
    right = {"single_object": 4, "two_object": 3, "counting": 2, "colors": 1, "position": 0}
    records = [
        {"tag": tag, "correct": i < n, "strict": i < n - 1, "held_out": False, "seen": []}
        for tag, n in {**right, "color_attr": 2, "counting_5_8": 4}.items()
        for i in range(4 if tag != "colors" else 8)
    ]
    report = dict(exact.scores(records))
    assert report["overall"] == pytest.approx((4 / 4 + 3 / 4 + 2 / 4 + 1 / 8 + 0 + 2 / 4) / 6)
    assert report["overall_strict"] == pytest.approx((3 / 4 + 2 / 4 + 1 / 4 + 0 + 0 + 1 / 4) / 6)


def test_the_door_judges_a_folder(tmp_path: pathlib.Path) -> None:
    """An empty folder: all 560 are wrong, none is lost."""
    (tmp_path / "images").mkdir()
    argv = ["--suites=exact", "--images", str(tmp_path / "images"), "--count=1"]
    evaluate.main([*argv, "--output", str(tmp_path / "eval")])
    report = json.loads((tmp_path / "eval/metrics.json").read_text())
    assert report["images"] == str(tmp_path / "images") and report["exact/count"] == 1
    assert report["exact/overall"] == 0 and report["exact/unreadable"] == 560
    assert len((tmp_path / "eval/exact/verdicts.jsonl").read_text().splitlines()) == 560


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--images=absent", "--suites=exact"], "--images absent: no such folder"),
        (["--images=."], "--images .: needs --suites exact and no --checkpoint"),
        (["--images=.", "--suites=exact", "--checkpoint=x"], "needs --suites exact and no"),
    ],
)
def test_the_door_refuses(argv: list[str], message: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        evaluate.main([*argv, "--output=eval"])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
