# SPDX-License-Identifier: Apache-2.0
"""Fields of requests: what is allowed, and how JSON and forms say it.

A table of fields reads a whole request. What it does not know is refused by name, never ignored; a
field that clients know and this server cannot honour is in the table, too, with what to say.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omnigen import cli
from omnigen.serve.api.errors import bad, shown

MOST_SIDE, MOST_AREA, STEP, MOST_RATIO = 3840, 3840 * 2160, 16, 3
AUTO = "auto"


class FormText(str):
    """A value of a form, where numbers and truth values are texts."""


Reader = Callable[[str, Any], Any]


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a request.

    Attributes:
        read: Returns the value, given the field's name and what was sent; raises `ApiError`.
        schema: JSON schema of what may be sent.
        about: What becomes of it, for documents.
        default: Value where none, or null, was sent.
        is_required: Whether it has to be sent.
        is_refused: Whether no value is accepted.
    """

    read: Reader
    schema: Mapping[str, Any]
    about: str
    default: Any = None
    is_required: bool = False
    is_refused: bool = False


Table = Mapping[str, Field]


def read(table: Table, given: Mapping[str, Any], *, within: str = "") -> dict[str, Any]:
    """Returns the values of all fields of a table.

    Args:
        table: The fields.
        given: What was sent.
        within: Where the fields are, such as "tools[0].".

    Raises:
        ApiError: If a field is unknown, refused, missing or wrong.
    """
    for name in given:
        if name not in table:
            raise unknown(within, name, table)
    found = {}
    for name, field in table.items():
        value = given.get(name)
        if value is None:
            if field.is_required:
                raise bad(f"{within}{name}", "is required", "missing_required_parameter")
            found[name] = field.default
        else:
            found[name] = field.read(f"{within}{name}", value)
    return found


def unknown(within: str, name: str, known: Sequence[str] | Table) -> Exception:
    """Returns the error of a field that no table has."""
    param = f"{within}{cli.printable(name, most=60)}"
    hint = cli.nearest(name[:60], list(known))
    return bad(param, f"unknown; did you mean {hint}?", "unknown_parameter")


def text(most: int, about: str, *, is_required: bool = False, least: int = 0) -> Field:
    """Returns a field of text.

    Args:
        most: Largest number of characters.
        about: What becomes of it.
        is_required: Whether it has to be sent.
        least: Smallest number of characters that are no space.
    """

    def find(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise bad(name, f"is {shown(value)}; allowed: a text")
        if len(value) > most:
            raise bad(name, f"has {len(value)} characters; allowed: up to {most}", "too_long")
        if len(value.strip()) < least:
            raise bad(name, "is empty; allowed: a text")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise bad(name, "is not valid Unicode")
        return str(value)

    schema: dict[str, Any] = {"type": "string", "maxLength": most}
    if least:
        schema |= {"minLength": least, "pattern": r"\S"}
    return Field(find, schema, about, is_required=is_required)


def choice(values: Sequence[str], about: str, *, default: str | None = None) -> Field:
    """Returns a field that has one of some values."""

    def find(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in values:
            raise bad(name, f"is {shown(value)}; allowed: {', '.join(values)}")
        return str(value)

    return Field(find, {"type": "string", "enum": list(values)}, about, default)


def whole(least: int, most: int, about: str, *, default: int | None = None) -> Field:
    """Returns a field of whole numbers."""

    def find(name: str, value: Any) -> int:
        found: Any = _from_text(value, "[+-]?[0-9]{1,18}", int)
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        is_whole = isinstance(found, int) and not isinstance(found, bool)
        if not is_whole or not least <= found <= most:
            raise bad(name, f"is {shown(value)}; allowed: {least} ... {most}")
        return int(found)

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Field(find, schema, about, default)


def number(least: float, most: float, about: str, *, default: float | None = None) -> Field:
    """Returns a field of numbers."""

    def find(name: str, value: Any) -> float:
        found = _from_text(value, r"[+-]?[0-9]{1,9}(\.[0-9]{0,17})?", float)
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number or not least <= found <= most:  # NaN is refused, too
            raise bad(name, f"is {shown(value)}; allowed: {least:g} ... {most:g}")
        return float(found)

    return Field(find, {"type": "number", "minimum": least, "maximum": most}, about, default)


def _from_text(value: Any, pattern: str, convert: Callable[[str], Any]) -> Any:
    """Returns what a form means by a text of a pattern; anything else as it is."""
    is_text = isinstance(value, FormText) and re.fullmatch(pattern, value)
    return convert(value) if is_text else value


def flag(about: str, *, default: bool = False) -> Field:
    """Returns a field that is true or false."""

    def find(name: str, value: Any) -> bool:
        if isinstance(value, FormText):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if not isinstance(value, bool):
            raise bad(name, f"is {shown(value)}; allowed: true, false")
        return value

    return Field(find, {"type": "boolean"}, about, default)


def refused(why: str) -> Field:
    """Returns a field that clients know and this server cannot honour; null is as if not sent."""

    def find(name: str, value: Any) -> Any:
        raise bad(name, why, "unsupported_parameter")

    return Field(find, {"type": "null"}, why, is_refused=True)


def fixed(values: Sequence[Any], about: str) -> Field:
    """Returns a field of which this server honours only what it does anyway."""

    def find(name: str, value: Any) -> Any:
        if value not in values or isinstance(value, bool) != isinstance(values[0], bool):
            allowed = ", ".join(map(shown, values))
            raise bad(name, f"is {shown(value)}; allowed: {allowed}", "unsupported_value")
        return value

    return Field(find, {"enum": list(values)}, about, values[0])


def _size(name: str, value: Any) -> tuple[int, int] | None:
    """Reads "WxH"; None for auto."""
    if value == AUTO:
        return None
    sides = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", value) if isinstance(value, str) else None
    if sides is None:
        raise bad(name, f"is {shown(value)}; allowed: auto, or WIDTHxHEIGHT")
    width, height = int(sides[1]), int(sides[2])
    is_round = width and height and not (width % STEP or height % STEP)
    if not is_round or max(width, height) > MOST_RATIO * min(width, height):
        rule = f"sides that are multiples of {STEP}, of at most {MOST_RATIO}:1"
        raise bad(name, f"is {shown(value)}; allowed: {rule}")
    if max(width, height) > MOST_SIDE or width * height > MOST_AREA:
        raise bad(name, f"is {shown(value)}; allowed: up to 3840x2160")
    return width, height


def size(about: str) -> Field:
    """Returns a field that is a size: width and height in pixels, None for auto."""
    return Field(_size, {"type": "string", "pattern": "^(auto|[0-9]{1,5}x[0-9]{1,5})$"}, about)


def listed(value: Any, name: str, *, least: int, most: int) -> list[Any]:
    """Returns a list of a bounded length.

    Raises:
        ApiError: If it is none, or has another length.
    """
    if not isinstance(value, list):
        raise bad(name, f"is {shown(value)}; allowed: a list")
    if not least <= len(value) <= most:
        raise bad(name, f"has {len(value)} entries; allowed: {least} ... {most}")
    return value


def mapping(value: Any, name: str | None) -> dict[str, Any]:
    """Returns an object of JSON.

    Raises:
        ApiError: If it is none.
    """
    if not isinstance(value, dict):
        raise bad(name, f"is {shown(value)}; allowed: an object")
    return value


def anything(schema: Mapping[str, Any], about: str, **more: Any) -> Field:
    """Returns a field that its endpoint reads by itself."""
    return Field(lambda name, value: value, schema, about, **more)
