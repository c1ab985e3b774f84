# SPDX-License-Identifier: Apache-2.0
"""Trains the second judge on renders: python launch/maintain/train_judge.py FILE [STEPS].

Scenes with objects, some with words among them that are no objects, drawn at 128 pixels and then
damaged at random: blurred, halved and doubled, compressed, noisy, shifted in brightness and hue.
Half are of the test split: a judge that has never seen a purple ring sees red ones instead.
1 500 steps of 16 pictures take about ten minutes of one CPU core.
"""

import dataclasses
import functools
import io
import pathlib
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image, ImageFilter

import detector
from omnigen.scenes.compose import compose
from omnigen.scenes.render import render
from omnigen.scenes.scene import Background, Color, Fill, Kind, Object, Scene, Shape, Size

BATCH_SIZE = 16
CROPS = 8  # a picture
MOST_OBJECTS = 20
PEAK_RATE = 2e-3
FIRST_SEED = 10_000_000  # gates use small seeds
GREY_COLORS = (Color.RED, Color.GREEN, Color.BLUE, Color.PURPLE, Color.PINK, Color.ORANGE)


@dataclasses.dataclass(frozen=True)
class Truth:
    """Boxes `[objects, 4]` in pixels, and indices of names `[objects]`."""

    boxes: np.ndarray
    shapes: np.ndarray
    colors: np.ndarray


@functools.cache
def extents(shape: Shape) -> tuple[float, float, float, float]:
    """Measures left, top, right and bottom of a shape of radius 1 from a render of it."""
    thing = Object(shape, Color.BLACK, Size.LARGE, x=0.5, y=0.5, radius=0.4)
    picture = render(Scene(Kind.SHAPES, Background(Fill.PLAIN, "white"), (thing,)), 500)
    rows, columns = np.nonzero(picture[..., 0] < 128)
    low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    left, top, right, bottom = ((v / 500 - 0.5) / 0.4 for v in (*low, *high))
    return left, top, right, bottom


def truth(scene: Scene) -> Truth:
    """Returns what the detector should say of a scene's picture."""
    boxes = [
        [
            (c + o.radius * e) * detector.SIDE
            for c, e in zip((o.x, o.y) * 2, extents(o.shape), strict=True)
        ]
        for o in scene.objects
    ]
    return Truth(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        shapes=np.array([detector.SHAPE_NAMES.index(o.shape) for o in scene.objects], np.int32),
        colors=np.array([detector.COLOR_NAMES.index(o.color) for o in scene.objects], np.int32),
    )


def damaged(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a picture as files and models leave it; a third are untouched."""
    if rng.random() < 1 / 3:
        return image
    picture = Image.fromarray(image)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.6)))
    if rng.random() < 0.2:
        half = detector.SIDE // 2
        small = picture.resize((half, half), Image.Resampling.BICUBIC)
        picture = small.resize(picture.size, Image.Resampling.BICUBIC)
    pixels = np.asarray(picture, np.float32)
    pixels = pixels * rng.uniform(0.92, 1.05, 3) + rng.uniform(-8, 8)
    pixels += rng.normal(0, rng.uniform(0, 6), pixels.shape)
    picture = Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))
    if rng.random() < 0.4:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(40, 95)))
        picture = Image.open(file, formats=["JPEG"]).convert("RGB")
    return np.asarray(picture)


def beyond(scene: Scene, rng: np.random.Generator) -> Scene:
    """Returns the scene with its first object pushed over an edge, if nothing is in its way."""
    first, *others = scene.objects
    across = first.radius * rng.uniform(0.65, 1)
    along, far = rng.uniform(0.1, 0.9), rng.random() < 0.5
    x, y = (along, 1 - across if far else across)[:: rng.choice((-1, 1))]
    if any(np.hypot(x - o.x, y - o.y) < first.radius + o.radius + 0.02 for o in others):
        return scene
    return dataclasses.replace(scene, objects=(dataclasses.replace(first, x=x, y=y), *others))


def crops_of(found: Truth, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns squares to cut out, whether to make them grey, and their true names and boxes.

    Most are an object's square, more or less off. The rest are "unknown": squeezed, or beside it.
    """
    which = rng.integers(0, len(found.boxes), CROPS)
    own = found.boxes[which]
    squares = np.asarray(detector.square(jnp.asarray(own)))
    sides = squares[:, 2] - squares[:, 0]
    off = rng.choice((0.02, 0.08, 0.22), (CROPS, 1))
    shift = rng.uniform(-1, 1, (CROPS, 2)) * off * sides[:, None]
    shapes, colors = found.shapes[which].copy(), found.colors[which].copy()
    stretch = np.exp(rng.uniform(-1.2, 1.2, (CROPS, 1)) * off) * np.ones((1, 2))
    for i in np.flatnonzero(rng.random(CROPS) < 0.2):
        shapes[i] = detector.SHAPE_NAMES.index(detector.UNKNOWN)
        if rng.random() < 0.5:
            stretch[i, rng.integers(2)] *= rng.uniform(1.6, 2.2)
        else:
            colors[i] = -1  # not asked for
            angle = rng.uniform(0, 2 * np.pi)
            shift[i] = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.55, 1.0) * sides[i]
    grey = (rng.random(CROPS) < 0.08) & (colors >= 0)
    names = [detector.COLOR_NAMES[c] for c in colors]
    grey &= np.array([color in GREY_COLORS for color in names])
    colors[grey] = detector.COLOR_NAMES.index(detector.UNKNOWN)
    centers = (squares[:, :2] + squares[:, 2:]) / 2 + shift
    half = sides[:, None] / 2 * stretch
    return {
        "rectangles": np.concatenate([centers - half, centers + half], axis=1).astype(np.float32),
        "inside": ((own - np.tile(centers, 2)) / np.tile(half, 2)).astype(np.float32),
        "grey": grey,
        "shapes": shapes,
        "colors": colors,
    }


def example(seed: int) -> dict[str, np.ndarray]:
    """Returns one training picture with the truth for both stages."""
    rng = np.random.default_rng(seed)
    kind = Kind.MIXED if rng.random() < 0.15 else Kind.SHAPES
    scene = compose(FIRST_SEED + seed, kind, held_out=rng.random() < 0.5)
    if not scene.objects:
        return example(seed + 500_000_000)
    if rng.random() < 0.2:
        scene = beyond(scene, rng)
    found = truth(scene)
    boxes = np.full((MOST_OBJECTS, 4), -1e3, np.float32)
    boxes[: len(found.boxes)] = found.boxes
    return {
        "image": damaged(render(scene, detector.SIDE), rng),
        "boxes": boxes,
        **crops_of(found, rng),
    }


def batches(first: int, count: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields numbered batches; no two share a picture."""
    for step in range(first, first + count):
        examples = [example(step * BATCH_SIZE + i) for i in range(BATCH_SIZE)]
        yield {key: np.stack([e[key] for e in examples]) for key in examples[0]}


def finding_loss(params: detector.Params, pixels: jax.Array, boxes_NK4: jax.Array) -> jax.Array:
    """Returns the focal loss of centres and the distance of sides in boxes' own size.

    The focal loss is equation 1 of Zhou et al. 2019.

    The focal loss is equation 1 of Zhou et al. 2019.
    """
    logits, sides = detector.find(params, pixels)
    cells = (jnp.arange(detector.SIDE // detector.CELL) + 0.5) * detector.CELL
    centers = (boxes_NK4[..., :2] + boxes_NK4[..., 2:]) / 2
    cell = (jnp.floor(centers / detector.CELL) + 0.5) * detector.CELL
    x, y = cells.reshape(1, 1, 1, -1), cells.reshape(1, 1, -1, 1)
    squared = jnp.square(x - cell[..., 0, None, None]) + jnp.square(y - cell[..., 1, None, None])
    near = jnp.exp(-squared / (2 * 4.0**2)).max(axis=1)
    chance = jax.nn.sigmoid(logits)
    hit = jnp.square(1 - chance) * jax.nn.log_sigmoid(logits)
    miss = (1 - near) ** 4 * jnp.square(chance) * jax.nn.log_sigmoid(-logits)
    focal = -jnp.where(near > 0.999, hit, miss).sum()
    owner = squared.argmin(axis=1)
    owned = jnp.take_along_axis(boxes_NK4, owner.reshape(len(owner), -1, 1), axis=1)
    owned = owned.reshape(*owner.shape, 4)
    wide, high = jnp.broadcast_arrays(cells[None, None, :], cells[None, :, None])
    signs, own = jnp.array([-1.0, -1.0, 1.0, 1.0]), jnp.stack([wide, high, wide, high], axis=-1)
    gaps = jnp.abs((owned - own) * signs.reshape(1, 1, 1, 4) - sides)
    size = jnp.maximum(owned[..., 2] - owned[..., 0], 8.0)[..., None]
    inner = (squared.min(axis=1) < (1.5 * detector.CELL) ** 2)[..., None]
    objects = jnp.maximum((boxes_NK4[..., 0] > -500).sum(), 1)
    return (focal + 0.5 * (inner * gaps / size).sum()) / objects


def naming_loss(params: detector.Params, pixels: jax.Array, batch: dict) -> jax.Array:
    """Returns the cross-entropy of both names, and the error of sides of known objects.

    Colour -1 is not asked for.
    """
    crops = jax.vmap(detector.crop)(pixels, batch["rectangles"])
    crops = crops.reshape(-1, *crops.shape[2:])
    grey = (crops @ jnp.array([[0.299], [0.587], [0.114]])) * jnp.ones((1, 1, 1, 3))
    crops = jnp.where(batch["grey"].reshape(-1, 1, 1, 1), grey, crops)
    shape, color, sides = detector.name(params, crops)
    wanted = batch["colors"].ravel()
    known = batch["shapes"].reshape(-1, 1) < len(detector.SHAPE_NAMES) - 1
    off = jnp.where(known, jnp.abs(sides - batch["inside"].reshape(-1, 4)), 0)
    shapes = optax.softmax_cross_entropy_with_integer_labels(shape, batch["shapes"].ravel())
    colors = optax.softmax_cross_entropy_with_integer_labels(color, jnp.maximum(wanted, 0))
    return shapes.mean() + jnp.where(wanted >= 0, colors, 0).mean() + 2 * off.mean()


class Trainer:
    """Adam with a warmed-up cosine schedule, over both losses or that of the second stage."""

    def __init__(self, steps: int, *, finding: bool = True) -> None:
        """Prepares for so many steps."""
        rate = optax.warmup_cosine_decay_schedule(0.0, PEAK_RATE, steps // 20, steps)
        self._optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
        self._finding = finding
        self.step = jax.jit(self._step)

    def start(self, params: detector.Params) -> optax.OptState:
        """Returns the optimizer's state."""
        return self._optimizer.init(params)

    def _step(
        self, params: detector.Params, state: optax.OptState, batch: dict[str, jax.Array]
    ) -> tuple[detector.Params, optax.OptState, dict[str, jax.Array]]:
        def loss(params: detector.Params) -> tuple[jax.Array, dict[str, jax.Array]]:
            pixels = batch["image"].astype(jnp.float32) / 127.5 - 1
            parts = {"naming": naming_loss(params, pixels, batch)}
            if self._finding:
                parts["finding"] = finding_loss(params, pixels, batch["boxes"])
            return jnp.stack(list(parts.values())).sum(), parts

        grads, parts = jax.grad(loss, has_aux=True)(params)
        updates, state = self._optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, parts  # pyright: ignore[reportReturnType]


def initial(seed: int) -> detector.Params:
    """Returns random weights."""
    kernels = detector.layers()
    keys = jax.random.split(jax.random.key(seed), len(kernels))
    normal = jax.nn.initializers.he_normal()
    params: detector.Params = {
        name: {"kernel": normal(key, shape), "bias": jnp.zeros(shape[-1])}
        for key, (name, shape) in zip(keys, kernels.items(), strict=True)
    }
    params["found"]["bias"] = params["found"]["bias"].at[0].set(-4.0)  # objects are rare
    return params


def train(params: detector.Params, steps: int, *, finding: bool, first: int) -> detector.Params:
    """Trains weights; reports progress on stderr.

    Args:
        params: Weights to start from.
        steps: Number of steps.
        finding: Whether the first stage is trained as well.
        first: Number of the first batch.
    """
    trainer = Trainer(steps, finding=finding)
    state = trainer.start(params)
    for i, batch in enumerate(batches(first, steps)):
        params, state, parts = trainer.step(params, state, batch)
        if i % 50 == 0:
            losses = ", ".join(f"{name} {float(value):.4f}" for name, value in parts.items())
            print(f"step {i}: {losses}", file=sys.stderr, flush=True)
    return params


def main(path: pathlib.Path, steps: int = 1500) -> None:
    """Trains both stages, then the second alone, and writes the weights."""
    params = train(initial(seed=0), steps, finding=True, first=0)
    params = train(params, steps // 2, finding=False, first=steps)
    params = jax.device_get(params)
    arrays = {
        f"{n}/{part}": v.astype(np.float16) for n, p in params.items() for part, v in p.items()
    }
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
