#!/usr/bin/env bash
# Installs, builds and runs every test: the CPU build with every .cu file through nvcc (where there is one), then the CUDA kernels on the
# emulator under AddressSanitizer + UBSan, then under ThreadSanitizer. Needs no GPU; with one, the CUDA tests run on it too.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
note() { echo "test: $* ($((SECONDS - started)) s)"; }

scripts/setup.sh
run() {
  local preset=$1
  note "configuring $preset"
  cmake --preset "$preset" | grep -- '--   ' || true
  cmake --build --preset "$preset"
  note "running $preset"
  ctest --preset "$preset"
}

if command -v nvcc >/dev/null; then
  run release
else
  note "no nvcc: the .cu files are compiled for the emulator only"
  run cpu
fi
run emulate-address
run emulate-thread
note "all passed"
