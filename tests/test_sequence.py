# SPDX-License-Identifier: Apache-2.0
"""Oracles: layouts written out by hand; the mask rule, packing and slots as python loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.sequence import (
    ImageSpan,
    Modality,
    Role,
    Specials,
    TextSpan,
    gather_slots,
    is_causal,
    layout,
    may_attend,
    pack,
    places,
    slot_places,
    ungrouped,
)
from omnigen.text import ByteText

SPECIALS = Specials(256)
PAD, BOS, EOS, BOI, IMG, EOI = range(256, 262)
TEXT, IMAGE = Modality.TEXT, Modality.IMAGE
NOWHERE = (-1.0, -1.0)
HALVES_2X2 = [(0.5, 0.5), (0.5, 1.5), (1.5, 0.5), (1.5, 1.5)]


def lay(*spans):
    return layout(spans, SPECIALS, ByteText().encode)


def batched(sequence):
    return sequence.map(lambda field: np.asarray(field)[None])


def random_sample(rng):
    spans = []
    for _ in range(rng.integers(0, 4)):
        if rng.random() < 0.5:
            ids = rng.integers(0, 256, rng.integers(0, 6)).tolist()
            spans.append(TextSpan(ids, role=rng.choice(list(Role))))
        else:
            rows, cols = rng.integers(1, 4, 2).tolist()
            order = rng.permutation(rows * cols) if rng.random() < 0.5 else None
            block = int(rng.choice([1, 1, 1, 2, 3]))
            role = rng.choice(list(Role))
            spans.append(ImageSpan(rows, cols, role=role, order=order, block=block))
    return lay(*spans)


def random_row(rng, length=120):
    samples, total = [], 0
    while True:
        sample = random_sample(rng)
        total += len(sample.token)
        if total > length:
            return pack(samples, length, PAD)
        samples.append(sample)


def test_specials_follow_the_text_ids():
    ids = [SPECIALS.pad, SPECIALS.bos, SPECIALS.eos, SPECIALS.boi, SPECIALS.img, SPECIALS.eoi]
    assert ids == [PAD, BOS, EOS, BOI, IMG, EOI]
    assert SPECIALS.vocab_size == 264


def test_text_to_image():
    s = lay(TextSpan(list(b"hi")), ImageSpan(2, 2))
    assert s.token.tolist() == [BOS, *b"hi", BOI, *b"2*2", IMG, PAD, PAD, PAD, PAD, EOI, EOS]
    assert s.modality.tolist() == [TEXT] * 8 + [IMAGE] * 4 + [TEXT] * 2
    assert s.slot.tolist() == [-1] * 8 + [0, 1, 2, 3] + [-1] * 2
    sequence_axis = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 9, 10]
    assert s.position[:, 0].tolist() == sequence_axis
    assert s.position[:, 1:].tolist() == [
        *[[0, 0]] * 8,
        *[list(place) for place in HALVES_2X2],
        *[[0, 0]] * 2,
    ]
    targets = [NOWHERE] * 7 + HALVES_2X2 + [NOWHERE] * 3
    assert s.target.tolist() == [list(target) for target in targets]
    assert s.group.tolist() == list(range(14))
    assert s.segment.tolist() == [1] * 14
    assert s.weight.tolist() == [0.0] + [1.0] * 13


def test_a_sketch_stands_between_size_and_image():
    s = lay(
        TextSpan(list(b"hi"), role=Role.GIVEN),
        ImageSpan(1, 2, order=np.array([1, 0]), sketch=list(b"pw")),
    )
    assert s.token.tolist() == [BOS, *b"hi", BOI, *b"1*2", *b"pw", IMG, PAD, PAD, EOI, EOS]
    assert s.modality.tolist() == [TEXT] * 10 + [IMAGE] * 2 + [TEXT] * 2
    assert s.slot.tolist() == [-1] * 10 + [1, 0] + [-1] * 2
    assert s.position[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 11, 12]
    in_image = [[0.5, 1.5], [0.5, 0.5]]
    assert s.position[:, 1:].tolist() == [[0, 0]] * 10 + in_image + [[0, 0]] * 2
    nowhere = list(NOWHERE)
    assert s.target.tolist() == [nowhere] * 9 + in_image + [nowhere] * 3
    assert s.group.tolist() == list(range(14))
    assert s.segment.tolist() == [1] * 14
    assert s.weight.tolist() == [0.0] * 3 + [1.0] * 11


def test_the_sketch_of_a_given_image_carries_no_loss():
    s = lay(ImageSpan(1, 1, role=Role.GIVEN, sketch=list(b"pw")), TextSpan(list(b"x")))
    assert s.token.tolist() == [BOS, BOI, *b"1*1", *b"pw", IMG, PAD, EOI, *b"x", EOS]
    assert s.weight.tolist() == [0.0] * 10 + [1.0] * 2


def test_field_dtypes_are_those_that_devices_take():
    fields = vars(lay(TextSpan([1]), ImageSpan(1, 2)))
    floats = {"position", "target", "weight"}
    for name, field in fields.items():
        assert field.dtype == (np.float32 if name in floats else np.int32), name


def test_edit_reads_a_given_image_as_a_drawn_one_without_loss():
    s = lay(
        ImageSpan(1, 2, role=Role.GIVEN), TextSpan(list(b"x"), role=Role.GIVEN), ImageSpan(1, 2)
    )
    head = [BOI, *b"1*2", IMG]
    assert s.token.tolist() == [
        *[BOS, *head, PAD, PAD, EOI],
        *b"x",
        *[*head, PAD, PAD, EOI, EOS],
    ]
    assert s.group.tolist() == list(range(19))
    assert s.weight.tolist() == [0.0] * 10 + [1.0] * 9
    assert s.slot.tolist() == [-1] * 6 + [0, 1] + [-1] * 7 + [2, 3] + [-1] * 2
    assert s.position[:, 0].tolist() == [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        14,
        15,
        16,
    ]
    # The given image's places are targets too: what predicts an element knows where it is.
    assert np.flatnonzero(s.target[:, 0] >= 0).tolist() == [5, 6, 14, 15]


def test_two_images_count_slots_on():
    s = lay(ImageSpan(1, 2, role=Role.GIVEN), ImageSpan(2, 1, role=Role.GIVEN), ImageSpan(1, 1))
    assert s.slot[s.slot >= 0].tolist() == [0, 1, 2, 3, 4]
    images = s.position[s.slot >= 0]
    assert images[:, 1:].tolist() == [[0.5, 0.5], [0.5, 1.5], [0.5, 0.5], [1.5, 0.5], [0.5, 0.5]]
    assert images[:, 0].tolist() == [6, 6, 13, 13, 20]
    assert (np.diff(s.group) == 1).all()


def test_preview_has_the_places_of_the_detail():
    s = lay(TextSpan([7]), ImageSpan(4, 4, stride=2.0), ImageSpan(8, 8))
    images = s.position[s.slot >= 0]
    preview, detail = images[:16, 1:], images[16:, 1:]
    # Each preview element lies at the centre of the 2 x 2 elements of detail that it stands for.
    blocks = detail.reshape(4, 2, 4, 2, 2).mean(axis=(1, 3)).reshape(16, 2)
    np.testing.assert_array_equal(preview, blocks)
    assert preview[0].tolist() == [1.0, 1.0] and preview[-1].tolist() == [7.0, 7.0]
    assert s.slot[s.slot >= 0].tolist() == list(range(80))
    assert len(set(images[:16, 0])) == 1 and len(set(images[16:, 0])) == 1
    assert bytes(s.token[s.token < 256].tolist()) == b"\x074*48*8"


def test_random_order_moves_slots_places_and_targets_together():
    order = np.array([2, 0, 3, 1])
    s = lay(TextSpan([7]), ImageSpan(2, 2, order=order))
    assert s.slot[7:11].tolist() == order.tolist()
    wanted = [list(HALVES_2X2[i]) for i in order]
    assert s.position[7:11, 1:].tolist() == wanted
    assert s.target[6:10].tolist() == wanted
    assert s.target[10].tolist() == list(NOWHERE)
    assert s.group.tolist() == list(range(13))


def test_groups_of_two_are_predicted_by_the_two_elements_before():
    order = [2, 0, 3, 1]
    s = lay(TextSpan([7]), ImageSpan(2, 2, order=np.array(order), sketch=[9], block=2))
    assert s.token.tolist() == [BOS, 7, BOI, *b"2*2", 9, IMG, IMG, *[PAD] * 4, EOI, EOS]
    assert s.modality.tolist() == [TEXT] * 9 + [IMAGE] * 4 + [TEXT] * 2
    assert s.slot.tolist() == [-1] * 9 + order + [-1] * 2
    assert s.position[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 8, 8, 8, 9, 10]
    wanted = [list(HALVES_2X2[i]) for i in order]
    assert s.position[:, 1:].tolist() == [[0, 0]] * 9 + wanted + [[0, 0]] * 2
    nowhere = list(NOWHERE)
    assert s.target.tolist() == [nowhere] * 7 + wanted + [nowhere] * 4
    assert s.group.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 8, 9, 9, 10, 11]
    assert s.segment.tolist() == [1] * 15
    assert s.weight.tolist() == [0.0] + [1.0] * 7 + [0.0] + [1.0] * 6
    # A last group may be short; a given image has the same groups, and carries no loss.
    s = lay(ImageSpan(1, 3, block=2))
    assert s.group.tolist() == [0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 8, 9]
    assert np.flatnonzero(s.target[:, 0] >= 0).tolist() == [5, 6, 7]
    s = lay(ImageSpan(1, 3, role=Role.GIVEN, block=2))
    assert s.group.tolist() == [0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 8, 9]
    assert not s.weight.any()


def test_an_order_that_is_no_permutation_is_refused():
    for order in ([0, 0, 1, 2], [0, 1, 2], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="permutation of 0..3"):
            lay(ImageSpan(2, 2, order=np.array(order)))


def test_the_end_is_learnt_iff_the_last_span_is():
    for role, weight in ((Role.GIVEN, 0.0), (Role.GENERATED, 1.0)):
        for span in (TextSpan([1], role=role), TextSpan([], role=role), ImageSpan(1, 1, role=role)):
            assert lay(span).weight[-1] == weight
            assert lay(span).weight[0] == 0.0  # nothing comes before it


def test_places_are_the_centres_of_the_elements():
    assert places(1, 2, stride=4.0).tolist() == [[2.0, 2.0], [2.0, 6.0]]
    assert places(3, 2)[4].tolist() == [2.5, 0.5]


def test_pack_numbers_segments_and_slots():
    one = lay(TextSpan([1]), ImageSpan(1, 2))
    two = lay(ImageSpan(2, 2, order=np.array([3, 2, 1, 0])))
    length = len(one.token) + len(two.token) + 3
    row = pack([one, two], length, PAD)
    first, second = len(one.token), len(two.token)
    assert row.segment.tolist() == [1] * first + [2] * second + [0] * 3
    assert row.slot[row.slot >= 0].tolist() == [0, 1, 5, 4, 3, 2]
    assert row.token[-3:].tolist() == [PAD] * 3 and row.weight[-3:].tolist() == [0.0] * 3
    assert row.modality[-3:].tolist() == [Modality.PAD] * 3
    for name, field in vars(row).items():
        assert len(field) == length
        if name not in ("slot", "segment"):
            np.testing.assert_array_equal(field[:first], getattr(one, name))
            np.testing.assert_array_equal(field[first : first + second], getattr(two, name))


def test_pack_fills_a_row_exactly_and_refuses_more():
    sample = lay(TextSpan([1, 2, 3]))
    full = pack([sample, sample], 10, PAD)
    assert full.segment.tolist() == [1] * 5 + [2] * 5
    with pytest.raises(ValueError, match="10 elements do not fit a row of 9"):
        pack([sample, sample], 9, PAD)
    assert pack([], 4, PAD).token.tolist() == [PAD] * 4


@pytest.mark.parametrize("seed", range(5))
def test_mask_is_the_rule(seed):
    rng = np.random.default_rng(seed)
    row = random_row(rng)
    mask = np.asarray(may_attend(batched(row), batched(row)))[0]
    for q in range(len(row.token)):
        for k in range(len(row.token)):
            allowed = row.segment[k] > 0 and row.segment[q] == row.segment[k]
            allowed = allowed and row.group[k] <= row.group[q]
            assert mask[q, k] == allowed, (q, k)


@pytest.mark.parametrize("block", [1, 2])
def test_a_given_image_is_seen_as_a_drawn_one(block):
    given, drawn = (
        lay(TextSpan([1]), ImageSpan(2, 2, role=role, block=block), TextSpan([2])) for role in Role
    )
    mask = np.asarray(may_attend(batched(given), batched(given)))[0]
    np.testing.assert_array_equal(mask, may_attend(batched(drawn), batched(drawn))[0])
    assert np.array_equal(mask, np.tril(np.ones_like(mask))) == (block == 1)


def test_queries_may_differ_from_keys():
    s = batched(lay(TextSpan([1, 2]), ImageSpan(1, 2)))
    last = s.map(lambda field: field[:, -3:-1])
    whole = np.asarray(may_attend(s, s))
    np.testing.assert_array_equal(np.asarray(may_attend(last, s)), whole[:, -3:-1])


@pytest.mark.parametrize("seed", range(5))
def test_is_causal_iff_the_mask_is_a_triangle_within_segments(seed):
    rng = np.random.default_rng(100 + seed)
    for _ in range(6):
        row = random_row(rng, length=60)
        mask = np.asarray(may_attend(batched(row), batched(row)))[0]
        same = (row.segment[:, None] == row.segment[None]) & (row.segment[None] > 0)
        triangle = np.tril(np.ones_like(mask)) & same
        assert is_causal(row) == np.array_equal(mask, triangle)
        assert is_causal(batched(row)) == is_causal(row)


def test_both_answers_of_is_causal_occur():
    assert is_causal(lay(TextSpan([1]), ImageSpan(2, 2)))
    assert is_causal(lay(ImageSpan(1, 2, role=Role.GIVEN)))
    grouped = lay(ImageSpan(1, 2, block=2))
    assert not is_causal(grouped)
    with pytest.raises(ValueError, match="groups of several elements"):
        ungrouped(grouped)


def test_rows_without_groups_have_the_mask_of_those_with():
    row = batched(pack([lay(TextSpan([1]), ImageSpan(2, 2)), lay(TextSpan([2]))], 24, PAD))
    bare = ungrouped(row)
    assert bare.group is None and len(jax.tree.leaves(bare)) == len(jax.tree.leaves(row)) - 1
    np.testing.assert_array_equal(may_attend(bare, bare), may_attend(row, row))
    assert bare.map(np.copy).group is None


@pytest.mark.parametrize("seed", range(5))
def test_slots_gather_and_invert(seed):
    rng = np.random.default_rng(200 + seed)
    rows = [random_row(rng) for _ in range(3)]
    slot = np.stack([row.slot for row in rows])
    count = int(slot.max()) + 3
    latents = rng.standard_normal((3, count, 4)).astype(np.float32)
    gathered = np.asarray(gather_slots(jnp.asarray(latents), slot))
    place, used = (np.asarray(x) for x in slot_places(slot, count))
    for b in range(3):
        for i, number in enumerate(slot[b]):
            wanted = latents[b, number] if number >= 0 else np.zeros(4)
            np.testing.assert_array_equal(gathered[b, i], wanted)
        for n in range(count):
            where = np.flatnonzero(slot[b] == n)
            assert used[b, n] == (len(where) == 1)
            assert place[b, n] == (where[0] if len(where) else 0)


def test_a_row_holds_more_latents_than_it_shows():
    slot = np.array([[-1, 1, 0, -1]])
    latents = jnp.arange(6.0).reshape(1, 3, 2)
    assert gather_slots(latents, slot)[0].tolist() == [[0, 0], [2, 3], [0, 1], [0, 0]]
    place, used = slot_places(slot, 3)
    assert place.tolist() == [[2, 1, 0]] and used.tolist() == [[True, True, False]]
