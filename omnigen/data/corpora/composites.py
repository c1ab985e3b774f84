# SPDX-License-Identifier: Apache-2.0
"""Pictures composed of drawings: subjects in relation to each other, stickers, posters and signs.

A composite follows from its style and number alone: what stands where, on which background, with
which words, and what captions say of it. Drawings of one picture are of one style. Backgrounds,
fonts and words are those of scenes, and are held out as there; a composite is for the test if one
of its subjects is, or its style.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from omnigen.data.corpora import description, drawings, subjects
from omnigen.data.corpora.arrangement import (
    BOARD_WIDTH,
    BOARDS,
    Composite,
    Figure,
    Layout,
    arrange,
    letter,
)
from omnigen.data.corpora.drawings import INKS
from omnigen.data.corpora.recipes import Art, Kind
from omnigen.data.corpora.subjects import Subject
from omnigen.data.corpus import meanings, pictures
from omnigen.data.corpus.records import Raw, Reason, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.prepare.inputs.part import NOTHING, Lost
from omnigen.dice import Dice
from omnigen.scenes import palette
from omnigen.scenes.palette import RGB
from omnigen.scenes.scene import Background, Fill, Text

PART = 128  # composites
LEAST_SUBJECTS = 20  # of a style that is worth composing
DISTANCE = 28.0  # CIE 1976, between the rim of a drawing and what lies behind it
_SEEN = 128  # least opacity, of 255, that counts as drawn
_CALM, _PLAIN, _VIVID = 1.0, 4.0, 0.25  # how likely backgrounds are: fills, plain, vivid fills


@dataclasses.dataclass(frozen=True)
class Composites:
    """Some composites of a style.

    Attributes:
        art: Recipe of the style.
        digest: Digest of everything that changes the result.
        archive: Archive of the package; its path does not count.
        drawings: Name in the package and subject of each drawing that may be used.
        start: Number of the first composite.
        stop: Number after the last.
        size: Side of the pictures in pixels.
    """

    art: Art
    digest: str
    archive: pathlib.Path = dataclasses.field(repr=False)
    drawings: tuple[tuple[str, Subject], ...] = dataclasses.field(repr=False)
    start: int
    stop: int
    size: int

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        """Draws the pictures; see `Part.read`."""
        for place, number in enumerate(range(self.start, self.stop)):
            yield Raw(self._key(number), lost[place], (), {}) if place in lost else self.at(number)

    def _key(self, number: int) -> str:
        return f"composites/{subjects.slug(self.art.style)}/{number:06d}"

    def at(self, number: int) -> Raw:
        """Draws a picture; every process draws the same."""
        key = self._key(number)
        dice = Dice("composite", key)
        composite = arrange(dice, self._pools, is_mono=self.art.is_mono)
        try:
            drawn = [self._drawing(figure) for figure in composite.figures]
            rims = [rim(one) for one in drawn]
        except Rejected as rejected:
            return Raw(key, rejected, (), {})
        ground = choose_ground(dice, rims, composite)
        text = letter(dice, composite, ground)
        image = _paint(composite, drawn, ground, text, self.size)
        captions = description.describe(dice, composite, ground, text, style=self.art.style)
        own = {
            "sketch": description.write(composite, ground, text, style=self.art.style),
            meanings.ATTRIBUTE: meanings.write(description.meaning(composite, ground, text)),
        }
        return Raw(key, image, captions, {**self._attributes(composite), **own})

    def _drawing(self, figure: Figure) -> np.ndarray:
        side, ink = round(figure.side * self.size), INKS.get(figure.ink, drawings.PLAIN_INK)
        drawn = drawings.draw(self.art, self.archive, figure.name, side=side, ink=ink)
        pixels = np.asarray(drawn)
        drawings.check_seen(pixels)
        return pixels

    @functools.cached_property
    def _pools(self) -> dict[Split, list[tuple[str, Subject]]]:
        pools: dict[Split, list[tuple[str, Subject]]] = {split: [] for split in Split}
        for name, subject in self.drawings:
            if subject.is_shape:  # captions need not say the style
                continue
            is_test = self.art.held_out or subject.is_held_out
            pools[Split.TEST if is_test else Split.TRAIN].append((name, subject))
        return pools

    def _attributes(self, composite: Composite) -> dict[str, str]:
        return {
            "license": self.art.license,
            "attribution": self.art.attribution,
            "source": self.art.source,
            "style": self.art.style,
            "subject": ", ".join(alike[0].subject.key for alike in composite.kinds),
            "layout": composite.layout,
            "split": composite.split,
        }


def parts(
    art: Sequence[tuple[Art, pathlib.Path, Sequence[tuple[str, Subject]]]],
    *,
    digest: str,
    count: int,
    size: int,
) -> list[Composites]:
    """Returns about `count` composites, cut into parts.

    Styles share them by their numbers of subjects.

    Args:
        art: Recipe, archive and drawings of each style.
        digest: Digest of everything that names subjects and changes the result.
        count: Number of composites.
        size: Side of the pictures in pixels.
    """
    usable = []
    for recipe, archive, found in art:
        chosen = tuple((name, subject) for name, subject in found if subject.is_plain)
        if recipe.kind != Kind.FLAG and len(chosen) >= LEAST_SUBJECTS:
            usable.append((recipe, archive, chosen))
    total = sum(len(chosen) for _, _, chosen in usable)
    made: list[Composites] = []
    for recipe, archive, chosen in usable:
        names = hashlib.sha256(repr(chosen).encode()).hexdigest()
        share = round(count * len(chosen) / total)
        for start in range(0, share, PART):
            stop = min(start + PART, share)
            made.append(Composites(recipe, digest + names, archive, chosen, start, stop, size))
    return made


def rim(drawn: np.ndarray) -> list[RGB]:
    """Returns the mean colours of the outline of a drawing, one for each eighth that has any.

    Raises:
        Rejected: If the drawing is too faint everywhere to have an outline.
    """
    seen = drawn[..., 3] >= _SEEN
    if not seen.any():
        raise Rejected(Reason.DAMAGED, "too faint to have an outline")
    padded = np.pad(seen, 2)
    inner = padded.copy()
    for axis in (0, 1):
        for shift in (-2, 2):
            inner &= np.roll(padded, shift, axis)
    edge = seen & ~inner[2:-2, 2:-2]
    rows, cols = np.nonzero(edge)
    middle = (seen.shape[0] / 2, seen.shape[1] / 2)
    octant = ((np.arctan2(rows - middle[0], cols - middle[1]) / np.pi + 1) * 4).astype(int) % 8
    colors = drawn[rows, cols, :3]
    means = [colors[octant == k].mean(axis=0) for k in range(8) if (octant == k).any()]
    return [(int(r), int(g), int(b)) for r, g, b in means]


def choose_ground(dice: Dice, rims: Sequence[Sequence[RGB]], composite: Composite) -> Background:
    """Returns a background on which most of every outline shows, or that on which most does."""
    outlines = [*rims, *([[BOARDS[composite.board]]] if composite.board else [])]
    if composite.layout == Layout.STICKER:
        outlines = [[(255, 255, 255)]]
    grounds, shades_GS3 = _grounds()
    shown_G = np.full(len(grounds), np.inf)  # the lower quartile of an outline's distances
    for colors in outlines:
        colors_K3 = np.array([palette.lab(color) for color in colors])
        apart_KGS = np.linalg.norm(colors_K3[:, None, None] - shades_GS3, axis=-1)
        shown_G = np.minimum(shown_G, np.quantile(apart_KGS.min(axis=-1), 0.25, axis=0))
    weights = {
        ground: _weight(ground)
        for ground, shown in zip(grounds, shown_G, strict=True)
        if shown >= DISTANCE
    }
    ground = dice.weigh(weights) if weights else grounds[int(shown_G.argmax())]
    return ground if ground.fill == Fill.PLAIN else dataclasses.replace(ground, seed=dice.seed())


def _weight(ground: Background) -> float:
    if ground.fill == Fill.PLAIN:
        return _PLAIN
    return _VIVID if {ground.color, ground.second} & {*palette.VIVID} else _CALM


@functools.cache
def _grounds() -> tuple[list[Background], np.ndarray]:
    """Returns all backgrounds but for their seeds, with the CIELAB of their shades.

    Some are there twice.
    """
    grounds = []
    for color in palette.BACKGROUNDS:
        grounds.append(Background(Fill.PLAIN, color))
        for fill in (Fill.GRADIENT, Fill.TEXTURE):
            grounds += [Background(fill, color, one) for one in palette.partners(fill, color)]
    labs = [[palette.lab(shade) for shade in palette.shades(ground)] for ground in grounds]
    most = max(map(len, labs))
    return grounds, np.array([one + one[-1:] * (most - len(one)) for one in labs])


def _paint(
    composite: Composite,
    drawn: Sequence[np.ndarray],
    ground: Background,
    text: Text | None,
    size: int,
) -> bytes:
    from PIL import Image

    from omnigen.scenes.pen import Pen
    from omnigen.scenes.render import draw_background, draw_text

    pen = Pen(size)
    draw_background(pen, ground)
    if composite.board:
        paper, height = BOARDS[composite.board], composite.room * 0.8
        rim_ = palette.mix(paper, (20, 16, 12), 0.55)
        top = (composite.room - height) / 2
        top = top if composite.side == "above" else 1 - composite.room + top
        pen.rectangle(0.5 - BOARD_WIDTH / 2, top, BOARD_WIDTH, height, rim_, round=0.04)
        pen.rectangle(0.068, top + 0.018, 0.864, height - 0.036, paper, round=0.028)
    for figure, pixels in zip(composite.figures, drawn, strict=True):
        if composite.layout == Layout.STICKER:
            pixels = _outlined(pixels, max(round(0.022 * size), 1))
        pen.image(np.ascontiguousarray(pixels), x=figure.x, y=figure.y)
    if text is not None:
        draw_text(pen, text)
    return pictures.encode(Image.fromarray(pen.picture()), lossless=True)


def _outlined(pixels: np.ndarray, width: int) -> np.ndarray:
    """Returns a drawing with a white outline, as stickers are cut."""
    from PIL import Image, ImageFilter

    wide = np.pad(pixels, ((2 * width,) * 2, (2 * width,) * 2, (0, 0)))
    front = Image.fromarray(wide)
    soft = front.getchannel("A").filter(ImageFilter.GaussianBlur(width))
    back = Image.new("RGBA", front.size, "white")
    back.putalpha(soft.point([min(value * 8, 255) for value in range(256)]))
    return np.asarray(Image.alpha_composite(back, front))
