#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What each TPU VM runs: the command in place of this shell, so that signals reach it, and its
# process id in ../omnigen.pid, to which `tpu_vm.sh stop` sends SIGTERM.
#
#   bash launch/worker.sh COMMAND ...
#
# JAX's own port is closed by the firewall rules that Google makes; 8476 is open.
set -euo pipefail
cd "$(dirname "$0")/.."

export OMNIGEN_MULTIHOST=1 JAX_COORDINATOR_PORT=8476
export PATH="$PWD/.venv/bin:$PATH"
echo "$$" > ../omnigen.pid
exec "$@"
