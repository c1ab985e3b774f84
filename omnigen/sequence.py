# SPDX-License-Identifier: Apache-2.0
"""Text and images as one sequence: the struct, its layouts, packing and the mask rule.

A sample is a list of spans, text or image; a layout turns it into elements. Every field is `[B,
L]`-shaped unless said, and `[L]` before batching. Arrays are numpy when they come from a data
pipeline and jax inside a program.

    [BOS] text [BOI] "rows*cols" sketch [IMG] z ... z [EOI] [EOS]

The sketch is what a model writes about a picture before it draws it: any text, often none.

Position i holds element i and the place of element i+1 (`target`), whose content it predicts. So
raster and random orders differ in data only. Position q sees position k iff both are in the same
segment and `group[k] <= group[q]`: with one element a group this is causal attention; a larger
group is seen whole by its members.

An image may come in groups of k elements (`ImageSpan.block`). Each then predicts the k-th element
after it, of which it has seen no sibling, and `[IMG]` stands k times, to predict the first group.
Elements of a group do not see each other's noise: this is the parallel step of MAR (Li et al.
2024), also where one group is the whole image, and not diffusion over the image.

Diffusion over an image (Transfusion), VAR and xAR need query elements: elements that predict
themselves and carry a content vector and a time. The mask rule has room for them. With `shown` for
elements that others may read, and `kind` for what an element is,

    q sees k iff same segment and ((group[k] < group[q] and shown[k]) or
                                   (group[k] == group[q] and kind[k] == kind[q]))

so that a query is hidden as a key outside its own group. No layout has them yet.
"""

import dataclasses
import enum
import functools
from collections.abc import Callable
from collections.abc import Sequence as Seq

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray | jax.Array

NUM_SPECIALS = 8  # six are in use


class Modality(enum.IntEnum):
    """The kind of an element."""

    PAD = 0
    TEXT = 1
    IMAGE = 2


class Role(enum.StrEnum):
    """Whether a span is handed to the model or learnt by it (loss weight 0 or 1)."""

    GIVEN = "given"
    GENERATED = "generated"


@dataclasses.dataclass(frozen=True)
class Specials:
    """Ids of the special tokens, which follow the `text_vocab` ids of the text tokenizer."""

    text_vocab: int

    @property
    def pad(self) -> int:
        """The id that fills rows; never seen, never learnt."""
        return self.text_vocab

    @property
    def bos(self) -> int:
        """The id that begins a sample."""
        return self.text_vocab + 1

    @property
    def eos(self) -> int:
        """The id that ends a sample."""
        return self.text_vocab + 2

    @property
    def boi(self) -> int:
        """The id that begins an image; its size follows as text, and a sketch if there is one."""
        return self.text_vocab + 3

    @property
    def img(self) -> int:
        """The id that ends size and sketch; image elements follow."""
        return self.text_vocab + 4

    @property
    def eoi(self) -> int:
        """The id that ends an image."""
        return self.text_vocab + 5

    @property
    def vocab_size(self) -> int:
        """The number of text ids and specials together."""
        return self.text_vocab + NUM_SPECIALS


@dataclasses.dataclass(frozen=True)
class TextSpan:
    """Some text ids."""

    ids: Seq[int]
    role: Role = Role.GENERATED


@dataclasses.dataclass(frozen=True)
class ImageSpan:
    """An image of `rows * cols` elements.

    Attributes:
        rows: Height of the grid.
        cols: Width of the grid.
        role: Given images carry no loss. They are read as drawn ones are, an element or a group
            after another, so that a picture means the same to the model, drawn or given.
        order: Raster index of each element in the order of the sequence; None for raster order.
        stride: Side of an element in units of the finest grid, so that a preview's places agree
            with the picture's.
        sketch: Text ids that stand between the image's size and its elements.
        block: Number of elements of a group, predicted together; the last group may have fewer.
    """

    rows: int
    cols: int
    role: Role = Role.GENERATED
    order: np.ndarray | None = None
    stride: float = 1.0
    sketch: Seq[int] = ()
    block: int = 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sequence:
    """A batch of rows of elements (see the module's docstring).

    Attributes:
        token: Text or special id, int32; `pad` at image elements.
        slot: Index of an image element among the row's latents, int32; -1 elsewhere.
        modality: Kind of the element, int32 `Modality`.
        position: Sequence, row and column for RoPE, float32 `[B, L, 3]`.
        target: Row and column of the element that this position predicts, float32 `[B, L, 2]`; -1
            if it is no image element.
        group: Group of the mask rule, int32; None where each element is a group of its own, in the
            order of the row, so that the mask is causal by the form of the batch (see `ungrouped`).
        segment: Number of the packed sample, int32, from 1; 0 is padding.
        weight: Loss weight of the element itself, float32, as predicted from the position before
            it.
    """

    token: Array
    slot: Array
    modality: Array
    position: Array
    target: Array
    group: Array | None
    segment: Array
    weight: Array

    @property
    def groups(self) -> Array:
        """The groups, also of whole rows that carry none."""
        if self.group is not None:
            return self.group
        return np.broadcast_to(np.arange(self.segment.shape[-1]), self.segment.shape)

    def map(self, function: Callable[[Array], Array]) -> "Sequence":
        """Applies a function to every field."""
        return jax.tree.map(function, self)


def layout(
    spans: Seq[TextSpan | ImageSpan], specials: Specials, encode: Callable[[str], Seq[int]]
) -> Sequence:
    """Lays spans out as one sample.

    Args:
        spans: Contents of the sample, in order.
        specials: Ids of the special tokens.
        encode: Text tokenizer, for the size of an image.

    Returns:
        An unbatched numpy sequence in segment 1. Slots count the image elements of the sample in
        raster order, image after image. The first element carries no loss, since nothing comes
        before it.
    """
    parts: list[Sequence] = []
    ids, weights = [specials.bos], [0.0]  # of the text before the next image
    slots, weight = 0, 0.0
    for span in spans:
        weight = float(span.role == Role.GENERATED)
        if isinstance(span, TextSpan):
            ids += span.ids
            weights += [weight] * len(span.ids)
            continue
        size = encode(f"{span.rows}*{span.cols}")
        head = [specials.boi, *size, *span.sketch]
        parts.append(_text_part([*ids, *head], [*weights, *[weight] * len(head)]))
        parts.append(_image_part(span, slots, specials))
        ids, weights = [specials.eoi], [weight]
        slots += span.rows * span.cols
    parts.append(_text_part([*ids, specials.eos], [*weights, weight]))
    return _join(parts)


def cut(sample: Sequence, specials: Specials, *, sketched: bool) -> Sequence:
    """Returns a sample up to where a model begins to generate its first generated image.

    Args:
        sample: Unbatched sample, from `layout`.
        specials: Ids of the special tokens.
        sketched: Whether the model writes a sketch first: then `[IMG]` is not part of the prompt.
    """
    # Given images have no weight, so this finds the first one that is to be drawn.
    first = int(np.argmax((sample.slot >= 0) & (sample.weight > 0)))
    begin = int(np.flatnonzero(sample.token[:first] != specials.img)[-1]) + 1
    return sample.map(lambda field: field[: begin + (not sketched)])


def pack(samples: Seq[Sequence], length: int, pad: int) -> Sequence:
    """Puts samples one after another in a row, each its own segment; slots go on counting.

    Raises:
        ValueError: If the samples do not fit.
    """
    total = sum(len(sample.token) for sample in samples)
    if total > length:
        raise ValueError(f"{total} elements do not fit a row of {length}")
    slots = 0
    placed = []
    for number, sample in enumerate(samples, start=1):
        slot = np.where(sample.slot >= 0, sample.slot + slots, -1).astype(np.int32)
        slots += int((sample.slot >= 0).sum())
        placed.append(
            dataclasses.replace(sample, slot=slot, segment=np.full_like(sample.segment, number))
        )
    placed.append(padding(length - total, pad))
    return _concatenated(placed)


def padding(length: int, pad: int) -> Sequence:
    """Returns an unbatched numpy sequence that holds nothing."""
    return Sequence(
        token=np.full(length, pad, np.int32),
        slot=np.full(length, -1, np.int32),
        modality=np.full(length, Modality.PAD, np.int32),
        position=np.zeros((length, 3), np.float32),
        target=np.full((length, 2), -1, np.float32),
        group=np.zeros(length, np.int32),
        segment=np.zeros(length, np.int32),
        weight=np.zeros(length, np.float32),
    )


def places(rows: int, cols: int, *, stride: float = 1.0) -> np.ndarray:
    """Returns row and column of elements' centres, raster order, float32 `[rows * cols, 2]`."""
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), axis=-1)
    return ((grid.reshape(-1, 2) + 0.5) * stride).astype(np.float32)


def may_attend(query: Sequence, key: Sequence) -> jax.Array:
    """Returns the mask rule, dense: bool `[B, Q, K]`."""
    same = query.segment[:, :, None] == key.segment[:, None, :]
    earlier = key.groups[:, None, :] <= query.groups[:, :, None]
    return jnp.asarray(same & earlier & (key.segment[:, None, :] > 0))


def ungrouped(sequence: Sequence) -> Sequence:
    """Returns whole rows without their groups, so that programs know that the mask is causal.

    Raises:
        ValueError: If the mask rule is another.
    """
    if not is_causal(sequence):
        raise ValueError("rows have groups of several elements; their mask is not causal")
    return dataclasses.replace(sequence, group=None)


def is_causal(sequence: Sequence) -> bool:
    """Returns whether the mask rule is causal within segments; for concrete arrays only."""
    group, segment = np.asarray(sequence.groups), np.asarray(sequence.segment)
    same = segment[..., 1:] == segment[..., :-1]
    return bool(np.all((np.diff(group, axis=-1) > 0) | ~same | (segment[..., 1:] == 0)))


def without_prompts(sequence: Sequence, specials: Specials, size: int) -> Sequence:
    """Returns rows as if captions and sketches were empty, so that none is seen.

    They become padding where they stand, and what follows moves up on the sequence axis. Images
    stay, given ones too, so this is what the second branch of guidance reads (`generation.prompt`).

    Args:
        sequence: Rows of samples of texts and images.
        specials: Ids of the special tokens.
        size: Number of text elements that an image's size takes.
    """
    token, is_text = jnp.asarray(sequence.token), jnp.asarray(sequence.modality) == Modality.TEXT
    is_boi = token == specials.boi
    kept = token >= specials.text_vocab
    for behind in range(1, size + 1):
        kept |= jnp.pad(is_boi, ((0, 0), (behind, 0)))[:, : token.shape[1]]
    gone = is_text & ~kept
    moved = jnp.cumsum(gone, axis=1)
    position = jnp.asarray(sequence.position)
    return dataclasses.replace(
        sequence,
        position=position.at[..., 0].add(-moved.astype(position.dtype)),
        segment=jnp.where(gone, 0, jnp.asarray(sequence.segment)),
    )


def gather_slots(latents_BND: jax.Array, slot_BL: Array) -> jax.Array:
    """Puts each image element's latent at its place in the row; zeros elsewhere.

    Args:
        latents_BND: Latents of the row, image after image, each in raster order.
        slot_BL: Index of the latent at each position; -1 for none.

    Returns:
        `[B, L, D]`.
    """
    slot_BL = jnp.asarray(slot_BL)
    taken_BLD = jnp.take_along_axis(latents_BND, jnp.maximum(slot_BL, 0)[:, :, None], axis=1)
    return jnp.where(slot_BL[:, :, None] >= 0, taken_BLD, 0.0)


def slot_places(slot_BL: Array, num_slots: int) -> tuple[jax.Array, jax.Array]:
    """Inverts `slot`: returns where in the row each latent stands.

    Args:
        slot_BL: Index of the latent at each position; -1 for none.
        num_slots: Number of latents of a row, N.

    Returns:
        int32 `[B, N]` positions, and bool `[B, N]`, whether the latent is in the row at all.
    """
    slot_BL = jnp.asarray(slot_BL)
    batch, length = slot_BL.shape
    row = jnp.broadcast_to(jnp.arange(batch, dtype=jnp.int32)[:, None], slot_BL.shape)
    index = jnp.where(slot_BL >= 0, slot_BL, num_slots)
    position = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None], slot_BL.shape)
    place = jnp.full((batch, num_slots), -1, jnp.int32).at[row, index].set(position, mode="drop")
    return jnp.maximum(place, 0), place >= 0


def _text_part(ids: Seq[int], weights: Seq[float]) -> Sequence:
    count = len(ids)
    position = np.zeros((count, 3), np.float32)
    position[:, 0] = 1.0  # advances the sequence axis by one an element; made absolute in `_join`
    return Sequence(
        token=np.array(ids, np.int32),
        slot=np.full(count, -1, np.int32),
        modality=np.full(count, Modality.TEXT, np.int32),
        position=position,
        target=np.full((count, 2), -1, np.float32),
        group=np.ones(count, np.int32),
        segment=np.zeros(count, np.int32),
        weight=np.array(weights, np.float32),
    )


def _image_part(span: ImageSpan, first_slot: int, specials: Specials) -> Sequence:
    """Returns `[IMG]`, as often as a group has elements, and the image."""
    given, count, block = span.role == Role.GIVEN, span.rows * span.cols, span.block
    part = _raster_part(span.rows, span.cols, span.stride, given, block, specials)
    slot, position, target = part.slot.copy(), part.position.copy(), part.target.copy()
    if span.order is not None:
        order = np.asarray(span.order)
        if sorted(order.tolist()) != list(range(count)):
            raise ValueError(f"order must be a permutation of 0..{count - 1}, got {order.tolist()}")
        slot[block:], position[block:, 1:] = order, position[block + order, 1:]
        target[:count] = target[order]
    slot[block:] += first_slot
    return dataclasses.replace(part, slot=slot, position=position, target=target)


@functools.lru_cache(maxsize=256)
def _raster_part(
    rows: int, cols: int, stride: float, given: bool, block: int, specials: Specials
) -> Sequence:
    """Returns an image in raster order, its slots from 0; shared, so it must not be written to."""
    count, place = rows * cols, places(rows, cols, stride=stride)
    part = padding(block + count, specials.pad)
    part.token[:block] = specials.img
    part.slot[block:] = np.arange(count)
    part.modality[:block], part.modality[block:] = Modality.TEXT, Modality.IMAGE
    part.position[block:, 1:] = place
    part.position[[0, block], 0] = 1.0  # one place on the sequence axis for the image, one before
    part.target[:count] = place
    part.groups[[0, *range(block, block + count, block)]] = 1
    part.weight[:] = 0.0 if given else 1.0
    part.weight[1:block] = 0.0  # the first `[IMG]` is text to learn, those after it are not
    return part


def _concatenated(parts: Seq[Sequence]) -> Sequence:
    return jax.tree.map(lambda *fields: np.concatenate(fields), *parts)


def _join(parts: Seq[Sequence]) -> Sequence:
    """Concatenates parts, making their steps of `group` and sequence position absolute."""
    joined = _concatenated(parts)
    position = joined.position.copy()
    position[:, 0] = np.cumsum(position[:, 0]) - 1.0
    return dataclasses.replace(
        joined,
        position=position,
        group=(np.cumsum(joined.groups) - 1).astype(np.int32),
        segment=np.ones_like(joined.segment),
    )
