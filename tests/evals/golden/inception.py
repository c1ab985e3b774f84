# SPDX-License-Identifier: Apache-2.0
"""Writes inception.npz: what pytorch-fid's network says of seeded weights and pictures; and
checkpoint_zip.pth and checkpoint_legacy.pth, the same tensors in both of torch's formats.

Run by hand where torch, torchvision and pytorch-fid are installed; see README.md.
"""

import pathlib
import zlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The seeded value of one tensor: activations of about 1, no batch norm that does nothing."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    noise = rng.standard_normal(shape, np.float32)
    if len(shape) > 1:
        return noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if name.endswith("running_var"):
        return np.exp(noise * np.float32(0.3))
    return noise * np.float32(0.2) + np.float32(name.endswith("bn.weight"))


def images() -> np.ndarray:
    """Two pictures with edges and gradients, uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 5, 4, 3))
    fine = np.kron(coarse, np.ones((1, 12, 16, 1), int)) + np.arange(64)[None, None, :, None]
    return (fine % 256).astype(np.uint8)


def main() -> None:
    import torch
    import torchvision
    from pytorch_fid import inception

    network = torchvision.models.inception_v3(
        num_classes=1008, aux_logits=False, weights=None, init_weights=False
    )
    for name, block in (
        ("Mixed_5b", inception.FIDInceptionA(192, pool_features=32)),
        ("Mixed_5c", inception.FIDInceptionA(256, pool_features=64)),
        ("Mixed_5d", inception.FIDInceptionA(288, pool_features=64)),
        ("Mixed_6b", inception.FIDInceptionC(768, channels_7x7=128)),
        ("Mixed_6c", inception.FIDInceptionC(768, channels_7x7=160)),
        ("Mixed_6d", inception.FIDInceptionC(768, channels_7x7=160)),
        ("Mixed_6e", inception.FIDInceptionC(768, channels_7x7=192)),
        ("Mixed_7b", inception.FIDInceptionE_1(1280)),
        ("Mixed_7c", inception.FIDInceptionE_2(2048)),
    ):
        setattr(network, name, block)
    state = network.state_dict()
    network.load_state_dict(
        {
            name: value if value.ndim == 0 else torch.from_numpy(tensor(name, tuple(value.shape)))
            for name, value in state.items()
        }
    )
    inception.fid_inception_v3 = lambda: network
    wrapped = inception.InceptionV3([3]).eval()  # resizes and scales as pytorch-fid does
    spatial = []
    network.Mixed_6d.branch1x1.register_forward_hook(lambda *call: spatial.append(call[2]))
    with torch.no_grad():
        pixels = torch.from_numpy(images()).permute(0, 3, 1, 2).float() / 255
        pool = wrapped(pixels)[0][..., 0, 0]
    np.savez_compressed(
        FOLDER / "inception.npz",
        pool=pool.numpy(),
        spatial=spatial[0][:, :7].permute(0, 2, 3, 1).flatten(1).numpy(),
        logits=(pool @ network.fc.weight.T).detach().numpy(),
    )
    save_checkpoints()


def save_checkpoints() -> None:
    """Views of one storage, a parameter, other dtypes, and a module's metadata."""
    import torch

    linear = torch.nn.Linear(2, 1)
    linear.load_state_dict({"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([5.0])})
    state = linear.state_dict()
    numbers = torch.arange(12.0)
    state["transposed"] = numbers.reshape(3, 4).T
    state["tail"] = numbers[7:]
    state["parameter"] = torch.nn.Parameter(numbers[:2] / 2)
    state["half"] = torch.tensor([1.5, -2.0], dtype=torch.float16)
    state["bfloat"] = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    state["count"] = torch.tensor(7)
    for name, use_zip in (("zip", True), ("legacy", False)):
        path = FOLDER / f"checkpoint_{name}.pth"
        torch.save(state, path, _use_new_zipfile_serialization=use_zip)


if __name__ == "__main__":
    main()
