# SPDX-License-Identifier: Apache-2.0
import functools
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from omnigen import evaluate, files
from omnigen.checkpoints import fingerprint
from omnigen.evals import external
from omnigen.evals.suites import exact
from omnigen.generation import pretrained
from omnigen.scenes.scene import Kind


def test_writes_a_report(untrained: pathlib.Path, tmp_path: pathlib.Path, capsys) -> None:
    output = tmp_path / "new" / "eval"
    evaluate.main(["--checkpoint", str(untrained), "--output", str(output), "--count=2"])
    report = json.loads((output / "results.json").read_text())
    (column,) = report["columns"]
    assert column["checkpoint"] == str(untrained / "checkpoints" / "1")
    assert (column["step"], len(column["model"]), len(column["digest"])) == (1, 12, 64)
    suite = column["suites"]["reconstruction"]
    assert suite["count"] == 2
    kinds = [suite["scores"][f"{kind}/psnr_dB"]["value"] for kind in Kind]
    assert all(0 < value < 60 for value in kinds)
    assert suite["scores"]["psnr_dB"]["value"] == pytest.approx(np.mean(kinds))
    assert f"reconstruction  shapes/psnr_dB  {kinds[0]:.4g}" in capsys.readouterr().out


def test_draws_here_and_judges_there(
    untrained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder says which weights drew it, and with which seed."""
    blind = functools.partial(exact.verdict, image=None)  # looking at noise takes long
    monkeypatch.setattr(exact, "verdict", lambda metadata, image: blind(metadata))
    argv = ["--suites=exact", "--every=100", "--count=1"]
    there = [*argv, "--checkpoint", str(untrained), "--output", str(tmp_path / "there")]
    evaluate.main([*there, "--nojudge", "--seed=7", "--head_steps=3", "--guidance=2"])
    (folder,) = (tmp_path / "there/pictures").iterdir()
    assert {path.name for path in folder.iterdir()} == {"exact", "exact-ceiling"}
    assert not (tmp_path / "there/results.json").exists()
    evaluate.main([*argv, "--images", str(folder), "--output", str(tmp_path / "home")])
    (column,) = json.loads((tmp_path / "home/results.json").read_text())["columns"]
    suite = column["suites"]["exact"]
    weights = fingerprint.shipped(pretrained.load(untrained, needed=()).params)
    assert (column["name"], column["digest"]) == (folder.name, weights)
    settings = suite["settings"]
    assert (suite["seeds"], settings["first_seed"]) == ([7], 7)
    assert (settings["head_steps"], settings["guidance"]) == (3, 2.0)
    assert suite["expected"] == len(suite["ceiling_pictures"]) == 19
    assert suite["unreadable"] == 0 and not suite["problems"]


def test_the_flag_knows_all_layouts() -> None:
    assert evaluate.LAYOUTS == tuple(external.Layout)


def test_draws_for_other_scorers(untrained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    output, prompts = tmp_path / "out", tmp_path / "prompts.txt"
    prompts.write_text("a red circle\na blue square\n")
    argv = ["--checkpoint", str(untrained), "--prompts", str(prompts), "--layout=folder"]
    evaluate.main([*argv, "--output", str(output)])
    files = sorted(output.iterdir())
    assert [path.name for path in files] == ["00000-0.png", "00001-0.png"]
    assert files[0].read_bytes() != files[1].read_bytes()
    written = [path.stat().st_mtime_ns for path in files]
    evaluate.main([*argv, "--output", str(output)])
    assert [path.stat().st_mtime_ns for path in files] == written


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--output is required"),
        (["--output", "file"], "--output file: file is not a writable folder"),
        (["--output", "eval", "--suites=fid"], "--suites fid: did you mean fidelity? allowed: "),
        (["--output", "eval", "--suites="], "--suites is empty; allowed: reconstruction, samples"),
        (["--output", "eval", "--suites=corpus"], "--suites corpus needs --corpus"),
        (["--output", "eval", "--corpus=x"], "--corpus x: is of --suites corpus alone"),
        (
            ["--output", "eval", "--suites=exact,lpips", "--nojudge"],
            "--nojudge draws --suites exact,text,wording, and takes no --images",
        ),
        (["--output", "eval", "--suites=fidelity"], "FID needs --inception_weights: pt_inception"),
        (
            ["--output", "eval", "--suites=fidelity", "--inception_weights=file"],
            "weights file: neither safetensors nor a torch checkpoint",
        ),
        (["--output", "eval", "--count=0"], "flag --count=0"),
        (["--output", "eval", "--suite=x"], "unknown flag --suite; did you mean --suites?"),
        (["--output", "eval", "--checkpoint=absent"], "absent: no such checkpoint folder"),
        (
            ["--output", "eval", "--suites=kid_lite0", "--images=."],
            "--images .: judged by --suites exact,text,wording; with --reference also by fidelity",
        ),
        (["--output", "eval", "--reference=."], "--reference .: needs --images"),
        (["--output", "eval", "--suites=exact", "--head_steps=0"], "head_steps is 0; allowed: 1 "),
        (["--output", "eval", "--head_steps=4"], "--head_steps: says how --suites exact,text"),
        (
            ["--output", "eval", "--suites=exact", "--images=.", "--guidance=1"],
            "--guidance: says how --suites exact,text",
        ),
        (
            ["--output", "eval", "--suites=kid_lite0", "--images=.", "--reference=absent"],
            "--reference absent: no such folder",
        ),
        (["--output", "a" * 300], f"--output {'a' * 300}: File name too long"),
        (["--output", "eval", "--images", "a" * 300, "--suites=text"], "aaa: no such folder"),
        (["--output", "eval", "--checkpoint", "a" * 300], "aaa: "),
        (
            ["--output", "new/eval", "--suites=exact", "--checkpoint=absent"],
            "no such checkpoint fo",
        ),
        (["--output", "eval", "--suites=corpus", "--corpus", "a" * 300], "aaa: "),
        (
            ["--output", "eval", "--suites=exact", "--images=.", "--reference", "a" * 300],
            "aaa: no such folder",
        ),
        (["--output", "eval", "--prompts", "a" * 300, "--layout=folder"], "File name too long"),
        (["--output", "eval", "--suites=fidelity", "--inception_weights", "a" * 300], "aaa: "),
        (["--output", "~nobody-knows/eval"], "there is no home folder to replace ~nobody-knows wi"),
        (["--output", "eval", "--prompts=file"], "needs --prompts and --layout, one of geneval"),
        (["--output", "eval", "--prompts=absent", "--layout=wise"], "prompts absent: cannot be re"),
        (["--output", "eval", "--prompts=file", "--layout=geneval"], "prompts file: no prompts"),
        (
            ["--output", "eval", "--prompts=file", "--layout=wise", "--count=4"],
            "count is 4; the layout wise has room for 1",
        ),
        (
            ["--output", "eval", "--prompts=file", "--layout=folder", "--suites=exact"],
            "--prompts takes no --suites",
        ),
        (
            ["--output", "eval", "--prompts=file", "--layout=folder", "--seed=5", "--every=2"],
            "--prompts takes no --seed, --every",
        ),
    ],
)
def test_evaluate_refuses(
    argv: list[str], message: str, tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as caught:
        evaluate.main(argv)
    assert caught.value.code == 2
    *said, error = capsys.readouterr().err.splitlines()
    assert message in error
    assert "Traceback" not in "".join(said)  # what it was about to do, and after a while how far
    assert len([line for line in said if not line.endswith(" so far")]) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_pictures_that_no_suite_judges_are_refused(tmp_path: pathlib.Path, capsys) -> None:
    arguments = ["--checkpoint=x", f"--images={tmp_path}", f"--output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit):
        evaluate.main(arguments)
    assert "judged by --suites exact,text,wording" in capsys.readouterr().err


def test_paths_may_begin_at_home(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ("checkpoint", "images", "output", "inception_weights", "reference", "corpus")
    values = evaluate._flags()
    evaluate.cli.parse(values, usage="", argv=[f"--{name}=~/x" for name in (*names, "prompts")])
    found = [values[name].value for name in (*names, "prompts")]
    home = str(tmp_path / "x")
    assert found == [[home], [home], home, home, home, home, home]


def test_two_evaluations_do_not_share_a_folder(tmp_path: pathlib.Path, capsys) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "out").mkdir()
    argv = ["--suites=exact", "--images", str(tmp_path / "theirs"), "--every=100", "--count=1"]
    with files.locked(tmp_path / "out", work="an evaluation"), pytest.raises(SystemExit) as caught:
        evaluate.main([*argv, "--output", str(tmp_path / "out")])
    assert caught.value.code == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert "out: an evaluation is at work there already (process " in error
    assert not list((tmp_path / "out").iterdir())


def test_too_few_pictures_is_one_line(tmp_path: pathlib.Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("omnigen.evals.networks.lite0.Lite0", Means)
    monkeypatch.setattr(evaluate, "_check_extras", lambda *_: None)
    for number in range(10):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_text("no picture")
    argv = ["--suites=kid_lite0", "--images", str(tmp_path), "--reference", str(tmp_path)]
    with pytest.raises(SystemExit) as caught:
        evaluate.main([*argv, "--output", str(tmp_path / "out")])
    assert caught.value.code == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error == (
        "omnigen.evaluate: kid_lite0: of the reference, 9 of 10 can be read; at least 10 are "
        f"needed; 1 unreadable, such as {tmp_path / '3.png'}"
    )


class Means:
    def features(self, images: np.ndarray) -> np.ndarray:
        return images.mean((1, 2)) / 255


def test_it_says_at_once_what_it_does(tmp_path: pathlib.Path) -> None:
    """Within 2 s of the start of the process, less what Python itself needs here."""
    (tmp_path / "theirs").mkdir()
    python = time.monotonic()
    subprocess.run([sys.executable, "-c", "import absl.flags"], check=True)
    python = time.monotonic() - python
    argv = ["--suites=exact", f"--images={tmp_path}/theirs", f"--output={tmp_path}/out"]
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "omnigen.evaluate", *argv], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        passed = time.monotonic() - began
        process.kill()
    assert line == "omnigen.evaluate: judging exact of theirs\n"
    assert passed < 1 + 2 * python
