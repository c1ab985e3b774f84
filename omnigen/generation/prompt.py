# SPDX-License-Identifier: Apache-2.0
"""Prompts as rows: spans, laid out as in training and cut where the model goes on.

Shape legend: B rows, T prompt length.
"""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from omnigen.models.omni import Omni
from omnigen.sequence import ImageSpan, Sequence, TextSpan, cut, layout, padding

BUCKET = 128  # lengths are multiples of it, so that few are compiled


def prompt_rows(omni: Omni, texts: Iterable[str]) -> Sequence:
    """Lays prompts out up to where the model goes on: numpy rows `[B, T]`.

    All rows end together, padded on the left, with room there for the empty prompt, which guidance
    reads. All but the last element is read ahead, and T - 1 is a multiple of `BUCKET`.
    """
    samples = [_sample(omni, text, sketched=bool(omni.config.sketch_length)) for text in texts]
    room = len(_empty(omni).token) - 1
    longest = max(len(sample.token) for sample in samples) - 1 + room
    length = -(-longest // BUCKET) * BUCKET + 1
    pad = omni.config.specials.pad
    padded = [
        jax.tree.map(lambda *parts: np.concatenate(parts), padding(length - len(s.token), pad), s)
        for s in samples
    ]
    return jax.tree.map(lambda *fields: np.stack(fields), *padded)


def _sample(omni: Omni, text: str, *, sketched: bool) -> Sequence:
    """One prompt, unbatched, up to `[IMG]`, or before it if a sketch comes first."""
    image = ImageSpan(*omni.config.grid, block=omni.config.block)
    specials = omni.config.specials
    sample = layout([TextSpan(omni.text.encode(text)), image], specials, omni.text.encode)
    return cut(sample, specials, sketched=sketched)


def _empty(omni: Omni) -> Sequence:
    """The prompt without words, in a segment of its own; no sketch follows it."""
    empty = _sample(omni, "", sketched=False)
    return dataclasses.replace(empty, segment=np.full_like(empty.segment, 2))


def with_empty(omni: Omni, row: Sequence) -> Sequence:
    """Puts the empty prompt but its last element at the left end of rows, where padding was."""
    parts = _empty(omni).map(lambda field: jnp.asarray(field)[None, :-1])
    size = parts.token.shape[1]
    return jax.tree.map(lambda field, part: field.at[:, :size].set(part), row, parts)


def end_of_empty(omni: Omni, batch: int) -> Sequence:
    """The last element of the empty prompt, `[B, 1]`, which is read next."""
    return _empty(omni).map(lambda field: jnp.repeat(jnp.asarray(field)[None, -1:], batch, axis=0))
