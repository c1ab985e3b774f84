# SPDX-License-Identifier: Apache-2.0
"""What a prompt speaks of: a small reader that would rather miss a thing than make one up.

It cuts a prompt into phrases at function words and marks, and looks in each for nouns of the
lexica, for a count and a colour before them, and for a word that rules them out. It is no parser;
where it is in doubt, such as after "don't" or "instead of", it says nothing. Nothing is drawn by
it: it only serves to tell people what a picture lacks.
"""

import dataclasses
import enum
import re
from collections.abc import Iterator, Sequence

from omnigen.wording import quotes, vocabulary
from omnigen.wording.vocabulary import TOKEN, function_words

_TIMES = ("x", "×", "*")
_OTHERWISE = (  # what is written in other ways than the reader knows
    (r"\bwhy not\b|\b(be|you're|you are) an? (star|dear)\b", " "),
    (r"\bas well as\b", " and "),
    (r"\b(should|must|may|can|do|does|did|will|would) not\b", r"\1n't"),
    (r"\bno n\w{1,4}d\b", " no need "),  # mistyped
    (r"\bw/o\b|\bw[ithou]{3,6}t\b", " without "),  # also mistyped
    (r"\b(\w+)-free\b", r" no \1 "),
    (r"\b(cloud|tree|star|moon|bird|snow|sun|boat|house)less\b", r" no \1 , "),
    (r"(\d+) +\( *\1 *\)", r"\1"),  # "3 (three)"
    (r"\d+ *(?:-|–|or|to|and) *\d+", " several "),
)


@dataclasses.dataclass(frozen=True)
class Mention:
    """Something that a prompt speaks of.

    Attributes:
        text: How the prompt calls it, in lower case.
        nouns: Canonical names that it may have; none if no lexicon has it.
        count: How many there should be, if that is told.
        color: Colour of the ten that it should have, if that is told and plain.
        is_absent: Whether the prompt says that it is not to be there.
    """

    text: str
    nouns: frozenset[str] = frozenset()
    count: int | None = None
    color: str | None = None
    is_absent: bool = False


def mentions(prompt: str) -> list[Mention]:
    """Returns what a prompt speaks of outside its quotation marks, in its order."""
    told, end = [], 0
    for one in quotes.quotations(prompt):
        told += [prompt[end : one.start], ' " ']
        end = one.stop
    text = "".join([*told, prompt[end:]]).lower().replace("’", "'").replace("\n", " . ")
    text = vocabulary.in_digits(vocabulary.plainer(text))
    for pattern, instead in _OTHERWISE:
        text = re.sub(pattern, instead, text)
    return _Reader(TOKEN.findall(text)).read()


class Ruling(enum.Enum):
    """What a prompt says of the things that it names next."""

    WANTED = enum.auto()
    ABSENT = enum.auto()
    DOUBT = enum.auto()


@dataclasses.dataclass(frozen=True)
class _Phrase:
    """Words between two boundaries.

    Attributes:
        words: The words, without determiner and number.
        determiner: What they begin with, or nothing.
        count: Number that they begin with, if any.
        before: Word or mark before the phrase.
        after: Word or mark that ends it.
        opens: Whether it may be words for a picture: "a pic" of "a pic with a star".
    """

    words: list[str]
    determiner: str
    count: int | None
    before: str
    after: str
    opens: bool

    @property
    def is_one(self) -> bool:
        """Whether it begins with "a"."""
        return self.determiner in function_words("indefinite")


class _Reader:
    """Reads the tokens of one prompt, from left to right, a phrase at a time."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = [*tokens, "."]
        self.found: list[Mention] = []
        self.clause = 0  # how many were found when it began
        self._rule(Ruling.WANTED)
        self.is_multiplied = False  # "two rows of three": no count is told
        self.words: list[str] = []  # of the phrase
        self.before, self.determiner = "", ""
        self.count: int | None = None
        self.is_foreign = bool(function_words("foreign") & set(tokens))
        self.is_writing = bool(function_words("writing") & set(tokens))
        self.counts = not function_words("uncounting") & set(tokens)  # "4 times": who knows

    def read(self) -> list[Mention]:
        """Returns what the prompt speaks of."""
        for place, token in enumerate(self.tokens):
            self._take(token, place)
        return self.found

    def _take(self, token: str, place: int) -> None:
        following = "".join(self.tokens[place + 1 : place + 2])
        if token in _TIMES and self.count is not None and not self.words:
            return  # 3x
        if token == "any" and self.ruling == Ruling.DOUBT and not self.is_listed:
            self._rule(Ruling.ABSENT)  # "don't draw any"
            return
        if self._is_name(token, place, following):
            self.words.append(token)
            return
        self._close(token, following)
        if token in function_words("answers") and following in ".,!":
            self.found[-1:] = []  # "Clouds? No."
        elif token.isdecimal() and int(token):
            if not self._counts_before(place):
                self.count = int(token)
        elif self._rules_out(token, following):
            is_other = following in function_words("doubtful_after_no")
            self._rule(Ruling.DOUBT if is_other else Ruling.ABSENT)
        elif token in function_words("doubt") or self._likens(token, place):
            self._rule(Ruling.DOUBT)
            self.is_brief = token in function_words("likening")
        elif token in function_words("determiners"):
            self.determiner = token
        else:
            self._pass(token)

    def _is_name(self, token: str, place: int, following: str) -> bool:
        """Returns whether a token may be part of what something is called."""
        kinds = ("determiners", "boundaries", "doubt", "answers")
        is_other = any(token in function_words(kind) for kind in kinds)
        return (
            token[0].isalpha()
            and not is_other
            and not self._rules_out(token, following)
            and not self._likens(token, place)
        )

    def _rules_out(self, token: str, following: str) -> bool:
        is_followed = following in vocabulary.ruling_out().get(token, ())
        return is_followed or token in function_words("absent") or token == "0"

    def _likens(self, token: str, place: int) -> bool:
        """Returns whether a word begins a comparison, as in "like a wheel", not "I'd like"."""
        before = self.tokens[place - 1] if place else "."
        return token in function_words("likening") and before not in function_words("wishing")

    def _rule(self, ruling: Ruling) -> None:
        self.ruling, self.is_ruled = ruling, False  # whether a phrase has come since
        self.is_listed = False  # whether a list goes on: "no clouds, birds"
        self.is_brief = False  # whether it ends at a comma

    def _counts_before(self, place: int) -> bool:
        """Returns whether a number stands behind what it counts: "stars x3", "stars (3)"."""
        sign, closing = self.tokens[place - 1] if place else "", self.tokens[place + 1]
        if not (sign in _TIMES or sign == "(" and closing == ")"):
            return False
        if self.found and self.found[-1].text.endswith(self.tokens[place - 2]):
            self.found[-1] = dataclasses.replace(self.found[-1], count=int(self.tokens[place]))
        return True

    def _pass(self, token: str) -> None:
        """Goes beyond a word or mark that ends a phrase."""
        self.before = token
        if token in ".;!?":
            self._rule(Ruling.WANTED)
            self.clause = len(self.found)
        elif self.is_ruled and self.ruling != Ruling.WANTED:
            if token == "," and self.is_brief:
                self._rule(Ruling.WANTED)
            elif token == "," or token in function_words("conjunctions"):
                self.is_listed = True  # "no clouds, birds and trees": who knows
            elif self.ruling == Ruling.ABSENT and token not in function_words("alternatives"):
                self._rule(Ruling.WANTED)

    def _close(self, token: str, following: str) -> None:
        """Ends a phrase, if there is one, at a token."""
        opens = token in function_words("opening") or following in ("of", "with")
        opens = opens and len(self.found) == self.clause
        phrase = _Phrase(self.words, self.determiner, self.count, self.before, token, opens)
        self.words, self.determiner, self.count = [], "", None
        if phrase.words:
            if self.is_listed and (phrase.determiner or phrase.count is not None):
                self._rule(Ruling.WANTED)  # "no clouds, a house"
            if self.ruling == Ruling.WANTED or self.ruling == Ruling.ABSENT and not self.is_listed:
                self.found += self._named(phrase)
            self.is_multiplied = token == "of" and phrase.count is not None
            self.is_ruled = True
        elif not token.isdecimal() and token not in function_words("determiners"):
            self.is_multiplied = False
        if function_words("clause_doubt") & {*phrase.words, token}:
            self.found[self.clause :] = []  # "the clouds are left out"

    def _named(self, phrase: _Phrase) -> list[Mention]:
        """Returns what a phrase names."""
        words, found = phrase.words, list(_nouns_in(phrase.words))
        if {*words, phrase.determiner} & function_words("others"):
            return []
        if phrase.before == "in" and phrase.is_one and len(words) == 1:
            return []  # "in a circle"
        if phrase.before == "for":
            return []  # "for school"
        if not found:
            return [Mention(" ".join(words))] if self._is_unknown(phrase) else []
        if words[-1] in function_words("not_things") and found[-1].stop < len(words):
            return []  # "a star picture"
        is_absent, told = self.ruling == Ruling.ABSENT, []
        count = 1 if phrase.count is None and phrase.is_one else phrase.count
        if is_absent or not self.counts or self.is_multiplied or function_words("vague") & {*words}:
            count = None
        begin = 0
        for noun in found:
            if is_absent or not _is_idle(noun, phrase):
                before, text = words[begin : noun.start], " ".join(words[noun.start : noun.stop])
                is_vague = "shape" in noun.names and not all(map(vocabulary.is_attribute, before))
                number = None if begin or is_vague else count
                color = vocabulary.color(before)
                told.append(Mention(text, noun.names, number, color, is_absent))
            begin = noun.stop
        return told

    def _is_unknown(self, phrase: _Phrase) -> bool:
        """Returns whether a phrase plainly names something that no lexicon has."""
        head = phrase.words[-1]
        return (
            self.ruling == Ruling.WANTED
            and (phrase.is_one or phrase.count is not None)
            and len(phrase.words) <= 3
            and not function_words("not_things") & set(phrase.words)
            and not (self.is_foreign or phrase.opens or phrase.after in ("of", ":"))
            and phrase.before not in function_words("aside")
            and not (self.is_writing and phrase.before in function_words("surfaces"))
            and len(head) > 2
            and head.isalpha()
            and not head.endswith(("ing", "ed", "ly", "ish"))
            and not vocabulary.is_known(head)
        )


@dataclasses.dataclass(frozen=True)
class _Noun:
    """A noun in a phrase: where it begins, where the phrase goes on, what it may mean."""

    start: int
    stop: int
    names: frozenset[str]


def _nouns_in(words: Sequence[str]) -> Iterator[_Noun]:
    """Yields the nouns of a phrase; the longest that fit, and of compounds the last."""
    found: list[_Noun] = []
    place = 0
    while place < len(words):
        for stop in range(min(len(words), place + vocabulary.MOST_WORDS), place, -1):
            if names := vocabulary.nouns().get(tuple(words[place:stop])):
                found.append(_Noun(place, stop, names))
                place = stop
                break
        else:
            place += 1
    for number, noun in enumerate(found):
        meets = [other for other in found if other.start == noun.stop]
        met = [other for other in found[:number] if other.stop == noun.start]
        is_plural = words[noun.stop - 1].endswith("s")
        follows_plural = any(words[other.stop - 1].endswith("s") for other in met)
        if not follows_plural and (is_plural or not meets):  # "birds cross", "a star sign"
            yield noun


def _is_idle(noun: _Noun, phrase: _Phrase) -> bool:
    """Returns whether a noun may stand for no thing."""
    words, is_bare = phrase.words, not phrase.is_one and phrase.count is None
    if is_bare and words[noun.start] in function_words("idiomatic"):
        return True  # "on their way home"
    if is_bare and phrase.before in ("", ".") and phrase.after in function_words("indefinite"):
        return len(words) == 1  # "Ring a friend"
    if noun.start and vocabulary.is_mistyped(words[noun.start - 1]):
        return True  # "a holow circle", which is a ring
    if phrase.after == "of" and noun.stop == len(words):
        return True  # "a box of", and any word for a picture
    is_plural = phrase.is_one and words[noun.stop - 1].endswith("s")
    return phrase.opens and (is_plural or noun.stop < len(words))  # "a box view with"
