# SPDX-License-Identifier: Apache-2.0
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnigen import export
from omnigen.checkpoints import manager
from omnigen.checkpoints.model import Blend
from omnigen.generation import pretrained


def _bytes(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_model_is_written_and_means_the_same(tmp_path: pathlib.Path, capsys) -> None:
    theirs = manager.load_model(pretrained.NANO)
    for dtype in ("bfloat16", "float32"):
        output = tmp_path / dtype
        arguments = ["--checkpoint", str(pretrained.NANO), "--output", str(output)]
        export.main([*arguments, "--dtype", dtype])
        ours = manager.load_model(output)
        assert ours.version in capsys.readouterr().out
        for one, other in zip(*map(jax.tree.leaves, (ours.params, theirs.params)), strict=True):
            np.testing.assert_array_equal(one, other.astype(jnp.dtype(dtype)).astype(np.float32))
    assert ours.version == theirs.version
    sizes = [_bytes(tmp_path / dtype) for dtype in ("bfloat16", "float32")]
    assert 0.9 * sizes[1] > sizes[0]


def test_eight_bits_take_little_more_than_half(tmp_path: pathlib.Path, capsys) -> None:
    output, source = tmp_path / "int8", tmp_path / "source"
    manager.export_model(pretrained.NANO, source)
    export.main(["--checkpoint", str(source), "--output", str(output), "--dtype", "int8"])
    ours, theirs = manager.load_model(output), manager.load_model(source)
    assert ours.version in capsys.readouterr().out and ours.version != theirs.version
    assert _bytes(output) < 0.62 * _bytes(source)

    def off(one, other):
        assert one.dtype == other.dtype and one.shape == other.shape
        return float(np.abs(one - other).max() / (np.abs(other).max() or 1))

    worst = max(jax.tree.leaves(jax.tree.map(off, ours.params, theirs.params)))
    assert 0 < worst < 1 / 200
    again = manager.export_model(output, tmp_path / "again", dtype="int8")  # rounded as it is
    assert again.version == ours.version
    loaded = pretrained.load(output, needed=("ar", "head"))
    assert loaded.version == ours.version


def test_a_blend_is_the_average_of_two_models(
    untrained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    first = manager.load_model(untrained)
    saver = manager.Checkpoints(tmp_path / "twice", keep=1)
    twice = jax.tree.map(lambda leaf: 2 * leaf, first.params)
    saver.save(1, manager.Snapshot({"ema": twice}, {}, b""), {"model": first.config["model"]})
    saver.close()
    argv = ["--checkpoint", str(untrained), "--blend", str(tmp_path / "twice"), "--share", "0.25"]
    export.main([*argv, "--output", str(tmp_path / "blend"), "--dtype", "float32"])
    blended = manager.load_model(tmp_path / "blend").params
    for part, weights in first.params.items():
        scale = 1.25 if part in ("ar", "head") else 1.0
        for one, found in zip(*map(jax.tree.leaves, (weights, blended[part])), strict=True):
            np.testing.assert_allclose(found, scale * one, rtol=1e-6)


def test_models_of_other_shapes_do_not_blend() -> None:
    blend = Blend("models/other", 0.5)
    one = {"ar": {"w": np.zeros((2, 3))}, "head": {}}
    with pytest.raises(ValueError, match="models/other: 'ar' has not the arrays"):
        blend(one, {"ar": {"w": np.zeros((3, 2))}, "head": {}})
    with pytest.raises(ValueError, match=r"share is 1.5; allowed: 0 ... 1"):
        Blend("models/other", 1.5)


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
