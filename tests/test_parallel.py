# SPDX-License-Identifier: Apache-2.0
import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from omnigen import parallel


def mesh(**sizes):
    return parallel.make_mesh(parallel.MeshConfig(**sizes))


def test_mesh_takes_what_is_left():
    made = mesh(fsdp=2, tensor=2)
    assert dict(made.shape) == {"slice": 1, "data": 2, "fsdp": 2, "tensor": 2, "sequence": 1}
    assert set(made.axis_types) == {jax.sharding.AxisType.Auto}
    assert sorted(device.id for device in made.devices.flat) == list(range(8))


def test_mesh_over_some_devices():
    made = parallel.make_mesh(parallel.MeshConfig(fsdp=2), devices=jax.devices()[:4])
    assert made.shape["data"] == 2 and made.size == 4


@dataclasses.dataclass(frozen=True)
class Chip:
    """What placing devices looks at."""

    id: int
    coords: tuple[int, int, int]
    process_index: int
    device_kind: str = "TPU v6 lite"
    platform: str = "tpu"
    core_on_chip: int = 0
    slice_index: int = 0


def test_an_axis_may_be_part_of_a_side_of_the_torus():
    """128 of 16 x 16 chips: two halves of 16 x 8, not chips strewn about."""
    chips = [
        Chip(16 * y + x, (x, y, 0), 8 * (x // 2) + y // 2) for y in range(16) for x in range(16)
    ]
    made = parallel.make_mesh(parallel.MeshConfig(data=2, fsdp=128), devices=chips)
    assert made.shape["data"] == 2 and made.shape["fsdp"] == 128
    assert set(made.devices.flat) == set(chips)
    for half in made.devices.reshape(2, 128):
        sides = [{chip.coords[axis] for chip in half} for axis in (0, 1)]
        assert sorted(map(len, sides)) == [8, 16]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (dict(data=3), r"8 devices.*\[1, 2, 4, 8\].*with one change: data=8"),
        (dict(data=2, fsdp=2), r"product 8; with one change: .*data=4 or fsdp=4 or tensor=2"),
        (dict(fsdp=3), r"fsdp=3.*does not fit 8 devices"),
        (dict(fsdp=-1), "at most one may be -1"),
        (dict(tensor=0), "every axis must be >= 1"),
    ],
)
def test_mesh_that_does_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        mesh(**sizes)


def test_spec():
    assert parallel.spec(("vocab", "embed")) == P("tensor", "fsdp")
    assert parallel.spec(("batch", "length", None)) == P(
        ("slice", "data", "fsdp"), "sequence", None
    )
    assert parallel.spec(()) == P()
    with pytest.raises(ValueError, match="'mlp' and 'heads'.*both use mesh axis tensor"):
        parallel.spec(("mlp", "heads"))
    with pytest.raises(ValueError, match="unknown dim name 'layer'.*'layers'"):
        parallel.spec(("layer",))


def test_tree_sharding_places_each_shard():
    made = mesh(data=2, fsdp=2, tensor=2)
    shardings = parallel.tree_sharding(made, {"w": ("embed", "mlp"), "scale": ()})
    w = jax.device_put(np.arange(32.0).reshape(4, 8), shardings["w"])
    assert {shard.data.shape for shard in w.addressable_shards} == {(2, 4)}
    assert shardings["scale"].is_fully_replicated


def test_shard_pins_inside_a_mesh_only():
    x = jnp.ones((8, 4, 6))
    assert parallel.shard(x, "batch", "length", None) is x
    made = mesh(data=4, sequence=2)
    with jax.set_mesh(made):
        y = jax.jit(lambda x: parallel.shard(x, "batch", "length", None))(x)
    assert {shard.data.shape for shard in y.addressable_shards} == {(2, 2, 6)}
    with pytest.raises(ValueError, match="2 dim names"):
        parallel.shard(x, "batch", None)


def test_shard_splits_as_far_as_it_goes():
    with jax.set_mesh(mesh(data=2, fsdp=4)):
        y = jax.jit(lambda x: parallel.shard(x, "batch", None))(jnp.ones((6, 3)))
        z = jax.jit(lambda x: parallel.shard(x, "batch", None))(jnp.ones((5, 3)))
    assert {shard.data.shape for shard in y.addressable_shards} == {(3, 3)}
    assert {shard.data.shape for shard in z.addressable_shards} == {(5, 3)}


def test_batches_that_do_not_divide():
    batch = parallel.sharding(mesh(data=4, tensor=2), ("batch",))
    assert parallel.data_shard(batch, 8, microbatches=2) == parallel.DataShard(index=0, count=1)
    with pytest.raises(ValueError, match="global batch size 6 must be a multiple of 4"):
        parallel.data_shard(batch, 6)
    with pytest.raises(ValueError, match="12 must be a multiple of 4 mesh parts x 2 microbatches"):
        parallel.data_shard(batch, 12, microbatches=2)


WORKER = """
import sys
import jax
import numpy as np
from omnigen import parallel

parallel.initialize()
parallel.initialize()  # the second call has nothing to do
mesh = parallel.make_mesh(parallel.MeshConfig(fsdp=2, tensor=2))
batch = parallel.sharding(mesh, ("batch",))
shard = parallel.data_shard(batch, 8)
rows = np.arange(8, dtype=np.int32).reshape(shard.count, -1)[shard.index]
whole = parallel.global_array(batch, rows, 8)
total = jax.jit(lambda x: (x * jax.numpy.arange(8)).sum())(whole)
print("RESULT", jax.process_index(), jax.process_count(), shard.index, shard.count, int(total))
"""


@pytest.mark.slow
def test_four_processes_that_share_rows():
    """Four hosts of one device; pairs of them hold the same rows, as tensor splits no batch."""
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    workers = []
    for index in range(4):
        env = dict(
            os.environ,
            XLA_FLAGS=f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1",
            JAX_COORDINATOR_ADDRESS=f"localhost:{port}",
            JAX_NUM_PROCESSES="4",
            JAX_PROCESS_ID=str(index),
        )
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER], env=env, text=True, stdout=subprocess.PIPE
            )
        )
    results = []
    for worker in workers:
        output, _ = worker.communicate(timeout=120)
        assert worker.returncode == 0
        line = next(line for line in output.splitlines() if line.startswith("RESULT"))
        results.append(tuple(int(word) for word in line.split()[1:]))
    total = sum(i * i for i in range(8))
    assert results == [
        (0, 4, 0, 2, total),
        (1, 4, 0, 2, total),
        (2, 4, 1, 2, total),
        (3, 4, 1, 2, total),
    ]
