# SPDX-License-Identifier: Apache-2.0
"""Writes the prompts of the suite `wording`: one content, said in many ways.

    python launch/maintain/wording_prompts.py omnigen/evals/suites/wording.jsonl

Sentences and words are the tables in `wording/`. They were written for judging alone: nothing that
makes captions for training reads them, and this script reads nothing of what does. Each kind of
wording is asked over all domains that it fits. What a prompt requires is in the form of
`omnigen/evals/judges/requirements.py`.
"""

import dataclasses
import functools
import itertools
import json
import pathlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omnigen.dice import Dice
from omnigen.scenes import splits
from omnigen.scenes.scene import Color, Element, Landscape, Prop, Shape, Sky
from wording_phrases import Slots, Unfit

FOLDER = pathlib.Path(__file__).parent / "wording"
MOST_BYTES = 240  # of a prompt: what captions in training have at most
ELEMENTS = "sun moon stars cloud mountains river lake sea trees house boat snow".split()
UNSAID = ("cloud", "stars", "trees", "sun", "moon")  # may be there though nothing says so
APART = {"sea": {"house", "trees", "snow"}}  # what landscapes never hold together
NEGATIONS = {"else": "anything else", "only": "anything else", "text": "text", "writing": "text"}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}

_MIXED = {"list": 10, "relation": 12, "words": 6, "landscape": 8, "things": 5, "mixed": 4}
_CONTROL = {"list": 15, "relation": 14, "words": 9, "landscape": 10, "things": 7, "mixed": 5}
PLAN: dict[str, dict[str, int]] = {  # prompts of each kind, by what they speak of
    "plain": _CONTROL,
    "capitals": _CONTROL,
    "typos": _CONTROL,
    "clauses": _MIXED,
    "inversion": _MIXED,
    "sentences": _MIXED,
    "telegraphic": _MIXED,
    "chatty": _MIXED,
    "nouns": {"list": 16, "relation": 8, "landscape": 19, "mixed": 2},
    "hues": {"list": 20, "relation": 14, "mixed": 6},
    "counts": {"list": 36, "things": 6, "mixed": 3},
    "relations": {"relation": 36, "things_related": 9},
    "arrangements": {"inside": 11, "between": 11, "beside": 12, "row": 10, "column": 6},
    "places": {"placed": 36},
    "sizes": {"list": 26, "relation": 10, "mixed": 4},
    "grounds": {"list": 28, "words": 11, "things": 6},
    "negation": {"list": 17, "landscape": 17, "words": 3},
    "quotes": {"words": 35, "mixed": 10},
    "special": {"words": 44, "mixed": 6},
    "adjectives": {"list": 16, "relation": 6, "landscape": 12, "things": 11},
    "loose": {},
    "languages": {},
}
_AS_PLAIN = ("capitals", "typos")  # say what the plain prompts say, to be compared with them
_QUOTES = ("“{}”", "“{}”", "‘{}’", "'{}'", "«{}»", "„{}“", "`{}`", "*{}*", "''{}''", "")
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@functools.cache
def _tables() -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns sentences and words."""
    frames, lexicon = (FOLDER / name for name in ("frames.toml", "lexicon.toml"))
    return tomllib.loads(frames.read_text()), tomllib.loads(lexicon.read_text())


@dataclasses.dataclass
class Content:
    """What is asked for, before it is worded.

    Attributes:
        form: Sort of sentence that it takes.
        domain: Domain of the suite.
        include: Requirements, as in the metadata.
        relations: Relations, as in the metadata.
        strings: Words to be written.
        sky: Name of the sky, or "".
        held_out: Whether training never holds the composition.
    """

    form: str
    domain: str
    include: list[dict[str, Any]]
    relations: list[list[Any]] = dataclasses.field(default_factory=list)
    strings: list[str] = dataclasses.field(default_factory=list)
    sky: str = ""
    held_out: bool = False


def _groups(dice: Dice, counts: Sequence[int], *, held_out: bool) -> list[dict[str, Any]]:
    """Returns groups of coloured shapes of different shapes and colours."""
    table = splits.tables()
    while True:
        kinds = [dice.integer(0, len(splits.KINDS) - 1) for _ in counts]
        colors, shapes = zip(*(splits.KINDS[kind] for kind in kinds), strict=True)
        if len(set(colors)) < len(counts) or len(set(shapes)) < len(counts):
            continue
        pairs = itertools.combinations(kinds, 2)
        held = any(table.single[k] for k in kinds) or any(table.pair[a][b] for a, b in pairs)
        if held == held_out:
            break
    groups = zip(counts, colors, shapes, strict=True)
    return [{"class": str(s), "count": n, "color": str(c)} for n, c, s in groups]


def _list(dice: Dice, kind: str, *, held_out: bool) -> Content:
    counts = dice.pick(((1,), (1, 1), (3,), (4,), (2, 1), (1, 2), (1, 1, 1), (5,), (2, 3), (7,)))
    if kind == "counts":
        counts = (dice.pick([int(n) for n in _tables()[1]["counts"]]),)
    elif kind == "sizes":
        counts = dice.pick(((1,), (1,), (2,), (1, 1), (3,)))
    include = _groups(dice, counts, held_out=held_out)
    if kind == "sizes":
        for one in include[: dice.pick((1, 2))]:
            one["size"] = dice.pick(("small", "large"))
    return Content("list", "shapes", include, held_out=held_out)


def _relation(dice: Dice, kind: str, *, held_out: bool) -> Content:
    while True:
        counts = (dice.pick((1, 1, 1, 1, 2)), 1)
        include = _groups(dice, counts, held_out=held_out and dice.chance(0.7))
        name = dice.pick(tuple(OPPOSITE))
        one, other = (splits.index(Color(g["color"]), Shape(g["class"])) for g in include)
        first, last = (one, other) if name in ("left", "above") else (other, one)
        table = splits.tables()
        lies = (table.left if name in ("left", "right") else table.above)[first][last]
        held = lies or table.pair[one][other] or table.single[one] or table.single[other]
        if held == held_out:
            break
    if kind == "sizes":
        for group in include:
            group["size"] = dice.pick(("small", "large"))
    return Content("relation", "relations", include, [[name, 0, 1]], held_out=held_out)


def _words(dice: Dice, kind: str, *, held_out: bool) -> Content:
    strings = [_string(dice, kind, held_out=held_out)]
    return Content("words", "words", [], strings=strings, held_out=held_out and kind != "special")


def _string(dice: Dice, kind: str, *, held_out: bool) -> str:
    texts = _tables()[1]["texts"]
    if kind == "special":
        return dice.pick(texts["special"])
    while True:
        if held_out:
            string = " ".join(dice.pick(texts["unseen"]) for _ in range(dice.pick((1, 1, 2))))
            string = dice.pick((str.capitalize, str.title, str.upper, str.lower))(string)
            sound = all(splits.word_held_out(word) for word in string.split())
        else:
            string = dice.pick(texts["plain"])
            sound = not any(splits.word_held_out(w) for w in string.split())
        if sound and len(string) <= 20:
            return string


def _landscape(dice: Dice, kind: str, *, held_out: bool) -> Content:
    while True:
        sky = dice.pick([str(sky) for sky in Sky])
        lights = {"clear": ("sun", ""), "sunset": ("sun", ""), "night": ("moon", "stars", "")}
        water = dice.pick(("river", "lake", "sea", "", ""))
        likely = {"mountains": 0.5, "trees": 0.45, "house": 0.35, "snow": 0.15, "cloud": 0.25}
        more = [name for name, chance in likely.items() if dice.chance(chance)]
        chosen = {dice.pick(lights.get(sky, ("",))), water, *more}
        if water in ("lake", "sea") and dice.chance(0.4):
            chosen.add("boat")
        elements = [e for e in ELEMENTS if e in chosen]
        if sky == "night" and "snow" in chosen or APART.get(water, set()) & chosen:
            continue
        if not 2 <= len(elements) <= 4:
            continue
        props = tuple(Prop(Element(e), 0, 0, 0, 0) for e in elements)
        if splits.landscape_held_out(Landscape(Sky(sky), props, 0)) == held_out:
            break
    include = [{"class": e, "count": 1, "least": True} for e in elements]
    return Content("landscape", "landscapes", include, sky=sky, held_out=held_out)


def _drawings(dice: Dice, count: int) -> list[dict[str, Any]]:
    lexicon = _tables()[1]["drawings"]
    names: list[str] = []
    while len(names) < count:
        name = dice.pick(lexicon[dice.pick(("animals", "objects"))])
        names += [name] if name not in names else []
    return [{"class": name, "count": 1} for name in names]


def _things(dice: Dice, kind: str, *, held_out: bool) -> Content:
    if kind not in ("grounds", "adjectives", "counts") and dice.chance(0.4):
        return _things_related(dice, kind, held_out=held_out)
    count = 1 if kind in ("grounds", "counts") else dice.pick((1, 1, 2))
    include = _drawings(dice, count)
    if kind == "counts" or (count == 1 and dice.chance(0.3)):
        include[0]["count"] = dice.pick((2, 3, 4) if kind == "counts" else (2, 3))
    return Content("list", "things", include)


def _placed(dice: Dice, kind: str, *, held_out: bool) -> Content:
    """Returns one thing in a place, or two in places that are not in line."""
    if dice.chance(0.25):
        include, domain, held_out = _drawings(dice, 1), "things", False
    else:
        include = _groups(dice, dice.pick(((1,), (1,), (1, 1))), held_out=held_out)
        domain = "shapes"
    places = list(_tables()[1]["places"])
    include[0]["place"] = place = dice.pick(places)
    if len(include) > 1:
        include[1]["place"] = places[(places.index(place) + dice.pick((4, 5))) % len(places)]
    return Content("placed", domain, include, held_out=held_out)


def _things_related(dice: Dice, kind: str, *, held_out: bool) -> Content:
    name = dice.pick(tuple(OPPOSITE))
    return Content("relation", "things", _drawings(dice, 2), [[name, 0, 1]])


def _mixed(dice: Dice, kind: str, *, held_out: bool) -> Content:
    if kind not in ("nouns", "hues", "counts", "sizes") and dice.chance(0.4):
        string, thing = _string(dice, kind, held_out=held_out), _drawings(dice, 1)
        return Content("mixed", "mixtures", thing, strings=[string], held_out=held_out)
    counts = (dice.pick((2, 3, 4, 5)),) if kind == "counts" else dice.pick(((1,), (2,), (1, 1)))
    include = _groups(dice, counts, held_out=held_out)
    if kind == "sizes":
        include[0]["size"] = dice.pick(("small", "large"))
    string = _string(dice, kind, held_out=held_out and dice.chance(0.5))
    return Content("mixed", "mixtures", include, strings=[string], held_out=held_out)


def _arranged(dice: Dice, form: str, *, held_out: bool) -> Content:
    """Returns what lies inside, between, beside, or in a line."""
    if form in ("beside", "row") and dice.chance(0.35):
        include, domain, held_out = _drawings(dice, 2 if form == "beside" else 3), "things", False
    else:
        counts = {"inside": (1, 1), "between": (1, 1, 1), "beside": (1, 1)}.get(form, (1, 1, 1))
        if form == "row" and dice.chance(0.3):
            counts = (dice.pick((3, 4, 5)),)
        include, domain = _groups(dice, counts, held_out=held_out), "relations"
    names = {"beside": "next to", "row": "in a row", "column": "in a column"}
    relation = [names.get(form, form), *range(len(include))]
    return Content(form, domain, include, [relation], held_out=held_out)


CONTENTS: dict[str, Callable[..., Content]] = {
    "list": _list,
    "relation": _relation,
    "words": _words,
    "landscape": _landscape,
    "things": _things,
    "things_related": _things_related,
    "placed": _placed,
    "mixed": _mixed,
    **dict.fromkeys(("inside", "between", "beside", "row", "column"), _arranged),
}


def _frames(kind: str, form: str) -> list[str]:
    frames, _ = _tables()
    plain = frames["plain"].get(form, [])
    own = frames.get(kind, {}).get(form)
    return own if own else plain


def _worded(dice: Dice, kind: str, content: Content) -> dict[str, Any]:
    """Returns a prompt for a content, with what it requires."""
    _, lexicon = _tables()
    quote = _quote(dice, kind, content)
    metadata: dict[str, Any] = {
        "tag": kind,
        "domain": content.domain,
        "include": content.include,
        "relations": [
            [f"{n} of" if n in ("left", "right") else n, *p] for n, *p in content.relations
        ],
        "exclude": [],
        "text": [{"string": string} for string in content.strings],
        "held_out": content.held_out,
    }
    if content.sky:
        metadata["sky"] = content.sky
        named = {one["class"] for one in content.include}
        free = {*named, *UNSAID}
        metadata["exclude"] = [{"class": e} for e in ELEMENTS if e not in free]
    for _ in range(200):
        frame = dice.pick(_frames(kind, content.form))
        slots = Slots(dice, kind, content, lexicon, quote=quote)
        if content.form == "placed" and ("{b}" in frame) != (len(content.include) > 1):
            continue
        try:
            prompt = slots.fill(frame)
        except Unfit:
            continue
        if len(prompt.encode()) > MOST_BYTES:
            continue
        if slots.ground:
            metadata["background"] = slots.ground
        said = [name for word, name in NEGATIONS.items() if kind == "negation" and word in frame]
        gone = [{"class": name} for name in dict.fromkeys((*slots.absent, *said))]
        known = {one["class"] for one in gone}
        kept = [one for one in metadata["exclude"] if one["class"] not in known]
        metadata["exclude"] = [*kept, *gone]
        ordered = "from " in frame or "first" in frame
        if ordered and content.form in ("row", "column"):
            name = "left of" if content.form == "row" else "above"
            places = range(len(content.include))
            metadata["relations"] += [[name, a, b] for a, b in itertools.pairwise(places)]
        return {**metadata, "prompt": prompt}
    raise AssertionError((kind, content))


def _quote(dice: Dice, kind: str, content: Content) -> str:
    """Returns the marks around quoted words; those that get none are put in capitals."""
    if kind != "quotes":
        return '"{}"'
    quote = dice.pick(_QUOTES)
    if not quote:
        content.strings[:] = [string.upper() for string in content.strings]
        return "{}"
    return '"{}"' if any("'" in string for string in content.strings) else quote


def _capitals(prompt: dict[str, Any], number: int) -> dict[str, Any]:
    """Returns a plain prompt in capitals throughout, or with every word capitalised."""
    said = prompt["prompt"]
    if number % 2:
        outside = [
            part if i % 2 else re.sub(r"[A-Za-z]+", _title, part)
            for i, part in enumerate(re.split(r'("[^"]*")', said))
        ]
        return {**prompt, "tag": "capitals", "prompt": "".join(outside)}
    text = [{**one, "string": one["string"].upper()} for one in prompt["text"]]
    return {**prompt, "tag": "capitals", "prompt": said.upper(), "text": text}


def _title(found: re.Match[str]) -> str:
    return found[0][0].upper() + found[0][1:]


def _typos(prompt: dict[str, Any], number: int) -> dict[str, Any]:
    """Returns a plain prompt with one or two slips of the finger, none in quoted words."""
    dice = Dice("wording", "typos", number)
    parts = re.split(r'("[^"]*"|[A-Za-z]{3,})', prompt["prompt"])
    words = [i for i, part in enumerate(parts) if part.isalpha()]
    places = [i for i in words if len(parts[i]) >= 4] or words
    for place in sorted({dice.pick(places) for _ in range(1 if len(places) < 4 else 2)}):
        parts[place] = _slip(dice, parts[place])
    return {**prompt, "tag": "typos", "prompt": "".join(parts)}


def _slip(dice: Dice, word: str) -> str:
    """Returns a word with two letters swapped, one lost, doubled, or hit beside its key."""
    while True:
        place = dice.integer(1, len(word) - 1)
        before, letter, after = word[:place], word[place], word[place + 1 :]
        row = next(keys for keys in _KEYS if letter.lower() in keys)
        near = row[max(row.index(letter.lower()) - 1, 0) : row.index(letter.lower()) + 2]
        slipped = dice.pick(
            (
                before + after[:1] + letter + after[1:],
                before + after,
                before + letter + letter + after,
                before + dice.pick([key for key in near if key != letter]) + after,
            )
        )
        if slipped != word:
            return slipped


def _written() -> Iterator[dict[str, Any]]:
    """Yields the prompts that were written whole."""
    for line in (FOLDER / "written.tsv").read_text().splitlines():
        if line and not line.startswith("#"):
            kind, domain, prompt, required = line.split("\t")
            yield {"tag": kind, "domain": domain, **_required(required), "prompt": prompt}


def _required(text: str) -> dict[str, Any]:
    """Returns what the notation of `written.tsv` says, as metadata."""
    found: dict[str, Any] = {"include": [], "relations": [], "exclude": [], "text": []}
    for part in text.split("; "):
        word, _, rest = part.partition(" ")
        match word:
            case "rel":
                name, *places = rest.split()
                found["relations"].append([name.replace("_", " "), *map(int, places)])
            case "sky":
                found["sky"] = rest
            case "ground":
                found["background"] = rest
            case "text":
                found["text"].append({"string": rest})
            case "no":
                found["exclude"].append(_wanted(rest))
            case "only":
                found["exclude"].append({"class": "anything else"})
            case "+":
                count, _, name = rest.partition(" ")
                one = (
                    {"count": int(count), **_wanted(name)}
                    if count.isdigit()
                    else {"count": 1, **_wanted(rest)}
                )
                found["include"].append({**one, "least": True})
            case _:
                found["include"].append({"count": int(word), **_wanted(rest)})
    return {**found, "held_out": False}


def _wanted(name: str) -> dict[str, str]:
    color, _, rest = name.partition(" ")
    return {"class": rest, "color": color} if color in set(Color) else {"class": name}


def prompts() -> list[dict[str, Any]]:
    """Returns the metadata of all prompts; every second content is held out where it can be."""
    found: list[dict[str, Any]] = []
    asked: set[str] = set()
    written = list(_written())
    for kind, plan in PLAN.items():
        if kind in _AS_PLAIN:
            change = _capitals if kind == "capitals" else _typos
            plain = [one for one in found if one["tag"] == "plain"]
            found += [change(one, number) for number, one in enumerate(plain)]
            continue
        for form, count in plan.items():
            made = 0
            for attempt in itertools.count():
                dice = Dice("wording", kind, form, attempt)
                asks = form if CONTENTS[form] is _arranged else kind
                content = CONTENTS[form](dice, asks, held_out=made % 2 == 1)
                prompt = _worded(dice, kind, content)
                if prompt["prompt"] not in asked:
                    asked.add(prompt["prompt"])
                    found.append(prompt)
                    made += 1
                if made == count:
                    break
        found += [one for one in written if one["tag"] == kind]
    return found


def main(path: str) -> None:
    """Writes the prompts, one a line."""
    lines = [json.dumps(prompt, ensure_ascii=False) for prompt in prompts()]
    pathlib.Path(path).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
