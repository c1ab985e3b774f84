# SPDX-License-Identifier: Apache-2.0
"""The second judge of shapes: its parts, what it sees, and that it agrees with the first."""

import collections
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFilter

import detector
import second_judge
import train_judge
from omnigen.evals.judges import shapes
from omnigen.scenes.compose import compose
from omnigen.scenes.render import render
from omnigen.scenes.scene import Kind, Scene, Shape

SIDE = detector.SIDE
WHOLE = (
    pytest.mark.slow,
    pytest.mark.skipif("OMNIGEN_GATES" not in os.environ, reason="OMNIGEN_GATES is not set"),
)


@pytest.fixture(scope="module")
def judge() -> detector.Detector:
    return detector.Detector()


def scene_of(seed: int) -> Scene:
    scene = compose(seed, Kind.SHAPES, held_out=bool(seed % 2))
    return scene if scene.objects else scene_of(seed + 500_000)


@pytest.mark.parametrize("box", [(30, 20, 54, 44), (20, 30, 75, 61), (60, 61, 71, 75)])
def test_crops_are_pillow_s(box: tuple[int, int, int, int]) -> None:
    """Same size, smaller with antialiasing, larger."""
    pixels = np.random.default_rng(0).normal(size=(SIDE, SIDE, 3)).astype(np.float32)
    ours = detector.crop(jnp.asarray(pixels), jnp.array([box], jnp.float32))[0]
    size = (detector.CROP, detector.CROP)
    for channel in range(3):
        whole = Image.fromarray(pixels[..., channel])
        theirs = np.asarray(whole.resize(size, Image.Resampling.BILINEAR, box=box))
        np.testing.assert_allclose(ours[..., channel], theirs, atol=1e-4)


def test_crops_beyond_the_border_repeat_it() -> None:
    pixels = jnp.broadcast_to(jnp.arange(SIDE, dtype=jnp.float32)[None, :, None], (SIDE, SIDE, 3))
    found = detector.crop(pixels, jnp.array([[-24.0, 0, 0, 24]]))
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_squares_are_about_the_centre() -> None:
    found = detector.square(jnp.array([[10.0, 20, 30, 30]]))
    half = 20 * detector.AROUND / 2
    np.testing.assert_allclose(found, [[20 - half, 25 - half, 20 + half, 25 + half]], rtol=1e-6)


def test_true_boxes_are_where_the_pixels_are() -> None:
    for shape in Shape:
        left, top, right, bottom = train_judge.extents(shape)
        assert -1.01 < left < -0.69 and left == pytest.approx(-right, abs=0.011), shape
        assert -1.01 < top < -0.69 and 0.49 < bottom < 1.01, shape
    scene = next(s for s in map(scene_of, range(50)) if len(s.objects) == 1)
    (box,) = train_judge.truth(scene).boxes
    blank = render(Scene(Kind.SHAPES, scene.background), SIDE).astype(int)
    changed = np.abs(render(scene, SIDE) - blank).max(-1) > 30
    rows, columns = np.nonzero(changed)
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    np.testing.assert_allclose(box, edges, atol=1.1)


def test_the_loss_of_a_perfect_finder_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.full((1, 3, 4), -1e3, np.float32)
    boxes[0, 0], boxes[0, 1] = (10, 20, 34, 44), (80, 60, 100, 74)
    cells = (np.arange(SIDE // 4) + 0.5) * 4
    own = np.stack([*np.meshgrid(cells, cells)] * 2, -1)
    sides, logits = np.zeros((1, 32, 32, 4)), np.full((1, 32, 32), -20.0)
    for box in boxes[0, :2]:
        x, y = int((box[0] + box[2]) / 8), int((box[1] + box[3]) / 8)
        logits[0, y, x] = 20.0
        near = np.hypot(own[..., 0] - own[y, x, 0], own[..., 1] - own[y, x, 1]) < 8
        sides[0][near] = ((box - own) * [-1, -1, 1, 1])[near]

    def loss(logits: np.ndarray, sides: np.ndarray) -> float:
        found = jnp.asarray(logits, jnp.float32), jnp.asarray(sides, jnp.float32)
        monkeypatch.setattr(detector, "find", lambda params, pixels: found)
        return float(train_judge.finding_loss({}, jnp.zeros(()), jnp.asarray(boxes)))

    assert loss(logits, sides) < 1e-5
    assert loss(logits, sides + 2) > 0.1
    assert loss(np.roll(logits, 8, axis=2), sides) > 5


@pytest.mark.slow
def test_training_learns() -> None:
    """Thirty steps on one batch tell its crops apart."""
    (batch,) = train_judge.batches(0, 1)
    small = {key: value[:4] for key, value in batch.items()}
    trainer, losses = train_judge.Trainer(30), []
    params = train_judge.initial(seed=0)
    state = trainer.start(params)
    for _ in range(30):
        params, state, parts = trainer.step(params, state, small)
        losses.append({name: float(value) for name, value in parts.items()})
    assert losses[-1]["naming"] < 0.7 * losses[0]["naming"]
    assert losses[-1]["finding"] < 0.3 * losses[0]["finding"]
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.isfinite(leaf).all()), params))


def test_examples_are_whole() -> None:
    """The same seed is the same example; a fifth of its crops are of nothing known; boxes fit."""
    one, again = train_judge.example(7), train_judge.example(7)
    assert all((one[key] == again[key]).all() for key in one)
    assert one["image"].shape == (SIDE, SIDE, 3) and one["image"].dtype == np.uint8
    unknown = []
    for example in map(train_judge.example, range(40)):
        unknown.append(example["shapes"] == detector.SHAPE_NAMES.index("unknown"))
        low, high = example["rectangles"][:, :2], example["rectangles"][:, 2:]
        boxes = np.tile((low + high) / 2, 2) + example["inside"] * np.tile((high - low) / 2, 2)
        gaps = np.abs(boxes[:, None] - example["boxes"][None]).max(-1).min(1)
        assert gaps.max() < 1e-3
    assert 0.1 < np.mean(unknown) < 0.3


def soft(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.75)))


def blur(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.5)))


def half(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image).resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def clean(image: np.ndarray) -> np.ndarray:
    return image


@pytest.mark.parametrize("damage", [clean, soft, blur, half])
@pytest.mark.parametrize(("count", "least"), [(8, 0.9), pytest.param(200, 0.98, marks=WHOLE)])
def test_both_judges_agree(
    judge: detector.Detector,
    damage: Callable[[np.ndarray], np.ndarray],
    count: int,
    least: float,
) -> None:
    """Cohen's kappa over names of all objects that either sees; who is right is printed."""
    pairs, right = [], collections.Counter()
    for i in range(count):
        scene = scene_of(110_000 + i)
        image = damage(render(scene, SIDE))
        first, second = shapes.look(image), judge.look(image)
        pairs += second_judge.names(first, second)
        truth = collections.Counter((str(o.shape), str(o.color)) for o in scene.objects)
        for name, seen in (("first", first), ("second", second)):
            right[name] += collections.Counter((s.shape, s.color) for s in seen) == truth
    kappa = second_judge.kappa(pairs)
    print(
        f"\n{damage.__name__}: kappa {kappa:.4f} of {len(pairs)}; exact: {dict(right)} of {count}"
    )
    assert kappa >= least


def test_nothing_is_seen_on_nothing(judge: detector.Detector) -> None:
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for level in (0, 127, 255):
        assert judge.look(np.full_like(blank, level)) == ()


def test_other_sizes_are_brought_to_its_own(judge: detector.Detector) -> None:
    scene = scene_of(110_003)
    small, large = judge.look(render(scene, SIDE)), judge.look(render(scene, 512))
    assert [(s.shape, s.color) for s in small] == [(s.shape, s.color) for s in large]
    for one, other in zip(small, large, strict=True):
        assert (one.x, one.y, one.radius) == pytest.approx(
            (other.x, other.y, other.radius), abs=0.02
        )


def test_weights_are_small() -> None:
    assert detector.WEIGHTS.stat().st_size < 500_000
