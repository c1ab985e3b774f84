# SPDX-License-Identifier: Apache-2.0
"""Words for what a meaning holds, each with how often people use it.

A lexicon is a table in `data/lexicon/`: tab-separated, with a line of headings, one entry a line.
Its columns:

- `meaning`: canonical, as in `wording.meaning`: "circle", "red", "top left", "6".
- `text`: as it stands within a sentence, in lower case unless always capital.
- `use`: usual, known or rare.
- `form`: how the text fits into a sentence. The table below says what forms there are.
- `plural`: of nouns and verbs; empty if there is none.
- `tags`: separated by commas, of what a user must beware.

| table | meaning | forms, and tags |
|---|---|---|
| `colors` | a colour | `name`; `#rrggbb` of CSS or xkcd's survey; `not_ground`: see below |
| `grounds` | the grey, beige, sky blue or mint of a background | `name`; `#rrggbb` |
| `modifiers` | a colour | `adjective`, before that colour, such as "dark"; `not_ground` |
| `fills` | plain, gradient, texture | `adjective`, `noun`; of `{c}`, `{d}`: `between`, `whole` |
| `shapes` | a shape, or "shape" | `noun`, `adjective`; `shape_context`: also another thing's name |
| `elements` | an element of a landscape | `the`, `count`, `plural`, `mass`, `adjective` |
| `numbers` | a count, "any", "many" (two or more) or "several" | see `numbers` |
| `sizes` | small, large | `adjective`, or `after` ("on the small side") |
| `places` | a place | `phrase`, `corner`: a noun that "in" precedes, `label`: of lists |
| `relations` | a relation | `preposition`, `verb`, `with`, `group`, `of`; see below |
| `skies` | a sky | `adjective` of "sky", `when`, `bare`; tags: an element it hints at, `loose` |
| `holders` | a holder, or "letters" | `noun`; `inside`: words stand in it; `mass` |
| `writing` | say, write, written | `verb`, of a holder, before words, after them |
| `requests` | verb, medium, please, context, adjective | see below |
| `absent` | no, only, or a noun | see below |
| `plurals` | a noun | `plural`: one that no rule makes |
| `things` | the name of a drawing | `synonym`, or `kind` (what it is one of) |

A colour that is `not_ground` says another colour of a background: light blue is sky blue there.

Of elements, `the` takes the definite article mostly, `count` the indefinite one, `plural` and
`mass` none; `species` tags a sort ("pines") that a picture may not show, `dialect` a regional word.

Of relations, a `preposition` or `verb` stands between the one and the others; `with` follows the
one in "the others with the one …", its plural being said of several others; `group` follows all of
them ("side by side"), and `of` precedes them.

Of requests, `verb` precedes the thing (`question` tags those that ask), `medium` is a noun that is
joined to it by the `of` form, `please` and `context` stand before or after it all, and an
`adjective` changes nothing.

Of what is absent, "no" and "only" have phrases `after` a thing or `before` it and whole sentences,
where `{no}` and `{nos}` is the noun. Of a noun there are adjectives of the whole ("cloudless"), and
of "text" and "anything else" nouns.
"""

import dataclasses
import enum
import functools
import pathlib
from collections.abc import Sequence

from omnigen.dice import Dice

FOLDER = pathlib.Path(__file__).parent / "data" / "lexicon"
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "heart", "ring")
SEVERAL = "several"
COLUMNS = ("meaning", "text", "use", "form", "plural", "tags")


class Use(enum.StrEnum):
    """How often people use a word for what it means."""

    USUAL = "usual"
    KNOWN = "known"
    RARE = "rare"


WEIGHTS = {Use.USUAL: 6.0, Use.KNOWN: 3.0, Use.RARE: 1.5}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One way to say something.

    Attributes:
        meaning: What it says, canonical.
        text: What is written.
        use: How often it is used.
        form: How it fits into a sentence, as the module says.
        plural: Its plural, or nothing.
        tags: What a user of the entry must beware.
    """

    meaning: str
    text: str
    use: Use
    form: str = ""
    plural: str = ""
    tags: frozenset[str] = frozenset()

    @property
    def weight(self) -> float:
        """How likely it is beside others of the same meaning."""
        return WEIGHTS[self.use]


@functools.cache
def table(name: str) -> tuple[Entry, ...]:
    """Returns all entries of a lexicon, in the order of its file."""
    return read(FOLDER / f"{name}.tsv")


def read(path: pathlib.Path) -> tuple[Entry, ...]:
    """Reads a table; raises ValueError, naming file and line, for one of another form."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or tuple(lines[0].split("\t")) != COLUMNS:
        raise ValueError(f"{path.name}: the first line must be {' '.join(COLUMNS)}, with tabs")
    entries = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != len(COLUMNS) or cells[2] not in [*Use]:
            raise ValueError(
                f"{path.name}, line {number}: {line!r}; allowed: {len(COLUMNS)} cells, "
                f"and {', '.join(Use)} for use"
            )
        meaning, text, use, form, plural, tags = cells
        marks = frozenset(tags.split(",")) if tags else frozenset()
        entries.append(Entry(meaning, text, Use(use), form, plural, marks))
    return tuple(entries)


@functools.cache
def entries(name: str, meaning: str, form: str | None = None) -> tuple[Entry, ...]:
    """Returns the entries of a lexicon with this meaning, and form if one is given."""
    return tuple(
        entry for entry in table(name) if entry.meaning == meaning and form in (None, entry.form)
    )


@functools.cache
def numbers(count: int | None) -> tuple[Entry, ...]:
    """Returns ways to tell a count, or with None that there are several.

    Forms are `word`, `digit` and `times` ("3x"), which precede the noun; `after` ("x3"), which
    follows it; `of` ("a pair of"), which precedes the plural; and `vague` ("several"), whose tag
    says of what counts it is true, as in "3-9".
    """
    if count is None:
        return entries("numbers", SEVERAL)
    own = entries("numbers", str(count))
    names = {"N": str(count)} | ({"n": own[0].text} if own else {})
    found = (*own, *entries("numbers", "any"), *(entries("numbers", "many") if count > 1 else ()))
    return tuple(
        dataclasses.replace(entry, text=entry.text.format_map(names), meaning=str(count))
        for entry in found
        if own or "{n}" not in entry.text
    )


def draw(found: Sequence[Entry], dice: Dice) -> Entry:
    """Returns one of the entries, as likely as people use it."""
    left = dice.unit() * sum(entry.weight for entry in found)
    for entry in found:
        left -= entry.weight
        if left < 0:
            return entry
    return found[-1]


@functools.cache
def meanings(name: str) -> dict[str, str]:
    """Returns the canonical meaning of every text and plural of a lexicon.

    It tells what a name means without its context: those tagged `shape_context` are left out.
    """
    found: dict[str, str] = {}
    for entry in table(name):
        if "shape_context" not in entry.tags:
            for text in filter(None, (entry.text, entry.plural)):
                found.setdefault(text, entry.meaning)
    return found
