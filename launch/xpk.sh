#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A training run through XPK, on a cluster that it made.
#
#   CLUSTER=my-cluster NAME=my-run IMAGE=REGISTRY/omnigen TOPOLOGY=v5p-128 \
#     bash launch/xpk.sh python -m omnigen.train --config configs/ar.py:3b --workdir ...
#
# XPK starts again after exit codes 42 and 127 to 255, so after SIGTERM (143) and crashes of the
# runtime; 1 is added, since Python ends so when another host is lost. 2, bad input, is final.
# STORAGE is a storage attached with `xpk storage`, for the workdir. SLICES, OMNIGEN_FLAGS: see
# README.md. `exec` makes Python the process to which XPK forwards SIGTERM.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
: "${CLUSTER:?set CLUSTER}" "${NAME:?set NAME}" "${IMAGE:?set IMAGE}" "${TOPOLOGY:?set TOPOLOGY}"
slices="${SLICES:-1}"

settings="$(PYTHONPATH="$root" python "$root/launch/topologies.py" --slices "$slices" "$TOPOLOGY")"
eval "$settings"
storage=()
if [[ -n "${STORAGE:-}" ]]; then
  storage=(--storage="$STORAGE")
fi

exec xpk workload create --cluster="$CLUSTER" --workload="$NAME" --docker-image="$IMAGE" \
  --tpu-type="$ACCELERATOR_TYPE" --num-slices="$slices" "${storage[@]}" \
  --max-restarts=50 --restart-on-exit-codes=1 --termination-grace-period-seconds=90 \
  --env=OMNIGEN_MULTIHOST=1 --env=JAX_COORDINATOR_PORT=8476 \
  --env="LIBTPU_INIT_ARGS=$LIBTPU_INIT_ARGS" --command="exec$(printf ' %q' "$@")"
