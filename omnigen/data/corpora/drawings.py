# SPDX-License-Identifier: Apache-2.0
"""From packages to captioned pictures: parts that `ingest` reads like any other input."""

import dataclasses
import functools
import io
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from omnigen.data.corpora import recipes, subjects
from omnigen.data.corpora.recipes import Art, Kind
from omnigen.data.corpora.subjects import Emoji, Subject
from omnigen.data.corpus import meanings, pictures
from omnigen.data.corpus.records import Raw, Reason, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.prepare.inputs.part import NOTHING, Lost
from omnigen.dice import Dice
from omnigen.scenes import sketch
from omnigen.scenes.scene import Background, Fill
from omnigen.wording.meaning import COLORS, Meaning, Thing

if TYPE_CHECKING:
    from PIL import Image

PART = 256  # drawings
SEEN, SEEN_SHARE = 40, 0.03  # difference from the background, of 255, of how much of a drawing
INNER = 0.88  # of the side, for the drawing
PLAIN_SHARE = 0.5  # of white backgrounds, which captions do not mention
GROUNDS = {
    "light blue": "#bfe3ff",
    "pale yellow": "#fff3b0",
    "pink": "#ffd0dc",
    "mint green": "#c9f2d6",
    "light gray": "#dddddd",
    "lavender": "#e0d4fa",
    "peach": "#ffd9bd",
    "dark blue": "#1d2f5e",
    "black": "#111111",
    "teal": "#3aa6a0",
}
INKS = {
    "black": "#111111",
    "red": "#d62728",
    "blue": "#1f5fd0",
    "green": "#1e8e3e",
    "purple": "#7b2fbe",
    "orange": "#e8710a",
    "brown": "#7a4a21",
    "teal": "#0f8b8d",
}
PLAIN_INK = "#222222"
WHITE = Background(Fill.PLAIN, "white")
MEDIA = {Kind.EMOJI: "an emoji", Kind.ICON: "an icon", Kind.FLAG: "a picture"}


@dataclasses.dataclass(frozen=True)
class Drawings:
    """Some drawings of a package, of one style.

    Attributes:
        art: Recipe of the package.
        digest: Digest of everything that names subjects and changes the result.
        archive: Archive of the package; its path does not count.
        drawings: Name in the package and subject of each drawing.
        size: Side of the pictures in pixels.
        grounds: Number of backgrounds that each stands on, if it has colours and is no flag.
    """

    art: Art
    digest: str
    archive: pathlib.Path = dataclasses.field(repr=False)
    drawings: tuple[tuple[str, Subject], ...]
    size: int
    grounds: int = 1

    def __len__(self) -> int:
        return len(self.drawings) * (1 if self._is_white else self.grounds)

    @property
    def _is_white(self) -> bool:
        """Whether every drawing stands on white."""
        return self.art.is_mono or self.art.kind == Kind.FLAG

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        """Draws the pictures; see `Part.read`. If one of a drawing is lost, all of it is."""
        each = len(self) // max(len(self.drawings), 1)
        for place, (name, subject) in enumerate(self.drawings):
            numbers = range(place * each, (place + 1) * each)
            why = [lost[number] for number in numbers if number in lost]
            key = f"{subjects.slug(self.art.style)}/{name}"
            dice = Dice("look", key)
            first = "" if self._is_white or dice.chance(PLAIN_SHARE) else dice.pick(list(GROUNDS))
            ink = dice.pick(list(INKS)) if self.art.is_mono else ""
            drawn = why[0] if why else self._drawn(name, INKS.get(ink, PLAIN_INK))
            others = [ground for ground in ("", *GROUNDS) if self._is_white or shows(drawn, ground)]
            for more in range(each):
                ground = first if not more and first in others else dice.pick(others or [""])
                others = [other for other in others if other != ground]
                color = GROUNDS.get(ground, "white")
                image = drawn if isinstance(drawn, Rejected) else _place(drawn, self.size, color)
                own = f"{key}/{subjects.slug(ground or 'white')}" if more else key
                said = self._captions(subject, ink, ground)
                title = f"{ink} {subject.name}" if ink else subject.name
                behind = f"p({ground})" if ground else sketch.ground(WHITE)
                placed = figure(title, 0.5, 0.5, INNER)
                known = {
                    **self._attributes(subject),
                    "sketch": f"~{self.art.style}{behind}{placed}",
                }
                if subject.is_plain:
                    known[meanings.ATTRIBUTE] = meanings.write(meaning(subject, ink, ground))
                yield Raw(own, image, said, known)

    def _drawn(self, name: str, ink: str) -> "Image.Image | Rejected":
        """Returns a drawing as RGBA, or why there is none."""
        try:
            drawn = draw(self.art, self.archive, name, side=round(self.size * INNER), ink=ink)
            check_seen(np.asarray(drawn))
        except Rejected as rejected:
            return rejected
        return drawn

    def _captions(self, subject: Subject, ink: str, ground: str) -> tuple[str, ...]:
        style, medium = self.art.style, MEDIA[self.art.kind]
        said = subjects.captions(subject, style=style, medium=medium, color=ink, ground=ground)
        return tuple(said)

    def _attributes(self, subject: Subject) -> dict[str, str]:
        is_test = self.art.held_out or subject.is_held_out
        return {
            "license": self.art.license,
            "attribution": self.art.attribution,
            "source": self.art.source,
            "style": self.art.style,
            "subject": subject.key,
            "split": Split.TEST if is_test else Split.TRAIN,
        }


def parts(
    art: Art,
    archive: pathlib.Path,
    found: Sequence[tuple[str, Subject]],
    *,
    digest: str,
    size: int,
    grounds: int = 1,
) -> list[Drawings]:
    """Returns the drawings of a package, cut into parts; `found` comes from `named`."""
    chunks = [tuple(found[start : start + PART]) for start in range(0, len(found), PART)]
    return [Drawings(art, digest, archive, chunk, size, grounds) for chunk in chunks]


def named(art: Art, archive: pathlib.Path, emoji: Emoji) -> Iterator[tuple[str, Subject]]:
    """Yields the drawings of a package that have a name, one of each subject.

    A subject that is of some colour by its name is not drawn in another one. Of drawings that are
    the same, such as the flags of Spain and Ceuta, the one with the shortest name is taken: one
    picture has one name, and is not held out under another.
    """
    found: dict[str, tuple[str, Subject]] = {}
    for name, subject in _all_named(art, archive, emoji):
        if subject is None or subject.key in found or name in art.skip:
            continue
        if not (art.is_mono and subject.has_color):
            found[subject.key] = name, subject
    kept: dict[bytes, tuple[str, Subject]] = {}
    for name, subject in sorted(found.values(), key=lambda one: len(one[1].name)):
        kept.setdefault(_source(art, archive, name), (name, subject))
    chosen = {subject.key for _, subject in kept.values()}
    yield from (one for key, one in found.items() if key in chosen)


def _all_named(
    art: Art, archive: pathlib.Path, emoji: Emoji
) -> Iterator[tuple[str, Subject | None]]:
    if art.kind == Kind.FLAG:
        for country in json.loads(recipes.members(archive, "package")["country.json"]):
            more = (country.get("capital"), country.get("continent"))
            words = tuple(word for word in more if word)
            name = pathlib.PurePosixPath(country["flag_4x3"]).name
            yield name, Subject(f"flag of {country['name']}", words)
    elif art.folder:
        for name in sorted(recipes.members(archive, art.folder)):
            yield name, emoji.by_code(pathlib.PurePosixPath(name).stem)
    else:
        icons = recipes.read_json(archive, "package/icons.json")["icons"]
        chars = recipes.read_json(archive, "package/chars.json")
        # Sizes of the same icon: the largest first, which has the most detail.
        names = sorted(icons, key=lambda name: (re.sub(r"-\d+$", "", name), -_number(name)))
        by_name = {name: emoji.by_code(hexcode) for hexcode, name in chars.items()}
        for name in names:
            if icons[name].get("hidden"):
                continue
            if art.kind == Kind.ICON:
                yield name, subjects.icon(name)
            else:
                yield name, by_name.get(name) if chars else emoji.by_name(name)


def _source(art: Art, archive: pathlib.Path, name: str) -> bytes:
    """Returns what a drawing is made from."""
    if art.folder:
        return recipes.members(archive, art.folder)[name]
    return json.dumps(_icons(archive)["icons"][name], sort_keys=True).encode()


def _number(name: str) -> int:
    found = re.search(r"-(\d+)$", name)
    return int(found[1]) if found else 0


def draw(
    art: Art, archive: pathlib.Path, name: str, *, side: int, ink: str = PLAIN_INK
) -> "Image.Image":
    """Renders a drawing as RGBA.

    Args:
        art: Recipe of its package.
        archive: Archive of the package.
        name: Name of the drawing in it.
        side: Longer side in pixels.
        ink: Colour of what has none of its own.

    Raises:
        Rejected: If the drawing cannot be drawn.
    """
    from PIL import Image

    if art.folder:
        data = recipes.members(archive, art.folder)[name]
        if not name.endswith(".svg"):
            image = Image.open(io.BytesIO(data), formats=["WEBP", "PNG"]).convert("RGBA")
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            return image
        svg = data.decode("utf-8")
    else:
        svg = _svg(_icons(archive), name).replace("currentColor", ink)
    import resvg_py

    width, height = (side, None) if _is_wide(svg) else (None, side)
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg, width=width, height=height, skip_system_fonts=True
        )
    except ValueError as error:
        raise Rejected(Reason.DAMAGED, str(error)) from error
    return Image.open(io.BytesIO(bytes(png)), formats=["PNG"]).convert("RGBA")


@functools.lru_cache(2)
def _icons(archive: pathlib.Path) -> dict:
    return recipes.read_json(archive, "package/icons.json")


def _svg(icons: dict, name: str) -> str:
    """Returns an SVG file of an Iconify drawing."""
    icon = icons["icons"][name]
    left, top = icon.get("left", 0), icon.get("top", 0)
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">'
        f"{icon['body']}</svg>"
    )


def _is_wide(svg: str) -> bool:
    found = re.search(r'viewBox="[-\d.]+[ ,]+[-\d.]+[ ,]+([\d.]+)[ ,]+([\d.]+)"', svg)
    return not found or float(found[1]) >= float(found[2])


def write(title: str, ground: str, *, style: str) -> str:
    """Returns the sketch of a drawing that stands alone, on one of `GROUNDS` or on white."""
    behind = f"p({ground})" if ground else sketch.ground(WHITE)
    return f"~{style}{behind}{figure(title, 0.5, 0.5, INNER)}"


def meaning(subject: Subject, ink: str, ground: str) -> Meaning:
    """Returns all that captions may tell of a drawing that stands alone."""
    thing = inked(subject.name, ink)
    return Meaning("things", (thing,), background=ground or "white", only=True)


def inked(name: str, ink: str, **told: Any) -> Thing:
    """Returns a drawing in a colour as a thing; a colour that no thing has is part of its name."""
    if ink and ink not in COLORS:
        return Thing(f"{ink} {name}", **told)
    return Thing(name, color=ink or None, **told)


def figure(title: str, x: float, y: float, side: float) -> str:
    """Returns a drawing as sketches write it: its name, then its centre and longer side.

    `<red apple>gge` is in the middle and almost half as long as the canvas.
    """
    return f"<{title}>{sketch.digits(x, y, side)}"


def shows(drawn: "Image.Image | Rejected", ground: str) -> bool:
    """Returns whether a drawing can be told from a background of `GROUNDS`, or of white if ""."""
    if isinstance(drawn, Rejected):
        return True
    from PIL import ImageColor

    rgba = np.asarray(drawn)
    rgb = rgba[rgba[..., 3] >= 128][:, :3].astype(np.int16)
    apart = np.abs(rgb - ImageColor.getrgb(GROUNDS.get(ground, "white"))[:3]).max(axis=-1)
    return bool((apart >= SEEN).mean() >= SEEN_SHARE) if len(rgb) else True


def check_seen(drawn: np.ndarray) -> None:
    """Refuses a drawing, RGBA, on which there is nothing."""
    if drawn[..., 3].max() == 0:
        raise Rejected(Reason.DAMAGED, "nothing is drawn")


def _place(drawn: "Image.Image", size: int, ground: str) -> bytes:
    """Returns a file with the drawing in the middle of a square of one colour."""
    from PIL import Image

    image = Image.new("RGB", (size, size), ground)
    image.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2), mask=drawn)
    return pictures.encode(image, lossless=True)
