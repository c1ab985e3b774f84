# SPDX-License-Identifier: Apache-2.0
"""Pictures of prompts: the steps that take rows further, and the loops that draw a batch.

`generate` reads the prompts, lets the model write its sketches if it has learnt to, draws the
tokens and decodes the pictures: two jitted programs, with nothing returning to the host between
tokens.

Shape legend: B pictures, R rows, C branches, N image tokens in groups of K,
P elements of a sketch, D width, Z latent dim.
"""

import dataclasses
import functools
from collections.abc import Mapping
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np

from omnigen.generation import image, state, text
from omnigen.generation.prompt import Prompts
from omnigen.generation.settings import Sampling
from omnigen.generation.state import Dials, Phase, State
from omnigen.models.ar import Stepper
from omnigen.models.heads import TokenSampler
from omnigen.models.omni import Omni
from omnigen.nn.module import Params
from omnigen.sequence import Array


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Pictures, and what the model wrote before it drew them.

    Attributes:
        images: Pictures, float32 `[B, H, W, 3]` in [-1, 1].
        ids: Ids of their sketches, int32 `[B, P]`, padded; `sketches` makes text of them.
    """

    images: jax.Array
    ids: jax.Array


def generate(
    omni: Omni,
    params: Mapping[str, Params],
    prompts: Prompts,
    keys: jax.Array,
    sampling: Sampling = Sampling(),  # noqa: B008  it is frozen
    *,
    order: Array | None = None,
) -> jax.Array:
    """Draws pictures of prompts, float32 `[B, H, W, 3]` in [-1, 1].

    Args:
        omni: Model that draws.
        params: Weights of `decoder`, `ar` and `head`.
        prompts: From `prompt_rows`.
        keys: Keys, one for each picture, which alone decide their noise.
        sampling: How to draw.
        order: Raster index of each token in the order of drawing; raster order if None.

    Raises:
        ValueError: If the order is no permutation.
    """
    return drawn(omni, params, prompts, keys, sampling, order=order).images


def drawn(
    omni: Omni,
    params: Mapping[str, Params],
    prompts: Prompts,
    keys: jax.Array,
    sampling: Sampling,
    *,
    order: Array | None = None,
) -> Drawn:
    """Draws pictures as `generate` does, and keeps their sketches.

    Raises:
        ValueError: If the order is no permutation.
    """
    draw_keys, decode_keys = _split(keys)
    weights = {part: params[part] for part in ("ar", "head")}
    dials = Dials.of(omni.config, sampling, prompts.rows, order=order)
    z, ids = draw(omni, weights, prompts, draw_keys, dials, guided=has_branches(omni, sampling))
    images = omni.decode(params["decoder"], z, decode_keys, num_steps=sampling.decoder_steps)
    return Drawn(images, ids)


def written(
    omni: Omni,
    params: Mapping[str, Params],
    prompts: Prompts,
    keys: jax.Array,
    sampling: Sampling,
) -> jax.Array:
    """Writes the sketches that `drawn` would write with the same keys, and draws nothing.

    Args:
        omni: Model that writes.
        params: Weights of `ar` and `head`.
        prompts: From `prompt_rows`.
        keys: Keys, one for each sketch.
        sampling: How to write.

    Returns:
        Ids of the sketches, int32 `[B, P]`, padded.
    """
    draw_keys, _ = _split(keys)
    weights = {part: params[part] for part in ("ar", "head")}
    return write(omni, weights, prompts, draw_keys, Dials.of(omni.config, sampling, prompts.rows))


def sketches(omni: Omni, ids: Array) -> list[str]:
    """Returns the texts of sketches, of their ids `[B, P]`; what is not UTF-8 becomes U+FFFD."""
    end = omni.config.specials.text_vocab
    texts = [omni.text.decode([int(i) for i in row if i < end]) for row in np.asarray(ids)]
    return [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]


def compile(omni: Omni, prompts: Prompts, sampling: Sampling) -> None:
    """Compiles what `generate` runs for such prompts and settings; needs no weights.

    One program is traced while the other is compiled; a later call finds both.
    """
    batch, (rows, cols) = prompts.rows, omni.config.grid

    def shapes(part: str) -> Params:
        dtype = getattr(omni.config, part).dtype
        as_used = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype)  # noqa: E731
        return jax.tree.map(as_used, omni.nets[part].shapes())

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch))
    weights = {part: shapes(part) for part in ("ar", "head")}
    dials = Dials.of(omni.config, sampling, batch)
    z = jax.ShapeDtypeStruct((batch, rows * cols, omni.config.head.latent_dim), jnp.float32)
    with futures.ThreadPoolExecutor(1) as pool:
        guided = has_branches(omni, sampling)
        drawing = draw.lower(omni, weights, prompts, keys, dials, guided=guided)
        drawn = pool.submit(drawing.compile)
        steps = sampling.decoder_steps
        decoding = Omni.decode.lower(omni, shapes("decoder"), z, keys, num_steps=steps)
        drawn.result()
        decoding.compile()


def has_branches(omni: Omni, sampling: Sampling) -> bool:
    """Returns whether pictures are also drawn without prompts; a head of averages needs none."""
    return sampling.guidance != 1.0 and not omni.config.head.average


@functools.partial(jax.jit, static_argnums=0, static_argnames="guided")
def draw(
    omni: Omni,
    params: Mapping[str, Params],
    prompts: Prompts,
    keys: jax.Array,
    dials: Dials,
    *,
    guided: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Writes sketches and draws the image tokens of rows that begin together.

    With guidance what the second branch reads shares the row of the prompt, as a segment of its
    own; once the sketch is written each picture has two branches, one a segment.

    Args:
        omni: Model that draws.
        params: Weights of `ar` and `head`.
        prompts: From `prompt_rows`.
        keys: Keys, one for each picture.
        dials: Settings that may change from call to call without compiling.
        guided: Whether pictures are also drawn without their prompts, for guidance.

    Returns:
        Tokens `[B, N, Z]` on the sphere, in raster order; ids of the sketches, int32 `[B, P]`,
        padded.
    """
    driver = Driver.of(omni, params)
    now = driver.sketched(state.begin(omni, driver.step.model, prompts, keys, dials, guided=guided))
    if guided:
        now = state.branch(now)
    # The number of steps is known here; a device need not ask after each whether it was the last.
    now = jax.lax.fori_loop(0, omni.config.groups, lambda _, now: driver.draw(now), now)
    return now.tokens(), now.ids


@functools.partial(jax.jit, static_argnums=0)
def write(
    omni: Omni, params: Mapping[str, Params], prompts: Prompts, keys: jax.Array, dials: Dials
) -> jax.Array:
    """Returns the ids of the sketches that `draw` writes, int32 `[B, P]`, padded."""
    driver = Driver.of(omni, params)
    begun = state.begin(omni, driver.step.model, prompts, keys, dials, guided=False)
    return driver.sketched(begun).ids


def prepare(omni: Omni, params: Mapping[str, Params]) -> "Driver":
    """Returns what takes a step, with weights of `ar` and `head` laid out for it on the device."""
    return _prepare(omni, {part: params[part] for part in ("ar", "head")})


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("step", "sample"), meta_fields=("omni",)
)
@dataclasses.dataclass(frozen=True)
class Driver:
    """The transformer and the flow head, prepared for one step after another.

    It is a tree to JAX: whoever calls a program for each step makes it once (`prepare`), or else
    every call slices all weights anew.
    """

    omni: Omni
    step: Stepper
    sample: TokenSampler

    @classmethod
    def of(cls, omni: Omni, params: Mapping[str, Params]) -> "Driver":
        """Prepares the weights of `ar` and `head`, once for all steps."""
        ar, head = omni.ar.bind(params["ar"]), omni.head.bind(params["head"])
        return cls(omni, ar.stepper(), head.sampler())

    def sketched(self, now: State) -> State:
        """Writes the sketches of rows of one branch that begin together, to the last."""
        if not self.omni.config.sketch_length:
            return now
        return jax.lax.while_loop(lambda now: (now.phase == Phase.TEXT).any(), self.write, now)

    def write(self, now: State) -> State:
        """Takes rows that write a step further; the others wait.

        Their first branches have the first cache for themselves.
        """
        element = text.elements(now)
        nothing = jnp.zeros((*element.token.shape, self.omni.config.ar.latent_dim))
        hidden_R1D, written = self.step(now.caches[:1], element, nothing)
        now = text.taken(self.omni, self.step.model, now, hidden_R1D[:, 0])
        return dataclasses.replace(now, caches=(*written, *now.caches[1:]))

    def draw(self, now: State) -> State:
        """Takes rows that draw a step further; the others wait."""
        element, vector = image.elements(self.omni, now)
        hidden, caches = self.step(now.caches, element, vector)
        return dataclasses.replace(image.taken(self.sample, now, hidden), caches=caches)


_split = jax.jit(lambda keys: tuple(jax.vmap(jax.random.split, out_axes=1)(keys)))
_prepare = jax.jit(lambda omni, params: Driver.of(omni, params), static_argnums=0)
