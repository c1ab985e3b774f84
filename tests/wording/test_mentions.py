# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnigen.wording.mentions import mentions


def told(prompt: str) -> list[str]:
    """What is said of each thing: `-` if it is ruled out, count, colour, name; `?` if unknown."""
    return [
        ("-" if one.is_absent else "")
        + " ".join(
            [
                *([str(one.count)] if one.count is not None else []),
                *([one.color] if one.color else []),
                one.text if one.nouns else f"?{one.text}",
            ]
        )
        for one in mentions(prompt)
    ]


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a red disc over a blue box", ["1 red disc", "1 blue box"]),
        ("THREE STARS and 2 Crimson hearts!", ["3 stars", "2 red hearts"]),
        ("half a dozen rings, a pair of crosses", ["6 rings", "2 crosses"]),
        ("5x yellow stars; hearts x3; squares (4)", ["5 yellow stars", "3 hearts", "4 squares"]),
        ("two red and three dark blue circles", ["3 blue circles"]),
        ("small pink square next to the ring", ["pink square", "ring"]),
        ("a light red circle", ["1 circle"]),  # or is it pink?
        ("a couple of stars, several rings, a few hearts", ["stars", "rings", "hearts"]),
        ("two rows of three circles; 3-5 rings", ["circles", "rings"]),
        ("2 (two) plus signs, a circle with a hole in it", ["2 cross", "1 ring"]),
        ("snow white stars on pine green, a little ring to the right", ["white stars", "1 ring"]),
        ("two crooss shapes and three red shapes", ["3 red shapes"]),
        ("a holow circle and a star", ["1 star"]),
        ("a star repeated 4 times", ["star"]),
        ("a cottage by the lake under the night sky", ["1 cottage", "lake"]),
        ('a sign that says "two circles"', ["1 sign"]),
        ("a star picture with a hoop", ["1 hoop"]),
        ("a box of a red circle", ["1 red circle"]),
        ("stars in a circle", ["stars"]),
        ("two birds cross the river, on their way home", ["2 birds", "river"]),
        ("a ring like a wheel, and I'd like a heart", ["1 ring", "1 heart"]),
        ("", []),
    ],
)
def test_what_a_prompt_asks_for(prompt: str, wanted: list[str]) -> None:
    assert told(prompt) == wanted


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("no clouds, a house", ["-clouds", "1 house"]),
        ("a river without any trees or birds", ["1 river", "-trees", "-birds"]),
        ("a cloudless sky over the sea", ["-cloud", "sea"]),
        ("there aren't any circles", ["-circles"]),
        ("zero hearts, 0 stars, circle-free", ["-hearts", "-stars", "-circle"]),
        ("neither a cross nor a ring", ["-cross", "-ring"]),
        ("Clouds? No. A lake.", ["1 lake"]),
        ("a lake, the clouds are left out", []),
        ("I don't want any boats", ["-boats"]),
        ("don't put the star on the left", []),
        ("a ring instead of a star", ["1 ring"]),
        ("no other shapes. No more than two circles", []),
        ("not a star but a ring", ["-star", "1 ring"]),
        ("w/o hearts, wthout rings", ["-hearts", "-rings"]),
        ("nothing with rings. No neeed for stars.", ["-rings"]),
        ("Not: crosses. Hearts not required.", ["-crosses"]),
        ("squares should not be there", []),
        ("why not a heart, as well as a ring", ["1 heart", "1 ring"]),
        ("no sun, moon and a house", ["-sun", "1 house"]),
    ],
)
def test_what_a_prompt_rules_out(prompt: str, wanted: list[str]) -> None:
    assert told(prompt) == wanted


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a zeppelin above the mountains", ["?zeppelin", "mountains"]),
        ("two cute axolotls and a heart", ["?cute axolotls", "1 heart"]),
        ("a red cirlce, a huose", []),  # mistyped
        ("a whatsit of a red circle", ["1 red circle"]),
        ("a whatsit with a red circle", ["1 red circle"]),
        ("the zeppelin", []),
        ("un zepelín y a globe", []),
        ('write "Hi" on a blackboard', []),
        ("for a granny, as a treat", []),
    ],
)
def test_unknown_things_are_named_where_that_is_plain(prompt: str, wanted: list[str]) -> None:
    assert told(prompt) == wanted


@settings(max_examples=300)
@given(st.text(max_size=40) | st.lists(st.sampled_from(
    "a no 3 x ( ) , . ² ٣ star stars any not don't like of red neither 0 \" ' \n -".split(" ")
)).map(" ".join))  # fmt: skip
def test_anything_can_be_read(prompt: str) -> None:
    for one in mentions(prompt):
        assert one.text and (one.count is None or one.count > 0)
