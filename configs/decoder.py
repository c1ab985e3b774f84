# SPDX-License-Identifier: Apache-2.0
"""Stage 3, optional: the decoder alone, on the latents of a frozen encoder.

    python -m omnigen.train --config configs/decoder.py:nano --workdir runs/decoder \
        --config.train.frozen_from=runs/ar --config.train.init_from=runs/ar

| size | hardware | time | held-out PSNR, before and after |
|---|---|---|---|
| nano | 1 H200 | 21 min (46 ms a step, 20 % MFU) | 36.4; 40.1 dB |
| base, 3b, 14b | see sizes.py | unmeasured | unmeasured |

The transformer's latents stay what they are, so it needs no more training. Nano's weights had five
runs: of 6 500 steps with `noise_max` 0.3 and nothing regressed, of 9 000 with 0.2 and a half, of
8 500 with 0.12 and seven tenths, all without `detail`; of 6 000 with what is written here, at a
peak of 1.2e-3, where nearly a tenth of the pictures were drawings; and of 1 500 at the same peak,
on backgrounds of all colours.

`:nano,debug` (or `:debug`) trains a toy on a laptop in a minute.
"""

import ml_collections

import sizes

# global batch size, steps, peak learning rate
RUNS = {
    "nano": (512, 20_000, 1.5e-3),
    "base": (512, 50_000, 2e-4),
    "3b": (1024, 100_000, 1e-4),
    "14b": (1024, 100_000, 1e-4),
}
# Words are what a picture loses first, and landscapes have the smallest.
MIXTURE = {"words": 1.8, "mixed": 1.6, "shapes": 0.4, "landscapes": 2.4}
NOISE_MAX = 0.2  # less than in the first stage: latents need no more regularizing
REGRESS = 0.6  # of the pictures, if the decoder draws means
DETAIL = 0.5  # letters are a small part of the pixels


def get_config(arg: str = "nano") -> ml_collections.ConfigDict:
    """Returns the recipe of a size (see `sizes.parse`)."""
    size, debug = sizes.parse(arg)
    batch, steps, learning_rate = (16, 20, 1e-3) if debug else RUNS[size]
    model = sizes.model(size, debug=debug, remat="none" if size == "nano" else "full")
    model["encoder"]["noise_max"] = NOISE_MAX
    draws_means = model["decoder"].get("noise_scale") == 0.0
    return ml_collections.ConfigDict(
        {
            "stage": "decoder",
            "seed": 0,
            "model": model,
            # Few steps start near the noise.
            "objective": {
                "time_mean": 1.2,
                "regress": REGRESS if draws_means else 0.0,
                "detail": DETAIL,
            },
            "data": {"mixture": MIXTURE},
            "optimizer": {
                "name": "muon",
                "learning_rate": learning_rate,
                "warmup_steps": 5 if debug else 100,
                "decay_fraction": 0.85,
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
