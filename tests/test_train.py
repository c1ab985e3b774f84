# SPDX-License-Identifier: Apache-2.0
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

import sizes
from omnigen import config, recipe, sample, train
from omnigen.checkpoints import manager
from omnigen.data.stream.mixing import BadCorpusError
from omnigen.models.omni import Omni
from omnigen.training import loop
from omnigen.training.changes import Changes

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
STAGES = ("tokenizer", "ar", "decoder", "distillation")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("size", sizes.SIZES)
def test_every_recipe_builds(stage: str, size: str) -> None:
    full = recipe.read(f"{CONFIGS / stage}.py:{size}")
    assert full.stage == stage
    assert full.model.ar.num_layers == {"nano": 12, "base": 20, "3b": 28, "14b": 40}[size]
    assert full.model.ar.dtype == "bfloat16"
    assert recipe.from_dict(json.loads(config.to_json(full))) == full

    small = recipe.read(f"{CONFIGS / stage}.py:{size},debug")
    assert small.model.image_size == 32
    assert small.model.ar.dtype == "float32"
    assert small.train.steps <= 20

    old = json.loads(config.to_json(full))
    del old["evals"]
    assert recipe.from_dict(old) == full  # what older recipes mean is what recipes list


def test_what_judges_a_run_is_listed() -> None:
    path = f"{CONFIGS / 'ar'}.py:debug"
    assert recipe.read(path).evals == ("held_out", "exact/12")
    assert recipe.read(path, ["--config.evals=[]"]).evals == ()
    found = recipe.read(path, ["--config.evals=['lpips', 'exact']"])
    assert found.evals == ("lpips", "exact")
    stored = recipe.settings(found)
    del stored["evals"]
    (line,) = Changes(stored, recipe.settings(found), recipe.schema(found)).lines(step=3)
    told = "evals was ['held_out', 'exact/12'], is ['lpips', 'exact']"
    assert line == f"changed since step 3: {told}"


def test_debug_alone_is_nano() -> None:
    path = f"{CONFIGS / 'ar'}.py"
    assert recipe.read(f"{path}:debug") == recipe.read(f"{path}:nano,debug")
    assert recipe.read(path) == recipe.read(f"{path}:nano")


@pytest.mark.parametrize(
    ("size", "part", "millions"),
    [
        # Qwen3's published sizes without embeddings: 1.4 B and 13.2 B.
        ("3b", "ar", 1409),
        ("14b", "ar", 13_212),
    ],
)
def test_sizes_are_what_they_claim(size: str, part: str, millions: int) -> None:
    model = recipe.read(f"{CONFIGS / 'ar'}.py:{size}").model
    count = Omni(model).nets[part].count()
    assert abs(count / 1e6 - millions) < 0.01 * millions


def test_overrides_reach_keys_that_a_recipe_leaves_out() -> None:
    changed = recipe.read(
        f"{CONFIGS / 'ar'}.py:debug",
        ["--config.optimizer.beta2=0.9", "--config.objective.draws=2", "--config.seed=7"],
    )
    assert (changed.optimizer.beta2, changed.objective.draws, changed.seed) == (0.9, 2, 7)


AR = ["--config", f"{CONFIGS / 'ar'}.py:debug", "--workdir", "run"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (AR[:2], "--config and --workdir are required"),
        (AR[2:], "--config and --workdir are required"),
        ([*AR, "--config.train.steps", "3"], "write --config.train.steps=VALUE"),
        ([*AR, "--wrkdir=x"], "unknown flag --wrkdir; did you mean --workdir?"),
        ([*AR, "--config.train.step=1"], "unknown config key train.step; did you mean"),
        ([*AR, "--config.model.ar.num_head=1"], "did you mean model.ar.num_heads?"),
        ([*AR, "--config.train.steps=many"], "config key train.steps is 'many'; it must be int"),
        ([*AR, "--config.train.steps=None"], "config key train.steps is None; it must be int"),
        ([*AR, "--config.data.order=up"], "config key data.order is 'up'; allowed: 'raster'"),
        ([*AR, "--config.stage=vae"], "stage 'vae' is unknown"),
        ([*AR, "--config.evals=['exat']"], "evals exat: did you mean exact? allowed: held_out, "),
        ([*AR, "--config.evals=['samples']"], "evals samples: did you mean"),
        ([*AR, "--config.evals=exact"], "config key evals is 'exact'; it must be tuple[str, ...]"),
        ([*AR, "--config.evals=['exact', 'exact/2']"], "evals names exact twice"),
        ([*AR, "--config.evals=['exact/0']"], "evals exact/0: allowed: exact/N, which asks every"),
        (
            [*AR, "--config.evals=['lpips/2']"],
            "evals lpips/2: lpips has no prompts; allowed: exact/N, text/N",
        ),
        (
            ["--config", f"{CONFIGS / 'tokenizer'}.py:debug", "--workdir", "run"]
            + ["--config.evals=['exact']"],
            "evals exact needs ar, head; stage tokenizer has decoder, encoder",
        ),
        ([*AR, "--config.mesh.tensor=3"], "mesh.tensor=3 does not divide it"),
        ([*AR, "--config.model.ar.num_heads=3"], "num_heads"),
        ([*AR, "--config.model.image_size=40"], "image_size 40 is not a multiple of the token"),
        ([*AR, "--config.train.global_batch_size=12"], "it must be a multiple of 8"),
        ([*AR, "--config.train.microbatches=3"], "is not a multiple of train.microbatches=3"),
        ([*AR, "--config.mesh.fsdp=16"], "mesh"),
        ([*AR, "--config.model.ar.num_kv_heads=0"], "ar num_kv_heads is 0; it must be at least 1"),
        ([*AR, "--config.model.encoder.merge=0"], "encoder merge is 0; it must be at least 1"),
        ([*AR, "--config.model.decoder.num_steps=0"], "decoder num_steps is 0; it must be"),
        ([*AR, "--config.model.head.embed_dim=-4"], "head embed_dim is -4; it must be at least 1"),
        ([*AR, "--config.model.ar.dtype=int32"], "ar dtype is 'int32'; choose from: float32"),
        ([*AR, "--config.model.decoder.num_heads=32"], "is not a multiple of twice num_heads, 64"),
        ([*AR, "--config.objective.time_std=0"], "std must be positive"),
        ([*AR, "--config.seed=4294967296"], "seed is 4294967296; it must be in [0, 2**32)"),
        ([*AR, "--config.seed=-1"], "seed is -1"),
        ([*AR, "--config.optimizer.rules=[{'pattern':'('}]"], "'(' is no regular expression"),
        ([*AR, "--config.mesh.data=2"], "does not fit 8 devices"),
        (AR, "set config.train.frozen_from to a checkpoint"),
        ([*AR, "--config.train.frozen_from=absent"], "absent: no such checkpoint folder"),
        (["--config", f"{CONFIGS / 'ar'}.py:huge", "--workdir", "run"], "'huge': write one of"),
        (["--config", "absent.py", "--workdir", "run"], "config 'absent.py': no such file"),
        ([*AR[:2], "--workdir", "file"], "--workdir file: file is not a folder"),
        ([*AR[:2], "--workdir", "gs://bucket/run"], "gs://bucket/run: must be a folder"),
        ([*AR[:2], "--workdir", "file/run"], "file is not a folder"),
    ],
)
def test_bad_input(
    argv: list[str], message: str, tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as caught:
        train.main(argv)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("omnigen.train: ") and error.count("\n") == 1
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _train(stage: str, workdir: pathlib.Path, *overrides: str) -> None:
    train.main(["--config", f"{CONFIGS / stage}.py:debug", "--workdir", str(workdir), *overrides])


FEW = ("--config.train.steps=2", "--config.train.log_every=1", "--config.train.sample_every=2")


@pytest.fixture(scope="module")
def runs(one_device: None, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a short run of every stage, each on what came before."""
    folder = tmp_path_factory.mktemp("runs")
    _train("tokenizer", folder / "tokenizer", *FEW)
    _train("ar", folder / "ar", *FEW, f"--config.train.frozen_from={folder / 'tokenizer'}")
    given = [f"--config.train.{key}={folder / 'ar'}" for key in ("frozen_from", "init_from")]
    _train("decoder", folder / "decoder", *FEW, *given)
    _train("distillation", folder / "distillation", *FEW, *given)
    return folder


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("tokenizer", {"velocity_mse", "pixel_mse"}),
        ("ar", {"flow_mse", "text_nats"}),
        ("decoder", {"velocity_mse", "pixel_mse"}),
        ("distillation", {"average_mse", "text_nats"}),
    ],
)
def test_a_workdir_holds_what_it_should(runs: pathlib.Path, stage: str, parts: set[str]) -> None:
    lines = [json.loads(t) for t in (runs / stage / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(np.isfinite(line[part]) for line in lines for part in parts)
    stored = json.loads((runs / stage / "config.json").read_text())
    expected = recipe.read(f"{CONFIGS / stage}.py:debug", FEW)
    assert stored["model"] == config.to_dict(expected.model)
    assert stored["train"]["steps"] == 2
    assert "step 2 of 2" not in (runs / stage / "log.txt").read_text()
    with Image.open(next((runs / stage / "samples").glob("*.png"))) as grid:
        assert np.ptp(np.asarray(grid)) > 0


def test_stages_train_their_parts_and_keep_the_others(runs: pathlib.Path) -> None:
    tokenizer, ar, decoder, fast = (manager.load_model(runs / stage).params for stage in STAGES)
    assert tokenizer.keys() == {"encoder", "decoder"}
    assert ar.keys() == {"encoder", "decoder", "ar", "head"}
    assert decoder.keys() == {"encoder", "decoder"}
    np.testing.assert_equal(ar["encoder"], tokenizer["encoder"])
    np.testing.assert_equal(ar["decoder"], tokenizer["decoder"])
    np.testing.assert_equal(decoder["encoder"], tokenizer["encoder"])
    before, after = (jax.tree.leaves(run["decoder"]) for run in (tokenizer, decoder))
    assert any((a != b).any() for a, b in zip(after, before, strict=True))
    assert fast.keys() == ar.keys()
    assert fast["head"].keys() - ar["head"].keys() == {"span_in", "guidance_in"}
    assert any(np.any(leaf) for leaf in jax.tree.leaves(fast["head"]["span_in"]))


def test_the_same_command_goes_on(runs: pathlib.Path) -> None:
    written = (runs / "tokenizer" / "config.json").read_text()
    _train("tokenizer", runs / "tokenizer", *FEW, "--config.seed=7")
    assert "step 2 of 2 is done" in (runs / "tokenizer" / "log.txt").read_text()
    assert (runs / "tokenizer" / "config.json").read_text() == written


def test_a_workdir_of_another_stage_is_refused(runs: pathlib.Path, capsys) -> None:
    with pytest.raises(SystemExit):
        _train("ar", runs / "tokenizer", f"--config.train.frozen_from={runs / 'tokenizer'}")
    assert "of another model: frozen/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.data.mixture={'corpora/nope': 1}", "'corpora/nope' is no prepared corpus"),
        ("--config.train.init_from=nope", "nope: no such checkpoint folder"),
        ("--replay=2", "run: no checkpoints to replay"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    argument: str, message: str, one_device: None, tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        _train("tokenizer", pathlib.Path("run"), argument)
    error = capsys.readouterr().err.splitlines()[-1]
    assert caught.value.code == 2 and message in error
    assert not list(tmp_path.iterdir())


def test_only_bad_input_is_told_in_one_line(tmp_path: pathlib.Path, monkeypatch, capsys) -> None:
    """Launchers do not restart what ended with 2, and failed writes are ValueErrors, too."""
    kinds = {"bad input": ValueError, "full disk": ValueError, "bad corpus": BadCorpusError}

    def run(stage, config, *, started, **_):
        if what != "bad input":
            started()
        raise kinds[what](what)

    monkeypatch.setattr(loop, "run", run)
    for what in kinds:
        expected = ValueError if what == "full disk" else SystemExit
        with pytest.raises(expected) as caught:
            _train("tokenizer", tmp_path / "run")
        assert getattr(caught.value, "code", 2) == 2
        assert (what in capsys.readouterr().err) == (expected is SystemExit)


def test_teachers_of_another_kind_are_refused(runs: pathlib.Path, capsys) -> None:
    for folder, change, message in (
        ("ar", "--config.model.block=2", "model.block is 2; the transformer of"),
        ("distillation", "", "is distilled already; it can be no teacher"),
    ):
        with pytest.raises(SystemExit):
            given = f"--config.train.frozen_from={runs / folder}"
            _train("distillation", runs / "other", given, *([change] if change else []))
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mlp_dim=32", "does not fit this model"),
        ("local={other}", "model.encoder.local is {other}; the encoder of"),
    ],
)
def test_another_tokenizer_is_refused(
    runs: pathlib.Path, change: str, message: str, capsys
) -> None:
    other = not recipe.read("configs/ar.py:debug").model.encoder.local
    given = f"--config.train.frozen_from={runs / 'tokenizer'}"
    with pytest.raises(SystemExit):
        change = change.format(other=other)
        _train("ar", runs / "other", given, f"--config.model.encoder.{change}")
    error = capsys.readouterr().err
    assert message.format(other=other) in error and error.count("\n") == 1
    assert not (runs / "other").exists()


@pytest.mark.parametrize("stage", ["ar", "distillation"])
def test_a_workdir_is_enough_to_sample(
    runs: pathlib.Path, tmp_path: pathlib.Path, stage: str
) -> None:
    output, workdir = tmp_path / "star.png", runs / stage
    sample.main(["--checkpoint", str(workdir), "--prompt", "a star", "--output", str(output)])
    with Image.open(output) as image:
        assert image.size == (32, 32) and image.mode == "RGB"


def test_a_tokenizer_cannot_draw(runs: pathlib.Path, tmp_path: pathlib.Path, capsys) -> None:
    workdir, output = runs / "tokenizer", tmp_path / "star.png"
    with pytest.raises(SystemExit):
        sample.main(["--checkpoint", str(workdir), "--prompt", "x", "--output", str(output)])
    assert "has no weights of ar, head" in capsys.readouterr().err
