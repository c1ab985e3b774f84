# SPDX-License-Identifier: Apache-2.0
"""Words for what a meaning holds, each with how often people use it.

A lexicon is a table in `data/lexicon/`: tab-separated, with a line of headings, one entry a line.
Its columns:

- `meaning`: canonical, as in `wording.meaning`: "circle", "red", "top left", "6".
- `text`: as it stands within a sentence, in lower case unless always capital.
- `use`: usual, known or rare.
- `form`: how the text fits into a sentence. The table below says what forms there are.
- `plural`: of nouns; empty if there is none.
- `tags`: separated by commas, of what a user must beware.

| table | meaning | forms, and tags |
|---|---|---|
| `colors` | a colour, or the grey, beige, sky blue or mint of a background | `name`; tag `ground` |
| `modifiers` | a colour | `adjective`, before that colour, such as "dark" |
| `shapes` | a shape, or "shape" | `noun`; tag `shape_context`: also the name of other things |
| `elements` | an element of a landscape | `count`, `plural`, `mass` or `the` ("the sun") |
| `numbers` | a count, or "several" | `word`, `digit`, `times` (3x), `after` (x3), `of` (a pair) |
| `sizes` | small, large | `adjective`, or `after` ("on the small side") |
| `places` | a place | `phrase`, or `corner`: a noun that "in" precedes |
| `relations` | a relation | `preposition`, `verb`, `with`, `group` |
| `skies` | a sky | `adjective` of "sky", `when`, `bare`, `day` |
| `holders` | a holder, or "letters" | `noun`; tag `inside`: words stand in it, not on it |
| `requests` | verb, medium, please, context, adjective | as the meaning says |
| `absent` | "no" or "only" | a phrase with `{no}`, `{nos}` or neither |
| `things` | the name of a drawing | `synonym`, or `kind` (what it is one of) |
"""

import dataclasses
import enum
import functools
import pathlib
from collections.abc import Sequence

from omnigen.dice import Dice

FOLDER = pathlib.Path(__file__).parent / "data" / "lexicon"
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "heart", "ring")
COLUMNS = ("meaning", "text", "use", "form", "plural", "tags")


class Use(enum.StrEnum):
    """How often people use a word for what it means."""

    USUAL = "usual"
    KNOWN = "known"
    RARE = "rare"


WEIGHTS = {Use.USUAL: 12.0, Use.KNOWN: 3.0, Use.RARE: 1.0}


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
