#!/usr/bin/env bash
# One archive that runs on a machine with a GPU where nothing can be installed: programs, tests, configurations, golden files, benchmarks, and every
# library that is neither the system's C library nor CUDA's. Needs nvcc here, and no GPU.
#
# usage: scripts/bundle.sh [FOLDER]      the archive is written there (default: build)
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mkdir -p "${1:-build}" && cd "${1:-build}" && pwd)
scripts/setup.sh
cmake --preset bundle | grep -- '--   ' || true
cmake --build --preset bundle
cpack --config build/bundle/CPackConfig.cmake -B "$folder" | grep -v '^CPack: -'
rm -rf "$folder/_CPack_Packages"
ls -l "$folder"/segrt-*.tar.gz
