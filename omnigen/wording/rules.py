# SPDX-License-Identifier: Apache-2.0
r"""A small generative grammar: rules in data files, written with dice and slots.

The files in `data/rules/` hold rules: a name with a colon, and below it, indented, the ways to
write it, each at times with how often it comes ("3*", else 1). Within one, `{name}` is a slot of
the caller or another rule, `{Name}` the same with a capital letter, `(a|b|)` a choice, in which an
empty way is allowed, and `\` takes the meaning from the next character; `\n` is a line break, `\s`
a space. A way that needs a slot with nothing to say is passed over for another one.
"""

import bisect
import dataclasses
import functools
import itertools
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

from omnigen.dice import Dice

FOLDER = pathlib.Path(__file__).parent / "data" / "rules"
Slots = Mapping[str, str | Callable[[], str | None] | None]


class Untold(Exception):
    """Raised when a way to write something speaks of what there is not."""


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A slot or a rule, and whether it begins with a capital letter."""

    name: str
    capital: bool


@dataclasses.dataclass(frozen=True)
class Choice:
    """Ways to write something, with running sums of their weights."""

    ways: tuple[tuple["str | Symbol | Choice", ...], ...]
    sums: tuple[float, ...]


def write(rule: str, dice: Dice, slots: Slots) -> str | None:
    """Writes a rule; None if every way speaks of what there is not.

    Args:
        rule: Its name.
        dice: Choose between the ways.
        slots: What slots stand for: text, or what makes it; None has nothing to say.
    """
    try:
        return _write(rules()[rule], dice, slots)
    except Untold:
        return None


def _write(choice: Choice, dice: Dice, slots: Slots) -> str:
    tried: set[int] = set()
    while len(tried) < len(choice.ways):
        index = bisect.bisect_right(choice.sums, dice.unit() * choice.sums[-1])
        index = min(index, len(choice.ways) - 1)
        if index in tried:
            index = next(i for i in range(len(choice.ways)) if i not in tried)
        try:
            return "".join([_part(part, dice, slots) for part in choice.ways[index]])
        except Untold:
            tried.add(index)
    raise Untold


def _part(part: "str | Symbol | Choice", dice: Dice, slots: Slots) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Choice):
        return _write(part, dice, slots)
    if part.name in slots:
        value = slots[part.name]
        text = value if isinstance(value, str | None) else value()
        if text is None:
            raise Untold(part.name)
    else:
        text = _write(rules()[part.name], dice, slots)
    return text[:1].upper() + text[1:] if part.capital else text


@functools.cache
def rules() -> dict[str, Choice]:
    """Returns the rules of all files, by name."""
    return {
        name: choice
        for path in sorted(FOLDER.glob("*.txt"))
        for name, choice in read(path.read_text(encoding="utf-8"), path.name).items()
    }


def read(text: str, source: str) -> dict[str, Choice]:
    """Reads the text of a file of rules.

    Raises:
        ValueError: If a line is neither a name with a colon nor a way below one.
    """
    found: dict[str, list[tuple[float, tuple[str | Symbol | Choice, ...]]]] = {}
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        head = re.fullmatch(r"([a-z][\w.]*):", line)
        if head and head[1] not in found:
            name = head[1]
            found[name] = []
        elif name and line[0] == " ":
            weighed = re.fullmatch(r" +(?:(\d+)\* ?)?(.*)", line)
            assert weighed
            found[name].append((float(weighed[1] or 1), _sequence(weighed[2], source, number)))
        else:
            raise ValueError(f"{source}, line {number}: {line!r}; allowed: a new name: or a way")
    return {name: _choice(ways) for name, ways in found.items()}


def _choice(ways: Sequence[tuple[float, tuple[str | Symbol | Choice, ...]]]) -> Choice:
    return Choice(
        tuple(way for _, way in ways), tuple(itertools.accumulate(weight for weight, _ in ways))
    )


_TOKENS = re.compile(r"\\(.)|\{([A-Za-z][\w.]*)\}|([(|)])|([^\\{(|)]+)", re.DOTALL)


def _sequence(text: str, source: str, number: int) -> tuple[str | Symbol | Choice, ...]:
    """Reads one way; parentheses nest."""
    stack: list[list[list[str | Symbol | Choice]]] = [[[]]]
    end = 0
    for token in _TOKENS.finditer(text):
        escaped, symbol, mark, literal = token.groups()
        if token.start() != end or (mark and mark != "(" and len(stack) == 1):
            break
        end = token.end()
        if escaped or literal:
            stack[-1][-1].append({"n": "\n", "s": " "}.get(escaped, escaped) or literal)
        elif symbol:
            stack[-1][-1].append(Symbol(symbol[0].lower() + symbol[1:], symbol[0].isupper()))
        elif mark == "(":
            stack.append([[]])
        elif mark == "|":
            stack[-1].append([])
        else:
            ways = stack.pop()
            stack[-1][-1].append(_choice([(1.0, tuple(way)) for way in ways]))
    if end != len(text) or len(stack) > 1:
        raise ValueError(f"{source}, line {number}: {text!r}; allowed: balanced () and {{name}}")
    return tuple(stack[0][0])
