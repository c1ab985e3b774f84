# SPDX-License-Identifier: Apache-2.0
import errno
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

from omnigen import files


@pytest.fixture
def special(tmp_path: pathlib.Path) -> dict[str, pathlib.Path]:
    """One of each thing that is no regular file, by what the error calls it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "linked").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    return {
        "a pipe": tmp_path / "fifo",
        "a device": tmp_path / "linked",
        "a folder": tmp_path / "folder",
        "a socket": tmp_path / "socket",
    }


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder", "a socket"])
def test_only_regular_files_are_opened(special: dict[str, pathlib.Path], kind: str) -> None:
    began = time.monotonic()
    with pytest.raises(files.UnfitFileError, match=f"is {kind}; allowed: regular files"):
        files.read(special[kind], most=10)
    assert time.monotonic() - began < 1


def test_size_is_checked_before_reading(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(files.UnfitFileError, match="has 1099511627776 bytes; allowed: up to 5"):
        files.read(path, most=5)


def test_bytes_up_to_the_limit_are_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert files.read(path, most=5) == b"12345"
    with pytest.raises(files.UnfitFileError, match="has 5 bytes; allowed: up to 4"):
        files.read(path, most=4)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "other", most=5)


def test_links_are_followed_only_if_asked(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert files.read(tmp_path / "link", most=5) == b"1"
    with pytest.raises(files.UnfitFileError, match="is a symbolic link"):
        files.read(tmp_path / "link", most=5, follow=False)


def test_walk_leaves_hidden_names_out_and_ends_in_loops(tmp_path: pathlib.Path) -> None:
    for name in (".DS_Store", "._a.jpg", ".ipynb_checkpoints/b.jpg", "c/d.jpg", "a.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "c" / "loop").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in files.walk(tmp_path)]
    assert found == ["a.jpg", "c/d.jpg"]


def test_replacing_takes_the_longest_name(tmp_path: pathlib.Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")
    with files.replacing(path) as partial:
        partial.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(KeyError), files.replacing(path) as partial:
        partial.write_text("newer")
        raise KeyError
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_text_is_written_whole_and_into_what_a_user_names(tmp_path: pathlib.Path) -> None:
    path, link = tmp_path / "text", tmp_path / "link"
    files.write(path, "é")
    link.symlink_to(path)
    files.write(link, "through", follow=True)
    assert path.read_text() == "through" and link.is_symlink()
    files.write(link, "instead")
    assert (path.read_text(), link.read_text(), link.is_symlink()) == ("through", "instead", False)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    files.write(tmp_path / "pipe", "into", follow=True)
    assert os.read(reader, 9) == b"into"
    os.close(reader)
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        files.write(pathlib.Path("/dev/full"), "x", follow=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"text", "link", "pipe"}


_HOLD = """
import pathlib, sys, time
from omnigen import files
with files.locked(pathlib.Path(sys.argv[1]), work="a run"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_others_out_until_its_holder_dies(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        expected = rf"a run is at work there already \(process {holder.pid} on "
        with (
            pytest.raises(files.LockedError, match=expected),
            files.locked(tmp_path, work="a run"),
        ):
            pytest.fail("entered")
        holder.kill()
        holder.wait()
    with files.locked(tmp_path, work="a run"):
        assert (tmp_path / files.LOCK).exists()
    assert not list(tmp_path.iterdir())


def test_errors_name_the_file_that_was_to_be_written(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out.png"
    with pytest.raises(OSError, match="No space left on device: '.*out.png'"):  # noqa: SIM117
        with files.replacing(path) as partial:
            partial.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError, match="out.png"):  # noqa: SIM117
        with files.replacing(path) as partial:
            raise PermissionError(errno.EACCES, "Permission denied", str(partial))
    with pytest.raises(FileNotFoundError, match="other"), files.replacing(path):
        raise FileNotFoundError(errno.ENOENT, "No such file", "other")
    assert list(tmp_path.iterdir()) == []
