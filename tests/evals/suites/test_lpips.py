# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from omnigen.data.stream import pipeline, world
from omnigen.evals.suites import lpips
from omnigen.models.omni import OmniConfig
from omnigen.scenes.scene import Kind

COUNT = 4


class Darkening:
    """Reconstructs every picture `frozen` levels darker at each decoder step."""

    config = OmniConfig(image_size=32)

    def reconstruct(self, weights, pixels, keys, *, num_steps):
        return np.asarray(pixels) - num_steps * weights["frozen"] * 2 / 255


class MeanDifference:
    def __init__(self, net):
        self.scale = {"alexnet": 1, "vgg16": 10}[net]

    def distances(self, ours, theirs):
        return self.scale * (ours.astype(float) - theirs).mean((1, 2, 3))


def test_lpips_is_averaged_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips, "Lpips", MeanDifference)
    found = dict(lpips.Perceptual(Darkening(), count=COUNT).run({"frozen": 2}, {}))
    means = []
    data = pipeline.DataConfig(image_size=32)
    for kind in Kind:
        examples = world.eval_examples(data, kind, count=COUNT, start=0)
        images = np.stack([example.image for example in examples]).astype(float)
        means.append((images - np.maximum(images - 8, 0)).mean())  # two levels in each of 4 steps
        assert found[f"{kind}/alexnet"] == pytest.approx(means[-1])
        assert found[f"{kind}/vgg16"] == pytest.approx(10 * means[-1])
    assert found["alexnet"] == pytest.approx(np.mean(means)) and found["alexnet"] > 1
