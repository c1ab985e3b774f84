# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from omnigen import topologies


@pytest.mark.parametrize(
    ("name", "grid", "chips", "hosts", "devices"),
    [
        ("v4-8", "2x2x1", 4, 1, 4),
        ("v4-4096", "8x16x16", 2048, 512, 2048),
        ("v5e-1", "1x1", 1, 1, 1),
        ("v5e-8", "2x4", 8, 2, 8),
        ("v5e-256", "16x16", 256, 64, 256),
        ("v5p-128", "4x4x4", 64, 16, 64),
        ("v5p-512", "4x8x8", 256, 64, 256),
        ("v5p-8192", "16x16x16", 4096, 1024, 4096),
        ("v6e-16", "4x4", 16, 4, 16),
        ("v7x-8", "2x2x1", 4, 1, 8),
        ("v7x-256", "4x4x8", 128, 32, 256),
        ("h100x8", "8", 8, 1, 8),
        ("h200x64", "64", 64, 8, 64),
        ("a100x2", "2", 2, 1, 2),
    ],
)
def test_what_a_name_means(name: str, grid: str, chips: int, hosts: int, devices: int) -> None:
    """The counts are those of the clouds' own tables."""
    found = topologies.find(name)
    assert found.name == name
    assert (found.grid, found.chips, found.hosts, found.devices) == (grid, chips, hosts, devices)


@pytest.mark.parametrize("chip", topologies.CHIPS.values(), ids=lambda chip: chip.name)
def test_every_shape_has_one_name_and_whole_hosts(chip: topologies.Chip) -> None:
    named = topologies.of(chip)
    assert len(named) == len(chip.shapes)
    for name, topology in named.items():
        assert topologies.find(name) == topology
        assert topology.hosts * topology.chips_per_host == math.prod(topology.shape)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("v5p-500", "v5p-512"),
        ("v5p-4", "v5p-8"),
        ("v5e-1000", "v5e-256"),
        ("v5litepod-256", "v5e-256"),
        ("tpu7x-128", "v7x-128"),
        ("h100-8", "h100x8"),
        ("h100x7", "h100x8"),
        ("v5p", "v5p-8"),
    ],
)
def test_an_unknown_name_meets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"no topology '{name}'; the nearest is '{nearest}'"):
        topologies.find(name)


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("TPU v4", 275),
        ("TPU v5 lite", 197),
        ("TPU v5e", 197),
        ("TPU v5p", 459),
        ("TPU v5", 459),
        ("TPU v6 lite", 918),
        ("TPU7x", 2307 / 2),  # a device is half a chip
    ],
)
def test_peak_of_a_device(kind: str, peak: float) -> None:
    chip = topologies.chip_of(kind)
    assert chip is not None and chip.device_tflops == peak


def test_a_cpu_has_no_peak() -> None:
    assert topologies.chip_of("cpu") is None
