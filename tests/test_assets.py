# SPDX-License-Identifier: Apache-2.0
"""The model that ships: small enough, whole, and drawing what it should from the command line."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from omnigen.evals.suites import exact
from omnigen.evals.suites.reconstruction import Reconstruction
from omnigen.generation import pretrained
from omnigen.generation.generate import generate
from omnigen.generation.prompt import prompt_rows
from omnigen.models.omni import to_uint8

PARTS = ("encoder", "decoder", "ar", "head")

pytestmark = pytest.mark.skipif(not pretrained.NANO.is_dir(), reason="no model in this checkout")


@pytest.fixture(scope="module")
def nano() -> pretrained.Pretrained:
    return pretrained.load(None, needed=PARTS)


def test_fits_in_the_package() -> None:
    files = [path for path in pretrained.NANO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 96e6


def test_reconstructs_held_out_scenes(nano: pretrained.Pretrained) -> None:
    report = dict(Reconstruction(nano.omni, count=8, batch_size=8).run({}, nano.params))
    assert report["psnr_dB"] >= 34.0


def test_draws_from_the_command_line(nano: pretrained.Pretrained, tmp_path: pathlib.Path) -> None:
    """As a user runs it: another process, one device, XLA's optimizations on."""
    ours = ("JAX_", "XLA_", "OMNIGEN_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"OMNIGEN_CACHE": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}
    pictures = []
    for name in ("first.png", "second.png"):
        output = tmp_path / name
        command = [sys.executable, "-m", "omnigen.sample", "--output", str(output)]
        prompt = "a large red circle on a white background"
        ran = subprocess.run(
            [*command, "--prompt", prompt, "--explain"],
            check=True,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert re.fullmatch("a red circle, [a-z ]+, large; on plain white\n", ran.stdout)
        assert "warning" not in ran.stderr
        with Image.open(output) as image:
            assert image.info["model"] == nano.version
            assert re.fullmatch("pw1rC[0-9a-v]{3}", image.info["sketch"])
            pictures.append(np.asarray(image).astype(int))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    red, green, blue = np.moveaxis(pictures[0], -1, 0)
    is_white = pictures[0].min(axis=-1) > 200
    is_red = (red > 150) & (green < 100) & (blue < 100)
    assert is_white.mean() > 0.5 and is_red.mean() > 0.03


def test_draws_what_it_is_told(nano: pretrained.Pretrained) -> None:
    """A count, two places, colours that were never trained together, a scene of eight."""
    prompts = exact.all_prompts()
    wanted = {"counting_5_8": False, "position": False, "color_attr": True, "scene_8": True}
    asked = [
        next(p for p in prompts if p["tag"] == tag and p["held_out"] == held_out)
        for tag, held_out in wanted.items()
    ]
    keys = jax.vmap(jax.random.key)(np.zeros(len(asked), np.uint32))
    rows = prompt_rows(nano.omni, [metadata["prompt"] for metadata in asked])
    images = to_uint8(generate(nano.omni, nano.params, rows, keys))
    for metadata, image in zip(asked, images, strict=True):
        found = exact.verdict(metadata, image)
        assert found["strict"], (metadata["prompt"], found["reasons"])
