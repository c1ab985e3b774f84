# SPDX-License-Identifier: Apache-2.0
"""The settings of drawing: one struct, from which flags, metadata and checks follow."""

import dataclasses
import operator
from typing import TYPE_CHECKING, Any, Self

from absl import flags

if TYPE_CHECKING:
    from omnigen.models.omni import OmniConfig


def _knob(default: Any, text: str, *, least: float, most: float) -> Any:
    """Returns a field with what its flag's help says and the values that are allowed."""
    return dataclasses.field(default=default, metadata={"help": text, "least": least, "most": most})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How pictures are drawn.

    Each field is a flag of `omnigen.sample`, an entry of a PNG's metadata, a setting that an
    evaluation records, and an argument of the Python API. Another one takes one line here, and
    the place in `generation` where it is used.
    """

    guidance: float = _knob(
        3.0,
        "how strongly the prompt steers; 1 turns guidance off and halves the work",
        least=0,
        most=30,
    )
    temperature: float = _knob(
        0.65,
        "scale of the noise that each token starts from; smaller is more typical",
        least=0,
        most=2,
    )
    sketch_temperature: float = _knob(
        0.35, "temperature of the text that the model writes before it draws", least=0, most=2
    )
    head_steps: int | None = _knob(
        None,
        "steps of the flow head for a token; the checkpoint's if not given",
        least=1,
        most=1000,
    )
    last_head_steps: int | None = _knob(
        None,
        "steps of the flow head for the last token; the number changes linearly until then",
        least=1,
        most=1000,
    )
    head_shift: float = _knob(
        1.0,
        "above 1, the head's steps dwell near the noise; below 1, near the data",
        least=0.01,
        most=100,
    )
    decoder_steps: int | None = _knob(
        None, "steps of the decoder; the checkpoint's if not given", least=1, most=1000
    )

    def __post_init__(self) -> None:
        """Checks every field, and turns numpy's numbers into Python's.

        Raises:
            ValueError: If a field is out of range; the message names its value and what is allowed.
        """
        for field in dataclasses.fields(Sampling):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            value = number(field.name, value, whole=not isinstance(field.default, float))
            least, most = field.metadata["least"], field.metadata["most"]
            if not least <= value <= most:  # NaN is refused, too
                raise ValueError(f"{field.name} is {value}; allowed: {least:g} ... {most:g}")
            object.__setattr__(self, field.name, value)

    @classmethod
    def define(cls, values: flags.FlagValues) -> None:
        """Defines a flag for each field."""
        for field in dataclasses.fields(Sampling):
            default: Any = field.default
            define: Any = flags.DEFINE_float if isinstance(default, float) else flags.DEFINE_integer
            about = "{help}; {least:g} ... {most:g}".format(**field.metadata)
            define(field.name, default, about, flag_values=values)

    @classmethod
    def given(cls, values: flags.FlagValues) -> Self:
        """Returns what the flags of `define` say.

        Raises:
            ValueError: If one is out of range.
        """
        known: dict[str, Any] = {}
        for field in dataclasses.fields(Sampling):
            known[field.name] = values[field.name].value
        return cls(**known)

    def resolved(self, config: "OmniConfig") -> dict[str, float | int | None]:
        """Returns the settings that decide pictures of a model, with its own numbers of steps."""
        steps = {"head_steps": config.head.num_steps, "decoder_steps": config.decoder.num_steps}
        steps["last_head_steps"] = self.head_steps or config.head.num_steps
        known = {n: steps.get(n) if v is None else v for n, v in self.settings().items()}
        if not config.sketch_length:
            del known["sketch_temperature"]
        return known

    def settings(self) -> dict[str, float | int | None]:
        """Returns the fields of this class alone, by name, also of a subclass's object."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Sampling)}


def number(name: str, value: Any, *, whole: bool) -> float | int:
    """Converts a number to Python's own.

    Raises:
        ValueError: If it is none, or no whole number where one is needed.
    """
    try:
        return operator.index(value) if whole else float(value)
    except (TypeError, ValueError, OverflowError):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name} is {value!r}; it must be {kind}") from None
