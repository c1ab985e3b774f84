# SPDX-License-Identifier: Apache-2.0
"""Prompts as rows: spans, laid out as in training and cut where the model goes on.

Guidance draws each picture in two branches and moves away from what the second one says. The second
branch reads the prompt's pictures without its words; of a prompt that is text alone, that is the
empty prompt. So guidance strengthens what the words ask for and leaves alone what the pictures
show, as in the image-conditional branch of InstructPix2Pix (Brooks et al. 2023). Sketches of given
pictures are words, too. Training says the same of rows (`sequence.without_prompts`).

Shape legend: R rows, T elements read ahead, Z latent dim.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Seq

import jax
import jax.numpy as jnp
import numpy as np

from omnigen.generation.spans import Picture, Prompt, Span, spans
from omnigen.models.omni import MOST_TOKENS, Omni, to_pixels
from omnigen.nn.module import Params
from omnigen.sequence import (
    Array,
    ImageSpan,
    Role,
    Sequence,
    TextSpan,
    cut,
    layout,
    padding,
)

BUCKET = 128  # lengths are multiples of it, so that few are compiled
PROMPT, SECOND = 1, 2  # segments of a row: what each branch reads


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prompts:
    """Prompts of rows: numpy from `prompt_rows`, jax inside a program.

    Attributes:
        ahead: Elements that are read in one pass, `[R, T]`. The row's prompt is segment `PROMPT`,
            at the right end; what the second branch reads instead is segment `SECOND`, at the left
            end.
        last: Element that ends the prompt of each row, and then the one that ends what each second
            branch reads, `[2 R, 1]`. They are read with the first step.
        vectors: Tokens of given pictures at their places and zeros elsewhere, float32 `[R, T, Z]`;
            None if no row has a picture.
    """

    ahead: Sequence
    last: Sequence
    vectors: Array | None

    @property
    def rows(self) -> int:
        """The number of rows, R."""
        return self.ahead.token.shape[0]


def prompt_rows(
    omni: Omni, prompts: Iterable[Prompt], params: Mapping[str, Params] | None = None
) -> Prompts:
    """Lays prompts out up to where the model goes on: numpy rows `[B, T]`.

    All rows end together; shorter ones have padding between their two segments. T is a multiple of
    `BUCKET`.

    Args:
        omni: The model.
        prompts: Texts, or texts and pictures.
        params: Weights, of which those of `encoder` are needed if there are pictures.

    Raises:
        ValueError: If the model does not take a picture's size, or there are no weights to encode
            it.
    """
    asked = [spans(prompt) for prompt in prompts]
    rows = laid_out(omni, asked)
    return dataclasses.replace(rows, vectors=vectors(omni, asked, rows, params))


def laid_out(omni: Omni, prompts: Iterable[Prompt], *, lengths: Seq[int] | None = None) -> Prompts:
    """Returns what `prompt_rows` does, without the vectors of pictures; touches no device.

    Args:
        omni: The model.
        prompts: Texts, or texts and pictures.
        lengths: Lengths T that rows may have, ascending; multiples of `BUCKET` if None.

    Raises:
        ValueError: If the model does not take a picture's size, or a prompt is longer than the
            last of the lengths.
    """
    asked = [spans(prompt) for prompt in prompts]
    sketched = bool(omni.config.sketch_length)
    own = [_laid(omni, prompt, PROMPT, sketched=sketched) for prompt in asked]
    second = [_laid(omni, _wordless(prompt), SECOND, sketched=False) for prompt in asked]
    both = list(zip(own, second, strict=True))
    longest = max(len(a.token) + len(b.token) - 2 for a, b in both)
    lengths = lengths or [-(-longest // BUCKET) * BUCKET]
    length = next((length for length in lengths if length >= longest), None)
    if length is None:
        raise ValueError(
            f"a prompt with its pictures has {longest} elements; allowed: up to {lengths[-1]}"
        )
    pad = omni.config.specials.pad
    ahead = _stacked([_filled(a, b, length, pad) for a, b in both])
    last = _stacked([sample.map(lambda field: field[-1:]) for sample in (*own, *second)])
    return Prompts(ahead, last, None)


def _laid(omni: Omni, prompt: Seq[Span], segment: int, *, sketched: bool) -> Sequence:
    """Returns one prompt, unbatched, up to `[IMG]`, or before it if a sketch comes first."""
    config, encode, parts = omni.config, omni.text.encode, []
    for span in prompt:
        if isinstance(span, str):
            parts.append(TextSpan(encode(span), Role.GIVEN))
        else:
            rows, cols = _grid(omni, span)
            sketch, block = encode(span.sketch), config.block
            parts.append(ImageSpan(rows, cols, Role.GIVEN, sketch=sketch, block=block))
    parts.append(ImageSpan(*config.grid, block=config.block))
    sample = cut(layout(parts, config.specials, encode), config.specials, sketched=sketched)
    return dataclasses.replace(sample, segment=np.full_like(sample.segment, segment))


def _grid(omni: Omni, picture: Picture) -> tuple[int, int]:
    """Returns rows and columns of a given picture's tokens."""
    (height, width), side = picture.pixels.shape[:2], omni.config.encoder.token_size
    rows, cols = height // side, width // side
    if height % side or width % side:
        raise ValueError(
            f"a picture has {width} x {height} pixels; allowed: sides that are multiples of {side}"
        )
    if rows * cols > MOST_TOKENS:
        raise ValueError(
            f"a picture of {width} x {height} pixels makes {rows * cols} tokens; allowed: up to "
            f"{MOST_TOKENS}"
        )
    return rows, cols


def _wordless(prompt: Seq[Span]) -> list[Span]:
    """Returns what the second branch reads in place of a prompt."""
    return [dataclasses.replace(span, sketch="") for span in prompt if isinstance(span, Picture)]


def _filled(own: Sequence, second: Sequence, length: int, pad: int) -> Sequence:
    """Returns what is read ahead: both prompts but their last elements, padding between them.

    The last elements are left to the first step, so that a program holds what follows a hidden
    state, logits and flow head, once.
    """
    parts = [part.map(lambda field: field[:-1]) for part in (second, own)]
    gap = padding(length - sum(len(part.token) for part in parts), pad)
    return jax.tree.map(lambda *fields: np.concatenate(fields), parts[0], gap, parts[1])


def vectors(
    omni: Omni,
    asked: Seq[Seq[Span]],
    rows: Prompts,
    params: Mapping[str, Params] | None,
) -> np.ndarray | None:
    """Returns the given pictures' tokens at their places, float32 `[R, T, Z]`; None without any.

    Both branches read the same tokens. Each picture is encoded by itself, so that its tokens do not
    depend on its neighbours, to the bit.

    Args:
        omni: The model.
        asked: Prompts.
        rows: What `laid_out` makes of them.
        params: Weights, of which those of `encoder` are needed if there are pictures.

    Raises:
        ValueError: If there are pictures and no weights to encode them.
    """
    slot_RT = np.asarray(rows.ahead.slot)
    given = {id(span): span for row in asked for span in row if isinstance(span, Picture)}
    if not given:
        return None
    if params is None or "encoder" not in params:
        raise ValueError("a prompt has pictures; allowed: with weights of the encoder")
    tokens = {}
    for key, picture in given.items():
        pixels = to_pixels(jnp.asarray(picture.pixels)[None])
        tokens[key] = np.asarray(omni.encode(params["encoder"], pixels), np.float32)[0]
    found = np.zeros((*slot_RT.shape, omni.config.ar.latent_dim), np.float32)
    for row, prompt in enumerate(asked):
        mine = [tokens[id(span)] for span in prompt if isinstance(span, Picture)]
        is_image = slot_RT[row] >= 0
        if mine:
            found[row, is_image] = np.concatenate(mine)[slot_RT[row, is_image]]
    return found


def _stacked(samples: Seq[Sequence]) -> Sequence:
    return jax.tree.map(lambda *fields: np.stack(fields), *samples)
