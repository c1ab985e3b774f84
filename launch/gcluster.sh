#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A training run through Google's Cluster Toolkit, on a GKE cluster that it made.
#
#   NAME=my-run IMAGE=REGISTRY/omnigen TOPOLOGY=v5p-128 \
#     bash launch/gcluster.sh python -m omnigen.train --config configs/ar.py:3b --workdir ...
#
# MOUNT=SOURCE:/shared mounts a volume for the workdir. SLICES, OMNIGEN_FLAGS: see README.md.
# `exec` puts Python in the place of the shell that the toolkit starts, so SIGTERM reaches it.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
: "${NAME:?set NAME}" "${IMAGE:?set IMAGE}" "${TOPOLOGY:?set TOPOLOGY}"
slices="${SLICES:-1}"

settings="$(PYTHONPATH="$root" python "$root/launch/topologies.py" --slices "$slices" "$TOPOLOGY")"
eval "$settings"
variables=(OMNIGEN_MULTIHOST=1 JAX_COORDINATOR_PORT=8476 "LIBTPU_INIT_ARGS=$LIBTPU_INIT_ARGS")
mount=()
if [[ -n "${MOUNT:-}" ]]; then
  mount=(--mount="$MOUNT")
fi

exec gcluster job submit --name="$NAME" --image="$IMAGE" --compute-type="$MACHINE_TYPE" \
  --topology="$GKE_TOPOLOGY" --num-slices="$slices" "${mount[@]}" --restarts=50 \
  --restart-on-exit-codes=1,42,134,137,139,143 --grace-period=90s \
  --command="exec env$(printf ' %q' "${variables[@]}" "$@")"
