# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

from omnigen.checkpoints import manager

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_speedrun(tmp_path: pathlib.Path) -> None:
    """The reproduction script, with the toy: from nothing to an exported model."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    folder = str(pathlib.Path(sys.executable).parent)  # also where the environment is not activated
    environment["PATH"] = os.pathsep.join([folder, environment["PATH"]])
    script = ROOT / "launch" / "speedrun.sh"
    subprocess.run(["bash", str(script), str(tmp_path), "debug"], check=True, env=environment)
    trained = manager.load_model(tmp_path / "ar")
    exported = manager.load_model(tmp_path / "model")
    assert exported.version == trained.version
    assert exported.step == 20
    assert exported.params.keys() == {"encoder", "decoder", "ar", "head"}
    report = json.loads((tmp_path / "eval" / "results.json").read_text())
    assert report["columns"][0]["model"] == trained.version
    for i in range(4):
        with Image.open(tmp_path / f"sample-{i}.png") as image:
            assert image.info["model"] == trained.version
