#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every stage in order, from nothing but this repository to the model that ships: the reproduction
# document. One GPU for nano; see launch/README.md. A killed run goes on where it stopped when this
# is called again.
#
#   bash launch/speedrun.sh [FOLDER] [SIZE]      FOLDER runs/nano, SIZE nano (or nano,debug)
#
# Scenes are drawn by all cores but two, if there are more than three.
set -euo pipefail
cd "$(dirname "$0")/.."

runs="${1:-runs/nano}"
size="${2:-nano}"
workers="$(python -c 'import os; n = os.cpu_count(); print(n - 2 if n > 3 else 0)')"

python -m omnigen.train --config "configs/tokenizer.py:$size" --workdir "$runs/tokenizer" \
  --config.data.workers="$workers"

# Sharper letters from the same latents.
python -m omnigen.train --config "configs/decoder.py:$size" --workdir "$runs/decoder" \
  --config.train.tokenizer="$runs/tokenizer" --config.train.init_from="$runs/tokenizer" \
  --config.data.workers="$workers" --config.data.seed=11

# Three legs, as the weights that ship came about: eight layers, whose steps take two thirds of the
# time of twelve; twelve; and twelve that sketch before they draw. The last alone might do as well.
# (The first was cut off at step 30 200 and the third at 5 000; the next started from the averages
# of steps 30 000 and 4 000, the third again with 15 000 steps and seed 3. The decoder was trained
# later.)
steps_8=() steps_12=() layers=1
[[ "$size" == *debug* ]] || {
  steps_8=(--config.train.steps=33334 --config.train.global_batch_size=128) layers=8
  steps_12=(--config.train.steps=26000 --config.train.global_batch_size=128)
}
plain=(--config.model.sketch_length=0 --config.data.sketches=False --config.data.learn_captions=True
  --config.data.uncolored=0.0 --config.objective.text_weight=0.1)
python -m omnigen.train --config "configs/ar.py:$size" --workdir "$runs/ar-8" \
  --config.train.tokenizer="$runs/decoder" --config.data.workers="$workers" "${plain[@]}" \
  --config.model.ar.num_layers="$layers" --config.optimizer.learning_rate=2e-3 \
  --config.optimizer.decay_fraction=0.5 --config.objective.time_mean=0.0 "${steps_8[@]}" \
  --config.data.mixture="{'shapes': 1, 'words': 1, 'landscapes': 1, 'mixed': 1}"

python -m omnigen.train --config "configs/ar.py:$size" --workdir "$runs/ar-12" \
  --config.train.tokenizer="$runs/decoder" --config.data.workers="$workers" "${plain[@]}" \
  --config.train.init_from="$runs/ar-8" --config.data.seed=1 "${steps_12[@]}" \
  --config.data.mixture="{'shapes': 1, 'words': 1.5, 'landscapes': 0.75, 'mixed': 1.25}"

python -m omnigen.train --config "configs/ar.py:$size" --workdir "$runs/ar" \
  --config.train.tokenizer="$runs/decoder" --config.data.workers="$workers" \
  --config.train.init_from="$runs/ar-12" --config.data.seed=2

python -m omnigen.evaluate --checkpoint "$runs/ar" --suites reconstruction --output "$runs/eval"

python -m omnigen.sample --checkpoint "$runs/ar" --output "$runs/sample.png" --num_images 4 \
  --prompt 'a red circle left of a blue star on a white background'

python -m omnigen.export --checkpoint "$runs/ar" --output "$runs/model"
