# SPDX-License-Identifier: Apache-2.0
"""The procedural world as a source: which scenes its settings ask for."""

import dataclasses

import pytest

from omnigen.data.corpus.split import Split
from omnigen.data.stream import world
from omnigen.data.stream.pipeline import DataConfig
from omnigen.scenes.compose import Variety, compose
from omnigen.scenes.palette import CALM, VIVID


def test_training_scenes_have_the_variety_that_is_asked_for():
    plain = DataConfig(related=0, vivid=0, marked=0)
    rich = DataConfig(related=1, vivid=1, marked=1)
    for index in range(60):
        scene = world.scene_at(plain, index)
        assert scene == compose(index, scene.kind, held_out=False)
        variety = Variety(related=1, vivid=1, marked=1)
        full = compose(index, scene.kind, held_out=False, variety=variety)
        assert world.scene_at(rich, index) == full
        assert scene.background is None or scene.background.color in CALM
        assert full.background is None or full.background.color in VIVID
        test = world.scene_at(dataclasses.replace(rich, split=Split.TEST), index)
        assert test == compose(index, scene.kind, held_out=True)
    default = [world.scene_at(DataConfig(), index) for index in range(300)]
    vivid = sum(s.background.color in VIVID for s in default if s.background is not None)
    assert 0.3 < vivid / sum(s.background is not None for s in default) < 0.5


@pytest.mark.parametrize("name", ["related", "vivid", "marked", "foreign"])
def test_a_share_is_of_one(name):
    with pytest.raises(ValueError, match=f"{name} is 1.5; .*0 to 1"):
        DataConfig(**{name: 1.5})
