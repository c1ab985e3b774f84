# SPDX-License-Identifier: Apache-2.0
"""Settings that differ from a checkpoint's: refused where weights mean another thing, else told."""

import json

import pytest

from omnigen import recipe
from omnigen.checkpoints import data_position
from omnigen.models.omni import OmniConfig
from omnigen.training.changes import MOST_LINES, Changes, Schema, flat

SCHEMA = Schema(
    defaults={"model": {"local": True, "block": 1}, "seed": 0},
    unseen={"model.local": "encoder", "model.block": "ar", "model.text": "ar"},
)
GIVEN = {"model": {"local": True, "block": 1, "text": "a.json"}, "seed": 0, "rate": 0.1}


def test_flat() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": []}, "e": {}}) == {"a.b.c": 1, "a.d": [], "e": {}}
    deep: dict = {}
    for _ in range(5000):
        deep = {"x": deep}
    assert list(flat(deep).values()) == [{}]


def test_what_means_another_thing_is_refused() -> None:
    stored = {"model": {"local": False, "block": 2, "text": "a.json"}}
    changes = Changes(stored, GIVEN, SCHEMA)
    message = "model.local is True; the encoder of run/20 learnt with False, try model.local"
    with pytest.raises(ValueError, match=message):
        changes.refuse(["encoder"], path="run/20", hint=", try {key}")
    with pytest.raises(
        ValueError, match=r"^model\.block is 1; the transformer of p learnt with 2$"
    ):
        changes.refuse(["ar", "encoder"], path="p")
    assert changes.refuse(["head", "decoder"], path="p") == []
    learning = ["model.local", "model.block"]
    assert changes.refuse(["ar", "encoder"], path="p", learning=learning) == [
        "model.block is 1; the transformer of p learnt with 2",
        "model.local is True; the encoder of p learnt with False",
    ]


def test_every_other_change_is_a_line() -> None:
    stored = {**GIVEN, "rate": 0.2, "old": "\x1b[31m" + "x" * 500, "mix": {"a/b": 1}}
    assert Changes(stored, {**GIVEN, "mix": {"c": 2}, "train": {"frozen_from": "t"}}, SCHEMA).lines(
        step=7
    ) == [
        "changed since step 7: mix.a/b was 1, is absent",
        "changed since step 7: mix.c was absent, is 2",
        "changed since step 7: old was '\\x1b[31m" + "x" * 110 + "…, is absent",
        "changed since step 7: rate was 0.2, is 0.1",
        "changed since step 7: train.frozen_from was absent, is 't'"
        " (without effect: the weights are the checkpoint's)",
    ]
    many = Changes({str(n): n for n in range(10_000)}, {}, SCHEMA).lines(step=1)
    assert len(many) == MOST_LINES + 1 and many[-1].endswith(f"{10_000 - MOST_LINES} keys more")


def test_defaults_count_for_keys_that_a_checkpoint_lacks() -> None:
    changes = Changes({"model": {"text": "a.json"}, "rate": 0.1}, GIVEN, SCHEMA)
    assert changes.refuse(["ar", "encoder"], path="p") == [] and changes.lines(step=1) == []
    given = {**GIVEN, "model": {"local": False, "block": 1, "text": "a.json"}}
    with pytest.raises(ValueError, match=r"model\.local is False; .* learnt with True"):
        Changes({}, given, SCHEMA).refuse(["encoder"], path="p")


@pytest.mark.parametrize(
    ("then", "now", "refused"),
    [
        (("a.json", "1"), ("b.json", "1"), ""),  # moved
        (("a.json", "1"), ("a.json", "2"), "learnt with 'a.json', another file of that name"),
        (("a.json", None), ("b.json", "1"), "model.text is 'b.json'; the transformer"),
        (("a.json", None), ("a.json", "1"), ""),
    ],
)
def test_a_text_tokenizer_is_its_file(then: tuple, now: tuple, refused: str) -> None:
    def settings(text: str, digest: str | None) -> dict:
        digests = {"digests": {"model": {"text": digest}}} if digest else {}
        return {"model": {"text": text}} | digests

    changes = Changes(settings(*then), settings(*now), SCHEMA)
    if refused:
        with pytest.raises(ValueError, match=refused):
            changes.refuse(["ar"], path="p")
    else:
        assert changes.refuse(["ar"], path="p") == []
    assert len(changes.lines(step=1)) == (then[0] != now[0])


def test_settings_of_a_recipe(tmp_path) -> None:
    built = recipe.read("configs/ar.py:debug")
    schema, settings = recipe.schema(built), json.loads(json.dumps(recipe.settings(built)))
    assert Changes(settings, settings, schema).lines(step=1) == []
    older = json.loads(json.dumps(settings))  # sizes that follow from others were stored
    older["model"]["ar"]["latent_dim"] = built.model.encoder.latent_dim
    older["data"]["image_size"] = built.model.image_size
    for key in ("rope", "text_axes", "qk_norm", "qkv_bias", "norm_eps", "tied", "text_vocab"):
        del older["model"]["ar"][key]  # as before there were any
    assert Changes(older, settings, schema).lines(step=1) == []
    del settings["model"]["encoder"]["local"], settings["train"]["spike_sigmas"]
    settings["model"]["encoder"]["noise_max"] = 0.25
    default = OmniConfig().encoder.local
    (change, noise) = Changes(settings, recipe.settings(built), schema).lines(step=1)
    now = built.model.encoder
    assert change.endswith(f"model.encoder.local was {default}, is {now.local}")
    assert noise.endswith(f"model.encoder.noise_max was 0.25, is {now.noise_max}")
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(ValueError, match="train.relearn is 'x'; allowed: model.text, model.block"):
        recipe.read("configs/ar.py:debug", ["--config.train.relearn=x"])


def test_corpora_that_hold_something_else_are_a_line() -> None:
    then = b'{"batch": 4, "content": "a"}'
    for now in (then, b'{"batch": 5, "content": "a"}', b'{"batch": 5}', b"[]"):
        assert data_position.changes(then, now, step=3) == []
    (line,) = data_position.changes(then, b'{"batch": 5, "content": "b"}', step=3)
    assert line.startswith("changed since step 3: the pictures or captions of the corpora")
    assert data_position.changes(b"", then, step=0) == []  # begins


def test_places_of_older_versions_get_the_size_of_their_batches() -> None:
    settings = {"train": {"global_batch_size": 8}}
    assert json.loads(data_position.with_size(b'{"batch": 4}', settings)) == {"batch": 4, "size": 8}
    for place in (b"", b'{"batch": 4, "examples": [32]}', b'{"next": 3}'):
        assert data_position.with_size(place, settings) == place
    for odd in ({}, {"train": 3}, {"train": {"global_batch_size": "8"}}):
        assert data_position.with_size(b'{"batch": 4}', odd) == b'{"batch": 4}'
