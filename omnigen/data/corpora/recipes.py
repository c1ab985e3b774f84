# SPDX-License-Identifier: Apache-2.0
"""Which packages hold art that may be trained on, and how a pinned one is had from npm."""

import dataclasses
import enum
import functools
import hashlib
import json
import os
import pathlib
import subprocess
import tarfile
import tempfile
from typing import Any

RECIPES = pathlib.Path(__file__).with_name("recipes.json")


class Tier(enum.StrEnum):
    """What a licence asks of those who pass the art on."""

    PERMISSIVE = "permissive"
    ATTRIBUTION = "attribution"
    COPYLEFT = "copyleft"


class Kind(enum.StrEnum):
    """How drawings are named."""

    EMOJI = "emoji"
    ICON = "icon"
    FLAG = "flag"


@dataclasses.dataclass(frozen=True)
class Package:
    """A pinned npm package.

    Attributes:
        package: Name of the package.
        version: Version, which is pinned.
        sha256: SHA-256 of its archive.
        license: SPDX identifier of what is taken from it.
        attribution: Authors of the art.
    """

    package: str
    version: str
    sha256: str
    license: str
    attribution: str

    @property
    def source(self) -> str:
        """The name and version."""
        return f"{self.package}@{self.version}"


@dataclasses.dataclass(frozen=True)
class Art(Package):
    """A package of drawings in one style.

    Attributes:
        style: Name of the style in captions.
        kind: How its drawings are named.
        tier: What its licence asks.
        folder: Folder of the drawings in the archive; empty if they are in an Iconify `icons.json`.
        is_mono: Whether the drawings have no colours of their own.
        held_out: Whether the whole style is for the test.
        skip: Names of drawings to leave out, such as trademarks.
    """

    style: str
    kind: Kind
    tier: Tier
    folder: str = ""
    is_mono: bool = False
    held_out: bool = False
    skip: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Recipes:
    """All recipes.

    Attributes:
        names: Package that names emoji.
        art: Packages that draw.
    """

    names: Package
    art: tuple[Art, ...]


def read() -> Recipes:
    """Reads the recipes of this version."""
    fields = json.loads(RECIPES.read_text("utf-8"))
    art = []
    for row in fields["art"]:
        row = {**row, "kind": Kind(row["kind"]), "tier": Tier(row["tier"])}
        art.append(Art(**{**row, "skip": tuple(row.get("skip", ()))}))
    return Recipes(Package(**fields["names"]), tuple(art))


def fetch(package: Package, cache: pathlib.Path) -> pathlib.Path:
    """Returns the archive of a package, from the cache or by the npm client; nothing in it is run.

    Raises:
        ValueError: If npm is missing or fails, or the archive is not the pinned one.
    """
    name = f"{package.package.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
    path = cache / name
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            try:
                command = ["npm", "pack", "--silent", "--ignore-scripts", package.source]
                subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            except FileNotFoundError as error:
                text = "npm, which downloads the packages, is not installed: it comes with Node.js"
                raise ValueError(text) from error
            except subprocess.CalledProcessError as error:
                raise ValueError(f"npm pack {package.source}: {error.stderr.strip()}") from error
            os.replace(pathlib.Path(folder, name), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise ValueError(f"{path} has the digest {digest} instead of {package.sha256}; remove it")
    return path


@functools.lru_cache(2)
def members(path: pathlib.Path, folder: str) -> dict[str, bytes]:
    """Returns the files of an archive below a folder, by name; nothing is unpacked."""
    found = {}
    with tarfile.open(path) as tar:
        for info in tar:
            if info.isreg() and info.name.startswith(f"{folder}/"):
                file = tar.extractfile(info)
                assert file is not None
                found[info.name.removeprefix(f"{folder}/")] = file.read()
    return found


def read_json(path: pathlib.Path, name: str) -> Any:
    """Reads a JSON file of an archive."""
    with tarfile.open(path) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return json.load(file)
