# SPDX-License-Identifier: Apache-2.0
"""What may be trained on and what is kept for the test."""

import enum


class Split(enum.StrEnum):
    """The two parts of whatever a model learns from."""

    TRAIN = "train"
    TEST = "test"
