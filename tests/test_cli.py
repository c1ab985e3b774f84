# SPDX-License-Identifier: Apache-2.0
import errno
import importlib
import io
import os
import pathlib
import signal
import subprocess
import sys

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


PATHS = {
    "omnigen.sample": ["output", "checkpoint", "recreate", "image"],
    "omnigen.train": ["config", "workdir"],
    "omnigen.export": ["checkpoint", "output"],
    "omnigen.bench.__main__ train": ["config", "checkpoint", "json", "profile", "markdown"],
    "omnigen.plan.__main__": ["config", "row"],
    "omnigen.doctor": ["config", "workdir"],
    "omnigen.data.prepare.__main__": ["input", "output"],
    "omnigen.encode": ["corpus", "checkpoint"],
    "omnigen.data.inspect ~nobody-at-all/x": [""],
    "omnigen.data.corpora.__main__": ["cache"],
}


@pytest.mark.parametrize(("name", "flag"), [(name, f) for name in PATHS for f in PATHS[name]])
def test_every_path_of_every_command_is_expanded(
    name: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module, *words = name.split()
    argv = [*words, *([f"--{flag}=~nobody-at-all/x"] if flag else [])]
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(module).main(argv)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "there is no home folder to replace ~nobody-at-all with" in error
    assert error.count("\n") == 1


def test_the_cache_is_where_the_variable_says_or_at_home(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMNIGEN_CACHE", "~/kept")
    assert cli.cache_folder("tars") == tmp_path / "home" / "kept" / "tars"
    assert (tmp_path / "home" / "kept" / "tars").is_dir()
    monkeypatch.delenv("OMNIGEN_CACHE")
    assert cli.cache_folder() == tmp_path / "home" / ".cache" / "omnigen"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("place", ["~nobody-at-all/x", "/dev/full", "/dev/full/x", "a" * 300])
def test_nothing_is_kept_where_no_folder_can_be_made(
    place: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIGEN_CACHE", place)
    assert cli.cache_folder("sizes") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "seen"), [("~/x", "{home}/x"), ("gs://a/~b", "gs://a/~b"), ("~nobody-here/x",) * 2]
)
def test_the_cache_of_jax_may_be_at_home(
    given: str, seen: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "JAX_COMPILATION_CACHE_DIR"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name, given)
    found = list[str]()
    cli.door("door")(lambda _: found.append(os.environ[name]))()
    assert found == [seen.format(home=tmp_path)]


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


@pytest.mark.parametrize("text", ["x" * 5000, "x" * 1001, "\x1b" * 300, "\U0010ffff" * 100_000])
def test_long_lines_keep_both_ends(text: str) -> None:
    shown = cli.one_line(f"/a/{text}: is a folder")
    assert shown.startswith("/a/") and shown.endswith(": is a folder") and len(shown) == 1003
    assert cli.one_line("x" * 1000) == "x" * 1000


def test_a_line_is_said_in_any_encoding() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    cli.say("漢\n", stream)
    assert stream.buffer.getvalue() == b"\\u6f22\\n\n"


DOOR = """
import os, pathlib, sys, time
from omnigen import cli, files

@cli.door("door")
def main(argv=None):
    what = sys.argv[1]
    if what == "sleep":
        print("started", flush=True)
        time.sleep(600)
    elif what == "exec":  # as when modules are imported that make classes of texts
        print("started", flush=True)
        exec("time.sleep(600)")
    elif what == "much":
        for number in range(100_000):
            print(number)
    elif what == "little":
        print("a line")
    elif what == "errors":
        for number in range(1000):
            print(number, file=sys.stderr)
    elif what == "errors of files":
        with cli.bad_input_exits("door", (OSError,)):
            print("a line", file=sys.stderr)
    elif what == "exit":
        print("a line")
        raise SystemExit(3)
    elif what == "another pipe":
        reader, writer = os.pipe()
        os.close(reader)
        os.write(writer, b"x")
    elif what == "full":
        with files.naming(pathlib.Path("sheet.png")), open("/dev/full", "wb") as file:
            file.write(b"x" * 100_000)
    elif what == "refused":
        pathlib.Path("/proc/nothing/here").write_text("x")
    elif what == "bug":
        raise ValueError("a mistake")
    elif what == "network":
        raise ConnectionRefusedError(111, "Connection refused")

main()
"""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("door") / "door.py"
    path.write_text(DOOR)
    return [sys.executable, str(path)]


@pytest.mark.parametrize(
    ("what", "code", "errors"),
    [
        ("exit", 3, ""),
        ("full", 1, "door: sheet.png: No space left on device\n"),
        ("refused", 1, "door: /proc/nothing/here: No such file or directory\n"),
    ],
)
def test_how_a_command_ends(door: list[str], what: str, code: int, errors: str) -> None:
    ran = subprocess.run([*door, what], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (code, errors)


@pytest.mark.parametrize(
    ("what", "last"),
    [
        ("bug", "ValueError: a mistake"),
        ("another pipe", "BrokenPipeError: [Errno 32] Broken pipe"),
        ("network", "ConnectionRefusedError: [Errno 111] Connection refused"),
    ],
)
def test_errors_of_the_work_keep_their_traceback(door: list[str], what: str, last: str) -> None:
    ran = subprocess.run([*door, what], capture_output=True, text=True, check=False)
    lines = ran.stderr.splitlines()
    assert (ran.returncode, lines[0], lines[-1]) == (1, "Traceback (most recent call last):", last)


def test_one_thing_is_not_called_many() -> None:
    assert cli.counted(1, "ArrayRecord files") == "1 ArrayRecord file"
    assert cli.counted(1, "second pictures of samples") == "1 second picture of samples"
    assert cli.counted(0, "tars") == "0 tars" and cli.counted(2, "tars") == "2 tars"


@pytest.mark.parametrize("what", ["sleep", "exec"])
def test_an_interrupt_is_one_line(door: list[str], what: str) -> None:
    python, path = door
    ran = subprocess.Popen(
        [python, "-m", "door", what],  # as commands are called: what follows an `exec` differs
        cwd=pathlib.Path(path).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ran.stdout is not None and ran.stdout.readline() == "started\n"
    ran.send_signal(signal.SIGINT)
    _, errors = ran.communicate(timeout=300)  # which only a busy machine comes near
    assert (ran.returncode, errors) == (130, "door: interrupted\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("what", "stream"),
    [("much", "stdout"), ("little", "stdout"), ("errors", "stderr"), ("errors of files", "stderr")],
)
def test_a_reader_that_goes_away_is_no_error(
    door: list[str], what: str, stream: str, unbuffered: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    ran = subprocess.run([*door, what], **streams, text=True, env=env, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stdout or "", ran.stderr or "") == (141, "", "")


def test_a_full_disk_under_stdout_is_one_line(door: list[str]) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": ""}
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [*door, "little"], stdout=full, stderr=subprocess.PIPE, text=True, env=env, check=False
        )
    assert (ran.returncode, ran.stderr) == (1, "door: standard output: No space left on device\n")


@pytest.mark.parametrize(
    ("number", "is_input"),
    [(errno.ENAMETOOLONG, True), (errno.EACCES, True), (errno.ENOSPC, False), (errno.EIO, False)],
)
def test_paths_that_cannot_be_are_bad_input(
    number: int, is_input: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that fails is none: whoever starts runs again must not give up."""
    with pytest.raises(SystemExit if is_input else OSError) as caught, cli.bad_input_exits("door"):
        raise OSError(number, "Some reason", "a/name")
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 2
        assert capsys.readouterr().err == "door: a/name: Some reason\n"
