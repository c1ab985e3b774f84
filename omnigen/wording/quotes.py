# SPDX-License-Identifier: Apache-2.0
"""What a prompt quotes: the words that are to be written, between quotation marks of any kind.

A mark opens where no letter or digit stands before it and no space behind it, and closes likewise,
so that apostrophes, feet and inches are no quotation marks. Single ones need more care: what they
quote ends at the first one that can close, unless others follow that leave the end in doubt.
"""

import dataclasses
import re

_OPENS, _CLOSES = r"(?<!\w)", r"(?!\w)"
_KINDS = {
    "doubled": (_OPENS + "(?:``|'')(?!\\s)", r"[^`\"]+?", "''" + _CLOSES),
    "straight": (_OPENS + '"', r'[^"]+', '"' + _CLOSES),
    "curly": (_OPENS + r"[“”„‟](?!\s)", r'[^“”„‟"]+', r"(?<!\s)[“”‟]" + _CLOSES),
    "guillemets": (_OPENS + "[«‹]", r'[^«»‹›"]+', "[»›]" + _CLOSES),
    "inward": (_OPENS + r"»(?!\s)", r'[^«»"]+', r"(?<!\s)«" + _CLOSES),
    "stars": (_OPENS + r"\*{1,2}(?![\s*])", r'[^*"]+', r"(?<!\s)\*{1,2}" + _CLOSES),
    "corners": ("[「『]", r'[^「」『』"]+', "[」』]"),
    "single": (
        _OPENS + r"['‘`´](?![\s'‘`´]|\d\ds\b|n['’])",
        r"(?:[^\"'‘’`´]|(?<=\w)['’](?=\w))+",
        "['’`´]" + _CLOSES,
    ),
}
_STRAIGHTENED = ("curly", "guillemets", "inward", "corners")
_QUOTATION = re.compile(
    "|".join(
        f"{opens}(?P<{name}>{inner}){closes}" for name, (opens, inner, closes) in _KINDS.items()
    )
)


@dataclasses.dataclass(frozen=True)
class Quotation:
    """Words between quotation marks.

    Attributes:
        text: What is quoted, without the spaces that some languages put around it.
        kind: The sort of marks.
        start: Where the opening mark is in the prompt.
        stop: Where the prompt goes on.
    """

    text: str
    kind: str
    start: int
    stop: int


def quotations(prompt: str) -> list[Quotation]:
    """Returns what a prompt quotes, in its order."""
    found = []
    for match in _QUOTATION.finditer(prompt):
        kind = match.lastgroup
        assert kind is not None
        if text := match[kind].strip(" \u00a0\u202f"):
            found.append(Quotation(text, kind, match.start(), match.end()))
    return found


def straightened(prompt: str) -> str:
    """Returns a prompt whose double typographic marks around words are straight ones.

    What they quote stays as it is, and so do apostrophes and single marks, which could be
    apostrophes. A prompt stays whole if its straight marks would not pair up, or not quote the
    same.
    """
    found, told, end = quotations(prompt), [], 0
    for one in found:
        if one.kind in _STRAIGHTENED:
            told += [prompt[end : one.start], f'"{one.text}"']
            end = one.stop
    straight = "".join([*told, prompt[end:]])
    same = [one.text for one in quotations(straight)] == [one.text for one in found]
    return straight if same and prompt.count('"') % 2 == 0 else prompt
