# SPDX-License-Identifier: Apache-2.0
"""The lexica the other way round: what a word of a prompt may mean.

Beside the lexica stands a list of words that name nothing to be seen, by what they do in a sentence
(`data/function_words.json`): determiners, boundaries of phrases, negations and so on.
"""

import difflib
import functools
import json
import pathlib
import re
from collections.abc import Collection, Iterator

from omnigen.wording import lexicon, meaning

FUNCTION_WORDS = pathlib.Path(__file__).parent / "data" / "function_words.json"
TOKEN = re.compile(r"\d+|[^\W\d_]+(?:[-'’][^\W\d_]+)*|[^\w\s]")
MOST_WORDS = 4  # of a noun
ALIKE = 0.74  # share of letters that a mistyped word has in common with what was meant
_NOUNS = {"shapes": ("noun",), "holders": ("noun",), "elements": (), "things": ()}
"""Lexica of nouns, with the forms that are; any form but an adjective if none is named."""
_UNSEEN = frozenset({"sticker", "poster", "letters"})  # holders that no sketch names
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()


@functools.cache
def function_words(kind: str) -> frozenset[str]:
    """Returns the words of one kind that name nothing to be seen."""
    return frozenset(_function_words()[kind].split())


@functools.cache
def ruling_out() -> dict[str, frozenset[str]]:
    """Returns words that rule out what comes next if one of some others follows, with these."""
    table = _function_words()["absent_if_followed"]
    return {word: frozenset(others.split()) for word, others in table.items()}


@functools.cache
def _function_words() -> dict:
    return json.loads(FUNCTION_WORDS.read_text(encoding="utf-8"))


def _table(name: str) -> tuple[lexicon.Entry, ...]:
    return lexicon.table(name) if (lexicon.FOLDER / f"{name}.tsv").exists() else ()


@functools.cache
def nouns() -> dict[tuple[str, ...], frozenset[str]]:
    """Returns the canonical names that a noun may have, singular or plural, by its words."""
    found: dict[tuple[str, ...], set[str]] = {}
    for entry in _entries():
        for text in filter(None, (entry.meaning, entry.text, entry.plural)):
            for words in _both_numbers(tuple(TOKEN.findall(text.lower()))):
                found.setdefault(words, set()).add(entry.meaning)
    return {
        words: frozenset(names)
        for words, names in found.items()
        if len(words) <= MOST_WORDS and not _ends() & set(words)
    }


def _entries() -> Iterator[lexicon.Entry]:
    """Yields all nouns of the lexica."""
    for table, forms in _NOUNS.items():
        for entry in _table(table):
            is_vague = "shape_context" in entry.tags and entry.use == lexicon.Use.RARE
            is_noun = entry.form in forms if forms else entry.form != "adjective"
            if is_noun and not is_vague and entry.meaning not in _UNSEEN:
                yield entry


def _ends() -> frozenset[str]:
    """Returns words at which phrases end."""
    return function_words("boundaries") | function_words("absent")


@functools.cache
def _plainer() -> tuple[re.Pattern[str], dict[str, str]]:
    """Returns names in which phrases would end or things be named, and plain words for them."""
    found = {name: color for name, color in _colors().items() if " " in name}
    for entry in _entries():
        words = entry.text.lower().split()
        if len(words) > 1 and _ends() & set(words):
            found[entry.text.lower()] = entry.meaning
            is_plural = bool(entry.plural) and not entry.meaning.endswith("s")
            found[entry.plural.lower() or entry.text] = entry.meaning + "s" * is_plural
    return _any(found), found


def plainer(text: str) -> str:
    """Returns a text with plain names: a ring for "a circle with a hole", red for "ruby red"."""
    pattern, plain = _plainer()
    return pattern.sub(lambda match: plain[match[0]], text)


def _both_numbers(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yields a noun as it stands, and its regular plural or singular."""
    *first, last = words
    yield words
    if last.endswith("s") and not last.endswith("ss"):
        yield (*first, last[:-1])
    else:
        yield (*first, last + ("es" if last.endswith(("s", "x", "ch", "sh")) else "s"))


@functools.cache
def numbers() -> dict[str, str]:
    """Returns phrases that are a number, such as "half a dozen", with its digits."""
    found = {word: str(number) for number, word in enumerate(_UNITS)}
    for entry in lexicon.table("numbers"):
        if entry.meaning.isdecimal() and entry.form in ("word", "of"):
            if "couple" not in entry.text:  # of which people do not mean that it is two
                found[entry.text] = entry.meaning
    return found


@functools.cache
def _colors() -> dict[str, str]:
    return {**lexicon.meanings("grounds"), **lexicon.meanings("colors")}


def _any(phrases: Collection[str]) -> re.Pattern[str]:
    """Returns a pattern of phrases, the longest first."""
    longest = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest))})\b(?!-\w)")


@functools.cache
def _number_pattern() -> re.Pattern[str]:
    return _any(numbers())


@functools.cache
def _color_pattern() -> re.Pattern[str]:
    return _any(_colors())


def in_digits(text: str) -> str:
    """Returns a text with its numbers in digits."""
    return _number_pattern().sub(lambda match: f" {numbers()[match[0]]} ", text)


def color(words: Collection[str]) -> str | None:
    """Returns the one of the ten colours that is told before a noun.

    Args:
        words: The words before the noun.

    Returns:
        None if there is none, if there are two, or if it is in doubt: a light red may be a pink.
    """
    text = " ".join(words)
    found = list(_color_pattern().finditer(text))
    if len(found) != 1:
        return None
    name, before = _colors()[found[0][0]], text[: found[0].start()].split()[-1:]
    of = {entry.meaning for entry in lexicon.table("modifiers") if [entry.text] == before}
    is_size = before and before[0] in ("small", "medium", "large")
    return name if name in meaning.COLORS and (not of or name in of or is_size) else None


@functools.cache
def _known() -> dict[str, list[str]]:
    """Returns all words that a lexicon or the list of function words has, by their first letter."""
    texts = [words for words in _function_words().values() if isinstance(words, str)]
    for path in lexicon.FOLDER.glob("*.tsv"):
        texts += [text for one in lexicon.table(path.stem) for text in (one.text, one.plural)]
    found: dict[str, list[str]] = {}
    for word in sorted(set(TOKEN.findall(" ".join(texts).lower()))):
        found.setdefault(word[0], []).append(word)
    return found


def names_color(text: str) -> bool:
    """Returns whether a text names a colour anywhere."""
    return _color_pattern().search(text.lower()) is not None


def is_attribute(word: str) -> bool:
    """Returns whether a word is a colour or a size, and names nothing."""
    return word in _colors() or word in _sizes()


@functools.cache
def _sizes() -> frozenset[str]:
    return frozenset(entry.text for entry in lexicon.table("sizes"))


def is_known(word: str) -> bool:
    """Returns whether a word is in a lexicon or a function word, perhaps mistyped."""
    alike = _known().get(word[:1], [])
    return word in alike or is_like(word, alike, share=0.8)


def is_mistyped(word: str) -> bool:
    """Returns whether a word is in no lexicon, but much like one that is."""
    return len(word) > 3 and word not in _known().get(word[:1], []) and is_known(word)


def is_like(word: str, others: Collection[str], *, share: float = ALIKE) -> bool:
    """Returns whether a word may be one of the others, mistyped: they share most letters."""
    return bool(difflib.get_close_matches(word, others, n=1, cutoff=share))
