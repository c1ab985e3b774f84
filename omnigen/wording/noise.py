# SPDX-License-Identifier: Apache-2.0
"""How people type: case, dots and commas, slips of the fingers, marks around quotations."""

import re
from collections.abc import Sequence

from omnigen.dice import Dice

CASES = {"as is": 0.5, "lower": 0.18, "sentence": 0.13, "title": 0.09, "upper": 0.1}
TYPING = 0.16  # share of captions with slips
SLIPS = {1: 0.7, 2: 0.22, 3: 0.08}  # how many words of such a caption have one
EMOJI = 0.015
UNDOTTED = 0.08  # share without needless commas, apostrophes and the last dot
EMOJIS = "🙂 😀 😊 🎨 🙏 👍 ✨ ❤️ 🌟 🎉 😄 🖼️ 🤗 🥰 🙌".split()
NEIGHBOURS = dict(
    zip(
        "qwertyuiopasdfghjklzxcvbnm",
        "wa qes wrd etf ryg tuh yij uok ipl ol qsz adwx sfec dgrv fhtb gjyn hkum jlin kop "
        "asx zcd xvf cbg vnh bmj njk".split(),
        strict=True,
    )
)
STRAIGHT = ('"', '"')
QUOTES: dict[tuple[str, str], float] = {
    STRAIGHT: 42.0,
    ("“", "”"): 22.0,
    ("'", "'"): 9.0,
    ("‘", "’"): 7.0,
    ("«", "»"): 3.0,
    ("„", "“"): 2.5,
    ("« ", " »"): 0.7,
    ("``", "''"): 0.3,
    ("`", "`"): 1.0,
    ("*", "*"): 0.8,
    ("**", "**"): 0.8,
    ("(", ")"): 0.3,
    ("[", "]"): 0.4,
    ("", ""): 10.0,
}
KEPT = ("four",)  # whose slips are other words
LEAST = 4  # letters of a word that may be typed wrong


def cased(text: str, dice: Dice) -> str:
    """Returns the text in one of the cases that people write in."""
    case = dice.weigh(CASES)
    if case == "lower":
        return text.lower()
    if case == "upper":
        return text.upper()
    if case == "title":
        return re.sub(r"(?<![\w'’])[a-z]", lambda found: found[0].upper(), text)
    if case == "sentence":
        return re.sub(r"(?:^|[.!?] |\n(?:- |\d\. )?)[a-z]", lambda found: found[0].upper(), text)
    return text


def typed(text: str, dice: Dice) -> str:
    """Returns the text with slips of the fingers, at a realistic rate.

    Short words and numbers are typed right, and so are marks of quotations, which are no letters.
    """
    if not dice.chance(TYPING):
        return text
    words = re.split(r"([^\W\d_]+)", text)
    open_to = [
        i
        for i in range(1, len(words), 2)
        if len(words[i]) >= LEAST and words[i].isascii() and words[i].lower() not in KEPT
    ]
    for _ in range(dice.weigh(SLIPS)):
        if open_to:
            index = open_to.pop(int(dice.unit() * len(open_to)))
            words[index] = slip(words[index], dice)
    return "".join(words)


def slip(word: str, dice: Dice) -> str:
    """Returns a word typed wrong once, its first letter mostly right."""
    at = dice.integer(1, len(word) - 2)
    kind = dice.weigh({"swap": 30, "drop": 28, "double": 18, "neighbour": 20, "space": 4})
    if kind == "swap":
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    if kind == "double":
        return word[:at] + word[at] + word[at:]
    near = NEIGHBOURS.get(word[at].lower())
    if kind == "space" or near is None:
        return word[: len(word) // 2] + " " + word[len(word) // 2 :]
    other = dice.pick(near)
    return word[:at] + (other.upper() if word[at].isupper() else other) + word[at + 1 :]


def undotted(text: str, dice: Dice) -> str:
    """Returns the text, at times without its last full stop, apostrophes and needless commas."""
    if not dice.chance(UNDOTTED):
        return text
    text = re.sub(r",(?= (?:and|plus|with|please|thanks|but|no|without)\b)", "", text)
    return re.sub(r"(?<=\w)['’](?=\w)", "", text).removesuffix(".")


def with_emoji(text: str, dice: Dice) -> str:
    """Returns the text, rarely with an emoji at its end."""
    return f"{text} {dice.pick(EMOJIS)}" if dice.chance(EMOJI) else text


def quotation_marks(dice: Dice, texts: Sequence[str]) -> tuple[str, str]:
    """Returns the marks that a caption has around its quotations, which hold none of them."""
    written = "".join(texts)
    allowed = {
        marks: weight
        for marks, weight in QUOTES.items()
        if not any(mark.strip() and mark.strip() in written for mark in marks)
    }
    return dice.weigh(allowed)
