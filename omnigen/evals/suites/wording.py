# SPDX-License-Identifier: Apache-2.0
"""Prompts as people word them: what the model makes of them in its sketch, and in its picture.

A model that writes a sketch first reads the prompt there, and draws from it. So both are judged,
apart: a wrong sketch was misread, a wrong picture of a right sketch was misdrawn.

Shares are told for each kind of wording (`sketch_negation`, `picture_negation`), for each domain
(`sketch_of_landscapes`) and for the compositions that training never holds (`sketch_unseen`).
Capitals and typos say the same as the plain prompts, one by one, and are told as a share of what
these reach. `launch/maintain/wording_prompts.py` writes the prompts.
"""

import collections
import functools
import json
import pathlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from omnigen import extras
from omnigen.evals import results
from omnigen.evals.benchmark import SPLITS, Benchmark, Metadata, Record
from omnigen.evals.judges import colors, landscapes, reading, requirements, shapes, sketches
from omnigen.evals.judges.requirements import Thing, View
from omnigen.evals.results import Estimate

NAME = "wording"
VERSION = f"requirements {requirements.VERSION}, sketches {sketches.VERSION}"
PROMPTS = pathlib.Path(__file__).with_name("wording.jsonl")
PLAIN, LIKE_PLAIN = "plain", ("capitals", "typos")
SPECIAL = "special"
MARKS = frozenset("%#+@$()=/&*<>[]^_£©°±¥")
"""What a word may hold besides letters and digits, and readers can read."""
DOMAINS = ("shapes", "relations", "words", "landscapes", "things", "mixtures")

_LANDSCAPE = frozenset({"hills", "birds", "sign", "banner", "background"})
_SHAPES = frozenset({*requirements.SHAPES, requirements.ANYTHING})
_PAPERS = {
    "grey": (150, 150, 154),
    "beige": (240, 224, 192),
    "sky blue": (154, 212, 246),
    "mint": (182, 236, 206),
}  # that are none of the ten colours
_PLAIN_LETTERS = str.maketrans({"ß": "B", "ø": "o", "Ø": "O", "æ": "e", "Æ": "E", "×": "x"})
_BORDER = 3  # pixels of the edge whose median is the background
_FEW = 2  # letters, that an object may be taken for
_AROUND = 0.02  # of the canvas, by which boxes of words reach further than they were read


@functools.cache
def prompts() -> tuple[Metadata, ...]:
    """Returns the metadata of every prompt; see `judges.requirements`."""
    return tuple(map(json.loads, PROMPTS.read_text(encoding="utf-8").splitlines()))


def benchmark(*, judges: bool = True) -> Benchmark:
    """Returns the suite.

    Raises:
        MissingExtraError: If RapidOCR is not installed, and the suite judges.
    """
    if judges:
        extras.require("ocr", f"the suite {NAME}")
    judge = f"shapes {shapes.VERSION}, landscapes {landscapes.VERSION}, {reading.version()}"
    return Benchmark(
        name=NAME,
        version=f"{VERSION}, {judge}",
        prompts=prompts(),
        verdict=verdict,
        scores=scores,
        reference=None,
        is_sketched=True,
    )


def verdict(metadata: Metadata, image: np.ndarray | None, sketch: str | None) -> Record:
    """Judges a picture, None being wrong in everything, and the sketch that it was drawn from.

    Drawings are judged by the sketch alone; `picture` is then None.
    """
    told = None if sketch is None else judged_sketch(metadata, sketch)
    picture, seen = judged_picture(metadata, image) if is_seen(metadata) else (None, None)
    shown = picture or told or {"correct": False, "atoms": []}
    return {
        "domain": metadata["domain"],
        "correct": shown["correct"],
        "atoms": shown["atoms"],
        "reasons": [
            f"{part}, not so: {atom['what']}"
            for part, found in (("sketch", told), ("picture", picture))
            for atom in (found or {"atoms": ()})["atoms"]
            if not atom["met"]
        ],
        "seen": seen,
        "sketch": told,
        "picture": picture,
    }


def judged_picture(
    metadata: Metadata, image: np.ndarray | None
) -> tuple[Record, list[dict[str, Any]] | None]:
    """Judges a picture; returns the verdict, and what was seen where."""
    lines = reading.rapidocr(image) if image is not None and metadata["text"] else ()
    lines = [line for line in lines if not _is_object(metadata, line)]
    view = View() if image is None else look(metadata, image, lines)
    asked = {**metadata, "text": ()}  # words are judged as they are read
    atoms = [*requirements.judge(asked, view).atoms, *read_words(metadata, lines)]
    atoms = [{**atom, "met": atom["met"] and image is not None} for atom in atoms]
    if image is None:
        return {"correct": False, "atoms": atoms}, None
    seen: list[dict[str, Any]] = [{"text": line.text, "box": list(line.box)} for line in lines]
    for thing in view.things:
        box = [round(float(side), 4) for side in thing.box]
        seen.append({"shape": thing.name, "color": thing.color, "box": box})
    return {"correct": all(atom["met"] for atom in atoms), "atoms": atoms}, seen


def read_words(metadata: Metadata, lines: Sequence[reading.Line]) -> Iterator[dict[str, Any]]:
    """Yields an atom a word, and one for there being no others.

    Readers tell neither case nor accents well, so neither is judged in pictures; of marks such as
    "%" each must be read somewhere.
    """
    strings = [one["string"] for one in metadata["text"]]
    if not strings:
        return
    read = _bare(" ".join(line.text for line in lines))
    found = reading.compare([_bare(string).split() for string in strings], read)
    right, marks = list(found.right), collections.Counter(read)
    for word in " ".join(strings).split():
        own = collections.Counter(mark for mark in _bare(word) if mark in MARKS)
        met = own <= marks and (not reading.plain(_bare(word)) or right.pop(0))
        yield {"what": word, "wanted": 1, "found": int(met), "met": met, "is_word": True}
    what = f"{' and '.join(strings)}, and no other words"
    yield {"what": what, "wanted": 1, "found": int(found.exact), "met": found.exact}


def _bare(text: str) -> str:
    """Returns a text without its accents."""
    apart = unicodedata.normalize("NFKD", text.translate(_PLAIN_LETTERS))
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def judged_sketch(metadata: Metadata, text: str) -> Record:
    """Judges a sketch; one that breaks off where it should not is right only by what is read."""
    read = sketches.read(text)
    found = requirements.judge(metadata, read.view)
    return {
        "text": text,
        "correct": found.correct,
        "strict": found.strict and not read.rest,
        "rest": read.rest,
        "atoms": list(found.atoms),
    }


def is_seen(metadata: Metadata) -> bool:
    """Returns whether there is a judge of the prompt's pictures: none knows drawings."""
    known = {*requirements.SHAPES, requirements.SHAPE, *landscapes.ELEMENTS, *_LANDSCAPE}
    return all(one["class"] in known for one in metadata["include"])


def look(metadata: Metadata, image: np.ndarray, lines: Sequence[reading.Line]) -> View:
    """Returns what the judges of the prompt's domain see of a picture besides its words."""
    blind = frozenset({requirements.TEXT})
    if metadata["domain"] == "landscapes":
        view = landscapes.look(image)
        things = tuple(Thing(name, "", box, 0.0) for name, box in view.boxes.items())
        return View(things, sky=view.sky, blind=blind | _LANDSCAPE)
    if metadata["domain"] == "words":  # letters would be taken for shapes
        return View(background=_background(image), blind=blind | _SHAPES)
    seen = [one for one in shapes.look(image) if not any(_covers(line.box, one) for line in lines)]
    things = tuple(Thing(one.shape, one.color, one.box, 2 * one.radius) for one in seen)
    return View(things, background=_background(image), blind=blind)


def _is_object(metadata: Metadata, line: reading.Line) -> bool:
    """Returns whether what was read is an object: readers take a ring for an O."""
    asked = {reading.plain(word) for one in metadata["text"] for word in one["string"].split()}
    read = reading.plain(line.text)
    return bool(metadata["include"]) and len(read) <= _FEW and read not in asked


def _covers(box: Sequence[float], one: shapes.Seen) -> bool:
    """Returns whether an object lies where words were read, and is one of their letters."""
    left, top, right, bottom = box
    x, y = (one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2
    return left - _AROUND <= x <= right + _AROUND and top - _AROUND <= y <= bottom + _AROUND


def _background(image: np.ndarray) -> str:
    """Returns the name of the colour of the edge."""
    inner = image[_BORDER:-_BORDER, _BORDER:-_BORDER]
    mask = np.ones(image.shape[:2], bool)
    mask[_BORDER : _BORDER + inner.shape[0], _BORDER : _BORDER + inner.shape[1]] = False
    tone = colors.lab(np.median(image[mask], axis=0))
    known = [(name, hue) for name, hues in colors.PROTOTYPES.items() for hue in hues]
    known += _PAPERS.items()
    apart = [np.linalg.norm(colors.lab(np.array(hue)) - tone) for _, hue in known]
    return known[int(np.argmin(apart))][0]


def scores(records: Sequence[Mapping[str, Any]]) -> dict[str, Estimate | float]:
    """Returns the metrics: shares in [0, 1]."""
    found: dict[str, Estimate | float] = {}
    if any(record["sketch"] for record in records):  # else they are pictures of others
        lost = {"correct": False, "strict": False, "atoms": []}
        found |= _shares("sketch", [{**r, "sketch": r["sketch"] or lost} for r in records])
    found |= _shares("picture", [record for record in records if record.get("picture")])
    followed = [r for r in records if r["sketch"] and r["picture"] and r["sketch"]["correct"]]
    if followed:
        found["picture_of_right_sketch"] = _share("followed", followed, "picture")
    return found


def _shares(part: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    """Returns the shares of right sketches, or of right pictures."""
    if not records:
        return {}
    found = {part: _share("all", records, part)}
    if part == "sketch":
        found["sketch_strict"] = _share("all", records, part, "strict")
    kinds = list(dict.fromkeys(record["tag"] for record in records))
    of = {kind: [r for r in records if r["tag"] == kind] for kind in kinds}
    for kind, mine in of.items():
        # Those that say what the plain prompts say are resampled with them, prompt by prompt.
        key = PLAIN if kind in LIKE_PLAIN and len(mine) == len(of.get(PLAIN, ())) else kind
        found[f"{part}_{kind}"] = _share(key, mine, part)
    for kind in LIKE_PLAIN:
        if PLAIN in of and kind in of:
            pair = found[f"{part}_{kind}"], found[f"{part}_{PLAIN}"]
            found[f"{part}_{kind}_of_plain"] = results.combine(_quotient, *pair)
    words = [r for r in of.get(SPECIAL, ()) if _words(r, part)]
    if words:
        right = [sum(atom["met"] for atom in _words(r, part)) for r in words]
        total = [len(_words(r, part)) for r in words]
        index = [r["index"] for r in words]
        found[f"{part}_special_words"] = results.ratio("words", index, right, total)
    for domain in DOMAINS:
        if mine := [r for r in records if r["domain"] == domain]:
            found[f"{part}_of_{domain}"] = _share(domain, mine, part)
    for suffix, belongs in list(SPLITS.items())[:2]:
        if mine := [r for r in records if belongs(r)]:
            found[f"{part}{suffix}"] = _share(suffix, mine, part)
    return found


def _quotient(one: Any, other: Any) -> Any:
    return one / np.maximum(other, 1e-9)


def _words(record: Mapping[str, Any], part: str) -> list[Mapping[str, Any]]:
    return [atom for atom in record[part]["atoms"] if atom.get("is_word")]


def _share(
    key: str, records: Sequence[Mapping[str, Any]], part: str, what: str = "correct"
) -> Estimate:
    return results.ratio(key, [r["index"] for r in records], [r[part][what] for r in records])
