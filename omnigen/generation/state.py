# SPDX-License-Identifier: Apache-2.0
"""The state of generation: rows that write text or draw a picture, each at its own pace.

A row is one sample in the making. `begin` makes a state of rows whose prompts have been read;
the steps of `generate.Driver` take all rows that write further, or all that draw, while the others
wait; `insert` puts rows of another state in the place of rows that are done, and `release` ends a
row early. Rows that are done wait unseen. With guidance a row has two branches in the cache, the
second of which has read the prompt's pictures without its words (see `prompt`).

Cache rows may be filled to lengths of their own (`Cache.length` has as many): then what a row
becomes follows from its own inputs, to the bit, whatever its neighbours are. Rows that began
together may share one length (`[1]`), which is faster; those that wait leave holes then.

Shape legend: R rows, C branches, P elements of text at most, N image tokens in G groups of K,
S steps of the flow head, Z latent dim.
"""

import dataclasses
import enum

import jax
import jax.numpy as jnp
import numpy as np

from omnigen import flow
from omnigen.generation.prompt import PROMPT, Prompts
from omnigen.generation.settings import Sampling
from omnigen.models.ar import AR, Cache
from omnigen.models.omni import Omni, OmniConfig
from omnigen.sequence import Array, Sequence, places


class Phase(enum.IntEnum):
    """What a row does next."""

    DONE = 0
    TEXT = 1
    IMAGE = 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dials:
    """Settings that are traced; they may differ from row to row without compiling.

    Attributes:
        guidance: Scale of classifier-free guidance, float32 `[R]`.
        temperature: Scale of the noise that tokens start from, float32 `[R]`.
        sketch_temperature: Temperature of the distribution of text, float32 `[R]`; 0 takes the
            likeliest.
        order: Raster index of each token in the order of drawing, int32 `[R, N]`.
        steps: Steps of the flow head, `[R, G, S]`; or `[1, G, S]` where all rows draw the same
            group at the same time.
    """

    guidance: Array
    temperature: Array
    sketch_temperature: Array
    order: Array
    steps: flow.Steps

    @classmethod
    def of(
        cls, config: OmniConfig, sampling: Sampling, rows: int, *, order: Array | None = None
    ) -> "Dials":
        """Returns the same settings for some rows.

        Args:
            config: Config of the model.
            sampling: The settings.
            rows: Number of rows.
            order: Raster index of each token in the order of drawing; raster order if None.

        Raises:
            ValueError: If the order is no permutation.
        """
        count = config.grid[0] * config.grid[1]
        order = np.arange(count) if order is None else np.asarray(order)
        if sorted(order.tolist()) != list(range(count)):
            raise ValueError(f"order must be a permutation of 0..{count - 1}, got {order}")
        first = sampling.head_steps or config.head.num_steps
        last = sampling.last_head_steps or first
        steps = flow.annealed(config.groups, first=first, last=last, shift=sampling.head_shift)

        def each(value: float) -> np.ndarray:
            return np.full(rows, value, np.float32)

        return cls(
            guidance=each(sampling.guidance),
            temperature=each(sampling.temperature),
            sketch_temperature=each(sampling.sketch_temperature),
            order=np.tile(order.astype(np.int32), (rows, 1)),
            steps=jax.tree.map(lambda table: np.asarray(table)[None], steps),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Rows in the making.

    Attributes:
        caches: What each branch of each row has read: one cache of all, `[C R]`, or one of each
            branch, `[R]`; one, `[R]`, until `branch`.
        last: The text element that each branch reads next, or the `[IMG]` before its picture, `[C
            R, 1]`; not in the cache yet.
        phase: Phases, int32 `[R]`; see `Phase`.
        count: Number of elements of text, or groups of tokens, that the phase has made, int32
            `[R]`.
        keys: Keys `[R]`, which alone decide what is drawn at random.
        dials: Settings.
        ids: Text that was written, int32 `[R, P]`, padded.
        places: Row and column of each token in the order of drawing, float32 `[R, G, K, 2]`.
        noise: Noise where the flow of each token starts, float32 `[R, G, K, Z]`.
        z: Tokens so far in the order of drawing, float32 `[R, G, K, Z]`.
    """

    caches: tuple[Cache, ...]
    last: Sequence
    phase: jax.Array
    count: jax.Array
    keys: jax.Array
    dials: Dials
    ids: jax.Array
    places: jax.Array
    noise: jax.Array
    z: jax.Array

    @property
    def rows(self) -> int:
        """The number of rows, R."""
        return self.phase.shape[0]

    @property
    def branches(self) -> int:
        """The number of branches, C."""
        return self.last.token.shape[0] // self.rows

    def tokens(self) -> jax.Array:
        """Returns the tokens in raster order, `[R, N, Z]`."""
        flat_RNZ = self.z.reshape(self.rows, -1, self.z.shape[-1])
        back_RN = jnp.argsort(jnp.asarray(self.dials.order), axis=-1)
        return jnp.take_along_axis(flat_RNZ, back_RN[..., None], axis=1)


def begin(
    omni: Omni,
    ar: AR,
    prompts: Prompts,
    keys: jax.Array,
    dials: Dials,
    *,
    guided: bool,
    room: int | None = None,
) -> State:
    """Reads prompts; returns a state of one branch, whose rows write their sketches next, or draw.

    With guidance both branches are in one cache row, as segments, until `branch`.

    Args:
        omni: Model that draws.
        ar: Its transformer.
        prompts: From `prompt_rows`.
        keys: Keys, one for each row.
        dials: Settings.
        guided: Whether what the second branch says is read, too, for `branch`.
        room: Number of elements that a cache row holds; as many as these prompts need if None.
    """
    config, (rows, length) = omni.config, prompts.ahead.token.shape
    count = config.grid[0] * config.grid[1]
    noise_RNZ = flow.normal(keys, (rows, count, config.head.latent_dim))
    noise_RNZ = noise_RNZ * jnp.asarray(dials.temperature)[:, None, None]
    # The last elements are not read here but with the first step, so that the program holds what
    # follows a hidden state (logits, flow head) once.
    ahead, last = (part.map(jnp.asarray) for part in (prompts.ahead, prompts.last))
    if not guided:
        is_own = ahead.segment == PROMPT
        ahead = dataclasses.replace(ahead, segment=jnp.where(is_own, ahead.segment, 0))
        last = last.map(lambda field: field[:rows])
    vectors = prompts.vectors
    if vectors is None:
        vectors = jnp.zeros((rows, length, config.ar.latent_dim))
    needed = length + config.sketch_length + count
    _, cache = ar.prefill(
        ahead, jnp.asarray(vectors), cache_length=needed if room is None else room
    )
    shape = (rows, config.groups, config.block)
    places_RN2 = jnp.asarray(places(*config.grid))[jnp.asarray(dials.order)]
    return State(
        caches=(cache,),
        last=last,
        phase=jnp.full(rows, Phase.TEXT if config.sketch_length else Phase.IMAGE, jnp.int32),
        count=jnp.zeros(rows, jnp.int32),
        keys=keys,
        dials=jax.tree.map(jnp.asarray, dials),
        ids=jnp.full((rows, config.sketch_length), config.specials.pad, jnp.int32),
        places=places_RN2.reshape(*shape, 2),
        noise=noise_RNZ.reshape(*shape, -1),
        z=jnp.zeros((*shape, noise_RNZ.shape[-1]), jnp.float32),
    )


def branch(state: State) -> State:
    """Gives each branch of rows that have read prompts for two a cache row of its own."""
    assert state.branches == 2, state.branches
    (cache,) = state.caches
    return dataclasses.replace(state, caches=(cache.repeat(2),))


def branch_apart(state: State) -> State:
    """Does what `branch` does, with a cache for each branch; their rows have own lengths.

    So writing does not touch what the second branch has read, which needs no room for text.
    """
    assert state.branches == 2, state.branches
    first = _of_own_length(state.caches[0])
    size = first.segment.shape[1] - state.ids.shape[1]
    return dataclasses.replace(state, caches=(first, first.head(size)))


def idle(row: State, rows: int) -> State:
    """Returns a state of `rows` rows that are done, for rows of the form of `row` to join."""
    many = jax.tree.map(lambda leaf: jnp.repeat(leaf, rows, axis=0), _alone(row))
    return dataclasses.replace(many, phase=jnp.full(rows, Phase.DONE, jnp.int32))


def insert(state: State, place: jax.Array, row: State) -> State:
    """Returns the state with a state of one row in place of its row number `place`.

    Both have room for as many elements, and as many branches and steps of the head.
    """
    rows = state.rows

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        """Puts into leaves `[R, ...]` and `[C R, ...]`, of which `new` has one row a branch."""
        split = old.reshape(len(new), rows, *old.shape[1:])
        return split.at[:, place].set(new).reshape(old.shape)

    return jax.tree.map(put, state, _alone(row))


def _alone(row: State) -> State:
    """Returns a state of one row whose branches have lengths of their own."""
    assert row.rows == 1, row.rows
    return dataclasses.replace(row, caches=tuple(map(_of_own_length, row.caches)))


def _of_own_length(cache: Cache) -> Cache:
    """Returns a cache whose rows have lengths of their own."""
    return dataclasses.replace(cache, length=jnp.broadcast_to(cache.length, cache.rows))


def release(state: State, place: jax.Array) -> State:
    """Returns the state with a row that is done, whatever it was doing."""
    return dataclasses.replace(state, phase=state.phase.at[place].set(Phase.DONE))
