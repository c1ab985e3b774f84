# SPDX-License-Identifier: Apache-2.0
r"""Sentences written by hand, with slots, and what each says.

They are tables in `data/templates/`: tab-separated, one template a line, of voice, text, and what
it says. A line break of the text is written `\n`, a brace `{{` or `}}`.

Things go by letters: `a b c d` are shapes, `x y z` are drawings of any name, `w v` are quoted
words.

| slot | stands for |
|---|---|
| `{a}` | the thing with its article or number, and all of it that is not told elsewhere |
| `{A}` | the same without article or number, in the same number as `{a}` |
| `{As}` | the same in the plural |
| `{a.noun}` `{a.nouns}` | its noun alone, in the singular and in the plural |
| `{a.color}` `{a.size}` | an adjective |
| `{a.place}` | a noun phrase after "in": "the top left corner" |
| `{a.n}` `{a.N}` | its count, in a word or in digits; also of elements: `{trees.n}` |
| `{a:is\|are}` | the first if it is one thing, else the second |
| `{w}` `{w.ink}` `{w.place}` | the words without quotation marks; their colour and place |
| `{W}` | words that have no small letters, and stand without quotation marks |
| `{bg}` `{bgc}` | a background with its article; its colour alone |
| `{no}` `{nos}` | what is not there, without article, in the singular and in the plural |
| `{no.color}` | a colour that is not there |
| `{style}` | the name of a style of drawings |

What a template says follows from its slots, and from the terms of the third column, which are
separated by spaces; spaces within a name are written `_`.

| term | meaning |
|---|---|
| `lake`, `trees`, `circle` | that is there; one, if it can be counted in the singular |
| `a.count=3`, `boat.place=left`, `w.holder=sign` | what the text says outside of the slot |
| `cloud.count=several` | some of them, of no told number |
| `above(a,b)`, `between(a,b,c)`, `on(boat,lake)` | a relation; `w` may take part |
| `-cloud`, `-anything_else` | what is not there |
| `sky=night`, `bg=white`, `style=photo` | the sky, the background, the style |
| `only` | nothing else is there |

`a.count=1` also marks a text that would be wrong English of several things.
"""

import collections
import dataclasses
import functools
import itertools
import pathlib
import re
import string
from collections.abc import Iterator, Sequence

from omnigen.wording.lexicon import SEVERAL, SHAPES
from omnigen.wording.meaning import COLORS, Meaning, Thing, Words

FOLDER = pathlib.Path(__file__).parent / "data" / "templates"
SHAPE_LETTERS, DRAWING_LETTERS, WORD_LETTERS = "abcd", "xyz", "wv"
ANY, ANY_COLOR, PLAIN = "any", "any color", "plain"
PLURAL_NOUNS = frozenset({"trees", "mountains", "hills", "stars", "birds"})
NOUNS = (
    *SHAPES,
    *("sun", "moon", "stars", "cloud", "mountains", "hills", "river", "lake", "sea", "trees"),
    *("house", "boat", "birds", "snow", "sign", "banner"),
)
_LETTERED = {
    form: part
    for letter in SHAPE_LETTERS + DRAWING_LETTERS
    for form, part in (
        (letter, "phrase"),
        (letter.upper(), "bare"),
        (f"{letter.upper()}s", "bares"),
    )
}
ATTRIBUTES = ("count", "color", "size", "place")
WORD_ATTRIBUTES = ("ink", "holder", "style", "place")
_OPPOSITE = {"right": "left", "below": "above", "around": "inside"}
_TAKES: dict[str, tuple[str, ...]] = {
    "phrase": ("count", "color", "size"),
    "bare": ("color", "size"),
    "bares": ("color", "size"),
    "noun": (),
    "nouns": (),
}
_PARTS = {"n": "count", "N": "count", "color": "color", "size": "size", "place": "place"}


@dataclasses.dataclass(frozen=True)
class Slot:
    """A slot of a text: whose it is, what of it, and the forms to choose from, if any."""

    name: str
    part: str = ""
    forms: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Holds:
    """What a template says of one thing or of one quotation.

    Attributes:
        noun: A noun; None where any will do.
        takes: Attributes that the slots of its phrase tell, if the meaning does.
        apart: What the text tells outside of these slots, by attribute: a value, or None where a
            slot of its own takes it.
        is_plural: Whether the text is wrong English of a single one.
    """

    noun: str | None
    takes: set[str]
    apart: dict[str, str | None]
    is_plural: bool = False


@dataclasses.dataclass(frozen=True)
class Template:
    """A sentence with slots.

    Attributes:
        domain: Name of its table.
        voice: Who speaks so.
        text: As written in the table, with line breaks.
        pieces: The text, cut into literal strings and slots.
        things: What it says of each thing, by letter or by noun.
        words: What it says of each quotation, by letter.
        relations: Name, and letters or nouns, of each relation.
        background: `ANY` where a slot says it, `PLAIN` where it can be but one colour, or what the
            text says; None if not told.
        sky: A sky, or None if not told.
        absent: What it says is not there; `ANY` where a slot says it.
        only: Whether it says that nothing else is there.
        style: Style of drawing that it tells, `ANY` where a slot says it, or None.
    """

    domain: str
    voice: str
    text: str
    pieces: tuple[str | Slot, ...]
    things: dict[str, Holds]
    words: dict[str, Holds]
    relations: tuple[tuple[str, ...], ...]
    background: str | None
    sky: str | None
    absent: tuple[str, ...]
    only: bool
    style: str | None


@dataclasses.dataclass(frozen=True)
class Fit:
    """A template with what its letters and nouns stand for.

    Attributes:
        template: The template.
        things: Index in `Meaning.things` of each letter or noun.
        words: Index in `Meaning.words` of each letter.
    """

    template: Template
    things: dict[str, int]
    words: dict[str, int]


@functools.cache
def every() -> tuple[Template, ...]:
    """Returns all templates, by table and line."""
    return tuple(one for path in sorted(FOLDER.glob("*.tsv")) for one in read(path))


def read(path: pathlib.Path) -> Iterator[Template]:
    """Yields the templates of a table; raises ValueError, naming file and line, for a bad one."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split("\t")
        if len(cells) != 3:
            raise ValueError(f"{path.name}, line {number}: {len(cells)} cells; allowed: 3")
        try:
            yield parse(path.stem, *cells)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from error


def parse(domain: str, voice: str, text: str, terms: str) -> Template:
    """Makes a template of a line of a table; raises ValueError if it is of another form."""
    text = text.replace(r"\n", "\n")
    says = _Saying()
    pieces: list[str | Slot] = []
    for literal, field, forms, _ in string.Formatter().parse(text):
        if literal and pieces and isinstance(pieces[-1], str):
            pieces[-1] += literal
        elif literal:
            pieces.append(literal)
        if field is not None:
            pieces.append(says.slot(field, forms or ""))
    for term in terms.split():
        says.term(term.replace("_", " ") if "(" not in term else term)
    says.count()
    for name in {name for relation in says.relations for name in relation[1:]}:
        if name not in says.things and name not in says.words:
            raise ValueError(f"a relation names {name!r}; allowed: {', '.join(says.things)}")
    return Template(
        domain,
        voice,
        text,
        tuple(pieces),
        says.things,
        says.words,
        tuple(says.relations),
        says.background,
        says.sky,
        tuple(says.absent),
        says.only,
        says.style,
    )


class _Saying:
    """What slots and terms add up to."""

    def __init__(self) -> None:
        self.things: dict[str, Holds] = {}
        self.words: dict[str, Holds] = {}
        self.relations: list[tuple[str, ...]] = []
        self.background: str | None = None
        self.sky: str | None = None
        self.absent: list[str] = []
        self.only = False
        self.style: str | None = None
        self.parts: set[tuple[str, str]] = set()

    def slot(self, field: str, forms: str) -> Slot:
        """Takes in a slot."""
        name, _, part = field.partition(".")
        if name in ("bg", "bgc"):
            self.background = PLAIN if PLAIN in (self.background,) or name == "bgc" else ANY
        elif name in ("no", "nos"):
            absent = ANY_COLOR if part == "color" else ANY
            if absent not in self.absent:
                self.absent.append(absent)
        elif name == "style":
            self.style = ANY
        elif name in (*WORD_LETTERS, "W"):
            holds = self._words("w" if name == "W" else name, capitals=name == "W")
            if part:
                holds.apart[_part(field, part, WORD_ATTRIBUTES)] = None
        else:
            letter = name[0].lower() if name in _LETTERED else name
            holds = self._thing(letter)
            part = _LETTERED.get(name, "") if not part and not forms else part
            if part in _TAKES:
                holds.takes.update(_TAKES[part])
                self.parts.add((letter, part))
            elif part:
                holds.apart.setdefault(_part(field, part, ATTRIBUTES), None)
            return Slot(letter, part, tuple(forms.split("|")) if forms else ())
        return Slot(name, part)

    def term(self, term: str) -> None:
        """Takes in a term."""
        if term == "only":
            self.only = True
        elif term.startswith("-"):
            self.absent.append(term[1:])
        elif "(" in term:
            if not (found := re.fullmatch(r"(\w+)\(([\w,]+)\)", term)):
                raise ValueError(f"term {term!r}; allowed: above(a,b)")
            self.relations.append((found[1], *found[2].split(",")))
        elif "=" in term:
            name, _, value = term.partition("=")
            if name in ("sky", "style"):
                setattr(self, name, value)
            elif name == "bg":
                self.background = value
            else:
                name, _, part = name.partition(".")
                in_words = name in WORD_LETTERS
                holds = self._words(name) if in_words else self._thing(name)
                allowed = WORD_ATTRIBUTES if in_words else ATTRIBUTES
                holds.apart[_part(term, part, allowed)] = value
        else:
            self._thing(term)

    def count(self) -> None:
        """Notes the number that a noun's form alone tells."""
        for letter, part in sorted(self.parts):
            holds, is_plural = self.things[letter], part in ("bares", "nouns")
            if "count" not in holds.takes:
                holds.apart.setdefault("count", SEVERAL if is_plural else "1")
                self.things[letter] = dataclasses.replace(holds, is_plural=is_plural)
        for name, holds in self.things.items():
            if holds.noun and holds.apart.get("count", "") is None:
                self.things[name] = dataclasses.replace(holds, is_plural=True)

    def _thing(self, name: str) -> Holds:
        is_letter = name in _LETTERED
        if not is_letter and name not in NOUNS:
            raise ValueError(f"{name!r}; allowed: {', '.join(_LETTERED)}, {', '.join(NOUNS)}")
        return self.things.setdefault(name, Holds(None if is_letter else name, set(), {}))

    def _words(self, letter: str, *, capitals: bool = False) -> Holds:
        return self.words.setdefault(letter, Holds("capitals" if capitals else None, set(), {}))


def _part(field: str, part: str, allowed: Sequence[str]) -> str:
    name = _PARTS.get(part, part)
    if name not in allowed:
        raise ValueError(f"{field!r}; allowed after the dot: {', '.join(allowed)}")
    return name


def fitting(meaning: Meaning, *, whole: bool = True, style: str | None = None) -> list[Fit]:
    """Returns the templates that say what a meaning holds, each once, in the order of the tables.

    Args:
        meaning: What is to be told.
        whole: Whether all of it is to be told, as opposed to a part. What the template says is
            part of the meaning either way.
        style: Style of drawing, which templates of a style need.
    """
    candidates = _by_size().get(_size(meaning), ()) if whole else every()
    found = (fit(one, meaning, whole=whole, style=style) for one in candidates)
    return [one for one in found if one is not None]


@functools.cache
def _by_size() -> dict[tuple[object, ...], list[Template]]:
    sizes = collections.defaultdict(list)
    for one in every():
        sizes[_size(one)].append(one)
    return sizes


def _size(one: Meaning | Template) -> tuple[object, ...]:
    told = one.background is not None
    lengths = map(len, (one.things, one.words, one.relations, one.absent))
    return (one.sky, told, *lengths)


def fit(
    template: Template, meaning: Meaning, *, whole: bool = True, style: str | None = None
) -> Fit | None:
    """Returns how a template says what a meaning holds, or None; arguments as of `fitting`."""
    if (
        (whole and _size(template) != _size(meaning))
        or (template.only and not meaning.only)
        or (template.style is not None and template.style not in (ANY, style))
        or (template.style == ANY and style is None)
        or (template.sky is not None and template.sky != meaning.sky)
        or not _suits_background(template.background, meaning.background)
        or not _suits_absent(template.absent, meaning.absent)
        or len(template.things) > len(meaning.things)
        or len(template.words) > len(meaning.words)
    ):
        return None
    if template.only and (len(template.things), len(template.words)) != (
        len(meaning.things),
        len(meaning.words),
    ):
        return None
    wanted = {_straight(r.name, r.one, r.others) for r in meaning.relations}
    for words in _assigned(template.words, meaning.words, whole=whole, domain=meaning.domain):
        for things in _assigned(
            template.things, meaning.things, whole=whole, domain=meaning.domain
        ):
            index = things | {name: len(meaning.things) + i for name, i in words.items()}
            said = {
                _straight(name, index[one], tuple(index[other] for other in others))
                for name, one, *others in template.relations
            }
            if said == wanted if whole else said <= wanted:
                return Fit(template, things, words)
    return None


def _suits_background(told: str | None, held: str | None) -> bool:
    if told is None or held is None:
        return told is None
    is_plain = not held.startswith(("gradient", "textured"))
    return told == ANY or (told == PLAIN and is_plain) or told == held


def _suits_absent(told: Sequence[str], held: Sequence[str]) -> bool:
    left = list(held)
    for noun in sorted(told, key=lambda noun: noun in (ANY, ANY_COLOR)):
        fits = (one for one in left if noun == one or noun == _kind_of_absent(one))
        one = next(fits, None)
        if one is None:
            return False
        left.remove(one)
    return True


def _kind_of_absent(noun: str) -> str | None:
    if noun in COLORS:
        return ANY_COLOR
    return None if noun in ("text", "anything else") else ANY


def _straight(name: str, one: int, others: tuple[int, ...]) -> tuple[object, ...]:
    if name in _OPPOSITE:
        return _OPPOSITE[name], others[0], one
    if name == "next_to":
        return name, *sorted((one, *others))
    if name == "between":
        return name, one, *sorted(others)
    return name, one, *others


def _assigned(
    told: dict[str, Holds], held: Sequence[Thing | Words], *, whole: bool, domain: str
) -> Iterator[dict[str, int]]:
    """Yields every way to give each letter or noun one of what the meaning holds."""
    choices = [
        [i for i, one in enumerate(held) if _suits(name, holds, one, whole=whole, domain=domain)]
        for name, holds in told.items()
    ]
    for chosen in itertools.product(*choices):
        if len({*chosen}) == len(chosen):
            yield dict(zip(told, chosen, strict=True))


def _suits(name: str, holds: Holds, one: Thing | Words, *, whole: bool, domain: str) -> bool:
    if isinstance(one, Words):
        if holds.noun and not re.fullmatch(r"[A-Z0-9]+( [A-Z0-9]+)*", one.text):
            return False
        attributes = WORD_ATTRIBUTES
    else:
        if holds.is_plural and one.count == 1:
            return False
        is_drawing = domain == "things" or one.noun not in (*SHAPES, "shape")
        if holds.noun != one.noun and (
            holds.noun is not None or is_drawing != (name in DRAWING_LETTERS)
        ):
            return False
        attributes = ATTRIBUTES
    return all(
        _suits_attribute(holds, attribute, getattr(one, attribute), whole=whole)
        for attribute in attributes
    )


def _suits_attribute(holds: Holds, attribute: str, value: object, *, whole: bool) -> bool:
    if attribute in holds.apart:
        told = holds.apart[attribute]
        if told == SEVERAL:
            return value is None
        return value is not None if told is None else str(value) == told
    if attribute == "count":
        usual = None if holds.noun in PLURAL_NOUNS else 1
        return "count" in holds.takes or value == usual or (not (whole or usual) and value != 1)
    return value is None or not whole or attribute in holds.takes
