# SPDX-License-Identifier: Apache-2.0
"""What the judge of landscapes may be trusted with; its tones were measured on other scenes.

OMNIGEN_GATES=1 pytest -s -m slow tests/evals/judges/test_landscapes.py
"""

import ast
import collections
import dataclasses
import functools
import os
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from omnigen.evals.judges import landscapes
from omnigen.evals.suites import landscape_prompts
from omnigen.scenes.compose import compose
from omnigen.scenes.render import render
from omnigen.scenes.scene import Element, Kind, Scene

WHOLE = (
    pytest.mark.slow,
    pytest.mark.skipif("OMNIGEN_GATES" not in os.environ, reason="OMNIGEN_GATES is not set"),
)


@functools.cache
def scenes(count: int, *, texts: bool = False) -> list[Scene]:
    """The first landscapes from a seed on that was not used to measure anything."""
    found: list[Scene] = []
    seed = 900_000
    while len(found) < count:
        seed += 1
        scene = compose(seed, Kind.LANDSCAPES, held_out=bool(seed % 2))
        found += [scene] if bool(scene.texts) == texts else []
    return found


def elements(scene: Scene) -> set[str]:
    assert scene.landscape is not None
    return {str(prop.element) for prop in scene.landscape.props} & set(landscapes.ELEMENTS)


def softened(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.7)))


@pytest.mark.parametrize(
    ("count", "size", "soft", "texts", "least"),
    [
        (30, 128, False, False, 0.95),
        pytest.param(500, 128, False, False, 0.97, marks=WHOLE),
        pytest.param(250, 256, False, False, 0.97, marks=WHOLE),
        pytest.param(250, 128, True, False, 0.95, marks=WHOLE),
        pytest.param(250, 128, False, True, 0.9, marks=WHOLE),
    ],
)
def test_agrees_with_the_truth(
    count: int, size: int, soft: bool, texts: bool, least: float
) -> None:
    wrong: collections.Counter[str] = collections.Counter()
    whole = 0
    for scene in scenes(count, texts=texts):
        assert scene.landscape is not None
        image = render(scene, size)
        view = landscapes.look(softened(image) if soft else image)
        differs = elements(scene) ^ set(view.boxes)
        wrong.update(differs)
        wrong["sky"] += view.sky != scene.landscape.sky
        whole += not differs and view.sky == scene.landscape.sky
    print(f"\n{size} px, soft={soft}, texts={texts}: all right {whole} of {count}; {wrong}")
    assert wrong["sky"] == 0
    assert all(1 - errors / count >= least for errors in wrong.values()), wrong
    assert sum(wrong.values()) <= 0.3 * (1 - least) * count * len(landscapes.ELEMENTS)


@pytest.mark.parametrize(
    "element", [Element(e) for e in landscapes.ELEMENTS if e not in ("snow", "sea", "lake")]
)
def test_what_is_taken_away_is_missed(element: Element) -> None:
    """The same scene with and without: only this changes. (Boats go with their water.)"""
    tried = 0
    for scene in scenes(200):
        if str(element) not in elements(scene) or tried:
            continue
        assert scene.landscape is not None
        props = tuple(prop for prop in scene.landscape.props if prop.element != element)
        if element == Element.RIVER and scene.landscape.has(Element.BOAT):
            continue
        snowy_night = scene.landscape.has(Element.SNOW) and scene.landscape.sky == "night"
        if element == Element.STARS and snowy_night:
            continue
        without = dataclasses.replace(
            scene, landscape=dataclasses.replace(scene.landscape, props=props)
        )
        before, after = (landscapes.look(render(each, 128)) for each in (scene, without))
        assert set(before.boxes) - set(after.boxes) == {element.value}
        tried += 1
    assert tried


def test_boxes_say_where_things_are() -> None:
    checked = 0
    for scene in scenes(30):
        assert scene.landscape is not None
        for prop in scene.landscape.props:
            if prop.element in (Element.SUN, Element.MOON):
                left, _, right, _ = landscapes.look(render(scene, 128)).boxes[prop.element]
                assert (left + right) / 2 == pytest.approx(prop.x, abs=0.05)
                checked += 1
        if checked == 2:
            return
    assert checked


def test_garbage_holds_nothing_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (128, 128, 3), np.uint8)
    blank = np.full((128, 128, 3), 255, np.uint8)
    prompts = landscape_prompts.prompts()[::6]
    for image in (noise, blank):
        assert not any(
            landscape_prompts.verdict(metadata, image)["correct"] for metadata in prompts
        )
    others = zip(prompts, prompts[1:], strict=False)
    for metadata, other in others:
        image = render(landscape_prompts.reference(other), 128)
        assert not landscape_prompts.verdict(metadata, image)["correct"]


def test_it_knows_nothing_of_what_it_judges() -> None:
    tree = ast.parse(pathlib.Path(landscapes.__file__).read_text())
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name in imported if "omnigen" in name} == {"omnigen.evals.judges.colors"}
