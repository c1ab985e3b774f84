# SPDX-License-Identifier: Apache-2.0
import collections

from omnigen.evals.judges import landscapes
from omnigen.evals.suites import exact, landscape_prompts
from omnigen.scenes import splits
from omnigen.scenes.render import render


def test_prompts_name_all_that_is_there() -> None:
    prompts = landscape_prompts.prompts()
    assert len({metadata["prompt"] for metadata in prompts}) == len(prompts) == 60
    splits_of = collections.Counter((m["held_out"], m["template_held_out"]) for m in prompts)
    assert splits_of == {(h, t): 10 if t else 20 for h in (False, True) for t in (False, True)}
    for metadata in prompts:
        scene = landscape_prompts.reference(metadata)
        assert scene.landscape is not None and scene.landscape.sky == metadata["sky"]
        assert splits.landscape_held_out(scene.landscape) == metadata["held_out"]
        named = [wanted["class"] for wanted in metadata["include"]]
        assert set(named) == {str(prop.element) for prop in scene.landscape.props}
        assert all(name in metadata["prompt"] for name in named)
        forbidden = {unwanted["class"] for unwanted in metadata["exclude"]}
        assert not forbidden & {*named, "cloud", "stars", "trees"}
        assert metadata["template_held_out"] == metadata["prompt"].startswith("a painting of")


def test_true_pictures_are_right() -> None:
    found = [
        exact.verdict(metadata, render(landscape_prompts.reference(metadata), 128))
        for metadata in landscape_prompts.prompts()[::8]
    ]
    assert sum(verdict["strict"] for verdict in found) >= len(found) - 1


def test_what_is_wrong_is_said(monkeypatch) -> None:
    box = (0.1, 0.1, 0.2, 0.2)
    metadata = {
        "tag": "landscape",
        "sky": "clear",
        "include": [{"class": "sun", "count": 1}, {"class": "lake", "count": 1}],
        "exclude": [{"class": "moon", "count": 1}],
    }
    for sky, there, correct, strict, wrong in (
        ("clear", ("sun", "lake"), True, True, []),
        ("clear", ("sun", "lake", "birds"), True, False, []),
        ("clear", ("sun", "lake", "moon"), False, False, ["no moon"]),
        ("night", ("sun",), False, False, ["clear sky", "lake"]),
    ):
        view = landscapes.View(sky, dict.fromkeys(there, box))
        monkeypatch.setattr(landscapes, "look", lambda image, view=view: view)
        found = landscape_prompts.verdict(
            metadata, render(landscape_prompts.reference(landscape_prompts.prompts()[0]), 32)
        )
        assert (found["correct"], found["strict"]) == (correct, strict)
        assert [atom["what"] for atom in found["atoms"] if not atom["met"]] == wrong
    lost = landscape_prompts.verdict(metadata, None)
    assert not any(atom["met"] for atom in lost["atoms"]) and not lost["correct"]
