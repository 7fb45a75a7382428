// A golden file's network exported to ONNX, with what segrt computes for the file's input: for a comparison with
// another runtime (tests/onnx).
#pragma once

#include <string>

#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// Writes <folder>/<name of the file>.onnx and .safetensors: image [N,3,H,W] and logits as the graph gives them. Throws
// Error in a build without ONNX.
void write_onnx_case(GoldenFile& file, const Family& family, const std::string& folder);

}  // namespace segrt::golden
