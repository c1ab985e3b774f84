# SPDX-License-Identifier: Apache-2.0
import types

import numpy as np
from PIL import Image

from omnigen.data.stream import pipeline, world
from omnigen.evals.judges.reading import Line
from omnigen.evals.suites import samples
from omnigen.scenes.scene import Kind


class Echo:
    """Stands in for a model: draws the brightness that the caption's length says."""

    config = types.SimpleNamespace(image_size=32)

    def prompts(self, captions):
        return captions

    def generate(self, weights, prompts, keys, sampling):
        assert len(prompts) == len(keys) == 1
        return np.full((1, 32, 32, 3), len(prompts[0]) / 127.5 - 1, np.float32)


def test_words_are_read_off_the_pictures_and_the_truth(tmp_path) -> None:
    """The reader sees every word on true pictures and none on the model's, which are plain."""
    data = pipeline.DataConfig(image_size=32)
    examples = [e for kind in Kind for e in world.eval_examples(data, kind, count=3, start=0)]
    truth = {
        e.image.tobytes(): [Line(text.string.upper(), (0, 0, 1, 1)) for text in e.scene.texts]
        for e in examples
    }
    judge = samples.Samples(
        Echo(), output=tmp_path, count=3, reader=lambda image: truth.get(image.tobytes(), [])
    )
    report = dict(judge.run({}, {}))
    assert report == {"word_accuracy": 0.0, "word_accuracy_of_true_pictures": 1.0}
    drawn = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "samples").iterdir())]
    expected = {kind: [len(e.caption) for e in examples if e.scene.kind == kind] for kind in Kind}
    assert [int(image[0, 0, 0]) for image in drawn] == sum(
        (expected[kind] for kind in sorted(Kind)), []
    )
    sheet = np.asarray(Image.open(tmp_path / "samples.png"))
    assert sheet.shape[1] == samples.COLUMNS * 160
    assert (sheet[:32, 64:96] == len(examples[0].caption)).all()
