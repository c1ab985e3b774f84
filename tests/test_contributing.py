# SPDX-License-Identifier: Apache-2.0
"""What CONTRIBUTING.md says takes ten lines does: its code, word for word, used by toys."""

import importlib
import json
import pathlib
import re
from collections.abc import Callable, Iterator
from types import ModuleType

import jax
import numpy as np
import pytest

from omnigen import evaluate
from omnigen import recipe as recipes
from omnigen.data.stream import examples, pipeline
from omnigen.evals import registry
from omnigen.generation import pretrained
from omnigen.generation.generate import draw
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.generation.state import Dials
from omnigen.models import heads
from omnigen.nn.module import Params
from omnigen.parallel import DataShard
from omnigen.stages import base as stages
from omnigen.text import ByteText

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```", CONTRIBUTING, re.MULTILINE | re.DOTALL))
TABLES: list[dict] = [stages.STAGES, heads.HEADS, registry.SUITES]


@pytest.fixture
def add(tmp_path: pathlib.Path, monkeypatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports the code for a path, which enters a table; the tables forget it afterwards."""
    before = [dict(table) for table in TABLES]
    monkeypatch.setattr(examples, "SOURCES", examples.SOURCES)
    monkeypatch.syspath_prepend(tmp_path)

    def imported(path: str) -> ModuleType:
        name = f"added_{pathlib.Path(path).stem}"
        (tmp_path / f"{name}.py").write_text(CODE[path])
        return importlib.import_module(name)

    yield imported
    for table, old in zip(TABLES, before, strict=True):
        table.clear()
        table.update(old)


def build(frozen: pathlib.Path, *overrides: str) -> stages.Stage:
    """The stage of a recipe for the toy, as the command builds it."""
    overrides = (f"--config.train.frozen_from={frozen}", *overrides)
    return recipes.build(
        recipes.read(f"{ROOT}/configs/ar.py:debug", overrides), recipes.from_checkpoint
    )


def trained(stage: stages.Stage, *, steps: int = 2) -> tuple[list[float], Params, Params]:
    """Descends by plain gradients on one batch of noise: losses, weights before and after."""

    def loss(params: Params, batch: dict) -> jax.Array:
        keys = jax.random.split(jax.random.key(0), 2)
        batch = stage.prepare(params, stage.frozen, batch, keys)
        return stage.loss(params, stage.frozen, batch, keys)[0]

    descend = jax.jit(jax.value_and_grad(loss))
    before = after = jax.jit(stage.init)(jax.random.key(1))
    losses = []
    for _ in range(steps + 1):
        value, gradients = descend(after, stage.noise(2))
        after = jax.tree.map(lambda w, g: w - 0.1 * g, after, gradients)
        losses.append(float(value))
    return losses, before, after


def test_all_four_are_shown() -> None:
    assert [pathlib.Path(path).stem for path in CODE] == ["head", "mean", "greys", "shades"]


@pytest.mark.parametrize("path", CODE)
def test_ten_lines_are_enough(path: str) -> None:
    lines = [line for line in CODE[path].splitlines() if line.strip()]
    assert len([line for line in lines if not re.match("(from|import) ", line)]) <= 10
    assert (ROOT / path).parent.is_dir() and not (ROOT / path).exists()


def test_a_stage(add, untrained: pathlib.Path) -> None:
    """It learns, and trains the head alone."""
    add("omnigen/stages/head.py")
    losses, before, after = trained(build(untrained, "--config.stage=head"))
    assert losses[-1] < losses[0]
    assert before.keys() == {"head"}
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True))


def test_a_head(add, untrained: pathlib.Path) -> None:
    """It learns, and what it learnt draws: the same tokens whatever the noise, as means are."""
    add("omnigen/models/heads/mean.py")
    plain = ("--config.model.sketch_length=0", "--config.data.sketches=False")
    stage = build(untrained, "--config.model.head.kind=mean", *plain)
    losses, _, params = trained(stage)
    assert losses[-1] < losses[0]
    prompts = prompt_rows(stage.omni, ["a ring", "a ring", "two stars"])
    dials = Dials.of(stage.omni.config, Sampling(), 3)
    z_BNZ, _ = draw(stage.omni, params, prompts, jax.random.split(jax.random.key(2), 3), dials)
    first, again, other = np.asarray(z_BNZ)
    np.testing.assert_allclose(first, again, atol=1e-5)
    assert np.abs(first - other).max() > 1e-3
    np.testing.assert_allclose(np.square(z_BNZ).mean(axis=-1), 1.0, atol=1e-5)  # on the sphere


def test_a_suite(add, untrained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The command asks it, and its score is that of greys that are encoded and decoded here."""
    add("omnigen/evals/suites/greys.py")
    output = tmp_path / "eval"
    evaluate.main(["--checkpoint", str(untrained), "--suites", "greys", "--output", str(output)])
    (column,) = json.loads((output / "results.json").read_text())["columns"]
    model = pretrained.load(untrained, needed=("encoder", "decoder"))
    greys = np.repeat(np.linspace(-1, 1, 16, dtype=np.float32), 32 * 32 * 3).reshape(16, 32, 32, 3)
    z_BNZ = model.omni.encode(model.params["encoder"], greys)
    keys = jax.random.split(jax.random.key(0), 16)
    drawn = np.asarray(model.omni.decode(model.params["decoder"], z_BNZ, keys), np.float64)
    score = column["suites"]["greys"]["scores"]["mean_error"]["value"]
    assert score == pytest.approx(np.abs(drawn - greys).mean(), rel=1e-5)


def test_a_source(add) -> None:
    """Captions say what the pictures show, in batches of pictures, in rows and in previews."""
    add("omnigen/data/stream/shades.py")
    config = pipeline.DataConfig(image_size=32, mixture={"shades": 1.0})
    images = next(iter(pipeline.images_dataset(config, 8, DataShard()))).image
    assert sorted(images.max(axis=(1, 2, 3))) == sorted(images.min(axis=(1, 2, 3))) == [*range(8)]
    row = next(iter(pipeline.sequence_dataset(config, ByteText(), (2, 2), 1, DataShard())))
    text = bytes(int(i) for i in row.sequence.token[0] if i < 256).decode()
    assert text.startswith(f"shade {row.image[0, 0].max()}")
    shown = pipeline.previews(config, count=3)
    assert [each.caption for each in shown] == [f"shade {each.image.max()}" for each in shown]
