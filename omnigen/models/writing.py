# SPDX-License-Identifier: Apache-2.0
"""Text that the transformer writes, element after element, until it writes a given one.

Shape legend: B rows, P elements at most, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from omnigen.models.ar import Cache, Stepper
from omnigen.sequence import Sequence, Specials

_COLDEST = 1e-4  # a temperature at which the likeliest always wins


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Written:
    """Rows while they are written.

    Attributes:
        cache: what the transformer has read.
        last: the element that it reads next, `[B, 1]`; where done, the one that ended the text.
        done: bool `[B]`.
        ids: what was written, int32 `[B, P]`; padding after its end.
        count: elements written, scalar.
    """

    cache: Cache
    last: Sequence
    done: jax.Array
    ids: jax.Array
    count: jax.Array


def write(
    step: Stepper,
    cache: Cache,
    last: Sequence,
    keys: jax.Array,
    *,
    specials: Specials,
    end: int,
    size: int,
    temperature: jax.Array | np.float32,
) -> Written:
    """Writes each row until it ends; rows that are done wait for the others unseen.

    Args:
        step: the transformer.
        cache: what it has read, with room for `size` elements more.
        last: the element `[B, 1]` after which it goes on, not in the cache yet.
        keys: one for each row, which alone decides what is drawn there.
        specials: ids of the special tokens, of which only `end` may be written.
        end: the id that ends a text.
        size: most elements, `end` included; it is written there at the latest.
        temperature: of the distribution; 0 takes the likeliest.
    """
    batch, config = last.token.shape[0], step.model.config
    nothing = jnp.zeros((batch, 1, config.latent_dim))
    number_V = jnp.arange(config.vocab_size)
    may_follow_V = (number_V < specials.text_vocab) | (number_V == end)
    fold = jax.vmap(jax.random.fold_in, (0, None))

    def body(now: Written) -> Written:
        segment = jnp.where(now.done[:, None], 0, now.last.segment)
        element = dataclasses.replace(now.last, segment=segment)
        hidden_B1D, cache = step(now.cache, element, nothing)
        scores_BV = step.model.logits(hidden_B1D)[:, 0] / jnp.maximum(temperature, _COLDEST)
        scores_BV = jnp.where(may_follow_V[None], scores_BV, -jnp.inf)
        id_B = jax.vmap(jax.random.categorical)(fold(keys, now.count), scores_BV)
        id_B = jnp.where(now.count == size - 1, end, id_B).astype(jnp.int32)
        follows = dataclasses.replace(
            now.last,
            token=id_B[:, None],
            position=jnp.asarray(now.last.position).at[..., 0].add(1.0),
            group=now.last.group + 1,
        )

        def unless_done(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(now.done.reshape(-1, *[1] * (old.ndim - 1)), old, new)

        return Written(
            cache=cache,
            last=jax.tree.map(unless_done, follows, now.last),
            done=now.done | (id_B == end),
            ids=now.ids.at[:, now.count].set(jnp.where(now.done, specials.pad, id_B)),
            count=now.count + 1,
        )

    ids = jnp.full((batch, size), specials.pad, jnp.int32)
    start = Written(cache, last, jnp.zeros(batch, bool), ids, jnp.int32(0))
    return jax.lax.while_loop(lambda now: ~now.done.all(), body, start)
