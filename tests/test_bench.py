# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import time

import pytest

from omnigen import bench

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_the_median_leaves_the_warm_up_and_one_slow_run_out() -> None:
    pauses = iter([0.3, 0.01, 0.3, 0.02])  # the first is the warm-up
    seconds = bench.median_seconds(lambda: time.sleep(next(pauses)), repeats=3)
    assert 0.02 <= seconds < 0.2


def test_ceilings_are_those_of_a_computer() -> None:
    top = bench.ceilings(repeats=1)
    assert 1e-3 < top.tflops < 1e4 and 0.1 < top.bandwidth < 1e5


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


def test_drawing(untrained, one_device, tmp_path) -> None:
    output = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(untrained), "--batch_size", "2", "--repeats", "1"]
    bench.main(["sample", *arguments, "--json", str(output)])
    figures = json.loads(output.read_text())
    assert figures["pictures_per_s"] == pytest.approx(2 / figures["batch_s"])
    ratio = figures["batch_s"] / figures["weights_floor_s"]
    assert figures["times_the_floor"] == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "nothing cannot be measured: train, sample, data, checkpoint"),
        (["tain"], "tain cannot be measured: train, sample, data, checkpoint"),
        (["train"], "train needs --config"),
        (["sample", "--json", "/no/such/folder/x.json"], "its folder is missing"),
        (["sample", "--repeats", "0"], "--repeats=0"),
    ],
)
def test_bad_input(argv, message, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main(argv)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
