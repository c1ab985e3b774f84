# SPDX-License-Identifier: Apache-2.0
import pytest
from absl import flags

from omnigen import cli


@pytest.fixture
def values() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("config", None, "recipe", flag_values=values)
    flags.DEFINE_integer("num_images", 1, "how many", lower_bound=1, flag_values=values)
    return values


def test_reads_flags_and_keeps_overrides_apart(values: flags.FlagValues) -> None:
    argv = ["--config.a=1", "--config", "x.py:nano", "--num_images=3", "--config.b.c=d"]
    assert cli.parse(values, usage="", argv=argv) == ["--config.a=1", "--config.b.c=d"]
    assert (values.config, values.num_images) == ("x.py:nano", 3)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--num_image=3", "unknown flag --num_image; did you mean --num_images?"),
        ("--zzz", "unknown flag --zzz; did you mean --"),
        ("--num_images=0", "flag --num_images=0: 0 is not a positive integer"),
        ("--num_images=x", "flag --num_images=x"),
        ("stray", "unexpected argument 'stray'"),
        ("--config", "Missing value for flag --config"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    values: flags.FlagValues,
    argument: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught, cli.bad_input_exits("door"):
        cli.parse(values, usage="", argv=[argument])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"door: {message}") and err.count("\n") == 1


def test_only_bad_input_is_caught() -> None:
    with pytest.raises(RuntimeError), cli.bad_input_exits("door"):
        raise RuntimeError


def test_overrides_need_a_config_flag() -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("output", None, "", flag_values=values)
    with pytest.raises(ValueError, match="unknown flag --config.a; did you mean --output?"):
        cli.parse(values, usage="", argv=["--config.a=1"])


def test_help(values: flags.FlagValues, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse(values, usage="Does things.", argv=["--help", "--nonsense"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == (
        "Does things.\n\nFlags:\n  --config: recipe\n  --num_images: how many (default: 1)\n"
    )


def test_path_flags_expand_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/homes/ada")
    values = flags.FlagValues()
    cli.define_path(values, "output", None, "file")
    cli.define_paths(values, "images", "folders")
    argv = ["--output=~/a/~b", "--images=~", "--images", "./~"]
    assert cli.parse(values, usage="", argv=argv) == []
    assert values.output == "/homes/ada/a/~b"
    assert values.images == ["/homes/ada", "./~"]
    with pytest.raises(flags.IllegalFlagValueError, match="~nobody-at-all/x: there is no home"):
        cli.parse(values, usage="", argv=["--output=~nobody-at-all/x"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 🙂", "plain é 漢 🙂"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("two\nlines", "two\\nlines"),
        ("half \ud83d", "half \\ud83d"),
        ("x" * 300, "x" * 199 + "…"),
        ("\x1b" * 100, "\\x1b" * 49 + "\\x1…"),
    ],
)
def test_printable_cannot_steer_a_terminal(text: str, shown: str) -> None:
    assert cli.printable(text) == shown


def test_errors_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), cli.bad_input_exits("door"):
        raise ValueError("a file called \x1b[2J" + "y" * 5000)
    _, err = capsys.readouterr()
    assert "\x1b" not in err and len(err) < 1100
