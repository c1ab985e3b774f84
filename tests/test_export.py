# SPDX-License-Identifier: Apache-2.0
import pathlib

import jax
import numpy as np
import pytest

from omnigen import export
from omnigen.checkpoints import manager
from omnigen.generation import pretrained


def _bytes(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_model_is_written_and_means_the_same(tmp_path: pathlib.Path, capsys) -> None:
    for dtype in ("bfloat16", "float32"):
        output = tmp_path / dtype
        arguments = ["--checkpoint", str(pretrained.NANO), "--output", str(output)]
        export.main([*arguments, "--dtype", dtype])
        ours, theirs = manager.load_model(output), manager.load_model(pretrained.NANO)
        assert ours.version == theirs.version and ours.version in capsys.readouterr().out
        np.testing.assert_equal(ours.params, theirs.params)
    sizes = [_bytes(tmp_path / dtype) for dtype in ("bfloat16", "float32")]
    assert 0.9 * sizes[1] > sizes[0]


def test_eight_bits_take_little_more_than_half(tmp_path: pathlib.Path, capsys) -> None:
    output = tmp_path / "int8"
    export.main(["--checkpoint", str(pretrained.NANO), "--output", str(output), "--dtype", "int8"])
    ours, theirs = manager.load_model(output), manager.load_model(pretrained.NANO)
    assert ours.version in capsys.readouterr().out and ours.version != theirs.version
    assert _bytes(output) < 0.62 * _bytes(pretrained.NANO)

    def off(one, other):
        assert one.dtype == other.dtype and one.shape == other.shape
        return float(np.abs(one - other).max() / (np.abs(other).max() or 1))

    worst = max(jax.tree.leaves(jax.tree.map(off, ours.params, theirs.params)))
    assert 0 < worst < 1 / 200
    again = manager.export_model(output, tmp_path / "again", dtype="int8")  # rounded as it is
    assert again.version == ours.version
    loaded = pretrained.load(output, needed=("ar", "head"))
    assert loaded.version == ours.version


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
