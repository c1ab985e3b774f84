# SPDX-License-Identifier: Apache-2.0
"""The generator of the suite `wording`: what ships is what it writes, and says what it requires."""

import collections
import re

import pytest

import wording_breadth
import wording_prompts
from omnigen.evals.judges.requirements import SHAPES
from omnigen.evals.suites import wording
from omnigen.scenes import splits
from omnigen.scenes.scene import Color, Shape


@pytest.fixture(scope="module")
def prompts():
    return wording_prompts.prompts()


def test_the_package_holds_what_the_generator_writes(prompts) -> None:
    assert tuple(prompts) == wording.prompts()


def test_every_kind_has_thirty_prompts_and_none_is_asked_twice(prompts) -> None:
    kinds = collections.Counter(prompt["tag"] for prompt in prompts)
    assert len(prompts) >= 900 and min(kinds.values()) >= 30 and len(kinds) == 22
    alike = collections.Counter(prompt["prompt"] for prompt in prompts)
    assert max(alike.values()) == 1
    assert {prompt["domain"] for prompt in prompts} == set(wording.DOMAINS)
    assert max(len(prompt["prompt"].encode()) for prompt in prompts) <= 240


def test_half_of_what_can_be_held_out_is(prompts) -> None:
    """Of the domains that have compositions; drawings and prompts written whole have none."""
    generated = [p for p in prompts if p["tag"] not in ("loose", "languages", "special")]
    for domain in ("shapes", "relations", "words", "landscapes"):
        held = [p["held_out"] for p in generated if p["domain"] == domain]
        assert 0.38 < sum(held) / len(held) < 0.62, domain
    table = splits.tables()
    for prompt in generated:
        kinds = [
            splits.index(Color(one["color"]), Shape(one["class"]))
            for one in prompt["include"]
            if "color" in one and one["class"] in SHAPES
        ]
        if any(table.single[kind] for kind in kinds):
            assert prompt["held_out"], prompt
        words = [word for one in prompt["text"] for word in one["string"].split()]
        if any(map(splits.word_held_out, words)) and prompt["tag"] != "negation":
            assert prompt["held_out"] or prompt["tag"] == "special", prompt


def test_quoted_words_stand_in_the_prompt_verbatim(prompts) -> None:
    for prompt in prompts:
        for one in prompt["text"]:
            assert one["string"] in prompt["prompt"], prompt


def test_colors_shapes_and_numbers_stand_in_plain_prompts(prompts) -> None:
    """Read by eyes of its own: a count, a colour and a noun for each group that is required."""
    numbers = "zero one two three four five six seven".split()
    for prompt in prompts:
        if prompt["tag"] != "plain" or prompt["domain"] not in ("shapes", "relations"):
            continue
        said = re.sub(" on an? (white|black) background", "", prompt["prompt"])
        found = re.findall(rf"\b(an?|\d|{'|'.join(numbers)}) ({'|'.join(Color)}) (\w+)", said)
        groups = [
            (
                1 if n in ("a", "an") else numbers.index(n) if n in numbers else int(n),
                color,
                noun.removesuffix("s") if noun != "cross" else noun,
            )
            for n, color, noun in found
        ]
        groups = [
            (n, color, noun.removesuffix("e") if noun == "crosse" else noun)
            for n, color, noun in groups
        ]
        wanted = [(one["count"], one["color"], one["class"]) for one in prompt["include"]]
        assert groups == wanted, prompt
        if prompt["domain"] == "relations":
            ((name, *places),) = prompt["relations"]
            assert name in said and places == [0, 1]
        grounds = re.findall(r" on an? (white|black) background", prompt["prompt"])
        assert grounds == [prompt["background"]] if grounds else "background" not in prompt


def test_capitals_and_typos_say_what_plain_prompts_say(prompts) -> None:
    of = {tag: [p for p in prompts if p["tag"] == tag] for tag in ("plain", "capitals", "typos")}
    for number, (plain, loud, slipped) in enumerate(zip(*of.values(), strict=True)):
        same = ("domain", "include", "relations", "exclude", "held_out")
        assert all(plain[key] == loud[key] == slipped[key] for key in same)
        assert loud["prompt"].casefold() == plain["prompt"].casefold()
        assert loud["prompt"].isupper() or number % 2
        assert slipped["text"] == plain["text"]
        assert 0 < wrong_words(plain["prompt"], slipped["prompt"]) <= 2


def wrong_words(one: str, other: str) -> int:
    return sum(a != b for a, b in zip(one.split(), other.split(), strict=True))


def test_breadth_and_overlap_of_a_small_set() -> None:
    known = {"red": "<color>", "blue": "<color>", "ring": "<thing>", "star": "<thing>"}
    texts = ["a red ring", "A blue star", 'a star that says "Hi"']
    assert wording_breadth.frame(texts[0], known) == ("a", "<color>", "<thing>")
    # a, <color>, <thing>, that, says, <quote>; six pairs; five of three, of which one is shared
    assert wording_breadth.breadth(texts, known) == [3, 6, 6, 4, 2, 2]
    found = wording_breadth.overlap(["a red ring", "one ring"], texts, known)
    assert found == {
        "texts": 0.5,
        "frames": 0.5,
        "1 words": 0.75,
        "2 words": pytest.approx(2 / 3),
        "3 words": 1.0,
        "4 words": 0.0,
    }
