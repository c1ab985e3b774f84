# SPDX-License-Identifier: Apache-2.0
import jax
import numpy as np

from omnigen.batch import Pictures, Rows, copied, stack
from omnigen.checkpoints import checksums
from omnigen.sequence import padding, ungrouped


class Shared(np.ndarray):
    """An array whose memory is another's, as workers hand them over."""


def test_rows_are_stacked_field_by_field():
    rows = [Rows(padding(4, pad), np.full((2, 1, 1, 3), pad, np.uint8)) for pad in (5, 6, 7)]
    batch = stack(rows)
    assert batch.sequence.token.tolist() == [[5] * 4, [6] * 4, [7] * 4]
    assert batch.image.shape == (3, 2, 1, 1, 3) and batch.image[:, 0, 0, 0, 0].tolist() == [5, 6, 7]
    assert batch.latents is None and batch.sequence.group.shape == (3, 4)
    bare = stack([Rows(ungrouped(padding(4, 5)), latents=np.zeros((8, 2), np.float16))] * 2)
    assert bare.sequence.group is None and bare.image is None and bare.latents.shape == (2, 8, 2)


def test_a_copy_owns_its_memory():
    memory = np.arange(24, dtype=np.uint8)
    batch = Pictures(memory.view(Shared).reshape(2, 2, 2, 3))
    copy = copied(batch)
    memory[:] = 0
    assert copy.image.ravel().tolist() == list(range(24))
    assert type(copy.image) is np.ndarray and copy.image.base is None


def test_leaves_are_named_by_their_fields():
    """As the evidence of a run that ended names them."""
    batch = Rows(padding(4, 5), np.zeros((2, 1, 1, 3), np.uint8))
    names = [name for name, _ in checksums.paths(batch, "")]
    assert names[:2] == ["sequence/token", "sequence/slot"] and names[-1] == "image"
    assert len(names) == len(jax.tree.leaves(batch)) == 9
