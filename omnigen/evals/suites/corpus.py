# SPDX-License-Identifier: Apache-2.0
"""Captions of a corpus, drawn beside their pictures: does a model know what it was shown?

Pictures of open domains have no judge like that of scenes. But a drawing that shows what it should
is nearer to its own caption's picture than to those of other captions, if only in coarse colours.
Words that captions quote are read by OCR, off the true pictures too.
"""

import pathlib
import re
from collections.abc import Iterator

import jax
import numpy as np

from omnigen import progress
from omnigen.data.corpus import pictures
from omnigen.data.corpus.pictures import Size
from omnigen.data.corpus.records import spread
from omnigen.data.corpus.split import Split
from omnigen.data.stream import pipeline, tars
from omnigen.data.stream.mixing import shorten
from omnigen.evals.judges import reading
from omnigen.evals.suites.samples import Reader, contact_sheet, words_right
from omnigen.generation.generate import generate
from omnigen.generation.prompt import prompt_rows
from omnigen.models.omni import Omni, to_uint8
from omnigen.nn.module import Params

BATCH = 8
CELLS = 16  # a side, whose mean colours are compared
COLUMNS = 4


class Corpus:
    """Draws the first captions of pictures at equal distances, each with a seed of its own.

    Files: `corpus-train.png` and `corpus-test.png`, pairs of the true picture and the drawn one.
    Words are read only if the extra `ocr` is installed.
    """

    name = "corpus"

    def __init__(
        self,
        omni: Omni,
        *,
        folder: str,
        output: pathlib.Path,
        count: int = 64,
        reader: Reader | None = None,
    ):
        """Judges by `count` pictures a split, or as many as there are.

        Args:
            omni: Model that draws.
            folder: Prepared corpus, or WebDataset tars.
            output: Folder for the sheets.
            count: Number of pictures of a split.
            reader: Reader of words; RapidOCR if None.

        Raises:
            ValueError: If the folder is no corpus.
        """
        self._reader = reader or (reading.rapidocr if reading.version() else None)
        self._omni, self._output, self._count = omni, output, count
        self._splits = {split: tars.open_records(folder, split) for split in Split}

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields for each split the share of zeros among `ranks`, their mean, and words read."""
        weights, limit = {**frozen, **params}, pipeline.DataConfig().max_caption_bytes
        size = Size.square(self._omni.config.image_size)
        self._output.mkdir(parents=True, exist_ok=True)
        for split, records in self._splits.items():
            with progress.work(f"corpus: reading pictures of {split}"):
                chosen = spread(
                    records, self._count, lambda r: (r.captions, pictures.load(r.image, size))
                )
            if len(chosen) < 2:
                continue
            captions = [shorten(said[0] if said else "", most=limit) for said, _ in chosen]
            true = np.stack([image for _, image in chosen])
            with progress.work(f"corpus: drawing {split}", len(captions)) as done:
                drawn = self._draw(weights, captions, done)
            pairs = np.concatenate([true, drawn], axis=2)
            sheet = contact_sheet(list(zip(pairs, captions, strict=True)), columns=COLUMNS)
            sheet.save(self._output / f"corpus-{split}.png", optimize=True)
            found = ranks(true, drawn)
            yield f"{split}_nearest", float((found == 0).mean())
            yield f"{split}_rank", float(found.mean())
            for name, images in (("", drawn), ("_of_true_pictures", true)):
                with progress.work(f"corpus: reading words of {split}"):
                    right = self._read(captions, images)
                if right:
                    yield f"{split}_word_accuracy{name}", float(np.mean(right))

    def _read(self, captions: list[str], images: np.ndarray) -> list[bool]:
        """Returns for each word that captions quote whether it stands on the picture."""
        right: list[bool] = []
        for caption, image in zip(captions, images, strict=True):
            lines = [quoted.split() for quoted in re.findall(r'"([^"]*)"', caption)]
            if self._reader and lines:
                right += words_right(self._reader, lines, image)
        return right

    def _draw(self, weights: Params, captions: list[str], done: progress.Progress) -> np.ndarray:
        """Draws pictures of captions in full batches, so that one program serves all."""
        drawn, make_keys = [], jax.vmap(jax.random.key)
        for start in range(0, len(captions), BATCH):
            some = captions[start : start + BATCH]
            prompts = prompt_rows(self._omni, some + [""] * (BATCH - len(some)))
            keys = make_keys(np.arange(start, start + BATCH, dtype=np.uint32))
            drawn.append(to_uint8(generate(self._omni, weights, prompts, keys))[: len(some)])
            done.add(len(some))
        return np.concatenate(drawn)


def ranks(true: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Returns the share of other pictures that are nearer to each drawing than its own.

    0 is best, and 0.5 chance.

    Args:
        true: True pictures, uint8 `[N, H, W, 3]`, at least two.
        drawn: Drawn pictures, uint8 `[N, H, W, 3]`, in the same order.

    Returns:
        `[N]`, shares of the N - 1 others, by the mean square between the means of 16 x 16 cells.
    """
    ours, theirs = _coarse(drawn), _coarse(true)
    distance = ((ours[:, None] - theirs[None]) ** 2).mean(axis=-1)
    return (distance < np.diag(distance)[:, None]).sum(axis=1) / (len(true) - 1)


def _coarse(images: np.ndarray) -> np.ndarray:
    """Returns means of cells, float64 `[N, CELLS * CELLS * 3]`; at most one for each pixel."""
    values = images.astype(np.float64)
    for axis in (1, 2):
        cells = min(CELLS, images.shape[axis])
        edges = np.arange(cells + 1) * images.shape[axis] // cells
        sizes = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(4)])
        values = np.add.reduceat(values, edges[:-1], axis=axis) / sizes
    return values.reshape(len(images), -1)
