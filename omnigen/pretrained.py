# SPDX-License-Identifier: Apache-2.0
"""A trained model ready for use, from a checkpoint or from the package."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Collection
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp

from omnigen import config
from omnigen.models.omni import Omni, OmniConfig
from omnigen.nn.module import Params
from omnigen.training import checkpoint

NANO = pathlib.Path(__file__).parent / "assets" / "nano"  # the model that ships
PARTS = ("tokenizer", "decoder", "ar", "head")


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A model and its weights.

    Attributes:
        omni: the model.
        params: weights by part, on the default device.
        version: names config and weights; see `checkpoint.LoadedModel`.
        step: training step of the weights.
        path: the checkpoint's folder.
    """

    omni: Omni
    params: Params
    version: str
    step: int
    path: str


def load(
    path: str | os.PathLike[str] | None,
    *,
    needed: Collection[str],
    dtype: str | None = None,
    meanwhile: Callable[[Omni], None] | None = None,
) -> Pretrained:
    """Loads a model.

    Args:
        path: a workdir, a checkpoint folder, or None for the model that ships.
        needed: the weights that must be there: some of `Omni.nets`.
        dtype: of weights and computation; float32 on CPUs, which have no fast bfloat16, and
            bfloat16 elsewhere, if None.
        meanwhile: gets the model, without its weights, while they are being read: to compile.

    Raises:
        ValueError: no checkpoint there, a damaged or foreign one, or one that lacks weights.
    """
    dtype = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    place = NANO if path is None else os.fspath(path)
    with futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(checkpoint.load_model, place, dtype=None)
        guess = None
        if meanwhile is not None:
            try:
                guess = Omni(_configure(checkpoint.peek(place), dtype))
                meanwhile(guess)
            except ValueError:  # what is wrong, the other thread says
                guess = None
        loaded = reading.result()
    missing = sorted(set(needed) - loaded.params.keys())
    if missing:
        raise ValueError(f"{loaded.path}: has no weights of {', '.join(missing)}")
    found = _configure(loaded.config, dtype)
    cast = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype), copy=False), loaded.params)
    return Pretrained(
        omni=guess if guess and guess.config == found else Omni(found),
        params=jax.device_put(cast),
        version=loaded.version,
        step=loaded.step,
        path=loaded.path,
    )


def _configure(settings: dict[str, Any], dtype: str) -> OmniConfig:
    """The model of a run's settings, computing in `dtype`."""
    model = config.build(OmniConfig, settings["model"], "model")
    parts = {name: dataclasses.replace(getattr(model, name), dtype=dtype) for name in PARTS}
    return dataclasses.replace(model, **parts)
