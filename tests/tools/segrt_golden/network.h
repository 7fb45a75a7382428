// A network's golden file: inference (logits, scores, intermediate maps), then three training steps.
#pragma once

#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// Largest absolute difference of logits, and relative L2 of intermediate maps, between two float32 forward passes.
inline constexpr double kForwardTolerance = 5e-5;

void run_network(GoldenFile& file, const Family& family, Device& device, Report& report);

// The input {"image": name, "shape": [n,3,h,w]} of a file, [n,h,w,3].
Tensor golden_input(const std::string& name, const std::vector<int64_t>& nchw, Device& device);

}  // namespace segrt::golden
