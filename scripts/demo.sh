#!/usr/bin/env bash
# From nothing to pictures: installs, builds, trains DRN-D-22 on procedural street scenes, evaluates, writes overlays.
# usage: scripts/demo.sh [OUTPUT]      (default: runs/demo)
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:-runs/demo}
started=$SECONDS

scripts/setup.sh
echo "demo: building (CPU only; a GPU build is cmake --preset release)"
cmake --preset demo >/dev/null
cmake --build --preset demo
echo "demo: built after $((SECONDS - started)) s"

bin=build/demo/apps
rm -rf "$output"
faster=()
if grep -qw amx_bf16 /proc/cpuinfo; then  # matrix units for bfloat16: more than twice the steps in the same time
  faster=(--set train.precision=bf16 --set train.epochs=5)
fi
$bin/segtrain models/drn_d_22_synthetic.toml -o "$output" --device cpu "${faster[@]}"
$bin/segeval "$output" --ms --flip --device cpu --save-overlays "$output/overlays" --json "$output/scores.json"
echo "demo: overlays in $output/overlays, TensorBoard events in $output"
echo "demo: done in $((SECONDS - started)) s"
