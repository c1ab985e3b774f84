# SPDX-License-Identifier: Apache-2.0
"""Finds words of the policy in a text, however they are spelt.

A text becomes streams: one with its words as they are, and others with what they may stand for.
Each place of a stream has the entries of the policy's vocabulary that the word there may be.
Most words are none, so that most streams of innocent texts are empty and cost next to nothing.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator

from omnigen.safety.folding import fold, rot13
from omnigen.safety.policy import PIECES, Policy

Stream = tuple[frozenset[str], ...]
_Cut = Callable[[str], list[str] | None]  # parts letters into words

NOTHING: frozenset[str] = frozenset()
FILLER = frozenset({" "})  # what may stand between the words of a term
FEWEST_TURNED = 5  # letters of a word that is looked for backwards or in rot13
FEWEST_INSIDE = 4  # letters of a word that is looked for inside another
SURE_INSIDE = 6  # letters of all such words together
FEWEST_GLUED = 8  # letters of a word that may be several without spaces
MOST_GLUED = 400  # letters of such a word that are looked at
ENDING = 3  # letters behind a stem, where words stand without spaces
LETTER = 1.5  # what a letter that belongs to no word costs, in words

_LEET = str.maketrans("01345789@$!|+€£¢¥", "oieastbgasiitelcy")
_DISGUISED = re.compile(r"[@$!|+€£¢¥\d]")
_PUNCTUATION = re.compile(r"[^\w@$!|+€£¢¥*#•█░✱]|_")
_MIXED = re.compile(r"[^\W\d_][@$!|+\d]+[^\W_]|\d[^\W\d_]|[@$!|+][^\W\d_]")
_SPELT = re.compile(r"(?:(?<!\S)\S\s+){4}")
_APOSTROPHES = "'’`"
_CHUNK = re.compile(r"(\S+)(\s*)")
_SPELLS = re.compile(r"[^\W_]|[@$!|+€£¢¥]")
_LETTER = re.compile(r"[^\W\d_]")
_APOSTROPHE = re.compile(r"(?<=\w{4})['’`]s\b|(?<=\w)['’`](?=\w)")
_TRIPLE = re.compile(r"([^\W\d_])\1\1+")
_PAIR = re.compile(r"([^\W\d_])\1")
_DOUBLED = re.compile(r"(?:([^\W\d_])\1){3}")
_RUN = re.compile(r"(.)\1+")
CJK = re.compile("[\u3040-\u9fff]")
_MASK = re.compile(r"(?<=\w)[*#•█░✱]+(?=\w)")


def _canonical(word: str) -> str:
    """Returns a word whose I and L are one letter, since 1, ! and | may be either."""
    return word.replace("l", "i")


def _squeezed(word: str) -> str:
    return _RUN.sub(r"\1", _canonical(word))


class _Index:
    """Finds entries by a key of their letters; entries with a star by the beginning of it."""

    def __init__(self, entries: Iterable[str], key: Callable[[str], str]) -> None:
        self._key = key
        self._words: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        for entry in entries:
            table = self._stems if entry.endswith("*") else self._words
            table.setdefault(key(entry.rstrip("*")), []).append(entry)
        self._lengths = sorted(set(map(len, self._stems)))
        self._heads = {stem[:2] for stem in self._stems}
        self.longest = ENDING + max(map(len, (*self._words, *self._stems)), default=0)

    def find(self, word: str) -> list[str]:
        word = self._key(word)
        found = list(self._words.get(word, ()))
        if word[:2] in self._heads:
            for length in self._lengths:
                if length > len(word):
                    break
                found += self._stems.get(word[:length], ())
        return found

    def has(self, word: str) -> bool:
        """Returns whether a word is an entry, or a stem and a short ending."""
        if word in self._words:
            return True
        if word[:2] not in self._heads:
            return False
        return any(word[: len(word) - i] in self._stems for i in range(min(ENDING, len(word)) + 1))


class Vocabulary:
    """The words of a policy."""

    def __init__(self, policy: Policy) -> None:
        """Indexes all words of all terms."""
        entries = dict.fromkeys(word for term in policy.terms for word in term)
        self._exact = _Index(entries, str)
        self._leet = _Index(entries, _canonical)
        self._repeated = _Index((e for e in entries if len(e) > 3), _squeezed)
        self._by_length: dict[int, list[str]] = {}
        for entry in entries:
            if not entry.endswith("*"):
                self._by_length.setdefault(len(entry), []).append(entry)
        self._stems = [entry[:-1] for entry in entries if entry.endswith("*")]
        self._fillers = frozenset().union(*policy.fillers.values())
        shared = policy.words.get("rules.txt", frozenset())
        self._languages = [
            (_Index(words | shared, str), policy.fillers[name])
            for name, words in policy.words.items()
            if policy.fillers[name]
        ]
        self.identify = functools.lru_cache(maxsize=1 << 14)(self._identify)

    def streams(self, text: str, *, drawn: bool = False) -> Iterator[Stream]:
        """Yields all readings of a text that hold words of the policy.

        Args:
            text: Any text.
            drawn: Whether it will be drawn, so that spaces between its letters say nothing.
        """
        folded = _bare(fold(text))
        plain = PIECES.findall(folded)
        seen: set[Stream] = set()
        known = list(map(self.identify, plain))
        yield from self._new(known, seen)
        yield from self._new(self._repaired(folded, lambda run: [run]), seen)
        if _SPELT.search(folded):
            # Words of many languages in one cut would hide each other: a cut is in one.
            for words, fillers in self._languages:
                for fewest, rest in ((2, False), (3, True)):
                    cut = functools.partial(
                        _cut, words=words, fillers=fillers, fewest=fewest, rest=rest
                    )
                    yield from self._new(self._repaired(folded, cut), seen)
        if _DOUBLED.search(folded):
            halved = PIECES.findall(_PAIR.sub(r"\1", folded))
            yield from self._new(map(self.identify, halved), seen)
        if drawn:
            yield from self._new(self._glued(plain), seen)
        backwards = [self.identify(word[::-1]) for word in plain]
        turned = PIECES.findall(_bare(fold(rot13(text))))
        for words, found in (
            ([word[::-1] for word in plain], backwards),
            ([word[::-1] for word in plain[::-1]], backwards[::-1]),
            (turned, list(map(self.identify, turned))),
        ):
            if sum(map(bool, found)) <= max(sum(map(bool, known)), 1):
                # Hardly the way to read all of it: short words come by chance.
                kept = zip(words, found, strict=True)
                found = [f if len(w) >= FEWEST_TURNED or CJK.match(w) else NOTHING for w, f in kept]
            yield from self._new(found, seen)

    def _new(self, words: Iterable[frozenset[str]], seen: set[Stream]) -> Iterator[Stream]:
        stream = tuple(words)
        if stream not in seen and any(one and one != FILLER for one in stream):
            seen.add(stream)
            yield stream

    def _identify(self, word: str) -> frozenset[str]:
        """Returns entries that a word may be, by its letters or by those it stands for."""
        found = self._exact.find(word)
        if not word.isalpha() and not word.isdigit() and _DISGUISED.search(word):
            read = word.translate(_LEET)
            found += self._leet.find(read)
            if read in self._fillers:
                found.append(" ")
        if _TRIPLE.search(word):
            word = word.translate(_LEET)
            for shorter in (_TRIPLE.sub(r"\1", word), _TRIPLE.sub(r"\1\1", word)):
                found += self._exact.find(shorter)
                if shorter in self._fillers:
                    found.append(" ")
            found += self._repeated.find(word)
        if word in self._fillers:
            return FILLER.union(found)
        return frozenset(found) if found else NOTHING

    def _repaired(self, text: str, cut: _Cut) -> list[frozenset[str]]:
        """Returns the words of a text after joining what stands apart and parting what is joined.

        Signs inside words are read as letters or left out, letters that stand alone in a row become
        words, and long words that are words of the policy in a row become these.

        Args:
            text: Folded text.
            cut: How letters that stand alone become words.
        """
        words: list[frozenset[str]] = []
        letters: list[str] = []  # single ones, with the spaces behind them
        numbers = _LEET if _MIXED.search(text) else {}

        def flush() -> None:
            if letters:
                spelt = self._spelt(letters, cut) if len(letters) > 5 else letters[::2]
                words.extend(map(self.identify, spelt))
                letters.clear()

        for chunk, space in _CHUNK.findall(text):
            if chunk.isdigit():
                chunk = chunk.translate(numbers)
            if not _SPELLS.search(chunk):
                if letters and chunk not in _APOSTROPHES:
                    letters[-1] += space  # as punctuation parts words, so does a wider space
            elif len(chunk) == 1 and not CJK.match(chunk):
                letters += [chunk, space]
            else:
                flush()
                words += self._chunk(chunk)
        flush()
        return words

    def _chunk(self, chunk: str) -> list[frozenset[str]]:
        """Returns the words of what stands between spaces: mostly one."""
        if _MASK.search(chunk):
            return [self._unmasked(word) for word in _PUNCTUATION.split(chunk) if word]
        if CJK.search(chunk):
            return list(map(self.identify, PIECES.findall(chunk)))
        word = chunk
        if not chunk.isalpha():
            word = _PUNCTUATION.sub("", chunk).strip("*#•█░✱")
        bare = word.rstrip("!")
        parts = self._parted(bare.translate(_LEET) if _MIXED.search(bare) else bare)
        if parts:
            return list(map(self.identify, parts))
        return [self.identify(bare) if bare == word else self.identify(bare) | self.identify(word)]

    def _unmasked(self, chunk: str) -> frozenset[str]:
        """Returns what a masked word may be: "s*n" is "sun" if that is in the policy."""
        if not _MASK.search(chunk):
            return self.identify(chunk)
        if len(_LETTER.findall(chunk)) < 2 or len(chunk) > self._exact.longest:
            return NOTHING
        pattern = "".join(char if char.isalnum() else "." for char in chunk)
        words = [w for w in self._by_length.get(len(chunk), ()) if re.fullmatch(pattern, w)]
        for stem in self._stems:
            if len(stem) <= len(chunk) and re.fullmatch(pattern[: len(stem)], stem):
                words.append(f"{stem}*")
        return frozenset(words)

    def _spelt(self, letters: list[str], cut: _Cut) -> list[str]:
        """Returns the words that single letters spell; wider spaces part words."""
        gaps = [len(gap) for gap in letters[1:-1:2]]
        most = min(gaps)
        runs = [letters[0]]
        for gap, letter in zip(gaps, letters[2::2], strict=False):
            if gap > most:
                runs.append(letter)
            else:
                runs[-1] += letter
        words: list[str] = []
        for run in runs:
            run = "".join(PIECES.findall(run.translate(_LEET))) if _LETTER.search(run) else run
            words += cut(run) or [run]
        return words

    def _parted(self, word: str) -> list[str] | None:
        if not FEWEST_GLUED <= len(word) <= MOST_GLUED or self._exact.has(word):
            return None
        return self._convincing(word)

    def _glued(self, words: list[str]) -> list[frozenset[str]]:
        whole = "".join(words)
        cut = self._convincing(whole) if len(whole) <= MOST_GLUED else None
        return list(map(self.identify, cut or ()))

    def _convincing(self, run: str) -> list[str] | None:
        """Returns a cut that is hardly there by chance, as "compute" has a French word in it."""
        words = _cut(run, words=self._exact, fillers=self._fillers, fewest=FEWEST_INSIDE) or []
        telling = [len(word) for word in words if word not in self._fillers]
        if not telling or sum(telling) < 0.6 * len(run) or sum(telling) < SURE_INSIDE:
            return None
        return words


def _cut(
    run: str, *, words: _Index, fillers: frozenset[str], fewest: int, rest: bool = False
) -> list[str] | None:
    """Cuts letters into words of a policy and fillers, as few as can be.

    Args:
        run: Letters.
        words: Words of the policy.
        fillers: Its fillers.
        fewest: Letters that a word of the policy has at least.
        rest: Whether there may be letters that are in no such word.

    Returns:
        None if there is no such cut.
    """

    def is_piece(word: str) -> bool:
        if word in fillers:
            return len(word) > 1 or word == "a" or fewest < FEWEST_INSIDE
        return len(word) >= fewest and words.has(word)

    run = run[:MOST_GLUED]
    never = float("inf")
    cost, came = [0.0] + [never] * len(run), [0] * (len(run) + 1)
    for start in range(len(run)):
        if cost[start] == never:
            continue
        if rest and cost[start] + LETTER < cost[start + 1]:
            cost[start + 1], came[start + 1] = cost[start] + LETTER, start
        for end in range(start + 1, min(start + words.longest, len(run)) + 1):
            if cost[start] + 1 < cost[end] and is_piece(run[start:end]):
                cost[end], came[end] = cost[start] + 1, start
    if cost[-1] == never:
        return None
    found, end = [], len(run)
    while end:
        found.append(run[came[end] : end])
        end = came[end]
    return found[::-1]


def _bare(text: str) -> str:
    """Returns a text without apostrophes in words, and without the S of possessives."""
    return _APOSTROPHE.sub("", text)
