# SPDX-License-Identifier: Apache-2.0
"""Other names of things, by a WordNet of four synsets."""

import pathlib

import pytest

import names_of_things

INDEX = """  1 a licence
turtle n 2 1 @ 2 1 00000001 00000002
sea_turtle n 1 0 1 1 00000002
turtleneck n 1 1 @ 1 0 00000001
reptile n 1 1 @ 1 1 00000003
animal n 1 0 1 1 00000004
"""
DATA = """  1 a licence
00000001 06 n 02 turtle 0 turtleneck 0 000 | a sweater
00000002 05 n 03 turtle 0 sea_turtle 0 Testudo 0 001 @ 00000003 n 0000 | it has a shell
00000003 05 n 01 reptile 0 001 @ 00000004 n 0000 | it is cold
00000004 03 n 01 animal 0 000 | it lives
"""


@pytest.fixture
def wordnet(tmp_path: pathlib.Path) -> names_of_things.WordNet:
    (tmp_path / "index.noun").write_text(INDEX)
    (tmp_path / "data.noun").write_text(DATA)
    return names_of_things.WordNet(tmp_path)


def test_the_sense_fits_the_group(wordnet) -> None:
    assert wordnet.find("turtle", 3) == "00000002"
    assert wordnet.find("turtle", 7) == "00000001"
    assert wordnet.find("turtle", 2) is None and wordnet.find("tortoise", 3) is None


def test_synonyms_mean_nothing_else_first(wordnet) -> None:
    """A turtle is a sweater first, in this WordNet; names of species are in capitals."""
    assert wordnet.synonyms("00000002") == ["sea turtle"]


def test_the_kind_is_the_nearest_above(wordnet) -> None:
    assert wordnet.kind("00000002") == "reptile"
    assert wordnet.kind("00000003") == "animal"
    assert wordnet.kind("00000001") is None


def test_what_was_seen_by_eye_is_read_as_pairs() -> None:
    pairs = names_of_things.seen()
    assert ("airplane", "plane") in pairs and ("wrench", "spanner") in pairs
    assert all(name and word and "\n" not in name + word for name, word in pairs)
