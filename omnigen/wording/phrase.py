# SPDX-License-Identifier: Apache-2.0
"""Free wording: one of the many ways in which people would ask for what a meaning tells."""

import re

from omnigen.dice import Dice
from omnigen.wording import filling, layouts, noise
from omnigen.wording.clauses import mark
from omnigen.wording.meaning import Meaning

TRIES, TERSE = 6, 3  # attempts to keep the limit, and how many of them are not terse
BY_HAND = 0.28  # share of wordings by hand, where a sentence says it
CROWDED = 0.6  # share of the limit that nouns and adjectives alone have in terse wordings
CAPITALS = re.compile(r"[A-Z0-9]*[A-Z]{2}[A-Z0-9]*(?: [A-Z0-9]+)*")


def phrase(meaning: Meaning, dice: Dice, max_bytes: int) -> str | None:
    """Words a meaning in English.

    Args:
        meaning: What is told. All of it is, but for relations that have no room.
        dice: Choose between the wordings.
        max_bytes: Bytes of UTF-8 that the wording may have.

    Returns:
        The wording, at times of several lines. All quotations stand in it verbatim, in quotation
        marks or where it is plain without. None if nothing is told, or not within the limit.
    """
    least = _least_bytes(meaning)
    is_empty = not (meaning.things or meaning.words or meaning.background or meaning.sky)
    if is_empty or least > max_bytes:
        return None
    if dice.chance(BY_HAND):
        text = _by_hand(meaning, dice)
        if text is not None and len(text.encode()) <= max_bytes:
            return text
    for attempt in range(TERSE if least > CROWDED * max_bytes else 0, TRIES):
        text = layouts.write(meaning, dice, terse=attempt >= TERSE)
        text = _dressed(text, meaning, dice, plain=attempt >= TERSE)
        if len(text.encode()) <= max_bytes:
            return text
    return None


def _least_bytes(meaning: Meaning) -> int:
    """Returns about how many bytes the tersest wording of a meaning has."""
    things = (f"{t.noun}, {t.color or ''} {t.size or ''}" for t in meaning.things)
    return sum(map(len, things)) + sum(len(words.text.encode()) + 4 for words in meaning.words)


def _by_hand(meaning: Meaning, dice: Dice) -> str | None:
    """Returns a sentence written by hand, at times with noise, which leaves its voice alone."""
    text = filling.fill(meaning, dice)
    if text is None:
        return None
    text = tidy(text)
    if dice.chance(0.4):
        text = noise.typed(text if meaning.words else noise.cased(text, dice), dice)
    if any("'" in words.text and f"'{mark(i)}" in text for i, words in enumerate(meaning.words)):
        return None
    return _quoted(text, [words.text for words in meaning.words], ("", ""))


def _quoted(text: str, texts: list[str], marks: tuple[str, str]) -> str:
    for index, words in enumerate(texts):
        text = text.replace(mark(index), f"{marks[0]}{words}{marks[1]}")
    return text


def _dressed(text: str, meaning: Meaning, dice: Dice, *, plain: bool) -> str:
    """Returns the text as it is typed, with its quotations in place of their marks."""
    text = tidy(text)
    if not plain:
        text = noise.undotted(noise.cased(text, dice), dice)
        text = noise.with_emoji(noise.typed(text, dice), dice)
    texts = [words.text for words in meaning.words]
    marks = noise.quotation_marks(dice, texts)
    if marks == ("", "") and not _is_plain_without(text, texts):
        marks = noise.STRAIGHT if not any('"' in one for one in texts) else ("“", "”")
    return _quoted(text, texts, marks)


def _is_plain_without(text: str, texts: list[str]) -> bool:
    """Returns whether all quotations can be told from the rest without quotation marks.

    They can in capitals among small letters, and one can after a colon at the end.
    """
    if not texts:
        return False
    if text == text.upper():
        return False
    last = mark(len(texts) - 1)
    if len(texts) == 1 and text.endswith(f": {last}") and text.count(last) == 1:
        return True
    return all(CAPITALS.fullmatch(one) for one in texts) and not re.search(r"[A-Z]{2}", text)


def tidy(text: str) -> str:
    """Returns the text with single spaces, commas where they belong, and `an` before vowels."""
    text = re.sub(r" +", " ", text).strip()
    text = re.sub(r" +([,.;:!?])(?=\s|$)", r"\1", text)
    text = re.sub(r"([,;:])(?: ?,)+", r"\1", text)
    text = re.sub(r",+ *(?=[.?!;]|$)", "", text)
    text = re.sub(r"\ba(?= (?:[aeio]|u(?!ni|se|su|ti|-)|8|11\b|18\b|hour))", "an", text)
    text = re.sub(r"\bA(?= (?:[aeio]|u(?!ni|se|su|ti|-)))", "An", text)
    text = re.sub(r"\b([aA])n(?= (?:one|once|eu))", r"\1", text)
    text = re.sub(r"\b([tT]here) is( also)?(?= the (?:\w+ )?words\b)", r"\1 are\2", text)
    return re.sub(r" *\n *", "\n", text)
