# SPDX-License-Identifier: Apache-2.0
"""The colours that a landscape's things have under its sky, and what drawing one of them needs."""

import dataclasses

from omnigen.dice import Dice
from omnigen.scenes import palette
from omnigen.scenes.palette import RGB
from omnigen.scenes.pen import Pen
from omnigen.scenes.scene import Element, Landscape, Prop, Sky

NIGHT_BLUE = (10, 14, 46)
SAND = (238, 214, 160)


@dataclasses.dataclass(frozen=True)
class Light:
    """The colours of nature under a sky.

    Attributes:
        sky: Colours of the sky from the top down to the horizon.
        far: Colour of distant mountains.
        near: Colour of the mountains in front of them.
        cap: Colour of snow.
        grass: Colour of a meadow.
        water: Colours of water from the horizon to the bottom.
        shine: Colour of glints on water.
        leaf: Colour of trees.
        shadow: How far the colours of other things go towards night blue.
    """

    sky: tuple[RGB, ...]
    far: RGB
    near: RGB
    cap: RGB
    grass: RGB
    water: tuple[RGB, RGB]
    shine: RGB
    leaf: RGB
    shadow: float


LIGHTS: dict[Sky, Light] = {
    Sky.CLEAR: Light(
        sky=((48, 134, 230), (122, 190, 248), (208, 236, 252)),
        far=(142, 168, 206),
        near=(92, 116, 160),
        cap=(250, 252, 255),
        grass=(104, 184, 80),
        water=((92, 180, 236), (36, 114, 204)),
        shine=(210, 238, 255),
        leaf=(40, 128, 62),
        shadow=0.0,
    ),
    Sky.SUNSET: Light(
        sky=((86, 52, 122), (222, 92, 100), (255, 190, 102)),
        far=(166, 92, 128),
        near=(104, 58, 104),
        cap=(255, 214, 190),
        grass=(120, 116, 66),
        water=((252, 166, 108), (142, 72, 124)),
        shine=(255, 224, 164),
        leaf=(60, 80, 52),
        shadow=0.14,
    ),
    Sky.NIGHT: Light(
        sky=((8, 12, 44), (24, 34, 90), (66, 80, 142)),
        far=(70, 82, 136),
        near=(40, 50, 96),
        cap=(186, 198, 230),
        grass=(34, 84, 74),
        water=((66, 92, 162), (20, 36, 92)),
        shine=(176, 192, 236),
        leaf=(14, 56, 52),
        shadow=0.36,
    ),
    Sky.OVERCAST: Light(
        sky=((134, 147, 162), (174, 185, 196), (214, 220, 225)),
        far=(152, 165, 178),
        near=(106, 121, 138),
        cap=(242, 245, 248),
        grass=(112, 150, 98),
        water=((146, 168, 186), (88, 114, 138)),
        shine=(216, 226, 234),
        leaf=(56, 104, 72),
        shadow=0.1,
    ),
}


@dataclasses.dataclass(frozen=True)
class Brush:
    """What drawing one prop needs."""

    pen: Pen
    light: Light
    scene: Landscape
    prop: Prop
    dice: Dice

    @property
    def left(self) -> float:
        """The left side of the prop's box."""
        return self.prop.x - self.prop.width / 2

    @property
    def right(self) -> float:
        """The right side of the prop's box."""
        return self.prop.x + self.prop.width / 2

    @property
    def top(self) -> float:
        """The upper side of the prop's box."""
        return self.prop.y - self.prop.height / 2

    @property
    def bottom(self) -> float:
        """The lower side of the prop's box."""
        return self.prop.y + self.prop.height / 2

    @property
    def snowy(self) -> bool:
        """Whether snow lies on everything."""
        return self.scene.has(Element.SNOW)

    def lit(self, rgb: RGB) -> RGB:
        """Returns a thing's own colour under this sky."""
        return palette.mix(rgb, NIGHT_BLUE, self.light.shadow)
