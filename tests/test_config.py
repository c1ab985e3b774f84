# SPDX-License-Identifier: Apache-2.0
import dataclasses
import enum
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from omnigen import config
from omnigen import recipe as recipe_module


class Order(enum.StrEnum):
    RASTER = "raster"
    RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Inner:
    num_heads: int
    rate: float = 0.5
    order: Order = Order.RASTER

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError(f"num_heads is {self.num_heads}; it must be at least 1")


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    name: str = "x"
    flag: bool = False
    limit: int | None = None
    kind: Literal["a", "b"] = "a"
    shape: tuple[int, int] = (1, 2)
    names: tuple[str, ...] = ()
    mixture: Mapping[str, float] = dataclasses.field(default_factory=dict)
    anything: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def test_builds_every_kind_of_field() -> None:
    built = config.build(
        Outer,
        {
            "inner": {"num_heads": 3, "rate": 1, "order": "random"},
            "limit": 7,
            "kind": "b",
            "shape": [3, 4],
            "names": ["p", "q"],
            "mixture": {"shapes": 1, "words": 0.5},
            "anything": {"k": [None]},
        },
    )
    assert built == Outer(
        inner=Inner(num_heads=3, rate=1.0, order=Order.RANDOM),
        limit=7,
        kind="b",
        shape=(3, 4),
        names=("p", "q"),
        mixture={"shapes": 1.0, "words": 0.5},
        anything={"k": [None]},
    )
    assert type(built.inner.rate) is float
    assert type(built.mixture["shapes"]) is float


def test_json_round_trip() -> None:
    outer = Outer(
        inner=Inner(num_heads=2, order=Order.RANDOM), limit=3, names=("a",), mixture={"s": 0.25}
    )
    assert config.build(Outer, json.loads(config.to_json(outer))) == outer
    assert config.to_dict(outer)["inner"] == {"num_heads": 2, "rate": 0.5, "order": "random"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nam": "y"}, "unknown config key nam; did you mean name?"),
        ({"inner": {"num_head": 2}}, "unknown config key inner.num_head; did you mean"),
        ({"inner": {}}, "config key inner.num_heads is missing"),
        ({"inner": {"num_heads": 2.0}}, "config key inner.num_heads is 2.0; it must be int"),
        ({"inner": {"num_heads": True}}, "config key inner.num_heads is True; it must be int"),
        ({"inner": {"num_heads": None}}, "config key inner.num_heads is None; it must be int"),
        ({"inner": {"num_heads": 1, "rate": "1"}}, "inner.rate is '1'; it must be float"),
        ({"inner": {"num_heads": 1, "order": "rastr"}}, "allowed: 'raster', 'random'"),
        ({"inner": {"num_heads": 0}}, "inner: num_heads is 0; it must be at least 1"),
        ({"inner": 3}, "config key inner must be a group of keys, not 3"),
        ({"flag": 1}, "config key flag is 1; it must be bool"),
        ({"limit": "many"}, "config key limit is 'many'; it must be int"),
        ({"kind": "c"}, "config key kind is 'c'; allowed: 'a', 'b'"),
        ({"shape": [1, 2, 3]}, "config key shape is [1, 2, 3]; it must have 2 items"),
        ({"shape": [1, "2"]}, "config key shape[1] is '2'; it must be int"),
        ({"mixture": {"words": "x"}}, "config key mixture.words is 'x'; it must be float"),
        ({"mixture": 3}, "config key mixture is 3; it must be Mapping[str, float]"),
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        config.build(Outer, {"inner": {"num_heads": 1}, **change})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def recipe(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "recipe.py"
    path.write_text(
        "import ml_collections\n"
        "def get_config(arg='small'):\n"
        "    return ml_collections.ConfigDict(\n"
        "        dict(arg=arg, train=dict(steps=3, rate=0.1, shape=(1, 2), on=False)))\n"
    )
    return path


def test_load_config(recipe: pathlib.Path) -> None:
    train = {"steps": 3, "rate": 0.1, "shape": (1, 2), "on": False}
    assert config.load_config(str(recipe)) == {"arg": "small", "train": train}
    assert config.load_config(f"{recipe}:big,debug") == {"arg": "big,debug", "train": train}


VALUES = {"arg": "x", "train": {"steps": 3, "rate": 0.1, "shape": (1, 2), "on": False}}


def test_override() -> None:
    changed = config.override(
        VALUES,
        [
            "--config.train.steps=5",
            "--config.train.on=True",
            "--config.train.shape=(3,4)",
            "--config.train.rate=None",
            "--config.train.steps=7",
            "--config.arg=7",
        ],
    )
    assert config.override(VALUES, ["--config.train={'a/b': 1}"])["train"] == {"a/b": 1}
    train = {"steps": 7, "rate": None, "shape": (3, 4), "on": True}
    assert changed == {"arg": "7", "train": train}
    assert VALUES["train"]["steps"] == 3


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.train.step=5", "unknown config key train.step; did you mean train.steps?"),
        ("--config.trian.steps=5", "unknown config key trian; did you mean train?"),
        ("--config.arg.x=5", "unknown config key arg.x: arg holds no keys"),
        ("--config.train=5", "config key train is a group of ['on', 'rate', 'shape', 'steps']"),
        ("--config.train.steps", "write --config.train.steps=VALUE"),
    ],
)
def test_override_refuses(argument: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        config.override(VALUES, [argument])
    assert message in str(caught.value)


def test_load_config_refuses_files(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        config.load_config(str(tmp_path / "absent.py"))
    empty = tmp_path / "empty.py"
    empty.write_text("")
    with pytest.raises(ValueError, match="has no get_config"):
        config.load_config(str(empty))
    text = tmp_path / "recipe.json"
    text.write_text("{}")
    with pytest.raises(ValueError, match="not a Python file"):
        config.load_config(str(text))


def test_home_folders_in_a_recipes_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/homes/ada")
    location = f"{pathlib.Path(__file__).parents[1] / 'configs' / 'ar.py'}:debug"
    overrides = [
        "--config.train.frozen_from=~/runs/tokenizer",
        "--config.train.init_from=~/runs/ar",
        "--config.model.text=~/tokenizer.json",
        "--config.data.mixture={'~/corpora/pets': 3.0, 'shapes': 1.0, '/tars/~/a': 1.0}",
    ]
    found = recipe_module.read(location, overrides)
    assert found.train.frozen_from == "/homes/ada/runs/tokenizer"
    assert found.train.init_from == "/homes/ada/runs/ar"
    assert found.model.text == "/homes/ada/tokenizer.json"
    assert found.data.mixture == {"/homes/ada/corpora/pets": 3, "shapes": 1, "/tars/~/a": 1}
    with pytest.raises(ValueError, match="~nobody-at-all/x: there is no home"):
        recipe_module.read(location, ["--config.train.init_from=~nobody-at-all/x"])


def test_keys_of_older_recipes_and_commands() -> None:
    old = {"stage": "ar", "model": {"image_size": 8, "tokenizer": {"merge": 1}}, "train": 3}
    assert config.current(old) == {
        "stage": "ar",
        "model": {"image_size": 8, "encoder": {"merge": 1}},
        "train": 3,
    }
    both = {"train": {"tokenizer": "a", "frozen_from": "b"}}
    assert config.current(both) == both
    assert config.current_key("model.tokenizer.local") == "model.encoder.local"
    assert config.current_key("model.tokenizers") == "model.tokenizers"
    location = f"{pathlib.Path(__file__).parents[1] / 'configs' / 'ar.py'}:debug"
    arguments = ["model.tokenizer.noise_max=0.25", "train.tokenizer=runs/a"]
    arguments += ["train.relearn=model.tokenizer.local, model.text"]
    found = recipe_module.read(location, [f"--config.{argument}" for argument in arguments])
    assert found.model.encoder.noise_max == 0.25 and found.train.frozen_from == "runs/a"
    assert found.train.relearnt == ("model.encoder.local", "model.text")
