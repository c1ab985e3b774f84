# SPDX-License-Identifier: Apache-2.0
"""What a picture of the scenes domain holds: the ground truth that is drawn, captioned and judged.

Lengths and places are fractions of the canvas side, x to the right and y down, so that one
description can be rendered at any resolution. A scene is plain frozen data.
"""

import dataclasses
import enum
import json


class Kind(enum.StrEnum):
    """The four families of scenes."""

    SHAPES = "shapes"
    WORDS = "words"
    LANDSCAPES = "landscapes"
    MIXED = "mixed"


class Shape(enum.StrEnum):
    """The shapes that can be drawn; each is inscribed in the circle of its object's radius."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    DIAMOND = "diamond"
    CROSS = "cross"
    HEART = "heart"
    RING = "ring"


class Color(enum.StrEnum):
    """GenEval's ten colours."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"
    BROWN = "brown"
    BLACK = "black"
    WHITE = "white"


class Size(enum.StrEnum):
    """Object sizes as named in captions."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Fill(enum.StrEnum):
    """How a background is painted."""

    PLAIN = "plain"
    GRADIENT = "gradient"
    TEXTURE = "texture"


class Sky(enum.StrEnum):
    """The skies of a landscape."""

    CLEAR = "clear"
    SUNSET = "sunset"
    NIGHT = "night"
    OVERCAST = "overcast"


class Element(enum.StrEnum):
    """What can stand in a landscape besides its sky."""

    SUN = "sun"
    MOON = "moon"
    STARS = "stars"
    CLOUD = "cloud"
    MOUNTAINS = "mountains"
    HILLS = "hills"
    RIVER = "river"
    LAKE = "lake"
    SEA = "sea"
    TREES = "trees"
    HOUSE = "house"
    BOAT = "boat"
    BIRDS = "birds"
    SNOW = "snow"
    SIGN = "sign"
    BANNER = "banner"


@dataclasses.dataclass(frozen=True)
class Background:
    """The canvas of shapes and words.

    Attributes:
        fill: How it is painted: plain, gradient or texture.
        color: Name of the base colour, one of `palette.BACKGROUNDS`.
        second: Name of the gradient's or texture's other colour; empty for a plain fill.
        seed: Decides a texture's grain and a gradient's direction.
    """

    fill: Fill
    color: str
    second: str = ""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Object:
    """A coloured shape inscribed in the circle of `radius` about (`x`, `y`)."""

    shape: Shape
    color: Color
    size: Size
    x: float
    y: float
    radius: float


@dataclasses.dataclass(frozen=True)
class Text:
    """One line of words, drawn inside the box about (`x`, `y`).

    Attributes:
        words: One to three words.
        color: Colour of the letters.
        font: Name of a family in `fonts.FAMILIES`.
        x: Centre of the line, across.
        y: Centre of the line, down.
        height: Cap height of the letters.
        width: Width of the drawn line, as measured when the scene was composed.
        holder: The landscape element that the words stand in (cloud, sign or banner), or None for a
            line of its own.
    """

    words: tuple[str, ...]
    color: Color
    font: str
    x: float
    y: float
    height: float
    width: float
    holder: Element | None = None

    @property
    def string(self) -> str:
        """The line as it is read and quoted."""
        return " ".join(self.words)


@dataclasses.dataclass(frozen=True)
class Prop:
    """One element of a landscape, in the box about (`x`, `y`) of `width` by `height`.

    Elements that span the canvas (mountains, hills, river, lake, sea, stars, birds, snow) keep the
    box of the part that shows.
    """

    element: Element
    x: float
    y: float
    width: float
    height: float
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Landscape:
    """A sky and what stands below and in it, back to front."""

    sky: Sky
    props: tuple[Prop, ...]
    horizon: float

    def has(self, element: Element) -> bool:
        """Returns whether the element is in the landscape."""
        return any(prop.element == element for prop in self.props)


@dataclasses.dataclass(frozen=True)
class Scene:
    """A whole picture. `background` is None exactly when `landscape` is not."""

    kind: Kind
    background: Background | None = None
    objects: tuple[Object, ...] = ()
    texts: tuple[Text, ...] = ()
    landscape: Landscape | None = None

    def to_json(self) -> str:
        """Serialises the scene; enums become their values."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))
