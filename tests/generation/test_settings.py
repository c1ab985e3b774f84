# SPDX-License-Identifier: Apache-2.0
import dataclasses
import math

import numpy as np
import pytest

from omnigen.generation.settings import Sampling


@pytest.mark.parametrize("field", dataclasses.fields(Sampling), ids=lambda field: field.name)
def test_every_setting_has_bounds_and_help(field: dataclasses.Field) -> None:
    least, most = field.metadata["least"], field.metadata["most"]
    assert field.metadata["help"] and least < most
    for value in (least, most):
        assert getattr(Sampling(**{field.name: value}), field.name) == value
    for value in (least - 1, most + 1, math.nan, "many", [1]):
        with pytest.raises(ValueError, match=f"{field.name} is .*(allowed|must be)"):
            Sampling(**{field.name: value})


def test_numbers_of_numpy_become_plain() -> None:
    sampling = Sampling(guidance=np.float32(2), head_steps=np.int64(4))
    assert type(sampling.guidance) is float and type(sampling.head_steps) is int
    with pytest.raises(ValueError, match="head_steps is 2.5; it must be a whole number"):
        Sampling(head_steps=2.5)  # type: ignore[arg-type]


def test_settings_are_the_fields() -> None:
    assert set(Sampling().settings()) == {field.name for field in dataclasses.fields(Sampling)}
