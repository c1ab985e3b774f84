# SPDX-License-Identifier: Apache-2.0
"""Words on demand: what readers make of pictures that were to show them.

With words w of a picture and what was read for them in order, r:

    word_accuracy    words read letter for letter / words
    ned              sum of 1 - lev(w, r) / max(|w|, |r|) / words wanted or read, the larger number
    exact_all        pictures with all words right and nothing else
    longtext_recall  words read, whatever their order and number / words        (LongText-Bench)
    oneig            1 - min(100, ED) (1 - CR) (1 - WAC) / 100                  (OneIG-Bench)

where lev is Levenshtein's distance, ED its mean over whole texts, CR is `exact_all` and WAC is
`word_accuracy`. Sums run over all pictures.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from omnigen import extras
from omnigen.evals import results
from omnigen.evals.benchmark import SPLITS, Benchmark, Metadata, Record
from omnigen.evals.judges import reading
from omnigen.evals.results import Estimate
from omnigen.evals.suites import references, text_prompts
from omnigen.scenes.scene import Scene


def benchmark(prompts: Sequence[Metadata] | None = None, *, judges: bool = True) -> Benchmark:
    """Returns the suite, of all its prompts or of those given.

    Raises:
        MissingExtraError: If RapidOCR is not installed, and the suite judges.
    """
    if judges:
        extras.require("ocr", "the suite text")
    return Benchmark(
        name="text",
        version=reading.version(),
        prompts=tuple(text_prompts.prompts() if prompts is None else prompts),
        verdict=verdict,
        scores=scores,
        reference=_reference,
    )


def _reference(metadata: Metadata) -> Scene:
    scene = references.words(metadata["lines"], seed=metadata["prompt"])
    assert scene is not None
    return scene


def verdict(metadata: Metadata, image: np.ndarray | None) -> Record:
    """Judges a picture by what readers read on it; None has nothing on it."""
    if image is None:
        return judged(metadata, (), second="" if "Tesseract" in reading.version() else None)
    return judged(metadata, reading.rapidocr(image), second=reading.tesseract(image))


def judged(metadata: Metadata, seen: Sequence[reading.Line], *, second: str | None) -> Record:
    """Compares what the first and, if there is one, the second reader read with metadata."""
    found = reading.compare(metadata["lines"], " ".join(line.text for line in seen))
    words = [word for line in metadata["lines"] for word in line]
    asked = zip(words, metadata["sources"], found.right, strict=True)
    record: Record = {
        "correct": found.exact,
        "similarity": round(found.similarity, 8),
        "slots": found.slots,
        "recalled": found.recalled,
        "edits": found.edits,
        "atoms": [
            {"what": word, "source": source, "wanted": 1, "found": int(right), "met": right}
            for word, source, right in asked
        ],
        "seen": [dataclasses.asdict(line) for line in seen],
    }
    if second is not None:
        right = reading.compare(metadata["lines"], second).right
        record["second"] = {"text": second, "right": list(right)}
    return record


def scores(records: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    """Returns the metrics, with word accuracy by split, number of words and source of words."""
    words = [len(record["atoms"]) for record in records]
    right = [sum(atom["met"] for atom in record["atoms"]) for record in records]
    exact = [record["correct"] for record in records]
    edits = _ratio(records, [record["edits"] for record in records])
    accuracy, complete = _ratio(records, right, words), _ratio(records, exact)
    found = {
        "word_accuracy": accuracy,
        "ned": _ratio(records, [r["similarity"] for r in records], [r["slots"] for r in records]),
        "exact_all": complete,
        "longtext_recall": _ratio(records, [r["recalled"] for r in records], words),
        "oneig": results.combine(_oneig, edits, complete, accuracy),
    }
    if all("second" in record for record in records):
        second = [record["second"]["right"] for record in records]
        firsts = [[atom["met"] for atom in record["atoms"]] for record in records]
        alike = [sum(np.equal(a, b)) for a, b in zip(firsts, second, strict=True)]
        found["word_accuracy_tesseract"] = _ratio(records, [sum(one) for one in second], words)
        found["readers_agree"] = _ratio(records, alike, words)
    for part, belongs in SPLITS.items():
        found |= _accuracy(part, [r for r in records if belongs(r)], lambda atom: True)
    for tag in dict.fromkeys(record["tag"] for record in records):
        found |= _accuracy(f"_{tag}", [r for r in records if r["tag"] == tag], lambda atom: True)
    for source in text_prompts.SOURCES:
        found |= _accuracy(f"_{source}", records, lambda atom, s=source: atom["source"] == s)
    return found


def _accuracy(
    part: str, records: Sequence[Mapping[str, Any]], counts: Callable[[Any], bool]
) -> dict[str, Estimate]:
    """Returns word accuracy over some atoms of some records."""
    atoms = [[atom["met"] for atom in record["atoms"] if counts(atom)] for record in records]
    having = [(record, each) for record, each in zip(records, atoms, strict=True) if each]
    if not having:
        return {}
    right, words = [sum(each) for _, each in having], [len(each) for _, each in having]
    return {f"word_accuracy{part}": _ratio([r for r, _ in having], right, words, key=part)}


def _ratio(
    records: Sequence[Mapping[str, Any]],
    above: Sequence[float],
    below: Sequence[float] | None = None,
    *,
    key: str = "text",
) -> Estimate:
    return results.ratio(key, [record["index"] for record in records], above, below)


def _oneig(edits: Any, complete: Any, accuracy: Any) -> Any:
    capped = np.minimum(edits, reading.MAX_EDITS) / reading.MAX_EDITS
    return 1 - capped * (1 - complete) * (1 - accuracy)
