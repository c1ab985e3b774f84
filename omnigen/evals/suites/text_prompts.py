# SPDX-License-Identifier: Apache-2.0
"""The prompts of the suite `text`: one to five quoted words that no vocabulary helps to guess.

Half of the words are from the dictionary, the rest is invented, or random letters and digits, so
that spelling cannot be guessed. Half of the prompts hold only words that training never shows
(`held_out`), the others only words that it may show.
"""

import functools
from typing import Any

from omnigen.dice import Dice
from omnigen.evals.suites import references
from omnigen.scenes import splits, words

LENGTHS = (3, 12)  # letters of a word
COUNTS = (1, 2, 3, 4, 5)  # words of a prompt
SOURCES = {"dictionary": 0.5, "invented": 0.3, "random": 0.2}

_A_COUNT = 40  # prompts of each
_LINES = {
    1: ((1,),),
    2: ((2,), (1, 1)),
    3: ((3,), (1, 2), (1, 1, 1)),
    4: ((2, 2),),
    5: ((2, 2, 1),),
}
_UNSEEN_TEMPLATE = "a poster that reads {}"
_TEMPLATES = ("write {}", "a picture that says {}", "text: {}", _UNSEEN_TEMPLATE)
_LETTERS, _DIGITS = "abcdefghjkmnpqrstuvwxyz", "23456789"  # none that look like another


def _random(dice: Dice) -> str:
    letters = [dice.pick(_LETTERS) for _ in range(dice.integer(2, 5))]
    letters.insert(dice.integer(0, len(letters)), dice.pick(_DIGITS) + dice.pick(_DIGITS))
    return "".join(letters)


def _word(dice: Dice, source: str, *, held_out: bool) -> str:
    """Returns a word of the source that is in the split, in some case."""
    while True:
        match source:
            case "dictionary":
                word = dice.pick(words.common())
            case "invented":
                word = words.pseudo(dice)
            case _:
                word = _random(dice)
        fits = LENGTHS[0] <= len(word) <= LENGTHS[1] and word.isalnum()
        if fits and splits.word_held_out(word) == held_out and words.allowed(word, held_out=True):
            return dice.pick((str.lower, str.capitalize, str.upper))(word)


def _prompt(number: int, sources: list[str]) -> dict[str, Any]:
    count, held_out = len(sources), number % 2 == 1
    dice = Dice("text", count, number)
    template = _TEMPLATES[number // 2 % len(_TEMPLATES)]
    while True:
        found = [_word(dice, source, held_out=held_out) for source in sources]
        rest, lines = list(found), []
        for length in dice.pick(_LINES[count]):
            lines.append(rest[:length])
            rest = rest[length:]
        quotes = [f'"{" ".join(line)}"' for line in lines]
        *first, last = quotes
        listed = f"{', '.join(first)} and {last}" if first else last
        metadata = {
            "tag": f"words_{count}",
            "lines": lines,
            "sources": sources,
            "prompt": template.format(listed),
            "held_out": held_out,
            "template_held_out": template == _UNSEEN_TEMPLATE,
        }
        if references.words(lines, seed=metadata["prompt"], tries=20) is not None:
            return metadata


@functools.cache
def prompts() -> tuple[dict[str, Any], ...]:
    """Returns the metadata of every prompt.

    They are `tag`, `lines`, the words' `sources`, `prompt` and the splits.
    """
    total, dice = _A_COUNT * sum(COUNTS), Dice("text", "sources")
    deck = [source for source, share in SOURCES.items() for _ in range(round(share * total))]
    deck = [source for _, _, source in sorted((dice.unit(), i, s) for i, s in enumerate(deck))]
    return tuple(
        _prompt(number, [deck.pop() for _ in range(count)])
        for count in COUNTS
        for number in range(_A_COUNT)
    )
