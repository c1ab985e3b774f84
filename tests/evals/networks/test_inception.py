# SPDX-License-Identifier: Apache-2.0
"""Inception against pytorch-fid's own network, run once on the same seeded weights and pictures."""

import json
import pathlib
import struct

import inception as golden
import jax
import numpy as np
import pytest
from PIL import Image

from omnigen.evals.networks import inception

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    found = {"fc.weight": golden.tensor("fc.weight", (1008, 2048))}
    for name, shape in inception._layers().items():
        found[f"{name}.conv.weight"] = golden.tensor(f"{name}.conv.weight", shape)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.bn.{part}"] = golden.tensor(f"{name}.bn.{part}", shape[:1])
    return found


@pytest.fixture(scope="module")
def file(tensors: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    header, end = {}, 0
    for name, value in tensors.items():
        span = [end, end := end + value.nbytes]
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": span}
    text = json.dumps(header).encode()
    parts = [struct.pack("<Q", len(text)), text, *(v.tobytes() for v in tensors.values())]
    path.write_bytes(b"".join(parts))
    return path


def test_features_are_those_of_pytorch_fid(file: pathlib.Path) -> None:
    """All three outputs to 1e-4 of their size; differences between pictures to 1e-3 of theirs."""
    network = inception.Inception(file, resize=inception.Resize.BILINEAR)
    found = network.features(golden.images())
    with np.load(GOLDEN / "inception.npz") as expected:
        assert set(expected) == {"pool", "spatial", "logits"}
        for name, value in expected.items():
            ours = getattr(found, name)
            assert ours.shape == value.shape
            assert np.abs(ours - value).max() < 1e-4 * np.abs(value).max(), name
            error = np.linalg.norm((ours[0] - ours[1]) - (value[0] - value[1]))
            assert error < 1e-3 * np.linalg.norm(value[0] - value[1]), name


def test_missing_weights_are_named(tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="--inception_weights.*pytorch-fid/releases"):
        inception.Inception(None)
    name = "Mixed_6d.branch7x7_2.bn.running_var"
    with pytest.raises(ValueError, match=f"mine.pth lack {name}"):
        inception.fold({k: v for k, v in tensors.items() if k != name}, source="mine.pth")
    torchvision = {**tensors, "fc.weight": np.zeros((1000, 2048), np.float32)}
    with pytest.raises(ValueError, match=r"fc.weight is \(1000, 2048\), not \(1008, 2048\)"):
        inception.fold(torchvision, source="mine.pth")


@pytest.mark.parametrize("size", [40, 299, 500])
def test_bilinear_is_half_pixel_without_antialias(size: int) -> None:
    images = np.random.default_rng(size).integers(0, 256, (1, size, size + 7, 3), np.uint8)
    ours = inception.prepare(images, resize=inception.Resize.BILINEAR)
    floats = images.astype(np.float32) / 127.5 - 1
    theirs = jax.image.resize(floats, (1, 299, 299, 3), "bilinear", antialias=False)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)  # their weights are float32


def test_tensorflow_starts_at_the_corner() -> None:
    """A ramp from 0 to 297 in 100 columns (x 3): column q of 299 lies at 100 q / 299 of ours."""
    ramp = np.broadcast_to(2 * np.arange(100, dtype=np.uint8)[None, None, :, None], (1, 20, 100, 3))
    ours = inception.prepare(np.array(ramp), resize=inception.Resize.TENSORFLOW)
    expected = 2 * np.minimum(100 * np.arange(299) / 299, 99)
    np.testing.assert_allclose(ours[0, 7, :, 1] * 128 + 128, expected, atol=1e-3)


def test_clean_resize_is_antialiased_and_clipped() -> None:
    """Stripes of one pixel at five times the size turn grey; a rounded resize is only near it."""
    stripes = np.zeros((1, 1495, 1495, 3), np.uint8)
    stripes[:, :, ::2] = 255
    grey = inception.prepare(stripes, resize=inception.Resize.CLEAN) * 128 + 128
    assert np.abs(grey[0, :, 4:-4] - 127.5).max() < 20
    aliased = inception.prepare(stripes, resize=inception.Resize.BILINEAR) * 127.5 + 127.5
    assert np.abs(aliased - 127.5).max() > 120
    noise = np.random.default_rng(0).integers(100, 156, (90, 120, 3), np.uint8)
    ours = inception.prepare(noise[None], resize=inception.Resize.CLEAN)[0] * 128 + 128
    rounded = np.asarray(Image.fromarray(noise).resize((299, 299), Image.Resampling.BICUBIC))
    assert ours.min() >= 0 and ours.max() <= 255
    assert 0.4 < np.abs(ours - rounded).max() < 1.2  # PIL rounds after each of two passes
