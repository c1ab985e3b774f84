# SPDX-License-Identifier: Apache-2.0
import json
import pathlib

import jax
import pytest

from omnigen import recipe
from omnigen.bench import __main__ as bench
from omnigen.bench import measure
from omnigen.models.omni import Omni

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("subject", ["train", "data", "checkpoint"])
def test_figures_fit_together(subject, one_device, tmp_path, capsys) -> None:
    output = tmp_path / "figures.json"
    config = f"{ROOT}/configs/tokenizer.py:debug"
    bench.main([subject, "--config", config, "--repeats", "2", "--json", str(output)])
    figures = json.loads(output.read_text())
    assert figures.pop("subject") == subject
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    for name in printed:
        assert float(printed[name]) == pytest.approx(figures[name], rel=1e-3), name
    if subject == "train":
        assert figures["images_per_s"] == pytest.approx(16e3 / figures["step_ms"])
        assert figures["tokens_per_s"] == pytest.approx(4 * figures["images_per_s"])
        share = figures["tflops_per_s_per_device"] / figures["measured_peak_tflops_per_s"]
        assert figures["percent_of_measured_peak"] == pytest.approx(100 * share)
    elif subject == "data":
        assert figures["images_per_s"] == pytest.approx(16e3 / figures["batch_ms"])
    else:
        assert figures["save_MB_per_s"] * figures["save_s"] == pytest.approx(
            1e3 * figures["state_GB"]
        )
        assert figures["blocking_s"] <= figures["save_s"]
        ratio = figures["blocking_s"] / figures["copy_to_host_s"]
        assert figures["blocking_times_the_copy"] == pytest.approx(ratio)


def test_drawing(untrained, one_device, tmp_path, capsys) -> None:
    output, trace = tmp_path / "figures.json", tmp_path / "trace"
    arguments = ["--checkpoint", str(untrained), "--batch_size", "2", "--repeats", "1"]
    bench.main(["sample", *arguments, "--json", str(output), "--profile", str(trace)])
    lines = capsys.readouterr().out.splitlines()
    table = [line.split() for line in lines if " ms " in line and "% " in line]
    assert len(table) == 10
    assert sum(float(row[2].rstrip("%")) for row in table) == pytest.approx(100, abs=1)
    assert list(trace.rglob("*.xplane.pb"))
    figures = json.loads(output.read_text())
    assert figures["pictures_per_s"] == pytest.approx(2 / figures["batch_s"])
    ratio = figures["batch_s"] / figures["weights_floor_s"]
    assert figures["times_the_floor"] == pytest.approx(ratio)


def test_drawing_with_random_weights_of_a_recipe(one_device, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(measure, "ceilings", lambda: measure.Ceilings(tflops=1.0, bandwidth=2.0))
    output = tmp_path / "figures.json"
    sizes = ["--config.model.ar.num_layers=1", "--config.model.head.num_steps=3"]
    config = f"{ROOT}/configs/ar.py:debug"
    bench.main(["sample", "--config", config, "--repeats", "1", "--json", str(output), *sizes])
    figures = json.loads(output.read_text())
    omni = Omni(recipe.read(config, sizes).model)
    ar, head = (4 * count(omni.nets[part].shapes()) for part in ("ar", "head"))
    assert figures["measured_bandwidth_GB_per_s"] == 2.0
    read = figures["weights_floor_s"] * 2e9
    assert read == pytest.approx(omni.config.grid[0] ** 2 * (ar + 3 * head))


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "nothing cannot be measured: train, sample, data, checkpoint, grow"),
        (["tain"], "tain cannot be measured: train, sample, data, checkpoint, grow"),
        (["train"], "train needs --config"),
        (["sample", "--json", "/no/such/folder/x.json"], "its folder is missing"),
        (["sample", "--repeats", "0"], "--repeats=0"),
        (["sample", "--config", "x", "--checkpoint", "y"], "sample takes one of them"),
        (["data", "--profile", "x", "--config", "x"], "--profile is of train and sample"),
        (["data", "--batch_size=3", "--config", "x"], "--batch_size is of sample, not of data"),
        (["sample", "--profile", __file__], "is a file; a trace is a folder"),
        (["sample", "--json", "."], "--json .: is a folder"),
        (["grow", "--markdown", ".", "--config", "x"], "--markdown .: is a folder"),
        (["sample", "--config.nope=1"], "--config.nope=1: changes a recipe; give its --config"),
    ],
)
def test_bad_input(argv, message, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main(argv)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
