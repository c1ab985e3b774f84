# SPDX-License-Identifier: Apache-2.0
"""Writing equals reading: the row laid out as in training is the oracle."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen.generation import state
from omnigen.generation.generate import Driver
from omnigen.generation.prompt import BUCKET, prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.generation.state import Dials, Phase
from omnigen.models.omni import Omni
from omnigen.sequence import ImageSpan, TextSpan, pack

SIZE = 9
PAD, IMG, VOCAB = 256, 260, 264
MAY_FOLLOW = [*range(PAD), IMG]
TEXTS = ["a red dot", "", "two blue squares", "x", "yy", "a longer prompt", "zebra", "a b c"]


def keys(count):
    return jax.random.split(jax.random.key(0), count)


@pytest.fixture(scope="module")
def weights(params):
    """Of a transformer that likes to end, and likes ids that it may not write even more."""
    w = params["ar"]["logits_out"]["w"]
    refused = np.setdiff1d(np.arange(VOCAB), MAY_FOLLOW)
    w = w.at[:, IMG].mul(8.0)
    return {**params["ar"], "logits_out": {"w": w.at[:, refused].mul(30.0)}}


@pytest.fixture(scope="module")
def written(omni, params, weights):
    """What is written after the beginnings of texts, and how many steps that took."""
    sketching = Omni(dataclasses.replace(omni.config, sketch_length=SIZE))

    @jax.jit
    def run(rows, keys, dials):
        driver = Driver.of(sketching, {"ar": weights, "head": params["head"]})
        now = state.begin(sketching, driver.step.model, rows, keys, dials, guided=False)
        return jax.lax.while_loop(
            lambda both: (both[0].phase == Phase.TEXT).any(),
            lambda both: (driver.write(both[0]), both[1] + 1),
            (now, 0),
        )

    def after(texts, keys, temperature):
        sampling = Sampling(sketch_temperature=temperature)
        dials = Dials.of(sketching.config, sampling, len(texts))
        return run(prompt_rows(sketching, texts), keys, dials)

    return after


@pytest.fixture(scope="module")
def scores(omni, weights, lay):
    """Scores of what follows a text, its picture's size and some ids; and the row itself."""

    @jax.jit
    def run(row, place):
        model = omni.ar.bind(weights)
        hidden = model.hidden(row, jnp.zeros((*row.token.shape, 6)))
        return model.logits(hidden)[0, place]

    def after(text, ids):
        sample = lay(TextSpan(list(text.encode())), ImageSpan(4, 4, sketch=ids))
        row = pack([sample], BUCKET, PAD)
        place = sample.token.tolist().index(IMG) - 1
        batch = row.map(lambda field: jnp.asarray(field)[None])
        return np.asarray(run(batch, place)), row

    return after


@pytest.fixture(scope="module")
def likeliest(scores):
    """Each text's likeliest ids, and how often one that may not be written was likelier."""
    found, passed = [], 0
    for text in TEXTS:
        ids = []
        while IMG not in ids:
            score, _ = scores(text, ids)
            best = MAY_FOLLOW[int(np.argmax(score[MAY_FOLLOW]))]
            passed += int(np.argmax(score)) not in MAY_FOLLOW
            ids.append(IMG if len(ids) == SIZE - 1 else best)
        found.append(ids)
    return found, passed


def test_the_coldest_takes_the_likeliest_that_may_follow(written, likeliest):
    wanted, passed = likeliest
    lengths = [len(ids) for ids in wanted]
    assert min(lengths) < 4 < SIZE == max(lengths) and len(set(lengths)) > 2, lengths
    assert passed > 10
    out, count = written(TEXTS, keys(len(TEXTS)), 0.0)
    assert out.ids.tolist() == [ids + [PAD] * (SIZE - len(ids)) for ids in wanted]
    assert int(count) == SIZE and (out.phase == Phase.IMAGE).all()


def test_the_one_that_never_ends_is_ended(written, likeliest, scores):
    ids, _ = likeliest
    number = [len(row) for row in ids].index(SIZE)
    score, _ = scores(TEXTS[number], ids[number][:-1])
    assert MAY_FOLLOW[int(np.argmax(score[MAY_FOLLOW]))] != IMG
    out, _ = written(TEXTS[number : number + 1], keys(1), 0.0)
    assert out.ids[0, -1] == IMG and (out.ids[0, :-1] != IMG).all()


def test_rows_end_at_the_element_that_ended_them(written, scores):
    out, _ = written(TEXTS, keys(len(TEXTS)), 0.0)
    for i, text in enumerate(TEXTS):
        sketch = out.ids[i].tolist()[: out.ids[i].tolist().index(IMG)]
        _, row = scores(text, sketch)
        place = row.token.tolist().index(IMG)
        for name in ("token", "modality", "position", "group", "segment"):
            last = np.asarray(getattr(out.last, name))[i, 0]
            np.testing.assert_array_equal(last, getattr(row, name)[place], name)
        # Of what was written the last is not in the cache; what came after the end is hidden.
        begin = out.caches[0].segment.shape[1] - SIZE - 16
        segment = out.caches[0].segment[i, begin : begin + SIZE].tolist()
        assert segment == [1] * (len(sketch) + 1) + [0] * (SIZE - len(sketch) - 1)


def test_it_stops_when_all_have_ended(written, likeliest):
    wanted, _ = likeliest
    short = [i for i, ids in enumerate(wanted) if len(ids) < SIZE]
    out, count = written([TEXTS[i] for i in short], keys(len(short)), 0.0)
    assert int(count) == max(len(wanted[i]) for i in short) < SIZE
    for row, i in enumerate(short):
        assert out.ids[row].tolist() == wanted[i] + [PAD] * (SIZE - len(wanted[i]))


def test_a_row_depends_on_its_own_key_alone(written):
    whole = written(TEXTS, keys(len(TEXTS)), 1.0)[0].ids
    assert len({tuple(row) for row in whole.tolist()}) == len(TEXTS)
    part = written(TEXTS[2:5], keys(len(TEXTS))[2:5], 1.0)[0].ids
    assert part.tolist() == whole[2:5].tolist()
    assert written(TEXTS, keys(len(TEXTS))[::-1], 1.0)[0].ids.tolist() != whole.tolist()
    assert not ((whole > PAD) & (whole != IMG)).any()
