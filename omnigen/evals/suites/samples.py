# SPDX-License-Identifier: Apache-2.0
"""Held-out prompts, one picture each: a contact sheet for the eye, and words read back by OCR.

OCR is no perfect reader of small coloured letters, so the share of words that it reads off the true
pictures is given beside the model's.
"""

import pathlib
import textwrap
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from PIL import Image, ImageDraw

from omnigen import progress
from omnigen.data.stream import pipeline, world
from omnigen.evals.judges import reading
from omnigen.generation.generate import generate
from omnigen.generation.prompt import prompt_rows
from omnigen.models.omni import Omni, to_uint8
from omnigen.nn.module import Params
from omnigen.scenes.scene import Kind

Reader = Callable[[np.ndarray], Sequence[reading.Line]]

COLUMNS = 8
CAPTION_LINES = 6


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
        self._reader = reader or (reading.rapidocr if reading.version() else None)

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields shares of words that were read letter for letter."""
        weights = {**frozen, **params}
        data = pipeline.DataConfig(image_size=self._omni.config.image_size)
        (self._output / "samples").mkdir(parents=True, exist_ok=True)
        cells, ours, theirs, words = [], 0, 0, 0
        with progress.work("samples: drawing pictures", self._count * len(Kind)) as done:
            for kind, number, example in done.each(self._examples(data)):
                image = self._draw(weights, example.caption)
                Image.fromarray(image).save(self._output / "samples" / f"{kind}-{number:02d}.png")
                cells.append((image, example.caption))
                lines = [text.words for text in example.scene.texts]
                if self._reader and lines:
                    both = (image, example.image)
                    right = [words_right(self._reader, lines, each) for each in both]
                    ours, theirs = ours + sum(right[0]), theirs + sum(right[1])
                    words += len(right[0])
        contact_sheet(cells).save(self._output / "samples.png", optimize=True)
        if self._reader and words:
            yield "word_accuracy", ours / words
            yield "word_accuracy_of_true_pictures", theirs / words

    def _examples(self, data: pipeline.DataConfig) -> Iterator[tuple[Kind, int, world.Example]]:
        """Yields kind, number and held-out scene."""
        for kind in Kind:
            found = world.eval_examples(data, kind, count=self._count, start=0)
            yield from ((kind, number, example) for number, example in enumerate(found))

    def _draw(self, weights: Params, caption: str) -> np.ndarray:
        """Draws one picture, by the program that `omnigen.sample` runs."""
        keys = jax.random.key(0)[None]
        return to_uint8(generate(self._omni, weights, prompt_rows(self._omni, [caption]), keys))[0]


def words_right(
    reader: Reader, lines: Sequence[Sequence[str]], image: np.ndarray
) -> tuple[bool, ...]:
    """Returns for each word of some lines whether it stands on the picture."""
    return reading.compare(lines, " ".join(line.text for line in reader(image))).right


def contact_sheet(cells: list[tuple[np.ndarray, str]], *, columns: int = COLUMNS) -> Image.Image:
    """Returns pictures in rows of `columns`, each above its prompt."""
    height, width, _ = cells[0][0].shape
    side, line = max(width, 160), 11
    row_height = height + (CAPTION_LINES + 1) * line
    columns, rows = min(len(cells), columns), -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * side, rows * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, caption) in enumerate(cells):
        x, y = i % columns * side, i // columns * row_height
        sheet.paste(Image.fromarray(image), (x + (side - width) // 2, y))
        lines = textwrap.wrap(caption, side // 6, max_lines=CAPTION_LINES, placeholder=" …")
        for number, text in enumerate(lines):
            draw.text((x + 4, y + height + 2 + number * line), text, fill="black", font_size=10)
    return sheet
