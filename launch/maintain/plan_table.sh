#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Plans the ladder's AR stages on the slices of the tables in docs/scaling.md, a row for each:
#   launch/maintain/plan_table.sh table.md [SIZE TOPOLOGY ...]
# Pairs default to the whole table, which takes two to ten minutes a row. Mesh, parts and rematerialisation
# are those that `--fit` chooses. A plan that does not fit is a row too.
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
  python -m omnigen.plan --config "configs/ar.py:$size" --topology "$topology" --fit \
    --row "$table" || [ $? -eq 2 ]
done
