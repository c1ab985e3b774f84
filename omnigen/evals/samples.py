# SPDX-License-Identifier: Apache-2.0
"""Held-out prompts, one picture each: a contact sheet for the eye, and words read back by OCR.

A word counts as read if its letters and digits, lower-cased, stand in what OCR reads off the
picture; each letter that was read serves one word. OCR is no perfect reader of small coloured
letters, so the share that it reads off the true pictures is given beside the model's.
"""

import pathlib
import textwrap
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from PIL import Image, ImageDraw

from omnigen.data import pipeline
from omnigen.data.scenes.scene import Kind, Scene
from omnigen.models.omni import Omni, to_uint8
from omnigen.nn.module import Params

Reader = Callable[[np.ndarray], str]  # a uint8 picture to all text on it

LONGEST_WORD = 8  # letters
COLUMNS = 8
CAPTION_LINES = 6
ENLARGE = 4  # OCR wants letters of 30 pixels and more


class Samples:
    """Draws the first held-out prompts of each kind with seed 0 and writes what came out.

    Files: `samples.png`, the contact sheet, and `samples/KIND-NUMBER.png`. Words are read only if
    the extra `ocr` is installed.
    """

    name = "samples"

    def __init__(
        self, omni: Omni, *, output: pathlib.Path, count: int = 16, reader: Reader | None = None
    ):
        """Judges by `count` prompts of each kind; `reader` is RapidOCR if None."""
        self._omni, self._output, self._count = omni, output, count
        self._reader = reader or rapidocr()

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields percentages of words of at most `LONGEST_WORD` letters that were read."""
        weights = {**frozen, **params}
        data = pipeline.DataConfig(image_size=self._omni.config.image_size)
        (self._output / "samples").mkdir(parents=True, exist_ok=True)
        cells, ours, theirs, words = [], 0, 0, 0
        for kind in Kind:
            for number, example in enumerate(
                pipeline.eval_examples(data, kind, count=self._count, start=0)
            ):
                image = self._draw(weights, example.caption)
                Image.fromarray(image).save(self._output / "samples" / f"{kind}-{number:02d}.png")
                cells.append((image, example.caption))
                wanted = short_words(example.scene)
                words += len(wanted)
                if self._reader and wanted:
                    ours += found(wanted, self._reader(image))
                    theirs += found(wanted, self._reader(example.image))
        contact_sheet(cells).save(self._output / "samples.png", optimize=True)
        if self._reader and words:
            yield "words_read_percent", 100.0 * ours / words
            yield "words_read_off_true_pictures_percent", 100.0 * theirs / words

    def _draw(self, weights: Params, caption: str) -> np.ndarray:
        """One picture, by the program that `omnigen.sample` runs."""
        keys = jax.random.key(0)[None]
        return to_uint8(self._omni.generate(weights, self._omni.prompts([caption]), keys))[0]


def short_words(scene: Scene) -> list[str]:
    """The letters and digits of the scene's words of at most `LONGEST_WORD`, lower-cased."""
    words = [_plain(word) for text in scene.texts for word in text.words]
    return [word for word in words if 0 < len(word) <= LONGEST_WORD]


def found(words: Iterable[str], read: str) -> int:
    """How many of the words stand in what was read, the longest first, each letter used once."""
    rest, count = _plain(read), 0
    for word in sorted(words, key=len, reverse=True):
        if word in rest:
            rest, count = rest.replace(word, "\n", 1), count + 1
    return count


def _plain(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def rapidocr() -> Reader | None:
    """A reader of enlarged pictures, or None if RapidOCR is not installed."""
    try:
        from rapidocr import RapidOCR  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    engine = RapidOCR(params={"Global.log_level": "error"})

    def read(image_HWC: np.ndarray) -> str:
        height, width, _ = image_HWC.shape
        large = Image.fromarray(image_HWC).resize((width * ENLARGE, height * ENLARGE))
        result = engine(np.asarray(large)[:, :, ::-1])
        return "".join(getattr(result, "txts", None) or ())

    return read


def contact_sheet(cells: list[tuple[np.ndarray, str]]) -> Image.Image:
    """Pictures in rows of `COLUMNS`, each above its prompt."""
    height, width, _ = cells[0][0].shape
    side, line = max(width, 160), 11
    row_height = height + (CAPTION_LINES + 1) * line
    columns, rows = min(len(cells), COLUMNS), -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (columns * side, rows * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, caption) in enumerate(cells):
        x, y = i % COLUMNS * side, i // COLUMNS * row_height
        sheet.paste(Image.fromarray(image), (x + (side - width) // 2, y))
        lines = textwrap.wrap(caption, side // 6, max_lines=CAPTION_LINES, placeholder=" …")
        for number, text in enumerate(lines):
            draw.text((x + 4, y + height + 2 + number * line), text, fill="black", font_size=10)
    return sheet
