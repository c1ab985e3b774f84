# SPDX-License-Identifier: Apache-2.0
"""Every command and program of the README runs; `SHORTER` says what stands in for what is long."""

import importlib
import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from omnigen.sample import Sampler

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# A training run is two steps of the toy of the same recipe.
SHORTER = [
    (re.compile(r"configs/(\w+)\.py:nano(?=\s|$)"), rf"{ROOT}/configs/\1.py:debug --SHORT"),
    (
        re.compile(r"--SHORT"),
        "--config.train.steps=2 --config.train.log_every=1 --config.train.sample_every=2",
    ),
    (re.compile(r"(omnigen\.evaluate .*)"), r"\1 --count 2"),
]
# The sampler without --checkpoint draws with the untrained toy; test_assets.py tries the real one.
# What installs is tried by test_packaging.py, and by whoever runs these tests.
INSTALLS = (
    "pip install .",
    "pip install -e '.[scenes]'",
    "pip install -e '.[test]'",
    "pytest -n 2 --dist loadfile",
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


def run(command: str, untrained: pathlib.Path) -> None:
    for pattern, shorter in SHORTER:
        command = pattern.sub(shorter, command)
    python, flag, module, *argv = shlex.split(command)
    assert (python, flag) == ("python", "-m")
    if module == "omnigen.sample" and "--checkpoint" not in argv:
        argv += ["--checkpoint", str(untrained)]
    importlib.import_module(module).main(argv)


def test_commands(
    untrained: pathlib.Path, one_device: None, tmp_path: pathlib.Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = [command for command in commands() if command not in INSTALLS]
    for command in ran:
        run(command, untrained)
    assert len(ran) >= 7
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "cloud.png",
        *(f"stars-{i}.png" for i in range(4)),
        "stars-2-again.png",
        "heart.png",
    }
    assert (tmp_path / "runs" / "ar" / "eval" / "results.json").is_file()


def test_python(untrained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch) -> None:
    (program,) = blocks("python")
    assert len([line for line in program.splitlines() if line.strip()]) <= 10
    monkeypatch.chdir(tmp_path)
    load = Sampler.load
    monkeypatch.setattr(Sampler, "load", lambda: load(untrained))
    exec(compile(program, "README.md", "exec"), {})
    pictures = [np.asarray(Image.open(tmp_path / f"hello-{i}.png")) for i in range(2)]
    assert (pictures[0] != pictures[1]).any()


def test_extras_exist() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    named = re.findall(r"\.\[([\w,]+)\]", README) + re.findall(r"`(\w+)`", extras_paragraph())
    for extra in {name for names in named for name in names.split(",")}:
        assert f'"{extra}": ' in setup


def extras_paragraph() -> str:
    (paragraph,) = re.findall(r"^Extras: (.*?)^$", README, flags=re.MULTILINE | re.DOTALL)
    return paragraph


@pytest.mark.parametrize(
    "source",
    ["README.md", "launch/README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))],
)
def test_links_lead_somewhere(source: str) -> None:
    text = (ROOT / source).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / source).parent / target).exists(), target
