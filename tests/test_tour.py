# SPDX-License-Identifier: Apache-2.0
"""The notebook runs, from its first cell to its last, and what it keeps of that is small."""

import ast
import importlib.util
import json
import pathlib
import sys
import types

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOUR = ROOT / "docs" / "tour.ipynb"
MOST_BYTES = 300_000
CELLS = json.loads(TOUR.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tagged(*tags: str) -> list[str]:
    """The code of cells that have one of these tags."""
    return [source(cell) for cell in CODE if set(tags) & set(cell["metadata"].get("tags", []))]


@pytest.fixture
def shown(monkeypatch) -> list[object]:
    """What cells display, in the place of Jupyter's display."""
    pictures: list[object] = []
    ipython = types.ModuleType("IPython.display")
    ipython.display = pictures.append  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    return pictures


def run(cells: list[str], **given: object) -> dict:
    names = {"__name__": "__main__", **given}
    for number, code in enumerate(cells):
        exec(compile(code, f"cell {number}", "exec"), names)
    return names


def test_it_reads_well_without_being_run() -> None:
    assert TOUR.stat().st_size < MOST_BYTES
    outputs = [output for cell in CODE for output in cell["outputs"]]
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) >= 2 and not [o for o in outputs if o["output_type"] == "error"]
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert str(ROOT.parent) not in TOUR.read_text() and "/tmp" not in TOUR.read_text()


def test_its_imports_exist() -> None:
    """Those of other projects are installed with the extra `notebook`."""
    trees = [ast.parse(source(cell)) for cell in CODE]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    ours = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module.startswith("omnigen")]
    assert ours
    for node in ours:
        module = importlib.import_module(node.module)
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            assert hasattr(module, alias.name) or importlib.util.find_spec(name), name


def test_tokens_are_what_it_says(shown: list[object], capsys) -> None:
    """The cells about tokens, with a picture of squares in the place of the one that is drawn."""
    levels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    names = run(tagged("quick"), picture=np.repeat(np.repeat(levels, 16, axis=0), 16, axis=1))
    assert names["tokens"].shape == (1, 64, 64)
    lengths = np.linalg.norm(np.asarray(names["tokens"]), axis=-1)
    np.testing.assert_allclose(lengths, 8.0, rtol=1e-5)
    moved = np.argwhere(names["moved"] > 1e-3)
    assert moved.tolist() == [[names["row"], names["column"]]]
    assert not shown
    assert "'a'  ' '  'b'" in capsys.readouterr().out


@pytest.mark.slow
def test_it_runs(shown: list[object], monkeypatch, tmp_path: pathlib.Path) -> None:
    """All of it, in four minutes on two busy cores; the toy's loss falls."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    monkeypatch.chdir(ROOT / "docs")
    names = run([source(cell) for cell in CODE])
    assert names["picture"].shape == (128, 128, 3) and len(shown) == 3
    losses = [loss for _, loss in names["points"]]
    assert losses[-1] < 0.5 * losses[0]
