# SPDX-License-Identifier: Apache-2.0
"""Stage 1: the tokenizer, encoder and decoder together.

    python -m omnigen.train --config configs/tokenizer.py:nano --workdir runs/tokenizer

| size | hardware | time | held-out PSNR, 4 steps |
|---|---|---|---|
| nano | 1 H100, 13 data workers | 6 min (51 ms a step, 11 % MFU) | 36.4 dB, pooled 34.6 |
| base, 3b, 14b | see sizes.py | unmeasured | unmeasured |

`:nano,debug` (or `:debug`) trains a toy on a laptop in a minute.
"""

import ml_collections

import sizes

# global batch size, steps, peak learning rate
RUNS = {
    "nano": (256, 10_000, 2e-3),
    "base": (512, 100_000, 5e-4),
    "3b": (1024, 200_000, 3e-4),
    "14b": (1024, 400_000, 2e-4),
}
# Landscapes have the smallest words and the most detail, shapes the least.
MIXTURE = {"landscapes": 2.0, "words": 1.8, "mixed": 1.6, "shapes": 1.0}
REGRESS = 0.6  # of the pictures, if the decoder draws means
DETAIL = 0.5  # letters are a small part of the pixels


def get_config(arg: str = "nano") -> ml_collections.ConfigDict:
    """Returns the recipe of a size (see `sizes.parse`)."""
    size, debug = sizes.parse(arg)
    batch, steps, learning_rate = (16, 20, 1e-3) if debug else RUNS[size]
    model = sizes.model(size, debug=debug, remat="dots" if size == "nano" else "full")
    draws_means = model["decoder"].get("noise_scale") == 0.0
    return ml_collections.ConfigDict(
        {
            "stage": "tokenizer",
            "seed": 0,
            "model": model,
            "objective": (
                {"time_mean": 1.2, "regress": REGRESS, "detail": DETAIL} if draws_means else {}
            ),
            "data": {"mixture": MIXTURE},
            "optimizer": {
                "name": "muon",
                "learning_rate": learning_rate,
                "warmup_steps": 5 if debug else 200,
                "decay_fraction": 0.5,
            },
            "mesh": sizes.mesh(size, debug=debug),
            "evals": ["held_out", "reconstruction"],
            "train": {
                "steps": steps,
                "global_batch_size": batch,
                "log_every": 5 if debug else 50,
                "checkpoint_every": 1000,
                "sample_every": 0 if debug else 2000,
                "eval_every": 0 if debug else 2000,
            },
        }
    )
