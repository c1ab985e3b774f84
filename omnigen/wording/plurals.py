# SPDX-License-Identifier: Apache-2.0
"""Plurals of English nouns, such as the names of drawings: one word alone changes."""

import re

from omnigen.wording import lexicon

_COMPOUNDS = re.compile("(?<!hu)(man|child|person|foot|tooth|goose|mouse|fish|shelf|wolf)$")
_HEADED = re.compile(
    r"(\w.*?) (?:with|without|of|in|on|for|from|at|to) "
    r"|(?=(?:person|man|woman|boy|girl|child|face|hand|cat) \w+ing\b)(\w+)"
)
_SINGULAR = re.compile(r"(ss|us|is|ceros|\b(lens|gas|atlas|canvas|chess|aries|series))$", re.I)


def plural(noun: str) -> str:
    """Returns the plural of a noun: "boxing gloves", "flags of Fiji", "people running"."""
    phrase = _HEADED.match(noun)
    if phrase:
        head = phrase[1] or phrase[2]
        return plural(head) + noun[len(head) :]
    compound = _COMPOUNDS.search(noun)
    last = compound[0] if compound else noun.rpartition(" ")[2]
    irregular = lexicon.entries("plurals", last)
    if irregular:
        return noun.removesuffix(last) + irregular[0].text
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"


def is_plural(noun: str) -> bool:
    """Returns whether a noun is in the plural, as "beans", "french fries" and "scissors" are."""
    return noun.endswith("s") and not _SINGULAR.search(noun)
