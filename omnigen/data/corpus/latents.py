# SPDX-License-Identifier: Apache-2.0
"""Latents of a corpus, encoded once: a row of a TensorStore array for every record of a split.

    DIR/latents/train, DIR/latents/test     zarr3 arrays, float16 `[records, tokens, latent dim]`
    DIR/latents/latents.json                which encoder made them of which records; written last

Rows are chunks of their own in shards of `SHARD_ROWS`, each with a CRC-32C, so that any row is one
read and a flipped byte is noticed. Shards are written whole, in any order, by any process.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from omnigen import files
from omnigen.data.corpus.records import Corpus, Manifest, Reason, Records, Rejected
from omnigen.data.corpus.split import Split

FOLDER = "latents"
SHARD_ROWS = 512
_INDEX = "latents.json"


@dataclasses.dataclass(frozen=True)
class Encoding:
    """What latents depend on.

    Attributes:
        weights: Fingerprint of the encoder's weights, to the last bit.
        image_size: Side of the pictures that were encoded, in pixels.
        tokens: Number of tokens of a picture.
        latent_dim: Number of dims of a token.
        is_local: Whether a token is made of its own pixels alone.
    """

    weights: str
    image_size: int
    tokens: int
    latent_dim: int
    is_local: bool = False

    @property
    def encoder(self) -> str:
        """Names the encoder."""
        return f"{self.weights}-local" if self.is_local else self.weights

    def described(self, corpus: str) -> dict[str, Any]:
        """Returns what is stored beside latents, for the digest of their corpus."""
        kept = {name: getattr(self, name) for name in ("image_size", "tokens", "latent_dim")}
        return {"corpus": corpus, "encoder": self.encoder, **kept}


def create(folder: pathlib.Path, split: Split, encoding: Encoding, count: int) -> Any:
    """Opens the array of a split for writing; an existing one is kept."""
    import tensorstore

    row = [1, encoding.tokens, encoding.latent_dim]
    crc = {"name": "crc32c"}
    inner = [{"name": "bytes", "configuration": {"endian": "little"}}, crc]
    sharding = {"chunk_shape": row, "codecs": inner, "index_codecs": inner}
    return tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{folder / FOLDER / split}/"},
            "metadata": {
                "shape": [count, *row[1:]],
                "data_type": "float16",
                "fill_value": "NaN",
                "chunk_grid": {
                    "name": "regular",
                    "configuration": {"chunk_shape": [SHARD_ROWS, *row[1:]]},
                },
                "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            },
        },
        create=True,
        open=True,
    ).result()


def finish(folder: pathlib.Path, encoding: Encoding) -> None:
    """Declares the latents of a corpus complete."""
    content = encoding.described(Manifest.read(folder).digest)
    files.write(folder / FOLDER / _INDEX, json.dumps(content, indent=1) + "\n")


class Latents:
    """The latents of one split, by the index of the record."""

    def __init__(self, corpus: Records, encoding: Encoding) -> None:
        """Checks that the latents are of this corpus and this encoder.

        Raises:
            ValueError: If there are no latents, or they are stale.
        """
        if not isinstance(corpus, Corpus):
            raise ValueError(
                f"latents is True; allowed: only with prepared corpora, and "
                f"{str(corpus.folder)!r} is none"
            )
        self._folder, self._split, self._tokens = corpus.folder, corpus.split, encoding.tokens
        again = f"python -m omnigen.encode --corpus {corpus.folder} --checkpoint ..."
        try:
            content = json.loads((corpus.folder / FOLDER / _INDEX).read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{corpus.folder} has no latents; make them: {again}") from error
        wanted = encoding.described(corpus.manifest.digest)
        stale = [name for name in wanted if content.get(name) != wanted[name]]
        if stale:
            raise ValueError(
                f"{corpus.folder}: the latents are of another {' and '.join(stale)}; remove "
                f"{corpus.folder / FOLDER} and make them again: {again}"
            )
        self._array: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns the latents of a record, float16 `[tokens, latent dim]`.

        Raises:
            Rejected: If the row is damaged, or its picture was.
        """
        import tensorstore

        if self._array is None:
            path = f"{self._folder / FOLDER / self._split}/"
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
            self._array = tensorstore.open(spec, read=True).result()
        try:
            row = self._array[index].read().result()
        except ValueError as error:
            raise Rejected(Reason.RECORD, str(error)) from error
        if np.isnan(row[0, 0]):
            raise Rejected(Reason.RECORD, f"picture {index} was not encoded")
        return row
