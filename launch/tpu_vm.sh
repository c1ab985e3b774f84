#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A TPU slice, or several, as a queued resource of Google Cloud, without Kubernetes:
#
#   export TPU=my-tpu ZONE=us-east5-a TOPOLOGY=v5p-128 SLICES=1
#   bash launch/tpu_vm.sh create --spot      other flags of gcloud go here
#   bash launch/tpu_vm.sh wait               until it is ours
#   bash launch/tpu_vm.sh copy               the last commit, and what it needs, to all workers
#   bash launch/tpu_vm.sh run python -m omnigen.train --config ... --workdir /shared/run
#   bash launch/tpu_vm.sh tail               the log of worker 0
#   bash launch/tpu_vm.sh stop               SIGTERM to Python on all workers: it saves and exits
#   bash launch/tpu_vm.sh delete
#
# The command outlives the connection. Several slices: --config.mesh.slice=$SLICES. OMNIGEN_FLAGS
# names groups of flags.py; POLL is how often `wait` looks, in seconds.
set -euo pipefail

action="${1:-}"
: "${TPU:?set TPU to a name for the queued resource}" "${ZONE:?set ZONE to its zone}"
slices="${SLICES:-1}"
root="$(cd "$(dirname "$0")/.." && pwd)"

resources() { gcloud compute tpus queued-resources "$@"; }
on_all() { resources ssh "$TPU" --zone="$ZONE" --node=all --worker=all --command="$1"; }
load_settings() {
  local settings
  settings="$(PYTHONPATH="$root" python "$root/launch/topologies.py" --slices "$slices" \
    "${TOPOLOGY:?set TOPOLOGY, such as v5p-128}")"
  eval "$settings"
}

create() {
  load_settings
  if [[ -z "$RUNTIME_VERSION" ]]; then
    echo "tpu_vm.sh: $TOPOLOGY is to be had on GKE only" >&2
    exit 2
  fi
  local nodes=(--node-id="$TPU")
  if ((slices > 1)); then
    nodes=(--node-count="$slices" --node-prefix="$TPU")
  fi
  resources create "$TPU" --zone="$ZONE" --accelerator-type="$ACCELERATOR_TYPE" \
    --runtime-version="$RUNTIME_VERSION" "${nodes[@]}" "$@"
}

wait_until_active() {
  local state
  while true; do
    state="$(resources describe "$TPU" --zone="$ZONE" --format='value(state.state)')"
    echo "$TPU is $state"
    case "$state" in
      ACTIVE) return ;;
      FAILED | SUSPENDED | SUSPENDING) exit 1 ;;
    esac
    sleep "${POLL:-30}"
  done
}

copy() {
  archive="$(mktemp -d)/omnigen.tar.gz"
  trap 'rm -r "$(dirname "$archive")"' EXIT
  git -C "$root" archive --format=tar.gz --output="$archive" HEAD
  resources scp "$archive" "$TPU:" --zone="$ZONE" --node=all --worker=all
  on_all "mkdir -p omnigen && tar -xzf omnigen.tar.gz -C omnigen && cd omnigen \
&& python3 -m pip install --quiet --user uv \
&& python3 -m uv venv --allow-existing --python 3.12 .venv \
&& python3 -m uv pip install --quiet -e '.[scenes,tpu]'"
}

run() {
  load_settings
  on_all "LIBTPU_INIT_ARGS=$(printf '%q' "$LIBTPU_INIT_ARGS") nohup setsid \
bash omnigen/launch/worker.sh$(printf ' %q' "$@") > omnigen.log 2>&1 < /dev/null &"
}

case "$action" in
  create | copy | run)
    shift
    if [[ "$action" == run && $# == 0 ]]; then
      echo "tpu_vm.sh: run what?" >&2
      exit 2
    fi
    "$action" "$@"
    ;;
  wait) wait_until_active ;;
  tail)
    resources ssh "$TPU" --zone="$ZONE" --node=0 --worker=0 --command='tail -n 100 -F omnigen.log'
    ;;
  stop) on_all "kill -TERM \$(cat omnigen.pid)" ;;
  delete) resources delete "$TPU" --zone="$ZONE" --force --quiet ;;
  *)
    echo "tpu_vm.sh: unknown action '$action'; create, wait, copy, run, tail, stop or delete" >&2
    exit 2
    ;;
esac
