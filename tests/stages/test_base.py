# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools

import jax
import numpy as np
import pytest

from omnigen.data.corpus.split import Split
from omnigen.models.omni import Omni
from omnigen.parallel import DataShard
from omnigen.stages import base
from omnigen.stages.ar import ARObjective, ARStage
from omnigen.stages.distillation import DistillationStage
from omnigen.stages.tokenizer import DecoderStage, TokenizerObjective, TokenizerStage


def test_stages_have_names():
    wanted = {
        "tokenizer": TokenizerStage,
        "decoder": DecoderStage,
        "ar": ARStage,
        "distillation": DistillationStage,
    }
    assert {name: base.find(name) for name in base.STAGES} == wanted
    assert base.find("ar").objective_type is ARObjective
    assert base.find("decoder").objective_type is TokenizerObjective
    with pytest.raises(ValueError, match="stage 'vae' is unknown; choose one of: tokenizer"):
        base.find("vae")


def test_a_part_starts_the_same_in_every_stage(config, data, weights):
    class Seen:
        """A net whose weights are its key."""

        init = staticmethod(jax.random.key_data)

    def start(cls, objective, seed=0):
        stage = cls(Omni(config), objective, data, weights)
        stage.omni.encoder = stage.omni.decoder = stage.omni.ar = stage.omni.head = Seen()
        return {part: w.tolist() for part, w in stage.init(jax.random.key(seed)).items()}

    tokenizer = start(TokenizerStage, TokenizerObjective())
    assert start(DecoderStage, TokenizerObjective()) == {"decoder": tokenizer["decoder"]}
    every = {**tokenizer, **start(ARStage, ARObjective())}
    assert len(set(map(tuple, every.values()))) == 4
    assert start(ARStage, ARObjective(), seed=1)["ar"] != every["ar"]


def test_noise_costs_what_the_data_costs(config, data, weights):
    """So that plans and benches may count by it."""
    wide = dataclasses.replace(data, row_length=640)
    for cls, objective in ((ARStage, ARObjective()), (TokenizerStage, TokenizerObjective())):
        stage = cls(Omni(config), objective, wide, weights)
        (batch,) = itertools.islice(stage.dataset(8, DataShard()), 1)
        noise = stage.noise(8)
        assert stage.rates(noise) == stage.rates(batch)
        assert jax.tree.map(np.shape, noise) == jax.tree.map(np.shape, batch)


def test_data_of_the_test_split_keeps_its_captions(config, data, weights):
    stage = ARStage(Omni(config), ARObjective(), data, weights)
    assert stage.data_of(Split.TRAIN) == data and data.caption_dropout > 0
    held_out = stage.data_of(Split.TEST)
    assert (held_out.split, held_out.workers, held_out.caption_dropout) == (Split.TEST, 0, 0.0)


@pytest.mark.parametrize(
    ("kinds", "longest"),
    [({"sketches": True}, 127), ({"thumbnails": True}, 65)],
)
def test_sketches_need_a_model_that_can_write_them(config, data, weights, kinds, longest):
    sketched = dataclasses.replace(data, **kinds)
    for length in (0, longest):
        model = dataclasses.replace(config, sketch_length=length)
        message = f"model.sketch_length is {length}; allowed: more than {longest}, which sketches"
        with pytest.raises(ValueError, match=f"^{message}"):
            ARStage(Omni(model), ARObjective(), sketched, weights)
    assert ARStage(Omni(config), ARObjective(), data, weights).data == data
    enough = dataclasses.replace(config, sketch_length=longest + 1)
    stage = ARStage(Omni(enough), ARObjective(), sketched, weights)
    assert stage.omni.config.sketch_length > longest
