# SPDX-License-Identifier: Apache-2.0
"""The newest client, from the registry, passes the same tests; a new field of it is a failure."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.mark.slow
def test_the_newest_client_is_satisfied(tmp_path: pathlib.Path) -> None:
    """Takes 2 minutes."""
    target = str(tmp_path / "newest")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", target, "openai"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no registry is in reach")
    path = os.pathsep.join([target, os.environ.get("PYTHONPATH", "")])
    files = [str(HERE / f"test_{name}.py") for name in ("client", "responses", "conformance")]
    asked = "import openai; print(openai.__version__, openai.__file__)"
    environment = {**os.environ, "PYTHONPATH": path}
    which = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    assert target in which.stdout
    print(which.stdout)
    command = [sys.executable, "-m", "pytest", "-q", *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-5000:]
