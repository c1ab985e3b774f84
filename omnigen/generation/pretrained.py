# SPDX-License-Identifier: Apache-2.0
"""A trained model ready for use, from a checkpoint or from the package."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp

from omnigen.checkpoints import checksums, manager
from omnigen.checkpoints.store import Array
from omnigen.models.omni import Omni, OmniConfig, stored_config
from omnigen.nn.module import DTYPES, Params

NANO = pathlib.Path(__file__).parents[1] / "assets" / "nano"  # the model that ships
SHIPPED = "shipped"  # what users call it wherever a checkpoint is named
PARTS = ("encoder", "decoder", "ar", "head")


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A model and its weights.

    Attributes:
        omni: Model.
        params: Weights by part, on the default device.
        version: Digest of config and weights; see `manager.LoadedModel`.
        step: Training step of the weights.
        path: Folder of the checkpoint.
    """

    omni: Omni
    params: Params
    version: str
    step: int
    path: str


def locate(path: str | os.PathLike[str] | None) -> str:
    """Returns the path of the checkpoint that a user names.

    Args:
        path: Path as it was given. `SHIPPED` and None mean the model that ships; a folder of that
            name is `./shipped`.
    """
    return str(NANO) if path in (None, SHIPPED) else os.fspath(path)


def load(
    path: str | os.PathLike[str] | None,
    *,
    needed: Collection[str],
    dtype: str | None = None,
    meanwhile: Callable[[Omni], None] | None = None,
) -> Pretrained:
    """Loads a model.

    Args:
        path: Workdir, checkpoint folder, or what `locate` takes for the model that ships.
        needed: Names of parts whose weights must be there, some of `Omni.nets`.
        dtype: Data type of weights and computation. If None it is float32 on CPUs, which have no
            fast bfloat16, and bfloat16 elsewhere.
        meanwhile: Called with the model, without its weights, while they are being read: to
            compile.

    Raises:
        ValueError: If there is no checkpoint, or it is damaged, foreign, or lacks weights.
    """
    dtype = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    place = locate(path)
    guess: futures.Future[Omni] = futures.Future()

    def check(settings: dict[str, Any], arrays: Mapping[str, Array]) -> None:
        omni = check_weights(settings, arrays, dtype=dtype)
        if not guess.done():
            guess.set_result(omni)

    with futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(manager.load_model, place, dtype=None, check=check)
        # While nothing has passed the check nothing is compiled; what is wrong, `reading` says.
        first: list[futures.Future[Any]] = [guess, reading]
        futures.wait(first, return_when=futures.FIRST_COMPLETED)
        if meanwhile is not None and guess.done():
            meanwhile(guess.result())
        loaded = reading.result()
    missing = sorted(set(needed) - loaded.params.keys())
    if missing:
        raise ValueError(f"{loaded.path}: has no weights of {', '.join(missing)}")
    found, omni = _configure(loaded.config, dtype), guess.result()  # of the newest; maybe damaged
    cast = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype), copy=False), loaded.params)
    return Pretrained(
        omni=omni if omni.config == found else Omni(found),
        params=jax.device_put(cast),
        version=loaded.version,
        step=loaded.step,
        path=loaded.path,
    )


def check_weights(
    settings: Mapping[str, Any], arrays: Mapping[str, Array], *, dtype: str | None = None
) -> Omni:
    """Compares the arrays that a checkpoint declares with its config; reads no array.

    Args:
        settings: Config of the run that made it.
        arrays: Declared arrays by path, such as `ar/norm/scale`.
        dtype: Data type of the computation of the model that is returned; the config's if None.

    Returns:
        The model of the config.

    Raises:
        ValueError: If the config is no model's or beyond all bounds, an array is not the model's or
            has another shape, or one is missing in a part that is there.
    """
    omni = Omni(_configure(settings, dtype))
    for part in sorted({path.partition("/")[0] for path in arrays}):
        if part not in omni.nets:
            raise ValueError(f"it holds weights of {part}, which no model has")
        wanted = dict(checksums.paths(omni.nets[part].shapes(), part))
        given = {path: array for path, array in arrays.items() if path.split("/")[0] == part}
        for path in sorted(wanted.keys() | given.keys()):
            here = tuple(wanted[path].shape) if path in wanted else "absent"
            there = given[path].shape if path in given else "absent"
            if here != there:
                raise ValueError(f"{path} is {there}, but {here} by its config")
            if given[path].dtype not in _DTYPES:
                raise ValueError(f"{path} is {given[path].dtype}; allowed: {', '.join(DTYPES)}")
    return omni


_DTYPES = tuple(jnp.dtype(name) for name in DTYPES)


def _configure(settings: Mapping[str, Any], dtype: str | None) -> OmniConfig:
    """Returns the model of a run's settings, computing in `dtype`, or as it was trained if None."""
    model = stored_config(settings)
    if dtype is None:
        return model
    parts = {name: dataclasses.replace(getattr(model, name), dtype=dtype) for name in PARTS}
    return dataclasses.replace(model, **parts)
