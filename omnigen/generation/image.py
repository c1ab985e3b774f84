# SPDX-License-Identifier: Apache-2.0
"""Rows that draw a picture, a group of tokens a step.

Shape legend: R rows, C branches, G groups of K tokens, S steps of the flow head, D width,
Z latent dim.
"""

import dataclasses

import jax
import jax.numpy as jnp

from omnigen import flow
from omnigen.generation.state import Phase, State
from omnigen.models.heads import TokenSampler
from omnigen.models.omni import Omni
from omnigen.sequence import Array, Modality, Sequence


def elements(omni: Omni, state: State) -> tuple[Sequence, jax.Array]:
    """Returns what rows read before their next group, `[C R, K]`, and tokens `[C R, K, Z]`.

    That is the group before or, for the first, `[IMG]`. Rows that do not draw read nothing.
    """
    branches, group_R = state.branches, state.count
    block = state.places.shape[2]
    last = state.last.map(lambda field: jnp.repeat(field, block, axis=1))

    def of_branches(value: jax.Array) -> jax.Array:
        return jnp.tile(value, (branches, *[1] * (value.ndim - 1)))

    place = of_branches(_at(state.places, group_R - 1))
    start = last.position[..., :1] + 1.0  # all elements of an image share it
    g = of_branches(group_R)[:, None]
    image = dataclasses.replace(
        last,
        token=jnp.full_like(last.token, omni.config.specials.pad),
        modality=jnp.full_like(last.modality, Modality.IMAGE),
        position=jnp.concatenate([start, place], axis=-1),
        group=last.groups + g,
    )

    def first_or_later(first: jax.Array, later: jax.Array) -> jax.Array:
        return jnp.where(g.reshape(-1, *[1] * (first.ndim - 1)) == 0, first, later)

    # One program serves rows at their first group and rows further on, so both are made and one is
    # chosen for each row. The first group is read from `[IMG]`, once for each of its tokens.
    chosen = jax.tree.map(first_or_later, last, image)
    is_drawing = of_branches(state.phase == Phase.IMAGE)[:, None]
    return dataclasses.replace(
        chosen,
        target=of_branches(_at(state.places, group_R)),
        segment=jnp.where(is_drawing, chosen.segment, 0),
    ), of_branches(_at(state.z, group_R - 1))


def taken(sample: TokenSampler, state: State, hidden: jax.Array) -> State:
    """Moves rows that draw a group further; those whose picture is whole are done.

    Args:
        sample: TokenSampler of the flow head.
        state: State when `elements` were read.
        hidden: Hidden states of these elements, `[C R, K, D]`.
    """
    rows, groups, block, width = state.z.shape
    is_drawing_R, group_R = state.phase == Phase.IMAGE, state.count
    z_RKZ = sample(
        hidden.reshape(state.branches, rows * block, -1),
        _at(state.noise, group_R).reshape(rows * block, width),
        guidance=jnp.repeat(state.dials.guidance, block),
        steps=_steps(state.dials.steps, group_R, is_drawing_R, block),
    ).reshape(rows, block, width)
    # Rows that do not draw write past the end, which `mode="drop"` leaves out.
    place_R = jnp.where(is_drawing_R, group_R, groups)
    is_whole_R = is_drawing_R & (group_R == groups - 1)
    return dataclasses.replace(
        state,
        phase=jnp.where(is_whole_R, Phase.DONE, state.phase),
        count=state.count + is_drawing_R,
        z=state.z.at[jnp.arange(rows), place_R].set(z_RKZ, mode="drop"),
    )


def _at(table: Array, group_R: jax.Array) -> jax.Array:
    """Returns the entries `[R, ...]` of `[R, G, ...]` for each row's own group, if it has one."""
    place_R = jnp.clip(group_R, 0, table.shape[1] - 1)
    return jnp.asarray(table)[jnp.arange(len(place_R)), place_R]


def _steps(
    steps: flow.Steps, group_R: jax.Array, is_drawing_R: jax.Array, block: int
) -> flow.Steps:
    """Returns the head's steps for this group: `[S]` if all rows share them, else `[S, R K]`."""
    if steps.at.shape[0] == 1:
        return jax.tree.map(lambda table: table[0], steps)[jnp.max(group_R * is_drawing_R)]
    at, size = (jnp.repeat(_at(t, group_R), block, axis=0).T for t in (steps.at, steps.size))
    if steps.count is None:
        return flow.Steps(at, size)
    return flow.Steps(at, size, jnp.max(_at(steps.count, group_R) * is_drawing_R))
