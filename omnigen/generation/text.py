# SPDX-License-Identifier: Apache-2.0
"""Rows that write text, an element a step, until they write the one that ends it.

Shape legend: R rows, D width, P elements at most, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp

from omnigen.generation.state import Phase, State
from omnigen.models.ar import AR
from omnigen.models.omni import Omni
from omnigen.sequence import Sequence

_COLDEST = 1e-4  # a temperature at which the likeliest element always wins


def elements(state: State) -> Sequence:
    """Returns what rows read before their next element, `[R, 1]`; others read nothing."""
    is_writing_R1 = (state.phase == Phase.TEXT)[:, None]
    last = state.last.map(lambda field: field[: state.rows])
    return dataclasses.replace(last, segment=jnp.where(is_writing_R1, last.segment, 0))


def taken(omni: Omni, ar: AR, state: State, hidden_RD: jax.Array) -> State:
    """Moves rows that write a step further; those that end, or have no more room, draw next.

    Args:
        omni: Model that draws.
        ar: Its transformer.
        state: State when `elements` were read.
        hidden_RD: Hidden states of these elements, without guidance.
    """
    specials, end, size = omni.config.specials, omni.config.specials.img, state.ids.shape[1]
    number_V = jnp.arange(omni.config.ar.vocab_size)
    may_follow_V = (number_V < specials.text_vocab) | (number_V == end)
    fold = jax.vmap(jax.random.fold_in)
    temperature_R = jnp.maximum(state.dials.sketch_temperature, _COLDEST)
    scores_RV = ar.logits(hidden_RD[:, None])[:, 0] / temperature_R[:, None]
    scores_RV = jnp.where(may_follow_V[None], scores_RV, -jnp.inf)
    id_R = jax.vmap(jax.random.categorical)(fold(state.keys, state.count), scores_RV)
    # The last place is kept for the element that begins the picture, so every sketch ends.
    id_R = jnp.where(state.count == size - 1, end, id_R).astype(jnp.int32)
    is_writing_R, is_end_R = state.phase == Phase.TEXT, id_R == end
    last = state.last.map(lambda field: field[: state.rows])
    follows = dataclasses.replace(
        last,
        token=id_R[:, None],
        position=jnp.asarray(last.position).at[..., 0].add(1.0),
        group=last.groups + 1,
    )

    def kept(new: jax.Array, old: jax.Array) -> jax.Array:
        """Returns the new element in the first branch of rows that write; all else as it was."""
        is_new = is_writing_R.reshape(-1, *[1] * (old.ndim - 1))
        first = jnp.where(is_new, new, old[: state.rows])
        return jnp.concatenate([first, old[state.rows :]]) if state.branches > 1 else first

    # Rows that do not write would write past the end, which `mode="drop"` leaves out.
    place = jnp.where(is_writing_R, state.count, size)
    count_R = jnp.where(is_end_R, 0, state.count + 1)
    return dataclasses.replace(
        state,
        last=jax.tree.map(kept, follows, state.last),
        phase=jnp.where(is_writing_R & is_end_R, Phase.IMAGE, state.phase),
        count=jnp.where(is_writing_R, count_R, state.count),
        ids=state.ids.at[jnp.arange(state.rows), place].set(id_R, mode="drop"),
    )
