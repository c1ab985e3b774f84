# SPDX-License-Identifier: Apache-2.0
"""Batches: what data make and stages learn from. The loop in between sees trees of arrays.

Leaves are numpy arrays in `data/` and JAX arrays in stages. Shape legend: B rows, I pictures a row,
N latents a row, Z latent dim, H W pixels.
"""

import dataclasses
from collections.abc import Sequence as Seq
from typing import TypeVar

import jax
import numpy as np

from omnigen.sequence import Array, Sequence


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures alone.

    Attributes:
        image: Pixels, uint8 `[B, H, W, 3]`.
    """

    image: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Packed rows with their pictures, as pixels or as latents.

    Attributes:
        sequence: Elements of the rows.
        image: Pixels, uint8 `[B, I, H, W, 3]`, black where a row holds fewer pictures; None if
            there are latents.
        latents: Latents, float16 `[B, N, Z]`, zero where a row holds fewer; None if there are
            pixels.
    """

    sequence: Sequence
    image: Array | None = None
    latents: Array | None = None


Batch = Rows | Pictures
Tree = TypeVar("Tree")


def stack(rows: Seq[Tree]) -> Tree:
    """Returns a batch of unbatched trees of numpy arrays."""
    return jax.tree.map(lambda *fields: np.stack(fields), *rows)


def copied(batch: Tree) -> Tree:
    """Returns a batch whose numpy arrays own their memory."""
    return jax.tree.map(np.array, batch)
