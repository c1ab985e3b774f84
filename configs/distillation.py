# SPDX-License-Identifier: Apache-2.0
"""Stage 4, optional: pictures in two steps a token and without guidance's second branch.

    python -m omnigen.train --config configs/distillation.py:nano --workdir runs/fast \
        --config.train.frozen_from=runs/ar --config.train.init_from=runs/ar

The first checkpoint is the teacher, the second where the student starts: the same. What comes out
draws in one, two, four or eight steps (`--head_steps`), at any guidance up to 5.

| size | hardware | time | MSE of average velocities |
|---|---|---|---|
| nano | 1 H200 | 6 min (105 ms a step, 24 % MFU) | 0.052, at first 0.128 |
| base, 3b, 14b | see sizes.py | unmeasured | unmeasured |

`:nano,debug` (or `:debug`) trains a toy on a laptop in a minute.
"""

import ml_collections

import ar


def get_config(arg: str = "nano") -> ml_collections.ConfigDict:
    """Returns the recipe of a size (see `sizes.parse`), derived from the transformer's."""
    config = ar.get_config(arg)
    config.stage = "distillation"
    config.model.head.average = True
    config.model.head.num_steps = 2
    config.objective = {"text_weight": config.objective.text_weight}
    config.data.caption_dropout = 0.0
    config.optimizer.learning_rate /= 3.0
    config.train.steps = max(config.train.steps * 3 // 20, 20)
    return config
