# SPDX-License-Identifier: Apache-2.0
"""Evaluators of prompts, through the suite `exact` with two prompts and a model of two pictures."""

import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw

from omnigen import evaluate
from omnigen.checkpoints import fingerprint
from omnigen.evals import benchmark, prompted
from omnigen.evals.prompted import Prompted
from omnigen.evals.suites import exact
from omnigen.generation.settings import Sampling
from omnigen.models.omni import OmniConfig, to_pixels


def prompt(tag: str, *include: dict, held_out: bool = False) -> dict:
    text = " and ".join(f"{i['count']} {i['class']}" for i in include)
    return {"tag": tag, "include": list(include), "prompt": text, "held_out": held_out}


CIRCLE = {"class": "circle", "count": 1}
PROMPTS = [
    prompt("single_object", CIRCLE),
    prompt("colors", {**CIRCLE, "color": "red"}, held_out=True),
]
SUITE = exact.benchmark(PROMPTS)


def circles(*colors: str) -> Image.Image:
    image = Image.new("RGB", (128, 128), "white")
    for i, color in enumerate(colors):
        ImageDraw.Draw(image).ellipse((10 + 40 * i, 50, 40 + 40 * i, 80), fill=color)
    return image


@pytest.fixture
def theirs(tmp_path: pathlib.Path) -> pathlib.Path:
    """Of eight: one right, one with too much, one truncated, the wrong colour, one small."""
    images = tmp_path / "theirs"
    for index in (0, 1):
        (images / f"{index:05d}" / "samples").mkdir(parents=True)
    circles("blue").save(images / "00000/samples/0000.png")
    circles("red", "red").save(images / "00000/samples/0001.png")
    circles("red").save(images / "00000/samples/0002.png")
    damaged = images / "00000/samples/0002.png"
    damaged.write_bytes(damaged.read_bytes()[:150])
    circles("red").resize((64, 64)).save(images / "00001/samples/0000.png")
    circles("blue").save(images / "00001/samples/0003.png")
    circles("red").save(images / "00001/samples/0004.png")
    return images


def test_pictures_of_others_are_judged(theirs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    outcome = Prompted(SUITE, images=theirs, output=tmp_path / "eval").judge({}, {})
    found = json.loads(json.dumps(outcome.to_json()))
    assert {name: score["value"] for name, score in found["scores"].items()} == {
        "single_object": 0.5,
        "single_object_strict": 0.25,
        "colors": 0,
        "colors_strict": 0,
    }
    assert found["problems"] == {
        "unreadable": ["00000/samples/0002.png"],
        "missing": ["00000/samples/0003.png", "00001/samples/0001.png", "00001/samples/0002.png"],
        "wrong size": ["00001/samples/0000.png"],
        "unexpected": ["00001/samples/0004.png"],
    }
    assert (found["expected"], found["judged"], found["unreadable"]) == (8, 8, 5)
    records = found["pictures"]
    assert [(r["index"], r["sample"]) for r in records] == [
        (i, s) for i in (0, 1) for s in range(4)
    ]
    assert records[1]["reasons"] == ["2 objects, expected 1"]
    assert records[2]["seen"] is None and records[2]["problem"].startswith("unreadable: ")
    assert records[4]["problem"] == "wrong size: 64 x 64"
    assert records[7]["reasons"] == ["circle: blue, expected red"]
    assert records[0]["seen"][0]["shape"] == "circle"
    lines = (tmp_path / "eval/exact/prompts.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == PROMPTS


class Painter:
    """Stands in for a model: the prompt's length decides between a red circle and nothing."""

    config = OmniConfig()

    def __init__(self, stop_after: int = 99) -> None:
        self.calls, self.stop_after = 0, stop_after

    def prompts(self, texts):
        return texts

    def generate(self, weights, prompts, keys, sampling):
        assert len(prompts) == len(keys) and sampling == Sampling()
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        lengths = [weights["length"] == len(prompt) for prompt in prompts]
        drawn = [np.asarray(circles("red") if right else circles()) for right in lengths]
        return np.stack([to_pixels(image) for image in drawn])

    def reconstruct(self, weights, pixels, keys):
        return pixels if weights["encoder"] else np.zeros_like(pixels)


THREE = exact.benchmark([*PROMPTS, prompt("two_object", CIRCLE, {"class": "star", "count": 1})])
WEIGHTS = {"length": np.int32(len("1 circle")), "encoder": np.int32(1)}


def test_a_model_is_judged_like_its_pictures(tmp_path: pathlib.Path) -> None:
    judge = Prompted(THREE, omni=Painter(), output=tmp_path, count=2, column="ours")
    report = dict(judge.run({"length": WEIGHTS["length"]}, {"encoder": 0}))
    assert (report["single_object"], report["colors"], report["two_object"]) == (1, 1, 0)
    images = tmp_path / "pictures/ours/exact"
    again = Prompted(THREE, images=images, output=tmp_path / "again", count=2)
    assert dict(again.run({}, {})) == report
    nothing = Prompted(THREE, omni=Painter(), count=2)
    assert dict(nothing.run(WEIGHTS, {})) == report  # as in training, without files


def test_the_ceiling_is_what_the_tokenizer_leaves_of_true_pictures(tmp_path: pathlib.Path) -> None:
    for encoder, expected in ((1, 1.0), (0, 0.0)):
        folder = tmp_path / str(encoder)
        judge = Prompted(THREE, omni=Painter(), output=folder, count=1)
        outcome = judge.judge({**WEIGHTS, "encoder": np.int32(encoder)}, {})
        assert {estimate.value for estimate in outcome.ceiling.values()} == {expected}
        assert outcome.ceiling.keys() == outcome.scores.keys()
        assert len(outcome.ceiling_pictures) == 3


def test_what_was_drawn_elsewhere_is_judged_as_if_here(tmp_path: pathlib.Path) -> None:
    """With the ceiling, the seeds and the weights; only the names of folders differ."""
    here = Prompted(THREE, omni=Painter(), output=tmp_path / "here", count=2, seed=5)
    expected = here.judge(WEIGHTS, {}).to_json()
    there = Prompted(THREE, omni=Painter(), output=tmp_path / "there", count=2, seed=5)
    there.draw(WEIGHTS, {})
    assert not (tmp_path / "there/verdicts").exists()
    folder = tmp_path / "there/pictures/model"
    home = Prompted(
        THREE,
        images=folder / "exact",
        ceiling=folder / "exact-ceiling",
        output=tmp_path / "home",
        count=2,
    )
    found = home.judge({}, {}).to_json()
    settings = found.pop("settings")
    assert settings.pop("weights") == fingerprint.shipped(WEIGHTS)
    assert settings == {**expected.pop("settings"), "batch_size": 6}
    assert found.pop("folder") == str(folder / "exact") and not expected.pop("folder")
    for part in ("pictures", "ceiling_pictures"):
        for theirs, ours in zip(found[part], expected[part], strict=True):
            assert ours["file"].endswith(theirs.pop("file"))
            del ours["file"]
    assert found == expected and found["seeds"] == [5, 6]


def test_a_ceiling_of_other_weights_is_refused(tmp_path: pathlib.Path) -> None:
    for name, length in (("one", 8), ("other", 9)):
        judge = Prompted(THREE, omni=Painter(), output=tmp_path / name, count=1)
        judge.draw({**WEIGHTS, "length": np.int32(length)}, {})
    images, ceiling = (tmp_path / name / "pictures/model/exact" for name in ("one", "other"))
    home = Prompted(
        THREE,
        images=images,
        ceiling=ceiling.with_name("exact-ceiling"),
        output=tmp_path / "home",
        count=1,
    )
    outcome = home.judge({}, {})
    assert outcome.problems == {"of other weights than the pictures": ["exact-ceiling"]}
    assert outcome.scores and not outcome.ceiling


def test_a_killed_run_gives_the_same_report(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr(prompted, "_BATCH_SIZES", {"cpu": 4})

    def report(folder: str, painter: Painter) -> str:
        judge = Prompted(THREE, omni=painter, output=tmp_path / folder, count=4)
        return json.dumps(judge.judge(WEIGHTS, {}).to_json())

    whole = report("whole", Painter())
    with pytest.raises(KeyboardInterrupt):
        report("killed", Painter(stop_after=1))
    verdicts, seen = exact.verdict, []

    def interrupted(metadata, image):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(metadata)
        return verdicts(metadata, image)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(THREE.__dict__, "verdict", interrupted)
        report("killed", Painter())
    journal = tmp_path / "killed/verdicts/model-exact.jsonl"
    lines = journal.read_text().splitlines()
    assert len(lines) == 5
    journal.write_text("\n".join([*lines[:-1], lines[-1][:40]]))
    painter = Painter(stop_after=0)  # everything is drawn already
    assert report("killed", painter) == whole


def test_seeds_decide_the_pictures(tmp_path: pathlib.Path) -> None:
    """Pictures 2 and 3 are those of a run of four; prompts share no noise; files tell the seed."""

    class Seeds(Painter):
        def generate(self, weights, prompts, keys, sampling):
            shade = np.asarray(jax.random.key_data(keys))[:, -1] % 256 / 127.5 - 1
            return np.ones((len(keys), 128, 128, 3)) * shade[:, None, None, None]

    def shades(seed: int, count: int) -> list[int]:
        judge = Prompted(THREE, omni=Seeds(), output=tmp_path, count=count, seed=seed)
        outcome = judge.judge({"length": WEIGHTS["length"]}, {})
        assert outcome.about["seeds"] == list(range(seed, seed + count))
        files = [Image.open(tmp_path / r["file"]) for r in outcome.pictures]
        told = [json.loads(file.info["omnigen"])["noise_seed"] % 256 for file in files]
        assert told == [int(np.asarray(file)[0, 0, 0]) for file in files]
        return told

    whole = np.array(shades(0, 4)).reshape(3, 4)
    assert (whole == (whole[:, :1] + np.arange(4)) % 256).all()
    assert len(set(whole[1:].ravel())) == 8  # the first two prompts are the same
    assert shades(2, 2) == whole[:, 2:].ravel().tolist()


def test_several_processes_judge_alike(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr(benchmark, "POOLED", 2)
    painter, found = Painter(), []
    for workers in (1, 2):
        judge = Prompted(
            THREE, omni=painter, output=tmp_path / str(workers), count=2, workers=workers
        )
        found.append(judge.judge(WEIGHTS, {}).to_json())
    assert found[0] == found[1]


def test_the_door_judges_a_folder(tmp_path: pathlib.Path, capsys) -> None:
    """An empty folder: all are wrong, none is lost, and the command says so."""
    (tmp_path / "theirs").mkdir()
    argv = ["--suites=exact", "--images", str(tmp_path / "theirs"), "--count=1"]
    with pytest.raises(SystemExit) as caught:
        evaluate.main([*argv, "--output", str(tmp_path / "eval")])
    assert caught.value.code == 2
    report = json.loads((tmp_path / "eval/results.json").read_text())
    (column,) = report["columns"]
    suite = column["suites"]["exact"]
    assert (column["name"], column["images"]) == ("theirs", str(tmp_path / "theirs"))
    assert suite["scores"]["overall"] == {"value": 0, "low": 0, "high": 0, "prompts": 432}
    assert suite["judged"] == suite["expected"] == suite["unreadable"] == len(suite["pictures"])
    assert "theirs: 812 missing" in (tmp_path / "eval/report.html").read_text()
    shown = capsys.readouterr()
    files = ", ".join(f"{i:05d}/samples/0000.png" for i in range(3))
    count = suite["expected"]
    lines = [line for line in shown.err.splitlines() if line.startswith("omnigen.evaluate: ")]
    assert lines == [
        "omnigen.evaluate: judging exact of theirs",
        f"omnigen.evaluate: theirs, exact: {count} pictures missing, counted as wrong: "
        f"{files}, ...",
    ]
    assert "exact  overall  0.000 [0.000, 0.000]\n" in shown.out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--images=absent", "--suites=exact"], "--images absent: no such folder"),
        (["--images=."], "--images .: judged by --suites exact"),
        (["--images=.", "--suites=exact", "--nojudge"], "--nojudge draws --suites exact,text"),
        (["--suites=lpips", "--nojudge"], "--nojudge draws --suites exact,text"),
        (["--suites=exactly"], "--suites exactly: did you mean exact? allowed: reconstruction, "),
        (["--suites=corpus"], "--suites corpus needs --corpus"),
        (["--corpus=./art"], "--corpus ./art: is of --suites corpus alone"),
    ],
)
def test_the_door_refuses(argv: list[str], message: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        evaluate.main([*argv, "--output=eval"])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
