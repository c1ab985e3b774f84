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

# Tokens that tell of the whole picture, as long as no picture comes twice.
whole=(--config.model.encoder.local=False)
python -m omnigen.train --config "configs/tokenizer.py:$size" --workdir "$runs/tokenizer" \
  --config.data.workers="$workers" "${whole[@]}"

# Sharper letters from the same latents.
python -m omnigen.train --config "configs/decoder.py:$size" --workdir "$runs/decoder" \
  --config.train.frozen_from="$runs/tokenizer" --config.train.init_from="$runs/tokenizer" \
  --config.data.workers="$workers" --config.data.seed=11 "${whole[@]}"

# Three legs on scenes, as the weights that ship came about: eight layers, whose steps take two
# thirds of the time of twelve; twelve; and twelve that sketch before they draw. (The first was cut
# off at step 30 200 and the third at 5 000; the next started from the averages of steps 30 000 and
# 4 000, the third again with 15 000 steps and seed 3. The decoder was trained later.)
rows=() steps_8=() steps_12=() layers=1
[[ "$size" == *debug* ]] || {
  # As rows were packed then.
  rows=(--config.data.row_length=640 --config.data.images_per_row=4
    --config.train.global_batch_size=96)
  steps_8=(--config.train.steps=33334 --config.train.global_batch_size=128) layers=8
  steps_12=(--config.train.steps=26000 --config.train.global_batch_size=128)
}
plain=(--config.model.sketch_length=0 --config.data.sketches=False --config.data.learn_captions=True
  --config.data.uncolored=0.0 --config.objective.text_weight=0.1)
python -m omnigen.train --config "configs/ar.py:$size" --workdir "$runs/ar-8" \
  --config.train.frozen_from="$runs/decoder" --config.data.workers="$workers" "${plain[@]}" "${rows[@]}" \
  --config.model.ar.num_layers="$layers" --config.optimizer.learning_rate=2e-3 \
  --config.optimizer.decay_fraction=0.5 --config.objective.time_mean=0.0 "${steps_8[@]}" \
  --config.data.mixture="{'shapes': 1, 'words': 1, 'landscapes': 1, 'mixed': 1}" "${whole[@]}"

python -m omnigen.train --config "configs/ar.py:$size" --workdir "$runs/ar-12" \
  --config.train.frozen_from="$runs/decoder" --config.data.workers="$workers" "${plain[@]}" "${rows[@]}" \
  --config.train.init_from="$runs/ar-8" --config.data.seed=1 "${steps_12[@]}" \
  --config.data.mixture="{'shapes': 1, 'words': 1.5, 'landscapes': 0.75, 'mixed': 1.25}" \
  "${whole[@]}"

python -m omnigen.train --config "configs/ar.py:$size" --workdir "$runs/ar-scenes" \
  --config.train.frozen_from="$runs/decoder" --config.data.workers="$workers" \
  --config.train.init_from="$runs/ar-12" --config.data.seed=2 "${rows[@]}" "${whole[@]}"

# Drawings, each on eleven backgrounds, and pictures composed of them; needs npm and `.[corpora]`.
steps_local=() steps_art=()
encoder="'tests/data/noto': 1.5" art="'tests/data/noto': 6"
[[ "$size" == *debug* ]] || {
  build() { python -m omnigen.data.corpora build "$@" --styles 'Twemoji,Fluent flat' --size 128; }
  build "$runs/art" --grounds 11
  build "$runs/composites" --composites 90000
  encoder="'$runs/art': 1.5" art="'$runs/art': 1.8, '$runs/composites': 3.5"
  steps_local=(--config.train.steps=4500)
  steps_art=(--config.train.steps=66000 --config.train.global_batch_size=192
    --config.train.microbatches=2)
}

# Those come many times: tokens of their own pixels alone, for the decoder nearly as it is.
python -m omnigen.train --config "configs/tokenizer.py:$size" --workdir "$runs/local" \
  --config.train.init_from="$runs/decoder" --config.train.relearn=model.encoder.local \
  --config.data.workers="$workers" --config.data.seed=81 --config.optimizer.learning_rate=1.2e-3 "${steps_local[@]}" \
  --config.optimizer.rules="({'pattern': 'decoder/.*', 'learning_rate': 0.3},)" \
  --config.model.encoder.noise_max=0.3 --config.objective.time_mean=1.2 \
  --config.objective.regress=0.6 --config.objective.detail=0.5 \
  --config.data.mixture="{'landscapes': 2, 'words': 1.8, 'mixed': 1.6, 'shapes': 0.6, $encoder}"

# (As it came about, in four legs, each from the weights of the one before: 17 000 steps with
# drawings on one background each and no composites, 11 400 on six and with 45 000 composites,
# 17 561 on eleven and with 90 000, and 20 318 with captions as they are now.)
python -m omnigen.train --config "configs/ar.py:$size" --workdir "$runs/ar" \
  --config.train.frozen_from="$runs/local" --config.data.workers="$workers" \
  --config.train.init_from="$runs/ar-scenes" --config.data.seed=101 \
  --config.optimizer.learning_rate=1.3e-3 --config.objective.context_noise=0.25 \
  --config.data.mixture="{'words': 2, 'mixed': 1.4, 'shapes': 1.8, 'landscapes': 1.1, $art}" \
  "${rows[@]}" "${steps_art[@]}"

python -m omnigen.evaluate --checkpoint "$runs/ar" --suites reconstruction --output "$runs/eval"

python -m omnigen.sample --checkpoint "$runs/ar" --output "$runs/sample.png" --num_images 4 \
  --prompt 'a red circle left of a blue star on a white background'

python -m omnigen.export --checkpoint "$runs/ar" --output "$runs/model"
