# SPDX-License-Identifier: Apache-2.0
"""A tiny model, and batches made by hand: packed rows of captions and noise for pictures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from omnigen.batch import Pictures, Rows, stack
from omnigen.data.stream.pipeline import DataConfig
from omnigen.models.omni import Omni
from omnigen.sequence import ImageSpan, Specials, TextSpan, layout, pack
from omnigen.text import ByteText

SIZE, ROW, PICTURES, TOKENS = 16, 40, 2, 4
CONFIG = dataclasses.replace(
    toys.CONFIG,
    image_size=SIZE,
    encoder=dataclasses.replace(toys.CONFIG.encoder, num_layers=1),
    decoder=dataclasses.replace(toys.CONFIG.decoder, num_layers=1),
    ar=dataclasses.replace(toys.CONFIG.ar, head_dim=8),
    head=dataclasses.replace(toys.CONFIG.head, num_blocks=1, num_steps=2),
)


@pytest.fixture(scope="session")
def config():
    return CONFIG


@pytest.fixture(scope="session")
def data():
    return DataConfig(image_size=SIZE, row_length=ROW, images_per_row=PICTURES)


@pytest.fixture(scope="session")
def weights():
    """Of the whole model, drawn in numpy, those that start at 0 or 1 included."""
    rng = np.random.default_rng(2)

    def draw(path, leaf):
        x = rng.standard_normal(leaf.shape)
        if path[-1].key == "w":
            return jnp.asarray(x / np.sqrt(leaf.shape[-2]), jnp.float32)
        return jnp.asarray(0.1 * x + (path[-1].key == "scale"), jnp.float32)

    nets = Omni(CONFIG).nets
    return {
        part: jax.tree_util.tree_map_with_path(draw, net.shapes()) for part, net in nets.items()
    }


@pytest.fixture(scope="session")
def keys():
    return lambda count: jax.random.split(jax.random.key(7), count)


@pytest.fixture(scope="session")
def pictures():
    """A batch of the tokenizer stages."""

    def make(count, width=SIZE):
        rng = np.random.default_rng(0)
        return Pictures(rng.integers(0, 256, (count, SIZE, width, 3), np.uint8))

    return make


@pytest.fixture(scope="session")
def rows():
    """A batch of the autoregressive stage: one or two samples a row, captions of any length."""

    def make(count, *, random_order=False, block=1):
        rng = np.random.default_rng(1)
        packed = []
        for row in range(count):
            samples = []
            for _ in range(1 + row % PICTURES):
                order = rng.permutation(TOKENS) if random_order else None
                caption = rng.integers(97, 123, rng.integers(0, 7)).tolist()
                spans = [TextSpan(caption), ImageSpan(2, 2, order=order, block=block)]
                samples.append(layout(spans, Specials(256), ByteText().encode))
            packed.append(pack(samples, ROW + PICTURES * (block - 1), 256))
        image = rng.integers(0, 256, (count, PICTURES, SIZE, SIZE, 3), np.uint8)
        return Rows(stack(packed), image)

    return make


@pytest.fixture(scope="session")
def assert_close_gradients():
    """Leaf by leaf, to a part of its largest: a partitioner may be wrong in one leaf alone."""

    def check(ours, theirs):
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True
        ):
            bound = 1e-4 * float(np.abs(b).max()) + 1e-7
            name = jax.tree_util.keystr(path)
            np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=bound, err_msg=name)

    return check
