# SPDX-License-Identifier: Apache-2.0
import pathlib

import numpy as np
import pytest

from omnigen import export
from omnigen.checkpoints import manager
from omnigen.generation import pretrained


def test_a_model_is_written_and_means_the_same(tmp_path: pathlib.Path, capsys) -> None:
    for dtype in export.DTYPES:
        output = tmp_path / dtype
        arguments = ["--checkpoint", str(pretrained.NANO), "--output", str(output)]
        export.main([*arguments, "--dtype", dtype])
        ours, theirs = manager.load_model(output), manager.load_model(pretrained.NANO)
        assert ours.version == theirs.version and ours.version in capsys.readouterr().out
        np.testing.assert_equal(ours.params, theirs.params)
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / dtype).rglob("*") if path.is_file())
        for dtype in export.DTYPES
    ]
    assert 0.9 * sizes[1] > sizes[0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--checkpoint and --output are required"),
        (["--checkpoint", "absent", "--output", "x"], "absent: no such checkpoint folder"),
        (["--checkpoint", str(pretrained.NANO), "--output", "."], "already exists"),
        (["--checkpoint", str(pretrained.NANO), "--output", "file/x"], "Not a directory"),
    ],
)
def test_bad_input(argv, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    pathlib.Path("file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        export.main(argv)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
