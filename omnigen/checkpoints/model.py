# SPDX-License-Identifier: Apache-2.0
"""Loading a model from whatever a path points at, and writing one alone.

A path may be a workdir, a `checkpoints/<step>` folder of a run (see `checkpoint`), or a model-only
checkpoint: a folder with the Orbax items `model` and `config`. Either way the model is a dict with
the top-level keys encoder, decoder, ar, head, or some of them; that of a run is its frozen weights
and the averages of those it trains.

The checkpoint may be a stranger's. So nothing is opened before the folder was walked, and no array
is read before its shape was looked at (`store`).
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from omnigen import cli
from omnigen.checkpoints import checksums, fingerprint, quantized, store
from omnigen.checkpoints.store import DamagedError

FORMAT = 1
FOLDER = "checkpoints"
_MOST_CONFIG = 2**20  # bytes
_SMALL = 2**20  # bytes of a file that is digested before anything is compiled
_STEP = re.compile(r"0|[1-9][0-9]{0,17}")
_log = cli.logger(__name__)

Check = Callable[[dict[str, Any], Mapping[str, store.Array]], object]
"""Gets a checkpoint's config and its model's arrays by path, before they are read, and raises
ValueError if they do not fit each other."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model from a checkpoint: its run's config and its weights as numpy arrays."""

    config: dict[str, Any]
    params: dict[str, Any]
    step: int
    path: str

    @property
    def version(self) -> str:
        """Twelve hex digits that name the model; see `fingerprint`."""
        return fingerprint.version(self.config["model"], self.params)


def load_model(
    path: str | pathlib.Path, *, dtype: str | None = "float32", check: Check | None = None
) -> LoadedModel:
    """Loads a model from a workdir, a `checkpoints/<step>` folder or a model-only checkpoint.

    The devices of the training run need not exist: weights arrive as numpy arrays. Those of a run
    are its averages, with what it kept frozen. Of a workdir it is the newest sound checkpoint.

    Args:
        path: Path of the checkpoint.
        dtype: Data type of the weights; None keeps that in which they are stored, float32 of those
            that are stored in eight bits.
        check: Called before arrays are read, again for each older checkpoint that is tried.

    Raises:
        ValueError: If nothing is there, or it is truncated, damaged or no checkpoint of omnigen.
    """
    named = pathlib.Path(path).absolute()
    folders = _locate(named)
    for folder in folders:
        try:
            if folder != named:
                refuse_link(folder)
            return _load(folder, dtype=dtype, check=check)
        except DamagedError as error:
            if folder == folders[-1]:
                raise
            _log.warning("%s; taking an older one", error)
    raise AssertionError("there is always a folder")


def _load(folder: pathlib.Path, *, dtype: str | None, check: Check | None) -> LoadedModel:
    """Loads the model of one checkpoint folder."""
    sizes = store.check_folder(folder)
    items = _items_in(folder)
    found = checksums.read(folder)
    bad = _bad_files(folder, found, sizes, most=_SMALL)
    try:
        header = read_header(folder)
        arrays = {item: _model_arrays(folder, item, sizes) for item in items}
        everything = {p: a for item in items for p, a in arrays[item].items()}
        store.check_ratio(everything)
        model = quantized.declared({p.removeprefix(_AVERAGES): a for p, a in everything.items()})
        if check is not None and not bad:
            check(header["config"], model)
    except Exception as error:
        raise explain(folder, error, bad or _bad_files(folder, found, sizes)) from error
    refuse_damage(folder, bad, [])
    bad = _bad_files(folder, found, sizes)
    leaves: dict[str, np.ndarray] = {}
    digests: dict[str, str] = {}
    try:
        for item in items:
            read = store.read(folder / item, arrays[item])
            leaves |= {path.removeprefix(_AVERAGES): leaf for path, leaf in read.items()}
            if found is not None:
                digests |= checksums.on_host({item: read})
        params = _nested(quantized.unpack(leaves))
    except Exception as error:
        damage = DamagedError(f"damaged item {item}: {one_line(error)}")
        raise explain(folder, damage, bad) from error
    if found is None:
        _log.warning("%s has no digests: what it holds cannot be checked", folder)
    else:
        refuse_damage(folder, bad, checksums.damaged_leaves(found, digests))
    if dtype is not None:
        wanted = jnp.dtype(dtype)
        params = jax.tree.map(lambda leaf: leaf.astype(wanted, copy=False), params)
    return LoadedModel(header["config"], params, header["step"], path=str(folder))


_AVERAGES = "ema/"  # what of a run's state is its model


def _model_arrays(
    folder: pathlib.Path, item: str, sizes: Mapping[str, int]
) -> dict[str, store.Array]:
    """Returns the arrays of an item that belong to the model."""
    arrays = store.survey(folder, item, sizes)
    if item == "state":
        arrays = {path: a for path, a in arrays.items() if path.startswith(_AVERAGES)}
    if not arrays:
        raise DamagedError(f"{item} holds no weights")
    return arrays


def _nested(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns a tree of dicts from leaves by path."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *groups, name = path.split("/")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = leaf
    return tree


def _bad_files(
    folder: pathlib.Path,
    found: checksums.Seal | None,
    sizes: Mapping[str, int],
    *,
    most: int | None = None,
) -> list[str]:
    return [] if found is None else checksums.damaged_files(folder, found, sizes, most=most)


def read_header(folder: pathlib.Path) -> dict[str, Any]:
    """Reads what `describe` wrote.

    Raises:
        DamagedError: If it is unreadable.
        ValueError: If it has a format of the future, or nonsense in it.
    """
    try:
        header = store.read_json(folder / "config" / "metadata", most=_MOST_CONFIG)
        version, step, config = (header[key] for key in ("omnigen_format", "step", "config"))
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ValueError(f"not a checkpoint of omnigen: unreadable config: {error}") from error
    if version != FORMAT:
        shown = cli.printable(repr(version), most=40)
        raise ValueError(f"checkpoint format {shown}, but this omnigen reads {FORMAT}")
    if type(step) is not int or not 0 <= step < 2**53:
        raise ValueError(f"step is {cli.printable(repr(step), most=40)}; allowed: 0 ... 2^53 - 1")
    if not isinstance(config, dict):
        raise ValueError("not a checkpoint of omnigen: its config is no group of keys")
    return header


@dataclasses.dataclass(frozen=True)
class Blend:
    """Averages weights of a second model into those of a first.

    A model that was trained on from another's weights often lies in one valley with it, where the
    average does what either does (https://arxiv.org/abs/2109.01903).

    Attributes:
        path: Checkpoint of the second model.
        share: Its weight in the average, 0 to 1.
        parts: Parts of the model that are averaged.
    """

    path: str | pathlib.Path
    share: float
    parts: Sequence[str] = ("ar", "head")

    def __post_init__(self) -> None:
        """Refuses a share that is none."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}; allowed: 0 ... 1")

    def __call__(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the parts of both, averaged, with the other parts of the first."""
        params = dict(first)
        for part in self.parts:
            one, other = first.get(part), second.get(part)
            if one is None or jax.tree.map(np.shape, one) != jax.tree.map(np.shape, other):
                raise ValueError(f"{self.path}: {part!r} has not the arrays of the first model's")
            params[part] = jax.tree.map(
                lambda a, b: (1 - self.share) * a + self.share * b, one, other
            )
        return params


def export_model(
    path: str | pathlib.Path,
    output: str | pathlib.Path,
    *,
    dtype: str = "bfloat16",
    check: Check | None = None,
    blend: Blend | None = None,
) -> LoadedModel:
    """Writes the model of a checkpoint as a model-only checkpoint, sealed; all of it or nothing.

    Args:
        path: Path of the checkpoint.
        output: Folder to write.
        dtype: Data type on disk; "int8" is eight bits for large matrices (`quantized`).
        check: As in `load_model`.
        blend: Weights of another model to average in.

    Returns:
        The model as it will be loaded from there.

    Raises:
        ValueError: As in `load_model`, if `output` exists, or if the models do not match.
    """
    output = pathlib.Path(output).absolute()
    if output.exists():
        raise ValueError(f"{output}: already exists")
    packs = dtype == quantized.DTYPE
    model = load_model(path, dtype="float32" if packs or blend else dtype, check=check)
    if blend is not None:
        params = blend(model.params, load_model(blend.path, check=check).params)
        if not packs:
            params = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), params)
        model = dataclasses.replace(model, params=params)
    stored = quantized.pack(model.params) if packs else model.params
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    handler = ocp.CompositeCheckpointHandler(
        model=ocp.StandardCheckpointHandler(), config=ocp.JsonCheckpointHandler()
    )
    header = describe(model.config, step=model.step)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(
            partial,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(stored), config=ocp.args.JsonSave(header)
            ),
        )
    trees = {"model": stored}
    checksums.write(
        partial, step=model.step, leaves=checksums.leaves(trees, checksums.on_host(trees))
    )
    partial.rename(output)
    return load_model(output, dtype=None) if packs else dataclasses.replace(model, path=str(output))


def describe(config: Mapping[str, Any], *, step: int) -> dict[str, Any]:
    """Returns the JSON item: what is needed to use the weights, and what made them."""
    packages = ("omnigen", "jax", "flax", "optax", "orbax-checkpoint")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "omnigen_format": FORMAT,
        "step": step,
        "config": json.loads(json.dumps(config)),
        "versions": versions,
    }


def _locate(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the checkpoint folders that `path` may mean, the best first."""
    try:
        if not path.is_dir():
            raise ValueError(f"{path}: no such checkpoint folder")
        for parent in (path / FOLDER, path):
            found = [p for p in parent.glob("*") if _STEP.fullmatch(p.name) and p.is_dir()]
            if found:
                if parent != path:
                    refuse_link(parent)
                return sorted(found, key=lambda folder: int(folder.name), reverse=True)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    return [path]


def _items_in(path: pathlib.Path) -> tuple[str, ...]:
    """Returns the items with weights in a checkpoint folder."""
    if (path / "model").is_dir():
        return ("model",)
    if (path / "state").is_dir():
        return ("frozen", "state") if (path / "frozen").is_dir() else ("state",)
    entries = [cli.printable(entry.name, most=60) for entry in sorted(path.iterdir())[:6]]
    raise ValueError(
        f"{path}: no checkpoint here (looked for checkpoints/<step>, state or model; "
        f"found {', '.join(entries) or 'an empty folder'})"
    )


def refuse_link(folder: pathlib.Path) -> None:
    """Refuses a folder within the one that was named if it is a link.

    Raises:
        ValueError: If it is a link; one line says what to do instead.
    """
    if folder.is_symlink():
        raise ValueError(
            f"{folder}: refused: it is a symbolic link; put the folder itself there, or link the "
            "whole workdir"
        )


def explain(folder: pathlib.Path, error: Exception, bad: list[str]) -> ValueError:
    """Returns the error to raise when reading failed.

    It is a `DamagedError` if a file is known to be damaged, or if `error` is one.
    """
    if bad:
        return DamagedError(f"{folder}: damaged checkpoint: file {bad[0]}: {one_line(error)}")
    kind = DamagedError if isinstance(error, DamagedError) else ValueError
    return kind(f"{folder}: cannot be read: {one_line(error)}")


def refuse_damage(folder: pathlib.Path, files: list[str], leaves: list[str]) -> None:
    """Raises a `DamagedError` that names the first damaged file and array, if any."""
    if files or leaves:
        names = [f"file {name}" for name in files[:1]] + [f"array {name}" for name in leaves[:1]]
        raise DamagedError(f"{folder}: damaged checkpoint: wrong digest of {', '.join(names)}")


def one_line(error: Exception) -> str:
    """Returns the start of an error message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"
