# SPDX-License-Identifier: Apache-2.0
"""Rows of text, given picture, text, picture: what the loss counts and what it may depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.models.omni import Omni
from omnigen.sequence import (
    ImageSpan,
    Role,
    Specials,
    TextSpan,
    layout,
    pack,
    slot_places,
    ungrouped,
)
from omnigen.stages.ar import ARObjective, ARStage, Prepared
from omnigen.text import ByteText


@pytest.mark.parametrize("block", [1, 2, 4])
def test_no_loss_depends_on_what_comes_later(config, data, weights, block):
    """By the derivative of each element's loss with respect to each token of both pictures."""
    spans = [
        TextSpan(list(b"a"), Role.GIVEN),
        ImageSpan(2, 2, Role.GIVEN, block=block),
        TextSpan(list(b"b"), Role.GIVEN),
        ImageSpan(2, 2, block=block),
    ]
    sample = layout(spans, Specials(256), ByteText().encode)
    assert not sample.weight[(sample.slot >= 0) & (sample.slot < 4)].any()
    row = pack([sample], 40, 256)
    row = ungrouped(row) if block == 1 else row
    rows = row.map(lambda field: jnp.asarray(field)[None])
    place, is_used = slot_places(rows.slot, 8)
    omni = Omni(dataclasses.replace(config, block=block))
    stage = ARStage(omni, ARObjective(draws=1), data, weights)
    params, keys = (
        {part: weights[part] for part in ("ar", "head")},
        jax.random.split(jax.random.key(0), 1),
    )
    z = jax.random.normal(jax.random.key(1), (1, 8, 6))

    def loss(weight, z):
        weighted, one = dataclasses.replace(rows, weight=weight), jnp.float32(1.0)
        return stage.loss(params, {}, Prepared(weighted, z, place, is_used, one, one), keys)[0]

    of_each = jax.grad(loss)  # the loss is linear in the weights
    jacobian = jax.jit(jax.jacrev(lambda z: of_each(rows.weight, z)[0, : len(sample.token)]))
    moved = np.abs(np.asarray(jacobian(z))[:, 0]).max(-1) > 1e-9
    group = sample.group
    for i in range(1, len(sample.token)):
        for slot in range(8):
            place = int(np.flatnonzero(sample.slot == slot)[0])
            allowed = place == i or group[place] < group[i]
            assert moved[i, slot] == allowed, (i, slot)
