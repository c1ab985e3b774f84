# SPDX-License-Identifier: Apache-2.0
"""The device mesh, and the one table that says how arrays lie on it.

Weights and activations name their dims ("embed", "batch", ...); `RULES` maps each name to a mesh
axis. Nothing else in the project knows mesh axes, so a new layout is a change of one line here. All
axes have the type Auto: XLA may partition what is not named. Activations are pinned with `shard`,
which does nothing outside `jax.set_mesh`, so model code is the same on a laptop and on a pod.
"""

import dataclasses
import difflib
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Names = Sequence[str | None]

AXES = ("slice", "data", "fsdp", "tensor", "sequence")

RULES: dict[str, str | tuple[str, ...] | None] = {
    # activations
    "batch": ("slice", "data", "fsdp"),
    "length": "sequence",
    # weights sharded for memory
    "embed": "fsdp",
    # weights and activations sharded for compute
    "mlp": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "vocab": "tensor",
    "modulation": "tensor",
    # the layers of a stack, while Muon orthogonalizes their matrices
    "matrices": ("data", "fsdp"),
    # never sharded
    "layers": None,
    "head_dim": None,
    "latent": None,
    "pixels": None,
    "positions": None,
    "cond": None,
    "norm": None,
}


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How many ways each mesh axis splits the devices; one axis may be -1, which is the rest.

    `slice` and `data` replicate weights and split the batch (`slice` across the slow network of TPU
    slices), `fsdp` splits both weights and batch, `tensor` splits heads, MLPs and the vocabulary,
    and `sequence` splits the length.
    """

    slice: int = 1
    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    sequence: int = 1


def _sizes(config: MeshConfig, num_devices: int) -> tuple[int, ...]:
    """Returns the sizes of the five axes with -1 resolved.

    Raises ValueError unless their product is `num_devices`.
    """
    sizes = dataclasses.asdict(config)
    asked = " ".join(f"{name}={size}" for name, size in sizes.items())
    divisors = [n for n in range(1, num_devices + 1) if num_devices % n == 0]
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) > 1 or any(size < 1 for size in sizes.values() if size != -1):
        raise ValueError(
            f"mesh {asked}: every axis must be >= 1, and at most one may be -1 (what is left)"
        )
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if free and num_devices % fixed == 0:
        sizes[free[0]] = num_devices // fixed
    elif free or fixed != num_devices:
        repairs = []
        for name, size in sizes.items():
            others = fixed // size if size != -1 else fixed
            if num_devices % others == 0 and not free:
                repairs.append(f"{name}={num_devices // others}")
        hint = f"; with one change: {' or '.join(repairs)}" if repairs else ""
        raise ValueError(
            f"mesh {asked} does not fit {num_devices} devices: each axis must be one of {divisors} "
            f"and their product {num_devices}{hint}"
        )
    return tuple(sizes[name] for name in AXES)


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Returns the mesh with the axes `AXES` over all devices of all hosts, or over `devices`.

    With `slice` > 1 on hardware that has slices, the slice axis follows them, so that only the
    all-reduce of gradients crosses the slow network.

    Raises:
        ValueError: If the axis sizes do not multiply to the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = _sizes(config, len(devices))
    types = (AxisType.Auto,) * len(AXES)
    slices = {getattr(device, "slice_index", 0) for device in devices}
    if sizes[0] > 1 and len(slices) > 1:
        if len(slices) != sizes[0]:
            raise ValueError(f"mesh slice={sizes[0]}, but the devices form {len(slices)} slices")
        grid = mesh_utils.create_hybrid_device_mesh(
            (1, *sizes[1:]),
            (sizes[0], 1, 1, 1, 1),
            devices=devices,
            allow_split_physical_axes=True,
        )
        return Mesh(grid, AXES, axis_types=types)
    try:
        return jax.make_mesh(sizes, AXES, types, devices=devices)
    except NotImplementedError:  # an axis that is part of a side of the torus, 128 of 16 x 16
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(grid, AXES, axis_types=types)


def _mesh_axes(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Returns the mesh axes of one entry of a PartitionSpec."""
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


def spec(names: Names) -> PartitionSpec:
    """Translates the names of an array's dims to mesh axes by `RULES`; None is not sharded.

    Raises:
        ValueError: If a name is not in `RULES`, or two dims would use the same mesh axis.
    """
    entries, used = [], {}
    for name in names:
        if name is not None and name not in RULES:
            near = difflib.get_close_matches(name, RULES, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown dim name {name!r} in {tuple(names)}; did you mean {near!r}?")
        entry = None if name is None else RULES[name]
        for axis in _mesh_axes(entry):
            if axis in used:
                raise ValueError(
                    f"dims {used[axis]!r} and {name!r} of {tuple(names)} both use mesh axis {axis}"
                )
            used[axis] = name
        entries.append(entry)
    return PartitionSpec(*entries)


def sharding(mesh: Mesh, names: Names) -> NamedSharding:
    """Returns the sharding on `mesh` of an array with dims `names`; `()` is replicated."""
    return NamedSharding(mesh, spec(names))


def tree_sharding(mesh: Mesh, axes: Any) -> Any:
    """Maps a tree whose leaves are tuples of dim names to the same tree of shardings."""
    return jax.tree.map(
        lambda names: sharding(mesh, names), axes, is_leaf=lambda node: isinstance(node, tuple)
    )


def fitting_spec(shape: Sequence[int], names: Names) -> PartitionSpec:
    """Translates names like `spec`, but splits each dim only as far as the current mesh divides it.

    A dim is split over as many of its mesh axes as divide it, so that a small batch of samples runs
    on a large mesh too; batches of training are checked by `data_shard`.

    Raises:
        ValueError: If the number of names is wrong, or `spec` refuses one.
    """
    if len(names) != len(shape):
        raise ValueError(f"{len(names)} dim names {names} for an array of shape {shape}")
    mesh = jax.sharding.get_abstract_mesh()
    entries = []
    for size, entry in zip(shape, spec(names), strict=True):
        kept: list[str] = []
        for axis in () if mesh.empty else _mesh_axes(entry):
            if size % math.prod(mesh.shape[name] for name in (*kept, axis)) == 0:
                kept.append(axis)
        entries.append(tuple(kept) or None)
    return PartitionSpec(*entries)


def shard(x: jax.Array, *names: str | None) -> jax.Array:
    """Pins the layout of an activation whose dims are called `names`; no-op outside `jax.set_mesh`.

    Raises:
        ValueError: As in `fitting_spec`.
    """
    layout = fitting_spec(x.shape, names)
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, layout)


def ways(name: str) -> int:
    """Returns the number of parts that the current mesh splits a dim of that name into.

    It is 1 outside `jax.set_mesh`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.prod(mesh.shape[axis] for axis in _mesh_axes(RULES[name]))


def platform() -> str:
    """Returns what the program that is being traced will run on: "cpu", "gpu" or "tpu".

    That is the platform of the mesh's devices, which need not be here (`omnigen.plan`); outside
    `jax.set_mesh` it is the default backend.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def initialize() -> None:
    """Joins the other hosts if the environment names any; call it before any other use of JAX.

    It does so for `JAX_COORDINATOR_ADDRESS` with `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`; a TPU
    pod on GKE or several slices; several Slurm or Open MPI tasks; and `OMNIGEN_MULTIHOST=1`, which
    lets JAX detect the cluster (TPU VMs).
    """
    env = os.environ
    if jax.distributed.is_initialized():
        return
    if env.get("JAX_COORDINATOR_ADDRESS"):
        count, index = env.get("JAX_NUM_PROCESSES"), env.get("JAX_PROCESS_ID")
        jax.distributed.initialize(
            num_processes=int(count) if count else None, process_id=int(index) if index else None
        )
    elif (
        env.get("OMNIGEN_MULTIHOST") == "1"
        or "," in env.get("TPU_WORKER_HOSTNAMES", "")
        or env.get("MEGASCALE_COORDINATOR_ADDRESS")
        or ("SLURM_STEP_NODELIST" in env and int(env.get("SLURM_NTASKS", "1")) > 1)
        or int(env.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
    ):
        jax.distributed.initialize()


def meet(what: str) -> None:
    """Waits until every process has come to the point named `what`, if there are several."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(what)


@dataclasses.dataclass(frozen=True)
class DataShard:
    """The part of every global batch that a process loads: `index` of `count` equal parts."""

    index: int = 0
    count: int = 1


def data_shard(
    batch_sharding: NamedSharding, global_batch: int, *, microbatches: int = 1
) -> DataShard:
    """Returns the part of the batch that this process feeds to its devices.

    It follows from the sharding, not from the process index: processes whose devices split only
    weights (tensor, sequence) hold the same rows and must load the same ones.

    Raises:
        ValueError: If the batch does not divide over the mesh.
    """
    split = _mesh_axes(batch_sharding.spec[0])
    ways = math.prod(batch_sharding.mesh.shape[axis] for axis in split)
    if global_batch < 1 or global_batch % (ways * microbatches):
        times = f" x {microbatches} microbatches" if microbatches > 1 else ""
        raise ValueError(
            f"global batch size {global_batch} must be a multiple of {ways} mesh parts{times}"
        )
    spans: dict[int, tuple[int, int]] = {}
    for device, index in batch_sharding.devices_indices_map((global_batch,)).items():
        start, stop, _ = index[0].indices(global_batch)
        low, high = spans.get(device.process_index, (start, stop))
        spans[device.process_index] = (min(start, low), max(stop, high))
    unique = sorted(set(spans.values()))
    return DataShard(index=unique.index(spans[jax.process_index()]), count=len(unique))


def global_array(batch_sharding: NamedSharding, local: np.ndarray, global_batch: int) -> jax.Array:
    """Joins every process's part of a batch; `local` is `[global_batch / count, ...]`."""
    return jax.make_array_from_process_local_data(
        batch_sharding, local, (global_batch, *local.shape[1:])
    )
