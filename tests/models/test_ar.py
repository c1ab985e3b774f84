# SPDX-License-Identifier: Apache-2.0
"""What may depend on what, by gradients; packing, caches and orders change nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.models.ar import AR, ARConfig
from omnigen.nn.module import Net
from omnigen.sequence import (
    ImageSpan,
    Modality,
    Role,
    TextSpan,
    gather_slots,
    is_causal,
    may_attend,
    pack,
    padding,
    ungrouped,
)

PAD = 256
LATENT = 6


def gaussian(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def batched(*samples):
    return jax.tree.map(lambda *fields: np.stack(fields), *samples)


def left_pad(sample, length):
    return jax.tree.map(
        lambda *parts: np.concatenate(parts), padding(length - len(sample.token), PAD), sample
    )


def latents_of(seed, sample):
    return gaussian(seed, 1, int((sample.slot >= 0).sum()), LATENT)


@pytest.fixture(scope="module")
def hidden(omni, params):
    """`AR.hidden` as one jitted function of a batch of rows and their latents."""

    @jax.jit
    def run(sequence, latents):
        vectors = gather_slots(latents, sequence.slot)
        return omni.ar.bind(params["ar"]).hidden(sequence, vectors)

    return lambda sequence, latents: run(sequence.map(jnp.asarray), latents)


class EmbeddedAR(AR):
    """The transformer over embeddings that are given."""

    def embed(self, sequence, vector_BLZ):
        return vector_BLZ


@pytest.fixture(scope="module")
def influence(omni, params):
    """bool `[L, L]`: whether the hidden state at q changes with the embedding at k."""
    net = Net(lambda rngs: EmbeddedAR(omni.config.ar, rngs=rngs))

    @jax.jit
    def jacobian(rows, embedded):
        model = net.bind(params["ar"])
        run = lambda x: model.hidden(rows, x)[0].sum(-1)  # noqa: E731
        return jnp.abs(jax.jacrev(run)(embedded)[:, 0]).max(-1)

    def run(row):
        embedded = gaussian(0, 1, len(row.token), omni.config.ar.embed_dim)
        rows = batched(ungrouped(row) if is_causal(row) else row).map(jnp.asarray)
        return np.asarray(jacobian(rows, embedded)) > 0

    return run


def test_packed_rows_depend_on_the_past_of_their_own_sample(lay, influence):
    one = lay(TextSpan([1, 2]), ImageSpan(1, 2))
    two = lay(ImageSpan(1, 2, order=np.array([1, 0])), TextSpan([3]))
    row = pack([one, two], 32, PAD)
    seen = influence(row)
    for q in range(32):
        for k in range(32):
            if row.segment[q] > 0:
                assert seen[q, k] == (row.segment[q] == row.segment[k] and k <= q), (q, k)


def test_a_given_image_is_read_causally(lay, influence):
    row = pack([lay(TextSpan([1]), ImageSpan(2, 2, role=Role.GIVEN), TextSpan([2]))], 32, PAD)
    length = int(row.segment.sum())
    seen = influence(row)[:length, :length]
    np.testing.assert_array_equal(seen, np.tril(np.ones_like(seen)))


def test_groups_decode_in_blocks(lay, influence):
    row = pack([lay(ImageSpan(2, 2, block=2))], 32, PAD)
    first = int(np.argmax(row.modality == Modality.IMAGE))
    seen, used = influence(row), row.segment > 0
    allowed = np.asarray(may_attend(batched(row), batched(row)))[0]
    np.testing.assert_array_equal(seen[used], allowed[used])
    assert seen[first, first + 1] and not seen[first + 1, first + 2]


@pytest.mark.parametrize("block", [2, 3, 6])
def test_what_predicts_a_token_knows_the_groups_before_its_own_alone(lay, hidden, block):
    order = np.array([3, 1, 0, 5, 2, 4])
    row = lay(TextSpan([5]), ImageSpan(2, 3, order=order, block=block))
    first = int(np.argmax(row.modality == Modality.IMAGE))
    latents = gaussian(0, 1, 6, LATENT)
    before = hidden(batched(row), latents)[0]
    for n in range(6):
        moved = hidden(batched(row), latents.at[0, order[n]].add(1.0))[0]
        changed = np.asarray(jnp.abs(moved - before).max(-1) > 1e-6)
        for m in range(6):  # predicted from as many places before as a group has elements
            assert changed[first + m - block] == (m // block > n // block), (n, m)
        assert changed[first + 6 :].all()


def test_a_packed_row_is_its_samples_alone(lay, hidden):
    one = lay(TextSpan(list(b"red")), ImageSpan(2, 2))
    two = lay(TextSpan(list(b"a")), ImageSpan(1, 3, order=np.array([2, 0, 1])))
    latents = gaussian(0, 1, 7, LATENT)
    row = pack([one, two], 40, PAD)
    for form in (ungrouped, lambda rows: rows):
        together = hidden(form(batched(row)), latents)[0]
        split = len(one.token)
        for sample, part, start in ((one, slice(0, 4), 0), (two, slice(4, 7), split)):
            spread = jnp.zeros_like(latents).at[:, : part.stop - part.start].set(latents[:, part])
            alone = hidden(form(batched(pack([sample], 40, PAD))), spread)[0]
            size = len(sample.token)
            np.testing.assert_allclose(together[start : start + size], alone[:size], atol=1e-5)
        assert np.isfinite(together).all()


def test_content_place_and_next_place_all_matter(lay, hidden):
    row, latents = lay(TextSpan(list(b"red")), ImageSpan(2, 2)), gaussian(0, 1, 4, LATENT)
    before = np.asarray(hidden(batched(row), latents))[0]

    def first_change(**fields):
        after = np.asarray(hidden(batched(dataclasses.replace(row, **fields)), latents))[0]
        return int(np.argmax(np.abs(after - before).max(-1) > 1e-6))

    def edit(field, index, value):
        changed = field.copy()
        changed[index] = value
        return changed

    assert first_change(token=edit(row.token, 2, 7)) == 2
    assert first_change(position=edit(row.position, 9, [9, 3, 3])) == 9
    assert first_change(target=edit(row.target, 8, [1.5, 1.5])) == 8
    moved = np.asarray(hidden(batched(row), latents.at[0, 2].add(1.0)))[0]
    changed = np.abs(moved - before).max(-1) > 1e-6
    assert np.flatnonzero(changed).tolist() == list(range(11, len(row.token)))


def test_latents_at_text_and_tokens_at_images_are_not_read(lay, omni, params):
    row = batched(lay(TextSpan([5]), ImageSpan(1, 2)))
    is_image = (row.modality == Modality.IMAGE)[..., None]
    vectors = gaussian(0, 1, row.token.shape[1], LATENT)
    run = jax.jit(lambda row, v: omni.ar.bind(params["ar"]).hidden(row, v))
    junk = dataclasses.replace(row, token=np.where(is_image[..., 0], 9, row.token))
    wanted = run(row, jnp.where(is_image, vectors, 0.0))
    np.testing.assert_array_equal(run(junk, jnp.where(is_image, vectors, 99.0)), wanted)


def decode(omni, params, rows, vectors, prompt_length, sizes):
    """Hidden states by a prefill and steps of the given sizes."""
    length = rows.token.shape[1]

    @jax.jit
    def run(rows, vectors):
        model = omni.ar.bind(params["ar"])
        prompt = rows.map(lambda field: field[:, :prompt_length])
        first, cache = model.prefill(prompt, vectors[:, :prompt_length], cache_length=length)
        step, start, outs = model.stepper(), prompt_length, [first]
        for size in sizes:
            new = rows.map(lambda field, at=start, n=size: field[:, at : at + n])
            out, (cache,) = step((cache,), new, vectors[:, start : start + size])
            outs.append(out)
            start += size
        return jnp.concatenate(outs, axis=1), cache

    return run(rows.map(jnp.asarray), vectors)


@pytest.mark.parametrize("order", [None, np.array([3, 1, 0, 2])])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 1, 1)])
def test_cached_decoding_is_the_whole_row(lay, omni, params, hidden, order, sizes):
    sample = lay(TextSpan(list(b"red")), ImageSpan(2, 2, order=order))
    sample = sample.map(lambda field: field[:-2])  # the last element is the image's
    latents = latents_of(1, sample)
    rows = batched(sample)
    wanted = hidden(ungrouped(rows), latents)
    out, cache = decode(omni, params, rows, gather_slots(latents, rows.slot), 9, sizes)
    np.testing.assert_allclose(out, wanted, atol=1e-5)
    assert int(cache.length[0]) == len(sample.token)


def test_prompts_of_different_lengths_share_a_batch(lay, omni, params, hidden):
    given = ImageSpan(1, 2, role=Role.GIVEN)
    images = [ImageSpan(2, 2), ImageSpan(2, 2, order=np.array([2, 0, 3, 1])), ImageSpan(2, 2)]
    prompts = [[TextSpan(list(b"a red dot"))], [TextSpan([])], [given, TextSpan(list(b"z"))]]
    samples = []
    for prompt, image in zip(prompts, images, strict=True):
        samples.append(lay(*prompt, image).map(lambda field: field[:-2]))
    latents = [latents_of(i, sample) for i, sample in enumerate(samples)]
    length = max(len(sample.token) for sample in samples) + 3
    rows = batched(*[left_pad(sample, length) for sample in samples])
    vectors = jnp.concatenate(
        [gather_slots(z, rows.slot[i : i + 1]) for i, z in enumerate(latents)]
    )
    out, _ = decode(omni, params, rows, vectors, length - 4, (1, 1, 1, 1))
    for i, sample in enumerate(samples):
        size = len(sample.token)
        latent = jnp.pad(latents[i], ((0, 0), (0, 6 - latents[i].shape[1]), (0, 0)))
        alone = hidden(batched(pack([sample], length, PAD)), latent)[0]
        np.testing.assert_allclose(out[i, length - size :], alone[:size], atol=1e-5)


def test_the_cache_hides_what_is_not_written(lay, omni, params):
    rows = batched(lay(TextSpan([1, 2])))
    model = omni.ar.bind(params["ar"])
    _, cache = jax.jit(lambda rows: model.prefill(rows, jnp.zeros((1, 4, LATENT)), cache_length=9))(
        rows.map(jnp.asarray)
    )
    assert cache.segment.tolist() == [[1] * 4 + [0] * 5] and int(cache.length[0]) == 4
    assert len(cache.layers) == 2 and cache.layers[0].k.shape == (1, 2, 9, 12)
    with pytest.raises(AssertionError):
        model.prefill(rows, jnp.zeros((1, 4, LATENT)), cache_length=3)


def test_logits_are_float32_whatever_the_computation(omni, params):
    config = dataclasses.replace(omni.config.ar, dtype="bfloat16")
    net = Net(lambda rngs: AR(config, rngs=rngs))
    row = batched(padding(3, PAD))

    def run(params):
        model = net.bind(params)
        out = model.hidden(row, jnp.zeros((1, 3, LATENT)))
        return out, model.logits(out)

    out, logits = jax.eval_shape(run, params["ar"])
    assert (out.dtype, logits.dtype) == (jnp.bfloat16, jnp.float32)
    assert logits.shape == (1, 3, 264)


def test_bfloat16_stays_close(lay, omni, params, hidden):
    row, latents = lay(TextSpan(list(b"red")), ImageSpan(2, 2)), gaussian(0, 1, 4, LATENT)
    net = Net(lambda rngs: AR(dataclasses.replace(omni.config.ar, dtype="bfloat16"), rngs=rngs))
    rows = batched(row).map(jnp.asarray)
    low = jax.jit(lambda p: net.bind(p).hidden(rows, gather_slots(latents, rows.slot)))(
        params["ar"]
    )
    wanted = np.asarray(hidden(ungrouped(batched(row)), latents))
    assert np.abs(low.astype(jnp.float32) - wanted).mean() < 0.02 * np.abs(wanted).mean()


def test_impossible_configs_are_refused():
    with pytest.raises(ValueError, match="num_heads 6 is not a multiple of num_kv_heads 4"):
        ARConfig(num_heads=6, num_kv_heads=4)
    with pytest.raises(ValueError, match="head_dim 7 is odd"):
        ARConfig(head_dim=7)
