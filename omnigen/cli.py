# SPDX-License-Identifier: Apache-2.0
"""What every door shares: absl flags of its own, help, and one clear line for bad input.

A door keeps its flags in its own `FlagValues`, so that several doors can live in one process, and
imports jax only after the flags are read, so that `--help` answers at once.
"""

import contextlib
import difflib
import errno
import functools
import glob
import importlib.util
import logging
import os
import pathlib
import re
import select
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from absl import flags

FAILED, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141  # exit codes
INPUT_ERRORS: tuple[type[Exception], ...] = (ValueError, flags.Error)
MOST_LINE = 1000  # characters of what is printed or logged at once

_BAD_NAMES = {
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
_BAD_DISKS = {
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.ESTALE,
}


def door(program: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates the `main` of a command, so that it ends without a traceback where none is due.

    Ctrl-C: one line, exit code 130. A reader of its output that went away, such as `head`: no line,
    exit code 141. A file that cannot be read or written, a full disk: one line that names the file,
    exit code 1. Devices that JAX does not find: one line; exit code 2 if `JAX_PLATFORMS` asks for
    what is not here, else 1. Any other error of the work itself keeps its traceback.

    What XLA logs is left out, unless `TF_CPP_MIN_LOG_LEVEL` is set.

    Args:
        program: Name of the program, for those lines.
    """

    def decorate(main: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(main)
        def run(argv: Sequence[str] | None = None) -> None:
            try:
                _quieten()
                _expand_cache()
                try:
                    main(argv)
                finally:
                    _flush()
            except KeyboardInterrupt:
                if argv is None and threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends it at once
                _say(f"{program}: interrupted")
                # Python remembers an interrupt that left an `exec`, such as imports have, and
                # would end by a signal, not with this exit code; the next `exec` forgets it.
                exec("")
                raise SystemExit(INTERRUPTED) from None
            except BrokenPipeError:
                if not any([_is_gone(sys.stdout), _is_gone(sys.stderr)]):
                    raise  # another pipe
                raise SystemExit(PIPE_CLOSED) from None
            except OSError as error:
                if error.errno not in _BAD_NAMES | _BAD_DISKS:
                    raise
                _say(f"{program}: {_one_line(error)}")
                raise SystemExit(FAILED) from None
            except (AssertionError, RuntimeError) as error:
                trouble = no_devices(error)
                if trouble is None:
                    raise
                _say(f"{program}: {trouble}")
                raise SystemExit(FAILED if _absent_platforms() is None else BAD_INPUT) from None

        return run

    return decorate


def _quieten() -> None:
    """Suppresses logs of JAX's libraries that are of no use to users.

    XLA asks for bug reports of programs that take long to compile, as errors, and has no other
    switch. libtpu, which plans need on machines without a TPU, logs that there is none: JAX is not
    to ask it there.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what is fatal is logged all the same
    if "JAX_PLATFORMS" in os.environ or importlib.util.find_spec("libtpu") is None:
        return
    if not (_has_tpu() or _has_gpu() or {"JAX_FORCE_TPU_INIT", "TPU_NAME"} & os.environ.keys()):
        os.environ["JAX_PLATFORMS"] = "cpu"


def _expand_cache() -> None:
    """Gives JAX, which is not imported yet, the path of its own cache with `~` expanded."""
    name = "JAX_COMPILATION_CACHE_DIR"
    with contextlib.suppress(ValueError):  # no home folder: as the user wrote it
        if name in os.environ:
            os.environ[name] = expand(os.environ[name])


def _has_tpu() -> bool:
    if any(glob.glob(pattern) for pattern in ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")):
        return True
    vendors = glob.glob("/sys/bus/pci/devices/*/vendor")
    return any(pathlib.Path(path).read_text().strip() == "0x1ae0" for path in vendors)


def _has_gpu() -> bool:
    return any(map(os.path.exists, ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")))


def _absent_platforms() -> str | None:
    """Returns a line about platforms of `JAX_PLATFORMS` that this machine lacks, if any."""
    plugins = [f"jax_cuda{version}_plugin" for version in (12, 13)]
    has_cuda = _has_gpu() and any(importlib.util.find_spec(name) for name in plugins)
    has_tpu = _has_tpu() and importlib.util.find_spec("libtpu")
    here = ["cpu", *(["cuda", "gpu"] if has_cuda else []), *(["tpu"] if has_tpu else [])]
    named = os.environ.get("JAX_PLATFORMS", "")
    if not set(filter(None, named.split(","))) - set(here):
        return None
    return f"JAX_PLATFORMS is {printable(named)!r}; allowed on this machine: {', '.join(here)}"


def no_devices(error: Exception) -> str | None:
    """Returns a line that says why JAX has no devices, or None if that is not what failed.

    Args:
        error: Error that the first use of JAX raised.
    """
    if isinstance(error, AssertionError):  # a bare one, if nothing that the variable names is here
        absent = _absent_platforms()
        if not absent or "jax" not in sys.modules:
            return None
        try:
            sys.modules["jax"].devices()
        except (AssertionError, RuntimeError):
            return absent
        return None
    if "Unable to initialize backend" not in str(error):
        return None
    return _absent_platforms() or f"JAX has no devices: {_one_line(error)}"


def _flush() -> None:
    """Writes out what was printed; output that fails is dropped, or Python would try again."""
    stream = sys.stdout
    try:
        if stream is not None:
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop(stream)
        raise OSError(error.errno, error.strerror, "standard output") from None


def _is_gone(stream: TextIO | None) -> bool:
    """Returns whether the reader of a stream has gone, and drops what the stream holds if so."""
    try:
        poll = select.poll()
        assert stream is not None
        poll.register(stream.fileno(), 0)
        is_gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (AssertionError, OSError, ValueError):  # no stream, or none of the system's
        return False
    if is_gone:
        drop(stream)
    return is_gone


def drop(stream: TextIO | Any) -> None:
    """Discards what a stream still holds, and all that follows; does nothing if there is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _say(line: str) -> None:
    """Prints a line on stderr, unless it is closed."""
    try:
        say(line, sys.stderr)
    except OSError:
        drop(sys.stderr)


def _one_line(error: Exception) -> str:
    """Returns the message of an error, in one line that is safe to print."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        named = error.filename is not None
        text = f"{os.fsdecode(error.filename)}: {error.strerror}" if named else error.strerror
    return one_line(" ".join(text.split()))


@contextlib.contextmanager
def bad_input_exits(
    program: str, kinds: tuple[type[Exception], ...] = INPUT_ERRORS
) -> Iterator[None]:
    """Turns errors of some kinds in the block into one line on stderr and exit code 2.

    Unless other kinds are named, only what reads and checks input belongs in the block: an error
    of the work itself should keep its traceback. A path that cannot be, or cannot be reached, is
    bad input too.
    """
    try:
        yield
    except Exception as error:
        is_bad_name = isinstance(error, OSError) and error.errno in _BAD_NAMES
        is_input = isinstance(error, kinds) or is_bad_name and kinds is INPUT_ERRORS
        if not is_input or isinstance(error, BrokenPipeError):  # of whom it prints to
            raise
        _say(f"{program}: {_one_line(error)}")
        raise SystemExit(BAD_INPUT) from None


def parse(values: flags.FlagValues, *, usage: str, argv: Sequence[str] | None = None) -> list[str]:
    """Reads the command line into `values`; prints help and exits on `--help`.

    Args:
        values: Flags of the door.
        usage: Text that `--help` prints above the list of flags.
        argv: Arguments after the program's name; those of the process by default.

    Returns:
        The `--config.key=value` arguments in their order, for `config.load_config`. Only a door
        with a `config` flag accepts them.

    Raises:
        ValueError: If a flag is unknown (the message has the nearest name), or an argument is
            stray.
        flags.Error: If a value is bad or missing.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"--help", "-help", "-h"} & set(arguments):
        print(f"{usage.strip()}\n\nFlags:\n{_help(values)}")
        raise SystemExit(0)
    overrides = []
    if "config" in values:
        overrides = [a for a in arguments if a.startswith("--config.")]
        arguments = [a for a in arguments if a not in overrides]
        for override in overrides:
            if "=" not in override:
                raise ValueError(f"{override}: write {override}=VALUE")
    try:
        stray = values(["", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        hint = nearest(error.flagname, values)
        raise ValueError(f"unknown flag --{error.flagname}; did you mean --{hint}?") from None
    if stray:
        raise ValueError(f"unexpected argument {stray[0]!r}; is a flag name or a quote missing?")
    return overrides


def define_path(values: flags.FlagValues, name: str, default: str | None, text: str) -> None:
    """Defines a flag that names a file or folder; see `expand`."""
    flags.DEFINE(_PathParser(), name, default, text, values)


def define_paths(values: flags.FlagValues, name: str, text: str) -> None:
    """Defines a repeatable flag, each value of which names a file or folder."""
    parser, serializer = _PathParser(), flags.ArgumentSerializer()
    flags.DEFINE_multi(parser, serializer, name, [], text, values)


def define_recipe(values: flags.FlagValues, text: str) -> None:
    """Defines `--config`, whose help says that the recipe is a program that is run.

    Args:
        values: Flags of the door.
        text: What the door does with the recipe.
    """
    trust = "The file is run as a program: use only files that you trust."
    define_path(values, "config", None, f"the recipe, FILE.py:ARGUMENT; {text}. {trust}")


class _PathParser(flags.ArgumentParser[str]):
    """Expands `~`, which shells leave as it is after `=`."""

    def parse(self, argument: str) -> str:
        return expand(argument)


def expand(path: str) -> str:
    """Returns a path with a leading `~` or `~user` replaced by that home folder.

    Raises:
        ValueError: If the home folder is not known; `./~` names a folder of that name.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError(f"{path}: there is no home folder to replace {path.split('/')[0]} with")
    return expanded


def printable(text: str, *, most: int = 200) -> str:
    """Returns text that cannot move a cursor, recolour a terminal or reorder what is around it.

    Args:
        text: Untrusted text. What Unicode does not call printable is escaped as in Python, and so
            are line ends.
        most: Number of characters to return; longer text ends in an ellipsis.
    """
    shown = _escaped(text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def counted(count: int, things: str) -> str:
    """Returns "2 files of no use", or "1 file of no use".

    Args:
        count: Number of things.
        things: Name of the things in the plural; the first word that ends in "s" is the noun.
    """
    return f"{count} {things if count != 1 else re.sub(r's(?= |$)', '', things, count=1)}"


def one_line(text: str) -> str:
    """Returns untrusted text as one line to print, safe as `printable` makes it.

    The middle of a long line is left out, since what is wrong with a value stands behind it.
    """
    if len(text) > 2 * MOST_LINE:
        text = text[:MOST_LINE] + text[-MOST_LINE:]
    shown, half = _escaped(text), MOST_LINE // 2
    return shown if len(shown) <= MOST_LINE else f"{shown[:half]} … {shown[-half:]}"


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints one line, which may hold untrusted text, and flushes it.

    Args:
        text: Line to print; see `one_line`.
        stream: Stream to print on; stdout by default.
    """
    line, stream = one_line(text), stream or sys.stdout
    try:
        print(line, file=stream, flush=True)
    except UnicodeEncodeError:
        print(line.encode("ascii", "backslashreplace").decode(), file=stream, flush=True)


def logger(name: str) -> logging.Logger:
    """Returns the logger of a module, whose messages may hold untrusted text; see `one_line`."""
    found = logging.getLogger(name)
    found.addFilter(_lay_out)  # once: the same filter is not added again
    return found


def _lay_out(record: logging.LogRecord) -> bool:
    record.msg, record.args = one_line(record.getMessage()), None
    return True


def require(values: flags.FlagValues, *names: str) -> None:
    """Checks that flags are given.

    Raises:
        ValueError: If one is missing; the message names all that are needed.
    """
    if any(not values[name].value for name in names):
        needed = " and ".join(f"--{name}" for name in names)
        raise ValueError(f"{needed} {'is' if len(names) == 1 else 'are'} required")


def check_writable(values: flags.FlagValues, *names: str) -> None:
    """Checks that the files which flags name, if they do, can be written.

    Raises:
        ValueError: If one cannot; the message names the flag, the file and what is wrong.
    """
    for name in names:
        path = pathlib.Path(values[name].value or "")
        if values[name].value and path.is_dir():
            raise ValueError(f"--{name} {path}: is a folder")
        if values[name].value and not os.access(path.absolute().parent, os.W_OK):
            raise ValueError(f"--{name} {path}: its folder is missing or not writable")


def cache_compilations() -> None:
    """Keeps compiled programs in `cache_folder`, for quick restarts.

    Does nothing where JAX has been given a cache, by `JAX_COMPILATION_CACHE_DIR` or by the program
    that runs, where its cache is turned off, or where there is no such folder.
    """
    import jax

    config: Any = jax.config
    folder = cache_folder()
    is_given = config.jax_compilation_cache_dir or "JAX_COMPILATION_CACHE_DIR" in os.environ
    if is_given or folder is None or not config.jax_enable_compilation_cache:
        return
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # what compiled before may have found that there is none


def cache_folder(*names: str) -> pathlib.Path | None:
    """Returns a folder for files that can be made again, in `$OMNIGEN_CACHE` or `~/.cache/omnigen`.

    Args:
        *names: Names of the folder and of those around it in there; it is made if it does not
            exist.

    Returns:
        None where no home folder is known, or where it cannot be made: nothing is kept then.
    """
    try:
        folder = expand(os.environ.get("OMNIGEN_CACHE") or "~/.cache/omnigen")
        path = pathlib.Path(folder, *names)
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError):
        return None
    return path


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Returns the allowed name most like `name`."""
    return difflib.get_close_matches(name, sorted(allowed), n=1, cutoff=0.0)[0]


def _help(values: flags.FlagValues) -> str:
    """Returns one paragraph for each flag, in the order of definition, without those of absl."""
    paragraphs = []
    for module, members in values.flags_by_module_dict().items():
        for flag in members if module != flags.__name__ else ():
            default = f" (default: {flag.default})" if flag.default not in (None, "", []) else ""
            text = f"--{flag.name}: {' '.join((flag.help or '').split())}{default}"
            paragraphs.append(
                textwrap.fill(text, 96, initial_indent="  ", subsequent_indent="    ")
            )
    return "\n".join(paragraphs)
