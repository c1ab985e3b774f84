# SPDX-License-Identifier: Apache-2.0
import logging
from collections import Counter

import pytest

from omnigen.data.corpus.records import Reason, Record, Rejected
from omnigen.data.stream.mixing import BLOCK, Mixture, Permutation, Shuffled, shorten


class Fake:
    """A corpus of records whose key is their index; those in `bad` cannot be read."""

    folder = "somewhere"

    def __init__(self, count, bad=()):
        self.count, self.bad = count, set(bad)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.bad:
            raise Rejected(Reason.RECORD)
        return Record(str(index), b"", 1, 1)


def keys(stream, ordinals):
    return [int(stream.read(k, lambda index: stream.corpus[index].key)) for k in ordinals]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 1000])
def test_permutations_reach_everything_once(count):
    order = Permutation(count, "key")
    assert sorted(order[k] for k in range(count)) == list(range(count))


def test_permutations_are_far_from_order_and_from_each_other():
    count = 1000
    one, two = ([Permutation(count, key)[k] for k in range(count)] for key in ("a", "b"))
    for other in (list(range(count)), two):
        assert sum(x == y for x, y in zip(one, other, strict=True)) < 10
    # Of neighbours in a random order, the mean distance is a third of the length.
    steps = sum(abs(x - y) for x, y in zip(one, one[1:], strict=False)) / count
    assert 0.28 * count < steps < 0.39 * count


def test_mixtures_are_exact_and_ordinals_count_up():
    mixture = Mixture([3.0, 1.0, 0.5, 0.5], seed=0)
    found = [mixture.at(k) for k in range(2 * BLOCK)]
    assert Counter(source for source, _ in found[:BLOCK]) == {0: 600, 1: 200, 2: 100, 3: 100}
    for source in range(4):
        ordinals = sorted(o for s, o in found if s == source)
        assert ordinals == list(range(len(ordinals)))
    sources = [source for source, _ in found]
    assert sources != [Mixture([3, 1, 0.5, 0.5], seed=1).at(k)[0] for k in range(2 * BLOCK)]
    assert len({tuple(sources[k : k + 5]) for k in range(0, BLOCK, 5)}) > 50  # no fixed pattern


@pytest.mark.parametrize("weights", [[1.0], [0.0, 2.0], [3.0, 1.0, 0.5, 0.0], [1 / 3, 1.0, 1e-3]])
def test_what_came_before_is_counted(weights):
    mixture, counts = Mixture(weights, seed=3), Counter()
    for index in range(2 * BLOCK + 5):
        if index % 7 == 0 or index % BLOCK < 2:
            assert mixture.before(index) == [counts[k] for k in range(len(weights))]
        source, ordinal = mixture.at(index)
        assert ordinal == counts[source]
        counts[source] += 1


def test_mixtures_of_awkward_weights_lose_nothing():
    mixture = Mixture([0.0, 1 / 3, 1e-3, 0.7], seed=3)
    found = {mixture.at(k) for k in range(5 * BLOCK)}
    counts = Counter(source for source, _ in found)
    assert len(found) == 5 * BLOCK and 0 not in counts
    for source in (1, 2, 3):
        assert sorted(o for s, o in found if s == source) == list(range(counts[source]))
        share = [0.0, 1 / 3, 1e-3, 0.7][source] / (1 / 3 + 1e-3 + 0.7)
        assert abs(counts[source] - 5 * BLOCK * share) <= 2


def test_an_epoch_is_every_record_once_and_each_in_another_order():
    stream = Shuffled(Fake(50), "k", bad_limit=0.2)
    first, second = keys(stream, range(50)), keys(stream, range(50, 100))
    assert sorted(first) == sorted(second) == list(range(50)) and first != second
    assert keys(Shuffled(Fake(50), "other", bad_limit=0.2), range(50)) != first


def test_bad_records_leave_the_others_where_they_are():
    whole, bad = Shuffled(Fake(300), "k", bad_limit=0.2), {7, 100, 101}
    expected = keys(whole, range(300))
    got = keys(Shuffled(Fake(300, bad), "k", bad_limit=0.2), range(300))
    changed = [k for k in range(300) if got[k] != expected[k]]
    assert {expected[k] for k in changed} == bad and not bad & set(got)
    again = Shuffled(Fake(300, bad), "k", bad_limit=0.2)
    assert keys(again, reversed(range(300))) == got[::-1]  # whatever was read before


@pytest.mark.parametrize(("percent", "warns"), [(0.9, False), (1.1, True)])
def test_a_warning_above_one_percent(percent, warns, caplog):
    bad = range(int(100 * percent))
    stream = Shuffled(Fake(10_000, bad), "k", bad_limit=0.2)
    note = [Rejected(Reason.RECORD) if k % 10_000 in bad else None for k in range(9_990, 20_000)]
    with caplog.at_level(logging.WARNING):
        for rejected in note[::-1]:
            stream.note(rejected)
    assert ("damaged record" in caplog.text) == warns
    assert len(caplog.records) == warns


def test_a_record_that_turns_out_bad_later_counts_once():
    stream = Shuffled(Fake(1000), "k", bad_limit=0.2)
    for ordinal in range(1000):
        stream.read(ordinal, lambda k: k)
        if ordinal % 10 > 7:
            stream.recall(Rejected(Reason.DAMAGED))  # two in ten are just within the limit
    with pytest.raises(ValueError, match=r"20\.1% of the last 1000 .* \{'damaged picture': 201\}"):
        stream.recall(Rejected(Reason.DAMAGED))


def test_a_stop_above_the_limit():
    assert keys(Shuffled(Fake(1000, range(150)), "k", bad_limit=0.2), range(1000))
    with pytest.raises(ValueError, match=r"somewhere: 2\d.*damaged record.*bad_limit is 20.0%"):
        keys(Shuffled(Fake(1000, range(300)), "k", bad_limit=0.2), range(1000))
    with pytest.raises(ValueError, match="in a row"):
        keys(Shuffled(Fake(4, range(4)), "k", bad_limit=1.0), range(1))


@pytest.mark.parametrize(
    ("caption", "most", "expected"),
    [
        ("a red fox", 9, "a red fox"),
        ("a red fox", 8, "a red"),
        ("a red fox", 5, "a red"),
        ("a red fox", 4, "a"),
        ("unbroken", 3, "unb"),
        ("ééé", 5, "éé"),
        ("é é é", 4, "é"),
    ],
)
def test_captions_are_cut_at_words(caption, most, expected):
    assert shorten(caption, most=most) == expected
