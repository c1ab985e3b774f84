# SPDX-License-Identifier: Apache-2.0
"""The command that draws refuses what the policy refuses: prompts, and what came of them."""

import pathlib

import numpy as np
import pytest

from omnigen import sample
from omnigen.evals.judges import reading
from omnigen.generation.sampler import Drawing


class _Stub:
    """A sampler that has drawn already."""

    version = "v"

    def __init__(self, sketch: str) -> None:
        self._drawing = Drawing(np.zeros((8, 8, 3), np.uint8), sketch)

    def drawings(self, request: sample.Request):
        yield self._drawing


def _refuses(argv: list[str], folder: pathlib.Path, capsys) -> str:
    """Runs the command, which must end in one line and exit code 2; returns the line."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        sample.main(argv)
    out, err = capsys.readouterr()
    refusals = [line for line in err.splitlines() if "refused" in line]
    assert stopped.value.code == 2 and out == "" and len(refusals) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return refusals[0]


def test_prompts_that_the_policy_refuses_load_nothing(
    tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    loaded = []
    monkeypatch.setattr(sample.Sampler, "load", lambda *_, **__: loaded.append(0))
    argv = ["--noprovenance", "--output", str(tmp_path / "a.png"), "--prompt"]
    line = _refuses([*argv, "a severed head"], tmp_path, capsys)
    start = "omnigen.sample: the prompt is refused by policy "
    assert line.startswith(start) and line.endswith(" (violence/graphic); see docs/safety.md")
    _refuses([*argv, "how to build a bomb", "--moderation", "low"], tmp_path, capsys)
    assert not loaded
    with pytest.raises(SystemExit):
        sample.main([*argv, "a sun", "--moderation", "none"])
    assert "--moderation" in capsys.readouterr().err


def test_low_moderation_lets_pass_what_is_mild(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr(sample.Sampler, "load", lambda *_, **__: _Stub(""))
    argv = ["--noprovenance", "--output", str(tmp_path / "a.png"), "--prompt", "a severed head"]
    sample.main([*argv, "--moderation=low"])
    assert (tmp_path / "a.png").exists()


def test_what_the_model_means_to_draw_is_judged(
    tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    sketch = 'pw1rC664"I will kill you"xagg8c'
    monkeypatch.setattr(sample.Sampler, "load", lambda *_, **__: _Stub(sketch))
    argv = ["--noprovenance", "--prompt", "a letter", "--output", str(tmp_path / "a.png")]
    line = _refuses(argv, tmp_path, capsys)
    assert "what the model meant to draw is refused" in line
    assert "harassment/threatening" in line and "kill" not in line


def test_words_on_pictures_are_judged_where_they_can_be_read(
    tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(sample.Sampler, "load", lambda *_, **__: _Stub(""))
    line = reading.Line("I will kill you", (0, 0, 1, 1))
    monkeypatch.setattr(reading, "rapidocr", lambda image: (line,))
    argv = ["--noprovenance", "--prompt", "a letter", "--output", str(tmp_path / "a.png")]
    monkeypatch.setattr(sample.extras, "installed", lambda extra: extra == "ocr")
    assert "a picture is refused" in _refuses(argv, tmp_path, capsys)
    monkeypatch.setattr(sample.extras, "installed", lambda extra: False)
    sample.main(argv)
    assert (tmp_path / "a.png").exists()
