# SPDX-License-Identifier: Apache-2.0
"""What is written with signs and accents: prices, shares, sums, addresses, words of Latin-1.

`marks.txt` has a phrase a line, with slots: `{w}` a word, `{x}` one with accents, `{a}` a letter,
all with a capital if the slot is one; `{d}` a digit, `{n}` and `{N}` numbers of one or two digits
and of three.
"""

import functools
import pathlib
import re
from collections.abc import Callable

from omnigen.dice import Dice
from omnigen.scenes import fonts, words

MARKS = "".join(c for c in fonts.CHARACTERS if c not in f'{words.CHARACTERS} "')
"""All that is written here and not in `words`; double quotes are what words stand in."""

_ACCENTED = {
    "a": "àáâãäåæ",
    "c": "ç",
    "d": "ð",
    "e": "èéêë",
    "i": "ìíîï",
    "n": "ñ",
    "o": "òóôõöø",
    "s": "ß",
    "t": "þ",
    "u": "ùúûü",
    "y": "ýÿ",
}
_SLOT = re.compile(r"\{[wWxXaAdnN]\}")


def _lines(name: str) -> tuple[str, ...]:
    text = (pathlib.Path(__file__).parent / name).read_text(encoding="utf-8")
    return tuple(text.splitlines())


@functools.cache
def _templates() -> tuple[str, ...]:
    return _lines("marks.txt")


@functools.cache
def _known() -> tuple[str, ...]:
    return _lines("accented.txt")


def _cased(word: str, style: Callable[[str], str]) -> str:
    """Returns the word in a case, if it keeps its length and its characters then."""
    styled = style(word)
    fits = len(styled) == len(word) and set(styled) <= set(fonts.CHARACTERS)
    return styled if fits else word


def _invented(dice: Dice) -> str:
    """Returns an invented word with an accent or two."""
    letters = list(words.pseudo(dice))
    for _ in range(dice.integer(1, 2)):
        place = dice.integer(0, len(letters) - 1)
        letters[place] = dice.pick(_ACCENTED.get(letters[place], letters[place]))
    return "".join(letters)


def _sprinkled(dice: Dice) -> str:
    """Returns a word or a number with any mark in it, so that none can be guessed."""
    word = (
        words.pseudo(dice)[: dice.integer(1, 6)] if dice.chance(0.7) else str(dice.integer(0, 99))
    )
    place = dice.integer(0, len(word))
    return word[:place] + dice.pick(MARKS) + word[place:]


def _accented(dice: Dice) -> str:
    return dice.pick(_known()) if dice.chance(0.7) else _invented(dice)


def _filling(slot: str, dice: Dice) -> str:
    name = slot[1]
    if name in "dnN":
        return str(dice.integer(*{"d": (0, 9), "n": (1, 99), "N": (100, 999)}[name]))
    if name in "aA":
        return chr(ord(name) + dice.integer(0, 25))
    if name in "xX":
        word = _accented(dice)
    else:
        word = dice.pick(words.common()) if dice.chance(0.75) else words.pseudo(dice)
    return _cased(word, str.capitalize) if name.isupper() else word


def _phrase(dice: Dice) -> str:
    maker = dice.weigh({_sprinkled: 0.2, _accented: 0.15, None: 0.65})
    if maker is not None:
        return _cased(
            maker(dice), dice.weigh({str.lower: 0.5, str.capitalize: 0.3, str.upper: 0.2})
        )
    text = _SLOT.sub(lambda found: _filling(found[0], dice), dice.pick(_templates()))
    return _cased(text, str.upper) if dice.chance(0.08) else text


def phrase(dice: Dice, *, held_out: bool = True) -> tuple[str, ...]:
    """Returns one to three words that are read together, mostly with a sign or an accent.

    Words of the test split occur only if `held_out`.
    """
    while True:
        found = tuple(_phrase(dice).split())
        if all(words.allowed(part, held_out=held_out) for part in found):
            return found
