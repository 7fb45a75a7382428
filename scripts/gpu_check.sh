#!/usr/bin/env bash
# What a machine with a GPU says of segrt, within 10 minutes: device, CUDA unit tests, golden files, compute-sanitizer, speed beside PyTorch.
# Lies in the bundle that scripts/bundle.sh makes; run it there. Reports go into FOLDER (default: gpu_check beside it).
#
# usage: gpu_check.sh [FOLDER]
# CUDA's libraries are looked for where the system has them and in the Python packages under site-packages/nvidia.
set -uo pipefail
home=$(cd "$(dirname "$0")" && pwd)
out=${1:-$home/gpu_check}
mkdir -p "$out"
python=$(command -v python3 || true)
if [ -n "$python" ]; then
  for folder in $("$python" -c 'import glob, sysconfig; print(*glob.glob(sysconfig.get_paths()["purelib"] + "/nvidia/*/lib"))' 2>/dev/null); do
    LD_LIBRARY_PATH=$folder:${LD_LIBRARY_PATH:-}
  done
  export LD_LIBRARY_PATH
fi
export SEGRT_TEST_DATA=$home/share/segrt
failures=0
started=$SECONDS
# step NAME SECONDS COMMAND...: its output goes to NAME.log, its end and result to the screen and to summary.txt.
step() {
  local name=$1 limit=$2
  shift 2
  local begin=$SECONDS result=passed
  timeout "$limit" "$@" >"$out/$name.log" 2>&1 || { result="FAILED ($?)"; failures=$((failures + 1)); }
  echo "$name: $result in $((SECONDS - begin)) s; $(tail -n 1 "$out/$name.log" | cut -c 1-160)" | tee -a "$out/summary.txt"
}
: >"$out/summary.txt"
step device 20 nvidia-smi
for folder in kernels autograd nn models train; do
  step "test_$folder" 120 "$home/bin/tests/test_$folder"
done
step golden_cuda 120 "$home/bin/tests/segrt_golden" --device cuda "$home"/share/segrt/tests/golden/{drn_d_22_seg,drn_d_38_cls,drn_c_26_seg,dynamic_a}.safetensors
for mode in latency stream; do
  step "drn_d_22_$mode" 60 "$home/bin/segbench" "$home/share/segrt/models/drn_d_22.toml" --mode "$mode" --input 1x1024x2048 --precision bf16
done
step drn_d_22_profile 60 "$home/bin/segbench" "$home/share/segrt/models/drn_d_22.toml" --input 1x1024x2048 --precision bf16 --profile "$out/drn_d_22_trace.json"
if command -v compute-sanitizer >/dev/null; then
  step memcheck 120 compute-sanitizer --error-exitcode 9 "$home/bin/tests/test_kernels"
  step racecheck 120 compute-sanitizer --tool racecheck --error-exitcode 9 "$home/bin/tests/test_kernels"
else
  echo "compute-sanitizer: not here, memcheck and racecheck were left out" | tee -a "$out/summary.txt"
fi
left=$((590 - (SECONDS - started)))
if [ "$left" -gt 60 ] && [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null; then
  step gpu_vs_pytorch "$left" "$python" "$home/bench/gpu_vs_pytorch.py" --segbench "$home/bin/segbench" --models "$home/share/segrt/models" \
    --minutes "$((left / 60 - 1))" --json "$out/gpu_vs_pytorch.json"
  cat "$out/gpu_vs_pytorch.log"
else
  echo "gpu_vs_pytorch: no time left, or no PyTorch" | tee -a "$out/summary.txt"
fi
echo "$failures steps failed, $((SECONDS - started)) s in all; reports in $out"
[ "$failures" -eq 0 ]
