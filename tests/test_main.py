# SPDX-License-Identifier: Apache-2.0
import importlib.util
import subprocess
import sys

import pytest

from omnigen import __main__ as door


def test_lists_the_commands_at_once() -> None:
    probe = (
        "import sys; from omnigen import __main__ as door; door.main([])\n"
        "print('jax' in sys.modules, 'numpy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    assert lines[-1] == "False False"
    assert [line.split()[0] for line in lines[2:-1]] == list(door.COMMANDS)
    for module, _ in door.COMMANDS.values():
        assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("argument", ["--help", "-h", "help"])
def test_help_lists_them_too(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    door.main([argument])
    assert "draws pictures from a prompt" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "near"), [("smaple", "sample"), ("prepare", "data.prepare")])
def test_an_unknown_command_names_the_nearest(
    name: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        door.main([name])
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"omnigen: unknown command {name!r}; did you mean {near}?\n"


def test_runs_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["omnigen"])
    with pytest.raises(SystemExit) as caught:
        door.main(["sample", "--promt", "x"])
    assert caught.value.code == 2
    assert "omnigen.sample: unknown flag --promt" in capsys.readouterr().err
