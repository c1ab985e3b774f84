# SPDX-License-Identifier: Apache-2.0
"""The contract of evaluators, the same in the training loop and in `omnigen.evaluate`."""

from collections.abc import Iterator
from typing import Protocol

from omnigen.nn.module import Params


class Evaluator(Protocol):
    """Judges weights by some numbers.

    Attributes:
        name: of the benchmark; metrics are logged as `name/metric`.
    """

    name: str

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields metrics as (name, value); units are in the names.

        Args:
            params: weights that are being trained, by part of the model; may be empty.
            frozen: the model's other weights.
        """
        ...
