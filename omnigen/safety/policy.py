# SPDX-License-Identifier: Apache-2.0
"""The policy: categories, and rules that say which words belong to which. All of it is data files.

docs/safety.md has the notation. A rule is a list of parts, and a part is the name of a group of
terms, or terms. A term is one word or several in a row. Words are folded (`folding.fold`). Those
that end in a star stand for all words that begin so.
"""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
import re
from collections.abc import Iterator, Mapping

from omnigen.safety.folding import fold

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""The names of OpenAI's moderation."""

FOLDER = pathlib.Path(__file__).parent / "data"
VARIABLE = "OMNIGEN_POLICY"  # names a folder with files of one's own
NUMBER = 1  # of the policy that ships; changes that operators should know of raise it
SCORES = {"": 1.0, "mild": 0.6}
EXCEPTIONS, FILLERS = "except", "fillers"

PIECES = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u9fff]+")
"""Finds words, and characters of Chinese and Japanese, each of which counts as a word."""

JOINTS = ("+", "..", "&")
"""Right behind it but for fillers; behind it with a few words between; near it in any order."""

Term = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Rule:
    """What makes a text belong to a category: all parts are there, near each other.

    Attributes:
        category: One of `CATEGORIES`.
        score: How sure the rule is, 0 ... 1.
        drawn: Whether only words that will be drawn are judged by it.
        parts: Names of groups.
        joints: How each part stands to those before it, one of `JOINTS`.
    """

    category: str
    score: float
    drawn: bool
    parts: tuple[str, ...]
    joints: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Policy:
    """All rules.

    Attributes:
        version: Number and hash of the data files.
        terms: Names of the groups that each term belongs to.
        rules: Rules by their first part.
        words: Words of the terms of each file.
        fillers: Words that may stand between the words of a term, of each file.
    """

    version: str
    terms: Mapping[Term, tuple[str, ...]]
    rules: Mapping[str, tuple[Rule, ...]]
    words: Mapping[str, frozenset[str]]
    fillers: Mapping[str, frozenset[str]]


@functools.cache
def load(folder: str = "") -> Policy:
    """Reads the policy.

    Args:
        folder: Folder whose `.txt` files are read after those that ship, and replace those of the
            same name; "" for none.

    Raises:
        ValueError: If the folder has no such file, or one breaks the notation; see `parse`.
    """
    files = {path.name: path for path in sorted(FOLDER.glob("*.txt"))}
    if folder:
        own = {path.name: path for path in sorted(pathlib.Path(folder).glob("*.txt"))}
        if not own:
            raise ValueError(f"{VARIABLE} is {folder!r}; it must be a folder with files *.txt")
        files |= own
    return parse({name: path.read_text(encoding="utf-8") for name, path in files.items()})


def parse(texts: Mapping[str, str]) -> Policy:
    """Returns the policy that files say.

    Args:
        texts: What the files hold, by their names.

    Raises:
        ValueError: If one breaks the notation; the message names file, line and what is allowed.
    """
    reader, digest = _Reader(), hashlib.sha256()
    for name, text in texts.items():
        digest.update(f"{name}\n{text}".encode())
        reader.read(name, text)
    return reader.policy(f"{NUMBER}-{digest.hexdigest()[:8]}")


class _Reader:
    """Reads files of rules, one after the other."""

    def __init__(self) -> None:
        self._terms: dict[Term, dict[str, None]] = {}
        self._rules: list[Rule] = []
        self._words: dict[str, set[str]] = {}
        self._fillers: dict[str, set[str]] = {}
        self._used: dict[str, str] = {}
        self._groups = {EXCEPTIONS}

    def read(self, name: str, text: str) -> None:
        section: list[str] = []
        self._now = name
        self._words[name], self._fillers[name] = set(), set()
        for number, line in enumerate(text.splitlines(), 1):
            line = line.partition("#")[0].strip()
            where = f"{name}, line {number}"
            if line.startswith("["):
                section = self._section(where, line)
            elif line and not section:
                raise ValueError(f"{where}: {line!r} stands before the first [section]")
            elif line:
                for entry in filter(None, map(str.strip, line.split(","))):
                    self._entry(where, section, entry)

    def policy(self, version: str) -> Policy:
        for group, where in self._used.items():
            if group not in self._groups:
                known = ", ".join(sorted(g for g in self._groups if g.startswith("@")))
                raise ValueError(f"{where}: there is no group {group}; allowed: {known}")
        rules: dict[str, list[Rule]] = {}
        for rule in self._rules:
            rules.setdefault(rule.parts[0], []).append(rule)
        return Policy(
            version,
            {term: tuple(groups) for term, groups in self._terms.items()},
            {part: tuple(found) for part, found in rules.items()},
            {name: frozenset(words) for name, words in self._words.items()},
            {name: frozenset(words) for name, words in self._fillers.items()},
        )

    def _section(self, where: str, line: str) -> list[str]:
        words = line.strip("[]").split()
        is_group = len(words) == 2 and words[0] == "group"
        if is_group:
            self._groups.add(f"@{words[1]}")
        is_category = bool(words) and words[0] in CATEGORIES and set(words[1:]) <= {"mild", "drawn"}
        if not (is_group or is_category or words in ([EXCEPTIONS], [FILLERS])):
            allowed = f"group NAME, {EXCEPTIONS}, {FILLERS}, CATEGORY with mild or drawn"
            raise ValueError(f"{where}: {line} is no section; allowed: {allowed}")
        return words

    def _entry(self, where: str, section: list[str], entry: str) -> None:
        if section[0] == FILLERS:
            self._fillers[self._now].update(PIECES.findall(fold(entry)))
        elif section[0] == EXCEPTIONS:
            self._add(where, entry, EXCEPTIONS)
        elif section[0] == "group":
            self._add(where, entry, f"@{section[1]}")
        else:
            parts = re.split(r"\s+(\+|\.\.|&)\s+", entry)
            names = tuple(self._part(where, part) for part in parts[::2])
            score, drawn = SCORES["mild" if "mild" in section else ""], "drawn" in section
            self._rules.append(Rule(section[0], score, drawn, names, tuple(parts[1::2])))

    def _part(self, where: str, part: str) -> str:
        if re.fullmatch(r"@\w+", part):
            self._used.setdefault(part, where)
            return part
        self._add(where, part, part)
        return part

    def _add(self, where: str, entry: str, group: str) -> None:
        for spelling in _spellings(entry):
            words = re.sub(r"['’]", "", fold(spelling))
            term = tuple(re.findall(rf"(?:{PIECES.pattern})\*?", words))
            if not term or any(len(word) < 4 for word in term if word.endswith("*")):
                wanted = "words, and at least three letters before a star"
                raise ValueError(f"{where}: {entry!r} is no term; allowed: {wanted}")
            self._terms.setdefault(term, {})[group] = None
            self._words[self._now].update(term)


def _spellings(entry: str) -> Iterator[str]:
    """Yields what an entry stands for: "girl(s)" is "girl" and "girls", "a|b c" is "a c", "b c"."""
    choices = []
    for word in entry.split():
        options = []
        for one in word.split("|"):
            stem, _, endings = one.partition("(")
            options += [stem, *(stem + end for end in endings.rstrip(")").split("/"))]
        choices.append(dict.fromkeys(filter(None, options)))
    for words in itertools.product(*choices):
        yield " ".join(words)
