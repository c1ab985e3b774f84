# SPDX-License-Identifier: Apache-2.0
import pytest

from omnigen.scenes.compose import compose
from omnigen.scenes.explanation import explain, place
from omnigen.scenes.reading import read
from omnigen.scenes.scene import Kind
from omnigen.scenes.sketch import sketch


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ('pw1rC664"Hi"xagg8c', 'a red circle, top left, small; the word "Hi" in black, centre; '
         "on plain white"),
        ("gwm", "nothing; on a gradient of white and mint"),
        ("txw2oRkhc1oRam4", "two orange rings (right, large; bottom left, small); "
         "on black textured with white"),
        ("pe3bAg472bAg671bAgs7", "three blue stars (top; top; bottom); on plain grey"),
        ('DmMgjv6RjrcaCg7t7"So long!"plg7p5', "mountains; a river; a cloud, top; "
         'the words "So long!" in purple slab serif letters, in the cloud; under a clear sky'),
        ("NkUgav8L4444TrkaaT8kaaSgggg", "stars; the moon, top left; two trees (bottom right; "
         "bottom left); snow; under a night sky"),
        ("OkC4455Cs455H6o44", "two clouds (top left; top right); a house, bottom left; "
         "under an overcast sky"),
        ('~Fluent flatgwm<panda>8gc<white sign>g4s"Hi"kig4c5', "a panda, left; "
         'a white sign, top; the word "Hi" in pink serif letters, top; '
         "on a gradient of white and mint, in Fluent flat style"),
        ("~Notop(light blue)<Santa Claus>gge", "Santa Claus, centre; on plain light blue, "
         "in Noto style"),
        ("pw<two", "nothing; on plain white; not understood: <two"),
        ("#AAAA", "a thumbnail, which names nothing"),
        ("", "nothing"),
    ],
)  # fmt: skip
def test_sketches_in_english(written, wanted):
    assert explain(read(written)) == wanted


def test_places_are_ninths():
    at = (0.1, 0.5, 0.9)
    assert [place(x, y) for y in at for x in at] == [
        "top left", "top", "top right", "left", "centre", "right",
        "bottom left", "bottom", "bottom right",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", Kind)
def test_everything_in_a_scene_is_named(kind):
    for seed in range(200):
        scene = compose(seed, kind, held_out=False)
        said = explain(read(sketch(scene)))
        assert "not understood" not in said
        props = scene.landscape.props if scene.landscape else ()
        names = {f"{o.color} {o.shape}" for o in scene.objects} | {p.element for p in props}
        assert all(name in said for name in names)
        assert all(f'"{text.string}" in {text.color}' in said for text in scene.texts)
        assert said.endswith(" sky") == (scene.landscape is not None)
