# SPDX-License-Identifier: Apache-2.0
"""What is written in pictures: common and invented words, random letters, numbers and phrases.

The mixture teaches spelling: a model that only ever saw dictionary words could guess the rest of
them from their first letters.
"""

import codecs
import functools
import pathlib
from collections.abc import Callable

from omnigen.dice import Dice
from omnigen.scenes import splits

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,!?'&-:"
RESERVED = frozenset({"agc", "awesome"})
"""Words that no scene ever shows, so that a picture of them proves spelling and not memory."""

_ONSETS = (
    "b c d f g h j k l m n p qu r s t v w y z bl br ch cl cr dr fl fr gl gr pl pr sh sk sl sm sn "
    "sp st str th tr tw"
).split()
_NUCLEI = "a e i o u a e i o u ai au ea ee ie oa oo ou y".split()
_CODAS = "b ck d g l ll m n nd ng nk nt p r rd rm rn rt s sh sk ss st t th x z".split()
_STOPS = {"!": 4.0, ".": 2.0, "?": 2.0, ",": 1.0, ":": 1.0}
_CODES = "NASA USA UK TV DJ FM VIP DIY ABC XYZ OK SOS LED AI UFO NYC BBQ CEO".split()
_BLOCKED = codecs.decode(
    "shpx shx shpj fuvg penc phag gjng qvpx pbpx chff ovgp juber fyhg encr anmv avttn avtre snt "
    "gvg obbo nahf frk cbea xvyy fcvp ovgpu qnza pnhz phz wvmm nff wrj xxx "
    "uvgyre gheq cvff crav intv",
    "rot13",
).split()

_PRAISE = "{W} is {W}! | {W} is {w}! | {A} is {W}! | {A} is {w}! | {W} is {W} | {A} {W}!".split(
    " | "
)
_PHRASES = (
    "{W} is {w}! | {W} is {W}! | {W} is {W} | {w} is {w} | {W} was {w} | {W} are {W}! | "
    "{W} are {w} | Hello {W}! | Hello {W} | Hi {W}! | Dear {W}, | I love {W} | I love {W}! | "
    "We love {W} | I like {w} | Welcome {W}! | Welcome to {W} | Open {n} hours | Open at {n} | "
    "Closed on {W} | Happy {W}! | Happy {W} day | Good {W}! | Good morning {W} | Best {W} ever | "
    "The {W} | The {W} {W} | The {w} {w} | My {w} {w} | Our {W} | No {W}! | No {w} here | "
    "{W} & {W} | {W} and {W} | {w} and {w} | {W} or {W}? | {W} of {W} | {n} {w} | Only {n} {w} | "
    "{W} {n} | Room {n} | Exit {n} | Gate {n} | Bus {n} | {W} for sale | {W} for {W} | "
    "Sale: {n} | {W}: {n} | Go {W}! | Let's {w}! | Don't {w}! | It's {w} | It's {W}! | "
    "You are {w} | Stay {w}! | Be {w} | Keep {w} | Just {w} | New {W} | Big {W} | Little {W} | "
    "Team {W} | Club {W} | Cafe {W} | {W} Shop | {W} Street | {W} City | {W} Park | "
    "Save the {W} | Thank you {W} | Thanks {W}! | Why {w}? | Who is {W}? | Where is {W}? | "
    "{W} rocks! | {W} wins | Free {W} | Fresh {w} | Hot {w} | {W} {W}! | {w} {w}"
).split(" | ")


@functools.cache
def common() -> tuple[str, ...]:
    """Returns about four thousand frequent English words, lower case."""
    return tuple((pathlib.Path(__file__).parent / "words.txt").read_text().split())


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(common())


def _common(dice: Dice) -> str:
    return dice.pick(common())


def pseudo(dice: Dice) -> str:
    """Returns an invented word of at most twelve letters that can be pronounced, lower case."""
    word = ""
    for _ in range(dice.weigh({1: 2.0, 2: 5.0, 3: 2.5, 4: 0.5})):
        word += dice.pick(_ONSETS) + dice.pick(_NUCLEI)
        if dice.chance(0.45):
            word += dice.pick(_CODAS)
    return word[:12]


def _letters(dice: Dice) -> str:
    size = dice.weigh({1: 1.0, 2: 2.0, 3: 3.0, 4: 3.0, 5: 3.0, 6: 2.0, 7: 1.0, 8: 1.0})
    return "".join(chr(97 + dice.integer(0, 25)) for _ in range(size))


def _digits(dice: Dice) -> str:
    return str(dice.integer(0, 10 ** dice.integer(1, 4) - 1))


def _code(dice: Dice) -> str:
    return dice.pick(
        (
            _digits(dice),
            dice.pick(_CODES),
            f"{dice.integer(1, 12)}:{dice.integer(0, 59):02d}",
            f"{chr(65 + dice.integer(0, 25))}{dice.integer(1, 99)}",
            f"{chr(65 + dice.integer(0, 25))}-{dice.integer(1, 99)}",
            str(dice.integer(1900, 2099)),
        )
    )


def _cased(word: str, dice: Dice) -> str:
    style = dice.weigh({str.lower: 0.4, str.capitalize: 0.38, str.upper: 0.22})
    return style(word)


def _plain(dice: Dice) -> str:
    maker: Callable[[Dice], str] = dice.weigh(
        {_common: 0.5, pseudo: 0.25, _letters: 0.15, _code: 0.1}
    )
    if maker is _code:
        return _code(dice)
    if maker is _letters and dice.chance(0.25):
        return "".join(c.upper() if dice.chance(0.5) else c for c in _letters(dice))
    word = _cased(maker(dice), dice)
    return word + dice.weigh(_STOPS) if dice.chance(0.08) else word


def allowed(word: str, *, held_out: bool) -> bool:
    """Returns whether a word may be written: not reserved or rude, and of the split asked for.

    Words of the test split are allowed only if `held_out`.
    """
    bare = splits.normal(word)
    if bare in RESERVED or (bare not in _known() and any(stem in bare for stem in _BLOCKED)):
        return False
    return held_out or not splits.word_held_out(word)


def word(dice: Dice, *, held_out: bool = True) -> str:
    """Returns one word, number or string of letters, of the test split only if `held_out`."""
    while not allowed(found := _plain(dice), held_out=held_out):
        pass
    return found


def _filled(dice: Dice) -> str:
    slots = {"{W}": str.capitalize, "{w}": str.lower, "{A}": str.upper, "{n}": str}
    words = []
    for part in dice.pick(_PRAISE if dice.chance(0.25) else _PHRASES).split():
        slot = part[part.find("{") : part.find("}") + 1]
        if slot == "{n}":
            filling = str(dice.integer(1, 99))
        elif slot == "{A}":
            filling = "".join(chr(65 + dice.integer(0, 25)) for _ in range(dice.integer(2, 5)))
        else:
            source = _common if dice.chance(0.75) else pseudo
            filling = source(dice)
        words.append(part.replace(slot, slots[slot](filling)) if slot else part)
    phrase = " ".join(words)
    return phrase.upper() if dice.chance(0.1) else phrase


def phrase(dice: Dice, *, held_out: bool = True) -> tuple[str, ...]:
    """Returns one to three words that are read together."""
    while True:
        if dice.chance(0.35):
            found = tuple(_filled(dice).split())
        else:
            found = tuple(_plain(dice) for _ in range(dice.weigh({1: 0.5, 2: 0.32, 3: 0.18})))
        if all(allowed(part, held_out=held_out) for part in found):
            return found
