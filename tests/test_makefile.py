# SPDX-License-Identifier: Apache-2.0
"""`make picture` and `make test`: what they would run, and that they set themselves up."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
ODD = """it's "5 $ off", `ls` $(ls) $HOME #1 \\ 100 %"""  # what shells and make would take apart

# In the place of the Python of an environment: notes how it was called, and does nothing.
STUB = f"""#!{sys.executable}
import json, sys
with open(sys.argv[0] + ".log", "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
"""

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def make(
    *words: str, cwd: pathlib.Path = ROOT, fails: bool = False, **environment: str
) -> tuple[str, str]:
    """Returns what make said, on stdout and on stderr, with nothing but these variables set."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), **environment}
    done = subprocess.run(
        ["make", *words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert bool(done.returncode) == fails, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with a space in its name and no environment, in which make has what it looks at."""
    folder = tmp_path / "check out"
    folder.mkdir()
    for name in ("Makefile", "setup.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def stub(tmp_path: pathlib.Path) -> pathlib.Path:
    """An active environment, whose path has a space, and whose Python is a stub."""
    python = tmp_path / "an environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(STUB)
    python.chmod(0o755)
    return python


def calls(stub: pathlib.Path) -> list[list[str]]:
    return [json.loads(line) for line in pathlib.Path(f"{stub}.log").read_text().splitlines()]


def drawn(stub: pathlib.Path) -> list[dict[str, str]]:
    """The flags of each call of the sampler."""
    argvs = [argv[2:] for argv in calls(stub) if argv[:2] == ["-m", "omnigen.sample"]]
    return [dict(zip(argv[::2], argv[1::2], strict=True)) for argv in argvs]


@pytest.mark.parametrize("target", ["picture", "test", "lint"])
def test_without_an_environment_one_is_made_first(checkout: pathlib.Path, target: str) -> None:
    lines = make("-n", target, cwd=checkout)[0].splitlines()
    extras = "." if target == "picture" else "'.[test]'"
    steps = [
        "python3 -m venv .venv",
        f".venv/bin/python -m pip install --quiet --disable-pip-version-check --editable {extras}",
    ]
    assert [line for line in lines if line in steps] == steps
    made = {
        "picture": '.venv/bin/python -m omnigen.sample --prompt "$PROMPT" --output "$OUTPUT"',
        "test": ".venv/bin/python -m pytest -n 2 --dist loadfile",
        "lint": '.venv/bin:$PATH" .venv/bin/pyright',
    }
    assert lines[-1].strip().replace('"$(cd .venv/bin && pwd)', ".venv/bin").endswith(made[target])


def test_tests_are_run_as_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (by_hand,) = re.findall(r"^(pytest .*)$", readme, flags=re.MULTILINE)
    assert make("-n", "test")[0].splitlines()[-1].strip().endswith(f"/bin/python -m {by_hand}")
    asked = make("-n", "test", "ARGS=-q --durations=15")[0].splitlines()[-1]
    assert asked.endswith(f"{by_hand} -q --durations=15")


def test_what_passes_calls_both() -> None:
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make (\w+)", text, flags=re.MULTILINE) == ["lint", "test"]


def test_an_active_environment_is_used_and_set_up_once(
    checkout: pathlib.Path, stub: pathlib.Path
) -> None:
    active = {"VIRTUAL_ENV": str(stub.parents[1])}
    for target in ("picture", "picture", "test", "test", "picture"):
        make(target, cwd=checkout, **active)
    installs = [argv for argv in calls(stub) if "install" in argv]
    assert [argv[-1] for argv in installs] == [".", ".[test]"]
    assert [argv[1] for argv in calls(stub) if argv[1] in ("pytest", "omnigen.sample")] == [
        *("omnigen.sample", "omnigen.sample", "pytest", "pytest", "omnigen.sample")
    ]
    assert not (checkout / ".venv").exists()


def test_words_of_users_reach_the_sampler_as_they_are(
    checkout: pathlib.Path, stub: pathlib.Path
) -> None:
    active = {"VIRTUAL_ENV": str(stub.parents[1])}
    make("picture", f"PROMPT={ODD}", "OUTPUT=my 'best'.png", cwd=checkout, **active)
    make("picture", cwd=checkout, PROMPT=ODD, OUTPUT=ODD, **active)
    make("picture", cwd=checkout, **active)
    given, exported, default = drawn(stub)
    assert given == {"--prompt": ODD, "--output": "my 'best'.png"}
    assert exported == {"--prompt": ODD, "--output": ODD}
    assert default["--prompt"].endswith('There are words "AGC is Awesome!" in the cloud.')
    assert default["--output"] == "picture.png"


def test_an_old_python_is_told_in_one_line(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The check itself runs, in a Python that says that it is older."""
    old = tmp_path / "python"
    claim = "import sys; sys.version_info = (3, 10, 13)"
    old.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} -c "{claim}\n$2"\nexit 1\n')
    old.chmod(0o755)
    error = make("-s", "picture", f"PYTHON={old}", cwd=checkout, fails=True)[1].splitlines()
    assert error[0].startswith("omnigen needs Python 3.11 or newer, and this is 3.10: add PYTHON=")
    assert len(error) == 2 and error[1].startswith("make: ***")  # make's own, that it failed
    assert not (checkout / ".venv").exists()


@pytest.mark.slow
def test_a_shallow_clone_draws_and_tests_itself(tmp_path: pathlib.Path) -> None:
    """Clone, `make picture`, `make test` of one file: three minutes, most of it downloads."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("only a clone can be cloned, and by git alone")
    clone, home = tmp_path / "clone", tmp_path / "home"
    home.mkdir()
    command = ["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), str(clone)]
    subprocess.run(command, check=True)
    index = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    words = ["OUTPUT=a cloud.png", f"PYTHON={sys.executable}"]
    make("picture", *words, cwd=clone, **{"HOME": str(home), **index})
    with Image.open(clone / "a cloud.png") as image:
        assert image.size == (128, 128) and "AGC is Awesome!" in image.info["prompt"]
    said = make("test", "ARGS=-q tests/test_sequence.py", cwd=clone, **{"HOME": str(home), **index})
    assert re.search(r"\d+ passed", said[0])
