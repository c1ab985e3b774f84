# SPDX-License-Identifier: Apache-2.0
"""Batches like those that are trained on, of noise: what plans and benches need of data.

No corpus is read and nothing is drawn. Captions are those of the scenes of the mixture, or of all
scenes if it has none; with buckets, pictures have the largest size. Readings are those of all but
corpora, or of the same scenes.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from omnigen.batch import Pictures, Rows
from omnigen.data.corpus.latents import Encoding
from omnigen.data.corpus.pictures import Size
from omnigen.data.stream import world
from omnigen.data.stream.examples import Bucket, DataConfig
from omnigen.data.stream.pipeline import RowBatches
from omnigen.data.stream.recorded import Recorded
from omnigen.data.stream.world import World
from omnigen.parallel import DataShard
from omnigen.text import TextTokenizer


def images(config: DataConfig, batch_size: int) -> Pictures:
    """Returns a batch like those of `pipeline.images_dataset`."""
    size = _largest(config)
    return Pictures(_noise(batch_size, size.height, size.width, 3))


def rows(
    config: DataConfig,
    text: TextTokenizer,
    token_grid: tuple[int, int],
    batch_size: int,
    encoding: Encoding | None = None,
    *,
    block: int = 1,
) -> Rows:
    """Returns a batch like those of `pipeline.sequence_dataset`, except for the pictures of scenes.

    Raises:
        ValueError: If a row cannot hold the longest example.
    """
    given = RowBatches(config, batch_size, DataShard(), text, token_grid, encoding, block)
    given.check()
    kinds = world.weights_of(config) or world.EVERY
    made = {n: w for n, w in config.reading_mixture.items() if not Recorded.takes(n)}
    drawn = dataclasses.replace(
        config, mixture=kinds, reading_mixture=made, buckets="", latents=False
    )
    size = _largest(config)
    if encoding:
        picture = _noise(encoding.tokens, encoding.latent_dim) / np.float16(128) - 1
    else:
        picture = _noise(size.height, size.width, 3)
    bucket = Bucket(0, size, [(_Noisy(kinds, drawn, picture), 1.0)], seed=config.seed)
    return dataclasses.replace(given, config=drawn).of(bucket, 0, batch_size)


class _Noisy(World):
    """Captions of scenes, and noise for their pictures or latents."""

    def __init__(
        self, weights: Mapping[str, float], config: DataConfig, picture: np.ndarray
    ) -> None:
        super().__init__(weights, config)
        self._picture = picture

    def _render(self, scene: object, size: Size) -> np.ndarray:
        return self._picture


def _largest(config: DataConfig) -> Size:
    return max(config.sizes, key=lambda size: size.height * size.width)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
