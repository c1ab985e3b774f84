# SPDX-License-Identifier: Apache-2.0
"""Devices to compile for: those of a TPU slice that is not here, or stand-ins for GPUs.

libtpu brings the TPU compiler, which asks for no TPU. That of GPUs wants gigabytes of CUDA
libraries: their programs are compiled for as many virtual CPU devices, so that shapes, shardings
and collectives are the real ones, while temporary memory is counted (`memory`).
"""

import os
from typing import Any

from omnigen import extras
from omnigen.topologies import Topology

# The compiler's names of slices differ from the cloud's here.
_COMPILER_NAMES = {"v7x": "tpu7x"}


def prepare(topology: Topology) -> None:
    """Sets what JAX must find in the environment; call it before JAX is imported.

    Raises:
        ValueError: If the TPU compiler is not installed.
    """
    env = os.environ
    env["JAX_PLATFORMS"] = "cpu"
    if topology.chip.is_gpu:
        kept = [flag for flag in env.get("XLA_FLAGS", "").split() if "device_count" not in flag]
        count = f"--xla_force_host_platform_device_count={topology.devices}"
        env["XLA_FLAGS"] = " ".join([*kept, count])
        return
    extras.require("plan", f"planning for {topology.name}")
    env["TPU_SKIP_MDS_QUERY"] = "1"  # there is no metadata server to ask
    env["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no TPU is taken, so several may plan at a time
    env.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    env.setdefault("TPU_ACCELERATOR_TYPE", "v5p-8")  # or it complains; the topology decides
    env.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    env.setdefault("TPU_MIN_LOG_LEVEL", "3")


def devices(topology: Topology, *, slices: int = 1) -> list[Any]:
    """Returns the devices of `slices` such slices joined by the data centre's network."""
    import jax
    from jax.experimental import topologies

    # The cache cannot read programs for devices that are not here.
    jax.config.update("jax_enable_compilation_cache", False)
    if topology.chip.is_gpu:
        if slices > 1:
            raise ValueError(f"slices is {slices}; allowed: 1 of GPUs, such as h100x64")
        assert len(jax.devices()) == topology.devices, "JAX was started before `prepare`"
        return jax.devices()
    name = _COMPILER_NAMES.get(topology.chip.name, topology.chip.name)
    wanted: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    if topology.chips == 1:
        wanted["chips_per_host_bounds"] = [1, 1, 1]
    described = topologies.get_topology_desc(
        platform="tpu", topology_name=f"{name}:{topology.grid}", **wanted
    )
    return list(described.devices)
