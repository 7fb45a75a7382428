#!/bin/sh
# tests/torch/run.sh SCRIPT ARGUMENTS...: a test against PyTorch, as `SCRIPT ARGUMENTS... TEMPORARY_FOLDER`. Needs a Python
# with torch: SEGRT_TORCH_PYTHON, or python3; without one it exits with 77, which ctest counts as skipped.
for python in "${SEGRT_TORCH_PYTHON:-}" python3; do
  [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null || continue
  folder=$(mktemp -d) || exit 1
  trap 'rm -rf "$folder"' EXIT
  script=$1
  shift
  "$python" "$(dirname "$0")/$script" "$@" "$folder"
  exit
done
echo "no Python with torch: set SEGRT_TORCH_PYTHON"
exit 77
