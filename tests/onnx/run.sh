#!/usr/bin/env bash
# run.sh SEGRT_GOLDEN GOLDEN_FOLDER WORK_FOLDER: exports the networks of golden files to ONNX and compares what
# onnxruntime computes with what segrt does. Exit 77, a skipped test, without a python that has onnxruntime: put its path
# into SEGRT_ONNX_PYTHON (python3 -m venv DIR && DIR/bin/pip install onnxruntime).
set -euo pipefail
program=$1 golden=$2 work=$3
python=${SEGRT_ONNX_PYTHON:-python3}
"$python" -c 'import numpy, onnxruntime' 2>/dev/null || { echo "no onnxruntime in $python: skipped"; exit 77; }
rm -rf "$work"
mkdir -p "$work"
"$program" --export-onnx "$work" "$golden"/{drn_c_26_seg,drn_d_22_cls_out_map,drn_d_22_seg,drn_d_38_cls}.safetensors \
  "$golden"/{dynamic_a,dynamic_raw_l16_sdp,dabnet_r_p2}.safetensors
exec "$python" "$(dirname "$0")/compare.py" "$work"
