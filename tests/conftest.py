# SPDX-License-Identifier: Apache-2.0
"""Eight virtual CPU devices, strict JAX, and one compilation cache for the whole session.

All of it is environment, set before jax is imported, so that subprocesses of tests inherit it.
"""

import functools
import os
import pathlib
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

# Shells let what they start in the background ignore Ctrl-C, and nohup a closed terminal; processes
# of tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

_CACHE = tempfile.mkdtemp(prefix="omnigen-tests-")

os.environ["JAX_PLATFORMS"] = "cpu"
# Without its fusion emitters XLA compiles for CPUs in half the time or less.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters "
    "--xla_force_host_platform_device_count=8"
)
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["OMNIGEN_CACHE"] = _CACHE


def pytest_unconfigure() -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The workdir of a run of one step, of a debug model with random weights in all its parts."""
    import jax
    import numpy as np

    import sizes
    from omnigen import config
    from omnigen.checkpoints import manager
    from omnigen.models.omni import Omni, OmniConfig

    model = sizes.model("nano", debug=True)
    nets = Omni(config.build(OmniConfig, model)).nets
    rng = np.random.default_rng(0)
    shapes = {name: net.shapes() for name, net in nets.items()}
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), shapes)
    workdir = tmp_path_factory.mktemp("untrained")
    saver = manager.Checkpoints(workdir, keep=1)
    saver.save(1, manager.Snapshot({"ema": params}, {}, b""), {"model": model})
    saver.close()
    return workdir


@pytest.fixture(scope="module")
def one_device() -> Iterator[None]:
    """Lets the doors see one device instead of eight: training steps compile in half the time."""
    import jax

    from omnigen import parallel

    make_mesh = functools.partial(parallel.make_mesh, devices=jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "make_mesh", make_mesh)
        yield
