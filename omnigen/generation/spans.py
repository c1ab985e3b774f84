# SPDX-License-Identifier: Apache-2.0
"""What a prompt is made of: texts and pictures, in the order in which the model reads them.

    "a red dot"
    [Picture(pixels), "the same at night"]
    ["the fox of ", Picture(first), "in the style of ", Picture(second)]

A prompt that is one text may be a plain string. This module imports no jax, so that requests can be
checked before a model is loaded.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture that is given to the model.

    Two objects are never equal, so that the same object may stand in many prompts and is encoded
    once.

    Attributes:
        pixels: Pixels, uint8 `[H, W, 3]`, sRGB. Each side is a multiple of the model's token size,
            which is checked when a model reads the picture.
        sketch: Text that the model wrote before it drew this picture, if it did. With it a picture
            that was drawn reads as it did when it was drawn.
    """

    pixels: "np.ndarray"
    sketch: str = ""

    def __post_init__(self) -> None:
        """Checks what holds for every model.

        Raises:
            ValueError: If the pixels are no array of the form that is allowed.
        """
        import numpy as np

        if not isinstance(self.pixels, np.ndarray):
            raise ValueError(
                f"a picture's pixels are of type {type(self.pixels).__name__}; allowed: a numpy "
                "array, uint8 [H, W, 3]"
            )
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ValueError(
                f"a picture's pixels are {dtype} {list(shape)}; allowed: uint8 [H, W, 3]"
            )
        if not isinstance(self.sketch, str):
            raise ValueError(f"a picture's sketch is {self.sketch!r}; allowed: text")

    @property
    def digest(self) -> str:
        """The SHA-256 of the pixels and their shape, in hexadecimal."""
        shape = "x".join(map(str, self.pixels.shape))
        return hashlib.sha256(shape.encode() + b" " + self.pixels.tobytes()).hexdigest()


Span = str | Picture
Prompt = Span | Sequence[Span]


def spans(prompt: Prompt) -> tuple[Span, ...]:
    """Returns the texts and pictures of a prompt.

    Raises:
        ValueError: If there is something else in it.
    """
    if not isinstance(prompt, Span | Sequence):
        raise ValueError(
            f"a prompt is of type {type(prompt).__name__}; allowed: str, or a list of str and "
            "Picture"
        )
    found = (prompt,) if isinstance(prompt, Span) else tuple(prompt)
    for span in found:
        if not isinstance(span, Span):
            raise ValueError(
                f"a prompt holds a span of type {type(span).__name__}; allowed: str and Picture"
            )
    return found


def words(prompt: Prompt) -> str:
    """Returns the texts of a prompt as one."""
    return "".join(span for span in spans(prompt) if isinstance(span, str))


def pictures(prompt: Prompt) -> list[Picture]:
    """Returns the pictures of a prompt, in order."""
    return [span for span in spans(prompt) if isinstance(span, Picture)]
