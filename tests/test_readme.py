# SPDX-License-Identifier: Apache-2.0
"""Every command and program of the README runs; `SHORTER` says what stands in for what is long."""

import importlib
import json
import pathlib
import re
import shlex
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from omnigen import recipe as recipes
from omnigen.generation import pretrained
from omnigen.sample import Sampler

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# For users; experiments keep commands as they were.
DOCUMENTS = [
    f"docs/{name}.md"
    for name in (
        "data",
        "evaluation",
        "performance",
        "prompts",
        "provenance",
        "reliability",
        "results",
        "safety",
        "scaling",
    )
]

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
# What installs is tried by test_packaging.py and test_makefile.py, and by whoever runs these tests.
INSTALLS = (
    "make picture",
    "make test",
    'make picture PROMPT="a yellow heart" OUTPUT=heart.png',
    "pip install .",
    "pip install -e '.[scenes]'",
    "pip install -e '.[test]'",
    "pytest -n 2 --dist loadfile",
)


def test_it_begins_with_a_picture_and_two_commands() -> None:
    """What it is, how that looks and what to type fit on one screen, and need no pip."""
    screen = "\n".join(README.splitlines()[:30])
    assert re.search(r"^!\[.+\]\(docs/samples.png\)$", screen, flags=re.MULTILINE)
    assert "```bash\nmake picture\nmake test\n```" in screen and "pip" not in screen


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
    assert set(INSTALLS) <= set(commands())
    ran = [command for command in commands() if command not in INSTALLS]
    for command in ran:
        run(command, untrained)
    assert len(ran) >= 7
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "cloud.png",
        *(f"stars-{i}.png" for i in range(4)),
        "stars-grid.png",
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
    pictures = [np.asarray(Image.open(tmp_path / f"morning-{i}.png")) for i in range(2)]
    assert (pictures[0] != pictures[1]).any()


def door(module: str) -> Callable[[list[str]], None]:
    """The program that `python -m` runs."""
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    return found.main


def fine_tuning() -> list[str]:
    """The commands of the section about it, from a folder of pictures to a picture drawn."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (section,) = re.findall(
        r"^## Fine-tuning from the shipped weights\n(.*?)^## ", text, re.MULTILINE | re.DOTALL
    )
    return re.findall(r"^ {4}(python .*)$", section, flags=re.MULTILINE)


def pets(folder: pathlib.Path) -> None:
    """Pictures of one colour each, with texts."""
    folder.mkdir()
    for number in range(8):
        color = (30 * number, 200 - 20 * number, 90)
        Image.new("RGB", (40 + number, 40), color).save(folder / f"{number:03d}.png")
        (folder / f"{number:03d}.txt").write_text(f"cat number {number}")


def tune(tmp_path: pathlib.Path, monkeypatch, *few: str) -> dict:
    """Runs the section's commands in a few steps; returns the last line of the metrics."""
    monkeypatch.chdir(tmp_path)
    pets(tmp_path / "pets")
    ran = fine_tuning()
    assert [command.split()[2] for command in ran] == [
        "omnigen.data.prepare", "omnigen.train", "omnigen.sample"
    ]  # fmt: skip
    for command in ran:
        _, _, module, *argv = shlex.split(command)
        argv = [word.replace("configs/", f"{ROOT}/configs/") for word in argv]
        door(module)([*argv, *(few if module == "omnigen.train" else ())])
    with Image.open("cat.png") as drawn:
        assert drawn.info["prompt"] == "a sleeping cat"
    assert "from the weights of" in pathlib.Path("runs/pets/log.txt").read_text()
    settings = json.loads(pathlib.Path("runs/pets/config.json").read_text())
    assert settings["train"]["init_from"] == settings["train"]["frozen_from"] == "shipped"
    return json.loads(pathlib.Path("runs/pets/metrics.jsonl").read_text().splitlines()[-1])


FEW = ("--config.train.log_every=1", "--config.train.sample_every=0", "--config.train.eval_every=0")


def test_fine_tuning_from_a_toy(
    untrained: pathlib.Path, one_device: None, tmp_path: pathlib.Path, monkeypatch
) -> None:
    """As documented, with the toy in the place of the model that ships.

    Steps and rate are those of `SHORTER`, whose program is compiled already.
    """
    monkeypatch.setattr(pretrained, "NANO", untrained)
    few = ("--config.train.steps=2", "--config.optimizer.learning_rate=1e-3")
    toy = f"--config={ROOT}/configs/ar.py:debug"
    assert tune(tmp_path, monkeypatch, toy, *FEW, *few)["step"] == 2


@pytest.mark.slow
@pytest.mark.skipif(not pretrained.NANO.is_dir(), reason="no model in this checkout")
def test_fine_tuning_from_the_model_that_ships(
    one_device: None, tmp_path: pathlib.Path, monkeypatch
) -> None:
    """It begins where the shipped model is, far below what random weights give."""
    few = ("--config.train.steps=1", "--config.train.global_batch_size=2")
    last = tune(tmp_path, monkeypatch, *FEW, *few)
    assert last["step"] == 1 and 0 < last["flow_mse"] < 0.6


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


# What stands for other words, where documents leave them out.
FILLED = {"$R": [], "$S": ["--config", "configs/ar.py:base"], "...": [], "…": []}


def documented() -> list[tuple[str, str]]:
    """Every command of ours in documents for users: the document, and what is typed."""
    found = []
    for name in ("README.md", "launch/README.md", *DOCUMENTS):
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^ {4}(python -m omnigen\S* .*)$", text, flags=re.MULTILINE)
        lines += re.findall(r"^(python -m omnigen\S* .*)$", text, flags=re.MULTILINE)
        spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
        lines += [span for span in spans if re.match(r"python -m omnigen\S+ --?\w", span)]
        found += [(name, line) for line in dict.fromkeys(lines)]
    return found


@pytest.mark.parametrize(("document", "command"), documented())
def test_documented_commands_are_understood(
    document: str, command: str, capsys, monkeypatch
) -> None:
    """Their flags exist, and so do the recipes that they name and the keys that they change.

    Those of the README run, above. These would train for hours or want what is not here: what each
    does is tested where its module is.
    """
    monkeypatch.chdir(ROOT)
    command = re.sub(r"\[([^\[\]]*)\]", r"\1", re.sub(r"\s+#\s.*", "", command))
    words = [part for word in shlex.split(command) for part in FILLED.get(word, [word])]
    module, argv = words[2], words[3:]
    subject = argv[:1] if argv and not argv[0].startswith("-") else []
    with pytest.raises(SystemExit) as stopped:
        door(module)([*subject, "--help"])
    assert stopped.value.code == 0
    flags = set(re.findall(r"^\s*--(\w+)", capsys.readouterr().out, flags=re.MULTILINE))
    overrides = [word for word in argv if word.startswith("--config.")]
    for word in argv:
        if word.startswith("--") and word not in overrides:
            name = word[2:].split("=")[0]
            assert name in flags or name.removeprefix("no") in flags, word
    if "--config" in argv:
        overrides = [word for word in overrides if not re.search("mixture|latents", word)]
        recipes.read(argv[argv.index("--config") + 1], overrides)  # less what corpora must be for


def test_documented_tests_exist() -> None:
    """Documents say which tests show what: their files, and what `-k` picks."""
    checked = 0
    for name in ("README.md", "CONTRIBUTING.md", *DOCUMENTS):
        text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
        for span in re.findall(r"`([^`]*\bpytest [^`]*)`", text):
            words = shlex.split(span.replace("…", ""))
            paths = [word.split("::")[0] for word in words if word.startswith("tests/")]
            assert all((ROOT / path).exists() for path in paths), span
            if "-k" in words and len(paths) == 1 and paths[0].endswith(".py"):
                assert words[words.index("-k") + 1] in (ROOT / paths[0]).read_text(), span
            checked += len(paths)
    assert checked >= 20
