# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from omnigen.data.corpus import meanings
from omnigen.dice import Dice
from omnigen.wording.meaning import Meaning, Relation, Thing, Words

WHOLE = Meaning(
    "things",
    things=(Thing("panda", 3, size="small", place="left"), Thing("anchor", color="red")),
    relations=(Relation("left", 0, (1,)), Relation("next_to", 0, (1,))),
    words=(Words('Été "x"', "blue", "sign", "script", "top"),),
    background="gradient of white and mint",
    absent=("dog", "cat"),
    only=True,
)


def test_meanings_are_kept_as_json_without_what_is_usual():
    assert meanings.read(meanings.write(WHOLE)) == WHOLE
    assert meanings.write(Meaning("things", (Thing("panda"),))) == (
        '{"domain":"things","things":[{"noun":"panda"}]}'
    )


@pytest.mark.parametrize(
    "written",
    [
        "",
        "[]",
        "3",
        '"x"',
        "{}",
        '{"domain":"x"}',
        '{"domain":"things","things":[{"noun":5}]}',
        '{"domain":"things","things":["panda"]}',
        '{"domain":"things","things":[{"noun":"panda","count":"3"}]}',
        '{"domain":"things","things":[{"noun":"panda","count":2.5}]}',
        '{"domain":"things","things":[{"noun":"panda","legs":4}]}',
        '{"domain":"things","things":{"noun":"panda"}}',
        '{"domain":"things","things":[{"noun":"a"}],"relations":[{"name":"left","one":0}]}',
        '{"domain":"things","relations":[{"name":"left","one":0,"others":[7]}]}',
        '{"domain":"things","words":[{"text":" "}]}',
        '{"domain":"things","words":[{"text":1}]}',
        '{"domain":"things","background":{"a":[]}}',
        '{"domain":"things","background":["a"]}',
        '{"domain":"things","words":[{"text":"a","style":["b"]}]}',
        '{"domain":"things","absent":[1]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_meaning_is_refused(written):
    with pytest.raises(ValueError):
        meanings.read(written)


def test_captions_tell_a_part_that_holds():
    told = [meanings.told(WHOLE, Dice("told", n)) for n in range(2000)]
    for one in told:
        assert [thing.noun for thing in one.things] == ["panda", "anchor"]
        assert [words.text for words in one.words] == ['Été "x"']
        for ours, whole in zip(
            (*one.things, *one.words), (*WHOLE.things, *WHOLE.words), strict=True
        ):
            for field in dataclasses.fields(whole):
                assert getattr(ours, field.name) in (None, getattr(whole, field.name))
        assert one.background in (None, WHOLE.background)
        assert len(one.relations) <= 1 and set(one.relations) <= set(WHOLE.relations)
        assert len(one.absent) <= 1 and set(one.absent) <= {"dog", "cat"}
        assert not (one.only and one.absent)
    assert len({dataclasses.replace(one, absent=(), only=False) for one in told}) > 300
    shares = {
        "relation": sum(bool(one.relations) for one in told),
        "background": sum(one.background is not None for one in told),
        "absent": sum(bool(one.absent) for one in told),
        "several": sum(one.things[0].count is None for one in told),
        "one anchor": sum(one.things[1].count == 1 for one in told),
    }
    wanted = {"relation": 0.775, "background": 0.55, "absent": 0.08, "several": 0.1}
    for name, share in wanted.items():
        assert abs(shares[name] / 2000 - share) < 4 * (share * (1 - share) / 2000) ** 0.5, name
    assert shares["one anchor"] == 2000
