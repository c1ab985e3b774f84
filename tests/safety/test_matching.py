# SPDX-License-Identifier: Apache-2.0
"""Rules find what they should, however it is spelt, by a policy about the weather."""

import codecs
import time

import pytest

from omnigen.safety.matching import AROUND, BETWEEN, Matcher
from omnigen.safety.policy import parse

POLICY = """
[fillers]
the, a, of
[group bad]
hurricane(s), thunder storm, tornad*, 龙卷风
[group place]
village, harbour
[group now]
today
[hate]
@bad .. @place
[illicit]
@bad & @now
[violence mild]
frog + rain
[sexual drawn]
drizzle
[self-harm]
blizzard
[except]
hurricane lamp
"""


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return Matcher(parse({"weather.txt": POLICY}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a hurricane over the village", {"hate": 1.0}),
        ("Hurricanes: a harbour", {"hate": 1.0}),
        ("the village before a hurricane", {}),  # not in this order
        (f"a hurricane{' and' * BETWEEN} village", {"hate": 1.0}),
        (f"a hurricane{' and' * (BETWEEN + 1)} village", {}),
        ("today a hurricane", {"illicit": 1.0}),
        ("a hurricane, today", {"illicit": 1.0}),
        (f"today{' or' * (AROUND + 1)} hurricane", {}),
        ("frog rain", {"violence": 0.6}),
        ("a frog of the rain", {"violence": 0.6}),
        ("frog in rain", {}),
        ("rain frog", {}),
        ("a thunder storm in a village", {"hate": 1.0}),
        ("thunder and storm in a village", {}),
        ("tornadoes in the village", {"hate": 1.0}),
        ("今天龙卷风village", {"hate": 1.0}),
        ("龙的卷风 village", {}),
        ("a hurricane lamp in a village", {}),
        ("a hurricane lamp and a hurricane in a village", {"hate": 1.0}),
        ("drizzle", {}),
        ("a blizzard today in a village", {"self-harm": 1.0}),
        ("", {}),
        ("!?", {}),
    ],
)
def test_rules(matcher: Matcher, text: str, expected: dict[str, float]) -> None:
    assert matcher.scores(text) == expected


def test_what_is_drawn_is_judged_by_more_rules(matcher: Matcher) -> None:
    assert matcher.scores("the word drizzle", ["drizzle"]) == {"sexual": 1.0}
    assert matcher.scores("letters", ["BLI ZZ ARD"]) == {"self-harm": 1.0}
    assert matcher.scores("BLI ZZ ARD") == {}


SPELLINGS = [
    "BLIZZARD",
    "8l1zz4rd".replace("8", "b"),
    "bl!zz@rd",
    "b1izzard",
    "|blizzard|",
    "b l i z z a r d",
    "a   b l i z z a r d   c",
    "b.l.i.z.z.a.r.d",
    "b-l-i-z-z-a-r-d",
    "bliz-zard",
    "bliiiizzzzaaard",
    "bblliizzzzaarrdd",
    "bl*zz*rd",
    "my_blizzard_picture",
    "#blizzard",
    "“blizzard”",
    "drazzilb",
    codecs.encode("blizzard", "rot13"),
    codecs.encode("a blizzard, please", "rot13"),
    "YmxpenphcmQ YmxpenphcmQ",
    "YmxpenphcmQ=",
    b"blizzard".hex(),
    "blizzard's",
    "b​l​i​z​z​a​r​d",
    "ｂｌｉｚｚａｒｄ",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_spellings(matcher: Matcher, text: str) -> None:
    assert matcher.scores(f"{text}") == {"self-harm": 1.0}
    assert matcher.scores(f"a picture of {text}") == {"self-harm": 1.0}


def test_words_in_a_row_without_spaces(matcher: Matcher) -> None:
    assert matcher.scores("#hurricanevillage") == {"hate": 1.0}
    assert matcher.scores("HurricaneOfTheVillage") == {"hate": 1.0}
    assert matcher.scores("hurricanexvillage") == {}


@pytest.mark.parametrize(
    "text",
    ["blizz", "lizard", "blizzardly", "b * d", "a * b * c", "1 2 3 4 5 6 7 8", "drazzil", "@ $ !"],
)
def test_other_words_are_not_meant(matcher: Matcher, text: str) -> None:
    assert matcher.scores(text) == {}


def test_codes_within_codes_are_read_to_a_depth(matcher: Matcher) -> None:
    inner = b"blizzard".hex()
    assert matcher.scores(inner.encode().hex()) == {"self-harm": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "hurricane " * 3200,
        "hurricane village " * 1800,
        "h u r r i c a n e " * 1700,
        "h*rr*c*n* " * 3200,
        "z" * 32_000,
        "龙卷风" * 10_000,
        "%41" * 10_000,
        '"' * 32_000,
        " ".join("QUJDREVGR0g" for _ in range(2600)),
    ],
)
def test_long_texts_take_no_long_time(matcher: Matcher, text: str) -> None:
    started = time.thread_time()
    matcher.scores(text, [text])
    assert time.thread_time() - started < 4
