#!/usr/bin/env bash
# Installs, builds and runs every test: the CPU build with every .cu file through nvcc (where there is one), then the CUDA kernels on the
# emulator under AddressSanitizer + UBSan, then under ThreadSanitizer. Needs no GPU; with one, the CUDA tests run on it too.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
note() { echo "test: $* ($((SECONDS - started)) s)"; }

scripts/setup.sh

# Exported networks are compared with onnxruntime's results where it can be had.
if python3 -m venv build/python >/dev/null 2>&1 && build/python/bin/pip install -q numpy onnxruntime >/dev/null 2>&1; then
  export SEGRT_ONNX_PYTHON=$PWD/build/python/bin/python
else
  note "no onnxruntime: the comparison of exported networks is skipped"
fi

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
