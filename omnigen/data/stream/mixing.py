# SPDX-License-Identifier: Apache-2.0
"""Which picture comes when: mixing and shuffling as functions of an example's index.

Index -> source and ordinal -> epoch and place -> record. Each step is computed, not stored, so that
any process finds any example at once, wherever a run is resumed.
"""

import dataclasses
import functools
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

from omnigen import cli
from omnigen.data.corpus.records import Reason, Records, Rejected

T = TypeVar("T")

BLOCK = 1000  # examples within which sources come in random order
WINDOW = 10_000  # records over which bad ones are counted
LEAST_WEIGHT = 1e-6  # of a source that comes at all
LEAST = 200  # records before there is a verdict
WARN_SHARE = 0.01
_TRIES = 100
_ROUNDS = 4
_MASK = (1 << 64) - 1


@dataclasses.dataclass(frozen=True)
class Place:
    """A place in the data: how much of it was used.

    Attributes:
        batch: Number of global batches.
        examples: Number of examples of each bucket; empty if there are none yet.
    """

    batch: int = 0
    examples: tuple[int, ...] = ()


START = Place()


class Permutation:
    """A shuffle of 0 .. count - 1 that is computed index by index: a Feistel network.

    The network permutes the next power of four; a result out of range is sent through it again,
    which ends in range since it walks along a cycle that began there.
    """

    def __init__(self, count: int, *key: object) -> None:
        """Sets the key and size of the shuffle."""
        assert count >= 1
        digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8 * _ROUNDS).digest()
        self._keys = [int.from_bytes(digest[k : k + 8], "big") for k in range(0, 8 * _ROUNDS, 8)]
        self._count = count
        self._half = max((max(count - 1, 1).bit_length() + 1) // 2, 1)

    def __getitem__(self, index: int) -> int:
        """Returns the place that an index is shuffled to."""
        assert 0 <= index < self._count
        half, mask = self._half, (1 << self._half) - 1
        while True:
            left, right = index >> half, index & mask
            for key in self._keys:
                mixed = (right ^ key) * 0x9E3779B97F4A7C15 & _MASK
                mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & _MASK
                left, right = right, left ^ (mixed >> 32 & mask)
            index = left << half | right
            if index < self._count:
                return index


_order = functools.lru_cache(64)(Permutation)


class Mixture:
    """Sources by weight: in every block of examples as near to their shares as can be."""

    def __init__(self, weights: Sequence[float], *, seed: int | str) -> None:
        """Prepares the schedule.

        Args:
            weights: Weights of the sources.
            seed: Seed of the order within blocks.
        """
        exact = [Fraction(weight).limit_denominator(round(1 / LEAST_WEIGHT)) for weight in weights]
        rest, shares = sum(exact), list[Fraction]()
        for weight in exact:
            shares.append(weight / rest if rest else Fraction(0))
            rest -= weight
        self._shares = tuple((share.numerator, share.denominator) for share in shares)
        self._seed = seed
        used = [number for number, weight in enumerate(exact) if weight]
        self._only = used[0] if len(used) == 1 else None  # nothing to mix

    def at(self, index: int) -> tuple[int, int]:
        """Returns the source of an example, and the number of examples it gave before."""
        if self._only is not None:
            return self._only, index
        block, place = divmod(index, BLOCK)
        return _block(self._shares, self._seed, block)[place]

    def before(self, index: int) -> list[int]:
        """Returns the number of examples that each source gives before this one."""
        if self._only is not None:
            return [index * (source == self._only) for source in range(len(self._shares))]
        block, place = divmod(index, BLOCK)
        found, left = list[int](), block * BLOCK
        for turns, of in self._shares:
            found.append(left * turns // of)
            left -= found[-1]
        for source, _ in _block(self._shares, self._seed, block)[:place] if place else ():
            found[source] += 1
        return found


@functools.lru_cache(64)
def _block(
    shares: Sequence[tuple[int, int]], seed: int | str, number: int
) -> list[tuple[int, int]]:
    """Returns the source and ordinal of every example of a block."""
    found = [_turn(shares, index) for index in range(number * BLOCK, (number + 1) * BLOCK)]
    ordinals = [
        iter(sorted(ordinal for source, ordinal in found if source == wanted))
        for wanted in range(len(shares))
    ]
    order = Permutation(BLOCK, "mixture", seed, number)
    sources = [found[order[place]][0] for place in range(BLOCK)]
    return [(source, next(ordinals[source])) for source in sources]


def _turn(shares: Sequence[tuple[int, int]], index: int) -> tuple[int, int]:
    """Returns the source whose turn it is, in regular turns, and the number of its turns before.

    The first source has its share of all turns, the second its share of what is left, and so on.
    """
    for number, (turns, of) in enumerate(shares):
        before = index * turns // of
        if (index + 1) * turns // of > before:
            return number, before
        index -= before
    raise AssertionError("the last share is 1")


class BadCorpusError(ValueError):
    """Raised when too many records of a corpus cannot be used."""


class Shuffled:
    """The records of a corpus for ever: every epoch all of them, in another order.

    A record that cannot be used is replaced by another one that follows from its place alone, so
    that the stream stays the same in every process and after every restart.
    """

    def __init__(self, corpus: Records, *key: object, bad_limit: float) -> None:
        """Prepares the order.

        Args:
            corpus: Corpus to read, not empty.
            *key: Key of the order; another key gives another order.
            bad_limit: Share of unusable records above which reading stops.
        """
        self.corpus, self._key, self._bad_limit = corpus, key, bad_limit
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._reasons: Counter[str] = Counter()
        self._has_warned = False

    def read(self, ordinal: int, use: Callable[[int], T]) -> T:
        """Calls `use` for the next record, or for one that replaces it.

        Args:
            ordinal: Number of the record in the stream.
            use: Makes the result from the index of a record; may raise `Rejected`.

        Raises:
            BadCorpusError: If too many records are refused.
        """
        epoch, place = divmod(ordinal, len(self.corpus))
        for attempt in range(_TRIES):
            order = _order(len(self.corpus), *self._key, epoch, attempt)
            try:
                used = use(order[place])
            except Rejected as rejected:
                self.note(rejected)
                continue
            except (OSError, MemoryError) as error:  # of one record, not of the run
                self.note(Rejected(Reason.RECORD, f"{type(error).__name__}: {error}"))
                continue
            self.note(None)
            return used
        raise BadCorpusError(f"{self.corpus.folder}: {_TRIES} records in a row cannot be used")

    def recall(self, rejected: Rejected) -> None:
        """Counts a record as bad that `read` has counted as good.

        Raises:
            BadCorpusError: If too many were bad of late.
        """
        if False in self._recent:
            self._recent.remove(False)
        self.note(rejected)

    def note(self, rejected: Rejected | None) -> None:
        """Counts a record as good or bad.

        Raises:
            BadCorpusError: If too many were bad of late.
        """
        self._recent.append(rejected is not None)
        if rejected is None:
            return
        self._reasons[str(rejected.reason)] += 1
        share = sum(self._recent) / max(len(self._recent), 1)
        if len(self._recent) < LEAST or share <= WARN_SHARE:
            return
        text = (
            f"{self.corpus.folder}: {share:.1%} of the last {len(self._recent)} records could not "
            f"be used; since the start {dict(self._reasons)}"
        )
        if share > self._bad_limit:
            raise BadCorpusError(f"{text}; data.bad_limit is {self._bad_limit:.1%}")
        if not self._has_warned:
            cli.logger(__name__).warning(text)
        self._has_warned = True


def shorten(caption: str, *, most: int) -> str:
    """Cuts a caption to whole words that fit in `most` UTF-8 bytes, or to letters if none does."""
    if len(caption.encode("utf-8", "surrogatepass")) <= most:
        return caption
    cut = caption.encode("utf-8", "surrogatepass")[: most + 1]
    kept, _, _ = cut.rpartition(b" ")
    return (kept or cut[:most]).decode("utf-8", "ignore").rstrip()
