# SPDX-License-Identifier: Apache-2.0
"""Names of strangers at every door: what reaches the terminal cannot steer it, and is short.

And what each door says where `JAX_PLATFORMS` names what is not here.
"""

import importlib
import io
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from omnigen import cli, doctor, export, progress, train
from omnigen.bench import __main__ as bench
from omnigen.bench import measure
from omnigen.data import inspect
from omnigen.data.corpus import records
from omnigen.data.corpus.records import Manifest, Record
from omnigen.data.prepare import __main__ as prepare
from omnigen.generation import pretrained
from omnigen.training import metrics

ROOT = pathlib.Path(__file__).resolve().parents[1]
EVIL = "\x1b[2J\u202e\r\nfake: all is well"
NAME = EVIL + "\x9b"  # of a file: every one of its characters is allowed in a name
LONG = "\x1b]0;" + "y" * 100_000
RECIPE = f"{ROOT}/configs/tokenizer.py:debug"


def picture(number: int) -> bytes:
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((64, 64), 3)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    """Checks what was printed and logged so far, and returns it."""

    def check(*, lines: int | None = None) -> str:
        out, err = capsys.readouterr()
        text = out + err + "".join(f"{message}\n" for message in caplog.messages)
        caplog.clear()
        assert all(letter.isprintable() for letter in text.replace("\n", ""))
        found = text.splitlines()
        assert found and not any(line.startswith("fake") for line in found)
        assert max(map(len, found)) < 1100
        assert lines is None or len(found) == lines
        return text

    return check


def test_what_a_corpus_says(tmp_path: pathlib.Path, said) -> None:
    """`inspect`, and what `prepare` sums up: left out, licences, captions, names."""
    folder = tmp_path / NAME
    folder.mkdir()
    made = [Record(LONG, picture(n), 64, 64, (f"{n} {EVIL}", LONG)) for n in range(3)]
    shard = records.write_shard(folder / "train-00000.arrayrecord", made)
    Manifest({"train": (shard,)}, {EVIL: 2, LONG: 1}, {EVIL: 1, LONG: 2}, {}).write(folder)
    inspect.main([str(folder)])
    text = said()
    assert "\\x1b[2J\\u202e\\r\\nfake: all is well: 2\n" in text and "y: 1\n" in text
    assert f"wrote {tmp_path}" in text and (folder / "contact-train.png").is_file()


def test_what_is_prepared(tmp_path: pathlib.Path, said) -> None:
    source = tmp_path / NAME
    source.mkdir()
    for number in range(4):
        (source / f"{EVIL}{number}.png").write_bytes(picture(number))
        (source / f"{EVIL}{number}.txt").write_text(f"picture {number} {EVIL}")
    (source / f"{EVIL}.heic").write_bytes(b"x")
    prepare.main([f"--input={source}", f"--output={tmp_path / 'out'}", "--workers=0"])
    assert "left out, format not allowed: 1" in said()
    for place in (str(source / "absent"), LONG):
        with pytest.raises(SystemExit) as stopped:
            prepare.main([f"--input={place}", f"--output={tmp_path / 'other'}", "--workers=0"])
        assert stopped.value.code == 2
        said(lines=1)


def test_libraries_and_workers_get_the_same_lines(said) -> None:
    """Whatever handles them: the message itself is made safe, and only once."""
    log, heard = cli.logger("omnigen.test"), list[str]()
    assert cli.logger("omnigen.test") is log and len(log.filters) == 1
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    log.addHandler(handler)
    log.warning("50%% of %s", EVIL)
    log.warning("100 %")
    assert heard == ["50% of \\x1b[2J\\u202e\\r\\nfake: all is well", "100 %"]
    said(lines=2)


def test_what_the_training_log_says(tmp_path: pathlib.Path, said) -> None:
    reporter = metrics.Reporter(tmp_path)
    reporter.text(f"changed: {EVIL}")
    reporter.text(LONG)
    reporter.close()
    said()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[-2].endswith("changed: \\x1b[2J\\u202e\\r\\nfake: all is well")
    assert len(lines[-1]) < 1100


@pytest.mark.parametrize("module", [bench, train])
def test_recipes_that_are_refused(module, tmp_path: pathlib.Path, said, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    subject, more = ([], ["--workdir=w"]) if module is train else (["data"], [])
    pathlib.Path(f"{NAME}.py").write_text(f"def get_config(): raise ValueError({EVIL + LONG!r})")
    for arguments in (
        [f"--config={NAME}.py"],
        [f"--config={LONG}"],
        [f"--config={RECIPE}", f"--config.data.mixture={{{EVIL!r}: 1.0}}"],
        [f"--config={RECIPE}", f"--config.data.{EVIL}=1"],
        [f"--config={RECIPE}", f"--config.train.steps={LONG}"],
    ):
        with pytest.raises(SystemExit) as stopped:
            module.main([*subject, *arguments, *more])
        assert stopped.value.code == 2
        said(lines=1)


@pytest.mark.parametrize("name", ["train", "bench.__main__", "plan.__main__", "doctor"])
def test_help_says_that_a_recipe_is_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(f"omnigen.{name}").main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("The file is run as a program: use only files that you trust.") == 1


def test_figures_and_where_the_trace_is(tmp_path: pathlib.Path, said, monkeypatch) -> None:
    """Written whole, also into a pipe or a link that is there already."""
    figures = {"step_ms": 1.5}, [measure.Row("dot", 1.0, 3, 1.0)]
    monkeypatch.setattr(bench, "_measure", lambda *_: figures)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "target").write_text("old")
    more = [f"--json={tmp_path / 'link'}", f"--profile={tmp_path / NAME}"]
    bench.main(["train", f"--config={RECIPE}", *more])
    assert f"trace in {tmp_path}/\\x1b[2J\\u202e\\r\\nfake: all is well\\x9b; " in said()
    assert json.loads((tmp_path / "target").read_text())["step_ms"] == 1.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_plans_of_a_named_recipe(tmp_path: pathlib.Path, said, monkeypatch) -> None:
    from omnigen.plan import __main__ as plan

    for config, topology in ((NAME, "v5p-8"), (LONG, "v5p-8"), (RECIPE, EVIL), (RECIPE, LONG)):
        with pytest.raises(SystemExit) as stopped:
            plan.main(["--sample", f"--config={config}", f"--topology={topology}"])
        assert stopped.value.code == 2
        said(lines=1)


def test_a_model_is_exported(tmp_path: pathlib.Path, said) -> None:
    shutil.copytree(pretrained.NANO, tmp_path / NAME)
    export.main([f"--checkpoint={tmp_path / NAME}", f"--output={tmp_path / f'{NAME}2'}"])
    assert said(lines=1).startswith(
        f"{tmp_path}/\\x1b[2J\\u202e\\r\\nfake: all is well\\x9b2: model "
    )


def test_what_the_doctor_finds(tmp_path: pathlib.Path, said) -> None:
    (tmp_path / NAME).mkdir()

    def broken():
        raise ValueError(EVIL + LONG)
        yield

    checks = {
        "storage": lambda: doctor.storage(tmp_path / NAME),
        "mesh": lambda: doctor.mesh(LONG, []),
        "broken": broken,
    }
    doctor.examine(checks)
    assert "BAD  broken" in said()


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_being_done(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    progress.say(EVIL)
    progress.say(LONG, is_passing=True)
    text = stream.getvalue().replace("\r\x1b[K", "").replace("\n", "")
    assert all(letter.isprintable() for letter in text) and len(text) < 2500


# Doors that compute: each in its own words, all in one process, since importing takes its time.
COMPUTE = {
    "train": ["--config", RECIPE, "--workdir", "w"],
    "sample": ["--prompt", "a red circle", "--output", "o.png"],
    "evaluate": ["--suites", "exact", "--every", "40", "--output", "ev"],
    "bench.__main__": ["data", "--config", RECIPE],
    "export": ["--checkpoint", str(pretrained.NANO), "--output", "out"],
    "encode": ["--corpus", "corpus"],
    "doctor": [],
}
EACH = """
import contextlib, importlib, io, json, sys
found = {}
for name, arguments in json.loads(sys.argv[1]).items():
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            importlib.import_module(f"omnigen.{name}").main(arguments)
        except SystemExit as stopped:
            code = stopped.code
    found[name] = code, out.getvalue().splitlines(), err.getvalue().splitlines()
print(json.dumps(found))
"""


def test_devices_that_are_not_here_are_one_line_at_every_door(tmp_path: pathlib.Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    shard = records.write_shard(
        corpus / "train-00000.arrayrecord", [Record("a", picture(0), 64, 64, ("a",))]
    )
    Manifest({"train": (shard,)}, {}, {}, {}).write(corpus)
    env = {**os.environ, "JAX_PLATFORMS": "abacus", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", EACH, json.dumps(COMPUTE)]
    ran = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    line = "JAX_PLATFORMS is 'abacus'; allowed on this machine: cpu"
    code, out, _ = found.pop("doctor")
    assert code == 1 and any(said.startswith(f"BAD  devices      {line}") for said in out)
    for name, (code, out, err) in found.items():
        assert (code, out) == (2, []), name
        assert err[-1].startswith(f"omnigen.{name.removesuffix('.__main__')}: {line}"), name
        assert len(err) == 1 or name == "evaluate", name  # which says what it begins with
    assert sorted(p.name for p in tmp_path.iterdir() if p.name not in ("w", "ev")) == ["corpus"]
