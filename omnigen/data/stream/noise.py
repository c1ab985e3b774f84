# SPDX-License-Identifier: Apache-2.0
"""Batches like those that are trained on, of noise: what plans and benches need of data.

No corpus is read and nothing is drawn. Captions are those of the scenes of the mixture, or of all
scenes if it has none; with buckets, pictures have the largest size.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from omnigen.data.corpus.latents import Encoding
from omnigen.data.corpus.pictures import Size
from omnigen.data.stream.examples import DataConfig, Examples
from omnigen.data.stream.pipeline import RowBatches
from omnigen.parallel import DataShard
from omnigen.scenes.scene import Kind, Scene
from omnigen.text import TextTokenizer

if TYPE_CHECKING:
    from omnigen.data.stream.batches import Batch


def images(config: DataConfig, batch_size: int) -> "Batch":
    """A batch like those of `pipeline.images_dataset`."""
    size = _largest(config)
    return {"image": _noise(batch_size, size.height, size.width, 3)}


def rows(
    config: DataConfig,
    text: TextTokenizer,
    token_grid: tuple[int, int],
    batch_size: int,
    encoding: Encoding | None = None,
    *,
    block: int = 1,
) -> "Batch":
    """A batch like those of `pipeline.sequence_dataset`; the same but for the pictures of scenes.

    Raises:
        ValueError: if a row cannot hold the longest example.
    """
    given = RowBatches(config, batch_size, DataShard(), text, token_grid, encoding, block)
    given.check()
    kinds = config.kinds or dict.fromkeys(Kind, 1.0)
    scenes = dataclasses.replace(config, mixture=kinds, buckets="", latents=False)
    captioned = _Captioned(scenes, _largest(config), encoding)
    return dataclasses.replace(given, config=scenes).of(captioned, 0, batch_size)


class _Captioned(Examples):
    """Captions of scenes, and noise for their pictures or latents."""

    def __init__(self, config: DataConfig, size: Size, encoding: Encoding | None) -> None:
        super().__init__(config, 0, {}, [1.0], {})
        self.size = size
        if encoding:
            self._picture = _noise(encoding.tokens, encoding.latent_dim) / np.float16(128) - 1
        else:
            self._picture = _noise(size.height, size.width, 3)

    def _render(self, scene: Scene) -> np.ndarray:
        return self._picture


def _largest(config: DataConfig) -> Size:
    return max(config.sizes, key=lambda size: size.height * size.width)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
