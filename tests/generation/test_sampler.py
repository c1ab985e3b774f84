# SPDX-License-Identifier: Apache-2.0
"""Requests with pictures from Python, and what a PNG tells of them; texts: tests/test_sample.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen import png
from omnigen.generation import pretrained, sampler
from omnigen.generation.generate import drawn, generate
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.sampler import Drawing, Request, Sampler
from omnigen.generation.settings import Sampling
from omnigen.generation.spans import Picture
from omnigen.models.omni import Omni, to_uint8

GIVEN = Picture(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))


@pytest.fixture(scope="module")
def model(omni, params):
    return pretrained.Pretrained(omni, params, version="v", step=0, path="")


def test_a_prompt_with_pictures_is_drawn_from_its_seeds(model):
    images = Sampler(model)(["a", GIVEN], seed=3, num_images=2, guidance=2.0)
    rows = prompt_rows(model.omni, [["a", GIVEN]], model.params)
    for i in range(2):
        keys = jax.vmap(jax.random.key)(jnp.array([3 + i], jnp.uint32))
        wanted = generate(model.omni, model.params, rows, keys, Sampling(guidance=2.0))
        np.testing.assert_array_equal(images[i], to_uint8(wanted)[0])


def test_drawings_tell_what_was_written(omni, params):
    writing = Omni(dataclasses.replace(omni.config, sketch_length=8))
    model = pretrained.Pretrained(writing, params, version="v", step=0, path="")
    request = Request("a", seed=3, num_images=3, head_steps=1)
    rows = prompt_rows(writing, ["a"])
    drawings = list(Sampler(model).drawings(request))
    for i, drawing in enumerate(drawings):
        keys = jax.vmap(jax.random.key)(jnp.array([3 + i], jnp.uint32))
        pictures = drawn(writing, params, rows, keys, Sampling(head_steps=1))
        np.testing.assert_array_equal(drawing.pixels, to_uint8(pictures.images)[0])
        ids = [int(i) for i in pictures.ids[0] if i < 256]
        assert drawing.sketch == bytes(ids).decode(errors="replace") != ""
        assert drawing.explanation.startswith(("nothing; not understood: ", "a thumbnail"))
    assert len({drawing.sketch for drawing in drawings}) == 3
    together = list(Sampler(model).drawings(request, batch_size=2))
    assert [d.sketch for d in together] == [d.sketch for d in drawings]


def test_a_model_that_writes_nothing_explains_nothing(model):
    (drawing,) = Sampler(model).drawings(Request("a", head_steps=1))
    assert (drawing.sketch, drawing.explanation) == ("", "")
    assert Drawing(drawing.pixels, "gwm1rC664").explanation == (
        "a red circle, top left, small; on a gradient of white and mint"
    )


def test_what_is_expected_is_compiled_while_weights_are_read(model, monkeypatch, caplog):
    def load(checkpoint, *, needed, meanwhile):
        meanwhile(model.omni)
        return model

    monkeypatch.setattr(pretrained, "load", load)
    request = Request([GIVEN, "b"], head_steps=2)
    drawer = Sampler.load("somewhere", expected=request)
    Sampler(model)("x", head_steps=1)  # what is no part of any of the programs
    with jax.log_compiles(), caplog.at_level("WARNING"):
        list(drawer.batches(request))
    names = [line for line in caplog.messages if "XLA compilation" in line]
    assert not [line for line in names if "draw" in line or "encode" in line], names


def test_requests_hold_text_or_pictures():
    assert Request([GIVEN]).prompt == (GIVEN,) == Request(GIVEN).prompt
    assert Request(["a", GIVEN]) == Request(["a", GIVEN]) != Request(["a", Picture(GIVEN.pixels)])
    for empty in ("", [], [" ", ""]):
        with pytest.raises(ValueError, match="is empty"):
            Request(empty)
    with pytest.raises(ValueError, match="a list of str and Picture"):
        Request(GIVEN.pixels)
    with pytest.raises(ValueError, match="not valid UTF-8"):
        Request(["\ud800", GIVEN])
    with pytest.raises(ValueError, match="prompt has 4001 bytes"):
        Request(["x" * 2000, Picture(GIVEN.pixels, "y" * 2001)])


def test_a_png_tells_which_pictures_were_given_and_cannot_be_drawn_again(tmp_path):
    path = tmp_path / "out.png"
    sampler.save(GIVEN.pixels, path, Request(["a", GIVEN, "b", GIVEN]), version="v")
    texts = png.read(path).texts
    assert texts["prompt"] == "ab" and texts["pictures"] == f"{GIVEN.digest} {GIVEN.digest}"
    with pytest.raises(ValueError, match="was drawn from pictures, too, which it does not hold"):
        sampler.read(path)
    sampler.save(GIVEN.pixels, path, Request(["a", "b"]), version="v")
    assert sampler.read(path).request.prompt == "ab"


def test_typographic_marks_are_read_as_straight_ones(model, tmp_path):
    drawer, path = Sampler(model), tmp_path / "out.png"
    typed, straight = "the word “Don’t”", 'the word "Don’t"'
    same, other = ({"seed": 1, "straighten": one} for one in (True, False))
    as_typed = drawer(typed, **other)
    np.testing.assert_array_equal(drawer(typed, **same), drawer(straight, **same))
    assert (as_typed != drawer(straight, **same)).any()
    np.testing.assert_array_equal(
        drawer(["a", GIVEN, typed], seed=1), drawer(["a", GIVEN, straight], seed=1)
    )
    for request, read in ((Request(typed), straight), (Request(typed, straighten=False), None)):
        sampler.save(GIVEN.pixels, path, request, version="v")
        texts = png.read(path).texts
        assert (texts["prompt"], texts.get("read")) == (typed, read)
        assert sampler.read(path).request == request  # also of versions that straightened nothing
    sampler.save(GIVEN.pixels, path, Request(straight, straighten=False), version="v")
    assert "read" not in png.read(path).texts
    assert sampler.read(path).request.as_read == straight


def test_what_is_sent_says_the_same_as_what_is_saved(tmp_path):
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    request = Request("a “red” circle", seed=7, guidance=2.0)
    data = sampler.encode(pixels, request, version="abc", sketch="s")
    (tmp_path / "sent.png").write_bytes(data)
    sampler.save(pixels, tmp_path / "saved.png", request, version="abc", sketch="s")
    sent, saved = (sampler.read(tmp_path / name) for name in ("sent.png", "saved.png"))
    assert sent.request == saved.request == request
    assert (sent.version, sent.software) == (saved.version, saved.software)
    np.testing.assert_array_equal(sent.pixels, pixels)
    assert (tmp_path / "saved.png").read_bytes() == data
