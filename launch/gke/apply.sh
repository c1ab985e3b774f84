#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fills in a manifest of this folder and gives it to the cluster that kubectl talks to.
#
#   export TOPOLOGY=v5p-128 SLICES=1
#   bash launch/gke/apply.sh kueue.yaml                                    once
#   NAME=my-run IMAGE=REGISTRY/omnigen bash launch/gke/apply.sh jobset.yaml \
#     python -m omnigen.train --config configs/ar.py:3b --workdir /shared/run ...
#   kubectl logs -f -l jobset.sigs.k8s.io/jobset-name=my-run --prefix
#   kubectl delete jobset my-run                                           it saves first
#
# /shared is the volume claim $CLAIM (omnigen), which all hosts can write; $QUEUE (omnigen) is the
# queue of Kueue. Several slices: --config.mesh.slice=$SLICES.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(dirname "$(dirname "$here")")"

manifest="${1:-}"
if [[ ! "$manifest" =~ ^[a-z]+\.yaml$ || ! -f "$here/$manifest" ]]; then
  echo "apply.sh: no manifest '$manifest'; write jobset.yaml or kueue.yaml" >&2
  exit 2
fi
shift
if [[ "$manifest" == jobset.yaml ]]; then
  : "${IMAGE:?set IMAGE to the container image}"
  if [[ ! "${NAME:-}" =~ ^[a-z]([-a-z0-9]{0,26}[a-z0-9])?$ ]]; then
    echo "apply.sh: NAME '${NAME:-}' must be at most 28 lower-case letters, digits and dashes" >&2
    exit 2
  fi
  if [[ $# == 0 ]]; then
    echo "apply.sh: write the command after jobset.yaml" >&2
    exit 2
  fi
fi

export SLICES="${SLICES:-1}" QUEUE="${QUEUE:-omnigen}" CLAIM="${CLAIM:-omnigen}"
settings="$(PYTHONPATH="$root" python "$root/launch/topologies.py" --slices "$SLICES" \
  "${TOPOLOGY:?set TOPOLOGY, such as v5p-128}")"
set -a
eval "$settings"
set +a
COMMAND="$(python -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@")"
QUOTA="$((SLICES * HOSTS * CHIPS_PER_HOST))"
export COMMAND QUOTA

python -c '
import os, string, sys
with open(sys.argv[1], encoding="utf-8") as template:
    sys.stdout.write(string.Template(template.read()).substitute(os.environ))
' "$here/$manifest" | kubectl apply -f -
