# SPDX-License-Identifier: Apache-2.0
r"""Sentences written by hand, with slots, and what each says.

They are tables in `data/templates/`: tab-separated, one template a line, of voice, text, and what
it says. A line break of the text is written `\n`, a brace `{{` or `}}`.

Things go by letters: `a b c d` are shapes, `x y z` drawings of any name, `p q r s` elements of a
landscape, `w v` quoted words.

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
| `{an}` | "a" or "an", as the next word asks |
| `{bg}` `{bgc}` | a background with its article; its colour alone |
| `{no}` `{nos}` | what is not there, without article, in the singular and in the plural |
| `{no.color}` | a colour that is not there |
| `{sky}` `{sky.when}` `{sky.adjective}` | a noun ("sunset"), "at sunset", an adjective of "sky" |
| `{style}` | the name of a style of drawings |

What a template says follows from its slots, and from the terms of the third column, which are
separated by spaces; spaces within a name are written `_`.

| term | meaning |
|---|---|
| `lake`, `trees` | that is there; one, if it can be counted in the singular |
| `a.count=3`, `boat.place=left`, `w.holder=sign` | what the text says outside of the slot |
| `cloud.count=several` | some of them, of no told number |
| `above(a,b)`, `between(a,b,c)`, `on(boat,lake)` | a relation; `w` may take part |
| `-cloud`, `-anything_else` | what is not there |
| `sky=night`, `bg=white`, `style=photo` | the sky, the background, the style |
| `only` | nothing else is there |

`a.count=1` also marks a text that would be wrong English of several things. A sign that holds words
is told by them alone.
"""

import dataclasses
import functools
import pathlib
import re
import string
from collections.abc import Iterator, Sequence

from omnigen.wording.lexicon import SEVERAL

FOLDER = pathlib.Path(__file__).parent / "data" / "templates"
SHAPE_LETTERS, DRAWING_LETTERS, ELEMENT_LETTERS, WORD_LETTERS = "abcd", "xyz", "pqrs", "wv"
ANY, ANY_COLOR, PLAIN = "any", "any color", "plain"
QUOTES = "\"'`\u201c\u2018\u201e\u201a\u00ab\u2039\u300c(<[*_="
QUOTES_APART = ("\u00ab ", "quote ", "quotes ")
NOUNS = (
    *("sun", "moon", "stars", "cloud", "mountains", "hills", "river", "lake", "sea", "trees"),
    *("house", "boat", "birds", "snow", "sign", "banner"),
)
_LETTERED = {
    form: part
    for letter in SHAPE_LETTERS + DRAWING_LETTERS + ELEMENT_LETTERS
    for form, part in (
        (letter, "phrase"),
        (letter.upper(), "bare"),
        (f"{letter.upper()}s", "bares"),
    )
}
ATTRIBUTES = ("count", "color", "size", "place")
WORD_ATTRIBUTES = ("ink", "holder", "style", "place")
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
        noun: A noun; None where any will do. Of words, "W" if they must be capitals, "w" if a
            single word of letters and digits, since no quotation marks surround it.
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
        sky: A sky, `ANY` where a slot says it, or None if not told.
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
        if field in ("w", "v"):
            says.is_bare = _is_bare(text, field, "".join(map(str, pieces[-1:])) + literal)
        if literal and pieces and isinstance(pieces[-1], str):
            pieces[-1] += literal
        elif literal:
            pieces.append(literal)
        if field is not None:
            pieces.append(says.slot(field, forms or ""))
    for term in terms.split():
        says.term(term.replace("_", " ") if "(" not in term else term)
    says.count()
    for holds in says.words.values():
        says.things.pop(holds.apart.get("holder") or "", None)
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


def _is_bare(text: str, field: str, before: str) -> bool:
    """Returns whether words stand among others with neither marks nor a colon to set them off."""
    after = text.partition(f"{{{field}}}")[2][:1]
    ends_line = after in ("", "\n")
    return not (
        before[-1:]
        and before[-1] in QUOTES
        or before.endswith(QUOTES_APART)
        or (ends_line and before.endswith((": ", "= ", "\n", "# ")))
        or (ends_line and not before)
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
        self.is_bare = False

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
        elif name == "sky":
            self.sky = ANY
        elif name == "an":
            pass
        elif name in (*WORD_LETTERS, "W"):
            name, kind = ("w", "W") if name == "W" else (name, None)
            holds = self._words(name)
            if not part and (kind or self.is_bare):
                self.words[name] = dataclasses.replace(holds, noun=kind or "w")
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
            holds = self.things[letter]
            is_plural = part in ("bares", "nouns") and holds.apart.get("count") != "1"
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

    def _words(self, letter: str) -> Holds:
        return self.words.setdefault(letter, Holds(None, set(), {}))


def _part(field: str, part: str, allowed: Sequence[str]) -> str:
    name = _PARTS.get(part, part)
    if name not in allowed:
        raise ValueError(f"{field!r}; allowed after the dot: {', '.join(allowed)}")
    return name
