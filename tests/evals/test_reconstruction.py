# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from omnigen.data import pipeline
from omnigen.data.scenes.scene import Kind
from omnigen.evals import reconstruction
from omnigen.models.omni import OmniConfig


@pytest.mark.parametrize("offset", [1, 5, 255])
def test_psnr_of_a_constant_error(offset: int) -> None:
    dark, light = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), offset, np.uint8)
    errors = reconstruction.mean_squared_errors(dark, light)
    np.testing.assert_array_equal(errors, [offset**2] * 2)
    expected = 20 * math.log10(255 / offset)
    np.testing.assert_allclose(reconstruction.psnr(errors), [expected] * 2, rtol=1e-12)


def test_psnr_of_equal_pictures_is_capped() -> None:
    assert reconstruction.psnr(0.0) == pytest.approx(60.0)


class Darkening:
    """Stands in for a model: loses `step` of 255 levels at each decoder step."""

    config = OmniConfig(image_size=32)

    def reconstruct(self, weights, pixels, keys, *, num_steps):
        assert pixels.shape[0] == len(keys)
        return np.asarray(pixels) - num_steps * weights["frozen"] * 2 / 255


def test_pictures_are_compared_as_uint8() -> None:
    """Errors by hand: darker by 3 levels where that does not clip, less where it does."""
    judge = reconstruction.Reconstruction(Darkening(), count=5, num_steps=2, batch_size=4)
    report = dict(judge.run({"trained": 0}, {"frozen": 1.6}))  # 3.2 levels round to 3
    data = pipeline.DataConfig(image_size=32)
    errors = {}
    for kind in Kind:
        examples = pipeline.eval_examples(data, kind, count=5, start=0)
        lost = [np.minimum(example.image, 3).astype(float) for example in examples]
        errors[kind] = np.array([np.mean(each**2) for each in lost])
        expected = np.mean(10 * np.log10(255**2 / errors[kind]))
        assert report[f"{kind}/psnr_dB"] == pytest.approx(expected, rel=1e-9)
    everything = np.concatenate(list(errors.values()))
    pooled = 10 * np.log10(255**2 / everything.mean())
    assert report["pooled_psnr_dB"] == pytest.approx(pooled, rel=1e-9)
    assert report["psnr_dB"] == pytest.approx(np.mean(10 * np.log10(255**2 / everything)), rel=1e-9)
