# SPDX-License-Identifier: Apache-2.0
"""Eight virtual CPU devices, strict JAX, and one compilation cache for the whole session.

All of it is environment, set before jax is imported, so that subprocesses of tests inherit it.
"""

import os
import shutil
import tempfile

_CACHE = tempfile.mkdtemp(prefix="omnigen-tests-")

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["OMNIGEN_CACHE"] = _CACHE


def pytest_unconfigure() -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)
