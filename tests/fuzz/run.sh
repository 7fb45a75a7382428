#!/usr/bin/env bash
# Fuzzes the readers of weight files, one after the other: tests/fuzz/run.sh [SECONDS a target, default 600] [TARGET...]
# Builds with clang++ into build/fuzz (SEGRT_FUZZ_BUILD chooses another folder). Findings stay there as crash-* files.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(torch_checkpoint safetensors)
build=${SEGRT_FUZZ_BUILD:-$root/build/fuzz}

cmake -S "$root" -B "$build" -G Ninja -DSEGRT_FUZZ=ON -DSEGRT_CUDA=OFF -DCMAKE_CXX_COMPILER="${CLANGXX:-clang++}" >/dev/null
cmake --build "$build"
for target in "${targets[@]}"; do
  grown=$build/corpus/$target  # what the fuzzer finds is written here, the committed files are only read
  mkdir -p "$grown"
  seeds=("$root/tests/golden/checkpoints" "$root/tests/fuzz/corpus/${target%_checkpoint}")
  echo "fuzz: $target for $seconds s"
  nice -n 10 "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 \
    -malloc_limit_mb=256 -print_final_stats=1 -artifact_prefix="$build/" -dict="$root/tests/fuzz/$target.dict" \
    "$grown" "${seeds[@]}"
done
