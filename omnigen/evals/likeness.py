# SPDX-License-Identifier: Apache-2.0
"""What learned features make of reconstructions: the suites `fidelity` and `lpips`.

Both compare the first held-out scenes of each kind with what comes back from the tokens. With
scenes as the real pictures, FID and its like say how the tokenizer changes the set as a whole
(often called rFID), LPIPS how each picture changes.
"""

from collections.abc import Iterator

import numpy as np

from omnigen.data import pipeline
from omnigen.data.scenes.scene import Kind
from omnigen.evals import fidelity
from omnigen.evals.judges.inception import Inception
from omnigen.evals.judges.lpips import Lpips, Net
from omnigen.evals.reconstruction import Reconstruction
from omnigen.models.omni import Omni
from omnigen.nn.module import Params


def _scenes(omni: Omni, kind: Kind, *, count: int) -> np.ndarray:
    data = pipeline.DataConfig(image_size=omni.config.image_size)
    examples = pipeline.eval_examples(data, kind, count=count, start=0)
    return np.stack([example.image for example in examples])


class Fidelity:
    """FID, sFID, IS, precision, recall and KID over the scenes of all kinds together."""

    name = "fidelity"

    def __init__(self, omni: Omni, *, inception: Inception, count: int = 64):
        """Judges by `count` pictures of each kind; published FIDs are of 50 000 in all."""
        self._omni, self._inception, self._count = omni, inception, count

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields the metrics of `fidelity.compare`."""
        kinds = [_scenes(self._omni, kind, count=self._count) for kind in Kind]
        images = np.concatenate(kinds)
        drawn = Reconstruction(self._omni).reconstruct({**frozen, **params}, images)
        real = self._inception.features(images)
        yield from fidelity.compare(real, self._inception.features(drawn)).items()


class Perceptual:
    """LPIPS by both nets, per kind of scene and overall."""

    name = "lpips"

    def __init__(self, omni: Omni, *, count: int = 64):
        """Judges by `count` pictures of each kind.

        Raises:
            ValueError: the package with the weights is not installed.
        """
        self._omni, self._count = omni, count
        self._judges = {net: Lpips(net) for net in Net}

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields `KIND/NET`, the mean distance, then over all kinds `NET`."""
        decoder, found = Reconstruction(self._omni), {net: [] for net in Net}
        for kind in Kind:
            images = _scenes(self._omni, kind, count=self._count)
            drawn = decoder.reconstruct({**frozen, **params}, images)
            for net, judge in self._judges.items():
                found[net].append(judge.distances(images, drawn))
                yield f"{kind}/{net}", float(found[net][-1].mean())
        for net, distances in found.items():
            yield net.value, float(np.concatenate(distances).mean())
