# SPDX-License-Identifier: Apache-2.0
"""How broad the wording of texts is, and how much of the suite `wording` other texts already say.

    python launch/maintain/wording_breadth.py [CAPTIONS.txt ...]

Each file holds a caption a line; without one captions of training scenes take its place. A table
tells of the suite's prompts and of each file: distinct runs of one to four words, and distinct
frames. A frame is a text whose quoted words, numbers, colours, shapes and other names are taken
out, so that "a red ring" and "a blue star" have one. Sets of different sizes are not to be
compared, so of each file as many lines are taken as the suite has, at equal distances, and the
numbers of all its lines follow.

Then comes the overlap: the share of the suite's prompts, frames and runs of words, in each kind of
wording, that occur in all lines of a file. Names are taken out of the runs as well, since both
speak of the same things.
"""

import collections
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence

from omnigen.data.stream import world
from omnigen.data.stream.examples import DataConfig
from omnigen.evals.suites import wording
from omnigen.scenes.scene import Color, Element, Shape

LONGEST = 4
COUNT = 20_000  # captions of scenes
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”|„[^“”]*[“”]|«[^»]*»')
_NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()


def captions() -> list[str]:
    """Returns captions of training scenes of all kinds, in the grammar and in free wording."""
    config = DataConfig(mixture=world.EVERY, caption_dropout=0.0, uncolored=0.25, seed=5)
    found = (
        world.caption_at(config, i, scene=world.scene_at(config, i)).replace("\n", " / ")
        for i in range(COUNT)
    )
    return list(found)


def names() -> dict[str, str]:
    """Returns what names are taken for, by name: the canonical ones and the suite's own."""
    lexicon = tomllib.loads((pathlib.Path(__file__).parent / "wording/lexicon.toml").read_text())
    found = {str(color): "<color>" for color in Color} | dict.fromkeys(_NUMBERS, "<number>")
    found |= {f"{noun}{end}": "<thing>" for noun in Shape for end in ("", "s", "es")}
    found |= {f"{noun}{end}": "<thing>" for noun in Element for end in ("", "s")}
    for group in lexicon["drawings"].values():
        found |= {word: "<thing>" for name in group for word in name.split()}
    return found


def frame(text: str, known: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the words of a text in lower case, with names taken out and runs of them as one."""
    words = _WORD.findall(_QUOTED.sub(" QUOTE ", text).casefold())
    masked = [
        "<quote>" if word == "quote" else "<number>" if word.isdigit() else known.get(word, word)
        for word in words
    ]
    return tuple(w for i, w in enumerate(masked) if not (i and w[0] == "<" and masked[i - 1] == w))


def runs(words: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
    """Returns all runs of so many words."""
    return zip(*(words[start:] for start in range(length)), strict=False)


def breadth(texts: Sequence[str], known: Mapping[str, str]) -> list[int]:
    """Returns the number of texts, of distinct runs of each length, and of distinct frames."""
    frames = [frame(text, known) for text in texts]
    counts = [len({run for words in frames for run in runs(words, n)}) for n in _LENGTHS]
    return [len(texts), *counts, len(set(frames))]


_LENGTHS = range(1, LONGEST + 1)


def overlap(
    asked: Sequence[str], others: Sequence[str], known: Mapping[str, str]
) -> dict[str, float]:
    """Returns the shares of texts, frames and distinct runs that others hold as well."""
    mine, theirs = ([frame(text, known) for text in texts] for texts in (asked, others))
    plain = {" ".join(text.casefold().split()) for text in others}
    seen = set(theirs)
    found = {
        "texts": sum(" ".join(text.casefold().split()) in plain for text in asked) / len(asked),
        "frames": sum(words in seen for words in mine) / len(mine),
    }
    for n in _LENGTHS:
        here = {run for words in mine for run in runs(words, n)}
        there = {run for words in theirs for run in runs(words, n)}
        found[f"{n} words"] = len(here & there) / max(len(here), 1)
    return found


def main(paths: Sequence[str]) -> None:
    """Prints the tables."""
    known, prompts = names(), wording.prompts()
    asked = [one["prompt"] for one in prompts]
    files = {path: pathlib.Path(path).read_text("utf-8").splitlines() for path in paths}
    files = files or {"captions": captions()}
    print("| texts | lines |", " | ".join(f"{n} words" for n in _LENGTHS), "| frames |")
    print("|---|" + "---:|" * (LONGEST + 2))
    rows = [("the suite", asked)]
    for path, lines in files.items():
        some = lines[:: max(len(lines) // len(asked), 1)][: len(asked)]
        rows += [(f"{path}, as many", some), (f"{path}, all", lines)]
    for name, lines in rows:
        print(f"| {name} |", " | ".join(map(str, breadth(lines, known))), "|")
    kinds = collections.defaultdict(list)
    for one in prompts:
        kinds[one["tag"]].append(one["prompt"])
    for path, lines in files.items():
        print(f"\nShares of the suite that {path} holds:\n")
        shares = {name: overlap(texts, lines, known) for name, texts in kinds.items()}
        shares["all"] = overlap(asked, lines, known)
        print("| kind |", " | ".join(shares["all"]), "|")
        print("|---|" + "---:|" * len(shares["all"]))
        for name, share in shares.items():
            print(f"| {name} |", " | ".join(f"{value:.2f}" for value in share.values()), "|")


if __name__ == "__main__":
    main(sys.argv[1:])
