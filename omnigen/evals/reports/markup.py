# SPDX-License-Identifier: Apache-2.0
"""What files of strangers say, made fit for a page, a table and a terminal.

Names, prompts, notes in pictures and old verdicts may hold anything: markup, escapes of terminals,
a list where a word should be, a number of a million digits. All of it becomes short plain text.
"""

import html
import math
from collections.abc import Mapping
from typing import Any

from omnigen import cli

NAME, TEXT = 80, 1000  # characters

_MOST_INT = 2**63


def plain(value: Any, *, most: int = NAME) -> str:
    """Returns one line of printable text; of what is no text, number or truth value, its type."""
    if value is None:
        return ""
    is_large = isinstance(value, int) and abs(value) >= _MOST_INT
    if is_large or not isinstance(value, str | int | float):
        return f"({type(value).__name__})"
    return cli.printable(str(value), most=most)


def text(value: Any, *, most: int = NAME) -> str:
    """Escapes what `plain` returns for HTML, between tags or in an attribute's quotes."""
    return html.escape(plain(value, most=most))


def number(value: Any) -> float:
    """Returns a finite number as it is, and NaN for all else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:  # of int
        return math.nan


def items(value: Any) -> list[Any]:
    """Returns a list as it is, and an empty one for all else."""
    return list(value) if isinstance(value, list | tuple) else []


def entries(value: Any) -> Mapping[str, Any]:
    """Returns a mapping as it is, and an empty one for all else."""
    return value if isinstance(value, Mapping) else {}
