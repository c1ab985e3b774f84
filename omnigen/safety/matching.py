# SPDX-License-Identifier: Apache-2.0
"""Judges texts by the rules of a policy."""

import bisect
import functools
import os
from collections.abc import Iterator, Sequence

from omnigen.safety.folding import decoded
from omnigen.safety.policy import EXCEPTIONS, VARIABLE, Policy, Rule, Term, load
from omnigen.safety.words import CJK, FILLER, Stream, Vocabulary

BETWEEN = 5  # words that may stand between two parts of a rule that come in order
AROUND = 12  # words that may stand between two parts that come in any order
MOST_FILLERS = 2  # fillers that may stand between two words of a term
LONGEST = 40  # words that a term and its fillers have at most
DEPTH = 2  # codes within codes that are read
MOST_CODES = 20  # coded parts of a text that are read

Span = tuple[int, int]


class Matcher:
    """Judges texts by the words in them."""

    def __init__(self, rules: Policy) -> None:
        """Indexes a policy."""
        self.policy = rules
        self._vocabulary = Vocabulary(rules)
        # Terms by their first word and their second, since few words begin hundreds of terms.
        self._starts: dict[str, dict[str, list[tuple[Term, tuple[str, ...]]]]] = {}
        for term, groups in rules.terms.items():
            seconds = self._starts.setdefault(term[0], {})
            seconds.setdefault(term[1] if len(term) > 1 else "", []).append((term[2:], groups))

    def scores(self, text: str, drawn: Sequence[str] = ()) -> dict[str, float]:
        """Returns how surely a text belongs to each category, 0 ... 1; without those it does not.

        Args:
            text: What is asked for, in any language.
            drawn: Parts of it that will be drawn; they are judged by more rules.
        """
        found: dict[str, float] = {}
        self._judge(text, found, drawn=False, depth=0)
        for words in dict.fromkeys(drawn):
            self._judge(words, found, drawn=True, depth=0)
        return found

    def _judge(self, text: str, found: dict[str, float], *, drawn: bool, depth: int) -> None:
        for stream in self._vocabulary.streams(text, drawn=drawn):
            self._match(stream, found, drawn=drawn)
        if depth < DEPTH:
            for count, plain in enumerate(decoded(text)):
                if count >= MOST_CODES:
                    break
                self._judge(plain, found, drawn=drawn, depth=depth + 1)

    def _match(self, stream: Stream, found: dict[str, float], *, drawn: bool) -> None:
        spans = self._spans(stream)
        for part in spans:
            for rule in self.policy.rules.get(part, ()):
                if rule.drawn and not drawn or found.get(rule.category, 0.0) >= rule.score:
                    continue
                if _holds(rule, spans, stream):
                    found[rule.category] = rule.score

    def _spans(self, stream: Stream) -> dict[str, list[Span]]:
        """Returns where the terms of each group are, without those that exceptions cover."""
        spans: dict[str, list[Span]] = {}
        for start, entries in enumerate(stream):
            for entry in entries:
                for end, groups in self._ends(stream, self._starts.get(entry, {}), start + 1):
                    for group in groups:
                        spans.setdefault(group, []).append((start, end))
        covered = {i for start, end in spans.pop(EXCEPTIONS, ()) for i in range(start, end)}
        if covered:
            for group in list(spans):
                kept = [s for s in spans[group] if covered.isdisjoint(range(*s))]
                if kept:
                    spans[group] = kept
                else:
                    del spans[group]
        return spans

    def _ends(
        self,
        stream: Stream,
        seconds: dict[str, list[tuple[Term, tuple[str, ...]]]],
        at: int,
    ) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yields where terms end whose first word is right before a place, with their groups."""
        for _, groups in seconds.get("", ()):
            yield at, groups
        if len(seconds) == ("" in seconds):
            return
        for place in _within_reach(stream, at):
            for second in stream[place]:
                if place > at and CJK.match(second):
                    continue
                for rest, groups in seconds.get(second, ()):
                    end = _end(stream, rest, place + 1)
                    if end:
                        yield end, groups


def _within_reach(stream: Stream, at: int) -> Iterator[int]:
    """Yields the places where the next word of a term may be: here, or behind a few fillers."""
    for place in range(at, min(at + MOST_FILLERS + 1, len(stream))):
        yield place
        if not FILLER <= stream[place]:
            return


def _end(stream: Stream, rest: Term, at: int) -> int:
    """Returns where a term ends whose other words are to come from a place on; 0 if not."""
    for word in rest:
        for place in _within_reach(stream, at):
            if word in stream[place] and not (place > at and CJK.match(word)):
                at = place + 1
                break
        else:
            return 0
    return at


def _holds(rule: Rule, spans: dict[str, list[Span]], stream: Stream) -> bool:
    """Returns whether all parts of a rule are there, near each other."""
    if any(part not in spans for part in rule.parts):
        return False
    near = spans[rule.parts[0]]
    for joint, part in zip(rule.joints, rule.parts[1:], strict=True):
        others = spans[part]
        joined = set()
        for one in near:
            # Spans lie in the order of their starts: only those around are looked at.
            first = bisect.bisect_left(others, (one[0] - AROUND - LONGEST, 0))
            last = bisect.bisect_right(others, (one[1] + AROUND, len(stream)))
            for other in others[first:last]:
                if _stand(joint, one, other, stream):
                    joined.add((min(one[0], other[0]), max(one[1], other[1])))
        if not joined:
            return False
        near = sorted(joined)
    return True


def _stand(joint: str, one: Span, other: Span, stream: Stream) -> bool:
    """Returns whether two spans stand to each other as a joint says."""
    between = other[0] - one[1]
    if joint == "&":
        between = max(between, one[0] - other[1])
        return 0 <= between <= AROUND
    if joint == "..":
        return 0 <= between <= BETWEEN
    words = stream[one[1] : other[0]]
    return 0 <= between <= MOST_FILLERS and all(FILLER <= word for word in words)


def current() -> Matcher:
    """Returns the matcher of the policy in force, which `VARIABLE` may change."""
    return _matcher(os.environ.get(VARIABLE, ""))


@functools.cache
def _matcher(folder: str) -> Matcher:
    return Matcher(load(folder))
