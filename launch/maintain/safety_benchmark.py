# SPDX-License-Identifier: Apache-2.0
"""Measures the policy of `omnigen.safety`: what gets past it, and what it refuses for no reason.

    python launch/maintain/safety_benchmark.py [--show]

`safety/concepts.tsv` has what is to be refused, in twelve languages; each is asked for in every
disguise of `DISGUISES`. `safety/lookalikes.tsv` has what only looks bad. About a third of both is
held out, by hash: rules are written without looking at what becomes of it, and `--show`, which
lists failures, leaves it out. `safety/unseen.tsv` was written last, and no rule for it: how much of
it is blocked tells how much is of what people word in their own ways. Captions that the project
makes itself are judged as well.
"""

import argparse
import base64
import codecs
import collections
import csv
import dataclasses
import hashlib
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator

from omnigen import safety

FOLDER = pathlib.Path(__file__).parent / "safety"
HELD_OUT = 0.33
CAPTIONS = 2000  # of each source
LATIN = "abcdefghijklmnopqrstuvwxyz"
CYRILLIC_TWINS = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
LATIN_TWINS = str.maketrans("асеорхуАВСЕНКМОРТХ", "aceopxyABCEHKMOPTX")
LEET = str.maketrans("aeiostAEIOST", "431057431057")
SIGNS = str.maketrans("aisAIS", "@!$@!$")
ZERO_WIDTH = "\u200b"


def _bold(text: str) -> str:
    tops = {"a": 0x1D41A, "A": 0x1D400}
    small = {char: chr(tops["a"] + i) for i, char in enumerate(LATIN)}
    large = {char.upper(): chr(tops["A"] + i) for i, char in enumerate(LATIN)}
    return "".join((small | large).get(char, char) for char in text)


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _each_word(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: " ".join(map(change, text.split(" ")))


DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "capitals": str.upper,
    "alternating capitals": lambda text: "".join(
        c.upper() if i % 2 else c.lower() for i, c in enumerate(text)
    ),
    "digits for letters": lambda text: text.translate(LEET),
    "signs for letters": lambda text: text.translate(SIGNS),
    "zero-width characters": ZERO_WIDTH.join,
    "soft hyphens": "\u00ad".join,
    "look-alike letters": lambda text: text.translate(
        LATIN_TWINS if any("а" <= c <= "я" for c in text) else CYRILLIC_TWINS
    ),
    "full width": _full_width,
    "bold mathematics": _bold,
    "accents": lambda text: "".join(c + "\u0336" for c in text),
    "spaces between letters": lambda text: " ".join(text.replace(" ", "")),
    "wider spaces between words": lambda text: "   ".join(map(" ".join, text.split(" "))),
    "dots between letters": _each_word(".".join),
    "hyphens between letters": _each_word("-".join),
    "vowels three times": lambda text: "".join(c * 3 if c in "aeiou" else c for c in text),
    "letters twice": lambda text: "".join(c * 2 if c.isalpha() else c for c in text),
    "underscores for spaces": lambda text: text.replace(" ", "_"),
    "stars for vowels": _each_word(
        lambda word: (
            word[:1] + "".join("*" if c in "aeiou" else c for c in word[1:-1]) + word[-1:]
            if len(word) > 3
            else word
        )
    ),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "backwards": lambda text: text[::-1],
    "words backwards": _each_word(lambda word: word[::-1]),
    "percent signs": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "HTML escapes": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "two turns": lambda text: (
        text.replace(" ", "\n", 1)
        if text < "\u3000"
        else "\n".join((text[: len(text) // 2], text[len(text) // 2 :]))
    ),
    "among innocent words": lambda text: (
        f"A lovely postcard in watercolor, please. {text}. Soft light, highly detailed, 4k"
    ),
    "drawn": lambda text: f'a wooden sign in a garden that says "{text}"',
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A prompt that should be refused, or not.

    Attributes:
        language: Code of the language.
        kind: Category of what should be refused, "look-alike" otherwise.
        mild: Whether `low` may let it pass.
        text: Prompt, undisguised.
    """

    language: str
    kind: str
    mild: bool
    text: str

    @property
    def is_held_out(self) -> bool:
        """Whether rules are written without looking at it."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT


def concepts(name: str = "concepts.tsv") -> list[Case]:
    """Returns what should be refused, of a file."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Case(r["language"], r["category"], r["scope"] == "mild", r["text"]) for r in rows]


def lookalikes() -> list[Case]:
    """Returns what should not."""
    with (FOLDER / "lookalikes.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Case(r["language"], "look-alike", False, r["text"]) for r in rows]


def captions() -> Iterator[tuple[str, str]]:
    """Yields captions that the project makes, with their sources."""
    from omnigen.data.corpora import subjects
    from omnigen.data.stream.examples import DataConfig
    from omnigen.data.stream.source import Turn
    from omnigen.data.stream.things import Things
    from omnigen.scenes.caption import caption
    from omnigen.scenes.compose import compose
    from omnigen.scenes.scene import Kind

    kinds = itertools.cycle(Kind)
    for seed in range(CAPTIONS):
        scene = compose(seed, next(kinds), held_out=False)
        yield "captions of scenes", caption(scene, seed, 250)
        yield "captions in other languages", caption(scene, seed, 250, foreign=1.0)
    names = {one.name for found in subjects.listed().values() for one in found}
    for name in sorted(names | set(subjects.undrawn())):
        yield "names of drawings", name
    source = Things({"things": 1.0}, DataConfig())
    for index in range(CAPTIONS):
        yield "captions of drawings", source.candidate(Turn(0, index, index)).caption


def disguised(case: Case) -> Iterator[tuple[str, str]]:
    """Yields a case in all disguises that change it, with their names."""
    seen = set()
    for name, change in DISGUISES.items():
        text = change(case.text)
        if text not in seen:
            seen.add(text)
            yield name, text


class Rates:
    """Counts how many of several are so, in all and by name."""

    def __init__(self) -> None:
        """Starts with nothing."""
        self.counts: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])

    def add(self, is_so: bool, *names: str) -> None:
        """Counts one."""
        for name in names:
            self.counts[name][0] += is_so
            self.counts[name][1] += 1

    def text(self, name: str) -> str:
        """Returns "99.1 % of 1234"."""
        found, every = self.counts[name]
        return f"{100 * found / max(every, 1):.2f} % of {every}"


def measure(show: bool) -> Iterator[str]:
    """Yields a report, line by line.

    Args:
        show: Whether failures are listed, of what is not held out.
    """
    blocked, refused, scope, seconds = Rates(), Rates(), Rates(), []
    failures = []
    for case in concepts():
        part = "held out" if case.is_held_out else "open"
        for name, text in disguised(case):
            decision = safety.judge_prompt(text)
            blocked.add(not decision.allowed, part, name, case.language, case.kind)
            if not case.mild:
                strict = not safety.judge_prompt(text, level="low").allowed
                scope.add(strict, part)
                if not strict and decision.categories and part == "open":
                    failures.append(f"low passes {name}: {text} ({dict(decision.scores)})")
            if decision.allowed and part == "open":
                failures.append(f"passes, {case.language} {name}: {text}")
    for case in concepts("unseen.tsv"):
        blocked.add(not safety.judge_prompt(case.text).allowed, "unseen, plain")
    for case in lookalikes():
        part = "held out" if case.is_held_out else "open"
        started = time.thread_time()
        decision = safety.judge_prompt(case.text)
        seconds.append(time.thread_time() - started)
        refused.add(not decision.allowed, part)
        if not decision.allowed and part == "open":
            failures.append(f"refused: {case.text} ({', '.join(decision.categories)})")
    for source, text in captions():
        started = time.thread_time()
        decision = safety.judge_prompt(text)
        seconds.append(time.thread_time() - started)
        refused.add(not decision.allowed, source)
        if not decision.allowed:
            failures.append(f"refused, {source}: {text} ({', '.join(decision.categories)})")
    if show:
        yield from failures
    for title, rates in (("blocked", blocked), ("blocked at low", scope), ("refused", refused)):
        for name in rates.counts:
            yield f"{title}, {name}: {rates.text(name)}"
    seconds.sort()
    median, late = seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100]
    yield f"milliseconds a prompt: median {1e3 * median:.3f}, 99 % within {1e3 * late:.3f}"
    yield f"policy {safety.judge_prompt('').policy}"


def main() -> None:
    """Prints the report."""
    parser = argparse.ArgumentParser(description="Measures the policy.")
    parser.add_argument("--show", action="store_true", help="list failures, but for held-out ones")
    for line in measure(parser.parse_args().show):
        print(line, flush=True)


if __name__ == "__main__":
    main()
