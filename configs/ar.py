# SPDX-License-Identifier: Apache-2.0
"""Stage 2: the autoregressive transformer and its flow head, on the tokenizer's latents.

    python -m omnigen.train --config configs/ar.py:nano --workdir runs/ar \
        --config.train.frozen_from=runs/tokenizer

| size | hardware | time | flow MSE; text, nats a token |
|---|---|---|---|
| nano, 8 layers | 2 H200 | 18 min (35 ms a step, 20 % MFU) | 0.199; 0.43 |
| nano, from 8 layers to 12 | 2 H100 | 23 min (53 ms a step, 18 % MFU) | 0.142; 0.46 |
| nano, sketches | 1 H200 | 21 min (63 ms a step, 23 % MFU) | 0.116; 0.64 of the sketch |
| nano, local tokens, with drawings | 2 H200 | 19 min (67 ms a step, 22 % MFU) | 0.061; 0.23 |
| nano, more backgrounds, and composites | 1 H200 | 23 min (123 ms a step, 24 % MFU) | 0.108; 0.27 |
| nano, eleven backgrounds, openings | 1, then 2 H200 | 22 min (66 ms a step on two) | 0.110; 0.28 |
| nano, captions as they are now | 2 H200 | 24 min (67 ms a step, 22 % MFU) | 0.103; 0.31 |
| nano, free wording, readings | 1 H200 | 19 min (109 ms a step, 24 % MFU) | 0.114; 0.52 |
| base, 3b, 14b | see sizes.py | unmeasured | unmeasured |

The weights that ship came about in these runs, each from those before (docs/experiments.md); the
recipe is that of the last, for a run from nothing with `launch/speedrun.sh`. Losses are those of
the last steps. From the second run on, times are drawn nearer to the noise, where the MSE is
smaller, and from the third on the text is the sketch alone. They do not compare where pictures
differ: drawings that come often are known by heart.

`:nano,debug` (or `:debug`) trains a toy on a laptop in a minute. A batch is counted in packed rows
of several captioned pictures each.
"""

from typing import Any

import ml_collections

import sizes

# global batch size in rows, steps, peak learning rate
RUNS = {
    "nano": (80, 40_000, 1.5e-3),
    "base": (128, 200_000, 5e-4),
    "3b": (256, 300_000, 3e-4),
    "14b": (2048, 500_000, 2e-4),
}
# Words are the hardest to draw, landscapes the easiest; shapes are asked for in most ways.
MIXTURE = {"shapes": 1.5, "words": 1.75, "landscapes": 0.75, "mixed": 1.25}
READING_MIXTURE = {
    "shapes": 1.8,
    "words": 1.2,
    "landscapes": 1.0,
    "mixed": 1.4,
    "things:Twemoji": 0.8,
    "things:Fluent flat": 0.8,
}
# Parts of a batch, one after the other: so 14b fits 256 v5p, eight rows a device at a time.
PARTS = {"14b": 4}


def get_config(arg: str = "nano") -> ml_collections.ConfigDict:
    """Returns the recipe of a size (see `sizes.parse`)."""
    size, debug = sizes.parse(arg)
    batch, steps, learning_rate = (8, 20, 1e-3) if debug else RUNS[size]
    model = sizes.model(size, debug=debug, remat="none" if size == "nano" else "full")
    token_size = model["encoder"]["patch_size"] * model["encoder"]["merge"]
    tokens = (model["image_size"] // token_size) ** 2
    # Rows are 0.96 full: as many examples as a row may hold are a little shorter than it is long.
    data: dict[str, Any] = {"row_length": 1472, "images_per_row": 8}
    if debug:
        data = {"row_length": 320, "images_per_row": 2, "max_caption_bytes": 160}
    elif tokens == 256:
        data = {"row_length": 1408, "images_per_row": 4}
    elif tokens > 256:
        data = {"row_length": tokens + 256, "images_per_row": 1}
    if model.get("sketch_length"):
        # The sketch is learnt instead of the caption, which this model is never asked for.
        data |= {"sketches": True, "learn_captions": False, "uncolored": 0.25}
        if not debug:
            # Twice as many captions are read as pictures are drawn.
            data |= {"images_per_row": 4, "readings": 2, "reading_mixture": READING_MIXTURE}
            data |= {"foreign": 0.06, "related": 0.25}
    return ml_collections.ConfigDict(
        {
            "stage": "ar",
            "seed": 0,
            "model": model,
            # How much a wrong letter costs peaks at t = 0.4 to 0.8 (docs/experiments.md).
            "objective": {"time_mean": 0.5, "text_weight": 0.3, "context_noise": 0.25},
            "data": {"mixture": MIXTURE, **data},
            "optimizer": {
                "name": "muon",
                "learning_rate": learning_rate,
                "warmup_steps": 5 if debug else 200,
                "decay_fraction": 0.8,
            },
            "mesh": sizes.mesh(size, debug=debug),
            "evals": ["held_out", "exact/12"],
            "train": {
                "steps": steps,
                "global_batch_size": batch,
                "microbatches": 1 if debug else PARTS.get(size, 1),
                "log_every": 5 if debug else 50,
                "checkpoint_every": 1000,
                "sample_every": 0 if debug else 2000,
                "eval_every": 0 if debug else 2000,
            },
        }
    )
