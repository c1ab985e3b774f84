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
