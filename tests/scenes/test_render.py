# SPDX-License-Identifier: Apache-2.0
"""Pictures show what their scenes say: colours, areas, places and letters, read off the pixels."""

import concurrent.futures
import dataclasses
import math
import time

import numpy as np
import pytest

from omnigen.scenes import palette, placement
from omnigen.scenes.compose import compose
from omnigen.scenes.fonts import FAMILIES
from omnigen.scenes.render import render
from omnigen.scenes.scene import (
    Background,
    Color,
    Element,
    Fill,
    Kind,
    Landscape,
    Object,
    Prop,
    Scene,
    Shape,
    Size,
    Sky,
    Text,
)

WHITE = Background(Fill.PLAIN, "white")
# Areas of the shapes inscribed in a circle of radius 1.
AREAS = {
    Shape.CIRCLE: math.pi,
    Shape.SQUARE: 2.0,
    Shape.TRIANGLE: 3 * math.sqrt(3) / 4,
    Shape.DIAMOND: 2 * 0.72,
    Shape.RING: math.pi * (1 - 0.58**2),
    Shape.CROSS: 8 * 0.3 * math.sqrt(0.91) - 4 * 0.09,
    Shape.STAR: 5 * 1.12 * math.cos(math.radians(72)) / math.cos(math.radians(36))
    * math.sin(math.radians(36)),
}  # fmt: skip


def one(shape: Shape, x: float = 0.46, y: float = 0.53, radius: float = 0.3) -> Scene:
    return Scene(Kind.SHAPES, WHITE, (Object(shape, Color.BLACK, Size.LARGE, x, y, radius),))


def coverage(picture: np.ndarray) -> np.ndarray:
    """How black each pixel is, of a black figure on white."""
    black = np.array(palette.COLORS[Color.BLACK], float)
    return ((255.0 - picture) / (255.0 - black)).mean(-1)


@pytest.mark.parametrize("kind", Kind)
def test_pictures_are_rgb_bytes_of_the_size_and_the_same_each_time(kind):
    scene = compose(3, kind, held_out=False)
    first, other = render(scene, 96), render(compose(4, kind, held_out=False), 96)
    again = render(scene, 96)
    assert first.shape == (96, 96, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@pytest.mark.parametrize("kind", Kind)
def test_threads_draw_what_one_thread_draws(kind):
    scenes = [compose(seed, kind, held_out=False) for seed in range(12)]
    alone = [render(scene, 48) for scene in scenes]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda scene: render(scene, 48), scenes))
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("shape", AREAS)
def test_shapes_have_their_area_and_stay_in_their_circle(shape):
    ink = coverage(render(one(shape), 256))
    assert ink.sum() / 256**2 == pytest.approx(AREAS[shape] * 0.09, rel=0.006)
    y, x = np.mgrid[:256, :256] / 256 + 0.5 / 256
    outside = np.hypot(x - 0.46, y - 0.53) > 0.3 + 1 / 256
    assert ink[outside].max() == 0


def test_the_heart_stays_in_its_circle_and_is_symmetric():
    ink = coverage(render(one(Shape.HEART, x=0.5), 256))
    assert np.abs(ink - ink[:, ::-1]).sum() < 0.01 * ink.sum()
    y, x = np.mgrid[:256, :256] / 256 + 0.5 / 256
    assert ink[np.hypot(x - 0.5, y - 0.53) > 0.3 + 1 / 256].max() == 0
    assert ink[: int(0.53 * 256)].sum() > ink[int(0.53 * 256) :].sum() > 0


def test_edges_are_anti_aliased():
    ink = coverage(render(one(Shape.CIRCLE), 128))
    partial = np.count_nonzero((ink > 0.02) & (ink < 0.98))
    # A circle's edge crosses about 8 r pixels; a hard edge would leave none of them grey.
    assert 0.6 < partial / (8 * 0.3 * 128) < 1.5


@pytest.mark.parametrize("kind", [Kind.SHAPES, Kind.MIXED])
def test_objects_have_their_color_at_their_place_and_stand_out(kind):
    for seed in range(60):
        scene = compose(seed, kind, held_out=False)
        picture = render(scene, 256).astype(int)

        def pixel(x: float, y: float, picture: np.ndarray = picture) -> np.ndarray:
            return picture[int(y * 256), int(x * 256)]

        for o in scene.objects:
            inside = pixel(o.x, o.y - 0.79 * o.radius if o.shape == Shape.RING else o.y)
            expected = np.array(palette.COLORS[o.color])
            np.testing.assert_allclose(inside, expected, atol=2)
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                reach = o.radius + 0.008
                ground = pixel(o.x + dx * reach, o.y + dy * reach)
                assert np.linalg.norm(ground - expected) > 45


@pytest.mark.parametrize("kind", Kind)
def test_resolutions_agree(kind):
    for seed in range(8):
        scene = compose(seed, kind, held_out=False)
        fine = render(scene, 256).astype(float).reshape(128, 2, 128, 2, 3).mean((1, 3))
        difference = np.abs(fine - render(scene, 128))
        # Letters lie on a grid of quarter pixels, everything else where it is.
        assert difference.mean() < 1.8
        assert np.quantile(difference, 0.99) < (55 if scene.texts else 30)


@pytest.mark.parametrize("family", FAMILIES)
def test_letters_fill_their_box_and_nothing_else(family):
    line = placement.line(("Quick", "Fjord!"), color=Color.BLACK, font=family, cap=0.09, room=0.95)
    assert line is not None
    line = placement.moved(line, x=0.5, y=0.4)
    ink = coverage(render(Scene(Kind.WORDS, WHITE, texts=(line,)), 512)) > 0.3
    rows, columns = np.flatnonzero(ink.any(1)) / 512, np.flatnonzero(ink.any(0)) / 512
    box = placement.text_box(line)
    assert rows[0] == pytest.approx(box.top, abs=0.006)
    assert rows[-1] == pytest.approx(box.bottom, abs=0.006)
    assert columns[0] == pytest.approx(box.left, abs=0.006)
    assert columns[-1] == pytest.approx(box.right, abs=0.006)


def test_fonts_look_different():
    text = Text(("Quick",), Color.BLACK, "Open Sans", 0.5, 0.5, 0.12, 0.6)
    pictures = {
        render(
            Scene(Kind.WORDS, WHITE, texts=(dataclasses.replace(text, font=family),)), 64
        ).tobytes()
        for family in FAMILIES
    }
    assert len(pictures) == len(FAMILIES)


def test_words_in_a_landscape_have_their_ink_on_the_paper_of_their_holder():
    checked = 0
    for seed in range(80):
        scene = compose(seed, Kind.LANDSCAPES, held_out=False)
        if not scene.texts:
            continue
        bare = render(dataclasses.replace(scene, texts=()), 256).astype(int)
        holder = [p for p in scene.landscape.props if p.element == scene.texts[0].holder][-1]
        paper = palette.holder_color(holder.element, sky=scene.landscape.sky, seed=holder.seed)
        for text in scene.texts:
            box = placement.text_box(text)
            rows = slice(math.ceil(box.top * 256), int(box.bottom * 256))
            columns = slice(math.ceil(box.left * 256), int(box.right * 256))
            np.testing.assert_allclose(
                bare[rows, columns], np.broadcast_to(paper, bare[rows, columns].shape), atol=2
            )
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("sky", Sky)
@pytest.mark.parametrize("element", Element)
def test_every_element_shows_in_its_box(element, sky):
    size = (1.0, 0.3) if element in (Element.MOUNTAINS, Element.SEA) else (0.4, 0.3)
    y = 0.55 if element == Element.MOUNTAINS else 0.85 if element == Element.SEA else 0.4
    prop = Prop(element, 0.5, y, *size, 7)
    empty = render(Scene(Kind.LANDSCAPES, landscape=Landscape(sky, (), 0.7)), 64).astype(int)
    full = render(Scene(Kind.LANDSCAPES, landscape=Landscape(sky, (prop,), 0.7)), 64).astype(int)
    box = placement.prop_box(prop)
    inside = (
        slice(int(box.top * 64), int(box.bottom * 64)),
        slice(int(box.left * 64), int(box.right * 64)),
    )
    changed = np.abs(full - empty).max(-1) > 12
    assert changed[inside].mean() > 0.01


def test_skies_differ():
    def mean(sky: Sky) -> np.ndarray:
        return render(Scene(Kind.LANDSCAPES, landscape=Landscape(sky, (), 0.6)), 32).mean((0, 1))

    clear, sunset, night, overcast = map(mean, (Sky.CLEAR, Sky.SUNSET, Sky.NIGHT, Sky.OVERCAST))
    assert clear[2] > clear[0] + 40
    assert sunset[0] > sunset[2] + 40
    assert night.max() < 110
    assert np.ptp(overcast) < 30


def test_gradients_and_textures_keep_to_their_colors():
    for seed in range(20):
        for fill in (Fill.GRADIENT, Fill.TEXTURE):
            ground = Background(fill, "white", "sky blue", seed)
            picture = render(Scene(Kind.SHAPES, ground), 64).astype(int)
            low = np.array(palette.BACKGROUNDS["sky blue"]) - 2
            assert np.all(picture >= low)
            assert np.ptp(picture[..., 0]) > 20


def test_drawing_is_not_slow():
    scenes = [compose(seed, kind, held_out=False) for kind in Kind for seed in range(25)]
    for scene in scenes:
        render(scene, 128)
    start = time.process_time()
    for scene in scenes:
        render(scene, 128)
    # A tenth of what one core does.
    assert len(scenes) / (time.process_time() - start) > 150


def test_a_picture_has_pixels():
    with pytest.raises(ValueError, match="size is 0"):
        render(one(Shape.CIRCLE), 0)
