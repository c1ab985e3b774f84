# SPDX-License-Identifier: Apache-2.0
"""What the judge of shapes may be trusted with: gates over pictures whose content is known.

The renderer is used as a black box. Parts of the gates run always; the whole takes 35 minutes:

    OMNIGEN_GATES=1 pytest -s -m slow tests/evals/judges/test_shapes.py
"""

import ast
import collections
import dataclasses
import importlib
import io
import json
import os
import pathlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from omnigen.evals.judges import colors, geneval, nested, outlines, shapes
from omnigen.evals.networks import lite0
from omnigen.scenes.compose import compose
from omnigen.scenes.render import render
from omnigen.scenes.scene import Background, Color, Fill, Kind, Object, Scene, Shape, Size

SIDE = 256
SMALL = 128
WHOLE = (
    pytest.mark.slow,
    pytest.mark.skipif("OMNIGEN_GATES" not in os.environ, reason="OMNIGEN_GATES is not set"),
)
GREY = (128, 128, 128)


def scene_of(seed: int) -> Scene:
    """A scene with objects; half are of the test split."""
    scene = compose(seed, Kind.SHAPES, held_out=bool(seed % 2))
    return scene if scene.objects else scene_of(seed + 500_000)


def kinds_of(scene: Scene) -> collections.Counter[tuple[str, str]]:
    return collections.Counter((str(o.shape), str(o.color)) for o in scene.objects)


def metadata_of(scene: Scene) -> dict[str, Any]:
    """GenEval's metadata that asks for every object of the scene."""
    counts = sorted(kinds_of(scene).items())
    include = [{"class": s, "count": n, "color": c} for (s, c), n in counts]
    return {"tag": "scene", "include": include, "prompt": ""}


def exact(image: np.ndarray, scene: Scene) -> bool:
    """Whether kinds and places are all right, each to 2 % of the side."""
    seen = shapes.look(image)
    if collections.Counter((s.shape, s.color) for s in seen) != kinds_of(scene):
        return False
    return all(
        any(
            (s.shape, s.color) == (o.shape, o.color)
            and np.hypot(s.x - o.x, s.y - o.y) < 0.02
            and abs(s.radius - o.radius) < 0.02
            for s in seen
        )
        for o in scene.objects
    )


def jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file).convert("RGB"))


def blur(image: np.ndarray, sigma: float = 1.5) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def soft(image: np.ndarray) -> np.ndarray:
    """As soft as pictures of models are."""
    return blur(image, 0.75)


def half(image: np.ndarray) -> np.ndarray:
    side = len(image)
    small = Image.fromarray(image).resize((side // 2, side // 2), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


DAMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jpeg": jpeg,
    "blur": blur,
    "soft": soft,
    "half": half,
}


def gate(name: str, passed: list[bool], least: float) -> None:
    rate = sum(passed) / len(passed)
    print(f"\n{name}: {sum(passed)} of {len(passed)} = {100 * rate:.2f} %")
    failed = [i for i, ok in enumerate(passed) if not ok]
    assert rate >= least, f"{name}: {failed[:20]}"


@pytest.mark.parametrize(
    ("side", "count", "least"),
    [
        (256, 12, 1.0),
        (128, 20, 1.0),
        pytest.param(256, 2000, 0.999, marks=WHOLE),
        pytest.param(128, 2000, 0.999, marks=WHOLE),
    ],
)
def test_perfect_pictures_are_judged_exactly(side: int, count: int, least: float) -> None:
    scenes = [scene_of(10_000 + i) for i in range(count)]
    gate(f"perfect at {side}", [exact(render(s, side), s) for s in scenes], least)


@pytest.mark.parametrize(
    ("seed", "side"), [(10_189, 256), (10_189, 128), (10_502, 256), (11_444, 256)]
)
def test_an_object_may_touch_a_dot_of_the_background(seed: int, side: int) -> None:
    """The border misses these dots, which are smaller or fainter than objects."""
    scene = scene_of(seed)
    assert exact(render(scene, side), scene)


def damaged(damage: str, side: int, count: int, least: float) -> None:
    scenes = [scene_of(30_000 + i) for i in range(count)]
    passed = [exact(DAMAGES[damage](render(s, side)), s) for s in scenes]
    gate(f"{damage} at {side}", passed, least)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("count", "least"), [(2, 1.0), pytest.param(400, 0.99, marks=WHOLE)])
def test_damaged_pictures_are_judged_exactly(damage: str, count: int, least: float) -> None:
    damaged(damage, SIDE, count, least)


@pytest.mark.parametrize(
    ("damage", "least"), [("blur", 0.99), ("soft", 0.99), ("half", 0.99), ("jpeg", 0.97)]
)
@pytest.mark.parametrize("count", [4, pytest.param(400, marks=WHOLE)])
def test_damaged_small_pictures(damage: str, count: int, least: float) -> None:
    """At 128 pixels JPEG keeps one colour for 16 x 16 of them, the size of a small object."""
    damaged(damage, SMALL, count, least)


@pytest.mark.parametrize("reach", [0.05, 0.3])
@pytest.mark.parametrize("side", [SIDE, SMALL])
@pytest.mark.parametrize(("count", "least"), [(3, 1.0), pytest.param(200, 0.99, marks=WHOLE)])
def test_an_object_may_reach_over_the_border(
    reach: float, side: int, count: int, least: float
) -> None:
    """One object lies across an edge, with so much of its radius outside; all are still named."""
    passed = []
    for i in range(count):
        scene = beyond(scene_of(40_000 + i), random.Random(i), reach)
        if scene is not None:
            seen = shapes.look(render(scene, side))
            passed.append(collections.Counter((s.shape, s.color) for s in seen) == kinds_of(scene))
    gate(f"{reach} of a radius beyond the border at {side}", passed, least)


def beyond(scene: Scene, dice: random.Random, reach: float) -> Scene | None:
    objects = list(scene.objects)
    for _ in range(60):
        thing = objects.pop(dice.randrange(len(objects)))
        along, across = dice.uniform(0.1, 0.9), thing.radius * (1 - reach)
        across = dice.choice((across, 1 - across))
        x, y = dice.choice(((along, across), (across, along)))
        new = dataclasses.replace(thing, x=x, y=y)
        if all(np.hypot(x - o.x, y - o.y) > o.radius + new.radius + 0.02 for o in objects):
            return replaced(scene, [*objects, new])
        objects.append(thing)
    return None


@pytest.mark.parametrize("background", ["white", "black", "gradient", "stripes"])
def test_half_an_edge_covered(background: str) -> None:
    """Six tenths of one edge, 15 % of the border, belong to an object; it is still an object."""
    x = np.linspace(0, 1, SIDE)[None, :, None]
    ground = {
        "white": np.full((1, 1, 3), 255.0),
        "black": np.full((1, 1, 3), 12.0),
        "gradient": (1 - x) * 250 + x * np.array([150, 210, 245]),
        "stripes": np.where(x * 20 % 1 < 0.5, 240, np.array([215, 235, 220])),
    }[background]
    image = np.broadcast_to(ground, (SIDE, SIDE, 3)).round().astype(np.uint8)
    image[:60, 50:204] = (220, 30, 40)
    image[180:220, 100:140] = (30, 150, 60)
    bar, square = shapes.look(image)
    assert (bar.shape, bar.color) == ("unknown", "red")
    assert (square.shape, square.color) == ("square", "green")
    assert bar.box == (50 / SIDE, 0, 204 / SIDE, 60 / SIDE)


def replaced(scene: Scene, objects: list[Object]) -> Scene:
    return dataclasses.replace(scene, objects=tuple(objects))


def dropped(scene: Scene, dice: random.Random) -> Scene | None:
    objects = list(scene.objects)
    objects.pop(dice.randrange(len(objects)))
    return replaced(scene, objects)


def added(scene: Scene, dice: random.Random) -> Scene | None:
    """One more object like one that is there, in a free place."""
    new = dataclasses.replace(dice.choice(scene.objects), radius=0.06)
    for _ in range(200):
        x, y = dice.uniform(0.08, 0.92), dice.uniform(0.08, 0.92)
        if all(np.hypot(x - o.x, y - o.y) > o.radius + 0.09 for o in scene.objects):
            return replaced(scene, [*scene.objects, dataclasses.replace(new, x=x, y=y)])
    return None


def changed(scene: Scene, dice: random.Random, field: str, values: list[Any]) -> Scene:
    objects = list(scene.objects)
    place = dice.randrange(len(objects))
    value = dice.choice([v for v in values if v != getattr(objects[place], field)])
    objects[place] = dataclasses.replace(objects[place], **{field: value})
    return replaced(scene, objects)


def recolored(scene: Scene, dice: random.Random) -> Scene | None:
    return changed(scene, dice, "color", list(Color))


def reshaped(scene: Scene, dice: random.Random) -> Scene | None:
    return changed(scene, dice, "shape", list(Shape))


def swapped(scene: Scene, dice: random.Random) -> Scene | None:
    """Two objects of different shapes and colours exchange their colours."""
    objects = list(scene.objects)
    for _ in range(50):
        i, j = dice.randrange(len(objects)), dice.randrange(len(objects))
        a, b = objects[i], objects[j]
        if a.shape != b.shape and a.color != b.color:
            objects[i] = dataclasses.replace(a, color=b.color)
            objects[j] = dataclasses.replace(b, color=a.color)
            new = replaced(scene, objects)
            return new if kinds_of(new) != kinds_of(scene) else None
    return None


CHANGES = {c.__name__: c for c in (dropped, added, recolored, reshaped, swapped)}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("side", "count", "least"),
    [
        (SMALL, 6, 1.0),
        pytest.param(SIDE, 200, 0.995, marks=WHOLE),
        pytest.param(SMALL, 400, 0.995, marks=WHOLE),
    ],
)
def test_one_wrong_atom_is_caught(change: str, side: int, count: int, least: float) -> None:
    """Dropped and added objects are also counts that are wrong by one."""
    passed = []
    for i in range(count):
        scene = scene_of(50_000 + i)
        wrong = CHANGES[change](scene, random.Random(i))
        if wrong is not None:
            seen = shapes.look(render(wrong, side))
            passed.append(not geneval.judge(metadata_of(scene), seen).strict)
    gate(f"{change} at {side}", passed, least)


@pytest.mark.parametrize(
    ("side", "count", "least"),
    [
        (SMALL, 8, 1.0),
        pytest.param(SIDE, 400, 0.995, marks=WHOLE),
        pytest.param(SMALL, 400, 0.995, marks=WHOLE),
    ],
)
def test_a_move_across_a_relation_is_caught(side: int, count: int, least: float) -> None:
    """Two objects far apart on one axis exchange places: right before, wrong after."""
    right, wrong = [], []
    for i in range(count):
        scene = scene_of(70_000 + i)
        single = [o for o in scene.objects if kinds_of(scene)[str(o.shape), str(o.color)] == 1]
        pairs = [
            (a, b)
            for a in single
            for b in single
            if b.x - a.x > 0.3 and abs(b.x - a.x) > 2 * abs(b.y - a.y)
        ]
        if not pairs:
            continue
        a, b = random.Random(i).choice(pairs)
        metadata = {
            "include": [
                {"class": str(b.shape), "count": 1, "color": str(b.color)},
                {
                    "class": str(a.shape),
                    "count": 1,
                    "color": str(a.color),
                    "position": ["left of", 0],
                },
            ]
        }
        place = {id(a): b, id(b): a}
        moved = [
            dataclasses.replace(o, x=p.x, y=p.y, radius=p.radius)
            for o in scene.objects
            for p in [place.get(id(o), o)]
        ]
        right.append(geneval.judge(metadata, shapes.look(render(scene, side))).correct)
        after = shapes.look(render(replaced(scene, moved), side))
        wrong.append(not geneval.judge(metadata, after).correct)
    gate(f"relation held at {side}", right, 0.998)
    gate(f"relation broken at {side}", wrong, least)


def test_blank_noise_and_other_pictures_score_nothing() -> None:
    scenes = [scene_of(90_000 + i) for i in range(16)]
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    for image in (noise, coarse, *(np.full_like(noise, level) for level in (0, 127, 255))):
        seen = shapes.look(image)
        assert not any(geneval.judge(metadata_of(s), seen).correct for s in scenes)
    looks = [shapes.look(render(s, SMALL)) for s in scenes]
    for i, scene in enumerate(scenes):
        verdicts = [geneval.judge(metadata_of(scene), seen).strict for seen in looks]
        assert verdicts == [kinds_of(other) == kinds_of(scene) for other in scenes], i


@pytest.mark.parametrize("shape", outlines.SHAPES)
@pytest.mark.parametrize("fill", Fill)
def test_each_shape_on_each_background(shape: str, fill: Fill) -> None:
    second = "" if fill == Fill.PLAIN else "beige"
    thing = Object(Shape(shape), Color.BLUE, Size.MEDIUM, x=0.4, y=0.6, radius=0.1)
    scene = Scene(Kind.SHAPES, Background(fill, "white", second, seed=3), (thing,))
    (seen,) = shapes.look(render(scene, SIDE))
    assert (seen.shape, seen.color) == (shape, "blue")
    assert (seen.x, seen.y, seen.radius) == pytest.approx((0.4, 0.6, 0.1), abs=0.003)


@pytest.mark.parametrize(
    "corners",
    [
        [(60, 60), (196, 60), (196, 100), (100, 100), (100, 196), (60, 196)],  # an L
        [(60, 110), (196, 110), (196, 140), (60, 140)],  # a bar
        [(128, 196), (60, 70), (196, 70)],  # a triangle on its head
        [(60, 128), (128, 90), (196, 128), (128, 166)],  # a diamond on its side
    ],
)
def test_other_shapes_are_unknown(corners: list[tuple[int, int]]) -> None:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).polygon(corners, fill=(30, 80, 220))
    (seen,) = shapes.look(np.asarray(image))
    assert (seen.shape, seen.color) == ("unknown", "blue")


def test_a_circle_drawn_by_pillow() -> None:
    image = Image.new("RGB", (200, 100), (240, 240, 240))
    ImageDraw.Draw(image).ellipse((120, 20, 159, 59), fill=(220, 30, 40))
    (seen,) = shapes.look(np.asarray(image))
    assert (seen.shape, seen.color) == ("circle", "red")
    assert seen.box == (0.6, 0.2, 0.8, 0.6)
    assert (seen.x, seen.y, seen.radius) == pytest.approx((0.7, 0.4, 0.1), abs=0.002)
    assert json.loads(json.dumps(dataclasses.asdict(seen)))["shape"] == "circle"


def test_grey_objects_have_no_color() -> None:
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    image[100:150, 100:150] = GREY
    (seen,) = shapes.look(image)
    assert (seen.shape, seen.color) == ("square", "unknown")


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not a uint8 picture .* float64 \(8, 8, 3\)"):
        shapes.look(np.zeros((8, 8, 3)))


@pytest.mark.parametrize("module", [colors, geneval, lite0, nested, outlines, shapes])
def test_the_judge_knows_nothing_of_what_it_judges(module: Any) -> None:
    path = pathlib.Path(importlib.import_module(module.__name__).__file__ or "")
    names = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    ours = {name for name in names if name.startswith("omnigen")} - {"omnigen.extras"}
    known = ("omnigen.evals.judges", "omnigen.evals.networks")
    assert all(name.startswith(known) for name in ours), ours
