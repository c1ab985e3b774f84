# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from PIL import Image

from omnigen.data.stream import pipeline, world
from omnigen.evals.judges.reading import Line, plain
from omnigen.evals.suites import reconstruction
from omnigen.models.omni import OmniConfig
from omnigen.scenes.scene import Kind


@pytest.mark.parametrize("offset", [1, 5, 255])
def test_psnr_of_a_constant_error(offset: int) -> None:
    dark, light = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), offset, np.uint8)
    errors = reconstruction.mean_squared_errors(dark, light)
    np.testing.assert_array_equal(errors, [offset**2] * 2)
    expected = 20 * math.log10(255 / offset)
    np.testing.assert_allclose(reconstruction.psnr(errors), [expected] * 2, rtol=1e-12)


def test_psnr_of_equal_pictures_is_capped() -> None:
    assert reconstruction.psnr(0.0) == pytest.approx(60.0)


def slow_similarity(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM by its definition: every 11 x 11 window of every channel on its own."""
    steps = np.arange(-5, 6)
    weights = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for channel, i, j in np.ndindex(3, x.shape[0] - 10, x.shape[1] - 10):
        a, b = (image[i : i + 11, j : j + 11, channel].astype(float) for image in (x, y))
        ma, mb = (weights * a).sum(), (weights * b).sum()
        va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
        c = (weights * (a - ma) * (b - mb)).sum()
        above = (2 * ma * mb + 6.5025) * (2 * c + 58.5225)
        values.append(above / ((ma**2 + mb**2 + 6.5025) * (va + vb + 58.5225)))
    return float(np.mean(values))


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture and a noisy copy."""
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(24), 2 * np.arange(20))[..., None] * np.array([1, 2, 3])
    noisy = ramp + rng.normal(0, 10 * seed, ramp.shape)
    return ramp.astype(np.uint8), np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", [1, 3])
def test_similarity_against_its_definition(seed: int) -> None:
    x, y = pair(seed)
    assert reconstruction.similarity(x, y) == pytest.approx(slow_similarity(x, y), rel=1e-9)
    assert reconstruction.similarity(x, x) == 1


# By scikit-image 0.26.0, structural_similarity(x, y, channel_axis=2, data_range=255,
# gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
@pytest.mark.parametrize(("seed", "expected"), [(1, 0.5929274352610351), (3, 0.16593274336053856)])
def test_similarity_against_another_implementation(seed: int, expected: float) -> None:
    assert reconstruction.similarity(*pair(seed)) == pytest.approx(expected, rel=1e-9)


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
        examples = world.eval_examples(data, kind, count=5, start=0)
        lost = [np.minimum(example.image, 3).astype(float) for example in examples]
        errors[kind] = np.array([np.mean(each**2) for each in lost])
        expected = np.mean(10 * np.log10(255**2 / errors[kind]))
        assert report[f"{kind}/psnr_dB"] == pytest.approx(expected, rel=1e-9)
    everything = np.concatenate(list(errors.values()))
    pooled = 10 * np.log10(255**2 / everything.mean())
    assert report["pooled_psnr_dB"] == pytest.approx(pooled, rel=1e-9)
    assert report["psnr_dB"] == pytest.approx(np.mean(10 * np.log10(255**2 / everything)), rel=1e-9)
    assert (report["tokens_per_image"], report["bits_per_image"]) == (4, 4 * 48 * 16)


def test_words_are_read_off_both_pictures(tmp_path) -> None:
    """A reader that sees nothing in the dark, and half of the words on true pictures."""
    data = pipeline.DataConfig(image_size=32)
    examples = [e for kind in Kind for e in world.eval_examples(data, kind, count=6, start=0)]
    texts = {e.image.tobytes(): e.scene.texts for e in examples}

    def reader(image: np.ndarray) -> list[Line]:
        lines = [" ".join(text.words[::2]) for text in texts.get(image.tobytes(), ())]
        return [Line(line, (0, 0, 1, 1)) for line in lines]

    judge = reconstruction.Reconstruction(
        Darkening(), count=6, reader=reader, output=tmp_path, column="c"
    )
    outcome = judge.judge({}, {"frozen": 1})
    kinds = [kind for kind in Kind if kind != Kind.SHAPES]
    for kind in (*kinds, None):
        mine = [e for e in examples if e.scene.texts and kind in (None, e.scene.kind)]
        words = [t.words for e in mine for t in e.scene.texts]
        wanted = sum(bool(plain(word)) for line in words for word in line)
        seen = sum(bool(plain(word)) for line in words for word in line[::2])
        name = f"{kind}/word_accuracy" if kind else "word_accuracy"
        assert outcome.scores[name].value == 0
        assert outcome.ceiling[name].value == pytest.approx(seen / wanted)
    assert "shapes/word_accuracy" not in outcome.ceiling
    file = np.asarray(Image.open(tmp_path / outcome.pictures[7]["file"]))
    np.testing.assert_array_equal(file[:, :32], examples[7].image)
    assert (file[:, 32:].astype(int) <= file[:, :32]).all()
