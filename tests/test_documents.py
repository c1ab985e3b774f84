# SPDX-License-Identifier: Apache-2.0
"""What documents name in backticks is there: files and folders of this project, and its modules."""

import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "omnigen"
# Experiments and the changelog also tell of what was.
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "launch/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
PAST = "docs/experiments.md"
SUFFIXES = ("py", "sh", "md", "sbatch", "ipynb", "cff", "toml")
FOLDERS = {path.name for path in [*ROOT.iterdir(), *PACKAGE.iterdir()] if path.is_dir()}
# Files of other projects, of runs and of users that look like ours.
OTHERS = {
    "FILE.py",
    "evaluation/evaluate_images.py",
    "gpt_eval.py",
    "data/cultural_common_sense.json",
    "dpg_bench/dist_eval.sh",
    "textbench/eval.sh",
}


def files() -> set[str]:
    """Every file and folder, as paths from the root, and below it from any folder on."""
    found = set()
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if parts[0] not in (".git", ".venv", "build", "dist"):
            found |= {"/".join(parts[i:]) for i in range(len(parts))}
    return found


def paths(text: str) -> Iterator[str]:
    """Yields what looks like a path of this project."""
    for span in re.findall(r"`([^`\s]+)`", text):
        name = span.split("::")[0].rstrip("/")
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) or name in OTHERS:
            continue
        first, *rest = name.split("/")
        if name.rpartition(".")[2] in SUFFIXES and "." in name or rest and first in FOLDERS:
            yield name


def modules(text: str) -> Iterator[str]:
    """Yields names of our modules, and of what is in them."""
    yield from re.findall(r"\bomnigen(?:\.\w+)+", text)


def is_there(name: str) -> bool:
    """Whether it is a module, or stands in the text of one."""
    place = ROOT
    for number, part in enumerate(parts := name.split(".")):
        if (place / part).is_dir():
            place /= part
            continue
        file = place / f"{part}.py"
        if file.is_file():
            return all(re.search(rf"\b{rest}\b", file.read_text()) for rest in parts[number + 1 :])
        return bool(re.search(rf"\b{part}\b", (place / "__init__.py").read_text()))
    return True


@pytest.fixture(scope="module")
def known() -> set[str]:
    return files()


@pytest.mark.parametrize("source", [name for name in DOCUMENTS if name != PAST])
def test_paths_exist(source: str, known: set[str]) -> None:
    text = (ROOT / source).read_text(encoding="utf-8")
    missing = {name for name in paths(text) if name not in known}
    assert not missing


@pytest.mark.parametrize("source", [name for name in DOCUMENTS if name != PAST])
def test_modules_exist(source: str) -> None:
    text = (ROOT / source).read_text(encoding="utf-8")
    missing = {name for name in modules(text) if not is_there(name)}
    assert not missing


def test_moved_modules_are_where_the_changelog_says() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*`(omnigen\.[\w.]+)`.* \| `(omnigen\.[\w.]+)` \|$", text, re.MULTILINE)
    assert len(rows) >= 15
    assert not {new for _, new in rows if not is_there(new)}
    assert not {old for old, _ in rows if is_there(old)}


def test_the_tests_catch(known: set[str]) -> None:
    text = "`data/beam.py`, `omnigen/sequence.py`, `runs/ar`, `tests/none`, `flow.py`, `a b.py`"
    assert list(paths(text)) == ["data/beam.py", "omnigen/sequence.py", "tests/none", "flow.py"]
    assert {name for name in paths(text) if name not in known} == {"data/beam.py", "tests/none"}
    found = [is_there(f"omnigen.{name}") for name in ("flow", "flow.sphere", "flow.cube", "none.a")]
    assert found == [True, True, False, False]
