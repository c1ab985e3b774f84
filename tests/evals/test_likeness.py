# SPDX-License-Identifier: Apache-2.0
"""The suites over reconstructions, with stand-ins for the nets and for the model."""

import numpy as np
import pytest

from omnigen.data import pipeline
from omnigen.data.scenes.scene import Kind
from omnigen.evals import fidelity, likeness
from omnigen.evals.judges.inception import Features
from omnigen.models.omni import OmniConfig

COUNT = 4


class Darkening:
    """Reconstructs every picture `frozen` levels darker at each decoder step."""

    config = OmniConfig(image_size=32)

    def reconstruct(self, weights, pixels, keys, *, num_steps):
        return np.asarray(pixels) - num_steps * weights["frozen"] * 2 / 255


class Corners:
    """Features that are pixels of the corners."""

    def features(self, images):
        pixels = images.astype(np.float32)
        parts = pixels[:, :2, :2], pixels[:, -3:, -2:], pixels[:, :2, -2:] / 100
        return Features(*(part.reshape(len(images), -1) for part in parts))


class MeanDifference:
    def __init__(self, net):
        self.scale = {"alexnet": 1, "vgg16": 10}[net]

    def distances(self, ours, theirs):
        return self.scale * (ours.astype(float) - theirs).mean((1, 2, 3))


def scenes() -> list[np.ndarray]:
    data = pipeline.DataConfig(image_size=32)
    return [
        np.stack([e.image for e in pipeline.eval_examples(data, kind, count=COUNT, start=0)])
        for kind in Kind
    ]


def darker(images: np.ndarray) -> np.ndarray:
    return np.maximum(images.astype(int) - 8, 0).astype(np.uint8)


def test_fidelity_compares_scenes_with_reconstructions() -> None:
    judge = likeness.Fidelity(Darkening(), inception=Corners(), count=COUNT)
    found = dict(judge.run({}, {"frozen": 2}))
    images = np.concatenate(scenes())
    expected = fidelity.compare(*(Corners().features(x) for x in (images, darker(images))))
    assert found == pytest.approx(expected, rel=1e-6)
    assert found["fid"] > 1 and {"sfid", "inception_score", "precision", "recall"} < found.keys()


def test_lpips_is_averaged_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "Lpips", MeanDifference)
    found = dict(likeness.Perceptual(Darkening(), count=COUNT).run({"frozen": 2}, {}))
    means = []
    for kind, images in zip(Kind, scenes(), strict=True):
        means.append((images.astype(float) - darker(images)).mean())
        assert found[f"{kind}/alexnet"] == pytest.approx(means[-1])
        assert found[f"{kind}/vgg16"] == pytest.approx(10 * means[-1])
    assert found["alexnet"] == pytest.approx(np.mean(means)) and found["alexnet"] > 1
