# SPDX-License-Identifier: Apache-2.0
import dataclasses
import types

import numpy as np
import pytest
from PIL import Image

from omnigen.data import pipeline
from omnigen.data.scenes.scene import Color, Kind, Scene, Text
from omnigen.evals import samples

TEXT = Text(("Hi-2", "Wonderful!"), Color.RED, "Anton", x=0.5, y=0.5, height=0.1, width=0.5)


def test_short_words_are_letters_and_digits_in_lower_case() -> None:
    scene = Scene(Kind.WORDS, texts=(TEXT, dataclasses.replace(TEXT, words=("...", "EIGHTlet"))))
    assert samples.short_words(scene) == ["hi2", "eightlet"]


@pytest.mark.parametrize(
    ("words", "read", "count"),
    [
        (["agc", "is", "awesome"], "AGC is Awesome!", 3),
        (["agc", "is", "awesome"], "AGCisAwesome", 3),
        (["is", "is"], "is", 1),  # each letter serves one word
        (["is", "this"], "this", 1),  # the longest first
        (["ab"], "a b", 1),
        (["cat"], "caat", 0),
        (["ad"], "abcd", 0),
        (["ab", "xd"], "xabd", 1),  # what is left does not close up
    ],
)
def test_found(words: list[str], read: str, count: int) -> None:
    assert samples.found(words, read) == count


class Echo:
    """Stands in for a model: draws the brightness that the caption's length says."""

    config = types.SimpleNamespace(image_size=32)

    def prompts(self, captions):
        return captions

    def generate(self, weights, prompts, keys):
        assert len(prompts) == len(keys) == 1
        return np.full((1, 32, 32, 3), len(prompts[0]) / 127.5 - 1, np.float32)


def test_words_are_read_off_the_pictures_and_the_truth(tmp_path) -> None:
    """The reader sees every word on true pictures and none on the model's, which are plain."""
    data = pipeline.DataConfig(image_size=32)
    examples = [e for kind in Kind for e in pipeline.eval_examples(data, kind, count=3, start=0)]
    truth = {e.image.tobytes(): " ".join(samples.short_words(e.scene)) for e in examples}

    judge = samples.Samples(
        Echo(), output=tmp_path, count=3, reader=lambda image: truth.get(image.tobytes(), "")
    )
    report = dict(judge.run({}, {}))
    assert report == {"words_read_percent": 0.0, "words_read_off_true_pictures_percent": 100.0}
    drawn = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "samples").iterdir())]
    expected = {kind: [len(e.caption) for e in examples if e.scene.kind == kind] for kind in Kind}
    assert [int(image[0, 0, 0]) for image in drawn] == sum(
        (expected[kind] for kind in sorted(Kind)), []
    )
    sheet = np.asarray(Image.open(tmp_path / "samples.png"))
    assert sheet.shape[1] == samples.COLUMNS * 160
    assert (sheet[:32, 64:96] == len(examples[0].caption)).all()
