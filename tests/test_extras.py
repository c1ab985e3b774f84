# SPDX-License-Identifier: Apache-2.0
"""What a command says where an extra that it needs is not installed, and which commands need none.

`None` in `sys.modules` is how Python itself says that a module cannot be had.
"""

import importlib
import importlib.util
import pathlib
import re
import resource
import subprocess
import sys
import time

import pytest

from omnigen import extras

ROOT = pathlib.Path(__file__).resolve().parents[1]
AR, TOKENIZER = (f"{ROOT}/configs/{name}.py" for name in ("ar", "tokenizer"))
# Drawing scenes; what has imported skia already must forget it.
DRAWING = [f"omnigen.scenes.{name}" for name in ("pen", "render", "light", "scenery", "things")]

# What runs the server.
SERVING = [f"omnigen.serve.api.{name}" for name in ("app", "protocol", "running")]

# All but `rich`, which flax imports: whoever has the core install has it.
EVERY = [name for extra, names in extras.MODULES.items() if extra != "rich" for name in names]
HIDE = f"""
import sys
for name in {EVERY}:
    sys.modules[name] = None
"""


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch):
    """Makes the modules of extras impossible to import."""

    def hidden(*names: str) -> None:
        modules = [module for name in names for module in extras.MODULES[name]]
        for name in list(sys.modules):
            if name.split(".")[0] in modules:
                monkeypatch.delitem(sys.modules, name)
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)
        for module in DRAWING + SERVING:
            monkeypatch.delitem(sys.modules, module, raising=False)

    return hidden


MISSING = [
    ("scenes", "omnigen.train", f"--config {AR}:debug --workdir W"),
    ("scenes", "omnigen.train", f"--config {TOKENIZER}:debug --workdir W"),
    (
        "scenes",
        "omnigen.train",
        f"--config {TOKENIZER}:nano --workdir W --config.data.mixture={{'a/b':1}}",
    ),
    ("scenes", "omnigen.bench", f"data --config {AR}:debug"),
    ("scenes", "omnigen.evaluate", "--output W"),
    ("scenes", "omnigen.evaluate", "--output W --suites samples"),
    ("scenes", "omnigen.evaluate", "--output W --suites exact"),
    ("scenes", "omnigen.evaluate", "--output W --suites exact --nojudge"),
    ("scenes", "omnigen.evaluate", "--output W --suites text"),
    ("scenes", "omnigen.evaluate", "--output W --suites fidelity"),
    ("scenes", "omnigen.data.corpora", "build W --composites 10"),
    ("corpora", "omnigen.data.corpora", "build W"),
    ("hf", "omnigen.train", f"--config {AR}:debug --workdir W --config.model.text=t.json"),
    ("hf", "omnigen.bench", f"sample --config {AR}:debug --config.model.text=t.json"),
    ("hf", "omnigen.bench", f"train --config {AR}:debug --config.model.text=t.json"),
    ("parquet", "omnigen.data.prepare", "--input rows.parquet --output W"),
    ("ocr", "omnigen.evaluate", "--output W --suites text"),
    ("ocr", "omnigen.evaluate", "--output W --suites text --images ."),
    ("fidelity", "omnigen.evaluate", "--output W --suites kid_lite0"),
    ("fidelity", "omnigen.evaluate", "--output W --suites kid_lite0 --images . --reference ."),
    ("fidelity", "omnigen.evaluate", "--output W --suites lpips"),
    ("provenance", "omnigen.provenance", "rows.parquet"),
    ("provenance", "omnigen.sample", "--prompt x --output x.png --provenance"),
    ("serve", "omnigen.serve", ""),
    ("provenance", "omnigen.serve", "--provenance"),
    ("plan", "omnigen.plan", f"--config {AR}:14b --topology v5p-512"),
    ("plan", "omnigen.plan", f"--config {AR}:14b --topology v5p-512 --fit"),
]


@pytest.mark.parametrize(("extra", "module", "argv"), MISSING)
def test_a_missing_extra_is_one_line_at_once(
    extra: str, module: str, argv: str, hide, one_device: None, tmp_path, monkeypatch, capsys
) -> None:
    others = {"corpora": ["resvg_py"], "ocr": ["rapidocr", "onnxruntime"], "scenes": ["skia"]}
    for name in (name for other, names in others.items() if other != extra for name in names):
        pretend_installed(name, monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    (tmp_path / "t.json").write_text("{}")
    hide(extra)
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    main = found.main
    since = time.process_time()
    with pytest.raises(SystemExit) as stopped:
        main(argv.split())
    took = time.process_time() - since
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith(f"{module}: ") and error.count("\n") == 1, error
    assert error.endswith(f"pip install 'omnigen-jax[{extra}]'\n")
    assert took < 2.0
    assert {path.name for path in tmp_path.iterdir()} == {"rows.parquet", "t.json"}


def pretend_installed(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is tested does not depend on what is installed here."""
    if not extras._is_found(module):
        found = importlib.util.spec_from_loader(module, None)
        monkeypatch.setitem(sys.modules, module, importlib.util.module_from_spec(found))


def test_every_extra_that_a_command_can_lack_is_tried() -> None:
    optional = {"fast", "tensorboard", "rich"}  # without them commands do the same, plainer
    loaded_by_others = {"ray"}  # by the command of Ray: tests/serve/test_replicas.py
    assert {extra for extra, _, _ in MISSING} == extras.MODULES.keys() - optional - loaded_by_others
    setup = (ROOT / "setup.py").read_text(encoding="utf-8").partition("extras_require")[2]
    named = set(re.findall(r'^        "(\w+)": ', setup, flags=re.MULTILINE))
    assert named == extras.MODULES.keys() | {"cuda", "tpu", "notebook", "test"}


def test_what_does_not_load_is_told_like_what_is_missing(tmp_path, monkeypatch) -> None:
    (tmp_path / "resvg_py.py").write_text("raise ImportError('libGL.so.1: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "resvg_py", raising=False)
    with pytest.raises(extras.MissingExtraError) as raised:
        extras.load("resvg_py", "corpora", "drawing")
    assert str(raised.value) == (
        "drawing needs resvg_py, which does not load (libGL.so.1: no such file): "
        "pip install 'omnigen-jax[corpora]'"
    )


def run_bare(code: str, cwd: pathlib.Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Runs code in a process without any extra; also the seconds of CPU that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", HIDE + code], cwd=cwd, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_training_is_refused_before_jax_computes_anything(tmp_path) -> None:
    code = f"""
from omnigen import train
try:
    train.main(["--config", "{AR}:debug", "--workdir", "W"])
except SystemExit as stopped:
    from jax._src import xla_bridge
    assert not xla_bridge._backends and "orbax" not in sys.modules
    sys.exit(stopped.code)
"""
    done, seconds = run_bare(code, tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith("which needs skia: pip install 'omnigen-jax[scenes]'\n")
    assert seconds < 4.0  # 1.6 on a quiet machine, of which importing jax and flax are 1.2


def test_only_what_draws_scenes_imports_an_extra(tmp_path) -> None:
    code = f"""
import importlib, pkgutil
import omnigen

for module in pkgutil.walk_packages(omnigen.__path__, "omnigen."):
    if module.name not in {DRAWING + SERVING} and not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
"""
    done, _ = run_bare(code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
