#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every stage in order, from nothing but this repository to a model as the one that ships. One GPU
# for nano; see launch/README.md. A killed run goes on where it stopped when this is called again.
#
#   bash launch/speedrun.sh [FOLDER] [SIZE]      FOLDER runs/nano, SIZE nano (or nano,debug)
#
# Scenes are drawn by all cores but two, if there are more than three. The build of drawings needs
# npm and `.[corpora]`.
#
# The weights that ship were not trained in one go. Their encoder and an earlier transformer came
# about in several runs (docs/experiments.md, 2026-11-25 to 2026-11-29). From those the decoder was
# trained for 1 500 steps, the transformer for 10 339 steps of the command below at a peak of 1e-3,
# and `export --blend` averaged it with the earlier one, whose share is 0.15 (2026-12-01 there).
# From nothing, all of it takes four hours of one H200 by the times of its steps.
set -euo pipefail
cd "$(dirname "$0")/.."

runs="${1:-runs/nano}"
size="${2:-nano}"
workers="$(python -c 'import os; n = os.cpu_count(); print(n - 2 if n > 3 else 0)')"

# Drawings, each on eleven backgrounds, and pictures composed of them.
art="'tests/data/noto': 3"
[[ "$size" == *debug* ]] || {
  build() { python -m omnigen.data.corpora build "$@" --styles 'Twemoji,Fluent flat' --size 128; }
  build "$runs/art" --grounds 11
  build "$runs/composites" --composites 90000
  art="'$runs/art': 1.2, '$runs/composites': 2.4"
}

python -m omnigen.train --config "configs/tokenizer.py:$size" --workdir "$runs/tokenizer" \
  --config.data.workers="$workers" \
  --config.data.mixture="{'landscapes': 2, 'words': 1.8, 'mixed': 1.6, 'shapes': 1, $art}"

# Sharper letters from the same latents.
python -m omnigen.train --config "configs/decoder.py:$size" --workdir "$runs/decoder" \
  --config.train.frozen_from="$runs/tokenizer" --config.train.init_from="$runs/tokenizer" \
  --config.data.workers="$workers" --config.data.seed=11 \
  --config.data.mixture="{'landscapes': 2.2, 'words': 2.2, 'mixed': 1.6, 'shapes': 1, $art}"

python -m omnigen.train --config "configs/ar.py:$size" --workdir "$runs/ar" \
  --config.train.frozen_from="$runs/decoder" --config.data.workers="$workers" \
  --config.data.seed=101 \
  --config.data.mixture="{'words': 2, 'mixed': 1.6, 'shapes': 2, 'landscapes': 1.1, $art}"

python -m omnigen.evaluate --checkpoint "$runs/ar" --suites reconstruction --output "$runs/eval"

python -m omnigen.sample --checkpoint "$runs/ar" --output "$runs/sample.png" --num_images 4 \
  --prompt 'a red circle left of a blue star on a white background'

python -m omnigen.export --checkpoint "$runs/ar" --output "$runs/model"
