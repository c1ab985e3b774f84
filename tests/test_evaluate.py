# SPDX-License-Identifier: Apache-2.0
import functools
import json
import pathlib

import numpy as np
import pytest

from omnigen import evaluate, pretrained
from omnigen.data.scenes.scene import Kind
from omnigen.evals import exact, prompted


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
    monkeypatch.setattr(exact, "verdict_of_both", lambda metadata, image: blind(metadata))
    argv = ["--suites=exact", "--every=100", "--count=1"]
    there = [*argv, "--checkpoint", str(untrained), "--output", str(tmp_path / "there")]
    evaluate.main([*there, "--nojudge", "--seed=7"])
    (folder,) = (tmp_path / "there/pictures").iterdir()
    assert {path.name for path in folder.iterdir()} == {"exact", "exact-ceiling"}
    assert not (tmp_path / "there/results.json").exists()
    evaluate.main([*argv, "--images", str(folder), "--output", str(tmp_path / "home")])
    (column,) = json.loads((tmp_path / "home/results.json").read_text())["columns"]
    suite = column["suites"]["exact"]
    weights = prompted.digest(pretrained.load(untrained, needed=()).params)
    assert (column["name"], column["digest"]) == (folder.name, weights)
    assert (suite["seeds"], suite["settings"]["first_seed"]) == ([7], 7)
    assert suite["expected"] == len(suite["ceiling_pictures"]) == 19
    assert suite["unreadable"] == 0 and not suite["problems"]


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
            "--images .: judged by --suites exact,text; with --reference also by fidelity, kid_li",
        ),
        (["--output", "eval", "--reference=."], "--reference .: needs --images"),
        (
            ["--output", "eval", "--suites=kid_lite0", "--images=.", "--reference=absent"],
            ".: 0 pictures; at least 10 are needed",
        ),
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
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_column_has_a_name_of_its_own(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = ["a/run~2", "b/run", "c/run", "d/run~2"]
    for folder in folders:
        pathlib.Path(folder).mkdir(parents=True)
    values = evaluate._flags()
    evaluate.cli.parse(
        values,
        usage="",
        argv=["--suites=exact", *(f"--images={folder}" for folder in [*folders, "a/.."])],
    )
    names = [column.name for column in evaluate._columns(values)]
    assert names == ["run~2", "run", "run~3", "run~2~2", tmp_path.name]


def test_pictures_that_no_suite_judges_are_refused(tmp_path: pathlib.Path, capsys) -> None:
    arguments = ["--checkpoint=x", f"--images={tmp_path}", f"--output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit):
        evaluate.main(arguments)
    assert "judged by --suites exact,text" in capsys.readouterr().err
