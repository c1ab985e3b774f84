# SPDX-License-Identifier: Apache-2.0
"""Writes lpips.json: the distances that the authors' code gives with seeded weights.

Run by hand where torch, torchvision and lpips are installed; see README.md.
"""

import json
import pathlib

import numpy as np
from inception import images, tensor

FOLDER = pathlib.Path(__file__).parent


def main() -> None:
    import lpips
    import torch

    first, second = images()
    pairs = np.stack([[first, second], [first, first[:, ::-1]], [second, second[::-1]]])
    pixels = torch.from_numpy(pairs).permute(1, 0, 4, 2, 3).float() / 127.5 - 1
    found = {}
    for name, net in (("alexnet", "alex"), ("vgg16", "vgg")):
        model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False).eval()
        trunk = [m for m in model.net.modules() if isinstance(m, torch.nn.Conv2d)]
        with torch.no_grad():
            for i, layer in enumerate(trunk):
                for part in (layer.weight, layer.bias):
                    part.copy_(torch.from_numpy(tensor(f"{name}/{i}", tuple(part.shape))))
            for i in range(5):
                weight = getattr(model, f"lin{i}").model[-1].weight
                weight.copy_(torch.from_numpy(tensor(f"{name}/lin{i}", tuple(weight.shape))).abs())
            found[name] = model(pixels[0], pixels[1]).flatten().tolist()
    (FOLDER / "lpips.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
