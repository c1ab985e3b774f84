# SPDX-License-Identifier: Apache-2.0
"""Finds words of the policy in a text, however they are spelt.

A text becomes streams: one with its words as they are, and others with what they may stand for.
Each place of a stream has the entries of the policy's vocabulary that the word there may be.
Most words are none, so that most streams of innocent texts are empty and cost next to nothing.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator

from omnigen.safety.folding import rot13
from omnigen.safety.policy import PIECES, Policy

Stream = tuple[frozenset[str], ...]

NOTHING: frozenset[str] = frozenset()
FILLER = frozenset({" "})  # what may stand between the words of a term
FEWEST_TURNED = 4  # letters of a word that is looked for backwards or in rot13
FEWEST_INSIDE = 4  # letters of a word that is looked for inside a run of single letters
FEWEST_GLUED = 8  # letters of a word that may be several without spaces
MOST_GLUED = 400  # letters of such a word that are looked at
ENDING = 4  # letters behind a stem, where words stand without spaces
LETTER = 1.5  # what a letter that belongs to no word costs, in words

_LEET = str.maketrans("01345789@$!|+€£¢¥", "oieastbgasiitelcy")
_DISGUISED = re.compile(r"[@$!|+€£¢¥\d]")
_LETTER = re.compile(r"[^\W\d_]")
_TRIPLE = re.compile(r"([^\W\d_])\1\1")
_RUN = re.compile(r"(.)\1+")
_CJK = re.compile("[\u3040-\u9fff]")
_MASK = re.compile(r"(?<=\w)[*#•█░×✱]+(?=\w)|(?<=\w\w)[*#•█]+$")


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
        self._fillers = policy.fillers
        self._longest = max(map(len, entries))
        self.identify = functools.lru_cache(maxsize=1 << 14)(self._identify)

    def streams(self, text: str, *, drawn: bool = False) -> Iterator[Stream]:
        """Yields all readings of a folded text that hold words of the policy.

        Args:
            text: Text, as `folding.fold` returns it.
            drawn: Whether it will be drawn, so that spaces between its letters say nothing.
        """
        text = re.sub(r"(?<=\w)['’`](?=\w)", "", text)
        plain = PIECES.findall(text)
        seen: set[Stream] = set()
        for words in (plain, self._repaired(text), self._glued(plain) if drawn else ()):
            yield from self._new([self.identify(word) for word in words], seen)
        # Backwards, word by word and as a whole, and in rot13.
        long = [word if len(word) >= FEWEST_TURNED or _CJK.match(word) else "" for word in plain]
        backwards = [self.identify(word[::-1]) if word else NOTHING for word in long]
        yield from self._new(backwards, seen)
        yield from self._new(backwards[::-1], seen)
        if any(map(str.isascii, long)):
            yield from self._new(
                [self.identify(rot13(w)) if w.isascii() and w else NOTHING for w in long], seen
            )

    def _new(self, words: Iterable[frozenset[str]], seen: set[Stream]) -> Iterator[Stream]:
        stream = tuple(words)
        if stream not in seen and any(one and one != FILLER for one in stream):
            seen.add(stream)
            yield stream

    def _identify(self, word: str) -> frozenset[str]:
        """Returns entries that a word may be, by its letters or by those it stands for."""
        found = self._exact.find(word)
        if not word.isalpha() and not word.isdigit() and _DISGUISED.search(word):
            found += self._leet.find(word.translate(_LEET))
        if _TRIPLE.search(word):
            found += self._repeated.find(word.translate(_LEET))
        if len(word) >= 6 and word[::2] == word[1::2]:
            found += self._exact.find(word[::2])
        if word in self._fillers:
            return FILLER.union(found)
        return frozenset(found) if found else NOTHING

    def _repaired(self, text: str) -> list[str]:
        """Returns the words of a text after joining what stands apart and parting what is joined.

        Signs inside words are read as letters or left out, letters that stand alone in a row become
        words, and long words that are words of the policy in a row become these.
        """
        words: list[str] = []
        letters: list[str] = []  # single ones, with the spaces behind them

        def flush() -> None:
            words.extend(self._spelt(letters) if len(letters) > 4 else letters[::2])
            letters.clear()

        for chunk in re.split(r"(\s+)", text):
            if not chunk.strip():
                if letters:
                    letters.append(chunk)
                continue
            whole = self._joined(chunk)
            if len(whole) == 1 and len(whole[0]) == 1 and not _CJK.match(whole[0]):
                letters.append(whole[0])
                continue
            flush()
            for word in whole:
                words += self._parted(word) or [word]
        flush()
        return words

    def _joined(self, chunk: str) -> list[str]:
        """Returns the words of what stands between spaces: one, unless it is Chinese."""
        if chunk.isalpha() and not _CJK.search(chunk):
            return [chunk]
        if "*" in chunk or "#" in chunk or not chunk.isascii():
            if mask := _MASK.search(chunk):
                return [self._unmasked(chunk.strip("*#.,;:!?\"'()"), mask)]
        pieces = PIECES.findall(chunk)
        if _CJK.search(chunk):
            return pieces
        if len(chunk) == 1 or chunk.isdigit():
            return [chunk] if pieces or chunk in "@$!|+" else []
        if _LETTER.search(chunk) and _DISGUISED.search(chunk):
            bare = chunk.strip("\"'().,;:?*_-#").rstrip("!")
            pieces = PIECES.findall(bare.translate(_LEET))
            # `identify` reads L for I only in words with digits: one is kept.
            joined = "".join(pieces)
            return [min(self._leet.find(joined), key=len, default=joined).rstrip("*")]
        return ["".join(pieces)] if pieces else []

    def _unmasked(self, chunk: str, mask: re.Match[str]) -> str:
        """Returns the word that a masked one is: "s*n" is "sun" if that is in the policy."""
        if len(_LETTER.findall(chunk)) < 2:
            return "".join(PIECES.findall(chunk))
        sign = re.escape(mask[0][0])
        pattern = re.compile(re.sub(rf"(?:\\?{re.escape(sign)})", ".", re.escape(chunk)))
        fitting = (word for word in self._by_length.get(len(chunk), ()) if pattern.fullmatch(word))
        return next(fitting, "".join(PIECES.findall(chunk)))

    def _spelt(self, letters: list[str]) -> list[str]:
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
            run = run.translate(_LEET) if _LETTER.search(run) else run
            words += [run] if self.identify(run) else self._cut(run, rest=True) or [run]
        return words

    def _parted(self, word: str) -> list[str] | None:
        if not FEWEST_GLUED <= len(word) <= MOST_GLUED or self._exact.has(word):
            return None
        return self._cut(word, rest=False)

    def _glued(self, words: list[str]) -> list[str]:
        whole = "".join(words)
        return (self._cut(whole, rest=False) or []) if len(whole) <= MOST_GLUED else []

    def _cut(self, run: str, *, rest: bool) -> list[str] | None:
        """Cuts letters into words of the policy and fillers, as few as can be.

        Args:
            run: Letters.
            rest: Whether there may be letters that are in no such word.

        Returns:
            None if there is no such cut.
        """
        run = run[:MOST_GLUED]
        never = float("inf")
        cost, came = [0.0] + [never] * len(run), [0] * (len(run) + 1)
        for start in range(len(run)):
            if cost[start] == never:
                continue
            if rest and cost[start] + LETTER < cost[start + 1]:
                cost[start + 1], came[start + 1] = cost[start] + LETTER, start
            for end in range(start + 1, min(start + self._longest, len(run)) + 1):
                if cost[start] + 1 < cost[end] and self._is_piece(run[start:end], rest):
                    cost[end], came[end] = cost[start] + 1, start
        if cost[-1] == never:
            return None
        words, end = [], len(run)
        while end:
            words.append(run[came[end] : end])
            end = came[end]
        return words[::-1]

    def _is_piece(self, word: str, rest: bool) -> bool:
        if word in self._fillers:
            return True
        return len(word) >= (FEWEST_INSIDE if rest else 2) and self._exact.has(word)
