# SPDX-License-Identifier: Apache-2.0
import collections
import hashlib
import json
import sys

import pytest

from omnigen.evals.judges import reading
from omnigen.evals.judges.reading import Line
from omnigen.evals.suites import references, text, text_prompts
from omnigen.scenes import splits

DIGEST = "611624b6f30a9eb6"  # changes only when everybody is to be asked something else


def test_prompts_never_change() -> None:
    dumped = json.dumps(text_prompts.prompts(), sort_keys=True)
    assert hashlib.sha256(dumped.encode()).hexdigest()[:16] == DIGEST


def test_prompts_hold_what_they_say() -> None:
    prompts = text_prompts.prompts()
    assert len({m["prompt"] for m in prompts}) == len(prompts) == 200
    sources: collections.Counter[str] = collections.Counter()
    for number, metadata in enumerate(prompts):
        words = [word for line in metadata["lines"] for word in line]
        assert len(words) == len(metadata["sources"]) == number // 40 + 1
        assert all(3 <= len(word) <= 12 and word.isalnum() for word in words)
        assert {splits.word_held_out(word) for word in words} == {metadata["held_out"]}
        quoted = metadata["prompt"].split('"')[1::2]
        assert quoted == [" ".join(line) for line in metadata["lines"]]
        assert metadata["template_held_out"] == metadata["prompt"].startswith("a poster that reads")
        for word, source in zip(words, metadata["sources"], strict=True):
            sources[source] += 1
            assert any(char.isdigit() for char in word) == (source == "random")
            scene = references.words(metadata["lines"], seed=metadata["prompt"])
            assert scene is not None
            assert [list(t.words) for t in scene.texts] == metadata["lines"]
            assert splits.is_held_out(scene)  # if not by its words, by its font
    assert sum(m["held_out"] for m in prompts) == 100
    assert sources == {"dictionary": 300, "invented": 180, "random": 120}


def prompt(*lines: str, held_out: bool = False) -> dict:
    words = [line.split() for line in lines]
    sources = [
        "random" if any(map(str.isdigit, w)) else "dictionary" for line in words for w in line
    ]
    tag = f"words_{len(sources)}"
    splits = {"held_out": held_out, "template_held_out": False}
    return {"tag": tag, "lines": words, "sources": sources, "prompt": " ".join(lines)} | splits


def record(metadata: dict, index: int, read: str | None) -> dict:
    lines = [Line(read, (0, 0, 1, 1))] if read else []
    return {**metadata, "index": index, **text.judged(metadata, lines, second="x")}


def test_scores_by_hand() -> None:
    one, two = prompt("Blue 7up", held_out=True), prompt("tea")
    records = [
        record(one, 0, "blue 7uq"),
        record(one, 0, "blue 7up"),
        record(two, 1, "ten tea tea"),
    ]
    assert [r["correct"] for r in records] == [False, True, False]
    assert [[atom["met"] for atom in r["atoms"]] for r in records] == [[1, 0], [1, 1], [1]]
    values = {name: estimate.value for name, estimate in text.scores(records).items()}
    # edit distances 1 ("blue 7uq"), 0 and 8 ("ten " and " tea")
    oneig = 1 - min(100, 9 / 3) / 100 * (1 - 1 / 3) * (1 - 4 / 5)
    assert values == pytest.approx(
        {
            "word_accuracy": 4 / 5,
            "ned": (1 + 2 / 3 + 2 + 1) / (2 + 2 + 3),
            "exact_all": 1 / 3,
            "longtext_recall": 4 / 5,
            "oneig": oneig,
            "word_accuracy_tesseract": 0,
            "readers_agree": 1 / 5,
            "word_accuracy_unseen": 3 / 4,
            "word_accuracy_seen": 1,
            "word_accuracy_seen_template": 4 / 5,
            "word_accuracy_words_2": 3 / 4,
            "word_accuracy_words_1": 1,
            "word_accuracy_dictionary": 1,
            "word_accuracy_random": 1 / 2,
        }
    )


def test_words_of_a_sort_are_judged_by_the_prompts_that_have_some() -> None:
    record = {"held_out": False, "template_held_out": False, "sample": 0}
    records = [
        {**record, "index": index, "atoms": [{"met": True, "sort": "random" if index < 3 else ""}]}
        for index in range(10)
    ]
    found = text._accuracy("_random", records, lambda atom: atom["sort"] == "random")
    estimate = found["word_accuracy_random"].to_json()
    assert (estimate["value"], estimate["low"], estimate["prompts"]) == (1.0, 1.0, 3)


def test_a_picture_that_is_lost_has_no_words() -> None:
    lost = text.verdict(prompt("Blue", "tea"), None)
    assert not lost["correct"] and not any(atom["met"] for atom in lost["atoms"])
    assert (lost["slots"], lost["similarity"], lost["edits"]) == (2, 0, 8)


def test_without_a_reader_the_suite_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    assert reading.version() == ""
    with pytest.raises(ValueError, match=r"pip install 'omnigen-jax\[ocr\]'"):
        text.benchmark()
    assert len(text.benchmark(judges=False).prompts) == 200  # to draw here and judge elsewhere
