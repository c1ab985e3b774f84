# SPDX-License-Identifier: Apache-2.0
"""The words of a prompt that will be drawn: what stands between quotation marks or after "says".

It takes more for quoted than what a reader would: a word too many is judged strictly, a word too
few would be drawn without being judged.
"""

import re

_MARKS = (
    r"\"([^\"]+)\"",
    r"[“”„‟]([^“”„‟\"]+)[“”‟\"]",
    r"[«‹»]([^«»‹›]+)[»›«]",
    r"[「『]([^「」『』]+)[」』]",
    r"(?<!\w)['‘`´]{1,2}((?:[^'‘’`´]|(?<=\w)['’](?=\w))+)['’`´]{1,2}(?!\w)",
    r"(?<!\w)\*{1,2}([^*]+)\*{1,2}(?!\w)",
)
_AFTER = (
    r"\b(?:says?|saying|reads?|reading|text|words?|caption(?:ed)?|titled?|slogan|written|spell(?:s|ing)|"
    r"write|message|lettering|label(?:led|ed)?|sign:|steht|text|aufschrift|schriftzug|schreibe|"
    r"dit|disant|inscription|écris|texte|dice|texto|escribe|dizendo|scritta|scrivi|"
    r"tekst|schrijf|napis|napisz|надпис\w+|напиши|yazan|yazısı|yaz)\b"
    r"[\s:,]+(?:that |the )?([^.\n]+)"
)
_CHINESE = r"(?:写着|寫著|文字|字样|标语|と書かれた|という文字)[:：\s]*([^。\n]+)"
_DRAWN = re.compile("|".join((*_MARKS, _CHINESE)))
_SAID = re.compile(_AFTER, re.IGNORECASE)


def drawn_words(prompt: str) -> list[str]:
    """Returns the texts that a prompt asks to draw, in no particular order."""
    found = [text for match in _DRAWN.finditer(prompt) for text in match.groups() if text]
    return found + [match[1] for match in _SAID.finditer(prompt)]
