# SPDX-License-Identifier: Apache-2.0
"""PNG files that say how they were drawn: written whole or not at all."""

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from omnigen import files

if TYPE_CHECKING:
    import numpy as np


def write(image: "np.ndarray", path: pathlib.Path, chunks: Mapping[str, str]) -> None:
    """Writes a uint8 picture `[height, width, 3]` with text chunks, through a temporary file."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_itxt(name, text)
    with files.replacing(path) as partial:
        Image.fromarray(image).save(partial, format="PNG", pnginfo=info)
