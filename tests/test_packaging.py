# SPDX-License-Identifier: Apache-2.0
"""What is handed on: an sdist of all that git holds, and a wheel of the package made from it."""

import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
MOST_BYTES = 96e6  # a registry takes 100
BUILD = "import setuptools.build_meta as b, sys; print(b.build_sdist(sys.argv[1]))"


def tracked(*under: str) -> set[str]:
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("only a clone, and git, know what belongs here")
    command = ["git", "ls-files", *under]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An unpacked sdist, made elsewhere, so that building leaves nothing in the checkout."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-c", BUILD, str(built)]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    (archive,) = built.glob("omnigen_jax-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(built, filter="data")
    return built / archive.name.removesuffix(".tar.gz")


def test_an_sdist_holds_what_git_holds(sdist: pathlib.Path) -> None:
    held = {p.relative_to(sdist).as_posix() for p in sdist.rglob("*") if p.is_file()}
    made = {name for name in held if name.startswith("omnigen_jax.egg-info/")}
    assert held - made == tracked() | {"PKG-INFO", "setup.cfg"}


def test_a_wheel_holds_the_package(sdist: pathlib.Path, tmp_path: pathlib.Path) -> None:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(sdist)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("omnigen_jax-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == tracked("omnigen")
    assert wheel.stat().st_size < MOST_BYTES


@pytest.mark.slow
def test_tests_of_an_sdist_can_be_collected_and_run(sdist: pathlib.Path) -> None:
    """Collects all and runs some, in a minute."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, "--collect-only"], cwd=sdist, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    some = ["tests/test_sequence.py", "tests/test_config.py", "tests/test_house.py"]
    done = subprocess.run([*command, *some], cwd=sdist, capture_output=True, text=True)
    assert done.returncode == 0 and re.search(r"\d+ passed", done.stdout), done.stdout[-2000:]


@pytest.mark.parametrize("name", ["launch/Dockerfile", "launch/tpu_vm.sh"])
def test_images_and_launchers_install_what_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    named = re.findall(r"EXTRAS=([\w,]+)|\.\[([\w,]+)\]", text)
    extras = {extra for pair in named for names in pair for extra in names.split(",") if extra}
    assert extras and all(f'"{extra}": ' in setup for extra in extras)
    for copied in re.findall(r"^COPY (.+) \S+$", text, flags=re.MULTILINE):
        assert all((ROOT / path).exists() for path in copied.split())
