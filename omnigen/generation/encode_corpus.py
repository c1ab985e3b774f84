# SPDX-License-Identifier: Apache-2.0
"""Encodes a prepared corpus once, on all devices, so that training need not; see `data.latents`."""

import dataclasses
import functools
import math
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from omnigen import cli, files, parallel
from omnigen.checkpoints import fingerprint
from omnigen.data.corpus import latents, pictures
from omnigen.data.corpus.latents import SHARD_ROWS, Encoding
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import Corpus, Rejected
from omnigen.data.corpus.split import Split
from omnigen.models.omni import Omni, stored_config, to_pixels
from omnigen.nn.module import Params


def encode(folder: pathlib.Path, path: str, *, batch_size: int = 64) -> None:
    """Writes the latents of all splits of a corpus; goes on where it was interrupted.

    Processes share the shards among them, and devices each batch.

    Args:
        folder: Folder of the corpus.
        path: Checkpoint that has an encoder.
        batch_size: Number of pictures on each device.

    Raises:
        ValueError: If there is no corpus or checkpoint, or there are latents of another encoder.
    """
    # Stages ask for `encoding_of`, and a recipe that is refused should not wait for Orbax.
    from omnigen.checkpoints import manager
    from omnigen.generation.pretrained import check_weights

    loaded = manager.load_model(path, check=check_weights)
    if "encoder" not in loaded.params:
        raise ValueError(f"{loaded.path}: has no weights of the encoder")
    omni = Omni(stored_config(loaded.config))
    encoder = _Encoder(omni, loaded.params["encoder"], batch_size)
    corpora = [Corpus(folder, split) for split in Split]
    digest = corpora[0].manifest.digest + encoder.encoding.encoder
    claim = folder / latents.FOLDER / "made-of"
    claim.parent.mkdir(exist_ok=True)
    if claim.is_file() and claim.read_text() != digest:
        raise ValueError(f"{claim.parent} holds latents of other weights or pictures; remove it")
    files.write(claim, digest)
    for corpus in corpora:
        if len(corpus):
            _encode_split(corpus, encoder)
    parallel.meet("latents")
    if jax.process_index() == 0:
        latents.finish(folder, encoder.encoding)


def encoding_of(omni: Omni, params: Params) -> Encoding:
    """Returns what the latents depend on that `Omni.encode` makes with the encoder's weights."""
    config, tokens = omni.config, math.prod(omni.config.grid)
    dim, is_local = config.encoder.latent_dim, config.encoder.local
    return Encoding(fingerprint.exact(params), config.image_size, tokens, dim, is_local)


@dataclasses.dataclass(frozen=True)
class _Encoder:
    """An encoder on all devices of this process."""

    omni: Omni
    params: Any
    batch_size: int

    @functools.cached_property
    def encoding(self) -> Encoding:
        return encoding_of(self.omni, self.params)

    @functools.cached_property
    def count(self) -> int:
        """The number of pictures of a batch."""
        return self.batch_size * jax.local_device_count()

    @functools.cached_property
    def _placed(self) -> tuple[Any, NamedSharding]:
        mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("data",))
        params = jax.device_put(self.params, NamedSharding(mesh, PartitionSpec()))
        return params, NamedSharding(mesh, PartitionSpec("data"))

    @functools.cached_property
    def _step(self) -> Any:
        return jax.jit(lambda params, image: self.omni.encode(params, to_pixels(image)))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Encodes at most `count` pictures, uint8 `[B, S, S, 3]`, as float16 `[B, N, Z]`."""
        padded = np.zeros((self.count, *image.shape[1:]), np.uint8)
        padded[: len(image)] = image
        params, spread = self._placed
        return np.asarray(self._step(params, jax.device_put(padded, spread)))[: len(image)].astype(
            np.float16
        )


def _encode_split(corpus: Corpus, encoder: _Encoder) -> None:
    """Encodes those shards of a split that are this process's and not done."""
    array = latents.create(corpus.folder, corpus.split, encoder.encoding, len(corpus))
    starts = range(0, len(corpus), SHARD_ROWS)[jax.process_index() :: jax.process_count()]
    for start in starts:
        done = corpus.folder / latents.FOLDER / f"{corpus.split}-{start}.done"
        if done.exists():
            continue
        since, stop = time.monotonic(), min(start + SHARD_ROWS, len(corpus))
        rows = _encode_rows(corpus, range(start, stop), encoder)
        array[start:stop].write(rows).result()
        done.touch()
        rate = len(rows) / (time.monotonic() - since)
        cli.say(f"{corpus.split}: {stop}/{len(corpus)} encoded, {rate:.0f}/s", sys.stderr)


def _encode_rows(corpus: Corpus, indices: range, encoder: _Encoder) -> np.ndarray:
    """Returns the latents of records; NaN for those that cannot be read."""
    encoding = encoder.encoding
    rows = np.full((len(indices), encoding.tokens, encoding.latent_dim), np.nan, np.float16)
    images, places = [], []
    for place, index in enumerate(indices):
        try:
            images.append(pictures.load(corpus[index].image, Size.square(encoding.image_size)))
            places.append(place)
        except Rejected:
            continue
    for start in range(0, len(images), encoder.count):
        stop = start + encoder.count
        rows[places[start:stop]] = encoder(np.stack(images[start:stop]))
    return rows
