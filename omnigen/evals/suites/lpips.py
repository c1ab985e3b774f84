# SPDX-License-Identifier: Apache-2.0
"""How much each reconstruction differs from its scene to the eye, as LPIPS measures it."""

from collections.abc import Iterator

import numpy as np

from omnigen import progress
from omnigen.evals.networks.lpips import Backbone, Lpips
from omnigen.evals.suites.reconstruction import Reconstruction, scenes
from omnigen.models.omni import Omni
from omnigen.nn.module import Params
from omnigen.scenes.scene import Kind


class Perceptual:
    """LPIPS by both nets, for each kind of scene and overall."""

    name = "lpips"

    def __init__(self, omni: Omni, *, count: int = 64):
        """Judges by `count` pictures of each kind.

        Raises:
            ValueError: If the package with the weights is not installed.
        """
        self._omni, self._count = omni, count
        self._judges = {net: Lpips(net) for net in Backbone}

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields `KIND/NET`, the mean distance, then over all kinds `NET`."""
        decoder, found = Reconstruction(self._omni), {net: [] for net in Backbone}
        for kind in Kind:
            with progress.work(f"lpips: rebuilding {kind}"):
                images = scenes(self._omni, kind, count=self._count)
                drawn = decoder.reconstruct({**frozen, **params}, images)
            for net, judge in self._judges.items():
                with progress.work(f"lpips: judging {kind} by {net}"):
                    found[net].append(judge.distances(images, drawn))
                yield f"{kind}/{net}", float(found[net][-1].mean())
        for net, distances in found.items():
            yield net.value, float(np.concatenate(distances).mean())
