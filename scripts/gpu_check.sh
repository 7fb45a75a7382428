#!/usr/bin/env bash
# Proves segrt on a machine with a GPU, from the bundle that scripts/bundle.sh makes: run it there. See gpu_check.py, which it starts.
#
# usage: gpu_check.sh [--minutes 10] [--only kernels,units,op_vectors,golden,golden_bf16,memcheck,racecheck,bench,initcheck,synccheck] [--json FILE]
set -euo pipefail
home=$(cd "$(dirname "$0")" && pwd)
command -v python3 >/dev/null || { echo "gpu_check: needs python3 (3.8 or newer, nothing but its standard library)" >&2; exit 2; }
exec python3 "$home/gpu_check.py" "$@"
