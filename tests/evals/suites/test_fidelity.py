# SPDX-License-Identifier: Apache-2.0
"""The suites over reconstructions, with stand-ins for the nets and for the model."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from omnigen.data.stream import pipeline, world
from omnigen.evals import frechet
from omnigen.evals.networks.inception import Features
from omnigen.evals.suites import fidelity
from omnigen.models.omni import OmniConfig
from omnigen.scenes.scene import Kind

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


def scenes() -> list[np.ndarray]:
    data = pipeline.DataConfig(image_size=32)
    return [
        np.stack([e.image for e in world.eval_examples(data, kind, count=COUNT, start=0)])
        for kind in Kind
    ]


def darker(images: np.ndarray) -> np.ndarray:
    return np.maximum(images.astype(int) - 8, 0).astype(np.uint8)


def test_fidelity_compares_scenes_with_reconstructions() -> None:
    sets = fidelity.Rebuilt(Darkening(), count=COUNT)
    judge = fidelity.Fidelity(sets, inception=Corners())
    found = dict(judge.run({}, {"frozen": 2}))
    images = np.concatenate(scenes())
    expected = frechet.compare(*(Corners().features(x) for x in (images, darker(images))))
    assert found == pytest.approx(expected, rel=1e-6)
    assert found["fid"] > 1 and {"sfid", "inception_score", "precision", "recall"} < found.keys()


class Means:
    """Features that are mean colours."""

    def features(self, images):
        return images.mean((1, 2)) / 255


def save(images: np.ndarray, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03d}.png")


def test_kid_lite0_compares_folders(tmp_path: pathlib.Path) -> None:
    """Of any sizes, in folders of folders; what cannot be read is left out and named."""
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (14, 40, 40, 3), np.uint8)
    drawn = rng.integers(0, 200, (12, 48, 64, 3), np.uint8)
    save(real, tmp_path / "real" / "deep")
    save(drawn[:6], tmp_path / "drawn" / "a")
    save(drawn[6:, :40], tmp_path / "drawn" / "b")
    (tmp_path / "drawn" / "b" / "005.png").rename(tmp_path / "drawn" / "b" / "005.JFIF")
    (tmp_path / "drawn" / "a" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "drawn" / "a" / "._000.png").write_bytes(b"left by a Mac")
    (tmp_path / "drawn" / ".thumbnails").mkdir()
    (tmp_path / "drawn" / ".thumbnails" / "000.png").write_bytes(b"hidden")
    (tmp_path / "drawn" / "a" / "captions.txt").write_bytes(b"no picture, and not called one")
    Image.fromarray(drawn[0]).save(tmp_path / "drawn" / "b" / "scan.TIF")
    sets = fidelity.Folders(tmp_path / "drawn", reference=tmp_path / "real")
    outcome = fidelity.KidLite0(sets, network=Means()).judge({}, {})
    features = np.concatenate([Means().features(drawn[:6]), Means().features(drawn[6:, :40])])
    expected = frechet.kernel_distance(Means().features(real), features)
    assert outcome.scores == {
        "kid_lite0": pytest.approx(expected.mean),
        "kid_lite0_deviation": pytest.approx(expected.deviation),
        "real_pictures": 14,
        "drawn_pictures": 12,
    }
    assert outcome.problems == {
        "unreadable": [str(tmp_path / "drawn" / "a" / "broken.jpg")],
        "of a foreign format": [str(tmp_path / "drawn" / "b" / "scan.TIF")],
    }


def test_folders_of_too_few_are_refused(tmp_path: pathlib.Path) -> None:
    save(np.zeros((9, 32, 32, 3), np.uint8), tmp_path / "few")
    with pytest.raises(ValueError, match="few: 9 pictures; at least 10 are needed"):
        fidelity.Folders(tmp_path / "few", reference=tmp_path / "few")
    with pytest.raises(ValueError, match="absent: no such folder"):
        fidelity.Folders(tmp_path / "absent", reference=tmp_path / "few")


def test_blocks_are_of_one_size(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "_BLOCK", 4)
    images = np.random.default_rng(1).integers(0, 256, (11, 36, 36, 3), np.uint8)
    save(images[:5], tmp_path / "set" / "a")
    save(images[5:, :33], tmp_path / "set" / "b")
    sets = fidelity.Folders(tmp_path / "set", reference=tmp_path / "set")
    blocks = list(sets.real())
    assert [block.shape for block in blocks] == [
        (4, 36, 36, 3),
        (1, 36, 36, 3),
        (4, 33, 36, 3),
        (2, 33, 36, 3),
    ]
    assert (np.concatenate(blocks[:2]) == images[:5]).all()
