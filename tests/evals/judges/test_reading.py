# SPDX-License-Identifier: Apache-2.0
"""How well what was read is what should be there: against brute force, and counted by hand."""

import functools
import importlib.util
import itertools
import os
import random
import string

import numpy as np
import pytest

from omnigen.evals.judges import reading
from omnigen.evals.judges.reading import Line
from omnigen.evals.suites import references, text_prompts
from omnigen.scenes.render import render


@functools.cache
def slow_distance(one: str, other: str) -> int:
    """Levenshtein's recursive definition."""
    if not one or not other:
        return len(one) + len(other)
    return min(
        slow_distance(one[1:], other) + 1,
        slow_distance(one, other[1:]) + 1,
        slow_distance(one[1:], other[1:]) + (one[0] != other[0]),
    )


def strings(count: int, longest: int) -> list[str]:
    dice = random.Random(0)
    return ["".join(dice.choices("abc", k=dice.randint(0, longest))) for _ in range(count)]


def test_distance_against_its_definition() -> None:
    for one, other in itertools.combinations(strings(25, 6), 2):
        assert reading.distance(one, other) == slow_distance(one, other)
    assert reading.distance("kitten", "sitting") == 3


def best_by_force(target: list[str], read: list[str]) -> float:
    """The greatest sum of similarities over all ways to pair words in order."""
    most = 0.0
    for size in range(min(len(target), len(read)) + 1):
        for ours in itertools.combinations(target, size):
            for theirs in itertools.combinations(read, size):
                pairs = zip(ours, theirs, strict=True)
                total = sum(
                    1 - slow_distance(a, b) / max(len(a), len(b)) if a or b else 1.0
                    for a, b in pairs
                )
                most = max(most, total)
    return most


def test_alignment_against_brute_force() -> None:
    dice = random.Random(1)
    vocabulary = [word for word in strings(40, 5) if word]
    for _ in range(120):
        target = dice.choices(vocabulary, k=dice.randint(1, 4))
        read = dice.choices(vocabulary, k=dice.randint(0, 4))
        total, pairs = reading._aligned(target, read)
        assert total == pytest.approx(best_by_force(target, read))
        assert total == pytest.approx(
            sum(reading.similarity(target[a], read[b]) for a, b in pairs.items())
        )
        assert sorted(pairs.items()) == sorted(
            zip(sorted(pairs), sorted(pairs.values()), strict=True)
        )


LINES = [["Hello", "World"], ["42abc"]]


@pytest.mark.parametrize(
    ("read", "right", "similarity", "slots", "recalled", "edits"),
    [
        ("hello WORLD 42abc", (1, 1, 1), 3, 3, 3, 0),
        ("42ABC Hello, World!", (1, 1, 1), 3, 3, 3, 0),  # the other line first
        ("HelloWorld 42 abc", (1, 1, 1), 3, 3, 0, 0),  # spaces are not judged, but LongText does
        ("World Hello 42abc", (1, 0, 1), 2, 3, 3, 8),  # order in a line is
        ("hello word 42abc", (1, 0, 1), 2 + 4 / 5, 3, 2, 1),
        ("hello world world 42abc", (1, 1, 1), 3, 4, 3, 6),  # one too many
        ("hello", (1, 0, 0), 1, 3, 1, 12),
        ("", (0, 0, 0), 0, 3, 0, 17),
    ],
)
def test_reading_by_hand(read, right, similarity, slots, recalled, edits) -> None:
    found = reading.compare(LINES, read)
    assert found.right == tuple(map(bool, right))
    assert found.similarity == pytest.approx(similarity)
    assert (found.slots, found.recalled, found.edits) == (slots, recalled, edits)
    assert found.exact == (all(right) and slots == 3)


def test_a_word_serves_once() -> None:
    found = reading.compare([["no", "no", "no"]], "no no")
    assert sum(found.right) == 2 and found.recalled == 2 and not found.exact


def test_edits_are_capped() -> None:
    assert reading.compare([["a"]], "b" * 150).edits == 100


def test_words_without_letters_are_not_asked_for() -> None:
    assert reading.compare([["Salt", "&", "pepper!"]], "salt pepper").right == (True, True)


def test_reading_order() -> None:
    boxes = {"b": (0.6, 0.1, 0.9, 0.2), "a": (0.1, 0.12, 0.4, 0.24), "c": (0.1, 0.3, 0.9, 0.4)}
    lines = [Line(text, box) for text, box in boxes.items()]
    assert "".join(line.text for line in reading._in_reading_order(lines)) == "abc"


needs_ocr = pytest.mark.skipif(
    importlib.util.find_spec("rapidocr") is None, reason="RapidOCR is not installed"
)


@needs_ocr
def test_true_words_are_read_and_a_wrong_letter_is_seen() -> None:
    for metadata in text_prompts.prompts()[3::67]:
        scene = references.words(metadata["lines"], seed=metadata["prompt"])
        assert scene is not None
        lines = reading.rapidocr(render(scene, 128))
        read = " ".join(line.text for line in lines)
        assert reading.compare(metadata["lines"], read).exact, read
        first, *rest = metadata["lines"]
        wrong = [[("j" if first[0][0] not in "jJ" else "k") + first[0][1:], *first[1:]], *rest]
        assert not reading.compare(wrong, read).right[0]
        tops = [text.y - text.height for text in scene.texts]
        assert lines[0].box[1] == pytest.approx(min(tops), abs=0.08)


@needs_ocr
def test_nothing_is_read_off_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    for image in (noise, np.full_like(noise, 200)):
        text = " ".join(line.text for line in reading.rapidocr(image))
        assert not any(reading.compare(LINES, text).right)


@pytest.mark.skipif(not reading._tesseract_version(), reason="Tesseract is not installed")
def test_the_second_reader_reads() -> None:
    scene = references.words([["Harbour"]], seed="second")
    assert scene is not None
    assert reading.compare([["Harbour"]], reading.tesseract(render(scene, 256)) or "").exact


def one_letter_changed(lines: list[list[str]], dice: random.Random) -> tuple[list[list[str]], int]:
    """Another letter or digit in one word, never one that only differs in case; and which word."""
    new = [list(line) for line in lines]
    spots = [
        (k, w, i)
        for k, line in enumerate(new)
        for w, word in enumerate(line)
        for i in range(len(word))
    ]
    k, w, i = dice.choice(spots)
    word, old = new[k][w], new[k][w][i]
    pool = string.digits if old.isdigit() else string.ascii_lowercase
    other = dice.choice([c for c in pool if c != old.casefold()])
    new[k][w] = word[:i] + (other.upper() if old.isupper() else other) + word[i + 1 :]
    return new, sum(map(len, new[:k])) + w


READERS = {
    "rapidocr": lambda image: " ".join(line.text for line in reading.rapidocr(image)),
    "tesseract": reading.tesseract,
}


@needs_ocr
@pytest.mark.slow
@pytest.mark.skipif("OMNIGEN_GATES" not in os.environ, reason="OMNIGEN_GATES is not set")
@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize(("reader", "most"), [("rapidocr", 0.005), ("tesseract", 1.0)])
def test_one_letter_changed_is_caught(reader: str, most: float, side: int) -> None:
    """Of words that are read right, those with another letter are not taken for them."""
    dice, words, misread, passed = random.Random(0), 0, [], []
    changes = 0
    for metadata in text_prompts.prompts():
        lines = metadata["lines"]

        def right(shown: list[list[str]], wanted: list[list[str]] = lines) -> tuple[bool, ...]:
            scene = references.words(shown, seed=str(wanted))
            if scene is None:  # the new letter is so wide that the line has no room
                return ()
            return reading.compare(wanted, READERS[reader](render(scene, side)) or "").right

        are_read = right(lines)
        words += len(are_read)
        flat = [word for line in lines for word in line]
        misread += [word for word, ok in zip(flat, are_read, strict=True) if not ok]
        for _ in range(3):
            other, place = one_letter_changed(lines, dice)
            if are_read[place] and (still := right(other)):
                changes += 1
                if still[place]:
                    passed.append((flat[place], [w for line in other for w in line][place]))
    print(
        f"\n{reader} at {side}: {changes - len(passed)} of {changes} letters caught, not {passed}"
    )
    print(f"of {words} right words {len(misread)} misread: {misread}")
    assert len(passed) <= most * changes
