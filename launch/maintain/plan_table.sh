#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Plans the ladder's AR stages on the slices of the table in docs/scaling.md, a row for each:
#   launch/maintain/plan_table.sh table.md [SIZE TOPOLOGY ...]
# Pairs default to the whole table, which takes a minute or two a row. The batch of 14b is cut so that a
# device computes as many rows at a time as its memory holds, and the weights of 3b are shared out to 128
# devices at most. A plan that does not fit is a row too.
set -euo pipefail
cd "$(dirname "$0")/../.."

table="${1:?usage: launch/maintain/plan_table.sh TABLE [SIZE TOPOLOGY ...]}"
shift
if [ $# -eq 0 ]; then
  for size in base 3b 14b; do
    for topology in v5e-256 v6e-256 v5p-128 v5p-256 v5p-512 v5p-1024; do
      set -- "$@" "$size" "$topology"
    done
  done
fi

while [ $# -gt 0 ]; do
  size="$1" topology="$2"
  shift 2
  flags=()
  hosts="$(python launch/topologies.py "$topology" | sed -n 's/^HOSTS=//p')"  # of four chips
  if [ "$size" = 3b ] && [ "$hosts" -gt 32 ]; then  # 128 divides all of its widths
    flags=("--config.mesh.data=$((hosts / 32))" --config.mesh.fsdp=128)
  elif [ "$size" = 14b ]; then
    case "$topology" in v5e-*) rows=1 ;; v6e-*) rows=2 ;; *) rows=8 ;; esac
    flags=("--config.train.microbatches=$((2048 / hosts / rows))")
  fi
  python -m omnigen.plan --config "configs/ar.py:$size" --topology "$topology" --row "$table" \
    "${flags[@]}" || [ $? -eq 2 ]
done
